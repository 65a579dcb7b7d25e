"""Every reachable state: pinned counts, properties in their moods, bounds, and traces that can be run again."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from consensus_bench.cli import explore as command_line
from consensus_bench.contract import Command, ConfigError, PropertyViolated
from consensus_bench.contract.context import COMMIT, EXECUTE
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive import walks
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import Report, explore
from consensus_bench.exploration.exhaustive.lives import Snapshots
from consensus_bench.exploration.exhaustive.observations import Observations
from consensus_bench.exploration.exhaustive.properties import PROPERTIES, find_properties
from consensus_bench.exploration.exhaustive.search import Search
from consensus_bench.exploration.exhaustive.walks import BATCH, Plan
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.trace import Trace, read_trace, write_trace
from consensus_bench.exploration.wording import show_command

MUTANTS = Path(__file__).parents[1] / "mutants" / "basic_paxos_mutants.py"
BASIC_RAFT = {"pre_vote": False, "check_quorum": False}


def mutant(name: str) -> str:
    return f"{MUTANTS}:{name}"


def search_of(protocol: str, **bounds: Any) -> Search:
    limits = Bounds(**bounds)
    found = find_protocol(protocol)
    properties = find_properties([], limits.crashes, found.decides)
    return Search(found, make_options(found, {}, limits.replicas), limits, properties)


@cache
def found_by(protocol: str, bounds: Bounds) -> Report:
    return explore(protocol, bounds)


PINNED = [
    ("basic-paxos", {"ballots": 1}, {}, 1_700, 14),
    ("basic-paxos", {"ballots": 2}, {}, 791_684, 23),
    ("multi-paxos", {"ballots": 1, "timeouts": 0, "first_leader": 0}, {}, 25_048, 23),
    ("multi-paxos", {"ballots": 1, "timeouts": 0, "first_leader": 0, "reads": 1}, {"reads": "quorum"}, 4_348, 15),
    ("raft", {"ballots": 1, "timeouts": 0, "first_leader": 0}, BASIC_RAFT, 48_718, 24),
    ("epaxos", {"ballots": 1, "timeouts": 0}, {}, 33_656, 22),
]


@pytest.mark.parametrize(("protocol", "bounds", "settings", "states", "depth"), PINNED)
def test_small_configurations_close_with_a_known_number_of_states(
    protocol: str, bounds: dict[str, Any], settings: dict[str, Any], states: int, depth: int
) -> None:
    report = explore(protocol, Bounds(**bounds), settings)
    assert (report.extent, report.trace, report.missing) == ("closed", None, [])
    assert (report.states, report.depth) == (states, depth)
    assert sum(report.levels) == states and len(report.levels) == depth + 1


def naive(search: Search) -> list[set[int]]:
    """The same search with sets, one state at a time."""
    start = int(search.levels[0][0])
    levels, known = [{start}], {start}
    while levels[-1]:
        reached = {after for state in levels[-1] for _, after in search.successors(state)} - known
        known |= reached
        levels.append(reached)
    return levels[:-1]


@pytest.mark.parametrize(
    ("protocol", "bounds"),
    [
        ("basic-paxos", {"ballots": 1, "crashes": 1, "commands": 1}),
        ("multi-paxos", {"replicas": 2, "ballots": 1, "timeouts": 0, "first_leader": 0, "crashes": 1}),
        ("basic-paxos", {"replicas": 1, "proposers": 1, "crashes": 1}),
    ],
)
def test_arrays_find_what_sets_find(protocol: str, bounds: dict[str, Any]) -> None:
    search = search_of(protocol, **bounds)
    assert search.run().closed
    assert naive(search) == [set(level.tolist()) for level in search.levels]
    assert np.array_equal(search.visited, np.unique(np.concatenate(search.levels)))


def test_the_count_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from consensus_bench.exploration.exhaustive.campaign import explore, Bounds\n"
        f"r = explore({mutant('AcceptsWhenOutbid')!r}, Bounds())\n"
        "import msgspec; print(r.states, r.transitions, msgspec.json.encode(r.trace))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=MUTANTS.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(outputs) == 1


# --- what must be found -----------------------------------------------------------------------------------------------

FEW = {"timeouts": 1, "lost": ("Nack", "Decided", "Query")}
FOUND = [
    ("SkipsPhase1", {}, 6),
    ("DecidesOnOneVote", {}, 6),
    ("ProposesItsOwnValue", {}, 10),
    ("AcceptsWhenOutbid", {}, 10),
    ("CountsHalves", {"replicas": 4}, 10),
    ("ForgetsPromises", {"crashes": 1}, 11),
    ("ForgetsAcceptances", {"crashes": 1}, 11),
    ("CountsOldPromises", {"ballots": 3, **FEW}, 11),
    ("CountsOldVotes", {"ballots": 3, **FEW}, 13),
    ("ProposesAnyReportedValue", {"ballots": 3, **FEW}, 13),
]


@pytest.mark.parametrize(("name", "bounds", "length"), FOUND)
def test_a_mutant_is_found_with_a_shortest_trace(name: str, bounds: dict[str, Any], length: int) -> None:
    report = found_by(mutant(name), Bounds(**bounds))
    assert report.extent == "violated" and report.trace is not None
    assert report.trace.length == report.depth == length
    assert report.trace.violation is not None and report.trace.violation.property == "agreement"
    assert "not confirmed" not in report.trace.violation.detail


ELECTION = {"timeouts": 1, "timers": ("election",), "first_leader": 0}
RAFT_RESTARTS = {"crashes": 1, "commands": 1, "lost": ("Forward", "Refused", "Conflict"), **ELECTION}
OTHERS = [
    ("raft_mutants.py:VotesForAnyLog", ELECTION, BASIC_RAFT, "own invariants", 8),
    ("raft_mutants.py:AcknowledgesEarly", RAFT_RESTARTS, BASIC_RAFT, "own invariants", 9),
    ("multi_paxos_mutants.py:IgnoresPromises", ELECTION, {}, "agreement", 11),
    ("multi_paxos_mutants.py:ExecutesNoOps", ELECTION, {}, "validity", 12),
    (
        "multi_paxos_mutants.py:ReadsAtOnce",
        {"timeouts": 0, "first_leader": 0, "reads": 1},
        {"reads": "quorum"},
        "linearizability",
        8,
    ),
    (
        "../../consensus_bench/attacks/rules/raft.py:UnsafeUnaskedReads",
        {**ELECTION, "reads": 1, "requests": "anywhere"},
        {**BASIC_RAFT, "reads": "index"},
        "linearizability",
        9,
    ),
]


@pytest.mark.parametrize(("name", "bounds", "settings", "violated", "length"), OTHERS)
def test_mutants_of_the_logs_are_found(
    name: str, bounds: dict[str, Any], settings: dict[str, Any], violated: str, length: int
) -> None:
    report = explore(f"{MUTANTS.parent}/{name}", Bounds(**bounds), settings)
    assert report.trace is not None and report.trace.violation is not None
    assert (report.trace.violation.property, report.trace.length) == (violated, length)
    assert "not confirmed" not in report.trace.violation.detail


def test_what_does_not_wait_for_the_disk_needs_disks_that_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Search, "disks_must_lag", lambda _self: False)
    protocol = str(MUTANTS.with_name("raft_mutants.py")) + ":AcknowledgesEarly"
    report = explore(protocol, Bounds(depth=9, **RAFT_RESTARTS), BASIC_RAFT)
    assert (report.trace, report.extent, report.lagging_disks) == (None, "depth bound", False)


@pytest.mark.parametrize("own_messages", ["at-once", "network"])
def test_messages_to_oneself_hide_no_violation(own_messages: Any) -> None:
    """The one reduction that is not exact: what it leaves out makes executions longer, not others possible."""
    bounds = Bounds(ballots=2, rounds=1, timeouts=0, own_messages=own_messages, lost=("Nack", "Decided", "Query"))
    assert explore("basic-paxos", bounds).trace is None
    assert explore(mutant("ProposesItsOwnValue"), bounds).extent == "violated"


@pytest.mark.parametrize("name", ["CountsOldPromises", "CountsOldVotes", "ProposesAnyReportedValue"])
def test_two_ballots_are_too_few_for_some(name: str) -> None:
    report = explore(mutant(name), Bounds(ballots=2, **FEW))
    assert (report.extent, report.trace) == ("closed", None)


def test_a_forgotten_promise_is_told_step_by_step() -> None:
    report = found_by(mutant("ForgetsPromises"), Bounds(crashes=1))
    assert report.trace is not None
    texts = [step.text for step in report.trace.steps if step.kind != "start" and not step.own]
    assert texts[:4] == [
        "client 1 asks replica 1: swap x=2",
        "replica 0 receives Prepare(ballot=(1, 1)) from replica 1",
        "replica 0 crashes",
        "replica 0 restarts with what is on its disk",
    ]
    crash = next(step for step in report.trace.steps if step.kind == "crash")
    assert crash.disk == {} and crash.holds == "" and crash.timers == ()
    assert [show_command(c.command) for step in report.trace.steps for c in step.committed] == ["swap x=1", "swap x=2"]


# --- reachable, and bounds --------------------------------------------------------------------------------------------


def test_what_never_happens_is_reported() -> None:
    report = explore("basic-paxos", Bounds(ballots=1, commands=1), properties=["the-fast-path-is-taken"])
    assert report.missing == ["the fast path is taken"]


def test_epaxos_takes_both_paths() -> None:
    names = ["the fast path is taken", "the slow path is taken"]
    report = explore("epaxos", Bounds(ballots=1, timeouts=0), properties=names)
    assert report.reached == names


@pytest.mark.parametrize(
    ("bounds", "extent"), [({"depth": 5}, "depth bound"), ({"states": 1000}, "state bound"), ({}, "closed")]
)
def test_a_search_that_does_not_close_says_so(bounds: dict[str, Any], extent: str) -> None:
    report = explore("basic-paxos", Bounds(ballots=1, **bounds))
    assert report.extent == extent
    assert (report.frontier > 0) == (extent != "closed")


def test_random_walks_judge_the_same_properties() -> None:
    report = explore(mutant("DecidesOnOneVote"), Bounds(), walks=Plan(500, 60, 1))
    assert report.trace is not None and report.trace.violation is not None
    assert report.trace.violation.property == "agreement"
    assert report.trace.length < 60, "steps that are not needed are left out"
    assert explore("basic-paxos", Bounds(crashes=1), walks=Plan(50, 60, 1)).trace is None


@pytest.mark.parametrize("spec", ["basic-paxos", mutant("DecidesOnOneVote")])
def test_random_walks_are_the_same_on_any_number_of_processes(spec: str) -> None:
    alone, together = (
        msgspec.structs.replace(explore(spec, Bounds(), walks=Plan(2 * BATCH + 1, 20, 1, jobs)), seconds=0.0)
        for jobs in (1, 2)
    )
    assert alone == together
    assert (alone.trace is None) == (spec == "basic-paxos"), "the first walk that is wrong ends all"


@pytest.mark.parametrize("walks", [None, Plan(3, 5, 1)])
def test_a_timer_that_nobody_sets_is_refused(walks: Plan | None) -> None:
    """Nothing would fire, and all would hold."""
    with pytest.raises(ConfigError, match=r"--timer nope: .*retry"):
        explore("basic-paxos", Bounds(ballots=1, timers=("retry", "nope")), walks=walks)


def test_ctrl_c_keeps_the_walks_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = walks._walk, []

    def walk(*what: Any) -> Any:
        made.append(what)
        if len(made) == 4:
            raise KeyboardInterrupt
        return whole(*what)

    three = explore("basic-paxos", Bounds(), walks=Plan(3, 20, 1))
    monkeypatch.setattr(walks, "_walk", walk)
    report = explore("basic-paxos", Bounds(), walks=Plan(5, 20, 1))
    assert (report.extent, report.transitions, report.states) == ("interrupted", three.transitions, three.states)


def test_ctrl_c_ends_walks_on_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, asked = Future.result, []

    def result(future: Future[Any], timeout: float | None = None) -> Any:
        asked.append(future)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return whole(future, timeout)

    monkeypatch.setattr(Future, "result", result)
    report = explore("raft", Bounds(), walks=Plan(100 * BATCH, 10_000, 1, jobs=2))  # hours, if they went on
    assert report.extent == "interrupted" and report.trace is None


def test_a_search_that_is_interrupted_says_so_whatever_timers_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_search: Any, *_what: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "expand", interrupt)
    report = explore("raft", Bounds(timers=("heartbeat",)))
    assert report.extent == "interrupted"


def test_batches_are_all_walks_once() -> None:
    assert [number for batch in Plan(2 * BATCH + 1, 1, 1).batches() for number in batch] == [*range(2 * BATCH + 1)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("ballots", 0), ("proposers", 4), ("crashes", -1), ("depth", 0), ("reads", 3), ("lost", ("Nonsense",)),
     ("first_leader", 3), ("rounds", 0), ("states", 0)],
)  # fmt: skip
def test_a_bound_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field.replace("_", "-")):
        explore("basic-paxos", Bounds(**{field: value}))


@pytest.mark.parametrize("protocol", ["multi-paxos", "epaxos"])
def test_an_answer_to_an_earlier_life_is_told_apart(protocol: str) -> None:
    """A replica tells its lives by its clock, which shows how many there were."""
    bounds = Bounds(crashes=1, reads=1, ballots=1, timeouts=0, first_leader=0, states=5_000)
    report = explore(protocol, bounds, {"reads": "quorum"})
    assert report.extent == "state bound"
    assert "a client is answered" in report.reached


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ConfigError, match="no-such"):
        explore("basic-paxos", Bounds(), properties=["no-such"])
    assert {p.mood for p in PROPERTIES.values()} == {"always", "reachable"}


# --- traces -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def found() -> Report:
    return found_by(mutant("AcceptsWhenOutbid"), Bounds())


def run_again(trace: Trace) -> Any:
    protocol = find_protocol(trace.protocol)
    return replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))


def test_a_trace_is_a_file_that_runs_again(found: Report, tmp_path: Path) -> None:
    assert found.trace is not None
    write_trace(tmp_path / "trace.json", found.trace)
    read = read_trace(tmp_path / "trace.json")
    assert read == found.trace
    execution = run_again(read)
    assert execution.violation == found.trace.violation
    assert tuple(execution.steps) == found.trace.steps


def test_a_trace_does_not_fit_another_protocol(found: Report) -> None:
    assert found.trace is not None
    with pytest.raises(ConfigError, match=r"step \d+ does not fit raft"):
        run_again(msgspec.structs.replace(found.trace, protocol="raft"))
    with pytest.raises(ConfigError, match="does not fit basic-paxos"):
        run_again(msgspec.structs.replace(found.trace, protocol="basic-paxos"))


def without(trace: Trace, number: int) -> Trace:
    """``trace`` without one step, the others counted anew."""
    kept = [step for step in trace.steps if step.number != number]
    steps = tuple(msgspec.structs.replace(step, number=place) for place, step in enumerate(kept, 1))
    return msgspec.structs.replace(trace, steps=steps)


def test_a_trace_with_a_step_left_out_is_refused(found: Report, tmp_path: Path) -> None:
    assert found.trace is not None
    request = next(step.number for step in found.trace.steps if step.kind == "request")
    write_trace(tmp_path / "trace.json", without(found.trace, request))
    with pytest.raises(ConfigError):
        run_again(read_trace(tmp_path / "trace.json"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"protocol": 3}'])
def test_a_file_that_is_no_trace_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(ConfigError, match=r"trace\.json: not a trace"):
        read_trace(tmp_path / "trace.json")


def run_command(arguments: list[str]) -> None:
    command_line.command.main(arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"replicas": 300_000_000}, "replicas"), ({"replicas": 0}, "replicas"), ({"timer": {"a": 1}}, "timer")],
)
def test_a_trace_that_contradicts_itself_is_refused(
    found: Report, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert found.trace is not None
    trace = found.trace
    if "timer" in changes:
        first, *rest = trace.steps
        trace = msgspec.structs.replace(trace, steps=(msgspec.structs.replace(first, **changes), *rest))
    else:
        trace = msgspec.structs.replace(trace, **changes)
    write_trace(tmp_path / "trace.json", trace)
    with pytest.raises(ConfigError, match=says):
        read_trace(tmp_path / "trace.json")


def test_the_command_writes_a_trace_and_replays_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    with pytest.raises(PropertyViolated, match="agreement"):
        run_command([mutant("SkipsPhase1"), "--trace", str(file), "--draw"])
    assert "a shortest execution, 6 steps" in capsys.readouterr().out
    drawn = file.with_suffix(".svg").read_bytes()
    file.with_suffix(".svg").unlink()
    with pytest.raises(PropertyViolated, match="agreement"):
        run_command(["--replay", str(file), "--draw"])
    assert "each as recorded" in capsys.readouterr().out
    assert file.with_suffix(".svg").read_bytes() == drawn and file.with_suffix(".png").stat().st_size > 10_000


def test_the_command_fails_where_nothing_was_reached() -> None:
    with pytest.raises(PropertyViolated, match="never happened"):
        run_command(["basic-paxos", "--ballots", "1", "--commands", "1", "--property", "leader-changed"])


def test_what_is_seen_after_a_violation_is_one_as_well() -> None:
    """A state that violates something may be extended before its level is judged."""
    command = Command(0, 1, "put", "x", 1)
    seen = Observations(3, "graph", (command,), Snapshots())
    twice = seen.after(0, ((COMMIT, (0, 0), command), (EXECUTE, command, None), (EXECUTE, command, None)))
    later = seen.after(twice, ((COMMIT, (1, 0), command),))
    assert seen.broken[0] is None
    assert seen.broken[twice] is not None
    assert seen.broken[later] == seen.broken[twice]
