"""A machine whose process can be paused, whose processor can be slowed down, and whose clock can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus_bench.contract import Replica
from consensus_bench.simulation.events import Alarm
from consensus_bench.simulation.faults.disk import NEVER_NS, FaultyDisk
from consensus_bench.simulation.hot_path import ActingContext
from consensus_bench.simulation.machine import Machine

if TYPE_CHECKING:
    from random import Random

    from consensus_bench.simulation.faults.gate import Gate
    from consensus_bench.simulation.world import World


class LocalClock:
    """A replica's own clock: off by ``offset_ns`` and, since ``since_ns``, fast by ``rate``."""

    __slots__ = ("offset_ns", "rate", "since_ns")

    def __init__(self) -> None:
        self.offset_ns = 0
        self.rate = 0.0
        self.since_ns = 0

    def read(self, now_ns: int) -> int:
        """What it shows at that time."""
        return now_ns + self.offset_ns + round((now_ns - self.since_ns) * self.rate)

    def change_rate(self, now_ns: int, rate: float) -> None:
        """It runs so fast from now on; what it is off by stays, and is set right when it runs true again."""
        self.offset_ns += round((now_ns - self.since_ns) * self.rate)
        self.since_ns, self.rate = now_ns, rate


class WrongContext(ActingContext):
    """A context that shows the replica its own clock."""

    __slots__ = ("_clock", "_shown_ns")

    def __init__(self, clock: LocalClock) -> None:
        self._clock = clock
        super().__init__()

    @property
    def clock_ns(self) -> int:
        """The replica's own clock."""
        return self._shown_ns

    @clock_ns.setter
    def clock_ns(self, now_ns: int) -> None:
        self._shown_ns = self._clock.read(now_ns)


class FaultyMachine(Machine):
    """A ``Machine`` in a world with faults; its disk keeps its contents."""

    __slots__ = ("_cpu_ns", "_cpu_since", "_healthy", "_timer", "booted_ns", "clock", "inbox", "outbox",
                 "paused", "pauses", "slowdowns")  # fmt: skip
    disk: FaultyDisk

    def __init__(self, world: World, me: int, replica: Replica, disk: FaultyDisk, timer_stream: Random) -> None:
        self.clock = LocalClock()
        self.booted_ns = 0
        self.paused = False
        self.pauses: list[tuple[int, int]] = []
        """From when to when (ns) each pause was; the last may have no end yet (``NEVER_NS``)."""
        self.inbox: list[tuple[Callable[[Any], None], Any]] = []
        """What has arrived during a pause, in order, with what handles it."""
        self.outbox: list[tuple[Gate, Any]] = []
        """What was on its way out when the pause began: it would have arrived by now."""
        self.slowdowns: list[tuple[float, int]] = []
        """(factor, ns more per message received) of each fault that slows the processor down."""
        self._cpu_ns = 0
        self._cpu_since = (0, 0, 0)
        super().__init__(world, me, replica, disk, timer_stream)
        self._healthy = (self.receive_ns, self.send_ns, self.execute_ns)
        context = self._path.enter(0)
        self._timer = context.set_timer
        context.set_timer = self._set_local_timer  # type: ignore[method-assign]

    def new_context(self) -> ActingContext:
        return WrongContext(self.clock)

    def _set_local_timer(self, name: Any, low_ns: int, high_ns: int | None = None) -> None:
        """By the replica's own clock: where it runs fast, the timer fires early."""
        rate = self.clock.rate
        if not rate:
            self._timer(name, low_ns, high_ns)
            return
        high_ns = low_ns if high_ns is None else high_ns
        self._timer(name, round(low_ns / (1 + rate)), round(high_ns / (1 + rate)))

    # The process.

    def crash(self) -> None:
        was_paused = self.paused
        self._end_pause(self.world.env.now)
        self.inbox.clear()
        self.outbox.clear()
        super().crash()
        if was_paused:  # nothing has left since
            self.life.died_ns = self.pauses[-1][0]
        for link in (*self.links, *self.answer_links):  # a new connection does not wait for what never left
            link.last_synced_ns = link.last_unsynced_ns = 0

    def restart(self, replica: Replica) -> None:
        self.booted_ns = self.world.env.now
        super().restart(replica)

    def pause(self) -> None:
        """The process stops, and keeps its state."""
        self.paused = True
        self.pauses.append((self.world.env.now, NEVER_NS))

    def resume(self) -> None:
        """It goes on: first with what leaves, then with what came in, in the order in which it came."""
        now = self.world.env.now
        began = self.pauses[-1][0]
        self._end_pause(now)
        outbox, self.outbox = self.outbox, []
        for gate, event in outbox:
            gate.leave_late(event, now - began)
        inbox, self.inbox = self.inbox, []
        for callback, event in inbox:
            if not isinstance(event, Alarm):
                event.arrive_ns = now
            callback(event)

    def _end_pause(self, now: int) -> None:
        if self.paused:
            self.paused = False
            self.pauses[-1] = (self.pauses[-1][0], now)

    def held_up_ns(self, leave_ns: int) -> int | None:
        """How much later a message leaves that would have left at that time; None: it has not yet."""
        for began, ended in reversed(self.pauses):
            if leave_ns >= ended:
                break
            if leave_ns > began:
                return None if ended == NEVER_NS else ended - began
        return 0

    def _on_alarm(self, event: Alarm) -> None:
        if self.paused:
            self.inbox.append((super()._on_alarm, event))
        else:
            super()._on_alarm(event)

    # The processor.

    def set_costs(self) -> None:
        """Work takes as long as the slowdowns say, from now on."""
        self._cpu_ns, self._cpu_since = self.cpu_ns(), self._work()
        receive, send, execute = self._healthy
        for factor, more_ns in self.slowdowns:
            receive, send, execute = round(receive * factor) + more_ns, round(send * factor), round(execute * factor)
        self.receive_ns, self.send_ns, self.execute_ns = receive, send, execute
        self._path.set_costs(receive, send, execute)

    def _work(self) -> tuple[int, int, int]:
        counters = self.counters()
        return counters.received, counters.sent, counters.executed

    def cpu_ns(self) -> int:
        received, sent, executed = (now - then for now, then in zip(self._work(), self._cpu_since, strict=True))
        return self._cpu_ns + received * self.receive_ns + sent * self.send_ns + executed * self.execute_ns
