"""Multi-Paxos with epochs: a request is served by the leadership that it was made to, or its client asks again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import multi_paxos_mutants as mutants
import pytest
from fault_worlds import loaded
from paxos_network import Network, put

from consensus_bench.contract import Cluster, Command
from consensus_bench.contract.context import SEND_UNSYNCED
from consensus_bench.contract.steps import Deliver, Request, step
from consensus_bench.experiments.measure import judged
from consensus_bench.exploration import run_seeds
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import Forward, Heartbeat, MultiPaxosOptions, Outdated

A, B = put(1, client=1), put(1, client=2)


def follower() -> MultiPaxos:
    """Replica 1, which follows replica 0."""
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(epochs=True))
    step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    return paxos


def test_another_leadership_refuses_and_whoever_passed_it_on_forgets_it() -> None:
    paxos = follower()
    effects = step(paxos, Deliver(2, Forward(A, (0, 1))))
    assert (SEND_UNSYNCED, 2, Outdated(1, 1, (0, 1))) in effects
    step(paxos, Request(B))
    step(paxos, Deliver(2, Outdated(2, 1, (0, 1))))
    assert paxos.forwarded, "that was about an earlier request for the same"
    step(paxos, Deliver(0, Outdated(2, 1, (1, 0))))
    assert not paxos.forwarded


def test_what_came_while_nobody_led_is_asked_of_the_next() -> None:
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(epochs=True))
    step(paxos, Request(A))
    effects = step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    assert (SEND_UNSYNCED, 0, Forward(A, (1, 0))) in effects


# --- schedules: which of the clients' commands have a slot in the end -------------------------------------------------


def elect(network: Network, me: int, among: set[int]) -> None:
    network.fire(me, "election")
    network.exchange(among=among, keep=Forward)


def late_request(protocol: type[MultiPaxos], epochs: bool) -> set[Command]:
    """1 passes a request on to leader 0. It arrives when 0 follows 2."""
    network = Network(protocol, first_leader=0, epochs=epochs)
    network.exchange()
    network.ask(1, A)
    elect(network, 2, {0, 1, 2})
    network.replica(1).forwarded.clear()
    network.exchange()
    return chosen(network)


def late_request_of_an_earlier_reign(protocol: type[MultiPaxos], epochs: bool) -> set[Command]:
    """The same, but 0 leads again when it arrives."""
    network = Network(protocol, first_leader=0, epochs=epochs)
    network.exchange()
    network.ask(1, A)
    elect(network, 2, {0, 1, 2})
    network.replica(1).forwarded.clear()
    elect(network, 0, {0, 1, 2})
    network.exchange()
    return chosen(network)


def passed_on_twice(protocol: type[MultiPaxos], epochs: bool) -> set[Command]:
    """1 passes a request on to leader 0, which dies without having got it. 2 leads next."""
    network = Network(protocol, first_leader=0, epochs=epochs)
    network.exchange()
    network.ask(1, A)
    network.world.in_flight.clear()
    elect(network, 2, {1, 2})
    network.exchange(among={1, 2})
    return chosen(network)


def not_chosen_in_time(protocol: type[MultiPaxos], epochs: bool) -> set[Command]:
    """Leader 0 proposes, and nobody hears of it but of its successor."""
    network = Network(protocol, first_leader=0, epochs=epochs)
    network.exchange()
    network.ask(0, A)
    network.world.in_flight.clear()
    elect(network, 2, {1, 2})
    network.fire(2, "heartbeat")
    network.exchange()
    return chosen(network)


def chosen(network: Network) -> set[Command]:
    return set(network.world.verifier.chosen())


@pytest.mark.parametrize(
    ("schedule", "mutant"),
    [
        (late_request, mutants.ServesOldEpochs),
        (late_request_of_an_earlier_reign, mutants.ComparesLeaders),
        (passed_on_twice, mutants.AsksTheNextLeader),
        (not_chosen_in_time, mutants.TakesItsQueueAlong),
    ],
)
def test_what_an_earlier_leadership_was_asked_takes_no_effect_under_a_later_one(
    schedule: Callable[[Any, bool], set[Command]], mutant: Any
) -> None:
    assert schedule(MultiPaxos, True) == set()
    assert schedule(mutant, True) == {A}
    assert schedule(MultiPaxos, False) == {A}


# --- and all is served in the end -------------------------------------------------------------------------------------


def test_random_schedules() -> None:
    happened = run_seeds("multi-paxos", range(40), settings={"epochs": True})
    assert happened.messages["Outdated"] > 20


def test_clients_ask_again_when_the_leader_has_changed() -> None:
    faults = ["crash:p0@2+2", "hand-over:leader@6"]
    world = loaded("multi-paxos", faults, options={"epochs": True}, client_timeout_ms=700.0)
    result, _ = judged("run", world, lambda: False)
    assert {check.verdict for check in result.checks} == {"holds"}
    assert len(world.elections) == 3
    assert (world.operations.column("answered_ns") > 0).all()
