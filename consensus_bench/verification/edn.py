"""A reader for the part of EDN (https://github.com/edn-format/edn) in which Jepsen writes histories.

Vectors and lists become tuples, maps ``Map``, sets frozen sets, ``nil`` None; keywords and symbols (``true`` among
them, which must not be mistaken for 1) keep types of their own; a tag is dropped and its value kept.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any, Final

import msgspec

_TOKEN: Final = re.compile(
    r"""(?P<space>[\s,]+|;[^\n]*)
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<open>\#\{|[\[{(])
      | (?P<close>[\]})])
      | (?P<discard>\#_)
      | (?P<tag>\#[^\W\d_][^\s,;"\[\]{}()]*)
      | (?P<atom>[^\s,;"\[\]{}()]+)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES: Final = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_INTEGER: Final = re.compile(r"[+-]?\d+N?")
_FLOAT: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?M?")


class EdnError(ValueError):
    """Text that is not EDN. ``line`` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class Keyword(msgspec.Struct, frozen=True):
    """``:name``"""

    name: str

    def __repr__(self) -> str:
        return f":{self.name}"


class Symbol(msgspec.Struct, frozen=True):
    """A bare word, ``true`` and ``false`` among them."""

    name: str

    def __repr__(self) -> str:
        return self.name


class Map(dict[Hashable, Any]):
    """A map, with the line on which it begins. Never changed once read, and hashable as Clojure's are."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def read(text: str) -> Iterator[tuple[int, Any]]:
    """The values of ``text`` with the line on which each begins. Raises ``EdnError``."""
    open_: list[tuple[str, int, list[Any]]] = []  # bracket, line, members
    discards: list[int] = []  # how many members its collection had when a #_ came
    line, at, outermost = 1, 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise EdnError(line, 'a string is not closed: a " is missing')
        at = match.end()
        token, kind = match.group(), match.lastgroup
        if not open_:
            outermost = line
        here = line
        line += token.count("\n")
        if kind in ("space", "tag"):
            continue
        if kind == "discard":
            discards.append(len(open_))
            continue
        if kind == "open":
            open_.append((token, here, []))
            continue
        if kind == "close":
            if not open_ or _CLOSES[open_[-1][0]] != token:
                expected = f"a {_CLOSES[open_[-1][0]]!r} is due" if open_ else "nothing is open"
                raise EdnError(here, f"{token!r} closes nothing: {expected}")
            value = _collection(*open_.pop())
        else:
            value = _string(token, here) if kind == "string" else _atom(token)
        if discards and discards[-1] == len(open_):
            discards.pop()
        elif open_:
            open_[-1][2].append(value)
        else:
            yield outermost, value
    if open_:
        raise EdnError(open_[-1][1], f"the {open_[-1][0]!r} opened here is not closed")


def _collection(bracket: str, line: int, members: list[Any]) -> Any:
    if bracket == "#{":
        return frozenset(members)
    if bracket != "{":
        return tuple(members)
    if len(members) % 2:
        raise EdnError(line, "a map must have a value for each key")
    found = Map(line)
    found.update(zip(members[::2], members[1::2], strict=True))
    return found


def _string(token: str, line: int) -> str:
    def unescape(match: re.Match[str]) -> str:
        code = match.group(1)
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise EdnError(line, f"\\{code} is no escape in a string")
        return _ESCAPES[code]

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", unescape, token[1:-1], flags=re.DOTALL)


def _atom(token: str) -> Hashable:
    if token == "nil":
        return None
    if token.startswith(":"):
        return Keyword(token[1:])
    if _INTEGER.fullmatch(token):
        return int(token.rstrip("N"))
    if _FLOAT.fullmatch(token):
        return float(token.rstrip("M"))
    return Symbol(token)
