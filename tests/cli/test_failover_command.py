"""``consensus-bench failover`` and ``report`` of what it leaves."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from consensus_bench.cli import compare, failover, group
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


def test_a_folder_that_was_thinned_out_is_refused_in_one_line(tmp_path: Path) -> None:
    invoke("failover", *QUICK, "--out", str(tmp_path / "run"))
    (tmp_path / "run" / "outages.csv").unlink()
    with pytest.raises(ConfigError, match=r"outages.csv: is not there any more"):
        invoke("report", str(tmp_path / "run"))


EVERYTHING = ("--protocols", "mine=raft,epaxos", "--at", "4", "--restart-after", "2", "--election-timeout", "700,900",
              "--heartbeat", "80", "--client-timeout", "1500", "--reroute", "us-east-1=eu-west-1", "--reroute",
              "eu-west-1=us-west-2", "--background", "lossy-link:all,rate=0.01", "--fault", "pause:leader", "--fault",
              "crash-site:eu-west-1", "--rate", "20", "--conflict", "5", "--set", "mine.heartbeat_ms=60")  # fmt: skip


def test_the_command_in_the_manifest_repeats_the_study(tmp_path: Path) -> None:
    """Every flag that only failover has is in it."""
    assert invoke("failover", *QUICK, *EVERYTHING, "--out", str(tmp_path / "run"))[0] == 0
    before = json.loads((tmp_path / "run" / "manifest.json").read_bytes())
    program, *words = shlex.split(before["command"])
    assert program == "consensus-bench"
    said = invoke(*words, "--jobs", "1", "--out", str(tmp_path / "run"))[1]
    assert "nothing was run" in said, "the folder holds precisely this study"


def test_a_scenario_file_says_what_flags_say(tmp_path: Path) -> None:
    """The file that a study leaves, by both commands that read one; a file by hand needs no ``kind``."""
    invoke("failover", *QUICK, *EVERYTHING, "--out", str(tmp_path / "run"))
    left = tmp_path / "run" / "scenario.toml"
    for command in ("failover", "run"):
        assert "nothing was run" in invoke(command, str(left), "--out", str(tmp_path / "run"))[1]
    mine = tmp_path / "failover.toml"
    mine.write_text(
        'sites = ["us-east-1", "us-west-2", "eu-west-1"]\nprotocols = ["raft"]\nseeds = 1\nat = 3\nduration = 9\n'
        'restart_after = 2\nelection_timeout_ms = [500, 600]\nfaults = ["crash-leader"]\n'
        '[workload]\nclients = 1\n[reroute]\nus-east-1 = "eu-west-1"\n'
    )
    invoke("run", str(mine), "--jobs", "1", "--out", str(tmp_path / "file"))
    flags = ("--restart-after", "2", "--election-timeout", "500,600", "--reroute", "us-east-1=eu-west-1")
    invoke("failover", *QUICK, *flags, "--out", str(tmp_path / "flags"))
    for name in ("failover.csv", "timeline.csv", "outages.csv"):
        assert (tmp_path / "file" / name).read_bytes() == (tmp_path / "flags" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--election-timeout", "5"), "--election-timeout 5: write LOW,HIGH"),
        (("--reroute", "us-east-1"), "--reroute us-east-1: write SITE=SITE"),
        (("--trials", "3", "--seeds", "4"), "give one of the two"),
        (("--fault", "crash:mars"), "mars"),
        (("--background", "lossy-link:mars|us-east-1"), "mars"),
        (("--fault", "crash-leader@0.5"), "fault 'crash:leader@500ms': must begin between the end of the warm-up"),
        (("--fault", "crash-leader@19.5"), "and a second before the end (20 s)"),
        (("--fault", "hand-over:leader", "--protocols", "epaxos"), "strikes nobody: no hand-over is known to epaxos"),
        (
            ("--background", "hand-over:leader", "--protocols", "epaxos"),
            "strikes nobody: no hand-over is known to epaxos",
        ),
        (("missing.toml",), "there is no such file"),
        (("--no-sweeps",), "leave it out"),
        (("--sweep-warmup", "0"), "--sweep-warmup: failover has no sweeps"),
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


def test_the_help_is_that_of_failover(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own defaults, and no flags of sweeps; those of ``compare`` stay what they are."""
    helps = {}
    for command in (failover.command, compare.command):
        command.main(["--help"], standalone_mode=False)
        helps[command.name] = " ".join(capsys.readouterr().out.split())
    assert "one operation under way. [default: 4]" in helps["failover"] and "sweep" not in helps["failover"]
    assert "one operation under way. [default: 10]" in helps["compare"] and "--sweep-warmup" in helps["compare"]
