"""Snapshots (section 7): the log is cut off, and whoever needs what is gone gets the state machine instead."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
import raft_mutants as mutants
from fault_worlds import loaded
from paxos_network import put
from raft_network import PLAIN, A, B, C, D, RaftNetwork, entries, violated

from consensus_bench.contract import Cluster, Command, Context, Effect, PropertyViolated, Snapshot
from consensus_bench.contract.context import FORGET, INSTALL, PERSIST, TAKE_SNAPSHOT
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Start, step
from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.soak_run import SoakWorld
from consensus_bench.exploration import Faults, Scheduler
from protocols.raft import Raft
from protocols.raft_messages import Appended, AppendEntries, Conflict, InstallSnapshot, RaftOptions, Vote
from protocols.sessions import Sessions

ALL = (0b111,)
"""The members."""


def sent(effects: list[Effect], kind: type) -> list[Any]:
    return [b for _, _, b in effects if isinstance(b, kind)]


def targets(effects: list[Effect]) -> list[tuple[int, Any]]:
    """(to, AppendEntries), one for each receiver."""
    found = [(a, b) for _, a, b in effects if isinstance(b, AppendEntries)]
    return [(to, b) for a, b in found for to in (a if isinstance(a, tuple) else (a,))]


def follower(count: int, every: int = 3, commit: int | None = None) -> tuple[Raft, list[Effect]]:
    """Follows replica 0 in term 1 with so many entries, all committed; the effects of the last message."""
    raft = Raft(1, Cluster(3), RaftOptions(snapshot_every=every))
    step(raft, Start())
    log = entries([1] * count)
    return raft, step(raft, Deliver(0, AppendEntries(1, 0, 0, log, count if commit is None else commit)))


def snapshotted(count: int, every: int = 3) -> Raft:
    raft, effects = follower(count, every)
    [place] = [a for tag, a, _ in effects if tag == TAKE_SNAPSHOT]
    step(raft, Deliver(1, Snapshot(place, (("x", place),))))
    return raft


def test_a_snapshot_is_taken_every_so_many_entries() -> None:
    assert not [a for tag, a, _ in follower(2)[1] if tag == TAKE_SNAPSHOT]
    assert [a for tag, a, _ in follower(7)[1] if tag == TAKE_SNAPSHOT] == [7]
    assert not [a for tag, a, _ in follower(7, every=0)[1] if tag == TAKE_SNAPSHOT]


def test_the_log_is_cut_off_some_way_behind_in_one_record_with_the_snapshot() -> None:
    raft, _ = follower(7)
    effects = step(raft, Deliver(1, Snapshot(7, ())))
    assert [(tag, a) for tag, a, _ in effects] == [(PERSIST, "snapshot"), *[(FORGET, i) for i in range(1, 5)]]
    assert (raft.log.base_index, raft.log.last_index) == (4, 7)


def test_a_snapshot_that_was_not_asked_for_is_ignored() -> None:
    raft, _ = follower(7)
    assert not step(raft, Deliver(1, Snapshot(6, ())))
    step(raft, Deliver(1, Snapshot(7, ())))
    assert not step(raft, Deliver(1, Snapshot(7, ())))


def test_a_restart_goes_on_from_the_snapshot() -> None:
    raft, effects = follower(7)
    disk = {a: b for tag, a, b in effects if tag == PERSIST} | {"vote": (1, None)}
    for tag, a, b in step(raft, Deliver(1, Snapshot(7, (("x", 7),)))):
        if tag == PERSIST:
            disk[a] = b
        else:
            del disk[a]
    again = Raft(1, Cluster(3), RaftOptions(snapshot_every=3))
    effects = step(again, Recover(disk))
    assert [a for tag, a, _ in effects if tag == INSTALL] == [Snapshot(7, (("x", 7),))]
    assert (again.commit_index, again.log.base_index, again.log.last_index) == (7, 4, 7)
    assert again.sessions.image() == raft.sessions.image()


def test_a_follower_that_needs_discarded_entries_gets_the_snapshot() -> None:
    leader = snapshotted(7)
    leader._campaign(context := Context())
    step(leader, Deliver(1, Vote(2, True)))
    step(leader, Deliver(2, Vote(2, True)))
    assert leader.role == "leader"
    assert context.effects
    effects = step(leader, Deliver(2, Conflict(2, 7, 1, 1)))
    [install] = sent(effects, InstallSnapshot)
    assert (install.snapshot.place, install.last_term) == (7, 1)
    effects = step(leader, Deliver(2, Appended(2, 7)))
    assert [(m.previous_index, len(m.entries)) for m in sent(effects, AppendEntries)] == [(7, 1)]
    leader.check()


def test_a_snapshot_replaces_a_log_that_ends_before_it() -> None:
    raft, _ = follower(2, commit=1)
    sessions = Sessions()
    sessions.add(put(1))
    message = InstallSnapshot(3, Snapshot(9, (("x", 5),)), sessions.image(), 2, ALL)
    effects = step(raft, Deliver(0, message))
    assert [(tag, a) for tag, a, _ in effects if tag in (INSTALL, FORGET)] == [
        (INSTALL, message.snapshot), (FORGET, 1), (FORGET, 2),
    ]  # fmt: skip
    assert sent(effects, Appended) == [Appended(3, 9)]
    assert (raft.log.base_index, raft.log.base_term, raft.commit_index) == (9, 2, 9)
    assert raft.sessions.executed(put(1))


def test_entries_beyond_a_snapshot_are_kept() -> None:
    raft, _ = follower(6, every=0, commit=1)
    step(raft, Deliver(0, InstallSnapshot(1, Snapshot(4, ()), (), 1, ALL)))
    assert (raft.log.base_index, raft.log.last_index) == (4, 6)


def test_a_snapshot_beyond_the_window_is_acknowledged_before_more_is_sent() -> None:
    """What it stands for is under way like entries: the follower is not in step before it has said that it came."""
    leader = Raft(0, Cluster(3, first_leader=0), RaftOptions(snapshot_every=3, window=2))
    step(leader, Recover({"vote": (1, None), **dict(enumerate(entries([1] * 9), 1))}))
    leader._campaign(Context())
    for source in (0, 1):
        step(leader, Deliver(source, Vote(2, True)))
    for source in (0, 1):
        step(leader, Deliver(source, Appended(2, 10)))
    step(leader, Deliver(2, Conflict(2, 9, 0, 0)))
    step(leader, Deliver(0, Snapshot(10, ())))
    effects = step(leader, Deliver(2, Appended(2, 2)))
    assert [m.snapshot.place for m in sent(effects, InstallSnapshot)] == [10]
    leader.check()
    assert not [a for a, m in targets(step(leader, Request(put(1)))) if a == 2]
    effects = step(leader, Deliver(2, Appended(2, 10)))
    assert [m.previous_index for a, m in targets(effects)] == [10]
    leader.check()


def test_an_older_snapshot_changes_nothing() -> None:
    raft, _ = follower(6, every=0)
    effects = step(raft, Deliver(0, InstallSnapshot(1, Snapshot(4, ()), (), 1, ALL)))
    assert not [a for tag, a, _ in effects if tag in (INSTALL, PERSIST, FORGET)]
    assert sent(effects, Appended) == [Appended(1, 4)]


FAR_BEHIND = {
    "a replica is away": ["crash:p4@1+6"],
    "a replica is cut off": ["partition:p4|*@1+6"],
    "everybody restarts": ["crash:all@5+0.1"],
    "the leader dies": ["crash:leader@3+3", "crash:p4@1+6"],
}


@pytest.mark.parametrize("window", [1, 10_000])
@pytest.mark.parametrize("name", FAR_BEHIND)
def test_who_is_far_behind_catches_up(name: str, window: int) -> None:
    settings: dict[str, Any] = {"snapshot_every": 40, "window": window}
    world = SoakWorld(loaded("raft", FAR_BEHIND[name], options=settings, drain_s=60.0).settings)
    result, table = judged("run", world, lambda: False)
    assert {check.verdict for check in result.checks} == {"holds"}
    assert world.converged_ns is not None
    assert len(table) > (60 if window == 1 else 400)
    for machine in world.machines:
        assert len(machine.replica.log.entries) <= 3 * 40, "the log goes on growing"  # type: ignore[attr-defined]
        assert len(machine.disk.contents()) <= 3 * 40 + 3, "the disk goes on growing"


def test_random_schedules_with_damaged_disks_and_snapshots_violate_nothing() -> None:
    protocol = find_protocol("raft")
    options = make_options(protocol, {"snapshot_every": 4}, 3)
    for seed in range(150):
        drawn = Faults.drawn(Random(seed), 3)
        faults = msgspec.structs.replace(drawn, damage=0.5, order=0.01, crash=0.02, restart=0.03, crashed_at_most=1)
        Scheduler(protocol, options, 3, seed, faults=faults).run()


def a_log_that_goes_on_otherwise(protocol: type[Raft]) -> None:
    """Server 2 has seven entries of term 1 that nobody else has; 0 and 1 commit others in term 2, and discard them."""
    network = RaftNetwork(protocol, 3, **PLAIN, snapshot_every=2)
    network.elect(2, among=(2, 0), keep=AppendEntries)
    network.exchange(among=())
    network.ask(2, *(put(sequence, client=9) for sequence in range(1, 7)))
    network.exchange(among=(2,))
    network.crash(2)
    network.elect(0, among=(0, 1))
    network.ask(0, A, B, C, D)
    network.exchange(among=(0, 1))
    assert network.replica(0).log.base_index > 0
    for _ in range(3):
        network.fire(0, "heartbeat")
        network.fire(0, "retry")
        network.exchange()
    if network.replica(2).commit_index != network.replica(0).commit_index:
        raise PropertyViolated("convergence", f"replica 2 has {network.terms(2)}")


@pytest.mark.parametrize(
    ("schedule", "mutant"), [(a_log_that_goes_on_otherwise, mutants.KeepsWhatASnapshotContradicts)]
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Callable[[Any], None], mutant: Any) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) == "convergence"


def test_a_log_without_snapshots_is_as_before() -> None:
    assert isinstance(put(1), Command)
    raft, _ = follower(300, every=0)
    assert raft.log.base_index == 0
