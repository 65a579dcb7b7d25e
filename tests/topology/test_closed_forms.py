"""The closed forms, by hand: five sites of two publications, and small matrices made for one point each."""

from __future__ import annotations

import random

import pytest

from consensus_bench.contract import ConfigError
from consensus_bench.topology import Topology, load_topology
from consensus_bench.topology.closed_forms import (
    Delays,
    best_leader,
    closed_loop_ops_per_second,
    entry_replica,
    epaxos_fast_ms,
    epaxos_fast_quorum,
    epaxos_slow_ms,
    floor_ms,
    leader_based_ms,
    quorum_round_ms,
)

MS = 1_000_000


def per_site(topology: Topology, form: str, *arguments: int) -> list[float]:
    functions = {"leader": leader_based_ms, "fast": epaxos_fast_ms, "slow": epaxos_slow_ms, "floor": floor_ms}
    delays, replicas = topology.delays_ns(), range(len(topology.sites))
    return [functions[form](delays, replicas, client, *arguments) for client in replicas]


def test_the_paxi_model_s_five_regions() -> None:
    # Round trips from CA: VA 65, OR 28, IR 137, JP 115; with itself (0) the third nearest of five is VA: 65.
    # A client waits RTT(site, CA) + 65: VA 65 + 65, OR 28 + 65, CA 0 + 65, IR 137 + 65, JP 115 + 65.
    # EPaxos' fast quorum of five is three: the second smallest entry of each row; VA 65 80 86 156 -> 80, and so on.
    paxi = load_topology("paxi-wan")
    assert paxi.sites == ("VA", "OR", "CA", "IR", "JP")
    assert per_site(paxi, "leader", 2) == [130, 93, 65, 202, 180]
    assert per_site(paxi, "fast") == [80, 86, 65, 137, 131]
    assert per_site(paxi, "slow") == [160, 172, 130, 274, 262]  # fast and slow quorums are both three of five
    # Every site has a replica and no way through a third is shorter: one round to the nearest majority is the floor.
    assert per_site(paxi, "floor") == [80, 86, 65, 137, 131]
    # Means over clients at all five sites: CA (130 + 93 + 65 + 202 + 180) / 5 = 134; VA adds 80 to each of
    # 0, 86, 65, 80, 156: 157.4; OR 86 to 86, 0, 28, 154, 131: 165.8; IR and JP are farther still.
    assert best_leader(paxi.delays_ns(), range(5), range(5)) == (2, 134)


def test_the_epaxos_paper_s_five_sites_led_from_california() -> None:
    # CA's row: VA 85, OR 21, JP 118, EU 156: third nearest of five is VA at 85.
    # VA 85 + 85, CA 85, OR 21 + 85, JP 118 + 85, EU 156 + 85 (SOSP'13 Fig. 4 measures 170, 84, 106, 210, 250).
    paper = load_topology("epaxos-sosp13")
    assert paper.sites == ("VA", "CA", "OR", "JP", "EU")
    assert per_site(paper, "leader", 1) == [170, 85, 106, 203, 241]
    # Second nearest other site: VA's 80 85; CA's 21 85; OR's 21 80; JP's 118 127; EU's 90 156.
    assert per_site(paper, "fast") == [85, 85, 80, 127, 156]


def test_three_sites_of_the_epaxos_paper() -> None:
    # Fast quorum and majority are two of three: CA-VA 85, VA-EU 90. Leader CA: 85, 85 + 85, 156 + 85.
    three = load_topology("epaxos-sosp13").select(["CA", "VA", "EU"])
    assert per_site(three, "fast") == [85, 85, 90]
    assert per_site(three, "leader", 0) == [85, 170, 241]


# One-way delays that differ by direction: a->b 10, b->a 30, a->c 20, c->a 5, b->c 7, c->b 50 (ms).
ASYMMETRIC: Delays = tuple(
    tuple(delay * MS for delay in row) for row in ((0, 10, 20), (30, 0, 7), (5, 50, 0))
)  # fmt: skip


def test_each_leg_uses_its_own_direction() -> None:
    # Leader a: round trips a-b-a 40, a-c-a 25: majority round 25. Client at b: b->a 30, round 25, a->b 10.
    assert quorum_round_ms(ASYMMETRIC, range(3), 0, 2) == 25
    assert leader_based_ms(ASYMMETRIC, range(3), 1, 0) == 30 + 25 + 10
    # Client at c: c->a 5, round 25, a->c 20.
    assert leader_based_ms(ASYMMETRIC, range(3), 2, 0) == 5 + 25 + 20
    # At b: b-a-b 40, b-c-b 57: the fast quorum of two is a's.
    assert epaxos_fast_ms(ASYMMETRIC, range(3), 1) == 40


def test_a_client_without_a_replica_asks_the_nearest_and_hears_from_the_leader() -> None:
    # Replicas at a, b, c; the client at x, 4 ms to and from b, 90 from all else: b forwards to the leader a.
    delays = [[0, 10, 20, 90], [30, 0, 7, 4], [5, 50, 0, 90], [90, 4, 90, 0]]
    with_client = [[delay * MS for delay in row] for row in delays]
    assert entry_replica(with_client, (0, 1, 2), 3) == 1
    # x->b 4, b->a 30, a's majority round (c) 25, a->x 90.
    assert leader_based_ms(with_client, (0, 1, 2), 3, 0) == 4 + 30 + 25 + 90
    # x->b 4, b's round with a 40, b->x 4; led by b itself there is nothing to forward.
    assert epaxos_fast_ms(with_client, (0, 1, 2), 3) == 4 + 40 + 4
    assert leader_based_ms(with_client, (0, 1, 2), 3, 1) == 4 + 40 + 4


def test_a_local_round_trip_is_paid_once_and_never_inside_the_quorum() -> None:
    delays = load_topology("paxi-wan").delays_ns(local_rtt_ms=0.5)
    assert epaxos_fast_ms(delays, range(5), 2) == 65.5  # client at CA: 0.25 + 65 + 0.25
    assert leader_based_ms(delays, range(5), 2, 2) == 65.5  # the leader is at the client's site
    assert leader_based_ms(delays, range(5), 0, 2) == 130.25  # VA: 0.25 to its replica; CA answers it directly


def test_flexible_quorums_shorten_the_leader_s_round() -> None:
    # FPaxos: a phase-2 quorum of two of five needs only CA's nearest, OR at 28.
    delays = load_topology("paxi-wan").delays_ns()
    assert leader_based_ms(delays, range(5), 0, 2, quorum=2) == 65 + 28


def test_flexible_quorums_lower_the_floor() -> None:
    # Two of five: each site's nearest other one. OR and CA 28, VA 65 (CA), IR 80 (VA), JP 115 (CA).
    paxi = load_topology("paxi-wan")
    assert per_site(paxi, "floor", 2) == [65, 28, 28, 80, 115]


@pytest.mark.parametrize("quorum", [0, 6])
def test_a_quorum_that_cannot_be_formed_is_refused(quorum: int) -> None:
    delays = load_topology("paxi-wan").delays_ns()
    with pytest.raises(ConfigError, match=rf"quorum of {quorum} cannot be formed from 5 replicas"):
        leader_based_ms(delays, range(5), 0, 2, quorum=quorum)
    with pytest.raises(ConfigError, match=rf"quorum of {quorum} cannot be formed from 5 replicas"):
        floor_ms(delays, range(5), 0, quorum=quorum)


def test_sizes_of_epaxos_fast_quorums() -> None:
    assert [epaxos_fast_quorum(n) for n in (1, 3, 5, 7, 9)] == [1, 2, 3, 5, 6]


def test_the_floor_may_use_a_relay_and_a_second_replica() -> None:
    # x stands between r and s, 10 ms one way from each; r-s 20; t far off. r hears x (10), tells s (20); s is the
    # second of three to know, and answers x (10): 40. Through r alone it would be 10 + 40 + 10.
    delays = [[0, 20, 500, 10], [20, 0, 500, 10], [500, 500, 0, 500], [10, 10, 500, 0]]
    assert floor_ms([[delay * MS for delay in row] for row in delays], (0, 1, 2), 3) == 40


def test_no_form_goes_below_the_floor() -> None:
    rng = random.Random(11)
    aws = load_topology("aws-2025")  # asymmetric, with detours: the hard case
    for _ in range(100):
        sites = rng.sample(aws.sites, 8)
        replicas, clients = range(5), range(8)  # three client sites have no replica
        delays = aws.delays_ns(sites)
        for client in clients:
            floor = floor_ms(delays, replicas, client)
            assert epaxos_fast_ms(delays, replicas, client) >= floor
            assert all(leader_based_ms(delays, replicas, client, leader) >= floor for leader in replicas)


def test_little_s_law_adds_up_over_sites() -> None:
    # 10 clients at 100 ms make 100 operations a second, 5 at 50 ms another 100; thinking 100 ms halves the first.
    assert closed_loop_ops_per_second([(10, 100), (5, 50)]) == 200
    assert closed_loop_ops_per_second([(10, 100)], think_ms=100) == 50
