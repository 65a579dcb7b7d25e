"""Delays between places: the matrix's one-way times, per direction, and a jitter distribution a user can choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.randomness import constant, sampler, stream

Spread: TypeAlias = tuple[float, float, float, float]
"""What the data say of one ordered pair's round trip, in ms: (floor, mean above the floor, standard deviation, cap)."""


class Geography(msgspec.Struct, frozen=True):
    """All places of a run. ``one_way_ns[a][b]``: the base delay from a to b. ``spread[a][b]``: for ``jitter =
    "empirical"``, where the data have it. ``replicas`` and ``clients`` are indices into ``places``."""

    places: tuple[str, ...]
    one_way_ns: tuple[tuple[int, ...], ...]
    replicas: tuple[int, ...]
    clients: tuple[int, ...]
    spread: tuple[tuple[Spread | None, ...], ...] = ()

    def replica_delays(self) -> tuple[tuple[int, ...], ...]:
        """One-way delays among the replicas, by replica number."""
        return tuple(tuple(self.one_way_ns[a][b] for b in self.replicas) for a in self.replicas)

    def contacts(self, client: int) -> tuple[int, ...]:
        """Replica numbers by round trip from client site ``client``: its own site's first, ties by number."""
        place = self.clients[client]

        def distance(r: int) -> tuple[bool, int, int]:
            other = self.replicas[r]
            return other != place, self.one_way_ns[place][other] + self.one_way_ns[other][place], r

        return tuple(sorted(range(len(self.replicas)), key=distance))


class Jitter(msgspec.Struct, frozen=True):
    """``none``; ``lognormal:CV``: each one-way delay times a log-normal factor of mean 1 and that coefficient of
    variation; ``empirical``: as the data's own spread between round trips (half of its variance to each direction)."""

    kind: str
    cv: float = 0.0

    def sampler(self, geography: Geography, a: int, b: int, seed: int, name: str) -> Callable[[], int]:
        """Delays (ns) of one link from place a to place b, from the stream ``name``."""
        base = geography.one_way_ns[a][b]
        if base == 0 or self.kind == "none" or (self.kind == "lognormal" and self.cv == 0):
            return constant(base)
        rng = stream(seed, "jitter", name)
        if self.kind == "lognormal":
            return _lognormal(0.0, float(base), self.cv, math.inf, rng)
        spread = geography.spread[a][b]
        if spread is None or spread[1] <= 0:
            return constant(base)
        floor, excess, deviation, cap = (value * 1e6 / 2 for value in spread)
        return _lognormal(floor, excess, math.sqrt(2) * deviation / excess, cap, rng)


def _lognormal(floor: float, mean: float, cv: float, cap: float, rng: object) -> Callable[[], int]:
    import numpy as np

    assert isinstance(rng, np.random.Generator)
    sigma = math.sqrt(math.log1p(cv * cv))
    mu = math.log(mean) - sigma * sigma / 2
    return sampler(lambda n: np.minimum(floor + rng.lognormal(mu, sigma, n), cap).round().astype(np.int64))


NO_JITTER: Final = Jitter("none")


def parse_jitter(text: str) -> Jitter:
    """``none``, ``lognormal:CV`` or ``empirical``; ``ConfigError`` otherwise."""
    kind, _, number = text.partition(":")
    if text in ("none", "empirical"):
        return Jitter(text)
    if kind == "lognormal":
        try:
            cv = float(number)
        except ValueError:
            cv = math.nan
        if 0 <= cv <= 2:
            return Jitter(kind, cv)
        raise ConfigError(f"jitter '{text}': CV must be a number between 0 and 2, as in lognormal:0.05")
    raise ConfigError(f"jitter '{text}' is unknown: choose none, lognormal:CV or empirical")
