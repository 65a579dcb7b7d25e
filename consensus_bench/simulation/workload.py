"""What clients ask: operations that depend on (seed, client) alone, so that every protocol is asked precisely the same.

A workload is data. ``operations(workload, seed, client, clients)`` is the endless stream of one client's operations;
nothing that a protocol does can change it, only how far it gets.
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
YCSB_ZETA: Final = 26.46902820178302
"""Sum of k^-0.99 for k up to 10^10: YCSB's ScrambledZipfianGenerator draws from so many items, however many records
there are, and hashes each to a record. So its hottest record has 3.8 %, not the 13 % of a Zipfian over 1,000."""
YCSB_HEAD: Final = 100_000
"""So many of these items are hashed one by one; the others fall evenly on the records."""


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks how fast for what.

    Closed loop: ``clients`` per site, each with one operation under way and ``think_ms`` between two. Open loop:
    ``rate`` operations per second in all (Poisson, spread evenly over the client sites); then ``clients`` is unused.
    ``keys``: "conflict" (the hot key with probability ``conflict`` per cent, else a key of the client's own),
    "uniform", "zipf", "scrambled" (YCSB's "zipfian") or "latest" (YCSB's) over ``records`` keys, or "hotspot"
    (``conflict`` per cent of the operations fall on a window of ``hot_keys`` keys that moves on after every
    ``hot_move_every`` operations of a client).
    ``reads``: fraction of gets. ``swaps``: fraction of atomic read-modify-writes. ``inserts``: whether a write adds
    a new key. ``size``: payload bytes of a write.
    """

    name: str = "conflict"
    clients: int = 10
    think_ms: float = 0.0
    rate: float = 0.0
    keys: Literal["conflict", "uniform", "zipf", "scrambled", "latest", "hotspot"] = "conflict"
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
            ("rate", self.rate, 0, 1e7),
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
                raise ConfigError(f"workload.{name} = {value}: must lie between {low:,} and {high:,.15g}")
        if self.reads + self.swaps > 1:
            raise ConfigError(f"workload: reads {self.reads} + swaps {self.swaps} exceed 1")


_YCSB: Final = {"keys": "scrambled", "records": 1000, "size": 1000}
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


def operations(workload: Workload, seed: int, client: int, clients: int = 1) -> Iterator[Operation]:
    """The endless operations of ``client`` (0, 1, ...) of ``clients``. Every written value is unique in the run."""
    rng = stream(seed, "operations", client)
    draw_keys = _KeyDraws(workload, rng, client, clients)
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

    def __init__(self, workload: Workload, rng: np.random.Generator, client: int, clients: int) -> None:
        self.workload = workload
        self.rng = rng
        self.client = client
        self.clients = clients
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
            case "scrambled":
                keys = _scrambled(w.records, rng.random(n)).tolist()
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
        return self._inserted_key(self.client, self.inserted)

    def _inserted_key(self, client: int, number: int) -> int:
        return self.workload.records + (client << 32) + number

    def _latest(self, reading: NDArray[np.bool_]) -> list[int]:
        """YCSB "latest": a read goes a Zipfian distance back from the newest insert of all clients, into the base
        records when there are not that many. What the others have inserted is not known here, because it must not
        depend on the protocol: they are taken to have come as far as this client, each in turn. One that has not come
        so far has not inserted the key, and the read finds nothing."""
        w = self.workload
        back = _zipf(w.records, self.rng.random(len(reading))).tolist()
        keys = []
        for get, distance in zip(reading.tolist(), back, strict=True):
            inserts = self.inserted * self.clients
            if not get:
                keys.append(self._insert())
            elif distance < inserts:
                client = (self.client - distance) % self.clients
                keys.append(self._inserted_key(client, self.inserted - distance // self.clients))
            else:
                keys.append(w.records - 1 - (distance - inserts))
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


_scrambled_tables: dict[int, NDArray[np.float64]] = {}


def _scrambled(records: int, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Records as YCSB's ScrambledZipfianGenerator draws them, by inversion."""
    import numpy as np

    table = _scrambled_tables.get(records)
    if table is None:
        weights = np.arange(1, YCSB_HEAD + 1, dtype=float) ** -ZIPF_CONSTANT / YCSB_ZETA
        record = _fnv64(np.arange(YCSB_HEAD, dtype=np.uint64)) % records
        shares = np.bincount(record, weights, minlength=records) + (1 - weights.sum()) / records
        table = _scrambled_tables[records] = np.cumsum(shares)
    return np.minimum(np.searchsorted(table, uniform, side="right"), records - 1).astype(np.int64)


def _fnv64(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The hash that YCSB scatters its keys with: FNV-1a of the eight bytes, lowest first, without its sign."""
    import numpy as np

    digest = np.full(len(numbers), 0xCBF29CE484222325, np.uint64)
    for shift in range(0, 64, 8):
        digest = (digest ^ (numbers >> np.uint64(shift) & np.uint64(0xFF))) * np.uint64(1099511628211)
    return np.abs(digest.view(np.int64))


def arrivals_ns(rate: float, seed: int, site: int) -> Iterator[int]:
    """Due times (ns) of an open loop's Poisson stream of ``rate`` operations per second at one site."""
    rng = stream(seed, "arrivals", site)
    now = 0.0
    while True:
        for gap in rng.exponential(1e9 / rate, BATCH).tolist():
            now += gap
            yield round(now)
