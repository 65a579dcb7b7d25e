"""``compare`` and ``run``: flags and files say the same, what is printed, how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from small import BROKEN, PRIMARY, SITES

import consensus_bench.report
from consensus_bench import cli
from consensus_bench.cli.compare import command as compare_command
from consensus_bench.cli.options import changes_from_flags
from consensus_bench.cli.run import command as run_command
from consensus_bench.cli.running import _progress
from consensus_bench.contract import ConfigError
from consensus_bench.experiments.command import command_line
from consensus_bench.experiments.scenario import Scenario, make_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.toml import to_toml

QUICK = [
    "--sites", ",".join(SITES), "--protocols", PRIMARY, "--seeds", "1", "--duration", "1", "--warmup", "0.2",
    "--clients", "2", "--no-sweeps", "--jobs", "1",
]  # fmt: skip


@pytest.fixture
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has tests of its own."""
    monkeypatch.setattr(consensus_bench.report, "write_report", lambda folder: None, raising=False)
    monkeypatch.setattr(
        consensus_bench.report, "print_summary", lambda folder, console: console.print("the summary"), raising=False
    )


def scenario_of(*words: str) -> Scenario:
    flags = compare_command.make_context("compare", list(words)).params
    del flags["as_json"], flags["quiet"]
    return make_scenario(changes_from_flags(flags))


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(compare_command, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_no_flags_are_the_default_comparison() -> None:
    assert scenario_of() == Scenario()


def test_every_flag_arrives() -> None:
    words = (
        "--name n --topology gcp-2019 --sites a,b,c --client-sites d --leader b --protocols raft,x=epaxos "
        "--workload ycsb-f --clients 7 --rate 9.5 --conflict 11 --reads 0.25 --size 99 --seeds 3,4 --duration 12 "
        "--warmup 2 --jitter none --profile zero --local-rtt 0.5 --client-timeout 700 --load-rates 1,2.5 "
        "--load-duration 6 --conflict-levels off --conflict-duration 8 --sweep-warmup 0.25 --sweep-seeds 2 "
        "--set raft.pre_vote=true --set x.rules=sosp13 --set workload.think_ms=3 --jobs 4 --out somewhere "
        "--fault crash:leader@3+1 --nemesis safe"
    )
    found = scenario_of(*words.split())
    workload = {
        "preset": "ycsb-f",
        "clients": 7,
        "rate": 9.5,
        "conflict": 11.0,
        "reads": 0.25,
        "size": 99,
        "think_ms": 3,
    }
    assert found == make_scenario(
        {
            "name": "n", "topology": "gcp-2019", "sites": ["a", "b", "c"], "client_sites": ["d"], "leader": "b",
            "protocols": ["raft", "x=epaxos"], "workload": workload, "seeds": [3, 4], "duration": 12, "warmup": 2,
            "jitter": "none", "profile": "zero", "local_rtt_ms": 0.5, "client_timeout_ms": 700,
            "load_rates": [1, 2.5], "load_duration": 6, "conflict_levels": [], "conflict_duration": 8,
            "sweep_warmup": 0.25, "sweep_seeds": 2, "jobs": 4, "out": "somewhere",
            "faults": ["crash:leader@3+1"], "nemesis": {"kinds": []},
            "options": {"raft": {"pre_vote": "true"}, "x": {"rules": "sosp13"}},
        }
    )  # fmt: skip
    assert not [name for name in Scenario.__struct_fields__ if getattr(found, name) == getattr(Scenario(), name)]


def test_seed_and_seeds() -> None:
    assert scenario_of("--seeds", "2").seeds == (1, 2)
    assert scenario_of("--seed", "9").seeds == (9,)
    assert scenario_of("--seed", "9", "--seeds", "3").seeds == (9, 10, 11)
    assert scenario_of("--seeds", "5,").seeds == (5,)
    with pytest.raises(ConfigError, match="seed"):
        scenario_of("--seed", "9", "--seeds", "1,2")


def test_the_help_tells_the_defaults_that_are() -> None:
    default, told = msgspec.to_builtins(Scenario()), {}
    for option in compare_command.params:
        found = re.search(r"\[default: ([^\]]*)\]", getattr(option, "help", None) or "")
        name = option.name or ""
        if found and not isinstance(default.get(name, ()), list | tuple | dict):
            told[name] = found[1]
    told = {name: text for name, text in told.items() if name not in ("jobs", "out")}  # in words
    assert told == {name: str(default[name]).removesuffix(".0") for name in told}
    assert {"duration", "warmup", "jitter", "sweep_warmup"} <= told.keys()


def test_no_sweeps_turns_both_off() -> None:
    found = scenario_of("--no-sweeps")
    assert (found.load_rates, found.conflict_levels) == ((), ())


_workloads = st.fixed_dictionaries(
    {"preset": st.sampled_from(["conflict", "zipf", "ycsb-b"])},
    optional={
        "clients": st.integers(1, 99),
        "reads": st.sampled_from([0.0, 0.2, 0.5]),
        "swaps": st.sampled_from([0.0, 0.03125]),
        "think_ms": st.floats(0, 100),
        "inserts": st.booleans(),
    },
)
_scenarios = st.fixed_dictionaries(
    {},
    optional={
        "sites": st.just(SITES),
        "client_sites": st.just(["sa-east-1", "eu-west-1"]),
        "leader": st.sampled_from(["best", "none"]),
        "seeds": st.one_of(st.integers(1, 4), st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True)),
        "duration": st.floats(2, 100),
        "load_rates": st.sampled_from(["auto", [], [10, 20.25]]),
        "workload": _workloads,
        "options": st.sampled_from([{}, {"epaxos": {"thrifty": True, "election_timeout_ms": [500.5, 700.0]}}]),
    },
)


@settings(max_examples=25, deadline=None)
@given(_scenarios)
def test_the_command_in_the_manifest_says_the_same_scenario(data: dict[str, Any]) -> None:
    scenario = prepare(make_scenario({"protocols": ["epaxos"], **data})).scenario
    words = shlex.split(command_line(scenario))
    assert words[:2] == ["consensus-bench", "compare"]
    assert prepare(scenario_of(*words[2:])).scenario == scenario


@pytest.mark.usefixtures("_no_report")
def test_it_prints_the_summary_and_where_the_report_is(tmp_path: Path) -> None:
    result = invoke(*QUICK, "--out", str(tmp_path / "run"))
    assert result.exit_code == 0
    assert result.stdout == f"the summary\n{tmp_path / 'run' / 'report.html'}\n"
    assert result.stderr == ""  # no progress bar in a pipe


@pytest.mark.usefixtures("_no_report")
def test_quiet_prints_the_path_alone(tmp_path: Path) -> None:
    assert invoke(*QUICK, "--out", str(tmp_path / "run"), "--quiet").stdout == f"{tmp_path / 'run' / 'report.html'}\n"


@pytest.mark.usefixtures("_no_report")
def test_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    found = json.loads(invoke(*QUICK, "--out", str(tmp_path / "run"), "--json").stdout)
    assert found["ok"] is True
    assert found["violations"] == []
    assert found["leaders"] == {"fixed-primary": None}  # it does not say that it leads
    assert {row["protocol"] for row in found["summary"]} == {"fixed-primary"}
    assert all(row["count"] > 0 and row["p50_ms"] > 0 for row in found["summary"])


@pytest.mark.usefixtures("_no_report")
def test_a_protocol_of_ones_own_is_compared_beside_the_registered(tmp_path: Path) -> None:
    """Nothing but the path of its file is needed."""
    words = [*QUICK, "--protocols", f"multi-paxos,{PRIMARY}", "--out", str(tmp_path / "run")]
    assert invoke(*words).exit_code == 0
    lines = (tmp_path / "run" / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {"multi-paxos", "fixed-primary"}


@pytest.mark.usefixtures("_no_report")
def test_a_violated_guarantee_is_exit_status_1_and_the_way_to_see_it_again(tmp_path: Path) -> None:
    words = [*QUICK, "--protocols", f"{PRIMARY},{BROKEN}:Selfish", "--out", str(tmp_path / "run")]
    result = invoke(*words)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("violated: agreement: selfish, seed 1, main: ")
    assert f"{BROKEN}:Selfish" in line.partition("again: consensus-bench compare")[2]
    again = invoke(*words)  # finished before, and no better for it
    assert again.exit_code == 1


@pytest.mark.usefixtures("_no_report")
def test_a_file_does_what_the_flags_do_and_flags_go_over_it(tmp_path: Path) -> None:
    invoke(*QUICK, "--out", str(tmp_path / "flags"))
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(scenario_of(*QUICK, "--name", "mine").identity()), encoding="utf-8")
    runner = CliRunner()
    first = runner.invoke(run_command, [str(file), "--out", str(tmp_path / "file"), "--jobs", "1"])
    assert first.exit_code == 0, first.output
    assert (tmp_path / "file" / "summary.csv").read_bytes() == (tmp_path / "flags" / "summary.csv").read_bytes()
    second = runner.invoke(run_command, [str(file), "--out", str(tmp_path / "seed"), "--seed", "8", "--jobs", "1"])
    assert second.exit_code == 0, second.output
    assert json.loads((tmp_path / "seed" / "manifest.json").read_bytes())["seeds"] == [8]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "--sites", "us-east-1,us-west-2,us-wst-1"], "did you mean 'us-west-1'"),
        (["compare", "--protocols", "rafd"], "protocol 'rafd' is unknown; did you mean 'raft'?"),
        (["compare", "--protocols", "epaxos", "--set", "epaxos.rule=star"], "option 'epaxos.rule' is unknown"),
        (["compare", "--set", "thrifty"], "--set thrifty: write protocol.option=value"),
        (["compare", "--set", "workload.speed=1"], "key 'workload.speed' is unknown"),
        (["compare", "--set", "workload.clients=many"], "workload.clients: "),
        (["compare", "--seeds", "few"], "--seeds few: give a number of seeds"),
        (["compare", "--load-rates", "high"], "--load-rates high: give auto, off, or numbers"),
        (["compare", "--clients", "x"], "'--clients': 'x' is not a valid integer"),
        (["compare", "--reads", "2"], "workload.reads = 2.0: must lie between 0 and 1"),
        (["compare", "--warmup", "40"], "warmup = 40"),
        (["run", "none.toml"], "scenario none.toml: there is no such file"),
        (["compare", "--colour", "red"], "No such option"),
        ([], "Missing command; see `consensus-bench --help`"),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish"),
        (["compare", "--out", ""], "--out '': names no folder; leave it out for the default"),
        (["compare", "--sites", ""], "--sites '': names nothing"),
        (["compare", "--load-rates", ""], "--load-rates '': give auto, off, or numbers"),
        (["compare", "--no-sweeps", "--load-rates", "9"], "--no-sweeps and --load-rates 9: give one of the two"),
        (["compare", "--size", "3", "--set", "workload.size=4"], "workload.size is given twice"),
        (["compare", "--seed", "9" * 26], "is too large: must be at most"),
        (["compare", "--client-timeout", "1e-9"], "client_timeout_ms = 1e-09: must lie between 1 and"),
        (["compare", "--set", "raft.retry_ms=nan"], "option 'raft.retry_ms' = nan: give a finite number"),
        (["compare", "--protocols", "=raft"], "there is no label before '='"),
        (
            ["compare", "--protocols", "old=epaxos", "--set", "epaxos.rules=sosp13"],
            "it takes part as old: write old.",
        ),
        (["compare", "--set", "a.b=1"], "options of 'a': there is no such protocol: choose from"),
        (["compare", "--no-sweeps", "--out", "x" * 300], "cannot be a folder"),
        (["topology", "aws-2025", "--sites", ","], "--sites ',': names nothing"),
    ],
)
def test_bad_input_is_exit_status_2_and_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["consensus-bench", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_attacks_do_not_write_over_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    words = ["consensus-bench", "break", "promise-not-on-disk", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "holds a different run" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_a_terminal_gets_a_bar_with_the_runs_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal, hidden, shown in ((True, False, True), (True, True, False), (False, False, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with _progress(hidden) as progress:
            progress(1, 4, 0.25)
        out, err = capsys.readouterr()
        assert out == ""
        assert ("1 of 4 runs" in err) == shown
        assert bool(err) == shown


def test_an_interrupted_command_says_what_it_keeps_and_goes_on_from_there(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole process group, as on a terminal, while two workers are at work."""
    out = tmp_path / "run"
    words = [*QUICK, "--seeds", "6", "--duration", "120", "--jobs", "2", "--out", str(out)]
    # A process started in the background ignores SIGINT, and so would its children: ask for it.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from consensus_bench.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "compare", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not list(out.glob(".parts/main-*.json")):  # until the first run is finished
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert stdout == ""
    (line,) = stderr.splitlines()  # no trace-back, neither here nor of a worker
    assert line.startswith("interrupted: ")
    assert f"of 6 runs are finished and kept in {out}" in line
    assert list(out.glob(".parts/main-*.json"))
    assert (out / "summary.csv").exists()
