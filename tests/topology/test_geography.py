"""Distances, the floor of light in fibre, and detours."""

from __future__ import annotations

import pytest

from consensus_bench.topology import (
    Location,
    distance_km,
    fibre_floor_ms,
    fibre_ratio,
    load_topology,
    triangle_violations,
)


def test_distances_on_the_globe() -> None:
    # A quarter of the equator, and pole to pole, on a sphere of radius 6371 km.
    assert distance_km(Location("a", 0, 0), Location("b", 0, 90)) == pytest.approx(10007.54, abs=0.01)
    assert distance_km(Location("n", 90, 0), Location("s", -90, 0)) == pytest.approx(20015.09, abs=0.01)
    # Across the date line it is two degrees, not 358.
    assert distance_km(Location("w", 0, 179), Location("e", 0, -179)) == pytest.approx(222.39, abs=0.01)


def test_the_floor_is_two_hundred_kilometres_a_millisecond_both_ways() -> None:
    # 10007.5 km at 200 km/ms: 50.04 ms one way, 100.08 ms there and back.
    assert fibre_floor_ms(Location("a", 0, 0), Location("b", 0, 90)) == pytest.approx(100.075, abs=0.001)


@pytest.mark.parametrize("name", ["aws-2025", "aws-2020", "aws-2021", "gcp-2019", "epaxos-sosp13", "paxi-wan"])
def test_no_shipped_link_is_faster_than_light(name: str) -> None:
    topology = load_topology(name)
    ratios = [fibre_ratio(topology, a, b) for a in topology.sites for b in topology.sites if a != b]
    assert min(ratio for ratio in ratios if ratio is not None) > 1


def test_detours_as_the_sources_of_the_data_show_them() -> None:
    assert len(triangle_violations(load_topology("gcp-2019"))) == 28
    assert len(triangle_violations(load_topology("aws-2020"))) == 110
    # EPaxos' five sites: OR-EU 174 against 80 + 90 over VA, JP-EU 278 against 118 + 156 over CA; both directions.
    found = triangle_violations(load_topology("epaxos-sosp13"))
    assert [(d.source, d.via, d.destination, d.direct_ms, d.indirect_ms) for d in found] == [
        ("EU", "VA", "OR", 174, 170), ("OR", "VA", "EU", 174, 170),
        ("EU", "CA", "JP", 278, 274), ("JP", "CA", "EU", 278, 274),
    ]  # fmt: skip
    assert found[0].excess == pytest.approx(4 / 170)


def test_tolerance_decides_what_counts_as_a_detour() -> None:
    assert len(triangle_violations(load_topology("epaxos-sosp13"), tolerance=0.02)) == 2
    assert triangle_violations(load_topology("epaxos-sosp13"), tolerance=0.03) == []
