"""What clients ask: operations that depend on (seed, client) alone, so that every protocol is asked precisely the same.

A workload is data. ``operations(workload, seed, client)`` is the endless stream of one client's operations; nothing
that a protocol does can change it, only how far it gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.randomness import stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Operation: TypeAlias = tuple[str, int, int, int]
"""(kind, key, value, size in bytes); a read's value is 0."""

HOT_KEY: Final = 0
BATCH: Final = 256
OPEN_LOOP_PRIVATE_KEYS: Final = 4096
"""A site's open loop has many operations under way: its private operations rotate over so many keys."""
ZIPF_CONSTANT: Final = 0.99  # YCSB's default


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks how fast for what.

    Closed loop: ``clients`` per site, each with one operation under way and ``think_ms`` between two. Open loop:
    ``rate`` operations per second in all (Poisson, spread evenly over the client sites); then ``clients`` is unused.
    ``keys``: "conflict" (the hot key with probability ``conflict`` per cent, else a key of the client's own),
    "uniform", "zipf" or "latest" over ``records`` keys, or "hotspot" (``conflict`` per cent of the operations fall on
    a window of ``hot_keys`` keys that moves on after every ``hot_move_every`` operations of a client).
    ``reads``: fraction of gets. ``swaps``: fraction of atomic read-modify-writes. ``inserts``: whether a write adds
    a new key. ``size``: payload bytes of a write.
    """

    name: str = "conflict"
    clients: int = 10
    think_ms: float = 0.0
    rate: float = 0.0
    keys: Literal["conflict", "uniform", "zipf", "latest", "hotspot"] = "conflict"
    conflict: float = 2.0
    records: int = 100_000
    hot_keys: int = 10
    hot_move_every: int = 1000
    reads: float = 0.0
    swaps: float = 0.0
    inserts: bool = False
    size: int = 16

    def validate(self) -> None:
        """Raise ``ConfigError`` for a number out of its range."""
        checks: tuple[tuple[str, float, float, float], ...] = (
            ("clients", self.clients, 1, 1_000_000),
            ("think_ms", self.think_ms, 0, 1e9),
            ("rate", self.rate, 0, 1e9),
            ("conflict", self.conflict, 0, 100),
            ("records", self.records, 1, 100_000_000),
            ("hot_keys", self.hot_keys, 1, self.records),
            ("hot_move_every", self.hot_move_every, 1, 1e12),
            ("reads", self.reads, 0, 1),
            ("swaps", self.swaps, 0, 1),
            ("size", self.size, 0, 1 << 24),
        )
        for name, value, low, high in checks:
            if not low <= value <= high:
                raise ConfigError(f"workload.{name} = {value}: must lie between {low} and {high:g}")
        if self.reads + self.swaps > 1:
            raise ConfigError(f"workload: reads {self.reads} + swaps {self.swaps} exceed 1")


_YCSB: Final = {"keys": "zipf", "records": 1000, "size": 1000}
PRESETS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "conflict": ("hot key with probability --conflict, else a private key (EPaxos' own benchmark)", {}),
    "uniform": ("keys drawn uniformly from `records`", {"keys": "uniform"}),
    "zipf": ("keys drawn from a Zipfian distribution, constant 0.99", {"keys": "zipf"}),
    "hotspot": ("a window of hot keys that moves", {"keys": "hotspot", "conflict": 20.0}),
    "ycsb-a": ("YCSB A, update heavy: 50 % reads, Zipfian", {**_YCSB, "reads": 0.5}),
    "ycsb-b": ("YCSB B, read mostly: 95 % reads, Zipfian", {**_YCSB, "reads": 0.95}),
    "ycsb-c": ("YCSB C, read only, Zipfian", {**_YCSB, "reads": 1.0}),
    "ycsb-d": (
        "YCSB D, read latest: 95 % reads, 5 % inserts",
        {**_YCSB, "keys": "latest", "reads": 0.95, "inserts": True},
    ),
    "ycsb-f": ("YCSB F: 50 % reads, 50 % read-modify-writes, Zipfian", {**_YCSB, "reads": 0.5, "swaps": 0.5}),
}


def preset(name: str) -> Workload:
    """The workload called ``name``; ``ConfigError`` if there is none."""
    if name not in PRESETS:
        raise ConfigError(f"workload '{name}' is unknown: choose from {', '.join(PRESETS)}")
    return msgspec.convert({"name": name, **PRESETS[name][1]}, Workload)


def operations(workload: Workload, seed: int, client: int) -> Iterator[Operation]:
    """The endless operations of ``client`` (0, 1, ...). Every written value is unique in the run."""
    rng = stream(seed, "operations", client)
    draw_keys = _KeyDraws(workload, rng, client)
    reads, swaps, size = workload.reads, workload.reads + workload.swaps, workload.size
    value = (client + 1) << 32
    while True:
        kinds = rng.random(BATCH)
        for u, key in zip(kinds.tolist(), draw_keys.batch(kinds < reads), strict=True):
            if u < reads:
                yield "get", key, 0, 0
            else:
                value += 1
                yield ("swap" if u < swaps else "put"), key, value, size


class _KeyDraws:
    """Draws the keys of one client's operations, a batch at a time."""

    def __init__(self, workload: Workload, rng: np.random.Generator, client: int) -> None:
        self.workload = workload
        self.rng = rng
        self.client = client
        self.count = 0
        self.inserted = 0

    def batch(self, reading: NDArray[np.bool_]) -> list[int]:
        """Keys for ``len(reading)`` operations; ``reading`` tells the gets."""
        w, rng, n = self.workload, self.rng, len(reading)
        start = self.count
        self.count += n
        keys: list[int]
        match w.keys:
            case "uniform":
                keys = rng.integers(0, w.records, n).tolist()
            case "zipf":
                keys = _zipf(w.records, rng.random(n)).tolist()
            case "latest":
                return self._latest(reading)
            case "conflict":
                pool = OPEN_LOOP_PRIVATE_KEYS if w.rate else 1
                private = w.records + self.client * OPEN_LOOP_PRIVATE_KEYS
                hot_if_below = enumerate((rng.random(n) * 100).tolist(), start)
                return [HOT_KEY if u < w.conflict else private + i % pool for i, u in hot_if_below]
            case "hotspot":
                import numpy as np

                window = (start + np.arange(n)) // w.hot_move_every * w.hot_keys
                hot = (window + rng.integers(0, w.hot_keys, n)) % w.records
                keys = np.where(rng.random(n) * 100 < w.conflict, hot, rng.integers(0, w.records, n)).tolist()
        if w.inserts:
            keys = [key if get else self._insert() for key, get in zip(keys, reading.tolist(), strict=True)]
        return keys

    def _insert(self) -> int:
        self.inserted += 1
        return self.workload.records + (self.client << 32) + self.inserted

    def _latest(self, reading: NDArray[np.bool_]) -> list[int]:
        """YCSB "latest": a read goes a Zipfian distance back from this client's newest insert, into the base records
        when it has not inserted that many."""
        back = _zipf(self.workload.records, self.rng.random(len(reading))).tolist()
        keys = []
        for get, distance in zip(reading.tolist(), back, strict=True):
            if not get:
                keys.append(self._insert())
            elif distance < self.inserted:
                keys.append(self.workload.records + (self.client << 32) + self.inserted - distance)
            else:
                keys.append(self.workload.records - 1 - (distance - self.inserted))
        return keys


_zipf_tables: dict[int, NDArray[np.float64]] = {}


def _zipf(records: int, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ranks 0.. with probability proportional to 1 / (rank + 1)^0.99, by inversion of the exact distribution."""
    import numpy as np

    table = _zipf_tables.get(records)
    if table is None:
        weights = np.arange(1, records + 1, dtype=float) ** -ZIPF_CONSTANT
        table = _zipf_tables[records] = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(table, uniform, side="right"), records - 1).astype(np.int64)


def arrivals_ns(rate: float, seed: int, site: int) -> Iterator[int]:
    """Due times (ns) of an open loop's Poisson stream of ``rate`` operations per second at one site."""
    rng = stream(seed, "arrivals", site)
    now = 0.0
    while True:
        for gap in rng.exponential(1e9 / rate, BATCH).tolist():
            now += gap
            yield round(now)
