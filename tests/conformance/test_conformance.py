"""What every protocol promises to the drivers, held over recordings of random runs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from recordings import CALM, SUBJECT_IDS, SUBJECTS, Life, new_replica, record, scheduler

from consensus_bench.contract import Command, Entry, Message, Replica
from consensus_bench.contract.context import COMMIT, PERSIST, SET_TIMER
from consensus_bench.contract.registry import find_protocol
from consensus_bench.contract.state import State, freeze
from consensus_bench.contract.steps import Deliver, Recover, Request, step
from consensus_bench.contract.values import sizer, wire_bytes
from consensus_bench.exploration import Faults, Load, Scheduler

SEEDS = (1, 2, 3)
SHORT = Load(commands=10)

subjects = pytest.mark.parametrize(("spec", "settings"), SUBJECTS, ids=SUBJECT_IDS)


def replay(run: Scheduler, life: Life) -> Iterator[Replica]:
    """The replica after each step of ``life``, the same object each time."""
    replica = new_replica(run, life.replica)
    for event, clock_ns, effects in life.steps:
        assert step(replica, event, clock_ns) == effects
        yield replica


def disks(life: Life) -> Iterator[dict[Hashable, Any]]:
    """What is on the disk after each record that ``life`` issued, from before the first on."""
    first = life.steps[0][0]
    disk: dict[Hashable, Any] = dict(first.disk) if isinstance(first, Recover) else {}
    yield dict(disk)
    for _, _, effects in life.steps:
        writes = [effect for effect in effects if PERSIST <= effect[0] < SET_TIMER]
        for tag, key, value in writes:
            if tag == PERSIST:
                disk[key] = value
            else:
                disk.pop(key, None)
        if writes:
            yield dict(disk)


@subjects
def test_the_same_step_on_clones_gives_the_same_effects_and_equal_states(spec: str, settings: dict[str, Any]) -> None:
    run, recording = record(spec, settings, seed=SEEDS[0], load=SHORT)
    for life in recording.lives:
        replica = new_replica(run, life.replica)
        for event, clock_ns, effects in life.steps:
            before = replica.key()
            left, right = replica.clone(), replica.clone()
            assert left == right == replica
            assert hash(left.key()) == hash(before) == hash(right.key())
            assert step(left, event, clock_ns) == effects
            assert replica.key() == before == right.key(), "a clone shares state with its original"
            assert step(replica, event, clock_ns) == effects
            assert right.key() == before, "an original shares state with its clone"
            assert left == replica
            assert left.key() == replica.key()
            assert (replica == right) == (replica.key() == before)


@subjects
def test_a_clone_that_goes_its_own_way_leaves_the_original_alone(spec: str, settings: dict[str, Any]) -> None:
    """The clone meets requests of a new client and its own past once more, back to front: that is harmless to it."""
    run, recording = record(spec, settings, seed=SEEDS[1], faults=CALM, load=SHORT)
    strayed = 0
    for life in recording.lives:
        replica = new_replica(run, life.replica)
        past = [(event, clock_ns) for event, clock_ns, _ in life.steps[: len(life.steps) // 2]]
        for event, clock_ns in past:
            step(replica, event, clock_ns)
        before = replica.key()
        clone = replica.clone()
        for sequence, key in enumerate((0, 1, 0), 1):
            step(clone, Request(Command(99, sequence, "swap", key, 1000 + sequence)), clock_ns)
        for event, clock_ns in reversed(past):
            if isinstance(event, (Deliver, Request)):
                step(clone, event, clock_ns)
                clone.check()
        strayed += clone.key() != before
        assert replica.key() == before
    assert strayed


@subjects
def test_messages_are_values_of_known_types_and_sizes(spec: str, settings: dict[str, Any]) -> None:
    protocol = find_protocol(spec)
    for seed in SEEDS:
        _, recording = record(spec, settings, seed)
        assert recording.messages
        for message, hashed in recording.messages.items():
            kind = type(message)
            assert kind in protocol.messages, f"{kind.__name__} is sent but not listed in messages"
            assert hash(message) == hashed, f"{message} was changed after it was sent"
            assert message == msgspec.structs.replace(message)
            prepared = sizer(kind)
            assert (prepared if isinstance(prepared, int) else prepared(message)) == wire_bytes(message)


@subjects
def test_what_is_written_is_immutable(spec: str, settings: dict[str, Any]) -> None:
    _, recording = record(spec, settings, seed=SEEDS[0])
    written = [e for life in recording.lives for _, _, effects in life.steps for e in effects if e[0] == PERSIST]
    assert written
    for _, key, value in written:
        hash((key, value))


@subjects
def test_an_unknown_message_is_ignored(spec: str, settings: dict[str, Any]) -> None:
    class FromTheFuture(Message, frozen=True):
        ballot: int

    run, recording = record(spec, settings, seed=SEEDS[0], load=SHORT)
    for replica in itertools.islice(replay(run, recording.lives[0]), 0, None, 20):
        before = replica.key()
        assert step(replica, Deliver(1, FromTheFuture(7))) == []
        assert replica.key() == before


@subjects
def test_every_message_of_the_past_arriving_again_is_harmless(spec: str, settings: dict[str, Any]) -> None:
    """After a run with crashes, all that was ever sent arrives once more, in any order, among new commands."""
    for seed in SEEDS:
        sent: list[tuple[int, int, Message]] = []
        run = scheduler(spec, settings, seed, load=Load(commands=16))
        arrive = run.world.deliver

        run.world.start()
        for _ in range(600):
            under_way = len(run.world.in_flight)
            run.disturb(1)
            sent += run.world.in_flight[under_way:]
        run.settle()
        Random(seed).shuffle(sent)
        for number, packet in enumerate(sent):
            run.step += 1
            run.world.in_flight.append(packet)
            arrive(len(run.world.in_flight) - 1)
            if number % 8 == 0:
                run.disturb(1)
        assert len(sent) > 50
        run.settle()
        run.check()


@subjects
def test_every_durable_prefix_can_be_recovered_from(spec: str, settings: dict[str, Any]) -> None:
    for seed in SEEDS:
        run, recording = record(spec, settings, seed, load=SHORT)
        for life in recording.lives:
            for disk in disks(life):
                replica, other = new_replica(run, life.replica), new_replica(run, life.replica)
                effects = step(replica, Recover(disk))
                replica.check()
                assert step(other, Recover(dict(reversed(disk.items())))) == effects, "depends on the disk's order"
                assert other == replica


@subjects
def test_a_cluster_goes_on_with_a_replica_recovered_from_any_prefix(spec: str, settings: dict[str, Any]) -> None:
    """The run is repeated up to a step, one replica dies there with each possible prefix of what it was writing, comes
    back, and the verifier compares everything that follows with everything that had been visible."""
    slow_disk = msgspec.structs.replace(CALM, sync=0.0, request=0.08)
    unwritten = 0
    for moment in range(12, 400, 12):
        for victim in range(3):
            survive = 0
            while True:
                run = scheduler(spec, settings, seed=moment, faults=slow_disk, load=Load(commands=12, keys=1))
                run.world.start()
                run.disturb(moment)
                if survive > len(run.world.servers[victim].pending):
                    break
                unwritten += len(run.world.servers[victim].pending) - survive
                run.world.crash(victim, survive)
                run.world.restart(victim)
                run.disturb(50)
                run.settle()
                run.check()
                survive += 1
    assert unwritten > 10


def includes(after: Any, before: Any) -> bool:
    """Whether nothing of ``before`` is missing in ``after``. A part that is a ``State`` itself may be volatile in
    parts or as a whole: what it says is compared by the view."""
    if isinstance(before, State) or isinstance(after, State):
        return True
    if isinstance(before, dict):
        return all(includes(after.get(key), value) for key, value in before.items())
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(includes, after, before))
    return freeze(after) == freeze(before)


@subjects
def test_durable_attributes_come_back(spec: str, settings: dict[str, Any]) -> None:
    """After each step, a replica recovered from all that was written so far has them again. (Where recovering begins
    something new and writes that, the two cannot be compared.)"""
    protocol = find_protocol(spec)
    assert protocol.durable
    compared = 0
    for seed in SEEDS:
        run, recording = record(spec, settings, seed, faults=CALM)
        for life in recording.lives:
            disk: dict[Hashable, Any] = {}
            for replica, (_, _, effects) in zip(replay(run, life), life.steps, strict=True):
                for tag, key, value in effects:
                    if tag == PERSIST:
                        disk[key] = value
                    elif PERSIST < tag < SET_TIMER:
                        disk.pop(key, None)
                recovered = new_replica(run, life.replica)
                if any(e[0] == PERSIST for e in step(recovered, Recover(dict(disk)))):
                    continue
                compared += 1
                for name in protocol.durable:
                    before, after = getattr(replica, name), getattr(recovered, name)
                    assert includes(after, before), f"{name}: {before} comes back as {after}"
                before, after = replica.view(), recovered.view()
                assert after.ballot >= before.ballot, "a promise is forgotten"
                for place, entry in before.entries.items():
                    again = after.entries[place]
                    assert (again.command, again.extra) == (entry.command, entry.extra)
                    assert again.ballot == entry.ballot or entry.status != "accepted"
    assert compared > 20


@subjects
def test_views_are_well_formed(spec: str, settings: dict[str, Any]) -> None:
    protocol = find_protocol(spec)
    statuses = set()
    for seed in SEEDS:
        run, recording = record(spec, settings, seed, load=SHORT)
        chosen: dict[Hashable, Command] = {}
        for life in recording.lives:
            for _, _, effects in life.steps:
                chosen.update({place: command for tag, place, command in effects if tag == COMMIT})
        for life in recording.lives:
            for replica in itertools.islice(replay(run, life), 0, None, 5):
                before = replica.key()
                view = replica.view()
                assert replica.key() == before
                assert view == replica.view()
                assert view.leader is None or view.leader in range(run.size)
                assert isinstance(view.ballot, tuple) and list(map(type, view.ballot)) == [int, int]
                for place, entry in view.entries.items():
                    assert isinstance(entry, Entry)
                    assert entry.status in {"accepted", "committed", "executed"}
                    assert isinstance(place, tuple if protocol.decides == "graph" else int)
                    statuses.add(entry.status)
                    if entry.status != "accepted":
                        assert entry.command == chosen[place]
    assert "executed" in statuses


DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from recordings import SUBJECTS, scheduler
from consensus_bench.exploration import Transcript
for spec, settings in SUBJECTS:
    for seed in range(6):
        transcript = Transcript()
        scheduler(spec, settings, seed, size=3 + 2 * (seed % 2), observer=transcript).run()
        print(spec, settings, seed, hashlib.sha256("\\n".join(transcript.lines).encode()).hexdigest())
"""


def test_runs_do_not_depend_on_the_hash_seed() -> None:
    def digests(hash_seed: str) -> list[str]:
        command = [sys.executable, "-c", DIGEST, str(Path(__file__).parent)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = digests("1")
    assert len(first) == 6 * len(SUBJECTS)
    assert first == digests("20261123")


@subjects
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_clusters_of_unusual_size_work(spec: str, settings: dict[str, Any], size: int) -> None:
    for seed in SEEDS:
        scheduler(spec, settings, seed, size=size, faults=Faults(steps=400), load=SHORT).run()
