"""What stands in front of a link's end in a world with faults: it drops, duplicates, delays, reorders and holds.

A gate acts when a message arrives, so that the path of a message in a healthy world is as short as without it. What is
under way when a link is cut is lost as well, and what is under way when it becomes slow is delayed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from consensus_bench.simulation.events import NORMAL
from consensus_bench.simulation.randomness import plain_stream

if TYPE_CHECKING:
    from consensus_bench.simulation.faults.machine import FaultyMachine
    from consensus_bench.simulation.machine import Link
    from consensus_bench.simulation.world import World


class End(msgspec.Struct, frozen=True):
    """One end of a link: a replica, or the clients of a site (``replica`` is None). ``site``: its name."""

    site: str
    replica: int | None = None


class Trouble(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What one fault does to the links that it strikes."""

    cut: bool = False
    lose: float = 0.0
    delay_ns: int = 0
    factor: float = 1.0
    duplicate: float = 0.0
    reorder: float = 0.0
    within_ns: int = 0
    """How much later a duplicate arrives, or how long what is overtaken is held up, at most."""


class _Line:
    """Messages of a link that were delayed, in order: none arrives before one that joined earlier."""

    __slots__ = ("_last_ns", "_then", "_world", "waiting")

    def __init__(self, world: World, then: Callable[[Any], None]) -> None:
        self._world = world
        self._then = then
        self._last_ns = 0
        self.waiting = 0

    def join(self, event: Any, at_ns: int) -> None:
        """``event`` goes on at that time, or when those before it have."""
        self._last_ns = max(at_ns, self._last_ns)
        self.waiting += 1
        _postpone(self._world, event, self._last_ns, self._leave)

    def _leave(self, event: Any) -> None:
        self.waiting -= 1
        self._then(event)


def _postpone(world: World, event: Any, at_ns: int, then: Callable[[Any], None]) -> None:
    event.arrive_ns = at_ns
    event.callbacks = (then,)
    world.schedule(event, NORMAL, at_ns - world.env.now)


class Gate:
    """Stands in front of ``link``'s callback. ``troubles`` are those of the faults that strike it now.

    A message passes in two steps, each of which keeps the order: it has left its sender (which may have been paused),
    then it has crossed the link (which may be in trouble).
    """

    __slots__ = ("_base_ns", "_crossing", "_draw", "_inner", "_late", "_name", "_receiver", "_sender", "_world",
                 "origin", "target", "troubles")  # fmt: skip

    def __init__(self, world: World, link: Link, origin: End, target: End, base_ns: int) -> None:
        self._world = world
        self._inner: Callable[[Any], None] = link.callbacks[0]
        self._base_ns = base_ns
        self._sender: FaultyMachine | None = None if origin.replica is None else world.faulty(origin.replica)
        self._receiver: FaultyMachine | None = None if target.replica is None else world.faulty(target.replica)
        self._name = f"{origin.site}/{origin.replica} to {target.site}/{target.replica}"
        self._draw: Random | None = None
        self._late = _Line(world, self._cross)
        self._crossing = _Line(world, self._enter)
        self.origin = origin
        self.target = target
        self.troubles: list[Trouble] = []
        link.callbacks = (self.arrive,)

    def listen(self, arrived: Callable[[Any], None]) -> None:
        """``arrived`` is told of every message that gets through, before its receiver is."""
        inner = self._inner

        def both(event: Any) -> None:
            arrived(event)
            inner(event)

        self._inner = both

    def arrive(self, event: Any) -> None:
        """A message arrives at the end of the link."""
        sender = self._sender
        if sender is not None and sender.pauses:
            late_ns = sender.held_up_ns(event.leave_ns)
            if late_ns is None:  # it has not left yet
                sender.outbox.append((self, event))
                return
            if late_ns or self._late.waiting:
                self.leave_late(event, late_ns)
                return
        self._cross(event)

    def leave_late(self, event: Any, late_ns: int) -> None:
        """The message left so much later than planned, because its sender was paused; what left after it follows."""
        self._late.join(event, event.arrive_ns + late_ns)

    def _cross(self, event: Any) -> None:
        now: int = event.arrive_ns
        at, overtaken, twice_ns = now, False, -1
        for trouble in self.troubles:
            if trouble.cut or (trouble.lose and self._happens(trouble.lose)):
                return
            at += trouble.delay_ns + round((trouble.factor - 1) * self._base_ns)
            if trouble.duplicate and self._happens(trouble.duplicate):
                twice_ns = self._later(trouble)
            if trouble.reorder and self._happens(trouble.reorder):
                overtaken = True
                at += self._later(trouble)
        if twice_ns >= 0:
            _postpone(self._world, msgspec.structs.replace(event), at + twice_ns, self._enter)
        if overtaken:
            _postpone(self._world, event, at, self._enter)
        elif at > now or self._crossing.waiting:
            self._crossing.join(event, at)
        else:
            self._enter(event)

    def _happens(self, probability: float) -> bool:
        return self._stream().random() < probability

    def _later(self, trouble: Trouble) -> int:
        return round(self._stream().random() * trouble.within_ns)

    def _stream(self) -> Random:
        if self._draw is None:
            self._draw = plain_stream(self._world.seed, "faults", "link", self._name)
        return self._draw

    def _enter(self, event: Any) -> None:
        receiver = self._receiver
        if receiver is not None and receiver.paused:
            receiver.inbox.append((self._inner, event))
        else:
            self._inner(event)
