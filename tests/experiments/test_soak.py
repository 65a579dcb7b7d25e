"""The soak: what is drawn, what is judged, that mutants fall and the protocols do not, shrinking, the folder."""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_bench.cli import main
from consensus_bench.cli.soak import command
from consensus_bench.contract import HandOver, PropertyViolated
from consensus_bench.contract.registry import find_protocol
from consensus_bench.experiments import soak as soak_module
from consensus_bench.experiments import soak_schedules
from consensus_bench.experiments.comparison import Interrupted
from consensus_bench.experiments.scenario import Scenario, make_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.shrink import fewer, shrink
from consensus_bench.experiments.soak import Soak, first_violation, run_soak
from consensus_bench.experiments.soak_faults import changes_members, kinds_for, turbulent
from consensus_bench.experiments.soak_run import LIVENESS, Recording, do, record
from consensus_bench.experiments.soak_scenarios import Fixed, draw, keeps_promise
from consensus_bench.experiments.soak_schedules import SCHEDULES, schedules, with_schedules
from consensus_bench.experiments.toml import to_toml
from consensus_bench.exploration.faults import survivable
from consensus_bench.exploration.trace import Trace, TraceStep, write_trace
from consensus_bench.report.soak import draw_failure
from consensus_bench.simulation.faults.kinds import Crash, ReorderingLink
from consensus_bench.simulation.faults.parsing import parse_fault

PROTOCOLS = ("multi-paxos", "raft", "epaxos")
MUTANTS = Path(__file__).parents[1] / "mutants"
FIRST, SEEDS, PER_TEST = 2001, 200, 20
"""Other seeds than those of `make soak`."""


def mutant(file: str, name: str, **changes: Any) -> Soak:
    return Soak(protocol=f"{MUTANTS / file}:{name}", **changes)


# What is drawn.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_scenario_depends_on_the_seed_alone_and_can_be_written_down(protocol: str) -> None:
    drawn = [draw(protocol, seed) for seed in range(1, 21)]
    assert drawn == [draw(protocol, seed) for seed in range(1, 21)]
    for scenario in drawn:
        scenario.validate()
        assert make_scenario(tomllib.loads(to_toml(scenario.identity()))).identity() == scenario.identity()
    assert {len(scenario.sites) for scenario in drawn} == {3, 5, 7}
    assert len({scenario.topology for scenario in drawn}) > 3
    assert len({scenario.faults for scenario in drawn}) == len(drawn)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_faults_are_within_the_promise_and_a_majority_is_healed(protocol: str) -> None:
    kinds = kinds_for(find_protocol(protocol))
    seen, downs = set(), set()
    for seed in range(1, 101):
        scenario = draw(protocol, seed)
        size = len(scenario.sites)
        most = survivable(next(iter(scenario.options.values())), size)
        for_good = [fault for fault in scenario.faults if isinstance(fault, Crash) and not fault.duration]
        down = sum(1 if fault.target == "leader" else int(fault.target.removeprefix("any ")) for fault in for_good)
        assert down <= most <= (size - 1) // 2
        assert keeps_promise(scenario)
        assert not keeps_promise(msgspec.structs.replace(scenario, faults=(Crash(target="majority", at="1 s"),)))
        kinds_here = {fault.kind for fault in scenario.faults}
        assert "change-members" not in kinds_here or down == 0, "few members bear few crashes"
        seen |= kinds_here
        downs.add(down)
        heal_ns = max((f.time_ns("at") + f.time_ns("duration") for f in scenario.faults), default=0)
        assert heal_ns < scenario.duration * 1e9, "operations must be issued after the heal"
    damage = {"corrupt-record", "misdirected-write"} if find_protocol(protocol).repairs_disks else set()
    orders = {"change-members"} if changes_members(find_protocol(protocol)) else set()
    assert seen == set(kinds) | damage | orders, "over many runs every kind comes"
    assert max(downs) >= 2


def test_hand_overs_are_for_protocols_that_know_them() -> None:
    class HandsOver(find_protocol("raft")):  # type: ignore[misc]
        __slots__ = ()
        messages = (*find_protocol("raft").messages, HandOver)

        def on_hand_over(self, ctx: Any, source: int, message: Any) -> None: ...

    assert "hand-over" in kinds_for(HandsOver)
    assert {"corrupt-record", "lying-fsync", "misdirected-write"}.isdisjoint(kinds_for(HandsOver))


def test_rates_are_drawn_per_run() -> None:
    counts = [len(draw("raft", seed).faults) for seed in range(1, 101)]
    assert min(counts) < 4
    assert max(counts) > 20
    kinds = [{fault.kind for fault in draw("raft", seed).faults} for seed in range(1, 101)]
    assert 20 < sum("pause" not in some for some in kinds) < 100, "a kind is absent in some runs"


def test_some_runs_are_turbulent_from_the_beginning_to_the_end_of_phase_one() -> None:
    rough = [seed for seed in range(1, 101) if turbulent(seed)]
    assert 25 < len(rough) < 55
    for seed in rough[:20]:
        scenario = draw("raft", seed)
        late = [f for f in scenario.faults if isinstance(f, ReorderingLink) and f.target == "all" and f.at == "200 ms"]
        _, high_ms = scenario.options["raft"]["election_timeout_ms"]
        assert max(f.time_ns("duration") for f in late) > min(15e6 * high_ms, 7.9e9)
        assert all(f.time_ns("at") + f.time_ns("duration") < scenario.duration * 1e9 for f in late)


def test_what_is_fixed_changes_nothing_else() -> None:
    free, fixed = draw("raft", 5), draw("raft", 5, Fixed(options={"pre_vote": True, "window": 4}))
    assert (fixed.options["raft"]["pre_vote"], fixed.options["raft"]["window"]) == (True, 4)
    assert fixed.faults == free.faults
    assert len(draw("raft", 5, Fixed(replicas=4)).sites) == 4


def test_no_unsafe_option_is_drawn() -> None:
    names = {name for p in PROTOCOLS for s in range(1, 41) for name in next(iter(draw(p, s).options.values()))}
    assert not [name for name in names if name.startswith("unsafe_")]


def test_larger_quorums_survive_less() -> None:
    assert survivable({}, 7) == 3
    assert survivable({"phase1_quorum": 6, "phase2_quorum": 2}, 7) == 1
    assert survivable({"phase1_quorum": 5, "phase2_quorum": 1}, 5) == 0


# What falls and what does not.


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, PER_TEST))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost(protocol: str, first: int) -> None:
    assert first_violation(Soak(protocol=protocol, seed=first, runs=PER_TEST)) is None


@pytest.mark.parametrize(
    ("protocol", "seed", "options"),
    [
        ("epaxos", 346, {}),  # a quorum read waited for a write that crashes had made everybody forget
        ("epaxos", 1069, {}),  # a snapshot brought what was answered before the disk had caught up
        ("epaxos", 1992, {}),  # a repaired replica forgot instances that a snapshot stood for
        ("raft", 123, {"snapshot_every": 7}),  # as 1069
    ],
)
def test_what_once_fell_holds(protocol: str, seed: int, options: dict[str, Any]) -> None:
    assert first_violation(Soak(protocol=protocol, seed=seed, runs=1, options=options)) is None


@pytest.mark.parametrize(
    ("file", "name", "falls"),
    [
        ("raft_mutants.py", "VotesTwice", "the protocol runs without an error"),  # "replicas 2 and 0 lead term 2"
        ("multi_paxos_mutants.py", "SkipsPhase1", "agreement"),
        ("multi_paxos_mutants.py", "NeverCatchesUp", "convergence"),
    ],
)
def test_a_mutant_falls(file: str, name: str, falls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_schedules, "SCHEDULES", 0)
    found = first_violation(mutant(file, name, runs=60))
    assert found is not None
    assert (found.property, found.schedule) == (falls, 0)


# The schedules of a seed.


def test_schedules_have_the_size_and_the_options_of_the_scenario() -> None:
    for seed in range(1, 31):
        scenario = draw("raft", seed)
        runs = list(schedules(scenario, Fixed()))
        assert len(runs) == SCHEDULES
        assert {run.size for run in runs} == {len(scenario.sites)}
        assert [run.seed for run in runs] == [run.seed for run in schedules(scenario, Fixed())]
        given = scenario.options["raft"]
        for run in runs:
            assert run.options.pre_vote == given["pre_vote"]  # type: ignore[attr-defined]
            assert bool(run.options.snapshot_every) == bool(given["snapshot_every"])  # type: ignore[attr-defined]
    seeds = [run.seed for seed in range(1, 31) for run in schedules(draw("raft", seed), Fixed())]
    assert len(set(seeds)) == len(seeds)
    fixed = Fixed(options={"snapshot_every": 40})
    assert {run.options.snapshot_every for run in schedules(draw("raft", 1, fixed), fixed)} == {40}  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", ["raft", "multi-paxos"])
def test_what_is_drawn_gives_way_to_what_is_fixed(protocol: str) -> None:
    """A lease needs a leader that counts its followers: no seed draws one that does not."""
    for seed in range(1, 41):
        prepare(draw(protocol, seed, Fixed(options={"reads": "lease"})))


def test_some_soaks_have_no_schedules() -> None:
    """Leases trust timers, and in a schedule they fire whenever they like; nine replicas take too long."""
    for fixed in (Fixed(options={"reads": "lease"}), Fixed(replicas=9)):
        assert not list(schedules(draw("raft", 1, fixed), fixed))


def test_what_falls_in_a_schedule_falls_for_the_seed() -> None:
    """The verdict on the scenario is as it was; where that fell no schedule is run."""
    fallen = None
    for seed in range(1, 31):
        spec = mutant("raft_mutants.py", "KeepsConflicts").protocol
        scenario = draw(spec, seed)
        verdict = do(scenario)
        both = with_schedules(verdict, scenario, Fixed())
        if verdict.property:
            assert both == verdict
        elif both.property:
            fallen = both
            assert msgspec.structs.replace(both, property="", detail="", schedules=0, schedule=0) == verdict
            assert both.schedule == both.schedules > 0
            assert f"schedule {both.schedule}, step " in both.detail
        else:
            assert both == msgspec.structs.replace(verdict, schedules=SCHEDULES)
    assert fallen is not None


def soak_of(name: str, out: Path, seed: int) -> tuple[Any, dict[str, Any]]:
    spec = f"{MUTANTS / 'raft_mutants.py'}:{name}"
    arguments = [spec, "--runs", "1", "--seed", str(seed), "--jobs", "1", "--out", str(out), "--json"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    return result, json.loads(result.stdout)


def first_in_a_schedule(name: str, falls: str) -> int:
    """The first seed that falls so, in a schedule."""
    for seed in range(1, 61):
        found = first_violation(mutant("raft_mutants.py", name, seed=seed, runs=1))
        if found is not None and found.schedule and found.property == falls:
            return seed
    raise AssertionError(f"{falls} of {name} never falls in a schedule")


def test_a_schedule_that_fails_comes_with_the_steps_that_suffice(tmp_path: Path) -> None:
    seed = first_in_a_schedule("KeepsConflicts", "agreement")
    result, said = soak_of("KeepsConflicts", tmp_path / "soak", seed)
    assert result.return_value == 1
    [failure] = said["violations"]
    assert failure["schedule"] >= 1
    assert 5 < failure["steps"] < failure["taken"]
    assert f"{failure['steps']} of {failure['taken']} steps suffice: " in result.stderr
    assert failure["file"] == f"failures/seed-{seed}.json"
    file = tmp_path / "soak" / failure["file"]
    assert file.with_suffix(".png").stat().st_size > 0
    assert file.with_suffix(".svg").stat().st_size > 0
    [row] = rows(tmp_path / "soak")
    assert (row["property"], row["schedule"]) == ("agreement", str(failure["schedule"]))
    assert said["summary"]["violations_in_schedules"] == 1
    for quiet in ([], ["--quiet"]):
        again = CliRunner().invoke(command, [str(file), *quiet], standalone_mode=False)
        assert isinstance(again.exception, PropertyViolated)
        assert again.exception.name == "agreement"
        assert bool(again.stdout) != bool(quiet)


def test_a_trace_that_nobody_could_read_is_not_drawn(tmp_path: Path) -> None:
    """One of 700 steps would be 70,000 pixels wide."""
    steps = [TraceStep(number=n + 1, kind="start", replica=n, text="") for n in range(3)]
    steps += [TraceStep(number=n, kind="timer", replica=0, text="", timer="tick") for n in range(4, 704)]
    write_trace(tmp_path / "seed-1.json", Trace(protocol="raft", replicas=3, length=700, steps=tuple(steps)))
    assert draw_failure(tmp_path / "seed-1.json") is None
    assert not (tmp_path / "seed-1.png").exists()


def test_a_schedule_in_which_nobody_goes_on_comes_as_a_transcript(tmp_path: Path) -> None:
    seed = first_in_a_schedule("BeginsWithoutNoop", "progress")
    result, said = soak_of("BeginsWithoutNoop", tmp_path / "soak", seed)
    [failure] = said["violations"]
    assert failure["file"] == f"failures/seed-{seed}.txt"
    lines = (tmp_path / "soak" / failure["file"]).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("progress: ")
    assert "style=Rounds" in lines[2]
    assert lines[-1].startswith("progress: step ")
    assert "all that happened: " in result.stderr


def test_unanswered_operations_are_no_success() -> None:
    """All replicas but one stay down: nobody can serve, and that is said. (No soak draws such a thing.)"""
    scenario = make_scenario(
        {
            "protocols": ["raft"], "sites": ["us-east-1", "us-west-2", "eu-west-1"], "duration": 2.0, "warmup": 0.0,
            "load_rates": "off", "conflict_levels": "off", "seed": 1, "workload": {"clients": 1},
            "client_timeout_ms": 1000.0, "faults": ["crash:any 2@1"],
        }
    )  # fmt: skip
    assert do(scenario).property == LIVENESS
    restored = msgspec.structs.replace(scenario, faults=(parse_fault("crash:any 2@1+0.5"),))
    verdict = do(restored)
    assert not verdict.property
    assert verdict.faults == {"crash": 1}
    assert verdict.longest_wait_ms > 500, "who waits for the election counts from the heal"


# Shrinking.


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_only_what_is_needed_remains(size: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.integers(0, size - 1), max_size=6))
    assert set(fewer(tuple(range(size)), lambda some: needed <= set(some))) == needed


def test_a_failure_shrinks_to_the_fault_that_matters() -> None:
    scenario = draw("raft", 1)
    decisive = parse_fault("crash:all@0.3")
    scenario = msgspec.structs.replace(scenario, faults=(*scenario.faults[:5], decisive, *scenario.faults[5:]))

    def fails(attempt: Scenario) -> bool:
        return decisive in attempt.faults

    small = shrink(scenario, fails)
    assert small.faults == (decisive,)
    assert len(small.sites) == 3
    assert len(small.client_sites) == 1
    assert small.workload.clients == 1
    assert small.duration < scenario.duration / 2
    assert small.options == {}


# What was recorded of it.


def recorded(*faults: str) -> Recording:
    return record(
        make_scenario(
            {
                "protocols": ["raft"], "sites": ["us-east-1", "us-west-2", "eu-west-1"], "duration": 2.0, "warmup": 0.0,
                "load_rates": "off", "conflict_levels": "off", "seed": 1, "workload": {"clients": 2},
                "client_timeout_ms": 1000.0, "faults": list(faults),
            }
        )
    )  # fmt: skip


def test_every_message_is_recorded_and_lost_only_if_it_was() -> None:
    healthy = recorded()
    assert len(healthy.messages) > 100
    assert not [message for message in healthy.messages if message.lost]
    assert all(message.end_ns > message.leave_ns for message in healthy.messages)
    cut = recorded("partition:us-east-1>us-west-2@0.5+0.5")
    lost = [message for message in cut.messages if message.lost]
    assert {(message.source, message.to) for message in lost} == {(0, 1)}
    assert all(0.5e9 <= message.end_ns <= 1e9 for message in lost)
    crossed = [m for m in cut.messages if (m.source, m.to) == (0, 1) and 0.5e9 < m.end_ns < 1e9]
    assert crossed == [message for message in lost if 0.5e9 < message.end_ns < 1e9]
    dead = recorded("crash:eu-west-1@0.5+0.5")
    assert {message.to for message in dead.messages if message.lost} == {2}
    twice = recorded("duplicating-link:all@0.2+1,rate=1,delay=1ms")
    assert len(twice.messages) > 1.3 * len(healthy.messages)


# The folder and the command.


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_failure_comes_with_a_small_scenario_that_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_schedules, "SCHEDULES", 0)
    spec = f"{MUTANTS / 'raft_mutants.py'}:TermNotDurable"
    out = tmp_path / "soak"
    arguments = [spec, "--runs", "5", "--jobs", "1", "--shrink", "1", "--out", str(out), "--json"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    assert result.return_value == 1
    said = json.loads(result.stdout)
    [failure] = said["violations"]
    fallen = failure["property"]
    assert f"violated: {fallen}: seed {failure['seed']}" in result.stderr
    assert failure["replay"] == f"consensus-bench soak {spec} --runs 1 --seed {failure['seed']}"
    assert [row["property"] for row in rows(out)].count(fallen) == 1
    assert failure["faults"] <= failure["drawn"]
    again = CliRunner().invoke(command, [str(out / failure["file"])], standalone_mode=False, catch_exceptions=False)
    assert again.return_value == 1
    assert f"violated: {fallen}" in again.stderr
    assert (out / failure["file"]).with_suffix(".png").stat().st_size > 0
    assert failure["replay"] in (out / "summary.md").read_text(encoding="utf-8")


def test_an_interrupted_soak_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    whole = run_soak(Soak(protocol="raft", runs=4), tmp_path / "whole", jobs=1)
    real = soak_module.do

    def interrupted(scenario: Scenario, stop: Any) -> Any:
        if len(done) == 2:
            done.append(0)
            raise KeyboardInterrupt
        done.append(scenario.seeds[0])
        return real(scenario, stop)

    monkeypatch.setattr(soak_module, "do", interrupted)
    with pytest.raises(Interrupted):
        run_soak(Soak(protocol="raft", runs=4), tmp_path / "soak", jobs=1)
    outcome = run_soak(Soak(protocol="raft", runs=4), tmp_path / "soak", jobs=1)
    assert done == [1, 2, 0, 3, 4]
    assert outcome.summary == whole.summary
    assert (tmp_path / "soak" / "runs.csv").read_bytes() == (tmp_path / "whole" / "runs.csv").read_bytes()
    assert run_soak(Soak(protocol="raft", runs=4), tmp_path / "soak", jobs=1).reused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["raft", "--runs", "0"], "--runs 0: must lie between"),
        (["raft", "--seed", "-1"], "--seed -1"),
        (["rafft"], "protocol 'rafft' is unknown"),
        (["basic-paxos"], "decides a single command"),
        (["raft", "--replicas", "2"], "--replicas 2"),
        (["raft", "--set", "windo=3"], "did you mean 'window'"),
        (["raft", "--set", "window=0"], "window = 0"),
        (["nowhere.toml"], "there is no such file"),
        (["nowhere.json"], "No such file"),
        (["nowhere.json", "--runs", "3"], "--runs: goes with a PROTOCOL"),
        (["nowhere.toml", "--json"], "--json: goes with a PROTOCOL"),
        (["nowhere.json", "--set", "window=1"], "--set: goes with a PROTOCOL"),
        (["failures/seed-1.txt"], "a transcript is to be read"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["consensus-bench", "soak", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line
