"""What a space-time diagram says of messages, disks and replicas, in few words: the trace has the rest."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any, Final

from consensus_bench.exploration.trace import Envelope, Order

WIDEST: Final = 26
"""Characters in one line of a label."""
LONGEST: Final = 3 * WIDEST
"""Characters of a label."""
LONGEST_RECORD: Final = 2 * WIDEST
"""Of a record that is shown as it is; of a longer one, only what it is about."""
UNTOLD: Final = (
    "last_log_index", "last_log_term", "previous_index", "previous_term", "quorum", "open_after_ns", "first_leader",
)  # fmt: skip
"""Fields of messages that no diagram has room for."""

ABOVE_ALL: Final = 10**14
"""The round of a ballot above all others, which means chosen, is above this."""

SHORT: Final = (
    (r"\b[A-Z]\w+\(", "("),
    (r"\bcommand=|\binstance=\(\d+, \d+\), |, seq=0\b", ""),
    (r"\bballot=\(0, \d+\), |, (?:quorum|open_after_ns)=\d+", ""),
    (r"\b(term|ballot|seq)=", r"\1 "),
    (r"\b(?:swap|put) (\w+=)", r"\1"),
    (r"\bnoop\b", "no-op"),
    (r"\(\d{15,}, \d+\), ", "chosen: "),
)
"""In what a trace says of a disk: types, names of fields, and the ballot above all others, which means chosen."""


def label_of(envelope: Envelope) -> str:
    """A message in few words: its kind, its ballot or term, and what it carries."""
    parts = [_words(name, value) for name, value in envelope.fields.items()]
    return textwrap.shorten(" ".join([envelope.kind, *filter(None, parts)]), LONGEST, placeholder=" ...")


def order_of(order: Order) -> list[str]:
    """What an operator asks for, in lines."""
    parts = [order.kind, *(f"{name} {value_of(value)}" for name, value in order.fields.items())]
    return wrapped(" ".join(parts))


def unreadable(damage: Any) -> list[str]:
    """What a restarted replica cannot read, in lines."""
    if damage is None:
        return []
    if damage == "lost":
        return ["the disk is empty"]
    return [f"unreadable: {value_of(key)}" for key in damage]


def _words(name: str, value: Any) -> str:
    """A field; nothing, where it says nothing."""
    said = name.replace("_", " ")
    if name == "granted":
        return said if value else "refused"
    if value is True:
        return said
    if name == "instance":
        return value_of(value)
    if name in UNTOLD or not value or (_is_pair(value) and value[0] == 0):
        return ""
    if name == "deps":
        return _after(value).strip()
    text = value_of(value)
    return text if name in ("ballot", "term", "command") else f"{said} {text}"


def _is_pair(value: Any) -> bool:
    """Of numbers: a ballot, with round 0 for none, or an instance."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, int) for part in value)


def _after(last: Iterable[int]) -> str:
    """The instances that one comes after: of each row the last one, -1 for none."""
    known = ", ".join(f"{row}.{number}" for row, number in enumerate(last) if number >= 0)
    return f" after {known}" if known else ""


def value_of(value: Any) -> str:
    """A value of JSON: a ballot as round and replica, a command as what it does to its key."""
    if isinstance(value, dict):
        if "kind" in value and "key" in value:
            if value["kind"] == "noop":
                return "no-op"
            return f"{value['key']}={value['value']}" if value["kind"] != "get" else f"get {value['key']}"
        return " ".join(filter(None, (_words(k, v) for k, v in value.items())))
    if isinstance(value, list):
        if _is_pair(value):
            return f"{value[0]}.{value[1]}" if value[0] < ABOVE_ALL else "chosen"
        return "[" + ", ".join(map(value_of, value)) + "]"
    return str(value)


def compact(text: str) -> str:
    """What a trace says, with ballots and commands as in the labels of messages, and no longer than can be read."""
    for pattern, short in SHORT:
        text = re.sub(pattern, short, text)
    text = re.sub(r",? ?\bdeps=\(([-\d, ]+)\)", lambda found: _after(map(int, found[1].split(","))), text)
    text = re.sub(r"(?<!vote = )\((\d+), (\d+)\)", r"\1.\2", text)
    return textwrap.shorten(text, LONGEST, placeholder=" ...")


def record_of(text: str) -> str:
    """A record that is written, as ``key = value``."""
    key, equals, _ = text.partition(" = ")
    said = compact(text)
    return said if len(said) <= LONGEST_RECORD or not equals else f"{compact(key)} written"


def news(before: str, after: str, terms: bool) -> list[str]:
    """What a replica holds and did not before: the ballot that it has promised (``terms``: its term), what it has
    accepted."""
    known = before.split("; ")
    found = []
    for part in after.split("; "):
        place, accepted, what = part.partition(": accepted ")
        if part not in known and (accepted or part.startswith("ballot ")):
            said = f"accepted {what}" if accepted else part.replace("ballot", "promised", 1)
            said = compact(said if place == "0" or not accepted else f"{place}: {said}")
            found.append(re.sub(r"(promised|at) (\d+)\.0", r"term \2", said) if terms else said)
    return found


def wrapped(text: str) -> list[str]:
    """In lines of a label."""
    return textwrap.wrap(text, WIDEST) or [""]
