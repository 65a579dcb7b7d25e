"""Faults of replicas: processes that stop, machines that are slow, clocks that are wrong, and who is struck."""

from __future__ import annotations

from typing import Any

import pytest
from fault_worlds import PROTOCOLS, Beating, Writing, fsync, heard, loaded, toys
from worlds import MS, Ping, Toy, geography, toy_world

from consensus_bench.contract import OPERATOR, ChangeMembers, Command, ConfigError, Context, HandOver
from consensus_bench.simulation.faults.parsing import parse_fault
from consensus_bench.simulation.network import NO_JITTER, Jitter
from consensus_bench.simulation.profiles import Profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, World

IDLE = Workload(clients=1, think_ms=500.0)


def times(world: World) -> list[tuple[int, int, str, str]]:
    return [(f.start_ns // MS, f.end_ns // MS, f.kind, f.target) for f in world.fault_log]


# Crashes.


def test_a_crash_ends_a_process_and_its_restart_begins_a_new_one() -> None:
    world = toys(Beating, ["crash:p1@305 ms+200 ms"])
    arrivals = heard(world, to=0, source=1)
    assert [number for at, number in arrivals if at < 320][-1] == 30
    assert not [at for at, _ in arrivals if 315 <= at < 525]
    assert arrivals[30] == (525.0, 1), "a new object that counts from one"
    assert times(world) == [(305, 505, "crash", "p1")]


@pytest.mark.parametrize(
    ("target", "down"), [("p2", 1), ("p0,p2", 2), ("any 2", 2), ("minority", 1), ("majority", 2), ("all", 3)]
)
def test_a_crash_strikes_as_many_as_it_says(target: str, down: int) -> None:
    world = toys(Beating, [f"crash:{target}@300 ms"])
    assert sum(not machine.alive for machine in world.machines) == down


def test_any_is_drawn_from_the_seed() -> None:
    struck = {toys(Beating, ["crash:any 1@1 ms"], until_ms=2, seed=seed).fault_log[0].target for seed in range(20)}
    assert struck == {"p0", "p1", "p2"}
    again = [toys(Beating, ["crash:any 1@1 ms"], until_ms=2, seed=5).fault_log for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_the_leader_is_whoever_leads_then(protocol: str) -> None:
    """The first crash strikes the first leader, the second the one that was elected since."""
    world = loaded(protocol, ["crash:leader@2+6", "crash:leader@6+1"])
    world.run()
    first, second = (entry.target for entry in world.fault_log)
    assert first == "p0"
    assert second != first
    led = [f"p{replica}" for at, replica in world.elections if 2 * SECOND_NS < at < 6 * SECOND_NS]
    assert second == led[-1]


def test_a_fault_of_the_leader_waits_for_one() -> None:
    """After the first crash nobody leads for a second; the second fault strikes the next leader as soon as it is."""
    world = loaded("raft", ["crash:leader@2+3", "pause:leader@2.1+1"])
    world.run()
    elected = next(at for at, _ in world.elections if at > 2 * SECOND_NS)
    assert elected > 2.5 * SECOND_NS
    assert [(entry.kind, entry.start_ns) for entry in world.fault_log] == [
        ("crash", 2 * SECOND_NS), ("pause", elected)
    ]  # fmt: skip


def test_without_a_leader_a_fault_of_the_leader_strikes_the_first_that_was_asked_for() -> None:
    world = loaded("epaxos", ["crash:leader@2+1", "crash:followers@5+1"], first_leader=3)
    world.run()
    assert [entry.target for entry in world.fault_log] == ["p3", "p0,p1,p2,p4"]


def test_the_clients_of_a_site_die_with_it_and_come_back() -> None:
    world = loaded("raft", ["crash:p2@3+3,clients=true"])
    world.run()
    here = world.operations.column("site") == 2
    due, answered = world.operations.column("due_ns"), world.operations.column("answered_ns")
    down = (due > 3 * SECOND_NS) & (due < 6 * SECOND_NS)
    assert not (here & down).any()
    assert (~here & down).sum() > 50
    assert (here & (due > 6 * SECOND_NS)).sum() > 20
    assert (answered[here] < 0).sum() == 2, "one operation of each of its two clients was under way"
    assert (answered[~here] > 0).all()


@pytest.mark.parametrize("clients", [True, False])
def test_open_loop_arrivals_at_a_site_that_is_down_do_not_exist(clients: bool) -> None:
    faults = [f"crash:p2@3+3,clients={str(clients).lower()}"]
    world = loaded("raft", faults, workload=Workload(rate=100.0, swaps=0.5))
    world.run()
    due = world.operations.column("due_ns")[world.operations.column("site") == 2]
    assert ((due > 3 * SECOND_NS) & (due < 6 * SECOND_NS)).any() != clients
    assert (due > 6 * SECOND_NS).sum() > 40


# Pauses.


def test_a_paused_process_keeps_its_state_and_its_messages_and_timers_wait() -> None:
    world = toys(Beating, ["pause:p1@305 ms+200 ms"])
    sent = [number for _, number in heard(world, to=0, source=1)]
    assert sent == list(range(1, len(sent) + 1)), "it counts on: nothing was lost"
    assert [at for at, _ in heard(world, to=0, source=1)][28:33] == [300, 310, 515, 525, 535], "one timer is late"
    received = heard(world, to=1, source=0)
    assert [number for _, number in received] == list(range(1, len(received) + 1))
    assert not [at for at, _ in received if 305 <= at < 505]
    assert sum(at == 505 for at, _ in received) == 20, "what came in meanwhile is handled at once"


def test_what_a_paused_process_had_under_way_leaves_when_it_goes_on() -> None:
    """Its processor takes 50 ms for the message; the pause comes in the midst of it."""

    class Answering(Toy):
        __slots__ = ()

        def on_start(self, ctx: Context) -> None:
            if self.me == 0:
                ctx.send_unsynced(1, Ping(1))

        def on_ping(self, ctx: Context, source: int, message: Ping) -> None:
            super().on_ping(ctx, source, message)
            if self.me == 1:
                ctx.send_unsynced(0, Ping(2))

    slow = Profile(name="slow", source="test", receive_us=50_000)
    for fault, arrival in (("pause:p2@30 ms+100 ms", 70.0), ("pause:p1@30 ms+100 ms", 170.0), ("crash:p1@30 ms", None)):
        world = toys(Answering, [fault], profile=slow)
        assert heard(world, to=0, source=1) == ([] if arrival is None else [(arrival, 2)])
    for after in (35, 50):  # the answer would have left after 30 ms of the pause, and arrived after 40
        crash = f"crash:p1,when=pause begins,after={after} ms"
        world = toys(Answering, ["pause:p1@30 ms+100 ms", crash], profile=slow)
        assert heard(world, to=0, source=1) == []


def test_a_link_keeps_its_order_over_a_pause_of_its_sender() -> None:
    """The processor has a backlog of pings when the pause begins; those it sends after the pause come behind it."""

    class Echoing(Beating):
        __slots__ = ()

        def on_ping(self, ctx: Context, source: int, message: Ping) -> None:
            super().on_ping(ctx, source, message)
            if self.me == 1 and source == 0:
                ctx.send_unsynced(0, Ping(message.number))

        def on_timer(self, ctx: Context, name: Any) -> None:
            if self.me == 0:
                super().on_timer(ctx, name)

    slow = Profile(name="slow", source="test", receive_us=20_000)
    for jitter in (NO_JITTER, Jitter("lognormal", 0.5)):
        world = toys(Echoing, ["pause:p1@305 ms+33 ms"], profile=slow, jitter=jitter)
        numbers = [number for _, number in heard(world, to=0, source=1)]
        assert len(numbers) > 30
        assert numbers == sorted(numbers)


def test_a_paused_leader_answers_late_and_has_forgotten_nothing() -> None:
    """Nobody else can be elected in so short a pause; every operation is answered, those of the pause after it."""
    world = loaded("raft", ["pause:leader@3+0.6"])
    world.run()
    answered = world.operations.column("answered_ns")
    assert (answered > 0).all()
    assert len(world.elections) == 1
    assert (world.operations.column("attempts") == 1).all()
    assert not ((answered > 3.1 * SECOND_NS) & (answered < 3.6 * SECOND_NS)).any()
    assert ((answered > 3.6 * SECOND_NS) & (answered < 3.8 * SECOND_NS)).sum() > 5


def test_a_crash_ends_a_pause() -> None:
    world = toys(Beating, ["pause:p1@305 ms+400 ms", "crash:p1,when=pause begins,after=100 ms,duration=100 ms"])
    assert heard(world, to=0, source=1)[30:32] == [(525.0, 1), (535.0, 2)]


# Slow machines.


def test_a_slow_processor_takes_longer_and_is_accounted_for() -> None:
    profile = Profile(name="cpu", source="test", receive_us=100, send_us=10, execute_us=10)
    slow = loaded("raft", ["slow-cpu:p0@3+3,factor=20,delay=200 us"], profile=profile)
    fast = loaded("raft", ["slow-cpu:p0@9.9,factor=20"], profile=profile)
    for world in (slow, fast):
        world.run()
    usage = [world.usage()[0].cpu for world in (slow, fast)]
    assert usage[0] > 2 * usage[1]
    means = []
    for start, end in ((1, 3), (3.2, 6), (6.5, 9.5)):
        pair = []
        for world in (slow, fast):
            due = world.operations.column("due_ns") / SECOND_NS
            latency = world.operations.column("answered_ns") - world.operations.column("due_ns")
            pair.append(latency[(due > start) & (due < end)].mean() / MS)
        means.append(pair[0] - pair[1])
    assert means[1] > 5, "milliseconds more while it lasts"
    assert abs(means[0]) < 1
    assert abs(means[2]) < 1


def test_a_slow_fsync_and_a_stalling_disk_hold_up_what_waits_for_them() -> None:
    healthy = heard(toys(Writing, ["clock-skew:p2@1 ms"], profile=fsync(2)), to=0, source=1)
    assert healthy[:2] == [(22.0, 1), (32.0, 2)]
    slow = heard(toys(Writing, ["slow-fsync:p1@95 ms+50 ms,factor=3,delay=1 ms"], profile=fsync(2)), to=0, source=1)
    assert [at - 10 * number - 12 for at, number in slow[:16]] == [0.0] * 9 + [5.0] * 5 + [0.0] * 2
    stalled = heard(toys(Writing, ["stalling-disk:p1@95 ms+50 ms"], profile=fsync(2)), to=0, source=1)
    assert stalled[8:14] == [(102.0, 9)] + [(157.0, number) for number in range(10, 15)], "one fsync for all"
    assert stalled[14:16] == [(162.0, 15), (172.0, 16)]


# Clocks.


class Clocked(Toy):
    """Notes its own clock each 100 ms of it."""

    __slots__ = ()

    def on_start(self, ctx: Context) -> None:
        ctx.set_timer("look", 100 * MS)

    def on_timer(self, ctx: Context, name: Any) -> None:
        self.seen.append((ctx.clock_ns, self.me, 0))
        ctx.set_timer("look", 100 * MS)


def test_a_skewed_clock_is_off_and_its_timers_are_not() -> None:
    for offset in (70, -70):
        world = toys(Clocked, [f"clock-skew:p1@250 ms+400 ms,offset={offset} ms"], until_ms=950)
        assert [at for at, _ in heard(world, to=1)] == [100, 200, *(t + offset for t in (300, 400, 500, 600)), 700,
                                                        800, 900]  # fmt: skip
        assert [at for at, _ in heard(world, to=0)] == [100.0 * number for number in range(1, 10)]


def test_a_drifting_clock_runs_fast_and_its_timers_with_it() -> None:
    """A quarter fast from 0.2 s to 1 s: a timer of 100 ms takes 80 ms; at the end the clock is set right."""
    world = toys(Clocked, ["clock-drift:p1@200 ms+800 ms,ppm=250000"], until_ms=1150, duration_s=2.0)
    during = [100.0 * number for number in range(3, 12)]  # at 280, 360, ... 920 ms
    assert [at for at, _ in heard(world, to=1)] == pytest.approx([100, 200, *during, 1000, 1100], abs=0.001)
    assert [at for at, _ in heard(world, to=0)] == [100.0 * number for number in range(1, 12)]


# Triggers and the record.


def test_triggers_follow_one_another() -> None:
    faults = [
        "crash:p1@100 ms+50 ms",
        "pause:p2,when=replica crashed,after=10 ms,duration=20 ms",
        "slow-cpu:p0,when=replica restarted,duration=10 ms,delay=1 ms",
        "clock-skew:p0,when=pause ends,after=500 ms,duration=5 ms",
        "clock-skew:p0,when=crash begins,at=200 ms",
    ]
    assert times(toys(Beating, faults)) == [
        (100, 150, "crash", "p1"),
        (110, 130, "pause", "p2"),
        (150, 160, "slow-cpu", "p0"),
        (630, 635, "clock-skew", "p0"),
    ]


def test_a_fault_comes_back_every_so_often() -> None:
    assert [start for start, *_ in times(toys(Beating, ["pause:p1@100 ms+50 ms,every=300 ms"]))] == [100, 400, 700]
    some = toys(Beating, ["pause:p1@100 ms+50 ms,every=200 ms,times=2"])
    assert [start for start, *_ in times(some)] == [100, 300]
    thrice = toys(
        Beating, ["crash:p1@100 ms+50 ms,every=200 ms", "pause:p2,when=replica crashed,times=3,duration=9 ms"]
    )
    assert [start for start, _, kind, _ in times(thrice) if kind == "pause"] == [100, 300, 500]


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_when_a_leader_is_elected(protocol: str) -> None:
    world = loaded(protocol, ["crash:leader,when=leader elected,after=1500 ms,duration=2 s,times=2"])
    world.run()
    elected = [world.elections[0][0]]
    elected += [at for at, _ in world.elections if at > elected[0] + 1.5 * SECOND_NS][:1]
    assert [entry.start_ns for entry in world.fault_log] == [at + 1500 * MS for at in elected]


def test_a_program_injects_a_fault_now() -> None:
    world = toys(Beating, ["clock-skew:p2@1 ms"], until_ms=300)
    assert world.injector is not None
    world.injector.inject(parse_fault({"kind": "crash", "target": "p1", "duration": "100 ms"}))
    world.env.run(until=350 * MS)
    assert not world.machines[1].alive
    world.env.run(until=450 * MS)
    assert world.machines[1].alive
    assert times(world)[1:] == [(300, 400, "crash", "p1")]


def test_what_is_stopped_already_is_passed_over() -> None:
    world = toys(Beating, ["crash:p1@100 ms+500 ms", "crash:all@200 ms+100 ms", "pause:any 3@250 ms"])
    assert times(world) == [(100, 600, "crash", "p1"), (200, 300, "crash", "p0,p2")]
    assert all(machine.alive for machine in world.machines)


def test_the_end_of_a_crash_restarts_nobody_who_died_of_something_else() -> None:
    world = toys(Beating, ["crash:p1@100 ms+400 ms"], until_ms=200)
    world.restart(1)
    world.env.run(until=300 * MS)
    world.crash(1)
    world.env.run(until=600 * MS)
    assert not world.machines[1].alive


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_a_leader_that_was_restarted_leads_no_more(protocol: str) -> None:
    """It is back before anybody else is elected: the second fault waits for whoever is elected next."""
    world = loaded(protocol, ["crash:leader@3+0.2", "clock-skew:leader@3.3"])
    world.run()
    elected = next(at for at, _ in world.elections if at > 3 * SECOND_NS)
    assert elected > 3.5 * SECOND_NS
    assert world.fault_log[1].start_ns == elected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_world_that_could_have_faults_is_the_same_world(protocol: str) -> None:
    """Up to the first fault, gates and faulty machines change nothing: the same operations at the same times."""
    healthy, faulty = loaded(protocol, crashable=True), loaded(protocol, ["clock-skew:p0@9.99 s"])
    for world in (healthy, faulty):
        world.run()
    assert (healthy.operations.table() == faulty.operations.table()).all()
    assert healthy.usage() == faulty.usage()


def test_an_ordered_hand_over_reaches_the_leader_and_nobody_else() -> None:
    """Only a protocol that knows the order is struck; it goes to the nearest other replica unless it names one."""

    class Deaf(Toy):
        __slots__ = ()

        def on_request(self, ctx: Context, command: Command) -> None:
            """Nobody is answered."""

    class Obedient(Deaf):
        __slots__ = ()
        messages = (*Toy.messages, HandOver)

        def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
            self.seen.append((ctx.clock_ns, source, message.to))

    matrix = [[0.0, 30.0, 10.0], [30.0, 0.0, 20.0], [10.0, 20.0, 0.0]]
    for line, to in (("hand-over:p1@1", 2), ("hand-over:p1@1,to=p0", 0)):
        world = toy_world(Obedient, geography(matrix), faults=(parse_fault(line),), duration_s=2.0, workload=IDLE)
        world.run()
        heard = [[entry for entry in machine.replica.seen if entry[1] == OPERATOR] for machine in world.machines]
        assert heard == [[], [(1_000 * MS, OPERATOR, to)], []]
        assert [entry.kind for entry in world.fault_log] == ["hand-over"]
    world = toy_world(Deaf, geography(matrix), faults=(parse_fault("hand-over:p1@1"),), duration_s=2.0, workload=IDLE)
    world.run()
    assert world.fault_log == []
    with pytest.raises(ConfigError, match="not another replica's site"):
        toy_world(Deaf, geography(matrix), faults=(parse_fault("hand-over:p1@1,to=p1"),), duration_s=2.0, workload=IDLE)


def test_an_operator_names_the_members() -> None:
    class Deaf(Toy):
        __slots__ = ()

        def on_request(self, ctx: Context, command: Command) -> None:
            """Nobody is answered."""

    class Obedient(Deaf):
        __slots__ = ()
        messages = (*Toy.messages, ChangeMembers)

        def on_change_members(self, ctx: Context, source: int, message: ChangeMembers) -> None:
            self.seen.append((ctx.clock_ns, source, message.members))

    def ordered(protocol: type[Toy], line: str) -> World:
        world = toy_world(
            protocol, geography([[0.0, 30.0], [30.0, 0.0]]), faults=(parse_fault(line),), duration_s=2.0, workload=IDLE
        )
        world.run()
        return world

    world = ordered(Obedient, "change-members:p1@1,members=p1+p0")
    assert (1_000 * MS, OPERATOR, (0, 1)) in world.machines[1].replica.seen
    assert [entry.kind for entry in world.fault_log] == ["change-members"]
    assert ordered(Deaf, "change-members:p1@1,members=p0").fault_log == []
    for line, says in (
        ("change-members:p1@1", "names no members"),
        ("change-members:p1@1,members=p0+p9", "there is no replica at 'p9'"),
        ("change-members:p1@1,members=p0+p0", "'p0' is named twice"),
        ("change-members:p1@1+1,members=p0", "happens in a moment"),
    ):
        with pytest.raises(ConfigError, match=says):
            ordered(Obedient, line)
