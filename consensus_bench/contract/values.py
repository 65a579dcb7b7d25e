"""What travels between replicas: immutable values, comparable and hashable, told apart by their type.

Two messages of different types are never equal, even with equal fields (``msgspec`` compares the type first), so a set
of messages is a faithful network state for the explorer. Fields are numbers, strings, commands, and tuples or frozen
sets of those; never a list, dict or set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Final, TypeAlias, get_type_hints

import msgspec

ReplicaId: TypeAlias = int
Ballot: TypeAlias = tuple[int, int]
"""(round, replica): totally ordered, and no two replicas ever use the same one."""
Key: TypeAlias = int | str
Place: TypeAlias = Hashable
"""Where a command is decided: a slot (Multi-Paxos), an index (Raft), an instance (replica, number) (EPaxos)."""
TimerName: TypeAlias = Hashable

FRAME_BYTES: Final = 66
"""Ethernet, IPv4 and TCP (with time stamps) headers around one message: 14 + 20 + 32 bytes."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """Base of everything a replica sends. Subclass with annotated fields; the class name gives the handler's name."""


class Command(Message, frozen=True, gc=False):
    """One operation of one client on one key.

    ``(client, sequence)`` identifies it: a retry carries the same pair and must be executed once. ``kind`` is ``"get"``
    (read), ``"put"`` (write ``value``) or ``"swap"`` (write ``value``, return the old one: an atomic
    read-modify-write). ``size`` is the payload in bytes, for the network model only.
    """

    client: int
    sequence: int
    kind: str
    key: Key
    value: int = 0
    size: int = 16


NOOP: Final = Command(client=-1, sequence=0, kind="noop", key="", size=0)
"""Fills a place that nobody needs. It is committed, never executed, and interferes with nothing."""


def interferes(a: Command, b: Command) -> bool:
    """Whether the order of the two can be observed: same key, and not both reads (EPaxos, SOSP'13 section 4.1)."""
    return a.key == b.key and (a.kind != "get" or b.kind != "get") and a.kind != "noop"


def handler_name(message_type: type) -> str:
    """``AppendEntries`` -> ``on_append_entries``."""
    letters = [f"_{c.lower()}" if c.isupper() else c for c in message_type.__name__]
    return "on" + "".join(letters)


def _value_bytes(value: Any) -> int:
    kind: Any = type(value)
    if kind is int or kind is float:
        return 8
    if kind is Command:
        return 25 + int(value.size) + (len(value.key) if type(value.key) is str else 8)
    if kind is tuple or kind is frozenset:
        return 2 + sum(map(_value_bytes, value))
    if kind is str:
        return len(value)
    if isinstance(value, msgspec.Struct):
        return sum(_value_bytes(getattr(value, f)) for f in value.__struct_fields__)
    return 1  # bool, None


def wire_bytes(message: Message) -> int:
    """Bytes of ``message`` on the wire: its fields in a plain binary encoding plus the frame around it."""
    return FRAME_BYTES + sum(_value_bytes(getattr(message, f)) for f in message.__struct_fields__)


_FIXED: dict[Any, int] = {int: 8, float: 8, bool: 1, Ballot: 18}


@cache
def sizer(message_type: type[Message]) -> int | Callable[[Any], int]:
    """The wire size of a message type: a number where all its fields have a fixed size, else a function.

    Exactly ``wire_bytes``, prepared once per type, because it is asked for on every send.
    """
    hints = get_type_hints(message_type)
    fixed = FRAME_BYTES
    parts: list[str] = []
    for field in message_type.__struct_fields__:
        hint = hints[field]
        if hint in _FIXED:
            fixed += _FIXED[hint]
        elif hint is Command:
            fixed += 33
            parts.append(f"m.{field}.size + (len(m.{field}.key) - 8 if type(m.{field}.key) is str else 0)")
        else:
            parts.append(f"_value_bytes(m.{field})")
    if not parts:
        return fixed
    source = f"lambda m: {fixed} + {' + '.join(parts)}"
    function: Callable[[Any], int] = eval(source, {"_value_bytes": _value_bytes})  # noqa: S307 - built from field names
    return function
