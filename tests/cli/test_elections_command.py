"""``consensus-bench elections``: its files, and how it refuses bad input."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from consensus_bench.cli import main
from consensus_bench.cli.elections import command

QUICK = ("--one-way", "constant:5", "--trials", "30", "--jobs", "1")


def test_the_folder_holds_trials_quantiles_figure_and_report(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [*QUICK, "--protocol", "multi-paxos", "--out", str(out), "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    said = json.loads(result.output)
    with (out / "elections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(30))
    times = sorted(float(row["elect_ms"]) for row in rows)
    assert said["summary"]["p50"] == times[14]
    assert said["summary"]["max"] == times[-1]
    assert said["scenario"]["protocol"] == "multi-paxos"
    for name in ("manifest.json", "quantiles.csv", "report.md", "report.html", "figures/elections.png"):
        assert (out / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--down", "3"), "at most 2"),
        (("--servers", "4", "--down", "2"), "at most 1"),
        (("--down", "-1"), "negative"),
        (("--servers", "0"), "at least 1"),
        (("--trials", "0"), "--trials 0"),
        (("--election-timeout", "600,300"), "300,600"),
        (("--election-timeout", "0,300"), "above 0"),
        (("--election-timeout", "x"), "LOW,HIGH"),
        (("--vote-write", "-1,2"), "negative"),
        (("--candidate-write", "2,1"), "1,2"),
        (("--one-way", "uniform:9,3"), "3,9"),
        (("--one-way", "normal:3"), "constant:MS"),
        (("--one-way", "constant:nan"), "two times"),
        (("--one-way", "constant:3", "--topology", "aws-2025"), "either"),
        (("--topology", "aws-2025"), "--sites"),
        (("--sites", "atlantis"), "atlantis"),
        (("--protocol", "epaxos"), "no leader"),
        (("--protocol", "viewstamped"), "unknown"),
        (("--logs", "odd"), "staggered"),
        (("--since", "monday"), "crash"),
        (("--set", "colour=red"), "colour"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["consensus-bench", "elections", *arguments, "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert says in captured.err
    assert not out.exists()
