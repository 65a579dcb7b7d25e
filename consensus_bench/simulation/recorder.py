"""Writes down every message between replicas of a world: when it left, when and whether it arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from consensus_bench.simulation.world import World


class Recorded(msgspec.Struct):
    """One message. ``end_ns``: when it arrived, or, of one that was lost (``lost``), where it should have."""

    source: int
    to: int
    kind: str
    leave_ns: int
    end_ns: int
    lost: bool = True


class Recorder:
    """Listens at the ends of all links between replicas. To be made before the world runs."""

    def __init__(self, world: World) -> None:
        self.messages: list[Recorded] = []
        self._known: dict[int, tuple[Any, Recorded]] = {}  # the event is kept, so that its id stays its own
        for source, machine in enumerate(world.machines):
            for to, link in enumerate(machine.links):
                if source != to:
                    link.callbacks = (self._listener(world, source, to, link.callbacks[0], gated=bool(world.injector)),)
        for gate in world.injector.gates if world.injector is not None else ():
            origin, target = gate.origin.replica, gate.target.replica
            if origin is not None and target is not None and origin != target:
                gate.listen(self._arrival(world, origin, target))

    def _listener(
        self, world: World, source: int, to: int, then: Callable[[Any], None], gated: bool
    ) -> Callable[[Any], None]:
        arrived = self._arrival(world, source, to)

        def at_the_end(event: Any) -> None:
            if event.leave_ns <= event.sender.died_ns:
                self._record(event, source, to)
                if not gated:
                    arrived(event)
            then(event)

        return at_the_end

    def _arrival(self, world: World, source: int, to: int) -> Callable[[Any], None]:
        def arrived(event: Any) -> None:
            if event.leave_ns <= event.sender.died_ns:
                known = self._known.get(id(event))
                message = self._record(event, source, to) if known is None or not known[1].lost else known[1]
                message.end_ns = world.env.now
                message.lost = not world.machines[to].alive

        return arrived

    def _record(self, event: Any, source: int, to: int) -> Recorded:
        message = Recorded(source, to, type(event.message).__name__, event.leave_ns, event.arrive_ns)
        self.messages.append(message)
        self._known[id(event)] = (event, message)
        return message
