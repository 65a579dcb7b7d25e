"""Leadership transfer (thesis section 3.10): the target has everything, and is elected at once."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
import raft_mutants as mutants
from fault_worlds import loaded
from paxos_network import put
from raft_network import MS, A, B, RaftNetwork, violated

from consensus_bench.contract import OPERATOR, Cluster, Effect, HandOver, PropertyViolated
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


# What is each rule for.


def ordered(protocol: type[Raft], *lost: int) -> RaftNetwork:
    """Server 0 leads; what it appends does not reach ``lost``. Then 1 is to take over."""
    network = RaftNetwork(protocol, 3, 0)
    network.exchange()
    network.now_ns += 100 * MS
    network.ask(0, A)
    network.exchange(among=[server for server in range(3) if server not in lost])
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    return network


def taken_over(network: RaftNetwork) -> None:
    """By 1, when what was lost has been sent again."""
    network.exchange()
    for _ in range(2):
        if network.leaders() == [0]:
            network.fire(0, "retry")
            network.exchange()
    if network.leaders() != [1]:
        raise PropertyViolated("transfer", f"leaders {network.leaders()}")


def a_successor_behind(protocol: type[Raft]) -> None:
    """Server 1 lacks an entry that 2 has, and could not have its vote."""
    taken_over(ordered(protocol, 1))


def a_living_leader(protocol: type[Raft]) -> None:
    """All have heard of 0 just now."""
    taken_over(ordered(protocol))


def a_dead_successor(protocol: type[Raft]) -> None:
    """Server 1 hears nothing; meanwhile a request comes, and nobody asks again."""
    network = ordered(protocol)
    network.exchange(among=(0, 2, OPERATOR))
    network.ask(0, B)
    network.fire(0, "transfer")
    network.exchange(among=(0, 2))
    if (0, B) not in network.answers:
        raise PropertyViolated("progress", "a request that came during the transfer is lost")


@pytest.mark.parametrize(
    ("schedule", "mutant"),
    [
        (a_successor_behind, mutants.HandsOverTooEarly),
        (a_living_leader, mutants.IgnoresTheTransfer),
        (a_dead_successor, mutants.DropsWhatWaits),
    ],
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Callable[[Any], None], mutant: Any) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) is not None
