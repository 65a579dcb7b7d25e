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


class Gate:
    """Stands in front of ``link``'s callback. ``troubles`` are those of the faults that strike it now."""

    __slots__ = ("_base_ns", "_draw", "_floor_ns", "_inner", "_name", "_queued", "_receiver", "_sender", "_world",
                 "origin", "target", "troubles")  # fmt: skip

    def __init__(self, world: World, link: Link, origin: End, target: End, base_ns: int) -> None:
        self._world = world
        self._inner: Callable[[Any], None] = link.callbacks[0]
        self._base_ns = base_ns
        self._sender: FaultyMachine | None = None if origin.replica is None else world.faulty(origin.replica)
        self._receiver: FaultyMachine | None = None if target.replica is None else world.faulty(target.replica)
        self._name = f"{origin.site}/{origin.replica} to {target.site}/{target.replica}"
        self._draw: Random | None = None
        self._floor_ns = 0  # nothing may arrive before this, so that what was delayed is not overtaken
        self._queued = 0  # messages that were delayed and have not arrived
        self.origin = origin
        self.target = target
        self.troubles: list[Trouble] = []
        link.callbacks = (self.arrive,)

    def arrive(self, event: Any) -> None:
        """A message arrives at the end of the link."""
        sender = self._sender
        if sender is not None and sender.pauses:
            late_ns = sender.held_up_ns(event.leave_ns)
            if late_ns is None:  # it has not left yet
                sender.outbox.append((self, event))
                return
            if late_ns:
                self._again(event, event.arrive_ns + late_ns, self._pass)
                return
        self._pass(event)

    def leave_late(self, event: Any, late_ns: int) -> None:
        """The sender goes on, and the message leaves: so much later than it would have."""
        self._again(event, event.arrive_ns + late_ns, self._pass)

    def _pass(self, event: Any) -> None:
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
            self._again(_twin(event), at + twice_ns, self._enter)
        if overtaken:
            self._again(event, at, self._enter)
        elif at > now or self._queued:
            self._floor_ns = max(at, self._floor_ns)
            self._queued += 1
            self._again(event, self._floor_ns, self._enter_in_order)
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

    def _again(self, event: Any, at_ns: int, then: Callable[[Any], None]) -> None:
        event.arrive_ns = at_ns
        event.callbacks = (then,)
        self._world.schedule(event, NORMAL, at_ns - self._world.env.now)

    def _enter_in_order(self, event: Any) -> None:
        self._queued -= 1
        self._enter(event)

    def _enter(self, event: Any) -> None:
        receiver = self._receiver
        if receiver is not None and receiver.paused:
            receiver.inbox.append((self._inner, event))
        else:
            self._inner(event)


def _twin(event: Any) -> Any:
    return msgspec.structs.replace(event)
