"""One leader election, with the real protocol classes: the world of a trial, and what its servers have on disk.

What is measured, and how the published experiments are matched, is in docs/elections.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Hashable, Mapping
from functools import cache
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract import Cluster, Command, Options, Replica, ns
from consensus_bench.contract.context import BROADCAST, BROADCAST_UNSYNCED, FORGET, PERSIST, SEND, SEND_UNSYNCED
from consensus_bench.contract.steps import Deliver, Input, Request, Start, step
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Alarm
from consensus_bench.simulation.machine import Link, Machine
from consensus_bench.simulation.network import Geography
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.randomness import constant, plain_stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

LIMIT: Final = 1000
"""A trial without a leader ends after so many times the longest time-out."""
LEAST_LIMIT_NS: Final = 60_000_000_000

Contents = Mapping[Hashable, Any]
Range = tuple[float, float]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What all trials of a measurement have in common. Ranges are in ms, draws uniform. ``one_way`` None: the delays of
    the matrix ``delay_ns``."""

    protocol: str
    survivors: int
    delay_ns: tuple[tuple[int, ...], ...]
    one_way: Range | None
    staggered: bool
    vote_write: Range
    candidate_write: Range
    options: dict[str, Any]

    def world(self, seed: int) -> ElectionWorld:
        """The trial with this seed."""
        size = len(self.delay_ns)
        settings = Settings(
            protocol=self.protocol,
            geography=Geography(tuple(map(str, range(size))), self.delay_ns, tuple(range(size)), ()),
            workload=Workload(),
            profile=find_profile("zero"),
            seed=seed,
            options=self.options,
            crashable=True,
        )
        return ElectionWorld(settings, self)


# What the servers have on disk.


@cache
def disks_before(
    protocol: type[Replica], options: Options, size: int, survivors: int, staggered: bool
) -> list[Contents]:
    """What each server's disk holds when the leader dies, made by running the protocol: the last server is elected by
    all, then appends ``survivors - 1`` commands. With ``staggered`` the k-th of them reaches all survivors but the
    first k, so that each survivor's log is one entry longer than that of the one before; otherwise none is appended."""
    leader = size - 1
    cluster = Cluster(size, (), leader)
    replicas = [protocol(r, cluster, options) for r in range(size)]
    disks: list[dict[Hashable, Any]] = [{} for _ in range(size)]
    for r in range(size):
        _settle(replicas, disks, r, Start(), range(size))
    for number in range(1, survivors) if staggered else ():
        reachable = [leader, *range(number, survivors)]
        _settle(replicas, disks, leader, Request(Command(0, number, "put", 0, number)), reachable)
    return list(disks)


def _settle(
    replicas: list[Replica], disks: list[dict[Hashable, Any]], first: int, event: Input, reachable: Container[int]
) -> None:
    """Feed ``event`` to a replica, and all messages that follow from it, at once and in order. What is sent to another
    than ``reachable`` is lost."""
    waiting: deque[tuple[int, Input]] = deque([(first, event)])
    while waiting:
        me, event = waiting.popleft()
        for tag, a, b in step(replicas[me], event):
            if tag == PERSIST:
                disks[me][a] = b
            elif tag == FORGET:
                disks[me].pop(a, None)
            elif tag in (SEND, SEND_UNSYNCED, BROADCAST, BROADCAST_UNSYNCED):
                targets = (a,) if tag in (SEND, SEND_UNSYNCED) else a
                waiting += [(to, Deliver(me, b)) for to in targets if to in reachable]


# The world.


class ElectionDisk(Disk):
    """A disk that is never empty, and whose writes take another time for a candidate than for a voter."""

    __slots__ = ("before", "candidate", "own", "voter")

    def __init__(self, before: Contents, voter: Callable[[], int], candidate: Callable[[], int]) -> None:
        super().__init__(self._duration, keep=True)
        self.before = before
        self.voter = voter
        self.candidate = candidate
        self.own = False
        """Whether the write that is issued is a candidate's own."""

    def _duration(self) -> int:
        return self.candidate() if self.own else self.voter()

    def contents(self) -> Contents:
        return self.before


class ElectionMachine(Machine):
    """Tells its disk who writes. A term and vote (Raft), or a promised ballot (Multi-Paxos), is a pair whose second is
    the replica that it is for: a candidate's own write is for itself."""

    __slots__ = ()

    def __init__(self, world: World, me: int, replica: Replica, disk: ElectionDisk, timer_stream: Random) -> None:
        super().__init__(world, me, replica, disk, timer_stream)
        context = self._path.enter(0)
        write = context.persist

        def persist(key: Hashable, value: Any) -> None:
            disk.own = type(value) is tuple and value[1] == me
            write(key, value)

        context.persist = persist  # type: ignore[method-assign]


class ElectionWorld(World):
    """A trial. Servers that are down have the highest numbers; the others have heard of their leader at time 0, when
    their election timers begin. ``elected_ns``: when a candidate has its majority, or None if none had in time."""

    def __init__(self, settings: Settings, trial: Trial) -> None:
        self.trial = trial
        self.delays = plain_stream(settings.seed, "delays")
        self.writes = plain_stream(settings.seed, "writes")
        super().__init__(settings)
        self.over = self.env.event()

    def _machine(self, me: int) -> Machine:
        trial = self.trial
        voter, candidate = (_uniform(bounds, self.writes) for bounds in (trial.vote_write, trial.candidate_write))
        before = disks_before(self.protocol, self.options, self.cluster.size, trial.survivors, trial.staggered)[me]
        timers = plain_stream(self.seed, "timers", me)
        return ElectionMachine(self, me, self._replica(me), ElectionDisk(before, voter, candidate), timers)

    def _connect(self) -> None:
        one_way, bounds = self.cluster.delay_ns, self.trial.one_way
        drawn = None if bounds is None else _uniform(bounds, self.delays)
        for a, machine in enumerate(self.machines):
            for b, other in enumerate(self.machines):
                delay = drawn or constant(one_way[a][b])
                machine.links.append(Link(delay, machine.own_callbacks if a == b else other.deliver_callbacks))

    def note(self, replica: int, now_ns: int, fact: str, command: Command | None) -> None:
        super().note(replica, now_ns, fact, command)
        if fact == "elected" and not self.over.triggered:
            self.over.succeed(now_ns)

    def elect(self) -> int | None:
        """Run until there is a leader; when that was (ns)."""
        survivors = self.trial.survivors
        for machine in self.machines[survivors:]:
            machine.crash()
        for replica in range(survivors):
            self.restart(replica)
        longest = ns(self.options.election_timeout_ms[1])
        self.schedule(Alarm((self._give_up,)), NORMAL, max(LIMIT * longest, LEAST_LIMIT_NS))
        elected: int | None = self.env.run(until=self.over)
        self.close()
        return elected

    def _give_up(self, _event: Alarm) -> None:
        if not self.over.triggered:
            self.over.succeed(None)


def _uniform(bounds: Range, rng: Random) -> Callable[[], int]:
    low, high = map(ns, bounds)
    if low == high:
        return constant(low)
    draw, spread = rng.random, high - low
    return lambda: low + round(draw() * spread)
