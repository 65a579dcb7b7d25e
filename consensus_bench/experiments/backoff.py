"""How long proposers of Basic Paxos outbid each other, by the back-off they wait: one decision a run, many seeds.

All proposers are asked for a value at time 0, each by a client at its own site. A run ends when a majority of the
replicas has accepted one ballot and has it on disk: a value is chosen then, though nobody knows it yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract import Ballot, Command, ConfigError, Replica, ns
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Alarm, Delivery
from consensus_bench.simulation.machine import Machine
from consensus_bench.simulation.network import NO_JITTER, Geography, Jitter
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

PROTOCOL: Final = "basic-paxos"
CHUNK: Final = 50
"""Runs that a process does at a time."""


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs of a measurement have in common. ``delay_ns[a][b]``: one way, between replicas; ``proposers``:
    their numbers; ``backoff_ms``: what a proposer that was outbid waits, uniform; ``profile``: costs of the machines. A
    run without a decision ends after ``limit_s`` simulated seconds."""

    delay_ns: tuple[tuple[int, ...], ...]
    proposers: tuple[int, ...]
    backoff_ms: tuple[float, float]
    profile: str = "zero"
    jitter: Jitter = NO_JITTER
    limit_s: float = 60.0

    def world(self, seed: int) -> BackoffWorld:
        """The run with this seed; ``ConfigError`` if there can be none."""
        size = len(self.delay_ns)
        if not self.proposers or not set(self.proposers) <= set(range(size)):
            raise ConfigError(f"proposers {self.proposers}: name at least one of the replicas 0 to {size - 1}")
        if self.limit_s <= 0:
            raise ConfigError(f"limit_s = {self.limit_s:g}: must be positive")
        places = tuple(range(size))
        settings = Settings(
            protocol=PROTOCOL,
            geography=Geography(tuple(map(str, places)), self.delay_ns, places, self.proposers),
            workload=Workload(clients=1),
            profile=find_profile(self.profile),
            jitter=self.jitter,
            seed=seed,
            options={"backoff_ms": list(self.backoff_ms)},
        )
        return BackoffWorld(settings, self)


class Decision(msgspec.Struct, frozen=True):
    """How a run ended: when a value was chosen (None: not within the limit), and at the how manieth ballot that was
    begun (how many had begun)."""

    chosen_ns: int | None
    ballots: int


class BackoffMachine(Machine):
    """Tells its world what the replica writes: a round of its own is a new ballot, an acceptor's record what it has
    accepted."""

    __slots__ = ()

    def __init__(self, world: BackoffWorld, me: int, replica: Replica, disk: Disk, timer_stream: Random) -> None:
        super().__init__(world, me, replica, disk, timer_stream)
        context = self._path.enter(0)
        write = context.persist

        def persist(key: Any, value: Any) -> None:
            write(key, value)
            if key == "round":
                world.ballots.append((value, me))
            elif key == "accepted":
                world.writes_acceptance(me, value[0], disk.durable_ns)

        context.persist = persist  # type: ignore[method-assign]


class BackoffWorld(World):
    """One run. ``ballots``: all that have begun, in this order."""

    def __init__(self, settings: Settings, backoff: Backoff) -> None:
        self.backoff = backoff
        self.ballots: list[Ballot] = []
        self._acceptors: dict[Ballot, set[int]] = {}
        super().__init__(settings)
        self.over = self.env.event()
        self._majority = self.cluster.size // 2 + 1

    def _machine(self, me: int) -> Machine:
        plain = super()._machine(me)
        return BackoffMachine(self, me, plain.replica, plain.disk, plain.timer_stream)

    def writes_acceptance(self, acceptor: int, ballot: Ballot, durable_ns: int) -> None:
        """``acceptor`` has accepted ``ballot``, which is on its disk at ``durable_ns``."""
        wait = max(0, durable_ns - self.env.now)
        self.schedule(Alarm((self._accepted,), (acceptor, ballot)), NORMAL, wait)

    def _accepted(self, event: Alarm) -> None:
        acceptor, ballot = event.what
        acceptors = self._acceptors.setdefault(ballot, set())
        acceptors.add(acceptor)
        if len(acceptors) == self._majority and not self.over.triggered:
            self.over.succeed(Decision(self.env.now, self.ballots.index(ballot) + 1))

    def decide(self) -> Decision:
        """Ask all proposers at time 0 and run until a value is chosen, or the limit."""
        for machine in self.machines:
            machine.start()
        for number, proposer in enumerate(self.backoff.proposers):
            site, machine = self.sites[number], self.machines[proposer]
            command = Command(number, 1, "put", 0, number + 1)
            self.schedule(Delivery(machine.request_callbacks, site.life, 0, 0, command), NORMAL, 0)
        self.schedule(Alarm((self._give_up,)), NORMAL, round(self.backoff.limit_s * 1e9))
        decision: Decision = self.env.run(until=self.over)
        self.close()
        return decision

    def _give_up(self, _event: Alarm) -> None:
        if not self.over.triggered:
            self.over.succeed(Decision(None, len(self.ballots)))


def decide(backoff: Backoff, seeds: Sequence[int], jobs: int = 1) -> list[Decision]:
    """One run for each of ``seeds``, each a function of ``backoff`` and its seed alone."""
    if jobs == 1 or len(seeds) <= CHUNK:
        return [backoff.world(seed).decide() for seed in seeds]
    chunks = [seeds[first : first + CHUNK] for first in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        return [one for part in pool.map(decide, [backoff] * len(chunks), chunks) for one in part]


# What can be said without running anything.


class Exposure(msgspec.Struct, frozen=True):
    """How another proposer can still outbid a ballot that nobody else has outbid yet, times in ns after it begins: it
    hears of it at ``heard_ns`` at the earliest, and disturbs it only by a ballot that it begins by ``open_ns``."""

    heard_ns: int
    open_ns: int

    @property
    def window_ns(self) -> int:
        """A back-off that is longer than this loses the duel; not above 0: any does."""
        return self.open_ns - self.heard_ns


def phase_ns(delay_ns: Sequence[Sequence[int]], proposer: int) -> int:
    """How long a phase takes there: the round trip to the last of the nearest majority, itself included."""
    size = len(delay_ns)
    return sorted(delay_ns[proposer][a] + delay_ns[a][proposer] for a in range(size))[size // 2]


def exposure(delay_ns: Sequence[Sequence[int]], holder: int, other: int) -> Exposure:
    """Of a ballot of ``holder`` towards ``other``, where delays are constant and machines cost nothing.

    Its Accept leaves after a phase. The other's Prepare must be at so many acceptors before it that no majority is
    left. It begins a ballot only after a Nack, from an acceptor that has seen the holder's Prepare."""
    size = len(delay_ns)
    phase = phase_ns(delay_ns, holder)
    latest = sorted(phase + delay_ns[holder][a] - delay_ns[other][a] for a in range(size))[size // 2]
    heard = min(delay_ns[holder][a] + delay_ns[a][other] for a in range(size))
    return Exposure(heard, latest)


def chance_outbid(backoff: Backoff, holder: int, other: int) -> float:
    """An upper bound of the probability that a ballot of one of two proposers is outbid by the other.

    Of two proposers only the one that does not hold the highest ballot can be outbid and wait. Each Nack draws its wait
    anew; that one of these draws ends within the window has at most the probability that the window has in one draw
    (they share it among them)."""
    low, high = map(ns, backoff.backoff_ms)
    exposed = exposure(backoff.delay_ns, holder, other).window_ns - low
    if exposed < 0:
        return 0.0
    return 1.0 if exposed >= high - low else exposed / (high - low)


def tail_bound(backoff: Backoff, most: int) -> list[float]:
    """Upper bounds of the probability that two proposers need more than 1, 2, ..., ``most`` ballots. The first two
    begin together, and the higher of them is the second; from then on they take turns."""
    if len(backoff.proposers) != 2:
        raise ConfigError(f"proposers {backoff.proposers}: the bound is for two")
    first, second = sorted(backoff.proposers)
    chances = chance_outbid(backoff, second, first), chance_outbid(backoff, first, second)
    bounds = [1.0]
    for ballot in range(2, most + 1):
        bounds.append(bounds[-1] * chances[ballot % 2])
    return bounds


def needing_more(decisions: Sequence[Decision], ballots: int) -> float:
    """The share of runs in which the value was not chosen at one of the first ``ballots`` ballots."""
    return sum(d.chosen_ns is None or d.ballots > ballots for d in decisions) / len(decisions)


def summary(decisions: Sequence[Decision]) -> dict[str, float | int | None]:
    """Quantiles of the time to decide (ms; None: not within the limit) and of the number of ballots."""
    times = sorted(math.inf if d.chosen_ns is None else d.chosen_ns / 1e6 for d in decisions)
    ballots = sorted(d.ballots for d in decisions)

    def at(ordered: Sequence[float], share: float) -> float | None:
        value = ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
        return value if math.isfinite(value) else None

    found: dict[str, float | int | None] = {"runs": len(times), "undecided": times.count(math.inf)}
    found |= {f"{name}_ms": at(times, share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))}
    found["mean_ballots"] = sum(ballots) / len(ballots)
    found |= {"p99_ballots": at(ballots, 0.99), "max_ballots": ballots[-1]}
    return found
