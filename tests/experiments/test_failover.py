"""Failover studies: what a trial measures, the folder, resuming, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.comparison import Interrupted
from consensus_bench.experiments.failover import fault_name, fault_names, make_failover, prepare_failover, trials
from consensus_bench.experiments.failover_folder import FAILOVER, TIMELINE, run_failover
from consensus_bench.report.failover import (
    Study,
    draw_timeline,
    print_failover,
    rows_of,
    typical,
    write_failover_report,
)  # fmt: skip

SITES = ["us-east-1", "us-west-2", "eu-west-1"]


def study(**changes: Any) -> dict[str, Any]:
    data = {
        "sites": SITES, "leader": "us-east-1", "seeds": 2, "duration": 14.0, "at": 4.0, "workload": {"clients": 2},
        "client_timeout_ms": 2500.0, "jobs": 1,
    }  # fmt: skip
    return {**data, **changes}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The leader of each protocol dies in two trials."""
    target = tmp_path_factory.mktemp("failover") / "run"
    outcome = run_failover(prepare_failover(study(out=str(target))))
    assert outcome.ok
    assert not outcome.undecided
    return outcome.folder


def test_tables_have_the_columns_that_scripts_rely_on(folder: Path) -> None:
    assert tuple(rows(folder, "failover.csv")[0]) == FAILOVER
    assert tuple(rows(folder, "timeline.csv")[0]) == TIMELINE
    assert {row["site"] for row in rows(folder, "failover.csv")} == {*SITES, "ALL"}
    assert {row["fault"] for row in rows(folder, "failover.csv")} == {"crash-leader"}
    assert len(rows(folder, "failover.csv")) == 3 * 2 * 4


def test_a_leader_is_missed_and_a_replica_of_epaxos_is_not(folder: Path) -> None:
    """With time-outs of 1 to 2 s: who follows waits for an election; EPaxos' other sites go on."""
    for row in rows(folder, "failover.csv"):
        unavailable = float(row["unavailable_ms"])
        if row["site"] == "us-east-1":
            assert unavailable > 2500, "its own replica is dead: its clients wait for their time-out"
            assert int(row["retried"]) == 2
        elif row["protocol"] == "epaxos":
            assert unavailable < 1000
            assert row["elect_ms"] == ""
        else:
            detect, elect = float(row["detect_ms"]), float(row["elect_ms"])
            assert 900 <= detect < elect
            assert elect - 200 < unavailable + 200
        assert row["failed"] == row["duplicates"] == "0"


def test_the_timeline_counts_every_answered_operation(folder: Path) -> None:
    dips = {}
    for row in rows(folder, "timeline.csv"):
        if row["protocol"] == "raft" and row["seed"] == "1":
            second = int(row["second"])
            dips[second] = dips.get(second, 0) + int(row["completed_ops"])
    assert len(dips) == 14
    assert min(dips, key=lambda second: dips[second] if second else 1e9) in (4, 5, 6)
    assert dips[3] > 40


def test_every_operation_is_kept(folder: Path) -> None:
    """What the tables say of an outage can be worked out again from them."""
    operations = pd.read_parquet(folder / "operations.parquet")
    assert set(operations["fault"]) == {"crash-leader"}
    answered = operations[operations["answered_ns"] < 14e9]  # later ones are on no timeline
    timeline = pd.read_csv(folder / "timeline.csv").groupby(["protocol", "seed"])["completed_ops"].sum()
    counted = answered.groupby(["protocol", "seed"], observed=True).size()
    assert counted.to_dict() == timeline.to_dict()
    table = pd.read_csv(folder / "failover.csv")
    for row in table[table["site"] == "ALL"].itertuples():
        mine = operations[(operations["protocol"] == row.protocol) & (operations["seed"] == row.seed)]
        assert row.failed == mine["answered_ns"].isna().sum() and row.retried == (mine["attempts"] > 1).sum()


def test_a_fault_that_never_comes_is_said_to_and_its_operations_are_kept(tmp_path: Path) -> None:
    never = "crash:eu-west-1,when=replica restarted"
    setup = prepare_failover(
        study(out=str(tmp_path / "run"), seeds=1, duration=7.0, protocols=["raft"], faults=["crash-leader", never])
    )
    folder = run_failover(setup).folder
    assert set(pd.read_parquet(folder / "operations.parquet")["fault"]) == {"crash-leader", never}
    assert Study(folder).faults == ["crash-leader"]
    assert f"{never} struck nobody" in write_failover_report(folder).with_suffix(".md").read_text(encoding="utf-8")
    console = Console(record=True, width=200)
    print_failover(folder, console)
    assert f"{never} struck nobody" in console.export_text()


def test_a_study_in_which_nobody_is_struck(tmp_path: Path) -> None:
    never = "crash:eu-west-1,when=replica restarted"
    setup = prepare_failover(
        study(out=str(tmp_path / "run"), seeds=1, duration=7.0, protocols=["raft"], faults=[never])
    )
    folder = run_failover(setup).folder
    assert f"{never} struck nobody" in write_failover_report(folder).with_suffix(".md").read_text(encoding="utf-8")


def test_the_latency_after_is_the_new_leaders(folder: Path) -> None:
    for row in rows(folder, "outages.csv"):
        if row["protocol"] != "epaxos":
            assert row["new_leader"] in ("us-west-2", "eu-west-1")
            if row["site"] == row["new_leader"]:
                assert float(row["after_ms"]) < float(row["before_ms"]), "the leader has come to it"


def test_the_fault_meets_every_phase_of_a_heartbeat() -> None:
    planned = trials(prepare_failover(study(seeds=40)))
    times = {t.settings.faults[0].time_ns("at") / 1e6 - 4000 for t in planned if t.protocol == "raft"}
    assert len(times) == 40
    assert 0 <= min(times) < 20
    assert 80 < max(times) < 100
    per_seed = {(t.seed, t.settings.faults[0].at) for t in planned}
    assert len(per_seed) == 40, "every protocol meets the same fault at the same time"


def test_every_fault_is_on_the_timeline(tmp_path: Path) -> None:
    """The one that is tried, at its own time, and what is wrong in the background, which is not taken for it."""
    ill = study(
        protocols=["raft", "epaxos"], faults=["crash:eu-west-1@5+3", "hand-over:leader"], seeds=2,
        background=["crash:us-west-2@2+1", "lossy-link:us-east-1|us-west-2,rate=0.01"], out=str(tmp_path / "run"),
    )  # fmt: skip
    run_failover(prepare_failover(ill))
    faults = rows(tmp_path / "run", "faults.csv")
    assert len(faults) == 2 * (3 * 3 + 2), "EPaxos knows no hand-over"
    tried = [row for row in faults if row["fault"] == "crash:eu-west-1" and row["protocol"] == "raft"]
    assert [row["kind"] for row in tried if row["seed"] == "1"] == ["lossy-link", "crash", "crash"]
    shown = typical(Study(tmp_path / "run").injected.query("fault == 'crash:eu-west-1'"))
    spans = {row.target: (row.start_ms, row.end_ms) for row in shown.itertuples()}
    assert spans["us-west-2"] == (2000, 3000)
    assert 5000 < spans["eu-west-1"][0] < 5100
    assert spans["eu-west-1"][1] - spans["eu-west-1"][0] == pytest.approx(3000)
    *_, below = draw_timeline(Study(tmp_path / "run"), "crash:eu-west-1").axes
    assert [label.get_text() for label in below.get_yticklabels()] == ["lossy-link", "crash"]
    crashed = [row for row in rows(tmp_path / "run", "outages.csv") if row["fault"] == "crash:eu-west-1"]
    assert all(float(row["before_ops"]) > 0 for row in crashed), "measured from the tried fault, not from the other"
    assert rows_of(Study(tmp_path / "run"), "hand-over:leader")[1][:2] == ["epaxos", "not struck"]
    assert rows_of(Study(tmp_path / "run"), "crash:eu-west-1")[0][2] == "never", "Raft has a leader; no new one came"


def test_what_depends_on_a_dead_replicas_commands_is_held_up(tmp_path: Path) -> None:
    """EPaxos: a survivor's command that interferes with one that the dead replica had begun is committed at once, and
    executed when somebody has finished that one (its time-out is 1 to 2 s). A log has no such wait."""
    busy = study(protocols=["raft", "epaxos"], workload={"clients": 2, "conflict": 100.0}, out=str(tmp_path / "run"))
    run_failover(prepare_failover(busy))
    for row in rows(tmp_path / "run", "outages.csv"):
        if row["protocol"] == "raft":
            assert (row["held"], float(row["held_ms"]) < 1) == ("0", True)
        elif row["site"] == "ALL":
            assert int(row["held"]) >= 2
            assert 1000 < float(row["held_ms"]) < 2700
    assert "trials with any" in write_failover_report(tmp_path / "run").read_text(encoding="utf-8")


def test_report_and_repetition(folder: Path) -> None:
    page = write_failover_report(folder)
    text = page.read_text(encoding="utf-8")
    for wanted in ("crash-leader", "until a command was committed under a new leader", "latency ms before → after"):
        assert wanted in text
    assert (folder / "figures" / "outage-1.png").is_file()
    assert (folder / "figures" / "timeline-1.svg").is_file()
    assert [row[0] for row in rows_of(Study(folder), "crash-leader")] == ["multi-paxos", "raft", "epaxos"]
    assert rows_of(Study(folder), "crash-leader")[2][2] == "no leader"
    assert 30 < int(rows_of(Study(folder), "crash-leader")[0][-1].rstrip("%")) < 110
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["complete"] is True
    assert "consensus-bench failover --sites" in manifest["command"]
    assert run_failover(prepare_failover(study(out=str(folder)))).reused


def test_an_interruption_keeps_what_is_finished(tmp_path: Path, folder: Path) -> None:
    def after_two(finished: int, _planned: int, _share: float) -> None:
        if finished == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="2 of 6 runs are finished"):
        run_failover(prepare_failover(study(out=str(tmp_path / "run"))), after_two)
    assert {row["protocol"] for row in rows(tmp_path / "run", "failover.csv")} == {"multi-paxos", "raft"}
    assert "only 2 of 6 trials" in write_failover_report(tmp_path / "run").read_text(encoding="utf-8")
    run_failover(prepare_failover(study(out=str(tmp_path / "run"))))
    for name in ("failover.csv", "outages.csv", "timeline.csv", "summary.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()


def test_detection_settings_have_one_meaning() -> None:
    scenario = make_failover(
        study(election_timeout_ms=[500, 800], heartbeat_ms=50, options={"raft": {"heartbeat_ms": 20}})
    )
    assert scenario.options["epaxos"] == {"election_timeout_ms": [500, 800], "heartbeat_ms": 50}
    assert scenario.options["raft"]["heartbeat_ms"] == 20


def test_clients_turn_to_where_they_are_told() -> None:
    far = trials(prepare_failover(study(reroute={"us-east-1": "eu-west-1"})))[0].settings
    assert far.reroute == ((0, 2),)


def test_several_faults_each_by_itself() -> None:
    setup = prepare_failover(study(faults=["crash-leader", "pause:leader", "partition:leader|*"], restart_after=3.0))
    planned = trials(setup)
    assert len(planned) == 3 * 3 * 2
    assert {t.fault for t in planned} == {"crash-leader", "pause:leader", "partition:leader|*"}
    assert all(t.settings.faults[0].duration == "3 s" for t in planned)
    assert all(len(t.settings.faults) == 1 for t in planned)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"faults": ["crash:nowhere"]}, "nowhere"),
        ({"faults": []}, "name at least one"),
        ({"faults": ["crush:leader"]}, "did you mean 'crash'"),
        ({"at": 0.5}, "at = 0.5: must lie between"),
        ({"at": 13.5}, "at = 13.5: must lie between"),
        ({"restart_after": 60.0}, "restart_after = 60"),
        ({"load_rates": [100.0]}, "no sweeps"),
        ({"reroute": {"nowhere": "us-east-1"}}, "'nowhere' is no client site"),
        ({"reroute": {"us-east-1": "us-east-1"}}, "not another replica's site"),
        ({"election_timeout_ms": [50, 80]}, "heartbeat_ms = 100"),
        ({"trial": 5}, "key 'trial' is unknown"),
    ],
)
def test_bad_input(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        trials(prepare_failover(study(**changes)))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_of_faults() -> None:
    """As the flag has them."""
    same = ("crash-leader", "crash-site:us-east-1", "crash:us-east-1", "pause:leader", "slow-cpu:leader,factor=8.0")
    for text in same:
        assert fault_name(make_failover(study(faults=[text])).faults[0]) == text
    twice = make_failover(study(faults=["crash-leader@3", "pause:leader", "crash-leader@6"])).faults
    assert fault_names(twice) == ["crash:leader@3", "pause:leader", "crash:leader@6"]


def test_false_elections_are_counted_apart(tmp_path: Path) -> None:
    """Time-outs shorter than the jitter and loss of the links: elections while nobody has died."""
    nervous = study(
        protocols=["multi-paxos"], seeds=1, at=12.0, background=["lossy-link:all,rate=0.05"], jitter="lognormal:0.3",
        election_timeout_ms=[105, 160], heartbeat_ms=100, out=str(tmp_path / "run"),
    )  # fmt: skip
    run_failover(prepare_failover(nervous))
    row = rows(tmp_path / "run", "outages.csv")[0]
    assert int(row["false_alarms"]) >= int(row["false_elections"]) >= 2
    command = json.loads((tmp_path / "run" / "manifest.json").read_bytes())["command"]
    assert "--background lossy-link:all@0,rate=0.05" in command
    calm = study(protocols=["multi-paxos"], seeds=1, out=str(tmp_path / "calm"))
    run_failover(prepare_failover(calm))
    assert rows(tmp_path / "calm", "outages.csv")[0]["false_alarms"] == "0"
