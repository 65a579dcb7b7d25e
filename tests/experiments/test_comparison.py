"""Whole comparisons: what is in the folder, what survives an interruption, what may differ and what may not."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from small import BROKEN, PRIMARY, SITES, small

import consensus_bench
from consensus_bench.cli.compare import command as compare_command
from consensus_bench.cli.options import changes_from_flags
from consensus_bench.contract import ConfigError
from consensus_bench.experiments import comparison
from consensus_bench.experiments import measure as measuring
from consensus_bench.experiments.comparison import Interrupted, Outcome, compare
from consensus_bench.experiments.measure import measure
from consensus_bench.experiments.plan import plan
from consensus_bench.experiments.scenario import load_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.tables import _busiest
from consensus_bench.simulation.operations import COLUMNS
from consensus_bench.simulation.world import Usage

LEADERS = ["multi-paxos", PRIMARY]
TABLES = (
    "summary.csv", "load.csv", "conflict.csv", "costs.csv", "resources.csv", "bounds.csv", "operations.parquet",
    "timeline.parquet",
)  # fmt: skip


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*TABLES, "checks.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two protocols, two seeds, both sweeps."""
    scenario = small(protocols=LEADERS, seeds=2, load_rates=[50, 200], conflict_levels=[0, 100], conflict_duration=2.0)
    return compare(scenario, out=tmp_path_factory.mktemp("done") / "run")


def test_the_folder_holds_every_table_and_nothing_unfinished(done: Outcome) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert names == {*TABLES, "checks.json", "manifest.json", "scenario.toml"}
    assert done.ok
    assert done.runs == 2 * 2 + 2 * 2 + 2 * 2


def test_the_summary_is_tidy_and_complete(done: Outcome) -> None:
    found = rows(done.folder, "summary.csv")
    assert ",".join(found[0]) == (
        "protocol,seed,site,metric,count,throughput_ops,mean_ms,p50_ms,p90_ms,p95_ms,p99_ms,p999_ms,max_ms"
    )
    combinations = {(r["protocol"], r["seed"], r["site"], r["metric"]) for r in found}
    assert combinations == {
        (protocol, seed, site, metric)
        for protocol in ("multi-paxos", "fixed-primary")
        for seed in ("1", "2", "ALL")
        for site in (*SITES, "ALL")
        for metric in ("commit", "execute")
    }
    assert len(found) == len(combinations)


def test_the_summary_says_what_the_operations_say(done: Outcome) -> None:
    operations = pd.read_parquet(done.folder / "operations.parquet")
    counted = operations[operations.measured & (operations.protocol == "multi-paxos")]
    latency_ms = ((counted.answered_ns - counted.due_ns) / 1e6).astype(float)
    pooled = next(
        r
        for r in rows(done.folder, "summary.csv")
        if (r["protocol"], r["seed"], r["site"], r["metric"]) == ("multi-paxos", "ALL", "ALL", "execute")
    )
    assert int(pooled["count"]) == len(counted)
    assert float(pooled["mean_ms"]) == pytest.approx(latency_ms.mean(), abs=1e-6)
    assert float(pooled["max_ms"]) == pytest.approx(latency_ms.max(), abs=1e-6)
    assert float(pooled["p50_ms"]) == pytest.approx(latency_ms.quantile(0.5, interpolation="lower"), abs=1e-6)


def test_operations_have_the_promised_columns(done: Outcome) -> None:
    operations = pd.read_parquet(done.folder / "operations.parquet")
    assert list(operations.columns) == [
        "protocol", "seed", "site", "client", "sequence", "key", "kind", "due_ns", "sent_ns", "committed_ns",
        "executed_ns", "answered_ns", "path", "attempts", "value", "result", "measured",
    ]  # fmt: skip
    assert set(operations.kind) == {"put", "swap"}
    assert (operations.sent_ns <= operations.committed_ns).all()
    assert (operations.committed_ns <= operations.executed_ns).all()
    assert (operations.executed_ns <= operations.answered_ns).all()
    assert operations[~operations.measured].due_ns.max() < 500_000_000  # only the warm-up: nothing is due after the end


def test_the_timeline_counts_every_answer_once(done: Outcome) -> None:
    timeline = pd.read_parquet(done.folder / "timeline.parquet")
    operations = pd.read_parquet(done.folder / "operations.parquet")
    assert timeline.completed_ops.sum() == operations.answered_ns.notna().sum()
    assert timeline[timeline.completed_ops == 0].mean_ms.isna().all()
    one = timeline[(timeline.protocol == "multi-paxos") & (timeline.seed == 1) & (timeline.site == SITES[0])]
    assert one.second.tolist() == list(range(len(one)))


def test_sweeps_have_a_row_a_level(done: Outcome) -> None:
    load = rows(done.folder, "load.csv")
    assert [(r["protocol"], r["offered_ops"]) for r in load] == [
        ("multi-paxos", "50.0"), ("fixed-primary", "50.0"), ("multi-paxos", "200.0"), ("fixed-primary", "200.0"),
    ]  # fmt: skip
    assert {r["seed"] for r in load} == {"1"}
    assert all(int(r["count"]) > 0 for r in [*load, *rows(done.folder, "conflict.csv")])
    assert all(0 < float(r["utilisation"]) < 1 and r["busiest_site"] in SITES for r in load)
    conflict = rows(done.folder, "conflict.csv")
    assert {r["conflict_percent"] for r in conflict} == {"0.0", "100.0"}
    assert {r["fast_share"] for r in conflict} == {""}  # neither of the two has a fast path


def test_of_several_full_processors_the_one_with_most_work_is_named() -> None:
    setup = prepare(small())
    usage = [Usage(cpu, 0.1, 9.0, 0, 0, 0, 0) for cpu in (1.02, 1.07, 1.05)]
    assert _busiest(setup, usage) == (SITES[1], "cpu", 1.0)


def test_the_manifest_says_how_to_do_it_again(done: Outcome) -> None:
    manifest = json.loads((done.folder / "manifest.json").read_bytes())
    assert manifest["complete"] is True
    assert manifest["protocols"] == ["multi-paxos", "fixed-primary"]
    assert manifest["leaders"] == {"multi-paxos": "us-east-1", "fixed-primary": None}
    assert manifest["topology"]["rtt_ms"]["matrix"][0][1] == 64.419
    assert len(manifest["code"]["sha256"]) == 64
    again = load_scenario(done.folder / "scenario.toml")
    assert again.identity() == manifest["scenario"]
    assert shlex.split(manifest["command"])[:2] == ["consensus-bench", "compare"]


def test_every_run_of_every_purpose_is_judged(done: Outcome) -> None:
    checks = json.loads((done.folder / "checks.json").read_bytes())
    judged = {
        (c["protocol"], c["seed"], c["purpose"], c["level"]) for c in checks if c["property"] == "linearizability"
    }
    assert len(judged) == done.runs
    assert {c["verdict"] for c in checks} == {"holds"}


def test_a_finished_folder_is_not_run_again(done: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "execute", lambda *_: pytest.fail("ran again"))
    again = compare(done.folder / "scenario.toml", out=done.folder)
    assert again == msgspec.structs.replace(done, reused=True)


def test_a_folder_of_another_run_is_refused_and_left_alone(done: Outcome) -> None:
    before = contents(done.folder)
    with pytest.raises(ConfigError, match=r"holds a different run \(it differs in duration\)"):
        compare(done.folder / "scenario.toml", out=done.folder, duration=2.5)
    assert contents(done.folder) == before


def test_the_same_bytes_on_one_process_and_on_two(done: Outcome, tmp_path: Path) -> None:
    again = compare(done.folder / "scenario.toml", out=tmp_path / "again", jobs=2)
    assert contents(again.folder) == contents(done.folder)


def test_the_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys, json, consensus_bench\nconsensus_bench.compare(out=sys.argv[1], jobs=1, **json.loads(sys.argv[2]))"
    )
    changes = {
        "sites": SITES, "protocols": ["epaxos", "multi-paxos"], "seeds": 1, "duration": 2, "load_rates": [100],
        "conflict_levels": [50], "conflict_duration": 1.5, "workload": {"clients": 3, "conflict": 40, "reads": 0.3},
    }  # fmt: skip
    found = []
    for hash_seed in ("0", "4242"):
        folder = tmp_path / hash_seed
        command = [sys.executable, "-c", code, str(folder), json.dumps(changes)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
        found.append(contents(folder))
    assert found[0] == found[1]


def test_an_interruption_keeps_what_is_finished_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = small(protocols=LEADERS, seeds=2, out=str(tmp_path / "run"))

    def after_one(finished: int, planned: int, share: float) -> None:
        if finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="1 of 4 runs are finished and kept in ") as stop:
        compare(scenario, progress=after_one)
    assert stop.value.folder == tmp_path / "run"
    assert {r["protocol"] for r in rows(tmp_path / "run", "summary.csv")} == {"multi-paxos"}
    assert json.loads((tmp_path / "run" / "manifest.json").read_bytes())["complete"] is False

    ran = []

    def counted(run: Any, *rest: Any) -> Any:
        ran.append(run.key)
        return measure(run, *rest)

    monkeypatch.setattr(measuring, "measure", counted)
    shares = []
    outcome = compare(scenario, progress=lambda finished, planned, share: shares.append((finished, share)))
    assert len(ran) == 3
    assert [finished for finished, _ in shares] == [1, 2, 3, 4]
    assert shares[-1][1] == 1
    whole = compare(scenario, out=str(tmp_path / "whole"))
    assert contents(outcome.folder) == contents(whole.folder)


def test_without_an_out_folder_an_interrupted_run_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def at_once(finished: int, planned: int, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stop:
        compare(small(), progress=at_once)
    assert stop.value.folder.parent == Path("results/runs")
    assert compare(small(duration=1.5)).folder != stop.value.folder
    assert compare(small()).folder == stop.value.folder
    assert compare(small()).folder != stop.value.folder  # that one is finished: a new command, a new folder


def test_runs_by_other_code_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = small(out=str(tmp_path / "run"), seeds=2)

    def after_one(finished: int, planned: int, share: float) -> None:
        if finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        compare(scenario, progress=after_one)
    state = comparison.code_state
    monkeypatch.setattr(comparison, "code_state", lambda setup: {**state(setup), "sha256": "0" * 64})
    finished = []
    compare(scenario, progress=lambda done, planned, share: finished.append(done))
    assert finished == [0, 1, 2]


def test_a_violation_takes_its_run_out_of_the_tables_and_no_other(tmp_path: Path) -> None:
    protocols = [PRIMARY, f"{BROKEN}:Selfish", f"{BROKEN}:Crashes"]
    outcome = compare(small(protocols=protocols, load_rates=[50]), out=tmp_path / "run")
    assert not outcome.ok
    assert {(v.protocol, v.purpose, v.property) for v in outcome.violations} == {
        ("selfish", "main", "agreement"),
        ("selfish", "load 50", "agreement"),
        ("crashes", "main", "the protocol runs without an error"),
        ("crashes", "load 50", "the protocol runs without an error"),
    }
    for name in ("summary.csv", "load.csv", "costs.csv", "resources.csv"):
        assert {r["protocol"] for r in rows(outcome.folder, name)} == {"fixed-primary"}
    assert set(pd.read_parquet(outcome.folder / "operations.parquet").protocol) == {"fixed-primary"}
    verdicts = json.loads((outcome.folder / "checks.json").read_bytes())
    assert {c["protocol"] for c in verdicts if c["verdict"] == "violated"} == {"selfish", "crashes"}
    trace = outcome.folder / "failures" / "main-crashes-seed1.txt"
    assert "ZeroDivisionError: planted" in trace.read_text(encoding="utf-8")


def test_the_replay_command_meets_the_same_violation(tmp_path: Path) -> None:
    first = compare(small(protocols=[PRIMARY, f"{BROKEN}:Selfish"], load_rates=[50], seeds=2), out=tmp_path / "run")
    assert len(first.violations) == 3
    for number, violation in enumerate(first.violations):
        flags = compare_command.make_context("compare", shlex.split(violation.replay)[2:]).params
        del flags["as_json"], flags["quiet"]
        again = compare(**{**changes_from_flags(flags), "out": tmp_path / str(number), "jobs": 1})
        assert [v.detail for v in again.violations] == [violation.detail]


def test_all_protocols_are_asked_the_same(tmp_path: Path) -> None:
    """Kind, key and value of each client's n-th operation, and in an open loop when it was due, whatever the protocol
    made of it."""
    for number, workload in enumerate(({"clients": 3, "reads": 0.4}, {"rate": 60.0, "reads": 0.4})):
        outcome = compare(small(protocols=["epaxos", *LEADERS], workload=workload), out=tmp_path / str(number))
        operations = pd.read_parquet(outcome.folder / "operations.parquet")
        asked = ["kind", "key", "value", *(["due_ns"] if "rate" in workload else [])]
        first, *others = (
            part.set_index(["client", "sequence"])[asked] for _, part in operations.groupby("protocol", observed=True)
        )
        for other in others:
            both = first.index.intersection(other.index)
            assert len(both) > 30
            pd.testing.assert_frame_equal(first.loc[both], other.loc[both])
        if "rate" in workload:
            assert {len(first), *map(len, others)} == {len(first)}


@pytest.mark.parametrize("leader", SITES)
def test_without_costs_the_median_is_the_closed_form(leader: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"profile": "zero", "jitter": "none", "workload": {"clients": 1, "conflict": 0.0}}
    outcome = compare(small(protocols=["multi-paxos", "epaxos"], leader=leader, **changes), out=tmp_path / "run")
    medians = {
        (r["protocol"], r["site"]): float(r["p50_ms"])
        for r in rows(outcome.folder, "summary.csv")
        if r["seed"] == "ALL" and r["metric"] == "execute" and r["site"] != "ALL"
    }
    bounds = {(r["protocol"], r["site"]): float(r["bound_ms"]) for r in rows(outcome.folder, "bounds.csv")}
    assert medians == pytest.approx(bounds, abs=0.01)


def test_operations_are_kept_as_plain_numbers() -> None:
    """Their table is the bulk of what a comparison holds in memory: about 112 bytes an operation."""
    _, table = measure(plan(prepare(small()))[0])
    assert table.dtype == np.int64
    assert table.shape[1] == len(COLUMNS)
    assert table.nbytes / len(table) <= 128


def test_the_package_offers_it_by_name() -> None:
    assert consensus_bench.compare is compare
    assert "compare" in dir(consensus_bench)
    with pytest.raises(AttributeError, match="no attribute 'compere'"):
        _ = consensus_bench.compere
