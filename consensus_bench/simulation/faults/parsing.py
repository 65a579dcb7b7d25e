"""Faults from a scenario's tables or from one line (``--fault``), and back.

One line is ``KIND:TARGET@AT+DURATION``, then ``,KEY=VALUE`` for everything else: ``crash:leader@10+5``,
``partition:a>b@5 s+2 s``, ``slow-link:a|b@10,delay=50 ms``, ``crash:leader,when=leader elected,after=2 s``.
``crash-leader`` and ``crash-site:SITE`` are short for a crash of the leader and of a site with its clients.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.faults.kinds import KINDS, AnyFault, Fault
from consensus_bench.simulation.faults.times import parse_ns, time_text

_SHORT: Final[dict[str, dict[str, Any]]] = {
    "crash-leader": {"kind": "crash", "target": "leader"},
    "crash-site": {"kind": "crash", "clients": True},
}
_TIMES: Final = ("at", "after", "every", "duration", "delay", "period", "offset")
_HEAD: Final = re.compile(r"([^:@]+)(?::([^@]*))?(?:@([^+]*)(?:\+(.*))?)?")


def parse_faults(given: Any) -> tuple[Fault, ...]:
    """Faults from a list of tables and lines; ``ConfigError`` names the one that is wrong."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise ConfigError("faults: must be a list of tables or of lines as in 'crash:leader@10+5'")
    return tuple(entry if isinstance(entry, Fault) else parse_fault(entry) for entry in given)


def parse_fault(entry: Any) -> Fault:
    """One fault from a table or a line."""
    name = f"fault '{entry}'" if isinstance(entry, str) else f"fault {_inline(entry)}"
    try:
        return _fault(_table(entry) if isinstance(entry, str) else entry, strict=not isinstance(entry, str))
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        key = place.rstrip("`").removeprefix("$").lstrip(".")
        text = text.replace("`", "")
        raise ConfigError(f"{name}: {f'{key}: ' if key else ''}{text[:1].lower()}{text[1:]}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _inline(entry: Any) -> str:
    return ", ".join(f"{key} = {value}" for key, value in entry.items()) if isinstance(entry, Mapping) else str(entry)


def _fault(given: Any, strict: bool) -> Fault:
    if not isinstance(given, Mapping):
        raise ConfigError("must be a table or a line as in 'crash:leader@10+5'")
    table = dict(given)
    kind = table.get("kind")
    if kind is None:
        raise ConfigError(f"names no kind: choose from {', '.join(KINDS)}")
    table |= _SHORT.get(kind, {})
    known = KINDS.get(table["kind"])
    if known is None:
        raise ConfigError(f"kind '{kind}' is unknown{_near(str(kind), KINDS)}")
    for key in table:
        if key != "kind" and key not in known.__struct_fields__:
            raise ConfigError(f"key '{key}' is unknown to a {kind}{_near(key, known.__struct_fields__)}")
    for key in _TIMES:
        value = table.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            table[key] = str(value)
        if isinstance(table.get(key), str) and table[key]:
            table[key] = time_text(parse_ns(table[key], key))
    fault: Fault = msgspec.convert(table, AnyFault, strict=strict)
    return fault


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    return f"; did you mean '{matches[0]}'?" if matches else f": choose from {', '.join(names)}"


def _table(line: str) -> dict[str, Any]:
    head, *rest = re.split(r",(?=[a-z_]+=)", line.strip())
    match = _HEAD.fullmatch(head.strip())
    if match is None:
        raise ConfigError("write KIND:TARGET@AT+DURATION, as in crash:leader@10+5")
    names = ("kind", "target", "at", "duration")
    table = {name: text.strip() for name, text in zip(names, match.groups(), strict=True) if text is not None}
    for part in rest:
        key, _, value = part.partition("=")
        if key in table:
            raise ConfigError(f"'{key}' is given twice")
        table[key] = value.strip()
    return table


def fault_line(fault: Fault) -> str:
    """The line that stands for ``fault``: ``parse_fault(fault_line(f)) == f``."""
    data: dict[str, Any] = msgspec.to_builtins(fault)
    line = str(data.pop("kind")) + (f":{data.pop('target')}" if "target" in data else "")
    if "at" in data:
        line += f"@{_short(data.pop('at'))}"
        if "duration" in data:
            line += f"+{_short(data.pop('duration'))}"
    return line + "".join(f",{key}={_text(key, value)}" for key, value in data.items())


def _short(time: str) -> str:
    return time.removesuffix(" s").replace(" ", "")


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _short(value) if key in _TIMES else str(value)
