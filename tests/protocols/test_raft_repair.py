"""A damaged disk: a server of Raft stays out of quorums until it is repaired, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import raft_mutants as mutants
from damage import DAMAGES, damaged, serves_in_the_end
from raft_network import PLAIN, A, B, RaftNetwork, disk, entries, violated

from consensus_bench.contract import CORRUPT, LOST, Cluster, Effect, PropertyViolated, Snapshot
from consensus_bench.contract.context import FORGET, PERSIST
from consensus_bench.contract.steps import Deliver, Recover, Timer, step
from protocols.raft import Raft
from protocols.raft_messages import (
    Appended,
    AppendEntries,
    AskTerm,
    Conflict,
    PreVote,
    PreVoteReply,
    RaftOptions,
    Refused,
    RequestVote,
    TermReply,
    TimeoutNow,
    Vote,
)
from protocols.raft_repair import NEVER, UNKNOWN

NOW = 7_000_000_000
ALL = (0b111,)
"""The members."""


def restarted(found: Mapping[Any, Any], size: int = 3, me: int = 1) -> tuple[Raft, list[Effect]]:
    raft = Raft(me, Cluster(size), RaftOptions())
    return raft, step(raft, Recover(found), clock_ns=NOW)


def sent(effects: list[Effect], kind: type) -> list[Any]:
    return [b for _, _, b in effects if isinstance(b, kind)]


def told(raft: Raft, *replies: tuple[int, int, int]) -> None:
    for source, term, index in replies:
        step(raft, Deliver(source, TermReply(NOW, term, index, raft.everyone)))


LOST_VOTES = [{LOST: None}, {**disk([1, 1]), "vote": CORRUPT}, {**disk([1]), "repair": CORRUPT}]


@pytest.mark.parametrize("found", LOST_VOTES)
def test_who_has_lost_its_vote_asks_and_says_nothing_else(found: Mapping[Any, Any]) -> None:
    raft, effects = restarted(found)
    assert sent(effects, AskTerm) == [AskTerm(NOW, raft.log.last_index)]
    unheard = [RequestVote(9, 9, 9), AppendEntries(9, 0, 0, (), 0)]
    late = [Vote(9, False), PreVoteReply(9, False), Refused(9)]
    for message in unheard + late:
        assert not step(raft, Deliver(2, message))
    assert not sent(step(raft, Timer("election")), PreVote)
    assert not [
        reply for reply in sent(step(raft, Deliver(2, PreVote(9, 9, 9))), object) if getattr(reply, "granted", 0)
    ]


def test_a_majority_of_the_others_is_not_enough() -> None:
    raft, _ = restarted({LOST: None}, size=5)
    told(raft, (0, 4, NEVER), (2, 4, NEVER), (3, 4, NEVER))
    assert raft.asking, "replica 4 may be the candidate that has our vote in term 5"
    told(raft, (4, 5, NEVER))
    assert not raft.asking
    assert raft.current_term == 5


def test_answers_to_an_earlier_question_do_not_count() -> None:
    raft, _ = restarted({LOST: None})
    for source in (0, 2):
        step(raft, Deliver(source, TermReply(NOW - 1, 3, NEVER, ALL)))
    assert raft.asking


def test_its_terms_count_as_voted_in_and_the_disk_says_so_before_anybody_hears() -> None:
    raft, _ = restarted({LOST: None})
    step(raft, Deliver(0, TermReply(NOW, 3, NEVER, ALL)))
    effects = step(raft, Deliver(2, TermReply(NOW, 2, NEVER, ALL)))
    assert [(tag, a) for tag, a, _ in effects] == [(PERSIST, "vote"), (PERSIST, "repair"), (FORGET, LOST)]
    assert [vote.granted for vote in sent(step(raft, Deliver(2, RequestVote(3, 9, 9))), Vote)] == [False]


def test_who_lost_everything_as_well_is_no_candidate() -> None:
    raft, _ = restarted({LOST: None}, size=5)
    told(raft, (0, UNKNOWN, NEVER), (2, 4, NEVER), (3, 4, NEVER), (4, 2, NEVER))
    assert raft.current_term == 4
    other, _ = restarted({LOST: None}, me=0)
    assert sent(step(other, Deliver(1, AskTerm(NOW, 0))), TermReply) == [TermReply(NOW, UNKNOWN, NEVER, ALL)]


def test_repaired_by_the_leader_of_the_same_term_up_to_where_it_was() -> None:
    raft, _ = restarted({LOST: None})
    told(raft, (0, 3, 4), (2, 3, NEVER))
    log = entries([1, 3, 3, 3])
    step(raft, Deliver(0, AppendEntries(3, 0, 0, log[:3], 0)))
    assert raft.repair == (3, 4)
    effects = step(raft, Deliver(0, AppendEntries(3, 3, 3, log[3:], 0)))
    assert raft.repair is None
    assert sent(effects, Appended) == [Appended(3, 4)]
    assert [vote.granted for vote in sent(step(raft, Deliver(2, RequestVote(4, 4, 3)), clock_ns=2 * NOW), Vote)] == [
        True
    ]


def test_repaired_by_a_later_leader_that_it_did_not_vote_for() -> None:
    raft, _ = restarted({LOST: None})
    told(raft, (0, 3, NEVER), (2, 3, NEVER))
    assert [vote.granted for vote in sent(step(raft, Deliver(2, RequestVote(4, 9, 9))), Vote)] == [False]
    step(raft, Deliver(0, AppendEntries(4, 0, 0, entries([1, 3]), 0)))
    assert raft.repair, "entries of earlier terms alone prove nothing"
    step(raft, Deliver(0, AppendEntries(4, 2, 3, entries([1, 3, 4])[2:], 0)))
    assert raft.repair is None


def test_a_damaged_entry_and_what_follows_it_is_asked_for_again() -> None:
    raft, effects = restarted({**disk([1, 1, 2, 2], 2, 0), 3: CORRUPT})
    assert raft.log.last_index == 2
    assert raft.repair == (2, 4)
    assert [a for tag, a, _ in effects if tag == FORGET] == [3, 4], "or they would come after what replaces them"
    assert sent(effects, AskTerm) == [AskTerm(NOW, 2)]
    assert [vote.granted for vote in sent(step(raft, Deliver(2, RequestVote(3, 9, 9))), Vote)] == [False]


def test_without_its_snapshot_a_log_is_worth_nothing() -> None:
    snapshot = (Snapshot(3, ()), (), 1, ALL, 3, 1)
    found = {"vote": (2, 0), "snapshot": snapshot, 4: entries([2])[0]}
    raft, _ = restarted(found)
    assert (raft.commit_index, raft.log.base_index, raft.log.last_index, raft.repair) == (3, 3, 4, None)
    raft, effects = restarted({**found, "snapshot": CORRUPT})
    assert (raft.commit_index, raft.log.last_index, raft.repair) == (0, 0, (2, NEVER))
    assert [a for tag, a, _ in effects if tag == FORGET] == ["snapshot", *range(1, 5)]
    told(raft, (0, 2, 6))
    assert raft.repair == (2, 6), "the leader of its term says how far it may have been"


def test_a_damaged_entry_that_the_snapshot_stands_for_is_no_loss() -> None:
    tail = dict(enumerate(entries([1, 1, 1, 1, 2])[2:], 3))
    raft, effects = restarted({"vote": (2, 0), "snapshot": (Snapshot(4, ()), (), 1, ALL, 2, 1), **tail, 3: CORRUPT})
    assert (raft.log.base_index, raft.log.last_index, raft.repair) == (4, 5, None)
    assert [a for tag, a, _ in effects if tag == FORGET] == [3, 4]


def test_a_repair_goes_on_after_another_restart() -> None:
    raft, _ = restarted({**disk([1, 1], 2, 0), "repair": (2, 4)})
    assert raft.repair == (2, 4)
    again, _ = restarted({**disk([1, 1], 2, 0), 2: CORRUPT, "repair": (2, 4)})
    assert again.repair == (2, 4)


def test_who_is_damaged_takes_no_office() -> None:
    raft, _ = restarted({**disk([1], 1, 0), 1: CORRUPT})
    step(raft, Deliver(0, AppendEntries(1, 0, 0, (), 0)))
    assert not sent(step(raft, Deliver(0, TimeoutNow(1))), RequestVote)


def test_a_leader_begins_anew_with_a_follower_that_has_lost_its_log() -> None:
    raft = Raft(0, Cluster(3, first_leader=0), RaftOptions(pre_vote=False))
    step(raft, Recover(disk([1, 1, 1])))
    step(raft, Timer("election"))
    for source in (0, 1):
        step(raft, Deliver(source, Vote(2, True)))
    for source in (0, 1, 2):
        step(raft, Deliver(source, Appended(2, 4)))
    effects = step(raft, Deliver(1, AskTerm(NOW, 1)))
    assert sent(effects, TermReply) == [TermReply(NOW, 2, 4, ALL)]
    assert [(m.previous_index, len(m.entries)) for m in sent(effects, AppendEntries)] == [(1, 3)]
    raft.check()
    effects = step(raft, Deliver(1, Conflict(2, 1, 0, 0)))
    assert [m.previous_index for m in sent(effects, AppendEntries)] == [0], "its conflicts are believed again"


# --- what is each rule for --------------------------------------------------------------------------------------------


def damage(network: RaftNetwork, me: int, found: Mapping[Any, Any], restart: bool = True) -> None:
    """``me`` restarts and finds this on its disk, beside what was there; or instead of it, if all is lost."""
    network.world.crash(me)
    disk = network.world.servers[me].disk
    if LOST in found:
        disk.clear()
    disk.update(found)
    network.now_ns += 1
    if restart:
        network.world.restart(me)


def acknowledged_and_damaged(protocol: type[Raft], found: Mapping[Any, Any]) -> RaftNetwork:
    """Servers 0 and 1 commit A, of which 2 does not know; then 1 restarts and finds its disk like this."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(0)
    network.ask(0, A)
    network.exchange(among=(0, 1))
    assert (0, A) in network.answers
    damage(network, 1, found)
    return network


def others_go_on(network: RaftNetwork) -> None:
    """Server 2 stands for election, and if 1 votes for it, both commit B."""
    network.exchange(among=(1, 2))
    network.elect(2, among=(1, 2))
    network.ask(2, B)
    network.exchange(among=(1, 2))


def entry_damaged(protocol: type[Raft]) -> None:
    """A cannot be read."""
    others_go_on(acknowledged_and_damaged(protocol, {2: CORRUPT}))


def disk_lost(protocol: type[Raft]) -> None:
    """Everything is lost."""
    others_go_on(acknowledged_and_damaged(protocol, {LOST: None}))


def damaged_and_barely_heard_of_a_leader(protocol: type[Raft]) -> None:
    """A cannot be read. Server 0 is elected again, by 2, and 1 gets a heartbeat of it and nothing more."""
    network = acknowledged_and_damaged(protocol, {2: CORRUPT})
    network.crash(0)
    network.elect(0, among=(0, 2), keep=AppendEntries)
    network.exchange(among=())
    network.fire(0, "heartbeat")
    network.deliver(0, 1, AppendEntries)
    others_go_on(network)


def voted_for_the_one_that_is_silent(protocol: type[Raft]) -> None:
    """Server 2 votes for 0 in term 2 and loses its disk; 3, which leads term 1, and 4 answer, but not 0 and 1."""
    network = RaftNetwork(protocol, 5, **PLAIN)
    network.elect(3)
    network.elect(0, among=(0, 1, 2), keep=AppendEntries)
    network.exchange(among=())
    damage(network, 2, {LOST: None})
    network.exchange(among=(2, 3, 4))
    network.fire(2, "ask")
    network.exchange(among=(2, 3, 4))
    network.elect(4, among=(2, 3, 4))
    network.ask(4, A)
    network.exchange(among=(2, 3, 4))
    network.ask(0, B)
    for _ in range(2):
        network.fire(0, "retry")
    network.exchange(among=(0, 1, 2))


def acknowledged_to_a_leader_that_lives(protocol: type[Raft]) -> None:
    """A cannot be read, and 0, which leads, sends what it believes to be new to 1."""
    network = acknowledged_and_damaged(protocol, {2: CORRUPT})
    network.exchange()
    network.ask(0, B)
    for _ in range(2):
        network.fire(0, "retry")
        network.fire(0, "heartbeat")
        network.exchange()
    if network.replica(1).repair is not None:
        raise PropertyViolated("progress", "a leader lives, and does not repair its follower")


def two_disks_of_three_lost(protocol: type[Raft]) -> None:
    """Servers 0 and 2 commit in term 2 while 1 leads term 1 for itself; then both lose their disks, and for good."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(1)
    network.elect(0, among=(0, 2))
    network.ask(0, A)
    network.exchange(among=(0, 2))
    network.exchange(among=(0, 2))
    for me in (0, 2):
        damage(network, me, {LOST: None}, restart=False)
    for me in (0, 2):
        network.world.restart(me)
    for _ in range(3):
        network.exchange()
        for me in (0, 2):
            if network.replica(me)._is_damaged():
                network.fire(me, "ask")
        network.exchange()
    network.ask(1, B)
    network.exchange()
    assert [network.replica(me).asking for me in (0, 2)] == [True, True]


def a_late_refusal_hides_a_lost_vote(protocol: type[Raft]) -> None:
    """Server 1 votes for 0 in term 2, and its disk cannot tell any more. While it asks, an old refusal by 2, which is a
    candidate in term 2 as well, speaks of that term; 1 restarts once more, and the request of 2 for its vote comes."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    for server in (1, 2, 2):
        network.fire(server, "election")
    network.deliver(1, 2, RequestVote)
    for _ in range(2):
        network.deliver(2, 2, Vote)
    [refusal] = [packet for packet in network.under_way(Vote) if packet[:2] == (2, 1)]
    [request] = [packet for packet in network.under_way(RequestVote) if packet[1] == 1 and packet[2].term == 2]
    assert refusal[2] == Vote(2, False)
    network.exchange(among=())
    for _ in range(2):
        network.fire(0, "election")
    network.exchange(among=(0, 1), keep=AppendEntries)
    assert network.leaders() == [0] and network.replica(1).voted_for == 0
    damage(network, 1, {"vote": CORRUPT})
    for late in (refusal, request):
        network.world.in_flight[:] = [late]
        network.exchange(among=(1, 2))
        network.crash(1)
    for leader, command in ((2, A), (0, B)):
        network.ask(leader, command)
        if "retry" in network.world.servers[leader].timers:
            network.fire(leader, "retry")
            network.fire(leader, "retry")
        network.exchange(among=(1, leader))


def elected_by_votes_for_an_earlier_life(protocol: type[Raft]) -> None:
    """Server 0 asks for votes in term 2 and loses its disk, that term with it. Repaired in term 1, it stands in term 2
    again, twice, because its disk is slow and it restarts; and twice the votes for its earlier life arrive at once."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(1)
    network.fire(0, "election")
    requests = network.under_way(RequestVote)
    network.exchange(among=())
    damage(network, 0, {LOST: None})
    network.exchange()
    network.fire(0, "ask")
    network.exchange()
    assert not network.replica(0)._is_damaged() and network.replica(0).current_term == 1
    network.world.in_flight[:] = requests
    for _, to, _ in requests:
        network.deliver(0, to, RequestVote)
    votes = network.under_way(Vote)
    assert [vote for _, _, vote in votes] == [Vote(2, True)] * 2
    for command, slow in ((A, True), (B, False)):
        if slow:
            network.frozen.add(0)
        network.fire(0, "election")
        network.world.in_flight[:] = votes
        network.exchange()
        network.ask(0, command)
        network.exchange()
        if network.leaders() == [0]:
            network.fire(0, "heartbeat")
        network.exchange()
        network.crash(0)


@pytest.mark.parametrize(
    ("schedule", "mutant"),
    [
        (entry_damaged, mutants.NeverWritten),
        (entry_damaged, mutants.RepairedAtOnce),
        (disk_lost, mutants.AsksNobody),
        (damaged_and_barely_heard_of_a_leader, mutants.RepairedByOldEntries),
        (voted_for_the_one_that_is_silent, mutants.AsksAMajority),
        (two_disks_of_three_lost, mutants.CountsTheLost),
        (a_late_refusal_hides_a_lost_vote, mutants.TakesUpTermsWhileAsking),
        (acknowledged_to_a_leader_that_lives, mutants.LeavesTheLeaderInTheDark),
        (elected_by_votes_for_an_earlier_life, mutants.LeadsBeforeItsTermIsDurable),
    ],
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Callable[[Any], None], mutant: Any) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) in ("agreement", "progress")


@pytest.mark.parametrize("name", ["NeverWritten", "RepairedAtOnce", "AsksNobody"])
def test_a_careless_repair_loses_what_was_acknowledged(name: str) -> None:
    """On the schedule of tests/conformance/damage.py."""

    def falls(damage: list[str]) -> bool:
        try:
            return not serves_in_the_end(damaged(f"{mutants.__file__}:{name}", damage))
        except (PropertyViolated, AssertionError):
            return True

    assert any(falls(damage) for damage in DAMAGES.values())
