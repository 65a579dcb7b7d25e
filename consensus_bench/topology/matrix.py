"""A latency matrix between sites, with its provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.contract.replica import ns


class Location(NamedTuple):
    """Where a site stands, to the nearest city; degrees, north and east positive."""

    name: str
    latitude: float
    longitude: float


def nearest_match(word: str, choices: Sequence[str]) -> str:
    """``", did you mean 'x'?"`` for the choice that looks most like ``word``, or nothing."""
    close = get_close_matches(word, choices, n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


BASE_STATISTICS: Final = ("rtt", "p50", "mean")
"""Which column is the matrix, first found: a plain round trip, else the median, else the mean."""


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Round trips between sites in milliseconds, exactly as measured: ``rtt_ms[source][destination]``, per direction.

    The diagonal is the round trip inside a site (aws-2025: 3-8 ms of connection handling). ``columns`` names the
    statistics of the data (p50, p90, min, mean, max, mdev; "rtt" where the file does not say) and ``values`` holds a
    matrix for each; ``rtt_ms`` is one of them. ``inferred`` lists pairs whose value is not the source's own.
    """

    name: str
    sites: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[tuple[float, ...], ...], ...]
    source: str
    date: str
    licence: str
    statistic: str
    note: str = ""
    inferred: tuple[tuple[str, str], ...] = ()
    locations: tuple[Location | None, ...]

    @property
    def base(self) -> str:
        """The statistic that ``rtt_ms`` holds: "rtt", "p50" or "mean"."""
        return next(name for name in BASE_STATISTICS if name in self.columns)

    @property
    def rtt_ms(self) -> tuple[tuple[float, ...], ...]:
        """The matrix itself, ``[source][destination]``."""
        return self.values[self.columns.index(self.base)]

    def index(self, site: str) -> int:
        """The number of ``site``; ``ConfigError`` with the nearest match if there is none."""
        if site in self.sites:
            return self.sites.index(site)
        hint = nearest_match(site, self.sites) or f": it has {', '.join(self.sites)}"
        raise ConfigError(f"site '{site}' is not in topology {self.name}{hint}")

    def rtt(self, a: str, b: str) -> float:
        """The round trip measured from ``a`` to ``b``, ms."""
        return self.rtt_ms[self.index(a)][self.index(b)]

    def one_way_ns(self, a: str, b: str) -> int:
        """The delay from ``a`` to ``b``: half of the round trip measured in that direction, whole nanoseconds."""
        return ns(self.rtt(a, b) / 2)

    def delays_ns(self, sites: Sequence[str] | None = None, local_rtt_ms: float = 0.0) -> tuple[tuple[int, ...], ...]:
        """One-way delays among ``sites`` (default: all), in that order.

        Inside a site it is half of ``local_rtt_ms``, not of the diagonal, which in some data is no network time at all.
        """
        numbers = range(len(self.sites)) if sites is None else [self.index(site) for site in sites]
        rtt_ms, local = self.rtt_ms, ns(local_rtt_ms / 2)
        return tuple(tuple(local if a == b else ns(rtt_ms[a][b] / 2) for b in numbers) for a in numbers)

    def spread(self, a: str, b: str) -> dict[str, float]:
        """All statistics that the data have of the round trip from ``a`` to ``b``, ms, by name."""
        i, j = self.index(a), self.index(b)
        return {name: matrix[i][j] for name, matrix in zip(self.columns, self.values, strict=True)}

    def empirical_spread(self, a: str, b: str) -> tuple[float, float, float, float] | None:
        """The round trip from ``a`` to ``b`` as a distribution: (floor, mean above the floor, standard deviation, cap)
        in ms, or None where the data hold a single number.

        Pings: min, mean - min, mdev (ping's name for the standard deviation), max. Quantiles (p50, p90): the
        exponential tail above a floor that has exactly these two quantiles, without a cap.
        """
        seen = self.spread(a, b)
        if {"min", "mean", "max", "mdev"} <= seen.keys():
            floor, mean, cap = seen["min"], seen["mean"], seen["max"]
            # No distribution within [floor, cap] with this mean deviates more (Bhatia and Davis 2000); some mdev do.
            deviation = min(seen["mdev"], math.sqrt(max(0.0, (cap - mean) * (mean - floor))))
            return (floor, mean - floor, deviation, cap) if mean > floor else None
        if {"p50", "p90"} <= seen.keys():
            # quantile q of floor + Exp(mean): floor - mean * ln(1 - q), so p90 - p50 = mean * ln 5.
            mean = (seen["p90"] - seen["p50"]) / math.log(5)
            floor = max(0.0, seen["p50"] - mean * math.log(2))
            return (floor, mean, mean, math.inf) if mean > 0 else None
        return None

    def place(self, site: str) -> Location | None:
        """Where ``site`` stands, or None if that is not known."""
        return self.locations[self.index(site)]

    def select(self, sites: Sequence[str]) -> Topology:
        """The matrix of these sites alone, in this order."""
        numbers = [self.index(site) for site in sites]
        for position, site in enumerate(sites):
            if site in sites[:position]:
                raise ConfigError(f"site '{site}' is named twice among the sites of topology {self.name}: name it once")
        if not sites:
            raise ConfigError(f"no site of topology {self.name} is named: choose from {', '.join(self.sites)}")
        return msgspec.structs.replace(
            self,
            sites=tuple(sites),
            values=tuple(tuple(tuple(matrix[a][b] for b in numbers) for a in numbers) for matrix in self.values),
            inferred=tuple(pair for pair in self.inferred if set(pair) <= set(sites)),
            locations=tuple(self.locations[number] for number in numbers),
        )
