"""The machine: links that are not pipes, a processor, a card, a disk barrier and timers, against explicit models."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import simpy
from worlds import MS, Ping, Pong, Toy, geography, toy_world, uniform

from consensus_bench.contract import OPERATOR, Command, Context, HandOver, PropertyViolated, Snapshot
from consensus_bench.contract.context import PERSIST
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import Alarm, Delivery
from consensus_bench.simulation.hot_path import ANSWER_BYTES
from consensus_bench.simulation.network import Jitter
from consensus_bench.simulation.operations import NEVER
from consensus_bench.simulation.profiles import Profile, find_profile
from consensus_bench.simulation.workload import Workload


class Burst(Toy):
    """Replica 0 sends 1,000 messages at once."""

    __slots__ = ()

    def on_start(self, ctx: Context) -> None:
        if self.me == 0:
            for number in range(1000):
                ctx.send_unsynced(1, Ping(number))


def start(world: Any, until_ms: float) -> None:
    for machine in world.machines:
        machine.start()
    world.env.run(until=round(until_ms * MS))


def test_a_link_is_not_a_pipe() -> None:
    """1,000 messages sent at once on a 100 ms link all arrive at 100 ms, in order."""
    world = toy_world(Burst, uniform(2, 200.0))
    start(world, 1000)
    assert world.machines[1].replica.seen == [(100 * MS, 0, number) for number in range(1000)]


def test_links_keep_order_under_jitter() -> None:
    world = toy_world(Burst, uniform(2, 200.0), jitter=Jitter("lognormal", 0.3))
    start(world, 1000)
    seen = world.machines[1].replica.seen
    assert [number for _, _, number in seen] == list(range(1000))
    assert len({at for at, _, _ in seen}) > 1, "no jitter was drawn"


def test_delays_keep_the_matrix_precision_per_direction() -> None:
    class Exchange(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            ctx.send_unsynced(1 - self.me, Ping(self.me))

    world = toy_world(Exchange, geography([[0, 33.333332], [77.000002, 0]]))
    start(world, 100)
    assert world.machines[1].replica.seen == [(16_666_666, 0, 0)]
    assert world.machines[0].replica.seen == [(38_500_001, 1, 1)]


def test_card_serialises_what_leaves() -> None:
    """At 8 Mb/s a byte takes 1 us: message k leaves after k + 1 times its 74 bytes (66 of frame, 8 of number)."""
    world = toy_world(Burst, uniform(2, 200.0), Profile(name="card", source="test", bandwidth_mbps=8.0))
    start(world, 1000)
    seen = world.machines[1].replica.seen
    assert [at for at, _, _ in seen] == [100 * MS + (number + 1) * 74_000 for number in range(1000)]


class Echo(Toy):
    __slots__ = ()

    def on_ping(self, ctx: Context, source: int, message: Ping) -> None:
        ctx.send_unsynced(source, Pong(message.number))


@pytest.mark.parametrize("gap_us", [5, 14, 40])
def test_processor_equals_an_explicit_queue(gap_us: int) -> None:
    """Echo times under load equal those of a SimPy process that serves one message at a time from a Store."""
    receive, send, count = 10, 3, 200

    class Paced(Echo):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            if self.me == 0:
                ctx.set_timer(0, 0)

        def on_timer(self, ctx: Context, name: Any) -> None:
            ctx.send_unsynced(1, Ping(name))
            if name + 1 < count:
                ctx.set_timer(name + 1, gap_us * 1000)

    # Replica 0's own costs would shift the arrivals: only replica 1 pays.
    costs = Profile(name="cpu", source="test", receive_us=receive, send_us=send)
    world = toy_world(Paced, uniform(2, 2.0), profiles=[find_profile("zero"), costs])
    start(world, 100)
    got = [at for at, _, _ in world.machines[0].replica.seen]

    env: Any = simpy.Environment()
    inbox: Any = simpy.Store(env)
    expected: list[int] = []

    def wire(number: int) -> Any:
        yield env.timeout(number * gap_us * 1000 + 1 * MS)
        yield inbox.put(number)

    def serve() -> Any:
        while True:
            yield inbox.get()
            yield env.timeout((receive + send) * 1000)
            expected.append(env.now + 1 * MS)

    for number in range(count):
        env.process(wire(number))
    env.process(serve())
    env.run(until=100 * MS)
    assert got == expected


class Barrier(Toy):
    """Each ping is written; the synced pong waits for the disk, the unsynced one does not."""

    __slots__ = ()

    def on_start(self, ctx: Context) -> None:
        if self.me == 0:
            ctx.send_unsynced(1, Ping(1))
            ctx.set_timer("second", 1 * MS)

    def on_ping(self, ctx: Context, source: int, message: Ping) -> None:
        if message.number == 1:
            ctx.persist(message.number, True)
            ctx.send(source, Pong(10))
        else:
            ctx.send(source, Pong(20))  # wrote nothing itself: the barrier is cumulative
        ctx.send_unsynced(source, Pong(-message.number))

    def on_timer(self, ctx: Context, name: Any) -> None:
        ctx.send_unsynced(1, Ping(2))


def test_barrier_is_cumulative() -> None:
    world = toy_world(Barrier, uniform(2, 20.0), Profile(name="disk", source="test", fsync_ms=5.0))
    start(world, 100)
    assert world.machines[0].replica.seen == [
        (20 * MS, 1, -1),
        (21 * MS, 1, -2),
        (25 * MS, 1, 10),
        (25 * MS, 1, 20),
    ]


def test_crash_loses_what_waits_for_the_disk_and_restart_finds_the_rest() -> None:
    class Writer(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            if self.me == 1:
                for number in range(4):
                    ctx.set_timer(number, number * 4 * MS)

        def on_timer(self, ctx: Context, name: Any) -> None:
            ctx.persist(name, True)
            ctx.send(0, Ping(name))

    # Writes at 0, 4, 8, 12 ms; fsync takes 5 ms: durable at 5, 10 (write 4), 15 (write 8, 12).
    world = toy_world(Writer, uniform(2, 20.0), Profile(name="disk", source="test", fsync_ms=5.0), crashable=True)
    for machine in world.machines:
        machine.start()
    world.env.run(until=13 * MS)
    world.crash(1)
    world.env.run(until=50 * MS)
    assert [(at, number) for at, _, number in world.machines[0].replica.seen] == [(15 * MS, 0), (20 * MS, 1)]
    world.restart(1)
    assert world.machines[1].replica.seen == [(0, -1, 0), (0, -1, 1)]


def test_messages_to_a_dead_replica_are_lost_and_its_timers_die() -> None:
    class Timed(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            if self.me == 0:
                ctx.set_timer("send", 1 * MS)
            else:
                ctx.set_timer("tick", 30 * MS)

        def on_timer(self, ctx: Context, name: Any) -> None:
            if name == "send":
                ctx.send_unsynced(1, Ping(7))
            else:
                super().on_timer(ctx, name)

    world = toy_world(Timed, uniform(2, 20.0), crashable=True)
    for machine in world.machines:
        machine.start()
    world.env.run(until=5 * MS)
    world.crash(1)
    world.env.run(until=20 * MS)
    world.restart(1)
    world.env.run(until=100 * MS)
    assert world.machines[1].replica.seen == []


def test_a_timer_set_again_counts_from_the_last_setting() -> None:
    """Set every 10 ms with a range of 30 to 50 ms until 100 ms: it fires once, between 130 and 150 ms; a shorter range
    set later fires earlier; a cancelled one does not fire."""

    class Timers(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            for number in range(1, 11):
                ctx.set_timer(("again", number), number * 10 * MS)
            ctx.set_timer("long", 500 * MS, 900 * MS)
            ctx.set_timer("cancelled", 120 * MS)

        def on_timer(self, ctx: Context, name: Any) -> None:
            if isinstance(name, tuple):
                ctx.set_timer("election", 30 * MS, 50 * MS)
                if name[1] == 10:
                    ctx.set_timer("long", 1 * MS)
                    ctx.cancel_timer("cancelled")
            else:
                super().on_timer(ctx, name)

    world = toy_world(Timers, uniform(1, 0.0))
    start(world, 2000)
    fired = {name: at for at, _, name in world.machines[0].replica.seen}
    assert len(world.machines[0].replica.seen) == 2
    assert 130 * MS <= fired["election"] <= 150 * MS
    assert fired["long"] == 101 * MS


def test_timer_delays_are_uniform_in_their_range() -> None:
    class Many(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            for number in range(4000):
                ctx.set_timer(number, 10 * MS, 20 * MS)

    world = toy_world(Many, uniform(1, 0.0))
    start(world, 50)
    times = sorted(at / MS for at, _, _ in world.machines[0].replica.seen)
    assert len(times) == 4000
    assert 10 <= times[0] < 10.05
    assert 19.95 < times[-1] <= 20
    assert abs(sum(times) / 4000 - 15) < 0.2
    assert abs(times[1000] - 12.5) < 0.3


def test_slim_events_are_enough_for_simpy() -> None:
    """What events.py leans on: run(until), a callback that stops the simulation, ordinary processes beside them."""
    env: Any = simpy.Environment()
    seen: list[tuple[int, object]] = []

    def note(event: Any) -> None:
        seen.append((env.now, event.what))

    def process() -> Any:
        yield env.timeout(15)
        seen.append((env.now, "process"))

    env.process(process())
    for at in (10, 20, 20, 30):
        env.schedule(Alarm((note,), len(seen)), 1, at)
    env.schedule(Delivery((lambda event: seen.append((env.now, event.message)),), None, 0, 20, "slim"), 1, 20)
    env.run(until=20)
    assert seen == [(10, 0), (15, "process")]
    env.run(until=25)
    assert seen == [(10, 0), (15, "process"), (20, 0), (20, 0), (20, "slim")]
    stop = env.event()
    env.schedule(Alarm((lambda event: stop.succeed("stopped"),)), 1, 1)
    assert env.run(until=stop) == "stopped"
    assert env.now == 26


def test_a_disk_that_takes_no_time_keeps_every_record() -> None:
    """A record is filled after it was issued, also the one at which the disk puts the older ones away."""
    disk = Disk(lambda: 0, keep=True)
    for number in range(10_000):
        record: list[Any] = []
        disk.write(number, number, record)
        record.append((PERSIST, number, number))
    disk.crash(10_000)
    assert len(disk.contents()) == 10_000


@pytest.mark.parametrize("seed", range(20))
def test_group_commit_equals_an_explicit_disk(seed: int) -> None:
    """Records at random times: durable when a SimPy process that serves all waiting records with each fsync says so."""
    import random

    rng = random.Random(seed)
    durations = [rng.randrange(1, 30_000) for _ in range(200)]
    issued = sorted(rng.sample(range(600_000), 100))
    disk = Disk(iter(durations).__next__, keep=False)
    got = [disk.write(at, at, []) for at in issued]

    env: Any = simpy.Environment()
    waiting: list[int] = []
    durable: dict[int, int] = {}
    wake = [env.event()]

    def writer() -> Any:
        for number, at in enumerate(issued):
            yield env.timeout(at - env.now)
            waiting.append(number)
            if not wake[0].triggered:
                wake[0].succeed()

    def server() -> Any:
        draw = iter(durations).__next__
        while True:
            if not waiting:
                wake[0] = env.event()
                yield wake[0]
            batch = waiting[:]
            waiting.clear()
            yield env.timeout(draw())
            durable.update(dict.fromkeys(batch, env.now))

    env.process(server())
    env.process(writer())
    env.run(until=10_000_000)
    assert got == [durable[number] for number in range(100)]
    assert got == sorted(got)


def test_an_operator_speaks_to_a_replica() -> None:
    class Obedient(Toy):
        __slots__ = ()
        messages = (*Toy.messages, HandOver)

        def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
            self.seen.append((ctx.clock_ns, source, message.to))

    world = toy_world(Obedient, uniform(2, 20.0))
    start(world, 5)
    world.operate(1, HandOver(0))
    world.env.run(until=6 * MS)
    assert world.machines[1].replica.seen == [(5 * MS, OPERATOR, 0)]


@pytest.mark.parametrize("crashable", [False, True])
def test_a_snapshot_is_taken_installed_and_read_from(crashable: bool) -> None:
    """Replica 0 executes a write, takes a snapshot and sends it on; replica 1 installs it and serves a read from it."""
    write, look = Command(0, 1, "put", 7, 42), Command(0, 2, "get", 7)

    class Copying(Toy):
        __slots__ = ()
        messages = (*Toy.messages, Snapshot)

        def on_start(self, ctx: Context) -> None:
            if self.me == 0:
                ctx.persist("log", write)
                ctx.commit(1, write)
                ctx.execute(write)
                ctx.take_snapshot(1)

        def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
            self.seen.append((ctx.clock_ns, source, message))
            if self.me == 0:
                ctx.send(1, message)
            else:
                ctx.install(message)
                ctx.read(look)
                ctx.answer(look)

    world = toy_world(Copying, uniform(2, 20.0), crashable=crashable)
    answers: list[Any] = []
    for machine in world.machines:
        for link in machine.answer_links:
            link.callbacks = (answers.append,)
    start(world, 50)
    snapshot = Snapshot(1, ((7, 42),))
    assert world.machines[0].replica.seen == [(0, 0, snapshot)]
    assert world.machines[1].replica.seen == [(10 * MS, 0, snapshot)]
    assert [(event.command, event.result) for event in answers] == [(look, 42)]
    for machine in world.machines:
        machine.tell_all()


def test_an_answer_is_as_large_as_the_value_that_was_read() -> None:
    """Requests carry the payload of a write, answers that of a read: a read-only workload is not free."""

    def bytes_sent(reads: float) -> tuple[int, int]:
        workload = Workload(clients=1, reads=reads, size=1000, keys="uniform", records=1)
        world = toy_world(Toy, uniform(1, 0.0), find_profile("m5-large"), workload=workload, duration_s=0.2, warmup_s=0)
        world.run()
        counters = world.machines[0].counters()
        return counters.sent, counters.sent_bytes

    for reads, least in ((0.0, 0), (1.0, 0), (0.5, 400)):
        answers, sent_bytes = bytes_sent(reads)
        each = sent_bytes / answers
        assert answers > 50
        assert each == ANSWER_BYTES if least == 0 else least < each < ANSWER_BYTES + 600


def test_an_answer_before_the_execution_is_caught() -> None:
    class Hasty(Toy):
        __slots__ = ()

        def on_request(self, ctx: Context, command: Command) -> None:
            ctx.commit(command.sequence, command)
            ctx.answer(command)
            ctx.execute(command)

    world = toy_world(Hasty, uniform(1, 0.0), duration_s=0.2, warmup_s=0)
    with pytest.raises(PropertyViolated, match="has not executed"):
        world.run()


def test_an_installed_snapshot_is_judged_by_what_its_taker_has_committed() -> None:
    """Replica 0 takes a snapshot and is idle; the disk holds its commit back until later, and replica 1 installs."""
    write, again = Command(0, 1, "swap", 7, 42), Command(0, 1, "swap", 7, 42)

    class Slow(Toy):
        __slots__ = ()
        messages = (*Toy.messages, Snapshot)

        def on_start(self, ctx: Context) -> None:
            if self.me == 0:
                ctx.commit(1, Command(9, 1, "put", 7, 11))
                ctx.execute(Command(9, 1, "put", 7, 11))
                ctx.persist("log", write)
                ctx.commit(2, write)
                ctx.execute(write)
                ctx.take_snapshot(2)

        def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
            if self.me == 0:
                ctx.send(1, message)
            else:
                ctx.install(message)
                ctx.answer(again)

    profile = msgspec.structs.replace(find_profile("zero"), fsync_ms=1.0)
    world = toy_world(Slow, uniform(2, 20.0), profile, crashable=True)
    answers: list[Any] = []
    for machine in world.machines:
        for link in machine.answer_links:
            link.callbacks = (answers.append,)
    start(world, 50)
    assert [event.result for event in answers] == [11], "what the swap returned is part of the snapshot"


def test_reads_beside_the_log_are_answered_in_any_order() -> None:
    """Two reads that found nothing, then their answers, as a leader does that has confirmed a batch of reads."""

    class Reading(Toy):
        __slots__ = ("waiting",)

        def __init__(self, me: int, cluster: Any, options: Any) -> None:
            super().__init__(me, cluster, options)
            self.waiting: list[Command] = []

        def on_request(self, ctx: Context, command: Command) -> None:
            self.waiting.append(command)
            if len(self.waiting) == 2:
                for get in self.waiting:
                    ctx.read(get)
                for get in self.waiting:
                    ctx.answer(get)
                self.waiting.clear()

    world = toy_world(
        Reading,
        uniform(1, 0.0),
        find_profile("m5-large"),
        workload=Workload(clients=2, reads=1.0),
        duration_s=0.5,
        warmup_s=0,
    )
    world.run()
    assert len(world.operations) > 10
    assert (world.operations.column("result") == NEVER).all()
