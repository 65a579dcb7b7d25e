"""A damaged disk: a server of Raft stays out of quorums until it is repaired, and no longer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from damage import DAMAGES, damaged, serves_in_the_end
from raft_network import PLAIN, A, B, RaftNetwork, disk, entries, violated

from consensus_bench.contract import CORRUPT, LOST, Cluster, Context, Effect, PropertyViolated, Snapshot
from consensus_bench.contract.context import FORGET, PERSIST
from consensus_bench.contract.steps import Deliver, Recover, Timer, step
from protocols.raft import Raft
from protocols.raft_election import RaftElection
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


def two_disks_of_three_lost(protocol: type[Raft]) -> tuple[Any, ...]:
    """Servers 0 and 2 commit in term 2 while 1 leads term 1 for itself; then both lose their disks. The terms after."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(1)
    network.elect(0, among=(0, 2))
    network.ask(0, A)
    network.exchange(among=(0, 2))
    network.exchange(among=(0, 2))
    for me in (0, 2):
        network.world.crash(me)
        network.world.servers[me].disk = {LOST: None}
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
    return tuple(network.replica(me).asking for me in (0, 2))


def test_when_a_majority_has_lost_its_disks_nobody_goes_on() -> None:
    assert two_disks_of_three_lost(Raft) == (True, True)
    with pytest.raises(PropertyViolated, match="agreement"):
        two_disks_of_three_lost(CountsTheLost)


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
    network.world.crash(1)
    network.world.servers[1].disk["vote"] = CORRUPT
    network.world.restart(1)
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


class TakesUpTermsWhileAsking(Raft):
    """A term that is heard of is written down although the votes are not known yet."""

    __slots__ = ()

    def _enter_term(self, ctx: Context, term: int) -> None:
        RaftElection._enter_term(self, ctx, term)


def test_a_lost_vote_stays_lost_whatever_is_heard_meanwhile() -> None:
    assert violated(a_late_refusal_hides_a_lost_vote, Raft) is None
    assert violated(a_late_refusal_hides_a_lost_vote, TakesUpTermsWhileAsking) == "agreement"


class CountsTheLost(Raft):
    """Servers that have lost their votes count as having answered, however many they are."""

    __slots__ = ()

    def _have_asked_enough(self) -> bool:
        return len(self.replies) == len(self.others)


# Mutants, on the schedule of tests/conformance/damage.py.


class NeverWritten(Raft):
    """What cannot be read is treated as never written."""

    __slots__ = ()

    def _read_disk(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        good: dict[Any, Any] = {"vote": disk["vote"]} if disk.get("vote", CORRUPT) is not CORRUPT else {}
        while disk.get(len(good) + 1 - ("vote" in good), CORRUPT) is not CORRUPT:
            index = len(good) + 1 - ("vote" in good)
            good[index] = disk[index]
        super()._read_disk(ctx, good)


class RepairedAtOnce(Raft):
    """Whatever a leader sends repairs everything."""

    __slots__ = ()

    def _is_damaged(self) -> bool:
        return self.asking > 0


class AsksNobody(Raft):
    """Nobody is waited for."""

    __slots__ = ()

    def _have_asked_enough(self) -> bool:
        return True

    def _is_damaged(self) -> bool:
        return False


@pytest.mark.parametrize("mutant", [NeverWritten, RepairedAtOnce, AsksNobody])
def test_a_careless_repair_loses_what_was_acknowledged(mutant: type[Raft]) -> None:
    def falls(damage: list[str]) -> bool:
        try:
            return not serves_in_the_end(damaged(f"{__file__}:{mutant.__name__}", damage))
        except (PropertyViolated, AssertionError):
            return True

    assert any(falls(damage) for damage in DAMAGES.values())
