"""Distances on the globe, and what they say about a matrix: the floor that light in fibre sets, and detours."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from consensus_bench.topology.matrix import Location, Topology

EARTH_RADIUS_KM: Final = 6371.0
"""Mean radius (IUGG)."""
FIBRE_KM_PER_MS: Final = 200.0
"""Light in glass: about two thirds of its speed in vacuum (refractive index 1.5)."""


def distance_km(a: Location, b: Location) -> float:
    """Great-circle distance (haversine)."""
    latitude_a, latitude_b = math.radians(a.latitude), math.radians(b.latitude)
    across = math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    along = math.sin((latitude_b - latitude_a) / 2) ** 2
    chord = along + math.cos(latitude_a) * math.cos(latitude_b) * across
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


def fibre_floor_ms(a: Location, b: Location) -> float:
    """The shortest possible round trip through fibre laid along the great circle."""
    return 2 * distance_km(a, b) / FIBRE_KM_PER_MS


def fibre_ratio(topology: Topology, a: str, b: str) -> float | None:
    """The measured round trip over its floor in fibre; None where a place is unknown or both are the same."""
    here, there = topology.place(a), topology.place(b)
    if here is None or there is None:
        return None
    floor = fibre_floor_ms(here, there)
    return topology.rtt(a, b) / floor if floor > 0 else None


class Detour(msgspec.Struct, frozen=True):
    """The direct way from ``source`` to ``destination`` is slower than that through ``via``. ``excess`` is the part of
    ``direct_ms`` above ``indirect_ms``, relative to the latter."""

    source: str
    via: str
    destination: str
    direct_ms: float
    indirect_ms: float

    @property
    def excess(self) -> float:
        """0.1: the direct way takes 10 % longer."""
        return self.direct_ms / self.indirect_ms - 1 if self.indirect_ms > 0 else math.inf


def triangle_violations(topology: Topology, tolerance: float = 0.01) -> list[Detour]:
    """Ordered pairs whose round trip exceeds the best way through a third site by more than ``tolerance``, the worst
    first; one entry a pair, with its best third site."""
    rtt, sites = topology.rtt_ms, topology.sites
    found = []
    for a, row in enumerate(rtt):
        for b, direct in enumerate(row):
            ways = [(row[via] + rtt[via][b], via) for via in range(len(sites)) if via not in (a, b)]
            if a == b or not ways:
                continue
            indirect, via = min(ways)
            if direct > indirect * (1 + tolerance):
                found.append(Detour(sites[a], sites[via], sites[b], direct, indirect))
    return sorted(found, key=lambda d: (-d.excess, d.source, d.destination))
