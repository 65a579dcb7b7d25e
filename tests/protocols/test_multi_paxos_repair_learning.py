"""Multi-Paxos with damaged disks: what is learned before the repair is over, from whom, and at which ballot."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import pytest
from paxos_network import Network, put, violated
from test_multi_paxos_repair import lose

from consensus_bench.contract import Replica
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import Accept, Chosen, Fetch, Heartbeat, Recall, Recalled

A, B, C, D, E = (put(1, client=client) for client in range(1, 6))
COMMANDS = [put(sequence) for sequence in range(1, 7)]


def accepted_in_vain(protocol: type[Replica]) -> Network:
    """1 alone accepts A in slot 1; 0 and 2 choose something else there, and discard the slot. 1 cannot read its promise
    any more, and gets their snapshot."""
    network = Network(protocol, first_leader=0, snapshot_every=2)
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    network.world.in_flight.clear()
    network.crash(0)
    network.world.in_flight.clear()
    network.fire(2, "election")
    network.exchange(among={0, 2})
    network.ask(2, *COMMANDS)
    network.exchange(among={0, 2})
    lose(network, 1, "promised")
    network.exchange(among={1, 2})
    assert network.replica(1).forgetful
    assert network.replica(1).committed > 2
    return network


def crashed_with_what_a_snapshot_replaced(protocol: type[Replica]) -> Network:
    """It notes how far it knows what is chosen, and crashes before it can rejoin: 0 is away."""
    network = accepted_in_vain(protocol)
    network.fire(1, "retry")
    network.exchange(among={1, 2})
    network.crash(1)
    network.exchange()
    return network


def rejoined_with_what_a_snapshot_replaced(protocol: type[Replica]) -> Network:
    """It rejoins, and then cannot read the snapshot either."""
    network = accepted_in_vain(protocol)
    network.fire(1, "retry")
    network.exchange()
    assert not network.replica(1).forgetful
    network.fire(1, "retry")
    lose(network, 1, "snapshot")
    network.exchange()
    return network


def learned_by_an_old_leader(protocol: type[Replica]) -> Network:
    """0 leads although it cannot read slot 3, and gets D accepted by 1 only; 2 to 4 choose E in that slot. 0 hears so
    in answer to its question about slot 3; if it leads on, it tells 1 that the slot is chosen."""
    network = Network(protocol, size=5, first_leader=0)
    network.exchange()
    network.ask(0, A, B, C)
    network.world.in_flight.clear()
    lose(network, 0, 3)
    network.world.in_flight.clear()
    network.fire(0, "election")
    network.exchange(among={0, 1, 2, 3}, keep=Heartbeat)
    network.exchange(among={0, 1})
    network.ask(0, D)
    network.exchange(among={0, 1})
    network.fire(2, "election")
    network.exchange(among={2, 3, 4})
    network.ask(2, E)
    network.exchange(among={2, 3, 4})
    network.fire(0, "retry")
    network.deliver(0, 2, Recall)
    network.deliver(2, 0, Recalled)
    network.world.in_flight.clear()
    if network.replica(0).role == "leader":
        network.fire(0, "heartbeat")
    network.exchange(among={0, 1})
    return network


def rejoined_below_what_it_learned(protocol: type[Replica]) -> Network:
    """Seven replicas. All others have answered 1, whose disk is lost, when 3 takes over from 0 and gets E chosen in a
    slot in which 2 has accepted 0's D. 1 learns E, gets the last answer, rejoins at 0's ballot, and answers an old
    question of 0, which does not know of 3."""
    network = Network(protocol, size=7, first_leader=1)
    network.exchange()
    network.ask(1, A)
    network.exchange(among={1, 2, 3, 4, 5, 6})
    network.fire(1, "heartbeat")
    network.deliver(1, 0, Heartbeat)
    network.exchange(among={1, 2, 3, 4, 5, 6}, keep=Fetch)
    network.fire(0, "election")
    network.exchange(keep=Fetch)
    network.fire(0, "heartbeat")
    network.exchange(keep=Fetch)
    late = network.under_way(Fetch)
    assert [packet[:2] for packet in late] == [(0, 1)]
    network.world.in_flight.clear()
    lose(network, 1)
    for me in (0, 2, 3, 4, 5, 6):
        network.deliver(1, me, Recall)
    for me in (0, 2, 3, 4, 5):
        network.deliver(me, 1, Recalled)
    late += network.under_way(Recalled)
    network.world.in_flight.clear()
    network.ask(0, D)
    network.deliver(0, 2, Accept)
    network.world.in_flight.clear()
    network.fire(3, "election")
    network.exchange(among={3, 4, 5, 6})
    network.ask(3, E)
    network.exchange(among={3, 4, 5, 6})
    network.fire(3, "heartbeat")
    network.exchange(among={1, 3, 4, 5, 6}, keep=Recall)
    network.world.in_flight[:] = late
    network.deliver(6, 1, Recalled)
    network.deliver(0, 1, Fetch)
    if network.under_way(Chosen):
        network.deliver(1, 0, Chosen)
        network.fire(0, "heartbeat")
    network.exchange(among={0, 2})
    return network


def lesser_snapshot(protocol: type[Replica]) -> Network:
    """0 and 1 decide eight commands, of which 2 gets four by a snapshot. 1 cannot read its own snapshot any more, gets
    that of 2 and crashes. What it knew of the slots in between is gone; so it may not tell 2 that there was nothing."""
    network = Network(protocol, first_leader=0, snapshot_every=2)
    network.exchange()
    network.ask(0, *COMMANDS[:4])
    network.exchange(among={0, 1})
    network.fire(0, "heartbeat")
    network.exchange()
    assert network.replica(2).snapshot[0].place == 4
    network.ask(0, *[put(sequence) for sequence in range(5, 9)])
    network.exchange(among={0, 1})
    network.fire(0, "heartbeat")
    network.exchange(among={0, 1})
    assert network.replica(1).log.first == 7
    lose(network, 1, "snapshot")
    network.exchange(among={1, 2})
    network.crash(1)
    network.world.in_flight.clear()
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, A)
    network.exchange(among={1, 2})
    return network


SCHEDULES: list[tuple[Any, type[Replica], str]] = [
    (crashed_with_what_a_snapshot_replaced, mutants.KeepsWhatASnapshotReplaced, "agreement"),
    (rejoined_with_what_a_snapshot_replaced, mutants.KeepsWhatASnapshotReplaced, "agreement"),
    (lesser_snapshot, mutants.LooksWholeTooEarly, "agreement"),
    (learned_by_an_old_leader, mutants.LearnsNoBallotsFromRepair, "agreement"),
    (rejoined_below_what_it_learned, mutants.RejoinsBelowWhatItLearned, "agreement"),
]


@pytest.mark.parametrize(
    ("schedule", "mutant", "falls"), SCHEDULES, ids=[schedule.__name__ for schedule, _, _ in SCHEDULES]
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Any, mutant: type[Replica], falls: str) -> None:
    assert violated(schedule, MultiPaxos) is None
    assert violated(schedule, mutant) == falls


def lost_by_a_quorum_of_one(protocol: type[Replica]) -> Network:
    """0 alone chooses A, and loses its disk. Nobody else has heard of it."""
    network = Network(protocol, first_leader=0, phase1_quorum=3, phase2_quorum=1)
    network.exchange()
    network.ask(0, A)
    network.world.in_flight[:] = [packet for packet in network.world.in_flight if packet[:2] == (0, 0)]
    network.exchange()
    lose(network, 0)
    network.exchange()
    network.fire(2, "election")
    network.exchange()
    network.ask(2, B)
    network.exchange()
    return network


def test_with_a_quorum_of_one_what_is_lost_is_not_found_again() -> None:
    assert violated(lost_by_a_quorum_of_one, MultiPaxos) is None
    assert violated(lost_by_a_quorum_of_one, mutants.RepairsWithAQuorumOfOne) == "agreement"
