"""What is measured, and what a run's verdict says."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import BROKEN, small

from consensus_bench.contract import Command
from consensus_bench.experiments.measure import ANSWERED, LINEARIZABILITY, NO_ERROR, _asked, _linearizable, measure
from consensus_bench.experiments.plan import Run, plan
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.statistics import (
    Window,
    column,
    due_within,
    fast_share,
    latencies_ns,
    measured,
    summarise,
    throughput,
)
from consensus_bench.simulation.operations import COLUMNS, KIND_CODES, NEVER
from consensus_bench.simulation.world import Settings, World
from consensus_bench.verification.online import NON_TRIVIALITY

MS = 1_000_000
WINDOW = Window(10 * MS, 20 * MS)


def table(*rows: dict[str, Any]) -> Any:
    """Operations with the given columns; the others are of no interest."""
    blank = dict.fromkeys(COLUMNS, 0) | {"value": NEVER, "result": NEVER, "attempts": 1}
    return np.array([[({**blank, **row})[name] for name in COLUMNS] for row in rows], dtype=np.int64)


def operation(due: float, answered: float, **more: int) -> dict[str, Any]:
    times = {"due_ns": due * MS, "sent_ns": due * MS, "answered_ns": NEVER if answered < 0 else answered * MS}
    return {name: int(value) for name, value in times.items()} | more


def test_an_operation_counts_by_when_it_was_due() -> None:
    rows = table(operation(9.9, 15), operation(10, 25), operation(19.9, 90), operation(20, 21), operation(12, -1))
    assert due_within(rows, WINDOW).tolist() == [False, True, True, False, True]
    assert column(measured(rows, WINDOW), "answered_ns").tolist() == [25 * MS, 90 * MS]


def test_throughput_counts_by_when_it_was_answered() -> None:
    rows = table(operation(1, 10), operation(1, 19.9), operation(1, 20), operation(12, 13), operation(12, -1))
    assert throughput(rows, WINDOW) == 300  # three in ten milliseconds


def test_latency_begins_when_due_and_a_commit_is_known_before_it_is_executed() -> None:
    late = operation(10, 50, sent_ns=15 * MS, committed_ns=30 * MS, executed_ns=42 * MS)
    assert latencies_ns(table(late), "execute").tolist() == [40 * MS]
    assert latencies_ns(table(late), "commit").tolist() == [28 * MS]


def test_the_fast_share_is_of_those_whose_path_is_known() -> None:
    assert fast_share(table({"path": 1}, {"path": 1}, {"path": 2}, {"path": 0})) == pytest.approx(2 / 3)
    assert fast_share(table({"path": 0})) is None


def test_percentiles_by_hand() -> None:
    """Nearest rank of 1..10 ms: p50 is the 5th, p90 the 9th, p95 and above the 10th."""
    found = summarise(np.arange(10, 0, -1) * MS)
    assert (found.count, found.mean_ms, found.p50_ms, found.p90_ms, found.p95_ms) == (10, 5.5, 5.0, 9.0, 10.0)
    assert (found.p99_ms, found.p999_ms, found.max_ms) == (10.0, 10.0, 10.0)
    assert summarise(np.array([], dtype=np.int64)).p50_ms is None


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(samples: list[int]) -> None:
    found = summarise(np.array(samples, dtype=np.int64))
    for share, value in ((50, found.p50_ms), (90, found.p90_ms), (99, found.p99_ms)):
        enough = [s for s in samples if 100 * sum(other <= s for other in samples) >= share * len(samples)]
        assert value == min(enough) / MS


def run_of(**changes: Any) -> Run:
    return plan(prepare(small(**changes)))[0]


def test_a_run_is_judged_by_every_checker() -> None:
    result, operations = measure(run_of())
    assert [check.property for check in result.checks] == [
        "agreement", "validity", "exactly once", "execution order", NON_TRIVIALITY, LINEARIZABILITY, ANSWERED,
    ]  # fmt: skip
    assert {check.verdict for check in result.checks} == {"holds"}
    assert all(check.checked > 0 for check in result.checks)
    assert result.numbers is not None
    assert result.numbers.execute.count == len(measured(operations, Window(500 * MS, 2000 * MS)))
    assert (np.diff(column(operations, "due_ns")) >= 0).all()


@pytest.mark.parametrize("faults", [[], ["crash:leader@0.6+0.3"]], ids=["no fault", "a crash"])
@pytest.mark.parametrize("protocol", ["multi-paxos", "raft", "epaxos", f"{BROKEN}:Selfish"])
def test_the_memory_of_a_run_that_is_over_is_freed(
    protocol: str, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that were still under way hold on to the world, out of the garbage collector's sight. (A soak's worker
    had 12 GB after a few thousand runs.)"""
    worlds: list[weakref.ref[World]] = []

    class Watched(World):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            worlds.append(weakref.ref(self))

    monkeypatch.setattr("consensus_bench.experiments.measure.World", Watched)
    run = plan(prepare(small(protocols=(protocol,), seeds=(1,), faults=faults)))[0]
    measure(run)
    gc.collect()
    assert len(worlds) == 1 and worlds[0]() is None


def test_disagreeing_replicas_have_no_numbers() -> None:
    result, _ = measure(run_of(protocols=[f"{BROKEN}:Selfish"]))
    assert result.violated
    assert result.numbers is None
    assert [(check.property, check.verdict) for check in result.checks] == [("agreement", "violated")]


def test_clients_see_what_replicas_do_not_say() -> None:
    workload = {"clients": 3, "conflict": 100.0, "reads": 0.5, "think_ms": 20.0}
    result, _ = measure(run_of(protocols=[f"{BROKEN}:StaleReads"], workload=workload))
    assert result.numbers is None
    assert [check.property for check in result.checks if check.verdict == "violated"] == [LINEARIZABILITY]


def test_a_protocol_that_invents_a_command_is_caught() -> None:
    """All replicas agree on it and execute it once, in order, and nobody ever reads its key."""
    result, _ = measure(run_of(protocols=[f"{BROKEN}:Invents"]))
    assert result.numbers is None
    assert [check.property for check in result.checks if check.verdict == "violated"] == [NON_TRIVIALITY]


def test_what_is_chosen_is_compared_in_every_part() -> None:
    kinds = {"put": KIND_CODES["put"], "get": KIND_CODES["get"]}
    asked = table(
        operation(0, 10, client=1, sequence=2, key=5, kind=kinds["get"]),
        operation(0, 10, client=0, sequence=1, key=5, kind=kinds["put"], value=7),
        operation(0, -1, client=1, sequence=1, key=6, kind=kinds["put"], value=8),
    )
    right = [
        Command(0, 1, "put", 5, 7),
        Command(1, 2, "get", 5),
        Command(1, 1, "put", 6, 8),
        Command(0, 1, "put", 5, 7),
    ]
    assert (_asked(iter(right), asked).verdict, _asked(iter(right), asked).checked) == ("holds", 4)
    wrong = [
        Command(0, 1, "swap", 5, 7), Command(0, 1, "put", 6, 7), Command(0, 1, "put", 5, 8), Command(0, 2, "put", 5, 7),
        Command(0, 0, "put", 5, 7), Command(2, 1, "put", 5, 7), Command(-2, 1, "put", 5, 7),
        Command(0, 1, "put", "5", 7),
    ]  # fmt: skip
    for command in wrong:
        assert _asked(iter([*right, command]), asked).verdict == "violated"


def test_writes_alone_cannot_contradict_and_the_verdict_says_so() -> None:
    result, _ = measure(run_of(workload={"clients": 1, "swaps": 0.0}))
    assert next(c.detail for c in result.checks if c.property == LINEARIZABILITY).endswith("could have contradicted")


def test_a_protocol_that_fails_is_reported_with_its_trace_back() -> None:
    result, _ = measure(run_of(protocols=[f"{BROKEN}:Crashes"]))
    assert result.violated
    assert [(check.property, check.detail) for check in result.checks] == [(NO_ERROR, "ZeroDivisionError: planted")]
    assert "in _place" in result.error


def test_a_stale_read_is_not_linearizable() -> None:
    put, get = KIND_CODES["put"], KIND_CODES["get"]
    write = operation(0, 10, client=0, sequence=1, kind=put, value=7)
    fresh = operation(20, 30, client=1, sequence=1, kind=get, result=7)
    stale = operation(20, 30, client=1, sequence=1, kind=get, result=NEVER)
    assert _linearizable(table(write, fresh)).verdict == "holds"
    assert _linearizable(table(write, stale)).verdict == "violated"


def test_operations_without_an_answer_are_said_to_be_missing() -> None:
    """A majority is never reached while two of three replicas cannot keep up: here the client's site is simply not
    served in the time there is."""
    run = run_of(duration=0.02, warmup=0.0, workload={"clients": 1})
    settings = run.settings
    impatient = type(settings)(**{**{f: getattr(settings, f) for f in settings.__struct_fields__}, "drain_s": 0.01})
    result, _ = measure(Run(run.key, run.purpose, run.protocol, run.seed, None, impatient, 1.0))
    missing = result.checks[-1]
    assert (missing.property, missing.verdict) == (ANSWERED, "not decided")
