"""A random run written down as an execution: the same steps lead to the same replicas; what fell falls, in fewer."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from consensus_bench.contract import Command
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration import Faults, RoundFaults, Rounds, Scheduler, ScheduleViolated, run_seeds
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.journal import Journal, execution_of
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.shrinking import Stage, shrink
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Violation, read_trace, write_trace

MUTANTS = Path(__file__).parents[1] / "mutants"
SUBJECTS: list[tuple[str, dict[str, Any]]] = [
    ("raft", {}),
    ("raft", {"snapshot_every": 2, "first_members": 3}),
    ("raft", {"reads": "index"}),
    ("multi-paxos", {}),
    ("multi-paxos", {"snapshot_every": 2, "epochs": True}),
    ("epaxos", {"snapshot_every": 2}),
    ("epaxos", {"rules": "sosp13", "reads": "quorum"}),
    ("basic-paxos", {}),
]
ROUGH = RoundFaults(lag=0.4, crash=0.4, damage=0.5, order=0.5, late=0.4, rounds=20)
STEPS = Faults(crash=0.02, restart=0.1, damage=0.3, order=0.01, duplicate=0.05, late=0.05, steps=300)


@pytest.mark.parametrize(("name", "settings"), SUBJECTS, ids=str)
@pytest.mark.parametrize(
    ("style", "faults"), [(Rounds, None), (Rounds, ROUGH), (Scheduler, STEPS)], ids=["drawn", "rough", "step by step"]
)
def test_the_execution_of_a_run_ends_with_the_same_replicas_and_disks(
    name: str, settings: dict[str, Any], style: Any, faults: Any
) -> None:
    protocol = find_protocol(name)
    for seed in range(8):
        size = 3 + 2 * (seed % 2)
        journal = Journal()
        run = style(protocol, make_options(protocol, settings, size), size, seed, faults=faults, observer=journal)
        run.run()
        for me, server in enumerate(run.world.servers):
            run.world.sync(me, len(server.pending))
        stage = Stage(
            protocol=protocol,
            options=run.options,
            replicas=size,
            first_leader=run.world.cluster.first_leader,
            commands=tuple(journal.commands),
            own_at_once=False,
            delay_ns=run.world.cluster.delay_ns,
            clocks_ns=tuple(journal.clocks_ns),
        )
        execution, happened = stage.execute(journal.events)
        assert happened == journal.events, "every step of the run can happen"
        assert execution.violation is None
        assert [site.replica for site in execution.sites] == [server.replica for server in run.world.servers]
        assert [site.disk for site in execution.sites] == [server.disk for server in run.world.servers]


def test_what_a_crash_loses_has_no_durable_effect() -> None:
    """Some runs have such steps: the test above is not vacuous."""
    protocol = find_protocol("raft")
    lost = 0
    for seed in range(15):
        journal = Journal()
        Rounds(protocol, make_options(protocol, {}, 3), 3, seed, faults=ROUGH, observer=journal).run()
        lost += sum(not event.durable for event in journal.events)
        assert {event.kind for event in journal.events} <= {"request", "deliver", "timer", "crash", "order"}
    assert lost > 0


def violation_of(mutant: type, style: Any, faults: Any = None, seeds: int = 300) -> ScheduleViolated:
    for seed in range(seeds):
        try:
            run_seeds(mutant, [seed], settings=getattr(mutant, "settings", {}), style=style, faults=faults)
        except ScheduleViolated as violated:
            return violated
    raise AssertionError("nothing fell")


@pytest.mark.parametrize(
    ("file", "name", "falls"),
    [
        ("raft", "TermNotDurable", "own invariants"),
        ("raft", "KeepsConflicts", "agreement"),
        ("raft", "DiscardsUncommitted", "no exception"),
        ("multi_paxos", "IgnoresPromises", "agreement"),
        ("epaxos", "AnswersAtCommit", "validity"),
        ("basic_paxos", "SkipsPhase1", "agreement"),
    ],
)
def test_what_fell_falls_in_few_steps_and_can_be_replayed(file: str, name: str, falls: str, tmp_path: Path) -> None:
    mutant = getattr(importlib.import_module(f"{file}_mutants"), name)
    found = execution_of(violation_of(mutant, Rounds))
    assert found is not None
    assert len(found.events) < found.taken
    for position in range(len(found.events)):
        fewer = [*found.events[:position], *found.events[position + 1 :]]
        violation = found.stage.execute(fewer)[0].violation
        assert violation is None or violation.property != falls, f"step {position + 1} is needed"
    trace = found.trace(f"{MUTANTS / file}_mutants.py:{name}")
    assert trace.violation is not None
    assert trace.violation.property == falls
    write_trace(tmp_path / "trace.json", trace)
    read = read_trace(tmp_path / "trace.json")
    assert replay(read, mutant, make_options(mutant, read.options, read.replicas)).violation == trace.violation


def test_a_run_step_by_step_becomes_an_execution_too() -> None:
    mutant = importlib.import_module("raft_mutants").TermNotDurable
    found = execution_of(violation_of(mutant, Scheduler, STEPS))
    assert found is not None
    assert len(found.events) < found.taken


def test_that_nobody_goes_on_is_no_execution() -> None:
    from broken_primaries import BROKEN

    never_asks_again = next(broken for broken in BROKEN if broken.expected == "progress")
    assert execution_of(violation_of(never_asks_again, Rounds)) is None


def test_an_execution_that_shows_another_property_is_not_kept() -> None:
    """What a trace says falls is what was reported."""
    fell = violation_of(importlib.import_module("raft_mutants").TermNotDurable, Rounds)
    assert fell.name == "own invariants", "in an execution it has the same name"
    assert execution_of(fell) is not None
    assert execution_of(ScheduleViolated("agreement", "as the clients saw it", fell.run)) is None


def test_only_needed_steps_remain_and_the_same_property_falls() -> None:
    """Any two events of the first kind fall; a shorter list that falls otherwise does not count."""

    class Fake(Execution):
        def __init__(self, property_: str) -> None:
            self.violation = Violation(property=property_, detail="") if property_ else None

    def execute(events: Any) -> Any:
        needed = [event for event in events if event.argument in (3, 77)]
        return Fake("agreement" if len(needed) == 2 else "validity" if len(events) < 9 else ""), list(events)

    events = [Event("timer", 0, number) for number in range(100)]
    kept = shrink(execute, events)
    assert [event.argument for event in kept] == [3, 77]
    own = Event("deliver", 0, (0, Command(0, 1, "get", 0)))
    assert shrink(execute, [*events[:50], own, *events[50:]]) == [kept[0], own, kept[1]], (
        "nobody loses its own messages"
    )
