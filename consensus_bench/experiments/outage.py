"""What a fault cost the clients: the longest silence, who waited, when throughput was back, and the latency after.

All from the operations of one run. Times are milliseconds after the fault began, unless they say otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from consensus_bench.experiments.statistics import NS_PER_MS, NS_PER_S, Window, column, latencies_ns, throughput
from consensus_bench.simulation.operations import NEVER

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

LONG_WAIT_NS: Final = NS_PER_S
"""A request that waited longer than this has been noticed by a person."""
RECOVERED: Final = 0.9
"""Throughput is back when this share of the earlier throughput is reached ..."""
RECOVERY_WINDOW_NS: Final = NS_PER_S
"""... over a window of this length, which begins with a completed operation (or with the fault)."""


class Outage(msgspec.Struct, frozen=True):
    """One run's fault as the clients of one site, or of all, saw it.

    ``unavailable_ms``: the longest time without a completed operation that ended after the fault began; ``usual_ms``
    is the longest before it. ``concerned``: operations that were open when it began or due later; ``waited``: those of
    them that waited more than a second (in a closed loop a client that waits asks for nothing else, so that few
    operations wait; an open loop has the share that users would feel). ``failed``: never answered. ``retried``: asked
    for at another replica. ``held``: chosen, and executed more than a second later (under EPaxos: because they depend
    on unfinished instances of a dead replica); ``held_ms``: the longest time from commit to execution.
    ``recovered90_ms``: when the first second begins in which 90 per cent of the earlier throughput is reached; None:
    never again. The rates and latencies are those before the fault, and those of the last half of the time after it;
    None where nobody was served.
    """

    unavailable_ms: float
    usual_ms: float
    recovered90_ms: float | None
    concerned: int
    waited: int
    failed: int
    retried: int
    held: int
    held_ms: float
    before_ops: float
    after_ops: float
    before_ms: float | None
    after_ms: float | None


def outage(table: Table, window: Window, fault_ns: int) -> Outage:
    """``table``: the operations of a run (of one site or of all); ``window``: from the end of the warm-up to the end of
    the load; ``fault_ns`` lies in it."""
    import numpy as np

    before = Window(window.start_ns, fault_ns)
    after = Window((fault_ns + window.end_ns) // 2, window.end_ns)
    answered = column(table, "answered_ns")
    due = column(table, "due_ns")
    left = np.where(answered == NEVER, window.end_ns, answered)
    concerned = (due >= fault_ns) | (left >= fault_ns)
    held_ns = _held_ns(table[answered >= fault_ns])
    before_ops = throughput(table, before)
    done = np.sort(answered[(answered >= window.start_ns) & (answered < window.end_ns)])
    return Outage(
        unavailable_ms=_longest_gap(done, window, fault_ns, ends_after=True) / NS_PER_MS,
        usual_ms=_longest_gap(done, before, fault_ns, ends_after=False) / NS_PER_MS,
        recovered90_ms=_recovered_ms(done, fault_ns, window.end_ns, before_ops),
        concerned=int(concerned.sum()),
        waited=int((concerned & (left - due > LONG_WAIT_NS)).sum()),
        failed=int((answered == NEVER).sum()),
        retried=int((column(table, "attempts") > 1).sum()),
        held=int((held_ns > LONG_WAIT_NS).sum()),
        held_ms=int(held_ns.max(initial=0)) / NS_PER_MS,
        before_ops=before_ops,
        after_ops=throughput(table, after),
        before_ms=_mean_ms(table, before),
        after_ms=_mean_ms(table, after),
    )


def _longest_gap(done: Table, window: Window, fault_ns: int, *, ends_after: bool) -> int:
    """Between completions; the window's ends count as such, because what lies beyond is not known."""
    import numpy as np

    inside = done[done < window.end_ns]
    edges = np.concatenate([[window.start_ns], inside, [window.end_ns]])
    gaps = np.diff(edges)
    if ends_after:
        gaps = gaps[edges[1:] > fault_ns]
    return int(gaps.max())


def _recovered_ms(done: Table, fault_ns: int, end_ns: int, before_ops: float) -> float | None:
    import numpy as np

    if before_ops == 0:
        return None
    later = done[(done >= fault_ns) & (done <= end_ns - RECOVERY_WINDOW_NS)]
    starts = np.concatenate([[fault_ns], later])
    ends = np.searchsorted(done, starts + RECOVERY_WINDOW_NS)
    counts = ends - np.searchsorted(done, starts)
    enough = np.flatnonzero(counts >= RECOVERED * before_ops * RECOVERY_WINDOW_NS / NS_PER_S)
    return float(starts[enough[0]] - fault_ns) / NS_PER_MS if len(enough) else None


def _held_ns(table: Table) -> Table:
    """From the commit of each operation to its execution, where it was executed."""
    committed, executed = column(table, "committed_ns"), column(table, "executed_ns")
    held: Table = (executed - committed)[(committed != NEVER) & (executed != NEVER)]
    return held


def _mean_ms(table: Table, window: Window) -> float | None:
    """Of the operations that were answered within ``window``."""
    answered = column(table, "answered_ns")
    latency = latencies_ns(table[(answered >= window.start_ns) & (answered < window.end_ns)], "execute")
    return int(latency.sum()) / len(latency) / NS_PER_MS if len(latency) else None
