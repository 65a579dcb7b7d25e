"""Values of a protocol in words, for traces: short, and the same in every process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consensus_bench.contract import CORRUPT, LOST, Command, View
from consensus_bench.contract.state import freeze

_COMMAND: Final = re.compile(
    r"Command\(client=-?\d+, sequence=\d+, kind='(\w+)', key='?(\w*)'?, value=(-?\d+), size=\d+\)"
)


def show(value: Any) -> str:
    """``value`` in words: a command as ``swap x=1``, a struct as ``Type(field=value)``, an empty value as ``none``."""
    if isinstance(value, Command):
        return show_command(value)
    if value == LOST or value is CORRUPT:
        return "lost" if value == LOST else "unreadable"
    if isinstance(value, msgspec.Struct):
        fields = ", ".join(f"{name}={show(getattr(value, name))}" for name in value.__struct_fields__)
        return f"{type(value).__name__}({fields})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(show, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(show, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{show(k)}: {show(v)}' for k, v in value.items())}}}"
    if hasattr(value, "key") and callable(value.key):
        return repr(freeze(value))
    return "none" if value is None else str(value)


def show_command(command: Command) -> str:
    """A command as a client would write it: ``swap x=1``, ``get x``, ``noop`` (with what a protocol wrote into it)."""
    if command.kind == "noop":
        return f"noop: {command.key}" if command.key else "noop"
    return f"{command.kind} {command.key}" + ("" if command.kind == "get" else f"={command.value}")


def show_detail(detail: str) -> str:
    """What a check says, with commands as a client would write them."""
    return _COMMAND.sub(lambda found: found[1] if found[1] == "noop" else f"{found[1]} {found[2]}={found[3]}", detail)


def show_view(view: View) -> str:
    """What a replica holds, place by place, in one line."""
    parts = [f"ballot {show(view.ballot)}"]
    if view.leader is not None:
        parts.append(f"follows {view.leader}")
    for place, entry in view.entries.items():
        at = "" if entry.ballot is None else f" at {show(entry.ballot)}"
        parts.append(f"{show(place)}: {entry.status} {show(entry.command)}{at}")
    return "; ".join(parts)
