"""Faults in scenarios: files and flags say the same, the main runs have them, and the folder says what was injected."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small import SITES, small

from consensus_bench.cli import group
from consensus_bench.cli.options import changes_from_flags, scenario_options
from consensus_bench.contract import ConfigError
from consensus_bench.experiments.command import command_line, replay_command
from consensus_bench.experiments.comparison import run_prepared
from consensus_bench.experiments.plan import plan
from consensus_bench.experiments.scenario import load_scenario, make_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.toml import to_toml
from consensus_bench.simulation.faults.kinds import Crash

FILE = """
sites = ["us-east-1", "us-west-2", "eu-west-1"]
faults = [
    "crash:leader@1+0.5",
    { kind = "partition", target = "us-east-1|eu-west-1", at = "1200 ms", duration = 0.2 },
    { kind = "pause", target = "any 1", when = "leader elected", after = 1.5 },
]
[nemesis]
kinds = ["slow-cpu"]
gap = 2
duration = ["1 s", "2 s"]
"""
FLAGS = [
    "--sites", ",".join(SITES), "--name", "faults", "--fault", "crash-leader@1s+500ms",
    "--fault", "partition:us-east-1|eu-west-1@1.2+0.2", "--fault", "pause:any 1,when=leader elected,after=1.5",
    "--nemesis", "slow-cpu", "--set", "nemesis.gap=2 s", "--set", "nemesis.duration=1,2",
]  # fmt: skip


def from_flags(words: list[str]) -> Any:
    """The scenario that these flags of ``compare`` make."""
    import click

    seen: list[dict[str, Any]] = []

    @click.command()
    @scenario_options
    def command(as_json: bool, quiet: bool, **flags: Any) -> None:
        seen.append(changes_from_flags(flags))

    result = CliRunner().invoke(command, words, standalone_mode=False)
    assert result.exception is None, result.exception
    return make_scenario(seen[0])


def test_a_file_and_flags_say_the_same_and_so_does_the_command_that_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(FILE)
    scenario = load_scenario(path)
    assert len(scenario.faults) == 3
    assert scenario.faults[0] == Crash(target="leader", at="1 s", duration="500 ms")
    assert from_flags(FLAGS) == scenario
    assert from_flags(shlex.split(command_line(scenario))[2:]) == scenario
    (tmp_path / "again.toml").write_text(to_toml(scenario.identity()))
    assert load_scenario(tmp_path / "again.toml") == scenario


def test_a_scenario_without_faults_is_what_it_was() -> None:
    identity = make_scenario({}).identity()
    assert "faults" not in identity
    assert "nemesis" not in identity


def test_faults_concern_the_main_runs_alone() -> None:
    scenario = small(faults=["crash:leader@1+0.5"], nemesis={}, load_rates=[100.0], load_duration=1.0)
    for run in plan(prepare(scenario)):
        assert bool(run.settings.faults) == (run.settings.nemesis is not None) == (run.purpose == "main")


def test_a_sweep_is_replayed_without_the_faults_of_the_main_runs() -> None:
    scenario = small(faults=["crash:leader@1+0.5"], nemesis={}, load_rates=[100.0], load_duration=1.0)
    for run in plan(prepare(scenario)):
        words = replay_command(scenario, "raft", run)
        assert ("--fault" in words) == ("--nemesis" in words) == (run.purpose == "main")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faults": ["crash:mars@1"]}, "'mars'"),
        ({"faults": ["crash:leader@2"]}, "0 to 2 s"),
        ({"faults": "crash:leader@1"}, "list"),
        ({"faults": ["crash:us-east-1@1", "pause:us-east-1@1.5"]}, "stopped already"),
        ({"nemesis": {"stop": "3 s"}}, "the run is 2 s"),
        ({"nemesis": 3}, "nemesis: must be a table"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(small(**changes))


def test_the_command_line_refuses_nonsense_with_status_2(tmp_path: Path) -> None:
    words = ["compare", "--sites", ",".join(SITES), "--out", str(tmp_path / "out"), "--fault", "crash:leader@99"]
    with pytest.raises(ConfigError, match="fault 'crash:leader@99': at = 99 s: the run is from 0 to 16 s"):
        CliRunner().invoke(group, words, standalone_mode=False, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_the_folder_says_what_was_injected(tmp_path: Path) -> None:
    scenario = small(
        faults=["crash:us-west-2@1+0.5"], protocols=["raft", "epaxos"], client_timeout_ms=500.0, out=str(tmp_path / "a")
    )
    outcome = run_prepared(prepare(scenario))
    assert outcome.ok
    with (outcome.folder / "faults.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["protocol"], r["kind"], r["target"], r["start_ms"], r["end_ms"]) for r in rows] == [
        (protocol, "crash", "us-west-2", "1000.0", "1500.0") for protocol in ("raft", "epaxos")
    ]
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["scenario"]["faults"] == [
        {"kind": "crash", "target": "us-west-2", "at": "1 s", "duration": "500 ms"}
    ]  # fmt: skip
    assert "--fault crash:us-west-2@1+500ms" in manifest["command"]


def test_operations_of_clients_that_died_are_not_waited_for(tmp_path: Path) -> None:
    scenario = small(faults=["crash-site:us-west-2@1+0.5"], protocols=["raft"], out=str(tmp_path / "a"))
    outcome = run_prepared(prepare(scenario))
    assert outcome.ok
    assert outcome.undecided == []
    checks = json.loads((outcome.folder / "checks.json").read_text())
    assert [c["detail"] for c in checks if c["property"] == "every operation answered"] == [
        "operations, all within 30 s of the last one, but for 2 whose clients died"
    ]
