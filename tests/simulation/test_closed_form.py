"""Without jitter and costs, every protocol's latency is a closed form of the matrix, for any sites and any leader.

By hand, on the five sites of the EPaxos paper (VA CA OR JP EU; its printed round trips and three inferred ones), with
Multi-Paxos or Raft led from CA: CA's round trips to OR, VA, JP, EU are 21, 85, 118, 156 ms. A majority of five is CA
and two others, so a commit takes the second smallest: 85 ms. A client in VA waits its own round trip to CA and that:
85 + 85 = 170; OR 21 + 85 = 106; JP 118 + 85 = 203; EU 156 + 85 = 241 (the paper's bars: 170, 106, 210, 250, and 84).
EPaxos commits in one round trip to a fast quorum of three, the leader counted, so it too takes the second smallest: VA
(80 OR, 85 CA) 85; CA (21, 85) 85; OR (21, 80) 80; JP (118, 127) 127; EU (90, 156) 156.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from consensus_bench.simulation.network import Geography
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World
from consensus_bench.topology import Topology, load_topology, topology_names

NS_PER_MS = 1e6
TOLERANCE_MS = 0.01
SUBSETS = 50


def medians_ms(protocol: str, geography: Geography, leader: int | None) -> list[float]:
    """Each client site's median commit latency, in a run without jitter and costs."""
    slowest_ns = max(map(max, geography.one_way_ns))
    world = World(
        Settings(
            protocol=protocol, geography=geography, workload=Workload(clients=1, conflict=0.0),
            profile=find_profile("zero"), seed=1, first_leader=leader, warmup_s=1.0,
            duration_s=1.0 + 12e-9 * slowest_ns,
        )
    )  # fmt: skip
    world.run()
    column = world.operations.column
    latency = column("answered_ns") - (column("executed_ns") - column("committed_ns")) - column("due_ns")
    measured = (column("due_ns") > world.warmup_ns) & (column("answered_ns") > 0)
    sites = range(len(geography.clients))
    return [float(np.median(latency[measured & (column("site") == i)])) / NS_PER_MS for i in sites]


def geography_of(topology: Topology, sites: list[str]) -> Geography:
    everybody = tuple(range(len(sites)))
    return Geography(tuple(sites), topology.delays_ns(sites), everybody, everybody)


def round_trip_ms(g: Geography, a: int, b: int) -> float:
    return (g.one_way_ns[a][b] + g.one_way_ns[b][a]) / NS_PER_MS


def quorum_ms(g: Geography, at: int, size: int) -> float:
    """The round trip from ``at`` to the ``size - 1`` nearest others."""
    return sorted(round_trip_ms(g, at, r) for r in g.replicas)[size - 1]


def leader_ms(g: Geography, client: int, leader: int) -> float:
    return round_trip_ms(g, client, leader) + quorum_ms(g, leader, len(g.replicas) // 2 + 1)


def epaxos_ms(g: Geography, client: int) -> float:
    f = len(g.replicas) // 2
    return quorum_ms(g, client, f + (f + 1) // 2)


def check(g: Geography) -> None:
    """Every protocol and every leader against the formulas."""
    for protocol in ("multi-paxos", "raft"):
        for leader in g.replicas:
            expected = [leader_ms(g, client, leader) for client in g.clients]
            got = medians_ms(protocol, g, leader)
            assert got == pytest.approx(expected, abs=TOLERANCE_MS), f"{protocol} led from {g.places[leader]}"
    expected = [epaxos_ms(g, client) for client in g.clients]
    assert medians_ms("epaxos", g, None) == pytest.approx(expected, abs=TOLERANCE_MS)


def test_five_sites_by_hand() -> None:
    """The docstring's numbers: one-way delays are halves of the printed round trips."""
    g = geography_of(load_topology("epaxos-sosp13"), ["VA", "CA", "OR", "JP", "EU"])
    led_from_ca = [170.0, 85.0, 106.0, 203.0, 241.0]
    assert medians_ms("multi-paxos", g, 1) == pytest.approx(led_from_ca, abs=TOLERANCE_MS)
    assert medians_ms("raft", g, 1) == pytest.approx(led_from_ca, abs=TOLERANCE_MS)
    assert medians_ms("epaxos", g, None) == pytest.approx([85.0, 85.0, 80.0, 127.0, 156.0], abs=TOLERANCE_MS)


def subsets(topology: Topology) -> list[list[str]]:
    """50 random choices of 3, 5 and 7 sites, each once (a matrix of five sites has fewer, in any order)."""
    rng = random.Random(topology.name)
    chosen: dict[frozenset[str], list[str]] = {}
    for number in range(SUBSETS):
        sites = rng.sample(topology.sites, min((3, 5, 7)[number % 3], len(topology.sites)))
        chosen.setdefault(frozenset(sites), sites)
    return list(chosen.values())


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("name", topology_names())
def test_random_sites_and_every_leader(name: str, part: int) -> None:
    topology = load_topology(name)
    for sites in subsets(topology)[part::5]:
        check(geography_of(topology, sites))
