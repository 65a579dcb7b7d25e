"""SimPy's clock and event queue, without two Python calls an event.

``Environment.schedule`` and ``Environment.step`` are most of what bare SimPy costs. Here whoever sends pushes onto
SimPy's queue itself, and ``run`` does in its loop what ``step`` does. SimPy's own processes, time-outs and conditions
run in it as ever; tests/simulation/test_clock.py holds the two loops to the same behaviour.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import URGENT


class Clock(simpy.Environment):
    """Time is a whole number of nanoseconds. ``queue`` is SimPy's heap of (time, priority, number, event);
    ``next_number()`` numbers the events, so that those of one moment happen in the order of scheduling.
    ``heappush(queue, (at_ns, NORMAL, next_number(), event))`` is ``schedule`` with a time instead of a delay."""

    def __init__(self) -> None:
        super().__init__(0)
        self.queue: list[Any] = self._queue
        self.next_number = self._eid.__next__

    def run(self, until: Any = None) -> Any:
        """As SimPy's. Up to a time (ns), every event before that moment is processed, the fast way."""
        if not isinstance(until, int):
            return super().run(until)
        if until <= self._now:
            raise ValueError(f"run(until={until}): it is {self._now} already")
        queue, pop = self.queue, heappop
        heappush(queue, (until, URGENT, self.next_number(), _End()))
        while True:
            self._now, _, _, event = pop(queue)
            callbacks = event.callbacks
            if type(callbacks) is tuple:  # a slim event: one callback, it cannot fail, and nobody looks at it again
                callbacks[0](event)
                continue
            event.callbacks = None
            for callback in callbacks:
                callback(event)
            if not event._ok:
                if type(event) is _End:
                    return None
                if not hasattr(event, "_defused"):
                    raise event._value


class _End:
    """The event at which ``run`` stops; it is no success, so that the loop has but one thing to ask."""

    callbacks: Any = []  # noqa: RUF012 - SimPy's way
    _ok = False
