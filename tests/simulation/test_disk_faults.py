"""Faults of disks, each seen in what a restarted replica finds, and in what the verifier then says."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from fault_worlds import Writing, fsync, heard, loaded, toys

from consensus_bench.contract import CORRUPT, LOST, PropertyViolated
from consensus_bench.contract.context import FORGET, PERSIST
from consensus_bench.simulation.faults.disk import FaultyDisk
from consensus_bench.simulation.randomness import constant
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, World


def found(world: World, replica: int = 1) -> dict[Any, Any]:
    """What was on its disk when it was restarted."""
    disk: dict[Any, Any] = world.machines[replica].replica.found  # type: ignore[attr-defined]
    return disk


def disk_of(records: int) -> FaultyDisk:
    """A disk with so many records of two keys each: 0 -> 0 and "0" -> 0, ..."""
    disk = FaultyDisk(constant(5))
    for number in range(records):
        disk.write(10 * number, 10 * number, [(PERSIST, number, number), (PERSIST, str(number), number)])
    return disk


def test_a_crash_keeps_what_was_durable_and_no_more() -> None:
    """Writes at 10, 20, ... 300 ms; an fsync takes 8 ms."""
    world = toys(Writing, ["crash:p1@305 ms+100 ms"], profile=fsync(8))
    assert found(world) == {number: number * 100 for number in range(1, 30)}


def test_a_lost_disk_says_so_until_the_replica_forgets_it() -> None:
    world = toys(Writing, ["crash:p1@305 ms+100 ms,disk=lose", "crash:p1@505 ms+100 ms"], profile=fsync(8))
    assert found(world) == {LOST: True}
    disk = disk_of(2)
    disk.crash(100)
    disk.lose()
    disk.write(100, 100, [(FORGET, LOST, None), (PERSIST, "rejoined", 1)])
    disk.crash(200)
    assert disk.contents() == {"rejoined": 1}


def test_a_failing_fsync_stops_the_replica_and_what_waited_for_it_never_leaves() -> None:
    world = toys(Writing, ["failing-fsync:p1@295 ms+200 ms"], until_ms=400, profile=fsync(2))
    assert not world.machines[1].alive
    assert [number for _, number in heard(world, to=0, source=1)] == list(range(1, 30))
    world.env.run(until=600_000_000)
    assert world.machines[1].alive
    assert found(world) == {number: number * 100 for number in range(1, 30)}
    idle = toys(Writing, ["failing-fsync:p0@295 ms+200 ms"], profile=fsync(2))
    assert idle.machines[0].alive, "it writes nothing, and so nothing fails"


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft", "epaxos"])
def test_a_replica_whose_fsync_fails_stops_and_loses_nothing(protocol: str) -> None:
    world = loaded(protocol, ["failing-fsync:p0@3+3"])
    world.run()
    assert (world.operations.column("answered_ns") > 0).all()
    world.verifier.finish()


def test_a_lying_fsync_is_in_time_and_a_crash_loses_it() -> None:
    lie = "lying-fsync:p1@95 ms+400 ms"
    world = toys(Writing, [lie, "crash:p1@305 ms+100 ms"], profile=fsync(2))
    assert [number for at, number in heard(world, to=0, source=1) if at < 317] == list(range(1, 31))
    assert found(world) == {number: number * 100 for number in range(1, 10)}
    survived = toys(Writing, [lie, "crash:p1@505 ms+100 ms"], profile=fsync(2))
    assert found(survived) == {number: number * 100 for number in range(1, 51)}, "the lie had ended before the crash"


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft", "epaxos"])
def test_lying_disks_lose_what_was_acknowledged_and_the_verifier_sees_it(protocol: str) -> None:
    """Power fails everywhere while all disks lie. With honest disks the same crash is harmless."""
    crash = "crash:all@4+1"
    honest = loaded(protocol, [crash])
    honest.run()
    assert (honest.operations.column("answered_ns") > 0).all()
    lying = loaded(protocol, ["lying-fsync:all@2+4", crash], workload=Workload(clients=2, conflict=100.0, swaps=1.0))
    with pytest.raises(PropertyViolated, match=r"agreement|order|validity|exactly once"):
        lying.run()
        lying.verifier.finish()
    assert lying.env.now > 5 * SECOND_NS


def test_a_torn_crash_comes_in_the_middle_of_an_fsync() -> None:
    """Nothing is under way at 99 ms; the next record is written at 100 ms, and its fsync takes 8 ms. Whether it
    survives is drawn; nobody ever knew that it had."""
    outcomes = set()
    for seed in range(12):
        world = toys(Writing, ["torn-crash:p1@99 ms+200 ms"], until_ms=400, profile=fsync(8), seed=seed)
        assert [number for _, number in heard(world, to=0, source=1)] == list(range(1, 10))
        outcomes.add(max(found(world)))
        assert found(world) == {number: number * 100 for number in range(1, max(found(world)) + 1)}
    assert outcomes == {9, 10}


def test_a_torn_crash_keeps_a_prefix_of_the_records_under_way() -> None:
    kept = set()
    for seed in range(40):
        disk = FaultyDisk(constant(1000))
        for number in range(5):
            disk.write(number, number, [(PERSIST, number, number)])
        disk.tear(100, Random(seed))
        disk.crash(100)
        contents = disk.contents()
        assert list(contents) == list(range(len(contents)))
        kept.add(len(contents))
    assert kept == {0, 1, 2, 3, 4, 5}


def test_a_corrupt_record_is_found_corrupt_with_all_its_keys() -> None:
    disk = disk_of(6)
    disk.write(100, 100, [(PERSIST, 2, "newer")])
    assert disk.rot(200, 1, True, Random(1)) == 1
    assert disk.rot(200, 2, False, Random(1)) == 2
    contents = disk.contents()
    bad = {key for key, value in contents.items() if value is CORRUPT}
    assert 2 in bad
    assert contents["2"] == 2 or "2" in bad, "the key that was not written again is of the older record"
    assert len(bad - {2, "2"}) in (3, 4)
    for number in {0, 1, 3, 4, 5}:
        assert (number in bad) == (str(number) in bad), "one checksum a record"
    assert disk.rot(200, 99, False, Random(1)) == 4, "all that were left"
    assert FaultyDisk(constant(1)).rot(1, 1, False, Random(1)) == 0


def test_a_corrupt_value_is_whole_when_it_is_written_again_and_gone_when_forgotten() -> None:
    disk = disk_of(2)
    disk.rot(100, 2, False, Random(1))
    disk.write(200, 200, [(PERSIST, 0, "new"), (FORGET, 1, None)])
    disk.crash(300)
    assert disk.contents() == {0: "new", "0": CORRUPT, "1": CORRUPT}


def test_rot_is_seen_at_the_next_restart_only() -> None:
    world = toys(Writing, ["corrupt-record:p1@200 ms,records=3", "crash:p1@305 ms+100 ms"], profile=fsync(2))
    assert [number for _, number in heard(world, to=0, source=1)] == list(range(1, 31))
    disk = found(world)
    assert sum(value is CORRUPT for value in disk.values()) == 3
    assert all(value is CORRUPT or value == key * 100 for key, value in disk.items())
    assert max(key for key, value in disk.items() if value is CORRUPT) <= 19, "what was durable at 200 ms"
    assert [entry.start_ns == entry.end_ns for entry in world.fault_log] == [True, False]


@pytest.mark.parametrize("detected", [True, False])
def test_a_misdirected_write_spoils_the_record_that_it_hits(detected: bool) -> None:
    faults = [f"misdirected-write:p1@205 ms,detected={str(detected).lower()}", "crash:p1@305 ms+100 ms"]
    disk = found(toys(Writing, faults, profile=fsync(2)))
    corrupt = {key for key, value in disk.items() if value is CORRUPT}
    assert set(disk) == set(range(1, 31)) - (set() if detected else {21})
    assert (21 in corrupt) == detected
    assert len(corrupt - {21}) == 1
    assert max(corrupt - {21}) < 21


def test_a_disk_keeps_its_contents_over_more_records_than_it_holds_back() -> None:
    disk = disk_of(10_000)
    disk.crash(1 << 40)
    assert len(disk.contents()) == 20_000
