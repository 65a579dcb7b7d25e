"""What a fault cost, from tables of operations that are made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consensus_bench.experiments.outage import outage
from consensus_bench.experiments.statistics import Window
from consensus_bench.simulation.operations import COLUMNS, NEVER

S = 1_000_000_000
MS = 1_000_000
WINDOW = Window(1 * S, 21 * S)
FAULT = 6 * S


def table(times: list[tuple[int, int]], attempts: int = 1) -> Any:
    """Operations (due, answered), in ns; one attempt each."""
    rows = np.zeros((len(times), len(COLUMNS)), dtype=np.int64)
    for row, (due, answered) in zip(rows, times, strict=True):
        values = {"due_ns": due, "sent_ns": due, "answered_ns": answered, "attempts": attempts}
        values |= {"committed_ns": answered, "executed_ns": answered}
        for name, value in values.items():
            row[COLUMNS.index(name)] = value
    return rows


def closed_loop(latency_ms: int, start: int, end: int) -> list[tuple[int, int]]:
    step = latency_ms * MS
    return [(at, at + step) for at in range(start, end, step)]


def test_a_silence_of_three_seconds() -> None:
    """One client, 100 ms an operation; the one that is open at 6 s comes back at 9.1 s; 200 ms each from then on."""
    before, after = closed_loop(100, 0, 6 * S), closed_loop(200, 9 * S + 100 * MS, 21 * S)
    seen = outage(table([*before, (6 * S, 9 * S + 100 * MS), *after]), WINDOW, FAULT)
    assert seen.unavailable_ms == 3100
    assert seen.usual_ms == 100
    assert (seen.failed, seen.retried, seen.waited) == (0, 0, 1)
    assert seen.concerned == 1 + len(after) + 1  # and the one that is answered at the very moment of the fault
    assert seen.before_ops == pytest.approx(10, rel=0.03)
    assert seen.after_ops == pytest.approx(5, rel=0.03)
    assert (seen.before_ms, seen.after_ms) == (100, 200)
    assert seen.recovered90_ms is None, "the new leader is too far away for 90 % of the earlier throughput"


def test_recovered_when_a_whole_second_has_nine_tenths() -> None:
    """From 9 s on as before: the second that begins there has ten completions."""
    before, after = closed_loop(100, 0, 6 * S), closed_loop(100, 9 * S, 21 * S)
    seen = outage(table([*before, (6 * S, 9 * S), *after]), WINDOW, FAULT)
    assert seen.recovered90_ms == 3000


def test_nobody_is_served_again() -> None:
    seen = outage(table([*closed_loop(100, 0, 6 * S), (6 * S, NEVER)], attempts=2), WINDOW, FAULT)
    assert seen.unavailable_ms == 15_000
    assert (seen.failed, seen.waited, seen.after_ops, seen.after_ms) == (1, 1, 0, None)
    assert seen.retried == 61
    assert seen.recovered90_ms is None


def test_a_fault_that_nobody_feels() -> None:
    seen = outage(table(closed_loop(100, 0, 21 * S)), WINDOW, FAULT)
    assert seen.unavailable_ms == seen.usual_ms == 100
    assert seen.recovered90_ms == 0
    assert seen.waited == 0


def test_operations_answered_after_the_load_has_ended() -> None:
    """They are no silence that ends: the load's end does."""
    seen = outage(table([*closed_loop(100, 0, 6 * S), (6 * S, 25 * S)]), WINDOW, FAULT)
    assert seen.unavailable_ms == 15_000
    assert (seen.failed, seen.waited) == (0, 1)


def test_what_is_chosen_and_waits_to_be_executed() -> None:
    """Two are held for 1.5 s and 0.4 s after the fault, one for 3 s before it."""
    rows = table([(2 * S, 5 * S), (6 * S, 8 * S), (7 * S, 8 * S), (9 * S, NEVER)])
    for row, committed in enumerate((2 * S, 6 * S + 500 * MS, 7 * S + 600 * MS, NEVER)):
        rows[row][COLUMNS.index("committed_ns")] = committed
    seen = outage(rows, WINDOW, FAULT)
    assert (seen.held, seen.held_ms) == (1, 1500)
