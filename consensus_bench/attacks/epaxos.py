"""Attacks on EPaxos: its order, its disk, its recovery."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.attacks.attack import SAFETY, Attack
from consensus_bench.attacks.explored import Explored
from consensus_bench.attacks.scheduled import Scheduled, Table, swap
from consensus_bench.exploration.exhaustive.bounds import Bounds

RULES: Final = "consensus_bench.attacks.rules.epaxos:"
SOSP: Final = 'Moraru, Andersen, Kaminsky, "There Is More Consensus in Egalitarian Parliaments" (SOSP 2013)'
NO_RECOVERY: Final = Bounds(ballots=1, timeouts=0)
CRASH: Final = Bounds(ballots=1, timeouts=0, crashes=1)
RETRY: Final = Bounds(ballots=1, timeouts=0, commands=1, requests="anywhere")
MOST_SWEEPS: Final = 64


def joined_is_not_voted(table: Table) -> None:
    """Replica 0 commits its command with the vote of 1. Of 1's recovery replica 2 hears no more than the ballot, and of
    2's first ballot nobody hears: if 2 takes that for a vote of its own, it is the highest, and for nothing."""
    table.ask(0, swap(0))
    table.deliver(0, 1, "PreAccept")
    table.deliver(1, 0, "PreAcceptOk")
    table.lose()
    _recover(table, 1)
    table.deliver(1, 2, "Recover")
    table.lose()
    _recover(table, 2)
    table.lose()
    _recover(table, 2)
    table.exchange((1, 2))


def votes_of_anybody(table: Table) -> None:
    """Replica 0 commits, executes and answers with the equal votes of 3 and 4, and dies. 1, who had voted otherwise and
    has its own command accepted after that of 0, recovers with 2, who had heard nothing, and 3: one vote for what was
    committed, which proves nothing if the fast quorum can be anybody. So it begins again, now after its own command."""
    table.ask(1, swap(1))
    table.ask(0, swap(0))
    for voter in (1, 3, 4):
        table.deliver(0, voter, "PreAccept")
    for voter in (3, 4):
        table.deliver(voter, 0, "PreAcceptOk")
    table.exchange((1, 2, 3))
    _recover(table, 1)
    table.exchange((1, 2, 3))


def _recover(table: Table, replica: int) -> None:
    """Its timer fires until it loses patience. That it hears of nobody is part of the schedule."""
    for _ in range(MOST_SWEEPS):
        table.fire(replica, "sweep")
        if any(e.source == replica and e.kind == "Recover" for e in table.under_way()):
            return


def _attack(name: str, rule: str, bounds: Bounds, **what: Any) -> Attack:
    runner = Explored(unsafe=RULES + rule, safe="epaxos", bounds=bounds)
    return Attack(name=name, protocol="epaxos", runner=runner, expected=SAFETY, **what)


ATTACKS: Final = (
    _attack(
        "epaxos-pre-acceptance-not-on-disk", "UnsafePreAcceptanceNotOnDisk", CRASH,
        assumption="a pre-acceptance is on disk before it is heard of",
        guarantee="interfering commands know of each other across a crash",
        change="_save_pre_accepted writes nothing",
        source=f"{SOSP}, section 4.4",
    ),
    _attack(
        "epaxos-fast-path-although-replies-differ", "UnsafeFastPath", NO_RECOVERY,
        assumption="the fast path needs equal replies",
        guarantee="interfering commands execute in one order",
        change="_agrees is always true",
        source=f"{SOSP}, section 4.3",
    ),
    _attack(
        "epaxos-executed-as-committed", "UnsafeExecutedAsCommitted", NO_RECOVERY,
        assumption="dependencies are executed first",
        guarantee="interfering commands execute in one order",
        change="the graph finds every command free",
        source=f"{SOSP}, section 4.3.2",
    ),
    _attack(
        "epaxos-cycle-in-order-of-arrival", "UnsafeArrivalOrder", NO_RECOVERY,
        assumption="a cycle is ordered by replicated data",
        guarantee="interfering commands execute in one order",
        change="_ordered leaves a component as it was found",
        source=f"{SOSP}, section 4.3.2",
    ),
    _attack(
        "retry-executed-twice-epaxos", "UnsafeRetriesExecuted", RETRY,
        assumption="a command that was asked of two replicas is recognised by the state machine",
        guarantee="each command takes effect once",
        change="sessions remember nothing",
        source='Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3',
    ),
    Attack(
        name="epaxos-single-ballot",
        protocol="epaxos",
        assumption="the ballot joined is kept apart from that of the last vote",
        guarantee="recovery finds what may have been committed",
        change="unsafe_single_ballot = true",
        expected=SAFETY,
        source='Sutra, "On the correctness of Egalitarian Paxos" (Information Processing Letters 156, 2020)',
        runner=Scheduled(
            unsafe="epaxos", safe="epaxos", script=joined_is_not_voted, commands=(swap(0),),
            unsafe_settings={"unsafe_single_ballot": True},
        ),
        incident="the published protocol, its TLA+ specification and its implementation, from 2013 to 2019",
    ),
    Attack(
        name="epaxos-published-fast-quorum",
        protocol="epaxos",
        assumption="recovery knows whose equal votes commit on the fast path",
        guarantee="recovery finds what was committed",
        change='unsafe_any_quorum = true: rules = "sosp13" without thrifty, as published: any equal replies will do',
        expected=SAFETY,
        source=f"{SOSP}, sections 4.4, 4.7",
        runner=Scheduled(
            unsafe="epaxos", safe="epaxos", script=votes_of_anybody, replicas=5, commands=(swap(0), swap(1)),
            settings={"rules": "sosp13"}, unsafe_settings={"unsafe_any_quorum": True},
        ),
    ),
)  # fmt: skip
