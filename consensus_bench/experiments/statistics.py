"""Latencies and their summary.

Percentiles are nearest-rank: the smallest sample that at least p per cent of all samples do not exceed, so that each is
a latency that somebody had. They come from all samples and are never averaged over runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from consensus_bench.simulation.operations import COLUMNS, NEVER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Table: TypeAlias = NDArray[np.int64]
    """Operations, a row each, in the columns of ``simulation.operations.COLUMNS``."""
    Mask: TypeAlias = NDArray[np.bool_]

Metric: TypeAlias = Literal["commit", "execute"]
METRICS: Final[tuple[Metric, ...]] = ("commit", "execute")
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000


class Window(msgspec.Struct, frozen=True):
    """The measured interval of a run, in ns of simulated time."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / NS_PER_S


class Latencies(msgspec.Struct, frozen=True):
    """Summary of latencies in milliseconds; None where there is no sample."""

    count: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None


def column(table: Table, name: str) -> Table:
    """One column of a table of operations."""
    values: Table = table[:, COLUMNS.index(name)]
    return values


def due_within(table: Table, window: Window) -> Mask:
    """Which operations are measured: those due in the window, whenever they were answered, if ever."""
    due = column(table, "due_ns")
    within: Mask = (due >= window.start_ns) & (due < window.end_ns)
    return within


def measured(table: Table, window: Window) -> Table:
    """The measured operations that have an answer."""
    seen: Table = table[due_within(table, window) & (column(table, "answered_ns") != NEVER)]
    return seen


def latencies_ns(table: Table, metric: Metric) -> Table:
    """Per answered operation, from when it was due. *execute*: until the client has its result. *commit*: as if the
    replica that answers had done so as soon as it knew the command committed, without waiting for its execution."""
    latency = column(table, "answered_ns") - column(table, "due_ns")
    if metric == "commit":
        latency = latency - (column(table, "executed_ns") - column(table, "committed_ns"))
    return latency


def throughput(table: Table, window: Window) -> float:
    """Operations answered within the window, per second."""
    answered = column(table, "answered_ns")
    return int(((answered >= window.start_ns) & (answered < window.end_ns)).sum()) / window.seconds


def summarise(samples_ns: Table) -> Latencies:
    """Mean and nearest-rank percentiles of latencies in ns."""
    count = len(samples_ns)
    if count == 0:
        return Latencies(0)
    import numpy as np

    ordered = np.sort(samples_ns)

    def rank(per_mille: int) -> float:
        return int(ordered[-(-count * per_mille // 1000) - 1]) / NS_PER_MS

    mean_ms = int(ordered.sum()) / count / NS_PER_MS
    return Latencies(
        count, mean_ms, rank(500), rank(900), rank(950), rank(990), rank(999), int(ordered[-1]) / NS_PER_MS
    )


def fast_share(table: Table) -> float | None:
    """Share of the fast path among the operations whose path is known; None where no path is."""
    path = column(table, "path")
    fast, slow = int((path == 1).sum()), int((path == 2).sum())
    return fast / (fast + slow) if fast + slow else None
