"""Writes the TOML that scenarios need: scalars, lists of scalars or tables, tables of these (Python only reads it)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def to_toml(data: Mapping[str, Any]) -> str:
    """``data`` as a TOML document: plain keys first, then tables, in the order of ``data``."""
    lines: list[str] = []
    _write(lines, (), data)
    return "\n".join(lines) + "\n"


def _write(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            inner = (*path, key)
            if any(not isinstance(v, Mapping) for v in value.values()):
                lines += ["", f"[{'.'.join(map(_key, inner))}]"]
            _write(lines, inner, value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _string(text: str) -> str:
    """A JSON string is a TOML basic string, but for surrogate pairs and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
