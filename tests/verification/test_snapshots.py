"""Snapshots of a log's state: taken where the replica is, alike everywhere, installed only over what is chosen."""

from __future__ import annotations

import pytest

from consensus_bench.contract import NOOP, Command, PropertyViolated, ProtocolBug, Snapshot
from consensus_bench.verification import Verifier

A, B, C = (Command(client, 1, "put", "k", client) for client in (1, 2, 3))


def committed(*commands: Command) -> Verifier:
    """Replica 0 has committed these at 1, 2, ..."""
    verifier = Verifier(3, "log")
    for place, command in enumerate(commands, 1):
        verifier.committed(0, place, command)
    return verifier


def taken(*commands: Command, place: int) -> tuple[Verifier, Snapshot]:
    """Replica 0 has also executed them up to ``place``, and taken a snapshot there."""
    verifier = committed(*commands)
    for command in commands[:place]:
        verifier.executed(0, command)
    snapshot = Snapshot(place, (("k", commands[place - 1].value),))
    verifier.snapshot(0, snapshot)
    return verifier, snapshot


def test_the_usual_way() -> None:
    """Taken at 0, installed at 1, which goes on from there."""
    verifier = committed(A, NOOP, B)
    verifier.executed(0, A)
    snapshot = Snapshot(2, (("k", 1),))
    verifier.snapshot(0, snapshot)
    verifier.installed(1, snapshot)
    verifier.committed(1, 3, B)
    verifier.executed(1, B)
    assert {check.verdict for check in verifier.finish()} == {"holds"}


def test_a_snapshot_of_another_place_than_the_replica_has_come_to() -> None:
    verifier = committed(A, B)
    verifier.executed(0, A)
    for place in (0, 2):
        with pytest.raises(PropertyViolated, match="validity") as fallen:
            verifier.snapshot(0, Snapshot(place, ()))
        assert "after place 1" in fallen.value.detail


def test_two_snapshots_of_one_place_differ() -> None:
    verifier = committed(A)
    verifier.executed(0, A)
    verifier.snapshot(0, Snapshot(1, (("k", 1),)))
    with pytest.raises(PropertyViolated, match="execution order"):
        verifier.installed(1, Snapshot(1, (("k", 2),)))


def test_a_snapshot_over_a_place_that_nobody_has_committed() -> None:
    with pytest.raises(PropertyViolated, match="but 2 is not chosen"):
        committed(A).installed(1, Snapshot(2, ()))


def test_a_snapshot_that_nobody_took() -> None:
    """Its place is chosen, but nothing tells whether its content is what executing up to there gives."""
    with pytest.raises(PropertyViolated, match="validity") as fallen:
        committed(A).installed(1, Snapshot(1, (("k", 99),)))
    assert "nobody took" in fallen.value.detail


def test_back_to_an_older_snapshot() -> None:
    verifier = committed(A, B)
    for command in (A, B):
        verifier.executed(0, command)
    with pytest.raises(PropertyViolated, match="goes back"):
        verifier.installed(0, Snapshot(1, (("k", 1),)))


def test_what_a_snapshot_covers_is_not_executed_again() -> None:
    verifier, snapshot = taken(A, B, place=1)
    verifier.installed(1, snapshot)
    verifier.committed(1, 2, B)
    with pytest.raises(PropertyViolated, match="exactly once"):
        verifier.executed(1, A)


def test_after_a_restart_everything_may_be_installed_again() -> None:
    verifier, snapshot = taken(A, B, place=1)
    verifier.executed(0, B)
    verifier.restarted(0)
    verifier.installed(0, snapshot)
    verifier.committed(0, 2, B)
    verifier.executed(0, B)


def test_commits_above_a_snapshot_that_came_first() -> None:
    verifier, snapshot = taken(A, B, C, place=2)
    verifier.committed(1, 3, C)
    verifier.installed(1, snapshot)
    verifier.executed(1, C)


def test_only_logs_have_a_prefix() -> None:
    with pytest.raises(ProtocolBug, match="log"):
        Verifier(3, "single").installed(0, Snapshot(1, ()))


def graph_snapshot() -> tuple[Verifier, Snapshot]:
    """Replica 0 has executed A and B, and taken a snapshot."""
    verifier = Verifier(3, "graph")
    for number, command in enumerate((A, B)):
        verifier.committed(0, (0, number), command)
        verifier.executed(0, command)
    snapshot = Snapshot(2, (("k", 2),))
    verifier.snapshot(0, snapshot)
    return verifier, snapshot


def test_a_graphs_snapshot_stands_for_what_its_taker_had_executed() -> None:
    verifier, snapshot = graph_snapshot()
    verifier.installed(1, snapshot)
    assert verifier.has_executed(1, A) and verifier.has_executed(1, B) and verifier.executions(1) == 2
    verifier.committed(1, (1, 0), C)
    verifier.executed(1, C)
    with pytest.raises(PropertyViolated, match="exactly once"):
        verifier.executed(1, A)


def test_a_graphs_snapshot_that_nobody_took_or_that_lacks_what_was_executed() -> None:
    verifier, snapshot = graph_snapshot()
    with pytest.raises(PropertyViolated, match="nobody took"):
        verifier.installed(1, Snapshot(2, (("k", 1),)))
    verifier.committed(1, (1, 0), C)
    with pytest.raises(PropertyViolated, match="execution order"):
        verifier.executed(1, C)  # third of its key, and the first here
    verifier.installed(2, snapshot)
    verifier.committed(2, (1, 0), C)
    verifier.executed(2, C)
    with pytest.raises(PropertyViolated, match="goes back"):
        verifier.installed(2, snapshot)
