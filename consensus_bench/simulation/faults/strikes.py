"""What each kind of fault does to a replica, and how it is undone.

A strike takes effect when it is made, and gives back the function that ends it. It is not made at all, and gives back
None, where the replica cannot be struck: it is down already, or there is nothing on its disk.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from consensus_bench import contract
from consensus_bench.simulation.events import NORMAL, Alarm
from consensus_bench.simulation.faults.disk import NEVER_NS
from consensus_bench.simulation.faults.kinds import (
    ChangeMembers,
    ClockDrift,
    ClockSkew,
    CorruptRecord,
    Crash,
    FailingFsync,
    Fault,
    HandOver,
    LyingFsync,
    MisdirectedWrite,
    Pause,
    SlowCpu,
    SlowFsync,
    StallingDisk,
    TornCrash,
)

if TYPE_CHECKING:
    from consensus_bench.simulation.faults.machine import FaultyMachine
    from consensus_bench.simulation.world import World

Undo: TypeAlias = Callable[[], None]
F = TypeVar("F", bound=Fault)


class Hit(msgspec.Struct, Generic[F]):
    """A fault is about to strike a machine. ``end_ns``: when it will be over; ``draw``: its own random stream."""

    world: World
    fault: F
    machine: FaultyMachine
    end_ns: int
    draw: Random


Strike: TypeAlias = Callable[[Hit[Any]], Undo | None]


def _over() -> None:
    """Ends what was over in a moment."""


def _crash(hit: Hit[Crash]) -> Undo | None:
    world, machine = hit.world, hit.machine
    if not machine.alive:
        return None
    world.crash(machine.me)
    if hit.fault.disk == "lose":
        machine.disk.lose()
    restart = _restarting(world, machine)
    if not hit.fault.clients:
        return restart
    geography = world.settings.geography
    sites = [site for site in world.sites if geography.clients[site.index] == geography.replicas[machine.me]]
    for site in sites:
        world.population.stop(site)

    def back() -> None:
        restart()
        for site in sites:
            world.population.go_on(site)

    return back


def _restarting(world: World, machine: FaultyMachine) -> Undo:
    """Starts the replica again, unless somebody has."""
    died = machine.life

    def restart() -> None:
        if machine.life is died and not machine.alive:
            world.restart(machine.me)

    return restart


def _torn_crash(hit: Hit[TornCrash]) -> Undo | None:
    world, machine = hit.world, hit.machine
    if not machine.alive:
        return None
    life, ended = machine.life, False

    def crash(_event: Any) -> None:
        if machine.alive and machine.life is life and not ended:
            machine.disk.tear(world.env.now, hit.draw)
            world.crash(machine.me)

    def in_the_middle(start_ns: int, durable_ns: int) -> None:
        world.schedule(Alarm((crash,)), NORMAL, (start_ns + durable_ns) // 2 - world.env.now)

    if machine.disk.under_way(world.env.now):
        crash(None)
    else:
        machine.disk.watcher = in_the_middle
    restart = _restarting(world, machine)

    def end() -> None:
        nonlocal ended
        ended = True
        restart()

    return end


def _pause(hit: Hit[Pause]) -> Undo | None:
    machine = hit.machine
    if not machine.alive or machine.paused:
        return None
    life = machine.life
    machine.pause()

    def resume() -> None:
        if machine.life is life and machine.alive:
            machine.resume()

    return resume


def _slow_cpu(hit: Hit[SlowCpu]) -> Undo | None:
    machine = hit.machine
    entry = (hit.fault.factor, hit.fault.time_ns("delay"))
    machine.slowdowns.append(entry)
    machine.set_costs()

    def end() -> None:
        machine.slowdowns.remove(entry)
        machine.set_costs()

    return end


def _slow_fsync(hit: Hit[SlowFsync]) -> Undo | None:
    slowdowns = hit.machine.disk.slowdowns
    entry = (hit.fault.factor, hit.fault.time_ns("delay"))
    slowdowns.append(entry)
    return lambda: slowdowns.remove(entry)


def _stalling_disk(hit: Hit[StallingDisk]) -> Undo | None:
    disk = hit.machine.disk
    disk.stalled_until_ns = max(disk.stalled_until_ns, min(hit.end_ns, NEVER_NS))
    return _over


def _failing_fsync(hit: Hit[FailingFsync]) -> Undo | None:
    world, machine = hit.world, hit.machine
    if not machine.alive or machine.disk.failing is not None:
        return None
    stopped = None

    def stop(event: Alarm) -> None:
        nonlocal stopped
        if machine.alive and machine.life is event.what:
            stopped = machine.life
            world.crash(machine.me)

    def failed(at_ns: int) -> None:
        world.schedule(Alarm((stop,), machine.life), NORMAL, at_ns - world.env.now)

    machine.disk.failing = failed

    def end() -> None:
        machine.disk.failing = None
        if machine.alive and machine.disk.durable_ns >= NEVER_NS:
            world.crash(machine.me)  # its fsync has failed, although it does not know yet
            world.restart(machine.me)
        elif not machine.alive and machine.life is stopped:
            world.restart(machine.me)

    return end


def _lying_fsync(hit: Hit[LyingFsync]) -> Undo | None:
    disk = hit.machine.disk
    if disk.lying:
        return None
    disk.lying = True
    return lambda: disk.tell_the_truth(hit.world.env.now)


def _clock_skew(hit: Hit[ClockSkew]) -> Undo | None:
    clock, offset_ns = hit.machine.clock, hit.fault.time_ns("offset")
    clock.offset_ns += offset_ns

    def end() -> None:
        clock.offset_ns -= offset_ns

    return end


def _clock_drift(hit: Hit[ClockDrift]) -> Undo | None:
    world, clock = hit.world, hit.machine.clock
    began, rate = world.env.now, hit.fault.ppm * 1e-6
    clock.change_rate(began, clock.rate + rate)

    def end() -> None:
        now = world.env.now
        clock.change_rate(now, 0.0 if abs(clock.rate - rate) < 1e-12 else clock.rate - rate)
        clock.offset_ns -= round((now - began) * rate)

    return end


def _corrupt_record(hit: Hit[CorruptRecord]) -> Undo | None:
    rotten = hit.machine.disk.rot(hit.world.env.now, hit.fault.records, hit.fault.which == "newest", hit.draw)
    return _over if rotten else None


def _misdirected_write(hit: Hit[MisdirectedWrite]) -> Undo | None:
    hit.machine.disk.misdirect(hit.fault.detected, hit.draw)
    return _over


def _hand_over(hit: Hit[HandOver]) -> Undo | None:
    world, machine = hit.world, hit.machine
    if not machine.alive or contract.HandOver not in machine.replica.messages:
        return None
    to = world.site_numbers.get(hit.fault.to, world.cluster.nearest(machine.me)[1])
    world.operate(machine.me, contract.HandOver(to))
    return _over


def _change_members(hit: Hit[ChangeMembers]) -> Undo | None:
    world, machine = hit.world, hit.machine
    if not machine.alive or contract.ChangeMembers not in machine.replica.messages:
        return None
    members = sorted(world.site_numbers[site] for site in hit.fault.sites())
    world.operate(machine.me, contract.ChangeMembers(tuple(members)))
    return _over


STRIKES: Final[dict[type[Fault], Strike]] = {
    Crash: _crash,
    TornCrash: _torn_crash,
    Pause: _pause,
    SlowCpu: _slow_cpu,
    SlowFsync: _slow_fsync,
    StallingDisk: _stalling_disk,
    FailingFsync: _failing_fsync,
    LyingFsync: _lying_fsync,
    ClockSkew: _clock_skew,
    ClockDrift: _clock_drift,
    CorruptRecord: _corrupt_record,
    MisdirectedWrite: _misdirected_write,
    HandOver: _hand_over,
    ChangeMembers: _change_members,
}
"""What strikes replicas; what strikes links is in links.py."""
