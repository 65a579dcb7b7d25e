"""Properties by name, in three moods.

- *always*: must hold in every state: agreement, validity, exactly once, execution order, linearizability, the
  protocol's own invariants, and that no handler raises;
- *reachable*: must happen in some execution, or the campaign fails: what never happened was not tested;
- *eventually*: must happen in every fair execution: judged on the graph of states, which ``Search.successors`` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.exploration.site import NO_EXCEPTION, OWN_INVARIANTS
from consensus_bench.verification.linearizability import LINEARIZABILITY
from consensus_bench.verification.online import AGREEMENT, EXACTLY_ONCE, EXECUTION_ORDER, VALIDITY

Mood: TypeAlias = Literal["always", "reachable", "eventually"]

LEADER_CHANGED: Final = "leader changed"


class Property(msgspec.Struct, frozen=True):
    """``fact`` is what has to happen, for the mood "reachable"."""

    name: str
    mood: Mood
    meaning: str
    fact: str = ""


_ALWAYS = {
    AGREEMENT: "no two commands are committed at one place, at any replica and in any life",
    VALIDITY: "what is committed was asked for; what is executed or answered was committed there before",
    EXACTLY_ONCE: "no replica executes a command twice in a life",
    EXECUTION_ORDER: "interfering commands execute in one order everywhere",
    LINEARIZABILITY: "what the clients saw is explained by one copy of the data",
    OWN_INVARIANTS: "the assertions of the protocol hold",
    NO_EXCEPTION: "no handler raises",
}
_REACHABLE = {
    "something is committed": "committed",
    "something is executed": "executed",
    "a client is answered": "answered",
    "a read without a place is answered": "read",
    "a replica restarts": "restarted",
    "a disk is damaged": "damaged",
    "a snapshot is taken": "snapshot",
    "a snapshot is installed": "installed",
    "a leader is elected": "elected",
    "the fast path is taken": "fast_path",
    "the slow path is taken": "slow_path",
    LEADER_CHANGED: LEADER_CHANGED,
}

PROPERTIES: Final[dict[str, Property]] = {
    **{name: Property(name, "always", meaning) for name, meaning in _ALWAYS.items()},
    **{name: Property(name, "reachable", f"in some execution {name}", fact) for name, fact in _REACHABLE.items()},
}
DEFAULT_REACHABLE: Final = ("something is committed", "something is executed", "a client is answered")


def find_properties(names: Iterable[str], crashes: int, decides: str, damages: int = 0) -> tuple[Property, ...]:
    """The named properties. Without a name of a mood: all that must always hold, and what every protocol must reach.
    Hyphens stand for spaces; an unknown name is a ``ConfigError``. Where there is one decision only (``decides``
    "single"), one command is executed and its history says nothing: linearizability must be asked for."""
    chosen = []
    for name in names:
        found = PROPERTIES.get(name.replace("-", " "))
        if found is None:
            known = ", ".join(known.replace(" ", "-") for known in PROPERTIES)
            raise ConfigError(f"property '{name}' is unknown: choose from {known}")
        chosen.append(found)
    if not any(p.mood == "always" for p in chosen):
        chosen += [
            p
            for p in PROPERTIES.values()
            if p.mood == "always" and not (p.name == LINEARIZABILITY and decides == "single")
        ]
    if not any(p.mood == "reachable" for p in chosen):
        chosen += [PROPERTIES[name] for name in DEFAULT_REACHABLE]
        if crashes:
            chosen.append(PROPERTIES["a replica restarts"])
        if damages:
            chosen.append(PROPERTIES["a disk is damaged"])
    return tuple(chosen)
