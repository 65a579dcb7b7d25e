"""Leadership transfer (thesis section 3.10): the target has everything, and is elected at once."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from fault_worlds import loaded
from paxos_network import put

from consensus_bench.contract import OPERATOR, Cluster, Context, Effect, HandOver
from consensus_bench.contract.context import BROADCAST, SEND, SET_TIMER
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.steps import Deliver, Request, Start, Timer, step
from consensus_bench.experiments.measure import judged
from consensus_bench.exploration import Faults, Scheduler
from consensus_bench.exploration.world import Summary
from consensus_bench.simulation.world import SECOND_NS, World
from protocols.raft import Raft
from protocols.raft_messages import Appended, AppendEntries, Confirmed, RaftOptions, RequestVote, TimeoutNow, Vote


def leading(**options: Any) -> Raft:
    """Server 0 of three leads term 1; its no-op is committed and everywhere."""
    raft = Raft(0, Cluster(3, first_leader=0), RaftOptions(**options))
    step(raft, Start())
    for source in (0, 1):
        step(raft, Deliver(source, Vote(1, True)))
    for source in (0, 1, 2):
        step(raft, Deliver(source, Appended(1, 1)))
    return raft


def sent(effects: list[Effect], kind: type) -> list[tuple[Any, Any]]:
    return [(a, b) for _, a, b in effects if isinstance(b, kind)]


def hand_over(raft: Raft, to: int) -> list[Effect]:
    return step(raft, Deliver(OPERATOR, HandOver(to)))


def test_a_target_that_has_everything_is_asked_at_once() -> None:
    assert sent(hand_over(leading(), 1), TimeoutNow) == [(1, TimeoutNow(1))]


def test_a_target_that_lacks_entries_gets_them_first() -> None:
    raft = leading()
    step(raft, Request(put(1)))
    assert not sent(hand_over(raft, 1), TimeoutNow)
    assert sent(step(raft, Deliver(1, Appended(1, 2))), TimeoutNow) == [(1, TimeoutNow(1))]


def test_requests_wait_meanwhile_and_are_served_if_nothing_comes_of_it() -> None:
    raft = leading()
    assert (SET_TIMER, "transfer") in [(tag, a) for tag, a, _ in hand_over(raft, 1)]
    assert not sent(step(raft, Request(put(1))), AppendEntries)
    [(_, message)] = sent(step(raft, Timer("transfer")), AppendEntries)
    assert [entry.command for entry in message.entries] == [put(1)]
    assert sent(step(raft, Request(put(2))), AppendEntries), "and so is whatever comes next"


def test_requests_that_waited_go_to_the_new_leader() -> None:
    raft = leading()
    hand_over(raft, 1)
    step(raft, Request(put(1)))
    effects = step(raft, Deliver(1, AppendEntries(2, 1, 1, (), 1)))
    assert [(a, b.command) for _, a, b in effects if hasattr(b, "command")] == [(1, put(1))]


def test_the_target_needs_no_pre_vote_and_is_heard_in_spite_of_the_leader() -> None:
    target = Raft(1, Cluster(3), RaftOptions())
    step(target, Start())
    step(target, Deliver(0, AppendEntries(1, 0, 0, (), 0)))
    effects = step(target, Deliver(0, TimeoutNow(1)))
    [request] = [b for tag, _, b in effects if tag == BROADCAST]
    assert request == RequestVote(2, 0, 0, transfer=True)
    voter = Raft(2, Cluster(3), RaftOptions())
    step(voter, Start())
    step(voter, Deliver(0, AppendEntries(1, 0, 0, (), 0)))
    assert not step(voter, Deliver(1, msgspec.structs.replace(request, transfer=False)))
    assert [b for tag, _, b in step(voter, Deliver(1, request)) if tag == SEND] == [Vote(2, True)]


def test_an_old_request_to_begin_is_ignored() -> None:
    target = Raft(1, Cluster(3), RaftOptions())
    step(target, Start())
    step(target, Deliver(2, AppendEntries(3, 0, 0, (), 0)))
    assert not step(target, Deliver(0, TimeoutNow(1)))


def test_a_lease_ends_for_good_when_another_one_may_begin() -> None:
    raft = leading(reads="lease")
    step(raft, Timer("heartbeat"), clock_ns=SECOND_NS)
    hand_over(raft, 1)
    step(raft, Timer("transfer"), clock_ns=2 * SECOND_NS)
    step(raft, Deliver(1, Confirmed(1, raft.round)), clock_ns=2 * SECOND_NS)
    assert raft.lease_end_ns == 0


@pytest.mark.parametrize("order", [HandOver(0), HandOver(7)])
def test_orders_that_mean_nothing_change_nothing(order: HandOver) -> None:
    raft = leading()
    before = raft.key()
    step(raft, Deliver(OPERATOR, order))
    assert raft.key() == before


def test_random_schedules_full_of_orders_violate_nothing() -> None:
    protocol, total = find_protocol("raft"), Summary()
    for seed in range(120):
        settings = {"reads": "index"} if seed % 2 else {}
        faults = msgspec.structs.replace(Faults.drawn(Random(seed), 3), order=0.03)
        total.add(Scheduler(protocol, make_options(protocol, settings, 3), 3, seed, faults=faults).run())
    assert total.messages["TimeoutNow"] > 100


def elections(faults: list[str], **settings: Any) -> World:
    world = loaded("raft", faults, client_timeout_ms=3000.0, **settings)
    result, _ = judged("run", world, lambda: False)
    assert {check.verdict for check in result.checks} == {"holds"}
    return world


def test_the_office_changes_hands_within_a_few_round_trips_and_nobody_waits_long() -> None:
    world = elections(["hand-over:leader@3,to=p1"])
    [_, (when_ns, who)] = world.elections
    assert who == 1
    assert when_ns < 3.2 * SECOND_NS, "20 ms to the target, 30 to 50 ms for its votes, and its disk"
    waits = world.operations.column("answered_ns") - world.operations.column("due_ns")
    assert waits.max() < 0.5 * SECOND_NS


def test_a_target_that_is_dead_costs_one_time_out() -> None:
    world = elections(["crash:p1@2+4", "hand-over:leader@3,to=p1"])
    assert len(world.elections) == 1
    waits = world.operations.column("answered_ns") - world.operations.column("due_ns")
    assert 0.8 * SECOND_NS < waits.max() < 4.5 * SECOND_NS


class AsksTooEarly(Raft):
    """The target is asked before it has everything: it loses, and everybody waits for a time-out."""

    __slots__ = ()

    def _caught_up(self, ctx: Context, follower: int) -> None:
        ctx.send_unsynced(follower, TimeoutNow(self.current_term))


def test_a_target_that_lacks_entries_could_not_win() -> None:
    for protocol, asked in ((Raft, False), (AsksTooEarly, True)):
        raft = protocol(0, Cluster(3, first_leader=0), RaftOptions())
        step(raft, Start())
        for source in (0, 1):
            step(raft, Deliver(source, Vote(1, True)))
        assert bool(sent(hand_over(raft, 2), TimeoutNow)) == asked
