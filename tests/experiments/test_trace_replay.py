"""A trace ends in the same state in the simulator and for the explorer: two drivers of the same classes."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consensus_bench.cli import explore
from consensus_bench.contract import Cluster, Command, ConfigError, PropertyViolated
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments import trace_replay
from consensus_bench.experiments.trace_replay import replay_in_simulator
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import Trace, read_trace, write_trace

TRACES = sorted((Path(__file__).parents[2] / "results" / "break" / "traces").glob("*.json"))
COMMANDS = (Command(0, 1, "put", "x", 1), Command(1, 1, "swap", "x", 2), Command(2, 1, "get", "x"))
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "basic-paxos": ("basic-paxos", {}),
    "multi-paxos": ("multi-paxos", {}),
    "multi-paxos, quorum reads": ("multi-paxos", {"reads": "quorum"}),
    "raft": ("raft", {"pre_vote": False, "check_quorum": False}),
    "raft, ReadIndex": ("raft", {"reads": "index"}),
    "epaxos": ("epaxos", {}),
    "epaxos, sosp13": ("epaxos", {"rules": "sosp13"}),
}


def random_trace(spec: str, settings: dict[str, Any], seed: int, steps: int = 150) -> Trace:
    """Messages lost, repeated and reordered, timers that fire at any moment, crashes, disks that do not keep up."""
    random, protocol = Random(seed), find_protocol(spec)
    execution = Execution(protocol, make_options(protocol, settings, 3), 3, 0, COMMANDS)
    execution.start()
    lagging: set[int] = set()
    for _ in range(steps):
        replica, what = random.randrange(3), random.random()
        site = execution.sites[replica]
        others = [e for e in execution.envelopes if e.to == replica != e.source]
        if what < 0.015:
            event = Event("crash", replica)
            lagging.discard(replica)
        elif what < 0.1:
            event = Event("request", replica, random.choice(COMMANDS), replica not in lagging)
        elif what < 0.14 and site.timers:
            event = Event("timer", replica, random.choice(sorted(site.timers, key=repr)), replica not in lagging)
        elif others:
            envelope = random.choice(others[-4:])
            argument = (envelope.source, execution.messages[envelope.number - 1])
            if random.random() < 0.01:
                lagging.add(replica)
            event = Event("deliver", replica, argument, replica not in lagging)
        else:
            continue
        try:
            execution.take(event)
        except Impossible:
            continue
        if execution.violation is not None:
            break
    return execution.trace(spec, settings, execution.violation)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_attacks_end_alike(path: Path) -> None:
    trace = read_trace(path)
    protocol = find_protocol(trace.protocol)
    explored = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas)).violation
    replayed = replay_in_simulator(trace)
    assert replayed.differences == ()
    assert (replayed.violation and replayed.violation.property) == (explored and explored.property)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_attacks_end_as_their_files_say(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A judge of the attack's own may have to look at it: no history of clients shows ``epochs-not-checked``."""
    recorded = read_trace(path).violation
    arguments = ["--replay", str(path), "--world", "simulator"]
    if recorded is None:
        explore.command.main(arguments, standalone_mode=False)
        return
    with pytest.raises(PropertyViolated) as found:
        explore.command.main(arguments, standalone_mode=False)
    assert found.value.name == recorded.property


@pytest.mark.parametrize("name", VARIANTS)
def test_random_executions_end_alike(name: str) -> None:
    spec, settings = VARIANTS[name]
    crashes = lost = decided = 0
    for seed in range(25):
        trace = random_trace(spec, settings, seed)
        replayed = replay_in_simulator(trace)
        assert replayed.differences == () and replayed.violation is None and trace.violation is None, seed
        crashes += sum(step.kind == "crash" for step in trace.steps)
        lost += sum(not step.durable and bool(step.written) for step in trace.steps)
        decided += sum(bool(step.committed) for step in trace.steps)
    assert crashes > 15 and lost > 5 and decided > 15, (crashes, lost, decided)


def test_a_simulator_that_does_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that forgets a record, and a replica that is told the wrong thing at its restart."""

    class Forgetful(trace_replay.Disk):
        __slots__ = ()

        def contents(self) -> Any:
            return {key: value for key, value in super().contents().items() if key != "vote"}

    traces = [random_trace("raft", VARIANTS["raft"][1], seed) for seed in range(20)]
    trace = next(trace for trace in traces if any(step.kind == "restart" and step.disk for step in trace.steps))
    assert replay_in_simulator(trace).differences == ()
    monkeypatch.setattr(trace_replay, "Disk", Forgetful)
    try:
        found = replay_in_simulator(trace).differences
    except ConfigError as error:
        found = (str(error),)
    assert found


def test_what_does_not_fit_is_refused() -> None:
    trace = random_trace("raft", {}, 3)
    at = next(i for i, step in enumerate(trace.steps) if step.kind == "deliver" and step.sent)
    steps = list(trace.steps)
    steps[at] = msgspec.structs.replace(steps[at], sent=())
    world = trace_replay.ScriptedWorld(msgspec.structs.replace(trace, steps=tuple(steps)))
    with pytest.raises(ConfigError, match=f"step {at + 1} sends"):
        for step in steps:
            world.take(step)
    unarmed = msgspec.structs.replace(trace.steps[0], number=1, kind="timer", timer="heartbeat")
    with pytest.raises(ConfigError, match="step 1: the timer heartbeat of replica 0 is not armed"):
        trace_replay.ScriptedWorld(trace).take(unarmed)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.json"
    write_trace(path, random_trace("raft", {}, 5, steps=20))

    def run(*arguments: str) -> None:
        explore.command.main(list(arguments), standalone_mode=False)

    run("--replay", str(path), "--world", "simulator")
    assert "the same replicas, disks and timers in the end" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="goes with --replay"):
        run("raft", "--world", "simulator")
    monkeypatch.setattr(trace_replay, "_differences", lambda execution, world: ["the disk of replica 1 holds nothing"])
    with pytest.raises(PropertyViolated, match="same state in both worlds"):
        run("--replay", str(path), "--world", "simulator")


def test_the_cluster_is_the_same() -> None:
    world = trace_replay.ScriptedWorld(random_trace("epaxos", {}, 1, steps=1))
    assert [world.cluster.nearest(r) for r in range(3)] == [Cluster(3).nearest(r) for r in range(3)]
