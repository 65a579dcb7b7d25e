"""Attacks on Multi-Paxos: what a new leader must do before it serves."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consensus_bench.attacks.attack import HOLDS, SAFETY, Attack
from consensus_bench.attacks.explored import Explored
from consensus_bench.attacks.scheduled import Scheduled, Table, swap
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.trace import Violation

RULES: Final = "consensus_bench.attacks.rules.multi_paxos:"
MADE_SIMPLE: Final = 'Lamport, "Paxos Made Simple" (2001), section 3'
CHANGE: Final = Bounds(timeouts=1, timers=("election",), first_leader=0)
"""A leader, and another one after it."""
QUIET: Final = msgspec.structs.replace(CHANGE, lost=("Nack", "Fetch", "Chosen", "Heartbeat", "Forward"))
"""The same, where nobody is told what it missed."""
RESTART: Final = msgspec.structs.replace(QUIET, crashes=1)
RETRY: Final = Bounds(ballots=1, commands=1, timeouts=0, first_leader=0, requests="anywhere")


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


def _attack(name: str, rule: str, bounds: Bounds, **what: Any) -> Attack:
    runner = Explored(unsafe=RULES + rule, safe="multi-paxos", bounds=bounds)
    return Attack(name=name, protocol="multi-paxos", runner=runner, expected=SAFETY, **what)


def _quorums(name: str, bounds: Bounds, sizes: tuple[int, int], **what: Any) -> Attack:
    """Of the two phases; the control has majorities."""
    settings = {"phase1_quorum": sizes[0], "phase2_quorum": sizes[1], "unsafe_quorums": sum(sizes) <= bounds.replicas}
    runner = Explored(unsafe="multi-paxos", safe="multi-paxos", bounds=bounds, unsafe_settings=settings)
    change = ", ".join(f"{option} = {value}" for option, value in settings.items() if value is not False)
    return Attack(
        name=name, protocol="multi-paxos", runner=runner, change=change.replace("True", "true"),
        source='Howard, Malkhi, Spiegelman, "Flexible Paxos" (OPODIS 2016)', **what,
    )  # fmt: skip


ATTACKS: Final = (
    _attack(
        "promise-not-on-disk-multi-paxos", "UnsafePromiseNotOnDisk", RESTART,
        assumption="a promise is on disk before it is heard of",
        guarantee="an old leader stays fenced off across a crash",
        change="_save_promise writes nothing",
        source='Lamport, "Paxos Made Simple" (2001), section 2.5',
    ),
    _attack(
        "acceptance-not-on-disk-multi-paxos", "UnsafeAcceptanceNotOnDisk", RESTART,
        assumption="an acceptance is on disk before it is heard of",
        guarantee="a new leader hears of what was chosen, across a crash",
        change="_vote writes nothing",
        source='Lamport, "Paxos Made Simple" (2001), section 2.5',
    ),
    _quorums(
        "quorums-disjoint-multi-paxos", CHANGE, (1, 2), expected=SAFETY,
        assumption="quorums of the two phases intersect",
        guarantee="a new leader hears of what was chosen",
    ),
    _quorums(
        "flexible-quorums-multi-paxos", QUIET, (3, 1), expected=HOLDS,
        assumption="every quorum is a majority",
        guarantee="none: only quorums of different phases must intersect",
    ),
    _attack(
        "new-leader-serves-early", "UnsafeServesDuringRecovery", CHANGE,
        assumption="a request that comes before phase 1 is done waits",
        guarantee="a new leader takes no slot in which something may be chosen",
        change="on_request of a candidate sends Accept at once",
        source=MADE_SIMPLE,
    ),
    _attack(
        "retry-executed-twice-multi-paxos", "UnsafeRetriesExecuted", RETRY,
        assumption="a retry is recognised by the state machine",
        guarantee="each command takes effect once",
        change="sessions remember nothing",
        source='Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3',
    ),
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
