"""Little's law before and after a leader's death: a closed loop's throughput is clients / closed-form latency.

Without jitter and costs, on five AWS regions. Afterwards the survivors serve: quorums are still those of five, the dead
replica's clients ask the nearest survivor, and a new leader may stand better or worse.
"""

from __future__ import annotations

import numpy as np
import pytest

from consensus_bench.experiments.scenario import DEFAULT_SITES
from consensus_bench.simulation.network import Geography
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, Settings, World
from consensus_bench.topology import load_topology
from consensus_bench.topology.closed_forms import epaxos_fast_ms, leader_based_ms

CLIENTS, CRASH_S, END_S = 4, 31, 75
BEFORE, AFTER = (1, CRASH_S), (45, END_S)


def geography() -> Geography:
    everybody = tuple(range(len(DEFAULT_SITES)))
    return Geography(DEFAULT_SITES, load_topology("aws-2025").delays_ns(DEFAULT_SITES), everybody, everybody)


def rates(world: World, window: tuple[int, int]) -> list[float]:
    """Operations answered per second in ``window`` (s), by site."""
    start, end = (second * SECOND_NS for second in window)
    answered, site = world.operations.column("answered_ns"), world.operations.column("site")
    inside = (answered >= start) & (answered < end)
    return [int(np.sum(inside & (site == s))) / (window[1] - window[0]) for s in range(len(DEFAULT_SITES))]


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft", "epaxos"])
@pytest.mark.parametrize("dead", [0, 3])
def test_throughput_is_clients_over_latency(protocol: str, dead: int) -> None:
    g = geography()
    world = World(
        Settings(
            protocol=protocol, geography=g, workload=Workload(clients=CLIENTS, conflict=0.0),
            profile=find_profile("zero"), seed=1, first_leader=dead, duration_s=END_S, client_timeout_ms=5000.0,
            crashable=True,
        )
    )  # fmt: skip

    def kill() -> object:
        yield world.env.timeout(CRASH_S * SECOND_NS)
        world.crash(dead)

    world.env.process(kill())
    world.run()
    survivors = tuple(r for r in range(5) if r != dead)

    def latency_ms(replicas: tuple[int, ...], client: int, leader: int) -> float:
        if protocol == "epaxos":
            return epaxos_fast_ms(g.one_way_ns, replicas, client, 3)
        return leader_based_ms(g.one_way_ns, replicas, client, leader, 3)

    leader = world.elections[-1][1] if world.elections else dead
    assert protocol == "epaxos" or leader != dead
    for window, replicas, who in ((BEFORE, tuple(range(5)), dead), (AFTER, survivors, leader)):
        expected = [1000 * CLIENTS / latency_ms(replicas, client, who) for client in range(5)]
        assert rates(world, window) == pytest.approx(expected, rel=0.02), f"{window}, led by {who}"
