"""Attacks on Multi-Paxos: what a new leader must do before it serves."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.attacks.attack import SAFETY, Attack
from consensus_bench.attacks.explored import Explored
from consensus_bench.exploration.exhaustive.bounds import Bounds

RULES: Final = "consensus_bench.attacks.rules.multi_paxos:"
MADE_SIMPLE: Final = 'Lamport, "Paxos Made Simple" (2001), section 3'
CHANGE: Final = Bounds(timeouts=1, timers=("election",), first_leader=0)
"""A leader, and another one after it."""


def _attack(name: str, rule: str, bounds: Bounds, settings: dict[str, Any] | None = None, **what: Any) -> Attack:
    runner = Explored(unsafe=RULES + rule, safe="multi-paxos", bounds=bounds, settings=settings or {})
    return Attack(name=name, protocol="multi-paxos", runner=runner, expected=SAFETY, **what)


ATTACKS: Final = (
    _attack(
        "new-leader-skips-phase-1", "UnsafeNoPhase1", CHANGE,
        assumption="a leader has the promises of a quorum",
        guarantee="a new leader knows what may be chosen in every slot",
        change="_campaign leads at once",
        source=MADE_SIMPLE,
    ),
    _attack(
        "new-leader-own-value", "UnsafeOwnValue", CHANGE,
        assumption="a new leader proposes again what was reported",
        guarantee="what is chosen in a slot stays there",
        change="_highest_accepted reports nothing",
        source=MADE_SIMPLE,
    ),
    _attack(
        "new-leader-leaves-gaps", "UnsafeGapsClosed", CHANGE,
        assumption="a slot for which nothing was reported gets a no-op",
        guarantee="later values stay in their slots",
        change="_uncertain leaves the no-ops out",
        source=MADE_SIMPLE,
    ),
    _attack(
        "old-leader-served", "UnsafeOldLeadersServed", CHANGE,
        assumption="an acceptor accepts nothing below its promise",
        guarantee="an old leader is fenced off",
        change="on_accept forgets the promise for a moment",
        source=f"{MADE_SIMPLE}; section 2.2, P1a",
    ),
)  # fmt: skip
