"""What the explorer does beyond messages, timers and crashes: damaged disks, orders, snapshots, and explorations that
begin after an execution. Every execution of tests/mutants/executions is what its file says, in both worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from consensus_bench.cli import explore as cli
from consensus_bench.contract import LOST, Command, ConfigError, HandOver, Snapshot
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments.trace_replay import replay_in_simulator
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import explore
from consensus_bench.exploration.exhaustive.lives import NEW, Snapshots, plain, with_commit, with_execution
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import Trace, read_trace, write_trace
from protocols.multi_paxos_messages import Install
from protocols.raft import Raft

MUTANTS = Path(__file__).parents[1] / "mutants"
EXECUTIONS = sorted((MUTANTS / "executions").glob("*.json"))
PLAIN = {"pre_vote": False, "check_quorum": False}
WRITE = Command(0, 1, "swap", "x", 1)


def spec(protocol: str, name: str) -> str:
    return f"{MUTANTS}/{protocol}_mutants.py:{name}"


# --- damage, orders, snapshots ----------------------------------------------------------------------------------------


def test_a_damaged_disk_is_found_by_whoever_takes_it_for_whole() -> None:
    bounds = Bounds(crashes=1, damages=1, timeouts=1, timers=("election",), first_leader=0, states=2_000)
    trace = explore(spec("multi_paxos", "ForgetsItsLoss"), bounds).trace
    assert trace is not None and trace.violation is not None
    assert trace.length == 2
    assert [step.damage for step in trace.steps if step.kind == "restart"] == [["promised"]]
    report = explore("multi-paxos", bounds)
    assert report.trace is None
    assert "a disk is damaged" in report.reached


def test_a_disk_is_damaged_in_a_crash() -> None:
    with pytest.raises(ConfigError, match="--damages 2"):
        explore("raft", Bounds(crashes=1, damages=2))


@pytest.mark.parametrize("order", ["hand-over", "hand-over:3", "hand-over:0,1", "members:", "members:0,x", "dance:1"])
def test_an_order_that_is_none_is_refused(order: str) -> None:
    with pytest.raises(ConfigError, match=f"--order {order}"):
        explore("raft", Bounds(orders=(order,)))


def test_an_office_is_handed_over_once_when_an_operator_says_so() -> None:
    """No timer fires, so that nobody else would begin a term."""
    bounds = Bounds(timeouts=0, first_leader=0, commands=1, depth=12)
    stays = explore("raft", bounds, PLAIN, ["leader-changed"])
    goes = explore("raft", msgspec.structs.replace(bounds, orders=("hand-over:1",)), PLAIN, ["leader-changed"])
    assert stays.missing == ["leader changed"]
    assert goes.reached == ["leader changed"]


def test_snapshots_close_with_a_known_number_of_states() -> None:
    bounds = Bounds(crashes=1, commands=1, timeouts=0, first_leader=0)
    report = explore("raft", bounds, {"snapshot_every": 1}, ["a-snapshot-is-taken", "a-snapshot-is-installed"])
    assert (report.extent, report.states, report.depth) == ("closed", 6_777, 16)
    assert not report.missing


def test_a_snapshot_stands_for_the_life_it_was_taken_of() -> None:
    """Two lives that leave the same data are told apart, and for the protocol there is no difference."""
    noop = Command(-1, 0, "noop", "")
    first = with_execution(with_commit(NEW, 1, WRITE), WRITE)
    second = with_execution(with_commit(with_commit(NEW, 1, noop), 2, WRITE), WRITE)
    snapshots = Snapshots()
    taken = snapshots.take(first, 2), snapshots.take(second, 2)
    assert [snapshots.covered(snapshot) for snapshot in taken] == [first, second]
    assert plain(taken[0]) == plain(taken[1]) == Snapshot(2, (("x", 1),))
    assert plain(Install((1, 0), taken[0], (), 3)) == Install((1, 0), plain(taken[0]), (), 3)
    assert snapshots.covered(Snapshot(2, (("x", 1),))) is None


def test_what_a_process_sends_to_itself_is_gone_with_it() -> None:
    execution = Execution(Raft, make_options(Raft, PLAIN, 3), 3, None, (WRITE,), own_at_once=False)
    execution.start()
    execution.take(Event("timer", 0, "election"))
    own = next(m for m, e in zip(execution.messages, execution.envelopes, strict=True) if e.source == e.to == 0)
    execution.take(Event("crash", 0))
    with pytest.raises(Impossible):
        execution.take(Event("deliver", 0, (0, own)))


def test_damage_and_orders_are_steps_of_a_trace(tmp_path: Path) -> None:
    """Written, read, and run again, they are the same steps; what is damaged must be there."""
    execution = Execution(Raft, make_options(Raft, PLAIN, 3), 3, 0, (WRITE,))
    execution.start()
    execution.take(Event("order", 0, HandOver(2)))
    execution.take(Event("crash", 0, ("vote",), clock_ns=7))
    execution.take(Event("crash", 1, LOST))
    with pytest.raises(Impossible, match="no record of 9"):
        execution.take(Event("crash", 0, (9,)))
    trace = execution.trace("raft", PLAIN, None)
    write_trace(tmp_path / "t.json", msgspec.structs.replace(trace, steps=trace.steps[:-1]))
    again = replay(read_trace(tmp_path / "t.json"), Raft, make_options(Raft, PLAIN, 3))
    assert [step.text for step in again.steps] == [step.text for step in trace.steps[:-1]]
    assert again.sites[0].disk["vote"] == execution.sites[0].disk["vote"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("damage", 3, '"lost" or a list of keys'),
        ("damage", [{"a": 1}], '"lost" or a list of keys'),
        ("order", {"kind": "Dance", "fields": {}}, "has no message Dance"),
        ("order", None, "does not say what"),
    ],
)
def test_a_trace_that_says_it_badly_is_refused(tmp_path: Path, field: str, value: Any, says: str) -> None:
    execution = Execution(Raft, make_options(Raft, PLAIN, 3), 3, 0, ())
    execution.start()
    execution.take(Event("order", 0, HandOver(2)))
    execution.take(Event("crash", 0))
    data = msgspec.to_builtins(execution.trace("raft", PLAIN, None))
    kind = "order" if field == "order" else "restart"
    next(step for step in data["steps"] if step["kind"] == kind)[field] = value
    (tmp_path / "t.json").write_bytes(msgspec.json.encode(data))
    with pytest.raises(ConfigError, match=says):
        replay(read_trace(tmp_path / "t.json"), Raft, make_options(Raft, PLAIN, 3))


# --- after an execution -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Trace:
    """Two leaders commit two commands in one slot; the second is elected by a time-out."""
    return read_trace(MUTANTS / "executions" / "multi-paxos-AcceptsWithoutPromising.json")


def test_an_exploration_begins_where_it_is_told_and_finds_the_rest(found: Trace) -> None:
    after = found.length - 5
    bounds = Bounds(proposers=3, requests="anywhere", ballots=1, timeouts=1, timers=("election",), states=25_000)
    report = explore(found.protocol, bounds, after=(found, after))
    assert report.trace is not None and report.trace.violation is not None
    assert report.trace.violation.property == "agreement"
    assert report.trace.length == found.length
    assert [step.text for step in report.trace.steps[:10]] == [step.text for step in found.steps[:10]]
    control = explore("multi-paxos", bounds, after=(found, after))
    assert control.trace is None


def test_an_opening_counts_towards_no_bound(found: Trace) -> None:
    """It has a time-out and two ballots: none is allowed afterwards."""
    assert any(step.kind == "timer" for step in found.steps)
    report = explore("multi-paxos", Bounds(ballots=1, timeouts=0, states=500), after=(found, found.length - 5))
    assert report.states >= 500  # and not none because a bound is exceeded already


def test_random_walks_begin_there_too(found: Trace) -> None:
    from consensus_bench.exploration.exhaustive.walks import Plan

    report = explore(
        found.protocol,
        Bounds(proposers=3, requests="anywhere", ballots=1, timeouts=0),
        walks=Plan(400, 12, 1, jobs=1),
        after=(found, found.length - 2),
    )
    assert report.trace is not None
    assert report.trace.length <= found.length


def test_an_opening_that_does_not_fit_is_refused(found: Trace) -> None:
    with pytest.raises(ConfigError, match="raft has no message Prepare"):
        explore("raft", Bounds(), {}, after=(msgspec.structs.replace(found, options={}), found.length))
    with pytest.raises(ConfigError, match="step 15 cannot happen to multi-paxos here"):
        explore("multi-paxos", Bounds(), after=(found, 15))
    with pytest.raises(ConfigError, match="violates agreement already: begin before it"):
        explore(found.protocol, Bounds(), after=(found, found.length))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--after", "nowhere.json"], "cannot be read"),
        (["--after", "{file}:0"], "choose 1 to"),
        (["--after", "{file}:999"], "choose 1 to"),
        (["--after", "{file}", "--replicas", "3"], "--replicas and --after"),
        (["--after", "{file}", "--first-leader", "0"], "--first-leader and --after"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], says: str) -> None:
    file = MUTANTS / "executions" / "multi-paxos-AcceptsWithoutPromising.json"
    with pytest.raises(ConfigError, match=says):
        cli.command.main(["multi-paxos", *(a.format(file=file) for a in arguments)], standalone_mode=False)
    assert isinstance(cli.command, click.Command)


# --- the executions of the mutants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXECUTIONS, ids=lambda path: path.stem)
def test_an_execution_is_what_its_file_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MUTANTS.parents[1])
    trace = read_trace(path)
    protocol = find_protocol(trace.protocol)
    file, _, name = trace.protocol.partition(":")
    assert path.stem == f"{Path(file).stem.removesuffix('_mutants').replace('_', '-')}-{name}"
    violation = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas)).violation
    assert violation == trace.violation is not None
    replayed = replay_in_simulator(trace)
    assert replayed.differences == ()
    assert replayed.violation is not None
    assert replayed.violation.property == trace.violation.property
