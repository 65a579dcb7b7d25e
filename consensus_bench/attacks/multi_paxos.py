"""Attacks on Multi-Paxos: what a new leader must do before it serves."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.attacks.attack import SAFETY, Attack
from consensus_bench.attacks.explored import Explored
from consensus_bench.attacks.scheduled import Scheduled, Table, swap
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.trace import Violation

RULES: Final = "consensus_bench.attacks.rules.multi_paxos:"
MADE_SIMPLE: Final = 'Lamport, "Paxos Made Simple" (2001), section 3'
CHANGE: Final = Bounds(timeouts=1, timers=("election",), first_leader=0)
"""A leader, and another one after it."""


def reign_after_reign(table: Table) -> None:
    """Replica 1 passes a request on to leader 0 and crashes. While it is under way 2 leads, and serves another one;
    then 0 leads again, and gets it: made under its first leadership, with all that its client had seen then."""
    everyone = (0, 1, 2)
    table.fire(0, "election")
    table.exchange(everyone)
    table.fire(0, "heartbeat")
    table.exchange(everyone)
    table.ask(1, swap(0))
    table.crash(1)
    table.fire(2, "election")
    table.exchange(everyone, keep=("Forward",))
    table.ask(2, swap(1))
    table.exchange(everyone, keep=("Forward",))
    table.fire(0, "election")
    table.exchange(everyone, keep=("Forward",))
    table.exchange(everyone)


def late_requests(execution: Execution) -> Violation | None:
    """A command that was passed on to one leadership, and first proposed by another. No history of clients shows it:
    one who got no answer must reckon with its command for ever, which is the very thing that epochs are to end."""
    asked: dict[Any, Any] = {}
    proposed: dict[Any, Any] = {}
    for envelope, message in zip(execution.envelopes, execution.messages, strict=True):
        fields: Any = message
        if envelope.kind == "Forward":
            asked.setdefault(fields.command, fields.ballot)
        elif envelope.kind == "Accept":
            for command in fields.commands:
                proposed.setdefault(command, fields.ballot)
    for command, made_to in asked.items():
        by = proposed.get(command, made_to)
        if by != made_to:
            detail = f"client {command.client}'s command was asked of leadership {made_to}, and {by} proposes it"
            return Violation(property="epochs", detail=detail)
    return None


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
    Attack(
        name="epochs-not-checked",
        protocol="multi-paxos",
        assumption="a request from an earlier leadership is recognised",
        guarantee="whoever saw the leader change knows that its command takes no effect any more",
        change="_is_current is always true, with epochs = true",
        expected=SAFETY,
        source='Chandra, Griesemer, Redstone, "Paxos Made Live" (PODC 2007), section 5.1',
        runner=Scheduled(
            unsafe=RULES + "UnsafeEpochsUnchecked", safe="multi-paxos", script=reign_after_reign, judge=late_requests,
            commands=(swap(0), swap(1)), settings={"epochs": True},
        ),
    ),
)  # fmt: skip
