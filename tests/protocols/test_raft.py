"""Raft beside its paper (Ongaro, Ousterhout 2014; numbers are its sections) and the thesis (Ongaro 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import raft_mutants as mutants
from hypothesis import given
from hypothesis import strategies as st
from paxos_network import put
from raft_network import (
    MS,
    PLAIN,
    A,
    B,
    C,
    D,
    RaftNetwork,
    acknowledged_in_another_term,
    disk,
    entries,
    figure_8,
    leader_with_one_follower,
    link_to_the_leader_cut,
    longest_log_loses,
    own_copy_forgotten,
    returns_from_isolation,
    violated,
    vote_for_another_forgotten,
    vote_for_oneself_forgotten,
    vote_given_twice,
)

from consensus_bench.contract import NOOP, Cluster, ConfigError, Effect, Message
from consensus_bench.contract.context import (
    ANSWER,
    BROADCAST,
    BROADCAST_UNSYNCED,
    CANCEL_TIMER,
    COMMIT,
    EXECUTE,
    FORGET,
    NOTE,
    PERSIST,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
)
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Timer, step
from protocols.raft import Raft
from protocols.raft_log import LogEntry, RaftLog
from protocols.raft_messages import (
    Appended,
    AppendEntries,
    Conflict,
    Forward,
    PreVote,
    PreVoteReply,
    RaftOptions,
    Refused,
    RequestVote,
    Vote,
)
from protocols.raft_replication import CHUNK


def server(terms: Sequence[int] = (), me: int = 0, size: int = 3, term: int | None = None, **options: Any) -> Raft:
    """A follower whose log has these terms."""
    raft = Raft(me, Cluster(size), RaftOptions(**options))
    step(raft, Recover(disk(terms, term)))
    return raft


def leader(terms: Sequence[int] = (), size: int = 3, term: int | None = None, **options: Any) -> Raft:
    """Server 0 just elected in the term after ``term``, its no-op at the end of its log."""
    raft = server(terms, 0, size, term, **{**PLAIN, **options})
    step(raft, Timer("election"))
    for source in range(raft.majority):
        step(raft, Deliver(source, Vote(raft.current_term, True)))
    assert raft.role == "leader"
    return raft


def steady_leader(size: int = 3, **options: Any) -> Raft:
    """Server 0 leads term 1, and everybody has its no-op."""
    raft = leader((), size, **options)
    for source in range(size):
        step(raft, Deliver(source, Appended(1, 1)))
    assert raft.in_step == raft.others
    assert raft.commit_index == 1
    return raft


def append(previous: int, terms: Sequence[int], term: int | None = None, commit: int = 0) -> AppendEntries:
    """What a leader with a log of these terms sends after ``previous``, in the term of its last entry."""
    log = entries(terms)
    previous_term = terms[previous - 1] if previous else 0
    return AppendEntries(terms[-1] if term is None else term, previous, previous_term, log[previous:], commit)


def sent(effects: Sequence[Effect], kind: type[Message]) -> list[tuple[int, Any]]:
    """(tag, message) of each message of this type."""
    return [(tag, b) for tag, _, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def terms_of(raft: Raft) -> list[int]:
    return [entry.term for entry in raft.log.entries]


def of(tag: int, effects: Sequence[Effect]) -> list[Any]:
    return [a for kind, a, _ in effects if kind == tag]


def election_timer_was_set(effects: Sequence[Effect]) -> bool:
    return "election" in of(SET_TIMER, effects)


# --- the mutants ------------------------------------------------------------------------------------------------------

SCHEDULES: list[tuple[type[Raft], Callable[[type[Raft]], None]]] = [
    (mutants.CountsOlderTerms, figure_8),
    (mutants.VotedForNotDurable, vote_given_twice),
    (mutants.VotesTwice, vote_given_twice),
    (mutants.SolicitsEarly, vote_for_oneself_forgotten),
    (mutants.VotesEarly, vote_for_another_forgotten),
    (mutants.CountsOldAcknowledgements, acknowledged_in_another_term),
    (mutants.CountsItselfEarly, own_copy_forgotten),
    (mutants.ComparesLengthsOnly, longest_log_loses),
    (mutants.VotesForAnyLog, longest_log_loses),
    (mutants.PreVoteBeginsATerm, returns_from_isolation),
    (mutants.IgnoresTheVoteLease, link_to_the_leader_cut),
    (mutants.LeadsWithoutAMajority, leader_with_one_follower),
]
"""What random schedules hardly find, each with the schedule that breaks it."""


@pytest.mark.parametrize(("mutant", "schedule"), SCHEDULES, ids=lambda value: value.__name__)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(mutant: type[Raft], schedule: Callable[..., None]) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) is not None


# --- 5.1: terms -------------------------------------------------------------------------------------------------------

OF_A_HIGHER_TERM: list[Message] = [
    RequestVote(7, 9, 6),
    Vote(7, False),
    append(0, [1], term=7),
    Refused(7),
    PreVoteReply(7, False),
]


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
@pytest.mark.parametrize("message", OF_A_HIGHER_TERM, ids=lambda message: type(message).__name__)
def test_raft_5_1_a_higher_term_is_adopted_durably_by_a_follower(message: Message, role: str) -> None:
    raft = leader([1, 1]) if role == "leader" else server([1, 1], **PLAIN)
    if role == "candidate":
        step(raft, Timer("election"))
    assert raft.role == role
    effects = step(raft, Deliver(1, message))
    assert (raft.current_term, raft.role) == (7, "follower")
    first_write = next(effect for effect in effects if effect[0] == PERSIST)
    assert first_write == (PERSIST, "vote", (7, None))
    raft.check()


def test_raft_5_1_a_request_of_an_earlier_term_is_refused_and_told_the_newer() -> None:
    raft = server([1, 3], term=5)
    assert step(raft, Deliver(1, append(2, [1, 3, 3]))) == [(SEND_UNSYNCED, 1, Refused(5))]
    assert step(raft, Deliver(1, RequestVote(4, 9, 4))) == [(SEND, 1, Vote(5, False))]
    assert terms_of(raft) == [1, 3]


# --- 5.2: elections ---------------------------------------------------------------------------------------------------


def test_raft_5_2_a_candidate_begins_a_term_votes_for_itself_and_asks_all_once_that_is_durable() -> None:
    raft = server([1, 1, 2], **PLAIN)
    effects = step(raft, Timer("election"))
    assert effects == [
        (NOTE, "suspected", None),
        (PERSIST, "vote", (3, 0)),
        (SET_TIMER, "election", (1000 * MS, 2000 * MS)),
        (BROADCAST, (1, 2), RequestVote(3, 3, 2)),
        (SEND, 0, Vote(3, True)),
    ]
    assert raft.role == "candidate"


def test_raft_5_2_at_most_one_vote_per_term_first_come_first_served() -> None:
    raft = server([], **PLAIN)
    assert (SEND, 1, Vote(1, True)) in step(raft, Deliver(1, RequestVote(1, 0, 0)))
    assert step(raft, Deliver(2, RequestVote(1, 5, 1))) == [(SEND, 2, Vote(1, False))]
    assert (SEND, 1, Vote(1, True)) in step(raft, Deliver(1, RequestVote(1, 0, 0))), "it asked again"
    assert (SEND, 2, Vote(2, True)) in step(raft, Deliver(2, RequestVote(2, 0, 0)))


def test_raft_5_2_a_vote_survives_a_crash() -> None:
    raft = server([], **PLAIN)
    effects = step(raft, Deliver(1, RequestVote(1, 0, 0)))
    writes = {key: value for tag, key, value in effects if tag == PERSIST}
    again = Raft(0, Cluster(3), RaftOptions(**PLAIN))
    step(again, Recover(writes))
    assert (again.current_term, again.voted_for) == (1, 1)
    assert step(again, Deliver(2, RequestVote(1, 5, 1))) == [(SEND, 2, Vote(1, False))]


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_raft_5_2_votes_from_a_majority_make_a_leader(size: int, needed: int) -> None:
    raft = server([], size=size, **PLAIN)
    step(raft, Timer("election"))
    for source in range(needed):
        assert raft.role == "candidate"
        step(raft, Deliver(source, Vote(1, True)))
        step(raft, Deliver(source, Vote(1, True)))  # twice the same vote is one vote
    assert raft.role == "leader"
    for source in range(size):
        step(raft, Deliver(source, Vote(1, True)))
    assert terms_of(raft) == [1], "one no-op: votes make a leader once"


def test_raft_5_2_votes_refused_or_of_another_term_do_not_count() -> None:
    raft = server([], size=5, term=4, **PLAIN)
    step(raft, Timer("election"))
    for source in (1, 2, 3, 4):
        step(raft, Deliver(source, Vote(4, True)))
        step(raft, Deliver(source, Vote(5, False)))
    assert raft.role == "candidate"


def test_raft_5_2_a_candidate_follows_a_leader_of_its_term_and_no_earlier_one() -> None:
    raft = server([1], **PLAIN)
    step(raft, Timer("election"))
    step(raft, Deliver(1, append(1, [1, 1])))
    assert raft.role == "candidate"
    step(raft, Deliver(1, append(1, [1, 2])))
    assert (raft.role, raft.leader, raft.current_term, raft.voted_for) == ("follower", 1, 2, 0)


def test_raft_5_2_after_a_split_vote_the_next_time_out_begins_a_new_term() -> None:
    network = RaftNetwork(size=4, **PLAIN)
    for me in (0, 1):
        network.fire(me, "election")
    network.exchange(among=(0, 2))
    network.exchange(among=(1, 3))
    assert network.leaders() == []
    network.elect(1)
    assert network.leaders() == [1]
    assert network.replica(1).current_term == 2


def test_raft_figure_2_what_resets_the_election_timer_and_what_does_not() -> None:
    """Only granting a vote, hearing from the current leader and starting an election."""
    raft = server([2], term=3, **PLAIN)
    assert not election_timer_was_set(step(raft, Deliver(1, RequestVote(3, 9, 1)))), "a vote refused"
    assert not election_timer_was_set(step(raft, Deliver(1, RequestVote(4, 9, 1)))), "and a term entered"
    assert not election_timer_was_set(step(raft, Deliver(1, append(1, [2, 2])))), "an old leader"
    assert election_timer_was_set(step(raft, Deliver(1, RequestVote(4, 9, 2))))
    assert election_timer_was_set(step(raft, Deliver(1, append(1, [2], term=4))))
    assert election_timer_was_set(step(raft, Timer("election")))
    assert raft.role == "candidate"
    effects = step(raft, Deliver(1, Refused(9)))
    assert raft.role == "follower"
    assert not election_timer_was_set(effects), "a candidate that steps down keeps its timer"


def test_raft_5_2_a_leader_has_no_election_timer() -> None:
    raft = server([], **PLAIN)
    step(raft, Timer("election"))
    step(raft, Deliver(0, Vote(1, True)))
    effects = step(raft, Deliver(1, Vote(1, True)))
    assert of(CANCEL_TIMER, effects) == ["election"]
    assert of(SET_TIMER, effects) == ["heartbeat", "retry"]


def test_raft_5_2_a_leader_that_steps_down_gets_an_election_timer() -> None:
    raft = steady_leader()
    effects = step(raft, Deliver(1, RequestVote(5, 9, 4)))
    assert election_timer_was_set(effects)
    assert of(CANCEL_TIMER, effects) == ["heartbeat", "retry", "quorum", "batch"]
    raft.check()


def test_the_first_leader_campaigns_at_once_also_with_pre_votes() -> None:
    for options in ({}, PLAIN):
        network = RaftNetwork(size=5, first_leader=2, **options)
        network.exchange()
        assert network.leaders() == [2]
        assert network.world.summary.notes == {"elected": 1}


def test_a_server_alone_leads_and_commits() -> None:
    network = RaftNetwork(size=1)
    network.fire(0, "election")
    network.exchange()
    network.ask(0, A)
    network.exchange()
    assert network.answers == [(0, A)]


# --- 5.3: log replication ---------------------------------------------------------------------------------------------


def test_raft_5_3_one_round_trip_from_append_to_answer() -> None:
    """Append, persist, send to the others at once, count oneself when durable; commit and answer at a majority."""
    raft = steady_leader(size=5)
    entry = LogEntry(1, A)
    assert step(raft, Request(A)) == [
        (PERSIST, 2, entry),
        (BROADCAST_UNSYNCED, (1, 2, 3, 4), AppendEntries(1, 1, 1, (entry,), 1)),
        (SEND, 0, Appended(1, 2)),
    ]
    assert step(raft, Deliver(3, Appended(1, 2))) == []
    assert step(raft, Deliver(4, Appended(1, 2))) == []
    assert step(raft, Deliver(0, Appended(1, 2))) == [(COMMIT, 2, A), (EXECUTE, A, None), (ANSWER, A, None)]
    assert step(raft, Deliver(1, Appended(1, 2))) == []


def test_raft_5_3_a_follower_acknowledges_when_durable_and_executes_what_is_committed() -> None:
    raft = server([1])
    step(raft, Deliver(1, append(1, [1], commit=1)))
    effects = step(raft, Deliver(1, append(1, [1, 1, 1], commit=2)))
    assert effects[1:] == [
        (PERSIST, 2, raft.log.entries[1]),
        (PERSIST, 3, raft.log.entries[2]),
        (SEND, 1, Appended(1, 3)),
        (COMMIT, 2, raft.log.entries[1].command),
        (EXECUTE, raft.log.entries[1].command, None),
    ]


@pytest.mark.parametrize(
    ("terms", "previous", "previous_term", "hint"),
    [
        ([], 1, 1, (0, 0)),
        ([1, 1], 5, 4, (2, 1)),
        ([1, 1, 2, 2], 4, 4, (4, 2)),
        ([1, 1, 5, 5], 4, 4, (2, 1)),
        ([3, 3], 2, 2, (0, 0)),
    ],
)
def test_raft_5_3_a_follower_without_the_previous_entry_refuses_and_says_how_far_back(
    terms: list[int], previous: int, previous_term: int, hint: tuple[int, int]
) -> None:
    raft = server(terms, term=6)
    effects = step(raft, Deliver(1, AppendEntries(6, previous, previous_term, entries([6]), 0)))
    assert sent(effects, Conflict) == [(SEND_UNSYNCED, Conflict(6, previous, *hint))]
    assert not sent(effects, Appended)
    assert terms_of(raft) == terms


def test_raft_figure_2_a_conflicting_entry_goes_with_all_that_follow() -> None:
    raft = server([1, 1, 2, 2, 2])
    effects = step(raft, Deliver(1, append(2, [1, 1, 3, 3])))
    assert terms_of(raft) == [1, 1, 3, 3]
    assert of(FORGET, effects) == [3, 4, 5]
    assert of(PERSIST, effects) == ["vote", 3, 4]
    assert sent(effects, Appended) == [(SEND, Appended(3, 4))]


def test_raft_figure_2_an_old_message_removes_nothing() -> None:
    raft = server([1, 1, 2, 2, 2])
    for previous, end in ((0, 2), (1, 3), (2, 5), (4, 4)):
        effects = step(raft, Deliver(1, append(previous, [1, 1, 2, 2, 2][:end], term=2)))
        assert terms_of(raft) == [1, 1, 2, 2, 2]
        assert not of(PERSIST, effects) and not of(FORGET, effects)
        assert sent(effects, Appended) == [(SEND, Appended(2, end))], "no more than the message covers"


def test_raft_figure_2_commit_index_stops_at_the_last_new_entry() -> None:
    """Entries 3 to 5 are an old leader's; the new one has committed others there."""
    raft = server([1, 1, 2, 2, 2], term=3)
    step(raft, Deliver(1, append(2, [1, 1], term=3, commit=5)))
    assert raft.commit_index == 2
    step(raft, Deliver(1, append(2, [1, 1, 3], commit=5)))
    assert raft.commit_index == 3
    step(raft, Deliver(1, append(0, [1, 1], term=3, commit=5)))
    assert raft.commit_index == 3, "it never goes back"


FIGURE_7 = {
    "leader": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("window", [1, 2, 10_000])
def test_raft_figure_7_all_logs_become_the_leaders(window: int) -> None:
    network = RaftNetwork(size=7, **PLAIN, window=window)
    network.begin_with(list(FIGURE_7.values()), current_term=7)
    network.elect(0)
    assert network.leaders() == [0], "a, b, e and f vote for it, c and d have better logs"
    for me in range(7):
        assert network.terms(me) == [*FIGURE_7["leader"], 8]
        assert network.replica(0).match_index[me] == 11
    network.fire(0, "heartbeat")
    network.exchange()
    assert {network.replica(me).commit_index for me in range(7)} == {11}
    for me in range(7):
        assert network.world.servers[me].disk.keys() == {"vote", *range(1, 12)}


@pytest.mark.parametrize("follower", ["a", "b", "c", "d", "e", "f"])
def test_raft_5_3_backing_up_takes_at_most_one_rejection_per_conflicting_term(follower: str) -> None:
    theirs, ours = FIGURE_7[follower], [*FIGURE_7["leader"], 8]
    agree = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), len(theirs))
    conflicting_terms = len(set(theirs[agree:]) & set(range(9))) + (len(theirs) < len(FIGURE_7["leader"]))
    network = RaftNetwork(size=3, **PLAIN)
    network.begin_with([FIGURE_7["leader"], FIGURE_7[follower], []], current_term=7)
    network.elect(0, among=(0, 2))
    rejections = 0
    network.fire(0, "retry")
    while network.world.in_flight:
        source, to, message = network.world.in_flight[0]
        rejections += isinstance(message, Conflict) and source == 1
        network.deliver(source, to, type(message))
    assert network.terms(1) == ours
    assert rejections <= conflicting_terms


def test_raft_5_3_a_long_divergence_of_one_term_is_skipped_at_once() -> None:
    """A thousand entries of term 2 where the leader has a thousand of term 3: one rejection."""
    network = RaftNetwork(size=3, **PLAIN)
    network.begin_with([[1] + [3] * 1000, [1] + [2] * 1000, [1] + [3] * 1000], current_term=3)
    network.elect(0, keep=AppendEntries)
    network.deliver(0, 1, AppendEntries)
    network.deliver(1, 0, Conflict)
    (_, to, probe) = network.under_way(AppendEntries)[-1]
    assert (to, probe.previous_index, len(probe.entries)) == (1, 1, CHUNK)
    network.exchange()
    assert network.terms(1) == network.terms(0) == [1] + [3] * 1000 + [4]


def test_raft_5_3_a_leader_never_overwrites_or_deletes_its_own_entries() -> None:
    raft = leader([1, 1, 2])
    before = list(raft.log.entries)
    step(raft, Deliver(1, Conflict(3, 3, 0, 0)))
    step(raft, Deliver(1, append(0, [1, 1, 1, 1], term=1)))
    step(raft, Request(A))
    assert raft.log.entries[: len(before)] == before


def test_raft_5_5_what_was_lost_is_sent_again_until_it_is_acknowledged() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, A)
    network.exchange(among=(0, 2))
    assert network.answers == [(0, A)]
    for _ in range(3):
        network.fire(0, "retry")
        network.exchange(among=(0, 2))
    assert network.terms(1) == [1]
    network.crash(1)
    network.fire(0, "retry")
    network.exchange()
    assert network.replica(1).log == network.replica(0).log
    network.fire(0, "retry")
    assert not network.under_way(AppendEntries), "nothing is missing any more"


def test_a_retry_tick_leaves_those_alone_who_make_progress() -> None:
    raft = steady_leader()
    step(raft, Request(A))
    step(raft, Deliver(1, Appended(1, 2)))
    assert not sent(step(raft, Timer("retry")), AppendEntries), "not yet retry_ms under way"
    step(raft, Request(B))
    effects = step(raft, Timer("retry"))
    assert [(to, m.previous_index) for tag, to, m in effects if tag == SEND_UNSYNCED] == [(2, 1)]
    raft.check()


def test_slow_progress_between_two_retry_ticks_is_progress() -> None:
    raft = steady_leader()
    for command in (A, B):
        step(raft, Request(command))
    step(raft, Timer("retry"))
    step(raft, Deliver(1, Appended(1, 2)))
    effects = step(raft, Timer("retry"))
    assert [(to, m.previous_index) for tag, to, m in effects if tag == SEND_UNSYNCED] == [(2, 1)]


def test_an_old_conflict_or_acknowledgement_changes_nothing() -> None:
    raft = steady_leader()
    for command in (A, B):
        step(raft, Request(command))
    step(raft, Deliver(1, Appended(1, 3)))
    before = raft.key()
    for message in (Conflict(1, 1, 0, 0), Conflict(1, 3, 0, 0), Appended(1, 2), Appended(0, 3), Conflict(0, 5, 0, 0)):
        assert step(raft, Deliver(1, message)) == []
        assert raft.key() == before


def test_an_unanswered_probe_is_sent_again_as_it_was() -> None:
    """A retry does not lose what the refusals have shown."""
    raft = leader([1, 1, 1, 1], term=1)
    step(raft, Deliver(1, Conflict(2, 4, 2, 1)))
    step(raft, Timer("retry"))
    effects = step(raft, Timer("retry"))
    assert [(to, m.previous_index) for tag, to, m in effects if tag == SEND_UNSYNCED] == [(1, 2), (2, 4)]


def test_a_conflict_that_an_acknowledgement_has_overtaken_leads_no_further_back_than_that() -> None:
    raft = steady_leader()
    for command in (A, B, C):
        step(raft, Request(command))
    step(raft, Deliver(1, Appended(1, 3)))
    (_, probe), *_ = sent(step(raft, Deliver(1, Conflict(1, 4, 1, 1))), AppendEntries)
    assert (probe.previous_index, len(probe.entries)) == (3, 1)
    raft.check()


def test_while_probing_only_the_answer_to_the_last_probe_counts() -> None:
    """Of three messages to a follower that lacks something, each is rejected: it is probed once."""
    raft = steady_leader()
    for command in (A, B, C):
        step(raft, Request(command))
    (_, probe), *_ = sent(step(raft, Deliver(1, Conflict(1, 3, 1, 1))), AppendEntries)
    assert (probe.previous_index, len(probe.entries)) == (1, 3)
    assert step(raft, Deliver(1, Conflict(1, 2, 1, 1))) == []
    assert step(raft, Deliver(1, Conflict(1, 4, 1, 1))) == []
    step(raft, Deliver(1, Appended(1, 4)))
    assert raft.in_step == (1, 2)
    raft.check()


# --- 5.4: safety ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "candidates", "granted"),
    [
        ([], (0, 0), True),
        ([1, 1], (2, 1), True),
        ([1, 1], (3, 1), True),
        ([1, 1], (1, 1), False),
        ([1, 1, 1], (1, 2), True),
        ([1, 2], (9, 1), False),
    ],
)
def test_raft_5_4_1_a_vote_needs_a_log_at_least_as_up_to_date(
    mine: list[int], candidates: tuple[int, int], granted: bool
) -> None:
    assert sent(step(server(mine, **PLAIN), Deliver(1, RequestVote(5, *candidates))), Vote) == [
        (SEND, Vote(5, granted))
    ]
    reply = PreVoteReply(5, True) if granted else PreVoteReply(max(mine, default=0), False)
    assert step(server(mine), Deliver(1, PreVote(5, *candidates))) == [(SEND_UNSYNCED, 1, reply)]


def test_raft_5_4_2_an_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    """All have entry 2 of term 1; only with the no-op of term 3 is it committed, and then all before it are."""
    raft = leader([1, 1], size=3, term=2)
    for source in (0, 1, 2):
        assert not of(COMMIT, step(raft, Deliver(source, Appended(3, 2))))
    step(raft, Deliver(1, Appended(3, 3)))
    assert of(COMMIT, step(raft, Deliver(0, Appended(3, 3)))) == [1, 2, 3]


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
@given(data=st.data())
def test_commit_index_is_what_a_majority_has_however_acknowledgements_come(size: int, data: st.DataObject) -> None:
    """Against Figure 2's definition: the greatest N that a majority's matchIndex reaches, in the current term."""
    raft = leader([1, 1, 1], size=size, window=data.draw(st.sampled_from([1, 3, 100])))
    for sequence in range(1, 6):
        step(raft, Request(put(sequence)))
    last, known = raft.log.last_index, [0] * size
    acks = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, last)), max_size=40))
    for source, index in acks:
        step(raft, Deliver(source, Appended(2, index)))
        known[source] = max(known[source], index)
        majority = max(n for n in range(last + 1) if sum(m >= n for m in known) > size / 2)
        assert raft.commit_index == (majority if majority >= 4 else 0)
        raft.check()


def test_raft_8_a_new_leader_begins_with_a_no_op_that_commits_what_was_before() -> None:
    raft = leader([1, 1], term=1)
    assert raft.log.entries[2] == LogEntry(2, NOOP)
    step(raft, Deliver(0, Appended(2, 3)))
    effects = step(raft, Deliver(1, Appended(2, 3)))
    assert of(COMMIT, effects) == [1, 2, 3]
    assert of(EXECUTE, effects) == of(ANSWER, effects) == [e.command for e in raft.log.entries[:2]], "the no-op is not"


# --- clients (section 8, thesis 6.3) ----------------------------------------------------------------------------------


def test_a_follower_passes_a_request_to_the_leader_at_once() -> None:
    raft = server([1])
    step(raft, Deliver(2, append(1, [1])))
    assert step(raft, Request(A)) == [(SEND_UNSYNCED, 2, Forward(A))]
    step(raft, Timer("election"))
    assert step(raft, Request(B)) == [], "the leader is silent: it waits for the next"


def test_requests_during_an_election_wait_and_are_not_lost() -> None:
    network = RaftNetwork(size=3)
    network.ask(0, A)
    network.ask(1, B)
    network.ask(2, C)
    assert not network.world.in_flight
    network.elect(1)
    assert sorted(command.client for _, command in network.answers) == [1, 2, 3]
    assert network.replica(1).queue == network.replica(0).queue == []


def test_the_requests_of_a_new_leader_travel_with_its_no_op() -> None:
    network = RaftNetwork(size=3, **PLAIN)
    network.ask(0, A, B, A)
    network.elect(0, keep=AppendEntries)
    sent_first = network.under_way(AppendEntries)
    assert [(to, [entry.command for entry in m.entries]) for _, to, m in sent_first] == [
        (1, [NOOP, A, B]),
        (2, [NOOP, A, B]),
    ], "once to each"


def test_a_queue_is_bounded() -> None:
    raft = server([], queue_limit=2)
    for command in (A, B, C, D):
        step(raft, Request(command))
    assert raft.queue == [A, B]
    step(raft, Deliver(1, append(0, [1])))
    for command in (A, B, C, D):
        assert sent(step(raft, Request(command)), Forward)
    assert list(raft.pending.values()) == [A, B], "nor does it keep more of what it has passed on"


@pytest.mark.parametrize("next_leader", [1, 2])
def test_what_a_dead_leader_was_asked_is_asked_of_the_next_and_done_once(next_leader: int) -> None:
    """Server 1 has passed A and B on: the dead leader had committed A and told nobody, and had not seen B."""
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(1, A)
    network.exchange(keep=Appended)
    network.exchange(among=())
    network.ask(1, B)
    network.exchange(among=())
    network.crash(0)
    network.elect(next_leader)
    assert set(network.answers) == {(next_leader, A), (next_leader, B)}
    network.fire(next_leader, "heartbeat")
    network.exchange()
    assert [network.terms(me) for me in range(3)] == [[1, 1, 2, 2]] * 3
    assert not network.replica(1).pending and not network.replica(next_leader).pending


def test_a_retry_of_what_is_in_the_log_is_not_appended_again() -> None:
    raft = steady_leader()
    step(raft, Request(A))
    assert step(raft, Request(A)) == []
    assert step(raft, Deliver(1, Forward(A))) == []
    assert raft.log.last_index == 2
    elected = leader([1, 1], term=1)
    assert step(elected, Request(entries([1, 1])[1].command)) == [], "nor of what an earlier leader has appended"


def test_a_retry_of_what_was_executed_is_answered_again_by_anybody() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, A)
    network.exchange()
    network.fire(0, "heartbeat")
    network.fire(0, "heartbeat")
    network.exchange()
    for me in (0, 1, 2):
        network.ask(me, A)
    assert network.answers == [(0, A), (0, A), (1, A), (2, A)]
    assert network.terms(0) == [1, 1]


def test_a_new_leader_answers_what_the_old_one_could_not() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, A)
    network.exchange(among=(0, 1, 2), keep=Appended)  # the followers have it, the leader does not hear so
    network.exchange(among=())
    network.crash(0)
    network.elect(1)
    assert network.answers == [(1, A)]
    network.ask(1, A)
    assert network.terms(1) == [1, 1, 2], "the retry was answered, not appended"


def test_a_command_whose_entry_is_overwritten_goes_to_the_new_leader() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, A)
    network.exchange(among=(0,))
    network.elect(1, among=(1, 2))
    network.ask(1, B)
    network.exchange(among=(1, 2))
    network.fire(1, "retry")
    network.fire(1, "retry")
    network.exchange()
    assert {command for _, command in network.answers} == {A, B}
    network.fire(1, "retry")
    network.exchange()
    assert network.terms(0) == network.terms(1) == [1, 2, 2, 2]


# --- stable storage ---------------------------------------------------------------------------------------------------


def test_recovery_brings_back_term_vote_and_log_and_commits_nothing_by_itself() -> None:
    raft = Raft(1, Cluster(3), RaftOptions())
    effects = step(raft, Recover(disk([1, 1, 3], 4, 2)))
    assert (raft.current_term, raft.voted_for, terms_of(raft), raft.commit_index) == (4, 2, [1, 1, 3], 0)
    assert [effect[0] for effect in effects] == [SET_TIMER]
    effects = step(raft, Deliver(0, append(3, [1, 1, 3], term=5, commit=3)))
    assert of(COMMIT, effects) == [1, 2, 3]


def test_after_all_have_crashed_the_log_goes_on() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, A, B)
    network.exchange()
    for me in range(3):
        network.crash(me)
    network.elect(2)
    network.ask(1, C)
    network.exchange()
    assert network.terms(2) == [1, 1, 1, 2, 2]
    assert network.answers == [(0, A), (0, B), (2, A), (2, B), (2, C)]


# --- thesis: pre-votes (9.6), CheckQuorum (6.2), the vote lease (4.2.3) -----------------------------------------------


def test_thesis_9_6_asking_for_pre_votes_changes_neither_term_nor_disk() -> None:
    raft = server([1, 1], term=3)
    effects = step(raft, Timer("election"))
    assert (BROADCAST_UNSYNCED, (1, 2), PreVote(4, 2, 1)) in effects
    assert raft.current_term == 3
    assert not of(PERSIST, effects)
    before = server([1], term=3).key()
    asked = server([1], term=3)
    step(asked, Deliver(1, PreVote(9, 5, 5)))
    assert asked.key() == before, "nor does granting one change anything"


def test_thesis_9_6_a_majority_of_pre_votes_begins_the_election() -> None:
    raft = server([1], size=5, term=3)
    step(raft, Timer("election"))
    for message in (PreVoteReply(3, False), PreVoteReply(3, True), PreVoteReply(5, True)):
        step(raft, Deliver(4, message))
    step(raft, Deliver(1, PreVoteReply(4, True)))
    assert (raft.role, raft.current_term) == ("pre-candidate", 3)
    step(raft, Deliver(2, PreVoteReply(4, True)))
    assert (raft.role, raft.current_term) == ("candidate", 4)


def test_thesis_9_6_pre_votes_that_come_late_begin_nothing() -> None:
    """The leader was only slow: whoever hears it again has no use for the pre-votes that are still under way."""
    raft = server([1], size=5)
    step(raft, Timer("election"))
    step(raft, Deliver(1, PreVoteReply(2, True)))
    step(raft, Deliver(4, append(1, [1])))
    for source in (1, 2, 3):
        step(raft, Deliver(source, PreVoteReply(2, True)))
    assert (raft.role, raft.leader, raft.current_term) == ("follower", 4, 1)


@pytest.mark.parametrize("term", [4, 5])
def test_thesis_9_6_no_pre_vote_for_a_term_that_has_begun_here(term: int) -> None:
    """The refusal tells of the newer term; a pre-vote for it would only begin an election that cannot be won."""
    raft = server([1], term=5)
    assert step(raft, Deliver(1, PreVote(term, 9, 1))) == [(SEND_UNSYNCED, 1, PreVoteReply(5, False))]


@pytest.mark.parametrize(("silent_ms", "granted"), [(0, False), (999, False), (1000, True)])
def test_thesis_9_6_no_pre_vote_while_a_leader_is_heard(silent_ms: int, granted: bool) -> None:
    raft = server([1])
    step(raft, Deliver(2, append(1, [1])), clock_ns=5 * MS)
    (reply,) = step(raft, Deliver(1, PreVote(2, 9, 1)), clock_ns=(5 + silent_ms) * MS)
    assert reply[2] == (PreVoteReply(2, True) if granted else PreVoteReply(1, False))
    leading = steady_leader()
    assert step(leading, Deliver(1, PreVote(2, 9, 9)), clock_ns=10**12) == [(SEND_UNSYNCED, 1, PreVoteReply(1, False))]


def test_a_replica_behind_in_terms_learns_so_from_a_pre_vote_refused() -> None:
    network = RaftNetwork(size=3)
    network.begin_with([[1], [1], [1]], current_term=1)
    for me in (1, 2):
        step(network.replica(me), Deliver(0, Refused(6)))
    network.elect(0)
    network.elect(0)
    assert network.leaders() == [0]
    assert network.replica(0).current_term == 7


@pytest.mark.parametrize("check_quorum", [False, True])
def test_thesis_4_2_3_request_vote_is_ignored_while_a_leader_is_heard(check_quorum: bool) -> None:
    raft = server([1], check_quorum=check_quorum)
    step(raft, Deliver(2, append(1, [1])), clock_ns=5 * MS)
    effects = step(raft, Deliver(1, RequestVote(2, 9, 1)), clock_ns=6 * MS)
    assert (effects == []) == check_quorum
    assert (raft.current_term == 1) == check_quorum
    assert sent(step(raft, Deliver(1, RequestVote(3, 9, 1)), clock_ns=5000 * MS), Vote) == [(SEND, Vote(3, True))]


def test_thesis_6_2_a_leader_that_no_majority_answers_steps_down() -> None:
    raft = steady_leader(size=5, check_quorum=True)
    step(raft, Timer("quorum"))
    assert raft.role == "leader", "all have answered since it was elected"
    step(raft, Deliver(1, Appended(1, 1)))
    step(raft, Deliver(2, Conflict(1, 1, 0, 0)))
    step(raft, Timer("quorum"))
    assert raft.role == "leader"
    step(raft, Deliver(1, Appended(1, 1)))
    effects = step(raft, Timer("quorum"))
    assert (raft.role, raft.leader, raft.current_term) == ("follower", None, 1)
    assert election_timer_was_set(effects)
    step(raft, Request(A))
    assert raft.queue == [A]
    raft.check()


def test_who_has_stepped_down_counts_nothing_more_in_its_term() -> None:
    """All the less an entry of an earlier term (section 5.4.2), as it no longer knows where its own begin."""
    raft = leader([1, 1], term=1, check_quorum=True)
    step(raft, Timer("quorum"))
    assert (raft.role, raft.current_term) == ("follower", 2)
    for source in (0, 1, 2):
        assert step(raft, Deliver(source, Appended(2, 2))) == []
        assert step(raft, Deliver(source, Conflict(2, 2, 1, 1))) == []


def test_check_quorum_lets_a_candidate_of_a_higher_term_come_back() -> None:
    """Server 2 began terms of its own while it was cut off (no pre-votes). The others ignore its RequestVote in their
    leader's lease, and it refuses the leader: whose answer, a newer term, must reach the leader and end that."""
    network = RaftNetwork(size=3, pre_vote=False)
    network.elect(0)
    network.elect(2, among=(2,))
    network.now_ns = 0
    network.fire(2, "election")
    network.exchange()
    assert network.leaders() == [0]
    network.fire(0, "heartbeat")
    network.exchange()
    assert network.leaders() == []
    network.elect(0)
    assert network.leaders() == [0]
    assert network.terms(2) == network.terms(0)


# --- heartbeats, batches, windows -------------------------------------------------------------------------------------


def test_a_leader_sends_heartbeats_that_carry_the_commit_index() -> None:
    """At every tick, also just after entries: otherwise a leader with a request after each tick is silent for two."""
    raft = steady_leader()
    assert [m for _, m in sent(step(raft, Timer("heartbeat")), AppendEntries)] == [AppendEntries(1, 1, 1, (), 1)] * 2
    step(raft, Request(A))
    assert [m for _, m in sent(step(raft, Timer("heartbeat")), AppendEntries)] == [AppendEntries(1, 1, 1, (), 1)] * 2
    step(raft, Deliver(1, Appended(1, 2)))
    step(raft, Deliver(0, Appended(1, 2)))
    effects = step(raft, Timer("heartbeat"))
    assert [(to, m) for tag, to, m in effects if tag == SEND_UNSYNCED] == [
        (1, AppendEntries(1, 2, 1, (), 2)),
        (2, AppendEntries(1, 1, 1, (), 2)),  # speaks only of what 2 is known to have
    ]


def test_whoever_is_in_step_gets_one_shared_message() -> None:
    """A dead follower does not cost the others their common message."""
    raft = steady_leader(size=5, window=2)
    for sequence in range(1, 4):
        effects = step(raft, Request(put(sequence)))
        for source in (0, 1, 2, 3):
            step(raft, Deliver(source, Appended(1, sequence + 1)))
    assert of(BROADCAST_UNSYNCED, effects) == [(1, 2, 3)]
    assert raft.next_index == {4: 4}
    assert raft.commit_index == 4


@pytest.mark.parametrize("window", [1, 2, 5])
@given(data=st.data())
def test_thesis_10_2_2_no_more_than_a_window_is_under_way_and_all_arrives(window: int, data: st.DataObject) -> None:
    """A follower that acknowledges in order, whenever it likes: never more than ``window`` unacknowledged entries, each
    sent once, in order."""
    raft = steady_leader(window=window)
    sequence, got, acknowledged = 0, 1, 1
    for ask in data.draw(st.lists(st.booleans(), max_size=40)):
        if ask:
            sequence += 1
            effects = step(raft, Request(put(sequence)))
        elif acknowledged < got:
            acknowledged = data.draw(st.integers(acknowledged + 1, got))
            effects = step(raft, Deliver(1, Appended(1, acknowledged)))
        else:
            continue
        for tag, to, message in effects:
            if type(message) is AppendEntries and (to == 1 if tag == SEND_UNSYNCED else 1 in to):
                assert message.previous_index == got
                got += len(message.entries)
        assert got - acknowledged <= window
        assert got == min(raft.log.last_index, acknowledged + window)
        raft.check()


def test_thesis_10_2_2_a_follower_that_returns_opens_nobody_elses_window() -> None:
    raft = steady_leader(window=3)
    for command in (A, B, C):
        step(raft, Request(command))
    step(raft, Deliver(2, Conflict(1, 4, 1, 1)))
    step(raft, Deliver(2, Appended(1, 4)))
    assert raft.in_step == (1, 2)
    assert of(BROADCAST_UNSYNCED, step(raft, Request(D))) == [(2,)]
    raft.check()


def test_without_batching_every_request_leaves_at_once() -> None:
    raft = steady_leader(batch_size=5)
    for sequence in (1, 2, 3):
        assert len(sent(step(raft, Request(put(sequence))), AppendEntries)) == 1


def test_a_batch_leaves_when_it_is_full_or_its_time_is_over() -> None:
    raft = steady_leader(batch_size=3, batch_ms=5.0)
    assert step(raft, Request(A)) == [(SET_TIMER, "batch", (5 * MS, 5 * MS))]
    assert step(raft, Request(B)) == []
    assert step(raft, Request(B)) == []
    effects = step(raft, Request(C))
    assert of(CANCEL_TIMER, effects) == ["batch"]
    assert [entry.command for entry in sent(effects, AppendEntries)[0][1].entries] == [A, B, C]
    assert sent(effects, Appended) == [(SEND, Appended(1, 4))]
    step(raft, Request(D))
    effects = step(raft, Timer("batch"))
    assert [entry.command for entry in sent(effects, AppendEntries)[0][1].entries] == [D]


def test_a_batch_that_waits_when_its_leader_steps_down_goes_to_the_next() -> None:
    network = RaftNetwork(size=3, batch_size=3, batch_ms=5.0, **PLAIN)
    network.elect(0)
    network.ask(0, A)
    network.elect(1)
    assert network.replica(0).queue == []
    network.fire(1, "batch")
    network.exchange()
    assert network.answers == [(1, A)]


def test_catching_up_goes_in_chunks() -> None:
    network = RaftNetwork(size=3)
    network.elect(0)
    network.ask(0, *[put(sequence) for sequence in range(1, 3 * CHUNK)])
    network.exchange(among=(0, 1))
    sizes = []
    for _ in range(2):
        network.fire(0, "retry")
    while network.world.in_flight:
        source, to, message = network.world.in_flight[0]
        if to == 2 and type(message) is AppendEntries:
            sizes.append(len(message.entries))
        network.deliver(source, to, type(message))
    assert sizes[:3] == [CHUNK, CHUNK, CHUNK - 1]
    assert network.terms(2) == network.terms(0)


# --- options, log -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"batch_ms": -1}, "batch_ms = -1"),
        ({"window": 0}, "window = 0"),
        ({"queue_limit": 0}, "queue_limit = 0"),
        ({"heartbeat_ms": 2000}, "heartbeat_ms = 2000"),
        ({"prevote": True}, "raft.prevote"),
    ],
)
def test_impossible_options_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_options(Raft, settings, 3)
    assert "\n" not in str(caught.value)


@given(
    base=st.integers(0, 3), terms=st.lists(st.integers(1, 6), max_size=12).map(sorted), index=st.integers(0, 16),
    term=st.integers(0, 7),
)  # fmt: skip
def test_the_log_answers_as_a_plain_list_does(base: int, terms: list[int], index: int, term: int) -> None:
    """Also a log that begins after a snapshot."""
    log = RaftLog()
    log.base_index, log.base_term = base, 1 if base else 0
    log.entries = list(entries(terms))
    numbered = {base: log.base_term, **dict(enumerate(terms, base + 1))}
    assert (log.last_index, log.last_term) == max(numbered.items())
    assert log.holds(index, term) == (index < base or numbered.get(index) == term), (
        "what is discarded is the same everywhere"
    )
    at_most = [i for i, t in numbered.items() if i <= index and t <= term]
    assert log.last_of_term(index, term) == max(at_most, default=base)
    if base < index <= log.last_index:
        assert log.term(index) == numbered[index]
        assert log.slice(index, 3) == tuple(log.entries[index - base - 1 : index - base + 2])
        tail = log.entries[index - base - 1 :]
        assert log.truncate(index) == tail
        assert log.last_index == index - 1


def test_a_view_shows_executed_and_accepted_entries_with_their_terms() -> None:
    raft = server([1, 1, 2])
    step(raft, Deliver(1, append(3, [1, 1, 2], commit=2)))
    view = raft.view()
    assert [(view.entries[i].status, view.entries[i].ballot) for i in (1, 2, 3)] == [
        ("executed", (1, 0)),
        ("executed", (1, 0)),
        ("accepted", (2, 0)),
    ]
    assert (view.ballot, view.leader) == ((2, 0), 1)


def test_terms_along_a_log_that_decrease_are_a_local_violation() -> None:
    raft = server([1, 2])
    raft.log.entries.append(LogEntry(1, A))
    with pytest.raises(AssertionError, match="terms decrease"):
        raft.check()
