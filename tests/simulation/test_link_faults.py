"""Faults of links, each seen in what arrives where."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from fault_worlds import Beating, heard, loaded, toys
from worlds import MS, geography

from consensus_bench.simulation.world import SECOND_NS, World

EVERYWHERE = [(a, b) for a in range(3) for b in range(3) if a != b]


def silent(world: World, start_ms: float, end_ms: float) -> set[tuple[int, int]]:
    """(from, to) of which nothing arrived between these times."""
    return {(a, b) for a, b in EVERYWHERE if not any(start_ms < at < end_ms for at, _ in heard(world, to=b, source=a))}


@pytest.mark.parametrize(
    ("target", "cut"),
    [
        ("p0|p2", {(0, 2), (2, 0)}),  # non-transitive: p1 reaches both
        ("p0>p2", {(0, 2)}),
        ("p0|*", {(0, 1), (1, 0), (0, 2), (2, 0)}),
        ("p0", {(0, 1), (1, 0), (0, 2), (2, 0)}),
        ("*>p0", {(1, 0), (2, 0)}),
        ("p0,p1|p2", {(0, 2), (2, 0), (1, 2), (2, 1)}),
        ("p0|p1|p2", set(EVERYWHERE)),
        ("all", set(EVERYWHERE)),
        ("p0|replicas", {(0, 1), (1, 0), (0, 2), (2, 0)}),
        ("p0|clients", set()),
    ],
)
def test_a_partition_cuts_what_it_names_and_nothing_else(target: str, cut: set[tuple[int, int]]) -> None:
    world = toys(Beating, [f"partition:{target}@300 ms+200 ms"])
    assert silent(world, 300, 500) == cut
    assert silent(world, 0, 299) == silent(world, 501, 1000) == set()


def test_what_is_under_way_when_a_link_is_cut_is_lost() -> None:
    """Pings leave each 10 ms and travel for 10 ms: those that arrive in [0.3 s, 0.5 s) are lost, no others."""
    world = toys(Beating, ["partition:p0>p1@300 ms+200 ms"])
    lost = set(range(1, 99)) - {number for _, number in heard(world, to=1, source=0)}
    assert lost == set(range(29, 49))


@pytest.mark.parametrize(
    ("target", "requests", "answers"),
    [
        ("p0|clients", {(0, 0), (1, 0), (2, 0)}, {(0, 0), (0, 1), (0, 2)}),
        ("p0>clients", set(), {(0, 0), (0, 1), (0, 2)}),
        ("clients>p0", {(0, 0), (1, 0), (2, 0)}, set()),
        ("p0|replicas", set(), set()),
        ("p0|p2", {(0, 2), (2, 0)}, {(0, 2), (2, 0)}),
        ("p0|*", {(0, 1), (0, 2), (1, 0), (2, 0)}, {(0, 1), (0, 2), (1, 0), (2, 0)}),
    ],
)
def test_a_partition_cuts_clients_off_with_their_site_or_alone(
    target: str, requests: set[tuple[int, int]], answers: set[tuple[int, int]]
) -> None:
    """Which requests (site, replica) and which answers (replica, site) do not pass."""
    world = toys(Beating, [f"partition:{target}@0 s+500 ms"], until_ms=1)
    number = {"p0": 0, "p1": 1, "p2": 2}
    cut = [(gate.origin, gate.target) for gate in world.injector.gates if any(t.cut for t in gate.troubles)]
    assert {(number[a.site], b.replica) for a, b in cut if a.replica is None} == requests
    assert {(a.replica, number[b.site]) for a, b in cut if b.replica is None} == answers


def test_clients_cut_off_from_the_leader_alone_wait_for_a_second_replica_while_it_leads_on() -> None:
    """The leader executes what the others forward and answers, unheard; asked again, another replica answers."""
    world = loaded("raft", ["partition:leader|clients@3"], client_timeout_ms=500.0)
    world.run()
    assert len(world.elections) == 1
    due, answered = world.operations.column("due_ns"), world.operations.column("answered_ns")
    assert (answered > 0).all()
    late = due > 3 * SECOND_NS
    assert late.sum() > 50
    assert (answered - due)[late].min() >= 500 * MS
    assert (answered - due)[~late & (answered < 3 * SECOND_NS)].max() < 500 * MS


def test_a_flapping_link_is_cut_in_the_first_half_of_each_period() -> None:
    world = toys(Beating, ["flapping:p0|p1@200 ms+400 ms,period=100 ms"])
    gaps = [range(200, 250), range(300, 350), range(400, 450), range(500, 550)]
    arrivals = [at for at, _ in heard(world, to=1, source=0)]
    for at in range(20, 1000, 10):
        assert (at in arrivals) != any(at in gap for gap in gaps), at


def test_a_swizzle_cuts_every_link_in_its_time_and_leaves_all_whole() -> None:
    world = toys(Beating, ["swizzle:p0@200 ms+600 ms"])
    gaps = {}
    for a, b in EVERYWHERE:
        numbers = [number for _, number in heard(world, to=b, source=a)]
        gaps[a, b] = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
        assert numbers[-1] >= 97, "whole again"
    assert gaps[1, 2] == gaps[2, 1] == [], "not a link of p0"
    assert gaps[0, 1] == gaps[1, 0] != []
    assert gaps[0, 2] == gaps[2, 0] != []
    assert gaps[0, 1] != gaps[0, 2], "one by one"
    for missing in gaps.values():
        assert missing == list(range(missing[0], missing[-1] + 1)) if missing else True


def test_a_slow_link_delays_in_order_and_not_the_other_way() -> None:
    world = toys(Beating, ["slow-link:p0>p1@300 ms+200 ms,delay=25 ms,factor=2"])
    arrivals = {number: at for at, number in heard(world, to=1, source=0)}
    late = {number: at - 10 * number - 10 for number, at in arrivals.items()}
    assert {number for number, by in late.items() if by} == set(range(29, 52))
    assert {late[number] for number in range(29, 49)} == {35}
    assert [number for _, number in heard(world, to=1, source=0)] == sorted(arrivals), "in order after the end, too"
    assert all(at == 10 * number + 10 for at, number in heard(world, to=0, source=1))


def test_a_lossy_link_loses_its_share() -> None:
    world = toys(Beating, ["lossy-link:p0|p1@0+9,rate=0.3"], until_ms=9000, duration_s=10)
    for a, b in ((0, 1), (1, 0)):
        assert 0.25 < 1 - len(heard(world, to=b, source=a)) / 898 < 0.35
    assert [n for _, n in heard(world, to=1, source=0)] != [n for _, n in heard(world, to=0, source=1)]
    assert len(heard(world, to=2, source=0)) == 898


def test_a_duplicating_link_brings_some_twice() -> None:
    world = toys(Beating, ["duplicating-link:p0>p1@0+9,rate=0.2,delay=50 ms"], until_ms=9100, duration_s=10)
    counts = Counter(number for _, number in heard(world, to=1, source=0) if number < 890)
    assert set(counts) == set(range(1, 890))
    assert set(counts.values()) == {1, 2}
    assert 0.15 < sum(count == 2 for count in counts.values()) / 889 < 0.25


def test_a_reordering_link_lets_some_be_overtaken_and_loses_none() -> None:
    world = toys(Beating, ["reordering-link:p0>p1@0+9,rate=0.2,delay=50 ms"], until_ms=9100, duration_s=10)
    numbers = [number for _, number in heard(world, to=1, source=0) if number < 890]
    assert sorted(numbers) == list(range(1, 890))
    assert 50 < sum(a > b for a, b in itertools.pairwise(numbers)) < 300
    assert [n for _, n in heard(world, to=2, source=0)] == sorted(n for _, n in heard(world, to=2, source=0))


def test_overlapping_cuts_are_lifted_one_by_one() -> None:
    world = toys(Beating, ["partition:p0|p1@200 ms+200 ms", "partition:p0|p1@300 ms+200 ms"])
    assert not [at for at, _ in heard(world, to=1, source=0) if 200 <= at < 500]
    assert [at for at, _ in heard(world, to=1, source=0) if 500 <= at < 530]


def test_clients_at_a_site_without_a_replica_can_be_cut_off() -> None:
    where = geography([[0.0, 20, 40, 60], [20, 0, 30, 50], [40, 30, 0, 20], [60, 50, 20, 0]], clients=(3,))
    where = type(where)(where.places, where.one_way_ns, (0, 1, 2), (3,))
    world = toys(Beating, ["partition:p3|p0@0 s"], until_ms=1, where=where)
    cut = [gate for gate in world.injector.gates if gate.troubles]
    assert {(gate.origin.site, gate.target.site) for gate in cut} == {("p3", "p0"), ("p0", "p3")}
