"""What travels between replicas: immutable values, comparable and hashable, told apart by their type.

Two messages of different types are never equal, even with equal fields (``msgspec`` compares the type first), so a set
of messages is a faithful network state for the explorer. Fields are numbers, strings, commands, and tuples or frozen
sets of those; never a list, dict or set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

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


_FIXED: Final[dict[Any, int]] = {int: 8, float: 8, bool: 1, type(None): 1}


def _size_of(hint: Any, value: str, names: dict[str, Any]) -> tuple[int, str]:
    """The size of a field of type ``hint``: a fixed part, and an expression over ``value`` for the rest (or "").
    Functions that the expression needs are put into ``names``."""
    if hint in _FIXED:
        return _FIXED[hint], ""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Command:
        return 25, f"{value}.size + (8 if type({value}.key) is int else len({value}.key))"
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        fixed, rest = _size_of(arguments[0], "v", names)
        each = f"{fixed} * len({value})" if fixed else ""
        several = f"sum([{rest} for v in {value}])" if rest else ""
        return 2, " + ".join(filter(None, (each, several)))
    if origin is tuple:
        parts = [_size_of(argument, f"{value}[{i}]", names) for i, argument in enumerate(arguments)]
        return 2 + sum(fixed for fixed, _ in parts), " + ".join(rest for _, rest in parts if rest)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        parts = [_size_of(hints[f], f"{value}.{f}", names) for f in hint.__struct_fields__]
        return sum(fixed for fixed, _ in parts), " + ".join(rest for _, rest in parts if rest)
    names["_value_bytes"] = _value_bytes
    return 0, f"_value_bytes({value})"


@cache
def sizer(message_type: type[Message]) -> int | Callable[[Any], int]:
    """The wire size of a message type: a number where all its fields have a fixed size, else a function.

    Exactly ``wire_bytes``, prepared once per type from its annotations, because it is asked for on every send.
    """
    names: dict[str, Any] = {}
    fixed, rest = _size_of(message_type, "m", names)
    fixed += FRAME_BYTES
    if not rest:
        return fixed
    function: Callable[[Any], int] = eval(f"lambda m: {fixed} + {rest}", names)  # noqa: S307 - built from annotations
    return function
