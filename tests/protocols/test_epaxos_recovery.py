"""EPaxos' recovery rule by rule, and the published errors: what goes wrong without a rule, and not with it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from epaxos_mutants import (
    AcceptDoesNotJoin,
    AlwaysBeginsAgain,
    AnyConflictExcludes,
    AnyWaitExcludes,
    CommitLeavesEarly,
    ComparesWithZero,
    CountsOldAnswers,
    FastQuorumTooSmall,
    ForgetsAccepted,
    ForgetsAcceptedNoop,
    NeverMayHaveCommitted,
    OneVoteTooFew,
    PreAcceptanceNotDurable,
    PreAcceptLeavesEarly,
    PromiseNotRecorded,
    RefusalNotDurable,
    SingleBallot,
    TakesTheLowestVote,
    TriesAfterAccept,
    TriesNothing,
    TryingIsVoting,
    ValidateLeavesNoTrace,
    ValidatesNothing,
    WaitsForEver,
)
from epaxos_table import MS, Table, get, put

from consensus_bench.contract import NOOP, Cluster, Context
from consensus_bench.contract.context import BROADCAST_UNSYNCED
from consensus_bench.contract.steps import Deliver
from consensus_bench.exploration import Faults, Load, run_seeds
from protocols.epaxos import LONG_PATIENCE_SWEEPS, PATIENCE_SWEEPS, EPaxos
from protocols.epaxos_messages import (
    ACCEPTED,
    Accept,
    AcceptOk,
    Commit,
    EPaxosOptions,
    PreAccept,
    PreAcceptOk,
    PreAcceptReply,
    Recover,
    RecoverOk,
    Refused,
    TryPreAccept,
    TryPreAcceptReply,
    Validate,
    ValidateOk,
    Waiting,
)

NONE3, NONE5 = (-1,) * 3, (-1,) * 5
FAR = ((0, 50 * MS, 10 * MS), (50 * MS, 0, 50 * MS), (10 * MS, 50 * MS, 0))
"""Three sites: 0 and 2 are near each other."""


# --- when to recover --------------------------------------------------------------------------------------------------


def test_what_a_silent_leader_left_is_recovered_after_two_sweeps_and_that_of_a_live_one_much_later() -> None:
    for alive, sweeps in (((0, 2), LONG_PATIENCE_SWEEPS), ((2,), PATIENCE_SWEEPS)):
        table = Table(3)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.drop()
        table.sweeps(1, sweeps - 1, alive)
        assert not table.under_way(Recover)
        table.sweeps(1, 1, alive)
        assert table.under_way(Recover)


def test_who_joins_anothers_recovery_waits_and_the_wait_doubles() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.drop()
    for attempt in range(1, 4):
        table.feed(1, Deliver(2, Recover((0, 0), (attempt, 2))))
        table.sweeps(1, (PATIENCE_SWEEPS << (attempt - 1)) - 1)
        assert not table.under_way(Recover, 1)
    table.sweeps(1, 1)
    assert table.under_way(Recover, 1) == [Recover((0, 0), (4, 1))] * 2


def test_an_instance_of_which_only_the_number_is_known_becomes_a_noop() -> None:
    """The number below it in its row was taken, and nobody has heard of what it holds."""
    table = Table(3)
    table.request(0, put(1, key="lost"))
    table.drop()
    table.request(0, put(2))
    table.settle(keep=lambda s, t, m: False)
    table.crash(0)
    table.pass_time(sweeps=6)
    assert table.committed[1][0, 0] == NOOP and table.committed[2][0, 0] == NOOP


def test_a_lower_ballot_is_refused_and_a_higher_one_follows() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.drop()
    table.feed(2, Deliver(1, Recover((0, 0), (7, 1))))
    table.drop()
    table.feed(2, Deliver(0, Recover((0, 0), (3, 0))))
    assert table.under_way(Refused, 2, 0) == [Refused((0, 0), (7, 1))]
    table.deliver(Refused, 2, 0)
    assert not table.replicas[0].leading
    table.take_over(0, (0, 0), 2)
    assert table.under_way(Accept)[0].ballot == (8, 0)  # type: ignore[attr-defined]


def test_after_a_higher_ballot_was_joined_older_messages_have_no_effect() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.feed(1, Deliver(2, Recover((0, 0), (5, 2))))
    table.drop()
    for message in (PreAccept((0, 0), (0, 0), put(1), NONE3, 0, 7, 0), Accept((0, 0), (0, 0), put(1), NONE3, 0)):
        table.feed(1, Deliver(0, message))
    assert table.messages == [(1, 0, Refused((0, 0), (5, 2)))] * 2
    assert table.replicas[1].live[0, 0].ballot == (5, 2)


def test_a_leader_that_joined_a_recovery_no_longer_commits() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.feed(0, Deliver(2, Recover((0, 0), (1, 2))))
    table.deliver(PreAcceptOk, 1, 0)
    assert not table.committed[0]


def test_recoverers_that_duel_end_with_one_decision() -> None:
    for rules in ("star", "sosp13"):
        table = Table(3, rules=rules)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.deliver(PreAccept, 0, 2)
        table.crash(0)
        table.drop()
        table.sweeps(1, 2, (2,))
        table.sweeps(2, 2, (1,))
        table.settle()
        table.pass_time(sweeps=8)
        assert table.committed[1] == table.committed[2] == {(0, 0): put(1)}


def test_a_promise_keeps_an_older_proposal_from_being_accepted() -> None:
    """1 has joined 2's recovery when 0's Accept of ballot 0 arrives; what 2 learned from 1 would no longer be true."""
    for protocol in (EPaxos, PromiseNotRecorded):
        table = Table(3, protocol)
        table.request(1, put(2))
        table.drop()
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.deliver(PreAcceptReply, 1, 0)
        table.take_over(2, (0, 0), 1)
        table.settle(keep=lambda s, t, m: s == 2 or t == 2 or isinstance(m, Commit))  # 1 answers 0
        table.settle(keep=lambda s, t, m: isinstance(m, Commit))
        first, second = table.decision(0, (0, 0)), table.decision(2, (0, 0))
        assert second == (NOOP, NONE3)
        assert (first in (None, second)) == (protocol is EPaxos)


def test_an_answer_counts_for_the_ballot_that_it_was_given_for() -> None:
    """2 answers 1's first recovery, and then accepts a no-op by 0. When 1 begins again the first answer arrives."""
    for protocol in (EPaxos, CountsOldAnswers):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.drop()
        table.begin_recovery(1, (0, 0))
        table.deliver(Recover, 1, 2)
        (old,) = table.under_way(RecoverOk, 2, 1)
        for _ in range(2):  # the first is refused
            table.begin_recovery(0, (0, 0))
            table.settle(keep=lambda s, t, m: 1 in (s, t) or isinstance(m, Commit))
        assert table.decision(0, (0, 0)) == (NOOP, NONE3)
        table.drop()
        table.begin_recovery(1, (0, 0))
        table.deliver(Recover, 1, 2)
        table.drop(RecoverOk)
        table.feed(1, Deliver(2, old))
        table.settle(keep=lambda s, t, m: 0 in (s, t))
        assert table.decision(1, (0, 0)) == (None if protocol is EPaxos else (put(1), NONE3))


@pytest.mark.parametrize(("protocol", "refused"), [(EPaxos, True), (ComparesWithZero, False)])
def test_a_ballot_lower_than_the_one_joined_is_not_joined(protocol: type[EPaxos], refused: bool) -> None:
    table = Table(3, protocol)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.drop()
    for ballot in ((5, 2), (3, 0)):
        table.feed(1, Deliver(ballot[1], Recover((0, 0), ballot)))
    assert bool(table.under_way(Refused, 1, 0)) == refused


@pytest.mark.parametrize(("protocol", "refused"), [(EPaxos, True), (AcceptDoesNotJoin, False)])
def test_accepting_joins_the_ballot(protocol: type[EPaxos], refused: bool) -> None:
    """The replica's own check says so at once; an older recovery would be joined."""
    table = Table(3, protocol)
    with nullcontext() if refused else pytest.raises(AssertionError, match="voted above the ballot joined"):
        table.feed(1, Deliver(2, Accept((0, 0), (2, 2), put(1), NONE3, 0)))
        table.feed(1, Deliver(0, Recover((0, 0), (1, 0))))
    assert bool(table.under_way(Refused, 1, 0)) == refused


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_a_pre_acceptance_that_a_crash_forgets_loses_a_fast_commit() -> None:
    for protocol in (EPaxos, PreAcceptanceNotDurable):
        table = fast_committed(protocol)
        table.crash(1)
        table.restart(1)
        table.take_over(2, (0, 0), 1)
        table.settle()
        assert (table.committed[2][0, 0] == put(1)) == (protocol is EPaxos)


def test_a_fast_decision_that_a_crash_forgets_must_not_have_been_heard_of() -> None:
    """The leader crashes before its decision is on disk. It will answer a recovery as one that had not committed."""
    for protocol in (EPaxos, CommitLeavesEarly):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        durable = dict(table.disks[0])
        effects = table.feed(0, Deliver(1, PreAcceptOk((0, 0), (0, 0))))
        table.disks[0] = durable
        if any(tag == BROADCAST_UNSYNCED for tag, _, _ in effects):
            table.deliver(Commit, 0, 2)
        table.crash(0)
        table.restart(0)
        table.settle(keep=lambda s, t, m: 2 in (s, t))
        assert table.committed[0][0, 0] == NOOP
        table.settle()
        assert (table.committed[2][0, 0] == NOOP) == (protocol is EPaxos)


def test_an_instance_that_a_crash_forgets_must_not_have_been_heard_of() -> None:
    """Its number would be given to another command."""
    for protocol in (EPaxos, PreAcceptLeavesEarly):
        table = Table(3, protocol)
        effects = table.request(0, put(1, key="a"))
        table.disks[0] = {}
        if any(tag == BROADCAST_UNSYNCED for tag, _, _ in effects):
            table.deliver(PreAccept, 0, 1)
        table.crash(0)
        table.restart(0)
        table.request(0, put(2, key="b"))
        table.deliver(PreAccept, 0, 1)
        instance = table.replicas[1].live[0, 0]
        assert (instance.command == put(2, key="b")) == (protocol is EPaxos)


def test_a_ballot_that_a_refusal_named_is_joined_across_a_crash() -> None:
    """1 is refused by 2, which has joined 4's ballot, and so it has joined that ballot when 4 asks it too. Were this
    not on its disk, it would join a lower one after a crash: 3 commits the command, 4 a no-op."""
    for protocol in (EPaxos, RefusalNotDurable):
        table = Table(5, protocol)
        table.request(2, put(3))
        for r in (0, 1):
            table.deliver(PreAccept, 2, r)
        table.drop()
        for recoverer in (4, 1):
            table.begin_recovery(recoverer, (2, 0))
            table.deliver(Recover, recoverer, 2)
        table.deliver(Refused, 2, 1)
        table.deliver(Recover, 4, 1)
        for r in (2, 1):
            table.deliver(RecoverOk, r, 4)
        given_up = [(to, message) for _, to, message in table.messages if isinstance(message, Accept) and to in (0, 2)]
        assert [message.command for _, message in given_up] == [NOOP] * 2  # type: ignore[attr-defined]
        table.crash(1)
        table.restart(1)
        table.drop()
        table.begin_recovery(3, (2, 0))
        table.settle(keep=lambda s, t, m: {s, t} & {2, 4} != set() or isinstance(m, Commit))
        table.drop()
        for to, message in given_up:
            table.feed(to, Deliver(4, message))
        table.settle(keep=lambda s, t, m: isinstance(m, Commit))
        assert table.decision(4, (2, 0)) == (NOOP, NONE5)
        assert (table.decision(3, (2, 0)) is None) == (protocol is EPaxos)


# --- EPaxos*: the five cases ------------------------------------------------------------------------------------------


def test_case_1_a_committed_value_is_taken_over() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.settle(keep=lambda s, t, m: t == 2)
    table.crash(0)
    table.drop()
    table.take_over(2, (0, 0))
    table.feed(1, Deliver(2, Recover((0, 0), (1, 2))))
    table.settle()
    assert table.decision(2, (0, 0)) == (put(1), NONE3)


def slow_path_chosen(protocol: type[EPaxos]) -> Table:
    """Instance (0, 0) is accepted by 0 and 1 with a dependency; 0 is dead."""
    table = Table(3, protocol)
    table.request(1, put(2))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptReply, 1, 0)
    table.deliver(Accept, 0, 1)
    table.deliver(AcceptOk, 1, 0)
    table.crash(0)
    return table


def test_case_2_an_accepted_value_is_proposed_again() -> None:
    table = slow_path_chosen(EPaxos)
    table.take_over(2, (0, 0), 1)
    assert table.under_way(Accept, 2, 1) == [Accept((0, 0), (1, 2), put(1), (-1, 0, -1), 0)]
    table = slow_path_chosen(ForgetsAccepted)
    table.take_over(2, (0, 0), 1)
    assert table.under_way(Accept, 2, 1) != [Accept((0, 0), (1, 2), put(1), (-1, 0, -1), 0)]


def test_case_2_of_accepted_values_that_of_the_highest_ballot() -> None:
    """A no-op was accepted at (1, 1) alone, and the command at (2, 0), by a majority perhaps."""
    for protocol in (EPaxos, TakesTheLowestVote):
        table = Table(5, protocol, rules="sosp13")
        table.begin_recovery(2, (0, 0))
        for source, ballot, noop in ((3, (0, 1), True), (4, (0, 2), False)):
            table.feed(2, Deliver(source, RecoverOk((0, 0), (1, 2), ballot, 2, put(1), noop, NONE5, 0, NONE5, 0)))
        proposed = table.under_way(Accept, 2)[0].command  # type: ignore[attr-defined]
        assert (proposed == put(1)) == (protocol is EPaxos)


def test_case_3_if_the_leader_answers_it_has_not_committed_and_the_instance_is_given_up() -> None:
    table = Table(5)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAccept, 0, 2)
    table.drop()
    table.take_over(1, (0, 0), 0, 2)
    assert table.under_way(Accept, 1, 0) == [Accept((0, 0), (1, 1), NOOP, NONE5, 0)]


def fast_committed(protocol: type[EPaxos], **options: Any) -> Table:
    """0 commits on the fast path with 1's reply; its Commit reaches nobody, and it dies."""
    table = Table(3, protocol, **options)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptOk, 1, 0)
    assert table.committed[0] == {(0, 0): put(1)}
    decided = table.disks[0].copy()
    table.crash(0)
    assert isinstance(decided[0, 0], Commit)
    return table


def test_case_4_what_the_dead_leader_may_have_committed_is_validated_and_committed() -> None:
    table = fast_committed(EPaxos)
    table.take_over(2, (0, 0), 1)
    assert table.under_way(Validate, 2, 1) == [Validate((0, 0), (1, 2), put(1), NONE3)]
    table.settle()
    assert table.committed[1] == table.committed[2] == {(0, 0): put(1)}
    table.restart(0)
    table.pass_time(sweeps=3)
    assert table.committed[0] == {(0, 0): put(1)}


def test_without_the_rule_a_fast_commit_is_lost() -> None:
    table = fast_committed(NeverMayHaveCommitted)
    table.take_over(2, (0, 0), 1)
    table.settle()
    assert table.committed[2] == {(0, 0): NOOP}, "and 0 has committed the command"


def test_case_5_what_cannot_have_been_committed_is_given_up() -> None:
    """1 pre-accepted with other dependencies than the leader's: no fast quorum without it."""
    table = Table(3)
    table.request(1, put(2))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.crash(0)
    table.drop()
    table.take_over(2, (0, 0), 1)
    assert table.under_way(Accept, 2, 1) == [Accept((0, 0), (1, 2), NOOP, NONE3, 0)]


def test_with_seven_replicas_two_unchanged_votes_of_four_are_needed() -> None:
    """|R| >= |Q| - e, e = 2."""
    for voters, possible in (((1,), False), ((1, 2), True)):
        table = Table(7)
        table.request(0, put(1))
        for r in voters:
            table.deliver(PreAccept, 0, r)
        table.crash(0)
        table.drop()
        table.take_over(3, (0, 0), 1, 2, 4)
        assert bool(table.under_way(Validate)) == possible
        assert bool(table.under_way(Accept)) != possible


def test_with_a_fast_quorum_that_is_too_small_recovery_cannot_tell() -> None:
    """Seven replicas, of which 0, 3 and 4 die. 1 and 2 hold 0's command as it was begun, 5 and 6 that of 4. With fast
    quorums of four, 3's vote would decide which of the two was committed."""
    for protocol in (EPaxos, FastQuorumTooSmall):
        table = Table(7, protocol)
        table.request(0, put(1))
        for r in (1, 2, 3):
            table.deliver(PreAccept, 0, r)
            table.deliver(PreAcceptOk, r, 0)
        table.request(4, put(5))
        for r in (5, 6):
            table.deliver(PreAccept, 4, r)
        committed = table.decision(0, (0, 0))
        table.crash(0, 3, 4)
        table.drop()
        table.pass_time(sweeps=12)
        recovered = table.decision(1, (0, 0))
        assert recovered is not None and table.decision(1, (4, 0)) is not None
        assert (committed in (None, recovered)) == (protocol is EPaxos)


# --- EPaxos*: Validate and Waiting ------------------------------------------------------------------------------------


def test_a_committed_command_that_does_not_see_it_excludes_it() -> None:
    for protocol in (EPaxos, ValidatesNothing):
        table = Table(5, protocol)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.crash(0)
        table.drop()
        table.request(2, put(2))
        for r in (3, 4):
            table.deliver(PreAccept, 2, r)
            table.deliver(PreAcceptOk, r, 2)
        assert table.committed[2] == {(2, 0): put(2)}
        table.drop()
        table.take_over(1, (0, 0), 2, 3)
        table.settle()
        assert (table.committed[1][0, 0] == NOOP) == (protocol is EPaxos)


def test_what_was_validated_is_remembered_by_those_who_had_not_heard_of_it() -> None:
    """2 never saw PreAccept(0, 0); after Validate its own command must depend on it, at whatever ballot that ends."""
    for protocol in (EPaxos, ValidateLeavesNoTrace):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.crash(0)
        table.drop()
        table.take_over(1, (0, 0), 2)
        table.deliver(Validate, 1, 2)
        table.drop()
        table.request(2, put(3))
        deps = table.under_way(PreAccept, 2)[0].deps  # type: ignore[attr-defined]
        assert (deps == (0, -1, -1)) == (protocol is EPaxos)
    assert table.replicas[2].options.rules == "star"


def conflicting(protocol: type[EPaxos] = EPaxos, fast: bool = False) -> Table:
    """2 recovers (0, 0), which 2 and 4 pre-accepted unchanged; 3 knows the interfering (1, 0), begun without it. Both
    leaders are dead, ``fast``: 0 had committed. |R| = 2 > |Q| - e = 1: neither can be excluded yet."""
    table = Table(5, protocol)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 2)
    table.deliver(PreAccept, 0, 4)
    if fast:
        table.deliver(PreAcceptOk, None, 0)
        assert table.decision(0, (0, 0)) == (put(1), NONE5)
    table.request(1, put(2))
    table.deliver(PreAccept, 1, 3)
    table.crash(0, 1)
    table.drop()
    table.take_over(2, (0, 0), 3, 4)
    return table


def waiting(protocol: type[EPaxos] = EPaxos) -> Table:
    """As before: 2 waits."""
    table = conflicting(protocol)
    table.deliver(Validate, 2)
    table.deliver(ValidateOk, None, 2)
    assert table.under_way(Waiting, 2) == [Waiting((0, 0), 2)] * 4
    assert not table.under_way(Accept)
    return table


def test_a_command_that_was_only_begun_does_not_exclude_a_fast_commit() -> None:
    for protocol in (EPaxos, AnyConflictExcludes):
        table = conflicting(protocol, fast=True)
        table.pass_time(sweeps=12)
        decision = table.decision(3, (0, 0))
        assert (decision == (put(1), NONE5)) == (protocol is EPaxos)


@pytest.mark.parametrize("protocol", [EPaxos, WaitsForEver])
def test_two_recoveries_that_wait_for_each_other_both_give_up(protocol: type[EPaxos]) -> None:
    """Nine replicas, |Q| = 5, e = 3: three unchanged votes for each are enough to wait, and to exclude the other."""
    table = Table(9, protocol)
    for leader, voters in ((0, (2, 3, 4)), (1, (5, 6, 7))):
        table.request(leader, put(leader))
        for r in voters:
            table.deliver(PreAccept, leader, r)
    table.crash(0, 1)
    table.drop()
    table.take_over(2, (0, 0), 3, 4, 5, 8)
    table.take_over(5, (1, 0), 2, 6, 7, 8)
    table.settle()
    assert table.committed[8] == ({(0, 0): NOOP, (1, 0): NOOP} if protocol is EPaxos else {})


def test_waiting_ends_when_the_other_becomes_a_noop() -> None:
    table = waiting()
    table.feed(2, Deliver(3, Commit((1, 0), NOOP, NONE5, 0)))
    assert table.under_way(Accept, 2)[0] == Accept((0, 0), (1, 2), put(1), NONE5, 0)


def test_waiting_ends_when_the_other_is_committed_with_or_without_it() -> None:
    for deps, command in (((0, -1, -1, -1, -1), put(1)), (NONE5, NOOP)):
        table = waiting()
        table.feed(2, Deliver(3, Commit((1, 0), put(2), deps, 0)))
        assert table.under_way(Accept, 2)[0] == Accept((0, 0), (1, 2), command, NONE5, 0)


def test_waiting_ends_when_the_other_waits_too_with_enough_votes() -> None:
    """More than n - f - e = 1 unchanged votes for the other: this one cannot have had a fast quorum."""
    table = waiting(AnyWaitExcludes)
    table.feed(2, Deliver(3, Waiting((1, 0), 1)))
    assert table.under_way(Accept), "too early"
    table = waiting()
    table.feed(2, Deliver(3, Waiting((1, 0), 1)))
    assert not table.under_way(Accept)
    table.feed(2, Deliver(3, Waiting((1, 0), 2)))
    assert table.under_way(Accept, 2)[0] == Accept((0, 0), (1, 2), NOOP, NONE5, 0)


@pytest.mark.parametrize(("source", "phase", "result"), [(0, 1, NOOP), (1, 2, put(1))])
def test_waiting_ends_with_a_late_answer(source: int, phase: int, result: Any) -> None:
    """From the leader: it did not commit. From one that accepted: that value."""
    table = waiting()
    late = RecoverOk((0, 0), (1, 2), (0, 0), phase, put(1), False, NONE5, 0, NONE5, 0)
    table.feed(2, Deliver(source, late))
    assert table.under_way(Accept, 2)[0] == Accept((0, 0), (1, 2), result, NONE5, 0)


def test_of_late_answers_the_highest_vote_counts() -> None:
    """They came while Q was validating: 0 has accepted the command, 1 a no-op at a higher ballot."""
    table = conflicting()
    for source, ballot, noop in ((0, (1, 0), False), (1, (1, 1), True)):
        table.feed(2, Deliver(source, RecoverOk((0, 0), (1, 2), ballot, 2, put(1), noop, NONE5, 0, NONE5, 0)))
    table.deliver(Validate, 2)
    table.deliver(ValidateOk, None, 2)
    assert table.under_way(Accept, 2)[0] == Accept((0, 0), (1, 2), NOOP, NONE5, 0)


def test_recoveries_that_wait_end_by_themselves() -> None:
    table = waiting()
    table.pass_time(sweeps=12)
    assert table.committed[2] == table.committed[3] == table.committed[4]
    assert set(table.committed[2]) == {(0, 0), (1, 0)}


def test_an_accepted_noop_still_interferes() -> None:
    """A no-op accepted by 1 and 2 alone; then the command comes back, with dependencies that 1 gave before it had seen
    the newer one. Had 1 told the newer one nothing, the two would not see each other."""
    for protocol in (EPaxos, ForgetsAcceptedNoop):
        table = Table(5, protocol)
        table.request(1, get(9))  # known to 1 alone: it sends the write by 0 to the slow path, not the read by 4
        table.drop()
        table.request(0, put(1))
        for r in (1, 3):
            table.deliver(PreAccept, 0, r)
        table.drop(PreAccept)
        table.settle(keep=lambda s, t, m: isinstance(m, Accept))
        table.drop()  # 0 alone has accepted the write
        table.take_over(2, (0, 0), 1, 4)
        table.deliver(Accept, 2, 1)
        table.drop()
        assert table.replicas[1].live[0, 0].noop  # type: ignore[union-attr]
        table.request(4, get(5))
        for r in (1, 2):
            table.deliver(PreAccept, 4, r)
        table.drop(PreAccept)
        table.settle(keep=lambda s, t, m: t in (0, 3) or isinstance(m, Commit))
        table.drop()
        table.take_over(3, (0, 0), 0, 4)
        table.settle()
        (_, write), (_, read) = table.decision(3, (0, 0)) or ("", ()), table.decision(4, (4, 0)) or ("", ())
        sees = write[4] >= 0 or read[0] >= 0
        assert sees == (protocol is EPaxos)


# --- the single ballot ------------------------------------------------------------------------------------------------


def sutra(protocol: type[EPaxos], **options: Any) -> Table:
    """The execution of "On the correctness of Egalitarian Paxos" (Sutra, IPL 2020): three replicas, two commands;
    (0, 0) is recovered by 2, by 1, and by 0 twice."""
    table = Table(3, protocol, rules="sosp13", delay_ns=FAR, **options)
    table.request(2, put(3))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 2)
    table.drop()
    table.take_over(2, (0, 0), 1)  # ballot 1: 2 alone accepts it with {(2, 0)}
    table.drop()
    table.take_over(1, (0, 0), 0)  # ballot 2: 0, the leader, answers; phase 1 again
    table.deliver(PreAccept, 1, 0)
    table.drop(PreAccept)
    table.settle(keep=lambda s, t, m: isinstance(m, AcceptOk) or (isinstance(m, Accept) and t == 2))
    table.drop(Accept)  # 0 and 1 have accepted it with {}; 1 does not know yet
    table.take_over(0, (0, 0))  # ballot 3: 0 and 2 join, the answer is lost
    table.feed(2, Deliver(0, Recover((0, 0), (3, 0))))
    table.drop(RecoverOk)
    table.take_over(0, (0, 0), 2)  # ballot 4
    table.settle(keep=lambda s, t, m: t == 1)
    table.settle()  # at last 1 hears that its value was accepted
    return table


def test_joining_a_ballot_is_not_voting_at_it() -> None:
    """Two ballots: one decision. One ballot: both answers of ballot 4 claim a vote at ballot 3, and the older wins."""
    table = sutra(EPaxos)
    assert {table.decision(r, (0, 0)) for r in range(3)} == {(put(1), NONE3)}
    for table in (sutra(SingleBallot), sutra(EPaxos, unsafe_single_ballot=True)):
        decisions = {table.decision(r, (0, 0)) for r in range(3)} - {None}
        assert decisions == {(put(1), NONE3), (put(1), (-1, -1, 0))}


@pytest.mark.parametrize("slow", [False, True])
def test_epaxos_star_needs_the_ballot_of_the_vote_as_well(slow: bool) -> None:
    """0's command is committed, with the vote of 1. Of 2's first ballot nobody hears but itself; if it then took that
    for a vote, it would be the highest, and for nothing."""
    for unsafe in (False, True):
        table = Table(3, unsafe_single_ballot=unsafe)
        if slow:
            table.request(1, put(2))
            table.drop()
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.deliver(PreAcceptReply if slow else PreAcceptOk, 1, 0)
        if slow:
            table.deliver(Accept, 0, 1)
            table.deliver(AcceptOk, 1, 0)
        assert table.committed[0][0, 0] == put(1)
        table.crash(0)
        table.take_over(2, (0, 0))
        table.take_over(2, (0, 0), 1)
        table.settle()
        assert table.committed[2][0, 0] == (NOOP if unsafe else put(1))


# --- SOSP'13: TryPreAccept --------------------------------------------------------------------------------------------

LINE = tuple(tuple(abs(a - b) * 10 * MS for b in range(5)) for a in range(5))
"""The fast quorum of 0 is {0, 1, 2}; that of 4 is {4, 3, 2}."""


def test_sosp13_identical_votes_of_f_replicas_are_accepted() -> None:
    """Step 6: 1 and 2 voted alike; with the leader, which began with no more, they are a majority."""
    for protocol in (EPaxos, AlwaysBeginsAgain):
        table = Table(5, protocol, rules="sosp13", delay_ns=LINE)
        table.request(0, put(1))
        for r in (1, 2):
            table.deliver(PreAccept, 0, r)
            table.deliver(PreAcceptOk, r, 0)
        assert table.committed[0]
        table.crash(0)
        table.request(4, put(5))
        table.drop()
        table.take_over(1, (0, 0), 2, 4)
        table.settle(keep=lambda s, t, m: t == 3)
        kept = table.decision(1, (0, 0)) == (put(1), NONE5)
        assert kept == (protocol is EPaxos), "another set than the one that was committed"


def test_sosp13_a_reply_of_the_fast_quorum_that_differs_or_lacks_proves_that_it_was_not_committed() -> None:
    table = Table(5, rules="sosp13", delay_ns=LINE)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAccept, 0, 3)  # not of the fast quorum
    table.crash(0)
    table.drop()
    table.take_over(3, (0, 0), 1, 2)  # 2 is, and has not heard of it
    assert table.under_way(PreAccept, 3) == [PreAccept((0, 0), (1, 3), put(1), NONE5, 0, 0, 0)] * 4
    table.settle()
    assert table.decision(3, (0, 0)) == (put(1), NONE5)
    assert table.notes == [("suspected", None), ("slow_path", put(1))], "begun again, the fast path is closed"


def test_sosp13_a_silent_part_of_the_fast_quorum_leads_to_try_pre_accept() -> None:
    """1 voted, 2 is dead: it may have been committed. 3 and 4 are asked to vote alike, and nothing is against it."""
    table = Table(5, rules="sosp13", delay_ns=LINE)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.crash(0, 2)
    table.drop()
    table.take_over(1, (0, 0), 3, 4)
    assert table.under_way(TryPreAccept, 1, 3) == [TryPreAccept((0, 0), (1, 1), put(1), NONE5, 0, 0b00111)]
    table.settle()
    assert table.decision(4, (0, 0)) == (put(1), NONE5)


def blocked_by_four(protocol: type[EPaxos], settled: bool) -> Table:
    """As before, but 4 leads an interfering command that does not see it, committed fast with 2 and 3 or only begun."""
    table = Table(5, protocol, rules="sosp13", delay_ns=LINE)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.drop()
    table.request(4, put(5))
    for r in (2, 3) if settled else (3,):
        table.deliver(PreAccept, 4, r)
        table.deliver(PreAcceptOk, r, 4)
    assert bool(table.committed[4]) == settled
    table.crash(0, 2)
    table.drop()
    table.take_over(1, (0, 0), 3, 4)
    return table


def test_sosp13_a_committed_command_that_does_not_see_it_makes_it_begin_again() -> None:
    for protocol in (EPaxos, TriesNothing, OneVoteTooFew):
        table = blocked_by_four(protocol, settled=True)
        table.settle()
        decision = table.decision(1, (0, 0))
        assert decision is not None
        assert (decision[1][4] == 0) == (protocol is EPaxos), "one must see the other"


def test_sosp13_a_recovery_is_put_off_until_what_stands_against_it_is_committed() -> None:
    table = blocked_by_four(EPaxos, settled=False)
    table.settle()
    assert table.replicas[1].deferred == {(0, 0): ((4, 0),)}
    for _ in range(2):  # 4 asks again, and then does without the dead one of its fast quorum
        table.timer(4, "tick", table.replicas[4].retry_ticks)
        table.settle()
    assert table.replicas[1].deferred == {}
    (_, first), (_, second) = table.decision(1, (0, 0)) or ("", ()), table.decision(1, (4, 0)) or ("", ())
    assert first[4] == 0 or second[0] == 0


def test_sosp13_a_conflicting_leader_in_the_fast_quorum_proves_that_it_was_not_committed() -> None:
    """2 is in 0's fast quorum and leads an interfering command that does not see 0's: it had not voted for it before,
    and would have named its own after. Both are dead; without this rule the two recoveries put each other off."""
    table = Table(5, rules="sosp13", delay_ns=LINE)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.drop()
    table.request(2, put(3))
    table.deliver(PreAccept, 2, 3)
    table.crash(0, 2)
    table.drop()
    table.take_over(1, (0, 0), 3, 4)
    table.deliver(TryPreAccept, 1)
    table.deliver(TryPreAcceptReply, None, 1)
    assert not table.replicas[1].deferred and table.under_way(PreAccept, 1)
    table.settle()
    table.pass_time(sweeps=12)
    (_, first), (_, second) = table.decision(1, (0, 0)) or ("", ()), table.decision(4, (2, 0)) or ("", ())
    assert first[2] == 0 or second[0] == 0


def test_sosp13_what_was_only_tried_may_still_have_been_committed() -> None:
    """0 has committed with 1 and 2. 1 has 3 and 4 try it, and is not heard of again; then 3 recovers with 4 and 2. It
    has a command of its own by then, which must not get into what was committed."""
    for protocol in (EPaxos, TryingIsVoting):
        table = Table(5, protocol, rules="sosp13", delay_ns=LINE)
        table.request(0, put(1))
        for r in (1, 2):
            table.deliver(PreAccept, 0, r)
            table.deliver(PreAcceptOk, r, 0)
        committed = table.decision(0, (0, 0))
        assert committed == (put(1), NONE5)
        table.crash(0, 2)
        table.drop()
        table.take_over(1, (0, 0), 3, 4)
        table.deliver(TryPreAccept, 1)
        table.drop()
        table.request(3, put(4))
        table.crash(1)
        table.restart(2)
        table.drop()
        table.take_over(3, (0, 0), 2, 4)
        table.settle()
        assert (table.decision(3, (0, 0)) == committed) == (protocol is EPaxos)


def test_sosp13_a_late_try_does_not_take_back_what_was_accepted() -> None:
    for protocol in (EPaxos, TriesAfterAccept):
        table = Table(5, protocol, rules="sosp13", delay_ns=LINE)
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.crash(0, 2)
        table.drop()
        table.take_over(1, (0, 0), 3, 4)
        (late,) = table.under_way(TryPreAccept, 1, 3)
        table.deliver(TryPreAccept, 1)
        table.deliver(TryPreAcceptReply, None, 1)
        table.deliver(Accept, 1, 3)
        table.feed(3, Deliver(1, late))
        assert (table.replicas[3].live[0, 0].phase == ACCEPTED) == (protocol is EPaxos)  # type: ignore[union-attr]


def test_sosp13_with_any_fast_quorum_recovery_cannot_tell_who_voted() -> None:
    """The published non-thrifty variant: 0 commits with 3 and 4, the first to answer alike. Recovery asks 1, 2 and 3: 1
    voted otherwise, so that it takes the command for not committed and begins again, with other dependencies."""
    decisions = {}
    for unsafe in (False, True):
        table = Table(5, rules="sosp13", delay_ns=LINE, unsafe_any_quorum=unsafe)
        table.request(1, put(2))
        table.drop()
        table.request(0, put(1))
        for r in (1, 3, 4):
            table.deliver(PreAccept, 0, r)
        for r in (3, 4):
            table.deliver(PreAcceptOk, r, 0)
        decisions[unsafe] = table.decision(0, (0, 0))
        table.crash(0)
        table.drop()
        table.take_over(2, (0, 0), 1, 3)
        table.settle(keep=lambda s, t, m: t == 4)
        later = table.decision(2, (0, 0))
        assert later == (put(1), (-1, 0, -1, -1, -1))
        assert (decisions[unsafe] in (None, later)) == (not unsafe)


# --- all at once ------------------------------------------------------------------------------------------------------


class Impatient(EPaxos):
    """Recovers one unfinished instance after the other, at every sweep."""

    __slots__ = ("turn",)

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.turn = me

    def _sweep(self, ctx: Context) -> None:
        for instance_id in self.graph.missing():
            if not self._committed(instance_id):
                self._instance(instance_id)
        unfinished = sorted(self.live.keys() - self.recovering.keys()) or sorted(self.live)
        if unfinished:
            self.turn += 1
            self.start_recovery(ctx, unfinished[self.turn % len(unfinished)])


@pytest.mark.parametrize(
    "settings",
    [{}, {"thrifty": True, "snapshot_every": 2}, {"rules": "sosp13"}, {"rules": "sosp13", "toq": True}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "star",
)
def test_random_schedules_with_many_recoveries(settings: dict[str, Any]) -> None:
    """Longer ones, of more sizes, have found an instance led under a number already decided: one in some thousands."""
    faults = Faults(
        steps=300, timer=0.1, early=1.0, late=0.1, drop=0.05, crash=0.04, restart=0.08, crashed_at_most=3, damage=0.3
    )
    for size in (4, 5):
        summary = run_seeds(
            Impatient, range(8), size=size, settings=settings, faults=faults, load=Load(commands=8, keys=1)
        )
        assert summary.messages["RecoverOk"] > 50
