"""Attacks on Raft. Without PreVote and CheckQuorum where these would hide what a rule is for."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.attacks.attack import LIVENESS, SAFETY, Attack
from consensus_bench.attacks.deposed import Deposed
from consensus_bench.attacks.explored import Explored
from consensus_bench.attacks.scheduled import Scheduled, Table, swap
from consensus_bench.exploration.exhaustive.bounds import Bounds

RULES: Final = "consensus_bench.attacks.rules.raft:"
PLAIN: Final[dict[str, Any]] = {"pre_vote": False, "check_quorum": False}
PAPER: Final = 'Ongaro, Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014)'
THESIS: Final = 'Ongaro, "Consensus: Bridging Theory and Practice" (2014)'
CHANGE: Final = Bounds(timeouts=1, timers=("election",), first_leader=0)
"""A leader, and another one after it."""
RESTART: Final = Bounds(
    crashes=1, commands=1, timeouts=1, timers=("election",), first_leader=0, lost=("Forward", "Refused", "Conflict")
)
RETRY: Final = Bounds(
    ballots=1, commands=1, timeouts=0, first_leader=0, requests="anywhere", lost=("Refused", "Conflict")
)


def figure_8(table: Table) -> None:
    """Three servers suffice: 0 replicates an entry of term 1 in term 3, and 1, elected in term 4 with an entry of term
    2, overwrites it. One entry a message, so that no entry of term 3 comes with it."""
    append = ("AppendEntries",)
    table.fire(0, "election")
    table.exchange((0, 1, 2))
    table.ask(0, swap(0))
    table.lose()
    table.fire(1, "election")  # term 2, by 2: it appends its no-op, which nobody gets
    table.exchange((0, 1, 2), keep=append)
    table.lose()
    table.fire(0, "election")  # term 3, by 2
    table.exchange((0, 1, 2), keep=append)
    for _ in range(2):  # 2 lacks the entry before the no-op, then it gets that of term 1
        table.deliver(0, 2, "AppendEntries")
        table.exchange((0, 2), keep=append)
    table.lose()
    table.fire(1, "election")  # term 4, by 2: its last term is 2, that of 2 is 1
    table.exchange((1, 2))


def _attack(name: str, rule: str, bounds: Bounds, **what: Any) -> Attack:
    runner = Explored(unsafe=RULES + rule, safe="raft", bounds=bounds, settings=PLAIN)
    return Attack(name=name, protocol="raft", runner=runner, expected=SAFETY, **what)


ATTACKS: Final = (
    _attack(
        "raft-vote-not-on-disk", "UnsafeVoteNotOnDisk", RESTART,
        assumption="a vote is on disk before it is given",
        guarantee="one leader a term",
        change="_save_vote writes the term without whom it voted for",
        source=f"{PAPER}, figure 2",
        story=(
            "In Raft a server leads a term when two of three have voted for it, and each server votes once a term.",
            "1-2: server 1 begins term 1. Server 2 votes for it, and writes the term down without its vote.",
            "3-4: server 2 crashes, and comes back. As far as its disk knows it has not voted in term 1.",
            "5-6: so it votes again, for server 0, which leads now.",
            "7-8: server 1 hears of the first vote and leads the same term; server 0 notices.",
        ),
        incident="tikv issue 3572: two leaders in one term; PySyncObj issue 201: term and vote were not persisted",
    ),
    _attack(
        "raft-term-not-on-disk", "UnsafeTermNotOnDisk", RESTART,
        assumption="the term is on disk before it is heard of",
        guarantee="one leader a term, and terms that only rise",
        change="_save_vote writes nothing",
        source=f"{PAPER}, figure 2",
        incident="PySyncObj issue 201 (under Patroni): after a restart of all, terms began anew, and committed entries "
        "were overwritten",
    ),
    _attack(
        "raft-any-log", "UnsafeAnyLog", CHANGE,
        assumption="votes only for logs that are up-to-date",
        guarantee="a new leader has every committed entry",
        change="_is_up_to_date is always true",
        source=f"{PAPER}, section 5.4.1",
        incident="MongoDB's protocol version 0 lost writes that a majority had acknowledged (Jepsen, 3.4.0-rc3)",
    ),
    _attack(
        "raft-old-leader-obeyed", "UnsafeOldLeadersObeyed", CHANGE,
        assumption="messages of an earlier term are refused",
        guarantee="an old leader is fenced off",
        change="_is_outdated is always false",
        source=f"{PAPER}, section 5.1",
    ),
    _attack(
        "raft-early-acknowledgement", "UnsafeEarlyAcknowledgement", RESTART,
        assumption="entries are on disk before they are acknowledged",
        guarantee="what is committed survives a crash",
        change="_acknowledge does not wait for the disk",
        source=f"{PAPER}, figure 2",
        incident="ZOOKEEPER-3911, ZOOKEEPER-4785: acknowledged before proposals were on disk; transactions were lost",
    ),
    Attack(
        name="raft-figure-8",
        protocol="raft",
        assumption="only entries of the current term are counted",
        guarantee="what is committed stays committed (needs four terms to be seen)",
        change="_first_countable begins at the commit index",
        expected=SAFETY,
        source=f"{PAPER}, section 5.4.2, figure 8",
        incident='LogCabin issue 44 (2013), by Raft\'s author: "critical Raft data corruption bug: commitment of '
        'entries from prior terms"; later also canonical/raft issue 220, PySyncObj issue 169',
        runner=Scheduled(
            unsafe=RULES + "UnsafeOldTermsCounted", safe="raft", script=figure_8, commands=(swap(0),),
            settings={**PLAIN, "window": 1},
        ),
    ),
    Attack(
        name="raft-leaders-deposed",
        protocol="raft",
        assumption="whoever hears no leader disturbs none (PreVote and CheckQuorum)",
        guarantee="a leader that a majority hears stays and serves",
        change="pre_vote = false, check_quorum = false, while the link between the leader and one of two followers is "
        "cut; time-outs end at the worst moment",
        expected=LIVENESS,
        source='Howard, Abraham, "Raft does not Guarantee Liveness in the face of Network Faults" (Decentralized '
        f"Thoughts, 2020-12-12); {THESIS}, section 9.6",
        runner=Deposed(),
        story=(
            "In Raft a server leads a term when two of three have voted for it; who hears of a higher term obeys no "
            "lower one. The link between servers 0 and 2 is cut; server 1 is reached by both.",
            "1-6: server 0 leads term 1. A client asks it for x=1, and it sends the entry to server 1.",
            "7-9: server 2, which hears no leader, begins terms, and server 1 hears of term 2.",
            "10-11: so server 1 refuses the entry of term 1, and server 0 leads no more.",
            "12-14: it is elected again, since it has the longer log; and so on for ever, with higher terms.",
        ),
        incident="Cloudflare, 2020-11-02: a switch failed in part, and a member of etcd that did not hear the leader "
        "began elections again and again, while another one still heard it; 6 h 33 min of incident",
    ),
    _attack(
        "raft-retry-executed-twice", "UnsafeRetriesExecuted", RETRY,
        assumption="a retry is recognised by the state machine",
        guarantee="each command takes effect once",
        change="_is_new is always true, and sessions remember nothing",
        source=f"{THESIS}, section 6.3",
        incident="etcd issue 14890: a transaction that the client library sent again was applied twice",
    ),
)  # fmt: skip
