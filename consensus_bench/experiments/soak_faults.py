"""Draws the faults of a soak run: what a nemesis does at rates of this run, storms, and turbulence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, Literal

import msgspec

from consensus_bench import contract
from consensus_bench.contract import HandOver, Replica
from consensus_bench.exploration.faults import survivable
from consensus_bench.simulation.faults import AnyFault, Fault, Nemesis
from consensus_bench.simulation.faults.kinds import (
    ChangeMembers,
    CorruptRecord,
    Crash,
    DuplicatingLink,
    FailingFsync,
    LossyLink,
    MisdirectedWrite,
    ProcessFault,
    ReorderingLink,
    SlowCpu,
    SlowFsync,
)
from consensus_bench.simulation.faults.nemesis import SAFE
from consensus_bench.simulation.faults.times import time_text
from consensus_bench.simulation.faults.validation import ELECTED, RESTARTED
from consensus_bench.simulation.randomness import plain_stream

PROMISES: Final[tuple[tuple[str, Callable[[type[Replica]], bool], tuple[str, ...]], ...]] = (
    ("crash-recovery on an asynchronous network", lambda _protocol: True, SAFE),
    ("repair of one damaged disk", lambda protocol: protocol.repairs_disks, ()),  # see _damage
    ("orderly hand-over", lambda protocol: HandOver in protocol.messages, ("hand-over",)),
    ("change of members", lambda protocol: changes_members(protocol), ()),  # see _changes
)
"""(promise, which protocols make it, the kinds of fault that they then survive). Of the kinds in none of these,
``lying-fsync`` breaks what every protocol here is built on; ``corrupt-record``, ``misdirected-write`` and ``crash``
with ``disk = lose`` need a protocol that rejoins by repair, and strike one replica of a run in which all come back. So
are ``change-members`` given only in such runs, since few members bear few crashes, and none with damaged disks."""
START_S: Final = 0.2
DAMAGED: Final = 0.35
"""Share of the runs in which a disk is damaged, where the protocol repairs it and all replicas come back."""
CHANGING: Final = 0.5
"""Share of the runs in which members change, where they can, all replicas come back and no disk is damaged."""
TURBULENT: Final = 0.4
"""Share of the runs in which nothing is on time."""
MOST_TURBULENT: Final = 60
"""Faults of that kind in one run."""
NS_PER_MS: Final = 1_000_000
RECEIVE_NS: Final = 25_000
"""What a message costs the processor of the m5-large profile."""


class Timing(msgspec.Struct, frozen=True):
    """``rtt_ms``: the longest round trip between replicas, or from a client; the others follow from it."""

    rtt_ms: float
    timeout_ms: tuple[float, float]
    heartbeat_ms: float
    retry_ms: float
    client_timeout_ms: float
    faults_s: float
    calm_s: float


def kinds_for(protocol: type[Replica]) -> tuple[str, ...]:
    """The kinds of fault that ``protocol`` promises to survive."""
    return tuple(kind for _, promises, kinds in PROMISES if promises(protocol) for kind in kinds)


def changes_members(protocol: type[Replica]) -> bool:
    """Whether an operator can change who the members are."""
    return contract.ChangeMembers in protocol.messages


def turbulent(seed: int) -> bool:
    """Whether nothing is on time in the run with this seed."""
    return plain_stream(seed, "soak", "weather").random() < TURBULENT


def draw_faults(
    protocol: type[Replica], seed: int, sites: tuple[str, ...], options: Mapping[str, Any], timing: Timing, rough: bool
) -> tuple[AnyFault, ...]:
    """Phase one: what the nemesis draws at rates of this run, all over at its end. Then, in some runs, some replicas
    crash for good, perhaps the leader among them: the faults have ended for a majority only."""
    draw = plain_stream(seed, "soak", "rates")
    phase_ms = 1000 * timing.faults_s
    shortest = max(1.0, phase_ms * draw.uniform(0.01, 0.1))
    nemesis = Nemesis(
        kinds=kinds_for(protocol),
        start=f"{START_S} s",
        stop=_time(1000 * START_S + phase_ms),
        gap=_time(phase_ms / math.exp(draw.uniform(math.log(3), math.log(40)))),
        duration=(_time(shortest), _time(max(shortest, phase_ms * draw.uniform(0.1, 0.7)))),
    )
    with_clients = draw.choice((0.0, 0.0, 0.5))
    faults: list[Any] = []
    for fault in nemesis.draw(seed, sites, START_S + timing.faults_s):
        dies_with_clients = isinstance(fault, Crash) and fault.target in sites and draw.random() < with_clients
        fault = _bounded(_to_the_ms(fault))
        faults.append(msgspec.structs.replace(fault, clients=True) if dies_with_clients else fault)
    faults += _storms(plain_stream(seed, "soak", "storms"), timing)
    faults += _turbulence(plain_stream(seed, "soak", "turbulence"), timing) if rough else []
    down = draw.randint(0, survivable(options, len(sites))) if draw.random() < 0.5 else 0
    end = _time(1000 * START_S + phase_ms)
    if down and draw.random() < 0.5:
        faults.append(Crash(target="leader", at=end))
        down -= 1
    faults += [Crash(target=f"any {down}", at=end)] if down else []
    all_come_back = all(fault.duration for fault in faults if isinstance(fault, Crash))
    damage: list[Fault] = []
    if protocol.repairs_disks and all_come_back and survivable(options, len(sites)):  # what one disk has, others have
        damage = _damage(plain_stream(seed, "soak", "damage"), sites, timing, faults)
    if changes_members(protocol) and all_come_back and not damage:
        faults += _changes(plain_stream(seed, "soak", "members"), sites, timing)
    return (*faults, *damage)


def _storms(draw: Random, timing: Timing) -> list[Fault]:
    """What strikes where it hurts: each new leader soon after its election, a replica when another one is back, or so
    many at once that nothing but their disks remembers. A majority may be down for a while then: what is on disk is
    promised to be enough for safety, and they come back."""
    phase_ms, (timeout_ms, _) = 1000 * timing.faults_s, timing.timeout_ms

    def soon(most: float) -> str:
        return _time(max(1.0, most * draw.random() ** 2))

    storms: list[Fault] = []
    if draw.random() < 0.35:
        storms.append(
            Crash(target="leader", at=_time(1000 * START_S), when=ELECTED, after=soon(timeout_ms),
                  times=draw.randint(1, 5), duration=soon(2 * timeout_ms))
        )  # fmt: skip
    if draw.random() < 0.3:
        storms.append(
            Crash(target="any 1", at=_time(1000 * START_S), when=RESTARTED, after=soon(timeout_ms),
                  times=draw.randint(1, 4), duration=soon(2 * timeout_ms))
        )  # fmt: skip
    for _ in range(draw.choice((0, 0, 0, 1, 2))):
        at = _time(1000 * START_S + draw.random() * 0.8 * phase_ms)
        storms.append(Crash(target=draw.choice(("majority", "all")), at=at, duration=soon(0.2 * phase_ms)))
    return storms


def _turbulence(draw: Random, timing: Timing) -> list[Fault]:
    """Nothing is on time for all of phase one: messages arrive after those of the next leaders, twice or never, disks
    are as slow as the network, and replicas are back before what they sent has arrived. What a protocol must not
    remember, forget or count twice is then on its way all the time."""
    phase_ms, (timeout_ms, _) = 1000 * timing.faults_s, timing.timeout_ms
    at = _time(1000 * START_S)
    everywhere: dict[str, Any] = {"target": "all", "duration": _time(phase_ms)}
    late = _time(timeout_ms * draw.uniform(0.3, 3))
    faults: list[Fault] = [ReorderingLink(at=at, rate=round(draw.uniform(0.1, 0.7), 3), delay=late, **everywhere)]
    if draw.random() < 0.5:
        faults.append(DuplicatingLink(at=at, rate=round(draw.uniform(0.05, 0.5), 3), delay=late, **everywhere))
    if draw.random() < 0.5:
        faults.append(LossyLink(at=at, rate=round(draw.uniform(0.02, 0.3), 3), **everywhere))
    if draw.random() < 0.6:
        slow = _time(max(1.0, timing.rtt_ms * draw.uniform(0.1, 2)))
        whom = draw.choice(("all", "leader", "any 1"))
        faults.append(SlowFsync(at=at, factor=1.0, delay=slow, **{**everywhere, "target": whom}))
    if draw.random() < 0.5:
        soon, away = (_time(max(1.0, timing.rtt_ms * draw.uniform(0, most))) for most in (0.5, 1.0))
        whom, times = draw.choice(("follower", "followers", "leader")), draw.randint(3, 20)
        faults.append(Crash(target=whom, at=at, when=ELECTED, after=soon, duration=away, times=times))
    if draw.random() < 0.8:
        gap_ms, away_ms = timeout_ms * draw.uniform(0.2, 1.5), timeout_ms * draw.choice((0.02, 0.2, 1.0))
        now = draw.expovariate(1) * gap_ms
        while now + away_ms < phase_ms and len(faults) < MOST_TURBULENT:
            whom = draw.choice(("leader", "any 1", "any 1"))
            faults.append(Crash(target=whom, at=_time(1000 * START_S + now), duration=_time(max(1.0, away_ms))))
            now += away_ms + draw.expovariate(1) * gap_ms
    return faults


def _damage(draw: Random, sites: tuple[str, ...], timing: Timing, others: Sequence[Fault]) -> list[Fault]:
    """In some runs one replica comes back, once or several times, with records that it cannot read, or with none."""
    if draw.random() >= DAMAGED:
        return []
    site, phase_ns = draw.choice(sites), round(1e9 * timing.faults_s)
    busy = [_span(fault) for fault in others if fault.target == site and isinstance(fault, ProcessFault | FailingFsync)]
    faults: list[Fault] = []
    for _ in range(draw.randint(1, 3)):
        start = round(1e9 * START_S + draw.uniform(0.02, 0.8) * phase_ns)
        length = round(draw.choice((0.01, 0.05, 0.2)) * phase_ns)
        if any(began <= start + length and start <= ended for began, ended in busy):
            continue
        busy.append((start, start + length))
        at, before, duration = (_time(ns / NS_PER_MS) for ns in (start, start - 0.01 * phase_ns, length))
        match draw.choice(("lost", "corrupt", "corrupt", "misdirected")):
            case "lost":
                faults.append(Crash(target=site, at=at, duration=duration, disk="lose"))
                continue
            case "corrupt":
                which: Literal["any", "newest"] = "any" if draw.random() < 0.5 else "newest"
                faults.append(CorruptRecord(target=site, at=before, records=draw.choice((1, 5, 1000)), which=which))
            case _:
                faults.append(MisdirectedWrite(target=site, at=before))
        faults.append(Crash(target=site, at=at, duration=duration))
    return faults


def _changes(draw: Random, sites: tuple[str, ...], timing: Timing) -> list[Fault]:
    """In some runs an operator changes who the members are, at any time and again and again."""
    if draw.random() >= CHANGING:
        return []
    return [
        ChangeMembers(
            target="leader",
            at=_time(1000 * (START_S + draw.random() * timing.faults_s)),
            members="+".join(draw.sample(sites, draw.randint(1, len(sites)))),
        )
        for _ in range(draw.randint(1, 12))
    ]


def _span(fault: Fault) -> tuple[int, int]:
    return fault.time_ns("at"), fault.time_ns("at") + (fault.time_ns("duration") if fault.duration else 0)


def _to_the_ms(fault: Fault) -> Fault:
    """For people to read. Both ends are rounded down, so that what did not overlap does not."""
    start = fault.time_ns("at") // NS_PER_MS
    if not fault.duration:
        return msgspec.structs.replace(fault, at=_time(start))
    end = (fault.time_ns("at") + fault.time_ns("duration")) // NS_PER_MS
    return msgspec.structs.replace(fault, at=_time(start), duration=_time(max(1, end - start)))


def _bounded(fault: Fault) -> Fault:
    """Factors multiply where such faults overlap, and an fsync of a minute, or a processor's backlog of an hour, would
    outlive all of them; delays add up only."""
    if isinstance(fault, SlowFsync):
        return msgspec.structs.replace(fault, factor=1.0)
    if isinstance(fault, SlowCpu):
        return msgspec.structs.replace(fault, factor=1.0, delay=time_text(round(fault.factor * RECEIVE_NS)))
    return fault


def _time(ms: float) -> str:
    return time_text(round(ms) * NS_PER_MS)
