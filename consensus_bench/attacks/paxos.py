"""Attacks on Basic Paxos. Bounds are the smallest in which the attack is known to succeed."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.attacks.attack import HOLDS, LIVENESS, SAFETY, Attack
from consensus_bench.attacks.duel import Duel
from consensus_bench.attacks.explored import Explored
from consensus_bench.exploration.exhaustive.bounds import Bounds

RULES: Final = "consensus_bench.attacks.rules.basic_paxos:"
PAXOS: Final = "basic-paxos"
MADE_SIMPLE: Final = 'Lamport, "Paxos Made Simple" (2001)'
FLEXIBLE: Final = 'Howard, Malkhi, Spiegelman, "Flexible Paxos" (OPODIS 2016)'
TWO: Final = Bounds()
PAXOS_IN_SHORT: Final = (
    "Three replicas are to choose one value. Whoever wants one takes a ballot, a number above all it knows, and asks "
    "for promises to accept nothing at a lower ballot (Prepare, Promise). With two of three, its own among them, it "
    "asks to accept its value, or the one that a promise reports (Accept, Accepted). What two have accepted at one "
    "ballot is chosen."
)
CRASH: Final = Bounds(crashes=1)
THREE: Final = Bounds(ballots=3, rounds=2, timeouts=1, lost=("Nack", "Decided", "Query"))
"""Three ballots, of two rounds; nobody is told that it was outbid, or what was decided."""


def _attack(name: str, rule: str, bounds: Bounds, **what: Any) -> Attack:
    safe = what.pop("safe", PAXOS)
    runner = Explored(unsafe=RULES + rule, safe=safe, bounds=bounds)
    return Attack(name=name, protocol=PAXOS, runner=runner, **{"expected": SAFETY, **what})


ATTACKS: Final = (
    Attack(
        name="dueling-proposers",
        protocol=PAXOS,
        assumption="a distinguished proposer",
        guarantee="something is decided in the end",
        change="two proposers that try again at once (backoff_ms = 0,0), each between the two phases of the other",
        expected=LIVENESS,
        source=f"{MADE_SIMPLE}, section 2.4; Fischer, Lynch, Paterson, JACM 32(2), 1985",
        story=(
            PAXOS_IN_SHORT,
            "1-2: replica 0 prepares ballot 1.0, and replica 1 promises to accept nothing lower.",
            "3-4: before it goes on, replica 1 prepares a ballot of its own, 2.1, and has 0's promise.",
            "5-6: too late, 0 asks to accept x=1 at 1.0: 1 has promised 2.1 and refuses.",
            "7-8: 0 tries again, with 3.0, and 1 promises. 9-10: now it is 1 that comes too late, with x=2 at 2.1.",
            "11-12: so 1 tries again, with 4.1; and so on for ever. No rule is broken, and nothing is chosen.",
        ),
        runner=Duel(),
    ),
    _attack(
        "promise-not-on-disk", "UnsafePromiseNotOnDisk", CRASH,
        assumption="a promise is on disk before it is heard of",
        guarantee="agreement across a crash",
        change="_save_promise writes nothing",
        source=f"{MADE_SIMPLE}, section 2.5",
        story=(
            PAXOS_IN_SHORT,
            "1-2: replica 1 prepares ballot 1.1 for x=2. Replica 0 promises, but only in its memory.",
            "3-4: replica 0 crashes, and comes back. Its disk knows of no promise.",
            "5-7: it prepares the lower ballot 1.0 for x=1. Replica 2 promises, so that it has two of three, and "
            "accepts x=1 itself. Had it remembered 1.1, it could have accepted nothing at 1.0.",
            "8-9: the old promise arrives. Replica 1 has two of three as well, and has heard of no other value: it and "
            "replica 0 accept x=2 at 1.1.",
            "10-12: replica 2 accepts x=1 at 1.0, as replica 0 had in 7. So 0 and 2 have accepted x=1, 0 and 1 have "
            "accepted x=2: two values are chosen, and two replicas act on them.",
        ),
        incident="scylladb issue 6154 (2020): a replica whose Paxos state had been pruned forgot a ballot that it had "
        "served, and accepted below it; two conflicting transactions succeeded",
    ),
    _attack(
        "acceptance-not-on-disk", "UnsafeAcceptanceNotOnDisk", CRASH,
        assumption="an acceptance is on disk before it is heard of",
        guarantee="agreement across a crash",
        change="_save_acceptance writes nothing",
        source=f"{MADE_SIMPLE}, section 2.5",
        story=(
            PAXOS_IN_SHORT,
            "1-4: at ballot 1.1 replica 1 has two promises, and replica 0 and itself accept x=2: it is chosen. But "
            "they have it only in memory.",
            "5-6: replica 0 crashes, and comes back. Its disk knows of the promise, not of the value.",
            "7-9: it prepares ballot 2.0. Its own promise and that of replica 2 report no value: it is free to propose "
            "x=1, and accepts it.",
            "10-12: replica 2 accepts it too. Only now replica 1 hears of the old acceptance: two values are chosen.",
        ),
        incident="scylladb issue 6149 (2020): what a replica had accepted expired after a time, and a value that had "
        "lost was chosen as well; etcd issue 14370 (2022): a single "
        "member lost a write in a crash that it had acknowledged",
    ),
    _attack(
        "own-value", "UnsafeOwnValue", TWO,
        assumption="a proposer adopts the value that was reported to it",
        guarantee="what is chosen stays chosen",
        change="_choose_proposal returns the client's value",
        source=f"{MADE_SIMPLE}, section 2.2, P2c",
        incident="CASSANDRA-12126: a lightweight transaction missed an accepted value that a later one replayed",
    ),
    _attack(
        "any-reported-value", "UnsafeAnyReportedValue", THREE,
        assumption="of the reported values the one of the highest ballot",
        guarantee="what is chosen stays chosen (needs three ballots to be seen)",
        change="_choose_proposal takes the lowest ballot",
        source=f"{MADE_SIMPLE}, section 2.2, P2c",
    ),
    _attack(
        "no-phase-1", "UnsafeNoPhase1", TWO,
        assumption="phase 1 comes before phase 2",
        guarantee="a new proposer knows what may be chosen",
        change="_prepare also sends Accept",
        source=f"{MADE_SIMPLE}, section 2.2",
    ),
    _attack(
        "no-ballot-check", "UnsafeNoBallotCheck", TWO,
        assumption="an acceptor accepts nothing below its promise",
        guarantee="an old proposer is fenced off",
        change="on_accept forgets the promise first",
        source=f"{MADE_SIMPLE}, section 2.2, P1a",
        incident="scylladb issue 6139 (2020): an acceptor that had accepted without having promised first accepted "
        "at a lower ballot afterwards",
    ),
    _attack(
        "old-promises", "UnsafeOldPromises", THREE,
        assumption="promises of an older ballot do not count",
        guarantee="a quorum has promised this ballot",
        change="on_promise takes any promise for one of the ballot under way",
        source=f"{MADE_SIMPLE}, section 2.2",
    ),
    _attack(
        "old-votes", "UnsafeOldVotes", THREE,
        assumption="votes of an older ballot do not count",
        guarantee="a quorum has accepted at one ballot",
        change="on_accepted takes any vote for one of the ballot under way",
        source=f"{MADE_SIMPLE}, section 2.2",
    ),
    _attack(
        "ballots-collide", "UnsafeSharedBallots", TWO, safe=RULES + "AnswersAgain",
        assumption="no two proposers use the same ballot",
        guarantee="one value a ballot",
        change="_new_ballot leaves the replica's number out (a repeated Prepare is answered again, in the control too)",
        source=f'{MADE_SIMPLE}, section 2.5; Chandra, Griesemer, Redstone, "Paxos Made Live" (PODC 2007)',
        incident="KAFKA-10527 (apache/kafka pull request 9348, 2020): a leader that restarted led the same epoch "
        "again, so that two records could share epoch and offset",
    ),
    _attack(
        "one-vote", "UnsafeOneVote", TWO,
        assumption="a majority's votes decide",
        guarantee="any two decisions share an acceptor",
        change="on_accepted decides on the first vote",
        source=f"{MADE_SIMPLE}, section 2.1",
    ),
    _attack(
        "disjoint-quorums", "UnsafeHalves", Bounds(replicas=4),
        assumption="any two quorums intersect",
        guarantee="a later ballot hears of an earlier decision",
        change="_is_quorum is content with two of four",
        source=f"{MADE_SIMPLE}, section 2.1",
        incident="scylladb issues 5251 and 6305: quorums of two topologies that did not intersect",
    ),
    _attack(
        "flexible-quorums-disjoint", "UnsafeFlexibleQuorums", TWO,
        assumption="quorums of the two phases intersect",
        guarantee="a later ballot hears of an earlier decision",
        change="_is_quorum: one promise, two votes of three",
        source=FLEXIBLE,
    ),
    _attack(
        "flexible-quorums", "FlexibleQuorums", TWO, expected=HOLDS,
        assumption="every quorum is a majority",
        guarantee="none: only quorums of different phases must intersect",
        change="_is_quorum: three promises, one vote of three",
        source=FLEXIBLE,
    ),
)  # fmt: skip
