"""Multi-Paxos: the office changes hands, at once and without a request lost, or stays where it is."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import multi_paxos_mutants as mutants
import pytest
from fault_worlds import loaded
from paxos_network import Network, put
from worlds import MS

from consensus_bench.contract import OPERATOR, Cluster, Command, Effect, HandOver
from consensus_bench.contract.context import BROADCAST_UNSYNCED, READ
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.steps import Deliver, Request, Start, Timer, step
from consensus_bench.experiments.measure import judged
from consensus_bench.exploration import Faults, Scheduler
from consensus_bench.exploration.world import Summary
from consensus_bench.simulation.world import SECOND_NS, World
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Chosen,
    Extend,
    Extended,
    Fetch,
    Forward,
    Heartbeat,
    MultiPaxosOptions,
    Prepare,
    Promise,
    TakeOver,
)

A, B = put(1, client=1), put(1, client=2)
GET = Command(3, 1, "get", "x")


def sent(effects: list[Effect], kind: type) -> list[Any]:
    return [(a, b) for tag, a, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def leading(protocol: type[MultiPaxos] = MultiPaxos, **options: Any) -> MultiPaxos:
    """Replica 0 of three leads at ballot (1, 0)."""
    paxos = protocol(0, Cluster(3, first_leader=0), MultiPaxosOptions(**options))
    step(paxos, Start())
    for source in (0, 1):
        step(paxos, Deliver(source, Promise((1, 0), ())))
    return paxos


def following(**options: Any) -> MultiPaxos:
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(**options))
    step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    return paxos


def hand_over(paxos: MultiPaxos, to: int = 1) -> list[Effect]:
    return step(paxos, Deliver(OPERATOR, HandOver(to)))


# --- the leader -------------------------------------------------------------------------------------------------------


def test_a_leader_with_nothing_under_way_offers_its_office_at_once() -> None:
    assert sent(hand_over(leading()), TakeOver) == [(1, TakeOver((1, 0), 1))]


def test_what_is_under_way_is_chosen_first_and_requests_wait() -> None:
    paxos = leading()
    step(paxos, Request(A))
    assert not sent(hand_over(paxos), TakeOver)
    assert not sent(step(paxos, Request(B)), Accept)
    step(paxos, Deliver(0, Accepted((1, 0), 1)))
    effects = step(paxos, Deliver(2, Accepted((1, 0), 1)))
    assert sent(effects, TakeOver) == [(1, TakeOver((1, 0), 2))]
    assert not sent(effects, Accept)
    assert sent(step(paxos, Timer("heartbeat")), TakeOver), "it may have been lost"
    assert sent(step(paxos, Deliver(1, Heartbeat((2, 1), 2))), Forward) == [(1, Forward(B, (2, 1)))]


def test_if_nothing_comes_of_it_the_leader_goes_on() -> None:
    paxos = leading()
    hand_over(paxos)
    step(paxos, Request(A))
    assert sent(step(paxos, Timer("transfer")), Accept) == [((1, 2), Accept((1, 0), 1, (A,), 1))]
    assert sent(step(paxos, Request(B)), Accept)


def test_then_a_batch_that_is_not_full_does_not_wait_for_ever() -> None:
    """When the window opens again, what it cannot take is less than a batch: only the timer has it proposed."""
    network = Network(MultiPaxos, first_leader=0, batch_size=4, batch_ms=5.0, window=4)
    network.exchange()
    commands = [put(sequence) for sequence in range(1, 8)]
    network.ask(0, commands[0])
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    network.deliver(OPERATOR, 0, HandOver)
    network.drop(0, 1, TakeOver)
    network.ask(0, *commands[1:])
    network.fire(0, "transfer")
    network.exchange()
    network.fire(0, "batch")
    network.exchange()
    assert [command for _, command in network.answers] == commands


@pytest.mark.parametrize("order", [HandOver(0), HandOver(7)])
def test_orders_that_mean_nothing_change_nothing(order: HandOver) -> None:
    paxos = leading()
    before = paxos.key()
    step(paxos, Deliver(OPERATOR, order))
    assert paxos.key() == before
    assert step(following(), Deliver(OPERATOR, HandOver(2))) == []


# --- the successor ----------------------------------------------------------------------------------------------------


def test_a_successor_that_knows_enough_campaigns_at_once() -> None:
    effects = step(following(), Deliver(0, TakeOver((1, 0), 1)))
    assert sent(effects, Prepare) == [((0, 1, 2), Prepare((2, 1), 1, (1, 0)))]


def test_a_successor_that_lacks_something_gets_it_first() -> None:
    paxos = following()
    effects = step(paxos, Deliver(0, TakeOver((1, 0), 2)))
    assert not sent(effects, Prepare)
    assert sent(effects, Fetch) == [(0, Fetch(1))]
    assert sent(step(paxos, Deliver(0, Chosen((1, 0), 1, (A,), 2))), Prepare)


def test_an_old_offer_is_ignored() -> None:
    paxos = following()
    step(paxos, Deliver(2, Heartbeat((2, 2), 1)))
    assert step(paxos, Deliver(0, TakeOver((1, 0), 1))) == []


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_leader_that_offers_its_office_has_no_lease_any_more_and_reads_by_the_log() -> None:
    paxos = leading(reads="lease")
    step(paxos, Deliver(1, Extended((1, 0), 1)))
    assert [a for tag, a, _ in step(paxos, Request(GET)) if tag == READ] == [GET]
    hand_over(paxos)
    assert not [a for tag, a, _ in step(paxos, Request(GET)) if tag == READ]
    step(paxos, Deliver(2, Extended((1, 0), 1)))
    effects = step(paxos, Timer("transfer"))
    assert [message.commands for _, message in sent(effects, Accept)] == [(GET,)]
    assert not sent(step(paxos, Timer("heartbeat")), Extend)


def test_leases_are_waived_up_to_the_ballot_of_the_offer() -> None:
    """0 has led again since, and may have a lease at that ballot."""
    for protocol, ballot, promised in (
        (MultiPaxos, (1, 0), True),
        (MultiPaxos, (3, 0), False),
        (mutants.WaivesLaterLeases, (3, 0), True),
    ):
        acceptor = protocol(2, Cluster(3), MultiPaxosOptions(reads="lease"))
        step(acceptor, Deliver(0, Heartbeat(ballot, 1)))
        step(acceptor, Deliver(0, Extend(ballot, 1)))
        effects = step(acceptor, Deliver(1, Prepare((4, 1), 1, (1, 0))))
        assert bool(sent(effects, Promise)) == promised


def stale_read_after_a_transfer(protocol: type[MultiPaxos]) -> list[Command]:
    """Reads that the old leader serves by its lease when its successor has been elected."""
    network = Network(protocol, first_leader=0, reads="lease")
    network.exchange()
    network.fire(0, "heartbeat")
    network.exchange()
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    network.exchange(among={OPERATOR, 0, 1}, keep=Prepare)
    network.deliver(1, 1, Prepare)
    network.deliver(1, 2, Prepare)
    network.exchange(among={1, 2})
    assert network.replica(1).role == "leader"
    network.ask(0, GET)
    return [command for me, command in network.answers if me == 0]


def test_the_old_leader_does_not_read_when_its_successor_may_lead() -> None:
    assert stale_read_after_a_transfer(MultiPaxos) == []
    assert stale_read_after_a_transfer(mutants.KeepsItsLease) == [GET]


def late_offer(protocol: type[MultiPaxos]) -> list[Command]:
    """The same, when the offer comes after the leader has given the transfer up."""
    network = Network(protocol, first_leader=0, reads="lease")
    network.exchange()
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    network.deliver(OPERATOR, 0, HandOver)
    network.fire(0, "transfer")
    network.fire(0, "heartbeat")
    network.exchange(keep=TakeOver)
    network.deliver(0, 1, TakeOver)
    network.exchange(among={1, 2})
    assert network.replica(1).role == "leader"
    network.ask(0, GET)
    return [command for me, command in network.answers if me == 0]


def test_an_offer_that_comes_late_finds_no_lease() -> None:
    assert late_offer(MultiPaxos) == []
    assert late_offer(mutants.LeasesAfterAnOffer) == [GET]


# --- schedules and worlds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"reads": "lease"}, {"snapshot_every": 5, "batch_size": 3, "batch_ms": 5.0}])
def test_random_schedules_full_of_orders_violate_nothing(settings: dict[str, Any]) -> None:
    protocol, total = find_protocol("multi-paxos"), Summary()
    for seed in range(30):
        faults = msgspec.structs.replace(Faults.drawn(Random(seed), 3), order=0.03)
        total.add(Scheduler(protocol, make_options(protocol, settings, 3), 3, seed, faults=faults).run())
    assert total.messages["TakeOver"] > 25


def elections(faults: list[str], protocol: str = "multi-paxos", **settings: Any) -> World:
    world = loaded(protocol, faults, client_timeout_ms=3000.0, **settings)
    result, _ = judged("run", world, lambda: False)
    assert {check.verdict for check in result.checks} == {"holds"}
    return world


@pytest.mark.parametrize("reads", ["log", "lease"])
def test_the_office_changes_hands_within_a_few_round_trips_and_nobody_waits_long(reads: str) -> None:
    world = elections(["hand-over:leader@3,to=p1"], options={"reads": reads})
    [_, (when_ns, who)] = world.elections
    assert who == 1
    assert when_ns < 3.2 * SECOND_NS, "40 ms for what is under way, 10 ms to the target, 30 to 50 ms for its promises"
    waits = world.operations.column("answered_ns") - world.operations.column("due_ns")
    assert waits.max() < 500 * MS


def test_a_target_that_is_dead_costs_one_time_out() -> None:
    world = elections(["crash:p1@2+4", "hand-over:leader@3,to=p1"])
    assert len(world.elections) == 1
    waits = world.operations.column("answered_ns") - world.operations.column("due_ns")
    assert 0.8 * SECOND_NS < waits.max() < 4.5 * SECOND_NS


def test_a_leader_that_serves_on_while_it_hands_over_never_offers_its_office() -> None:
    """Its successor is elected late, or not at all: there is always something under way."""
    world = elections(["hand-over:leader@3,to=p1"], "multi_paxos_mutants:ServesWhileItHandsOver")
    assert len(world.elections) == 1
