"""The explorer finds known mistakes in small configurations, or near an execution, with a shortest trace of so many
steps: those of results/explored/mutants.csv that take few states, explored again."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus_bench.cli import explore
from consensus_bench.contract import PropertyViolated

ROOT = Path(__file__).parents[2]
MOST_STATES = 30_000
with (ROOT / "results" / "explored" / "mutants.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
QUICK = [row for row in ROWS if row["states"] and int(row["states"]) <= MOST_STATES]


@pytest.mark.parametrize("row", QUICK, ids=lambda row: f"{row['protocol']}-{row['mutant']}")
def test_the_command_of_the_table_finds_it(
    row: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    _, command, *arguments = shlex.split(row["command"])
    assert command == "explore"
    with pytest.raises(PropertyViolated):
        explore.command.main([*arguments, "--json", "--trace", str(tmp_path / "t.json")], standalone_mode=False)
    report: dict[str, Any] = msgspec.json.decode(capsys.readouterr().out)
    trace = report["trace"]
    assert trace["violation"]["property"] == row["property"]
    assert trace["length"] == int(row["after"]) + int(row["steps"])
    assert report["states"] == int(row["states"])
    assert "not confirmed" not in trace["violation"]["detail"]


def test_the_correct_protocol_holds_where_they_fall() -> None:
    assert "FALLS" not in {row["control"] for row in ROWS}


def test_every_mutant_stands_in_the_table() -> None:
    """Found or not; `make explored` makes it again."""
    from test_mutants import MUTANTS

    explored = [mutant for mutant in MUTANTS if getattr(mutant, "settings", {}).get("reads") != "lease"]
    assert {row["mutant"] for row in ROWS} == {mutant.__name__ for mutant in explored}
    assert len(QUICK) >= 100
