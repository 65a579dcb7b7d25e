"""``consensus-bench failover`` and ``report`` of what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from consensus_bench.cli import group
from consensus_bench.contract import ConfigError

QUICK = ("--sites", "us-east-1,us-west-2,eu-west-1", "--protocols", "raft", "--clients", "1", "--duration", "9", "--at",
         "3", "--trials", "1", "--jobs", "1")  # fmt: skip


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(group, words, catch_exceptions=True)
    if isinstance(result.exception, ConfigError):
        raise result.exception
    return result.exit_code, result.stdout


def test_it_prints_a_table_and_the_report_can_be_made_again(tmp_path: Path) -> None:
    status, said = invoke("failover", *QUICK, "--out", str(tmp_path / "run"))
    assert status == 0
    assert "crash-leader: ms after it began, median / worst of 1 trials" in said
    assert "executed twice: 0" in said
    assert said.endswith(f"{tmp_path / 'run' / 'report.html'}\n")
    (tmp_path / "run" / "report.html").unlink()
    assert "crash-leader" in invoke("report", str(tmp_path / "run"))[1]
    assert (tmp_path / "run" / "report.html").is_file()
    found = json.loads(invoke("failover", *QUICK, "--out", str(tmp_path / "run"), "--json")[1])
    assert {row["metric"] for row in found["summary"]} == {"detect", "elect", "unavailable", "recovered90"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--election-timeout", "5"), "--election-timeout 5: write LOW,HIGH"),
        (("--reroute", "us-east-1"), "--reroute us-east-1: write SITE=SITE"),
        (("--trials", "3", "--seeds", "4"), "give one of the two"),
        (("--fault", "crash:mars"), "mars"),
        (("--no-sweeps",), "leave it out"),
        (("--nemesis", "safe"), "one fault at a time"),
        (("--trials", "0"), "seeds = 0"),
        (("--at", "nan"), "at = nan"),
    ],
)
def test_bad_input(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        invoke("failover", *words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
