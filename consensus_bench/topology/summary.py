"""What there is to say of a matrix: its links against light, detours, asymmetries, and what protocols would cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import msgspec

from consensus_bench.topology.closed_forms import (
    best_leader,
    epaxos_fast_ms,
    epaxos_slow_ms,
    floor_ms,
    leader_based_ms,
)
from consensus_bench.topology.geography import Detour, distance_km, fibre_floor_ms, triangle_violations
from consensus_bench.topology.matrix import Topology

DETOUR_TOLERANCE: Final = 0.01
ASYMMETRY_TOLERANCE: Final = 0.10
MOST_REPLICAS: Final = 9
"""Closed forms are given for clusters up to this size."""


class Link(msgspec.Struct, frozen=True):
    """A pair of sites: its round trips measured from ``a`` and from ``b``, and, where both places are known, what light
    in fibre along the great circle would need; ``ratio`` is the mean of both over that floor."""

    a: str
    b: str
    from_a_ms: float
    from_b_ms: float
    distance_km: float | None
    floor_ms: float | None
    ratio: float | None

    @property
    def asymmetry(self) -> float:
        """0.1: the slower direction takes 10 % longer."""
        low, high = sorted((self.from_a_ms, self.from_b_ms))
        return high / low - 1 if low > 0 else float(high > 0)


class Latency(msgspec.Struct, frozen=True):
    """Closed-form latency of one protocol (and leader) at each client site, and the mean over them; ms."""

    protocol: str
    leader: str | None
    per_site_ms: dict[str, float]
    mean_ms: float


class Summary(msgspec.Struct, frozen=True):
    """``latencies`` is empty for more replicas than closed forms are given for; so is ``best_leader`` then None."""

    links: list[Link]
    detours: list[Detour]
    asymmetric: list[Link]
    latencies: list[Latency]
    best_leader: str | None


def summarise(topology: Topology, replicas: Sequence[str], client_sites: Sequence[str]) -> Summary:
    """All of it; detours and asymmetries the worst first."""
    links = [_link(topology, a, b) for a, b in combinations(topology.sites, 2)]
    asymmetric = [link for link in links if link.asymmetry > ASYMMETRY_TOLERANCE]
    few = len(replicas) <= MOST_REPLICAS
    places = [topology.index(site) for site in replicas]
    clients = [topology.index(site) for site in client_sites]
    return Summary(
        links=links,
        detours=triangle_violations(topology, DETOUR_TOLERANCE),
        asymmetric=sorted(asymmetric, key=lambda link: -link.asymmetry),
        latencies=_latencies(topology, places, clients) if few else [],
        best_leader=topology.sites[best_leader(topology.delays_ns(), places, clients)[0]] if few else None,
    )


def _link(topology: Topology, a: str, b: str) -> Link:
    there, back = topology.rtt(a, b), topology.rtt(b, a)
    here, yonder = topology.place(a), topology.place(b)
    if here is None or yonder is None:
        return Link(a, b, there, back, None, None, None)
    floor = fibre_floor_ms(here, yonder)
    ratio = (there + back) / 2 / floor if floor > 0 else None
    return Link(a, b, there, back, distance_km(here, yonder), floor, ratio)


def _latencies(topology: Topology, replicas: Sequence[int], clients: Sequence[int]) -> list[Latency]:
    delays = topology.delays_ns()

    def row(protocol: str, leader: int | None, per_client_ms: list[float]) -> Latency:
        per_site = {topology.sites[c]: ms for c, ms in zip(clients, per_client_ms, strict=True)}
        name = None if leader is None else topology.sites[leader]
        return Latency(protocol, name, per_site, sum(per_client_ms) / len(per_client_ms))

    led = [
        row("multi-paxos, raft", leader, [leader_based_ms(delays, replicas, c, leader) for c in clients])
        for leader in replicas
    ]
    return [
        *led,
        row("epaxos, fast path", None, [epaxos_fast_ms(delays, replicas, c) for c in clients]),
        row("epaxos, slow path", None, [epaxos_slow_ms(delays, replicas, c) for c in clients]),
        row("floor of any protocol", None, [floor_ms(delays, replicas, c) for c in clients]),
    ]
