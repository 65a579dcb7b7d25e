"""One simulated server: a replica, its processor, network card and disk, its timers, its crashes.

What happens to a message is in hot_path.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus_bench.contract import Command, PropertyViolated, Replica, Snapshot
from consensus_bench.contract.context import COMMIT, EXECUTE, INSTALL, TAKE_SNAPSHOT, Effect
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Alarm, Life
from consensus_bench.simulation.hot_path import ActingContext, Counters, hot_path

if TYPE_CHECKING:
    from random import Random

    from consensus_bench.simulation.world import World


class _Timer:
    """A timer of the protocol. Only its earliest possible moment is in the event queue; the delay is drawn when that
    moment comes and the timer has not been set again, so that re-arming (on every message of a leader) costs nothing.
    """

    __slots__ = ("alarms", "armed_ns", "deadline_ns", "high_ns", "low_ns", "queued_ns")

    def __init__(self) -> None:
        self.armed_ns = -1  # when it was last set; -1: not armed
        self.low_ns = self.high_ns = 0
        self.deadline_ns = -1  # drawn for the last setting, or -1
        self.queued_ns = -1  # when the alarm in the event queue is due, or -1
        self.alarms = 0  # number of that alarm: older ones are ignored


class Link:
    """One direction between two places. In order, like TCP; what waits for a disk has a lane of its own, because it
    leaves after what was sent later without waiting."""

    __slots__ = ("callbacks", "delay", "last_synced_ns", "last_unsynced_ns")

    def __init__(self, delay: Callable[[], int], callbacks: Any) -> None:
        self.delay = delay
        self.callbacks = callbacks
        self.last_synced_ns = 0
        self.last_unsynced_ns = 0


class Machine:
    """A server that runs ``replica``, from crash to crash."""

    __slots__ = (
        "_deferred", "_most_results", "_path", "_results", "_telling", "alive", "answer_links", "disk", "execute_ns",
        "handlers", "life", "links", "me", "ps_per_byte", "receive_ns", "replica", "send_ns", "tell_committed",
        "tell_executed", "timer_stream", "timers", "world",
    )  # fmt: skip

    def __init__(self, world: World, me: int, replica: Replica, disk: Disk, timer_stream: Random) -> None:
        profile = world.profile_of(me)
        self.world = world
        self.me = me
        self.disk = disk
        self.timer_stream = timer_stream
        self.receive_ns = round(profile.receive_us * 1000)
        self.send_ns = round(profile.send_us * 1000)
        self.execute_ns = round(profile.execute_us * 1000)
        self.ps_per_byte = round(8_000_000 / profile.bandwidth_mbps) if profile.bandwidth_mbps else 0
        self.links: list[Link] = []  # to each replica
        self.answer_links: list[Link] = []  # to each client's site
        self.alive = True
        self.handlers: dict[type, Any] = {}  # by message; empty while the machine is dead
        self.life = Life(me)
        self.timers: dict[Any, _Timer] = {}
        self._results: dict[int, dict[int, int | None]] = {}
        self._most_results: dict[int, int] = {}
        self._deferred: deque[tuple[int, Effect]] = deque()
        self._telling = False
        self.tell_committed: Callable[[int, Any, Command], None] = world.verifier.committed
        self.tell_executed: Callable[[int, Command], None] = world.verifier.executed
        if disk.keep:
            self.tell_committed, self.tell_executed = self._committed_when_durable, self._executed_when_durable
        self._path = hot_path(self)
        self._boot(replica, 0)

    def _boot(self, replica: Replica, now_ns: int) -> None:
        self.replica = replica
        self.alive = True
        self.handlers.update({kind: getattr(replica, name) for kind, name in replica.handlers.items()})
        self.timers.clear()
        self._results.clear()
        self._path.boot(now_ns)

    @property
    def deliver_callbacks(self) -> tuple[Callable[[Any], None]]:
        """Callbacks of a peer's message to this machine."""
        return (self._path.deliver,)

    @property
    def own_callbacks(self) -> tuple[Callable[[Any], None]]:
        """Callbacks of a message from this machine to itself."""
        return (self._path.deliver_own,)

    @property
    def request_callbacks(self) -> tuple[Callable[[Any], None]]:
        """Callbacks of a client's request to this machine."""
        return (self._path.request,)

    def counters(self) -> Counters:
        """What this machine has done so far."""
        return self._path.counters()

    def cpu_ns(self) -> int:
        """How long the processor has worked so far."""
        done = self.counters()
        return done.received * self.receive_ns + done.sent * self.send_ns + done.executed * self.execute_ns

    def new_context(self) -> ActingContext:
        """What the replica acts through."""
        return ActingContext()

    # Life and death.

    def start(self) -> None:
        """First boot."""
        self.replica.on_start(self._path.enter(self.world.env.now))

    def crash(self) -> None:
        """The process dies: memory, writes that are not durable and all that waited for them are lost."""
        now = self.world.env.now
        self._tell(now)
        self._deferred.clear()
        self.alive = False
        self.handlers.clear()
        self.life.died_ns = now
        self.disk.crash(now)

    def restart(self, replica: Replica) -> None:
        """A new process finds what the disk kept."""
        now = self.world.env.now
        self.life = Life(self.me)
        self._boot(replica, now)
        self.world.verifier.restarted(self.me)
        replica.recover(self._path.enter(now), self.disk.contents())

    # Results of reads, for a client that asks again.

    def remember(self, command: Command, result: int | None) -> None:
        """Keep a result until the client has moved on (None, for nothing found, only of reads beside the log)."""
        results = self._results.get(command.client)
        if results is None:
            results = self._results[command.client] = {}
            self._most_results[command.client] = 64
        results[command.sequence] = result
        if len(results) >= self._most_results[command.client]:
            oldest = self.world.oldest_open(command.client)
            for sequence in [s for s in results if s < oldest]:
                del results[sequence]
            self._most_results[command.client] = max(64, 2 * len(results))

    def recall(self, command: Command) -> int | None:
        """The result of an earlier execution of ``command``; there must have been one."""
        kept = self._results.get(command.client, {})
        if command.sequence in kept:
            return kept[command.sequence]
        if not self.world.verifier.has_executed(self.me, command) and not self._executes_soon(command):
            raise PropertyViolated("validity", f"replica {self.me} answers {command}, which it has not executed")
        return None

    def _executes_soon(self, command: Command) -> bool:
        """Whether its execution, or a snapshot that stands for it, only waits for the disk."""
        covers = self.world.verifier.covers
        return any(
            (tag == EXECUTE and what == command) or (tag == INSTALL and covers(what, command))
            for _, (tag, what, _) in self._deferred
        )

    def results(self) -> tuple[tuple[int, int, int | None], ...]:
        """All that is kept, for a snapshot: (client, sequence, result). Of what found nothing it says nothing."""
        kept = (
            (c, number, result) for c, some in sorted(self._results.items()) for number, result in sorted(some.items())
        )
        return tuple(entry for entry in kept if entry[2] is not None)

    # Verification. Where replicas can crash, a commit or execution that waits for the disk is told when the disk has
    # caught up, and never if a crash comes first.

    def _committed_when_durable(self, me: int, place: Any, command: Command) -> None:
        self._tell_when_durable((COMMIT, place, command))

    def _executed_when_durable(self, me: int, command: Command) -> None:
        self._tell_when_durable((EXECUTE, command, None))

    def tell_snapshot(self, snapshot: Snapshot) -> None:
        """The replica takes a snapshot."""
        if self.disk.keep:
            self._tell_when_durable((TAKE_SNAPSHOT, snapshot, None))
        else:
            self.world.verifier.snapshot(self.me, snapshot)

    def installed(self, snapshot: Snapshot) -> None:
        """The replica takes its state from a snapshot."""
        for client, sequence, result in snapshot.results:
            self.remember(Command(client, sequence, "get", 0), result)
        if self.disk.keep:
            self._tell_when_durable((INSTALL, snapshot, None))
        else:
            self.world.verifier.installed(self.me, snapshot)

    def _tell_when_durable(self, effect: Effect) -> None:
        now = self.world.env.now
        self._deferred.append((max(now, self.disk.durable_ns), effect))
        self._tell(now)

    def tell_due(self) -> None:
        """The verifier hears of all that the disk has caught up with."""
        self._tell(self.world.env.now)

    def tell_all(self) -> None:
        """At the end of a run: what still waits for the disk counts."""
        self._tell(None)

    def _tell(self, now: int | None) -> None:
        if self._telling:
            return
        self._telling = True
        deferred, verifier, me = self._deferred, self.world.verifier, self.me
        while deferred and (now is None or deferred[0][0] <= now):
            tag, a, b = deferred.popleft()[1]
            if tag == COMMIT:
                verifier.committed(me, a, b)
            elif tag == EXECUTE:
                verifier.executed(me, a)
            elif tag == TAKE_SNAPSHOT:
                verifier.snapshot(me, a)
            else:
                self.world.tell_due()  # whoever took the snapshot has committed what it covers
                verifier.installed(me, a)
        self._telling = False

    # Timers.

    def set_timer(self, name: Any, low_ns: int, high_ns: int, now: int) -> None:
        """Arm ``name`` for a delay in this range (ns), drawn when it matters."""
        timer = self.timers.get(name)
        if timer is None:
            timer = self.timers[name] = _Timer()
        timer.armed_ns = now
        timer.low_ns = low_ns
        timer.high_ns = high_ns
        timer.deadline_ns = -1
        earliest = now + low_ns
        if timer.queued_ns < 0 or timer.queued_ns > earliest:
            self._queue_alarm(name, timer, earliest, now)

    def cancel_timer(self, name: Any) -> None:
        """Disarm ``name``."""
        if name in self.timers:
            self.timers[name].armed_ns = -1

    def _queue_alarm(self, name: Any, timer: _Timer, at_ns: int, now: int) -> None:
        timer.queued_ns = at_ns
        timer.alarms += 1
        self.world.schedule(Alarm((self._on_alarm,), (name, timer, timer.alarms, self.life)), NORMAL, at_ns - now)

    def _on_alarm(self, event: Alarm) -> None:
        name, timer, number, life = event.what
        if number != timer.alarms or life is not self.life or not self.alive:
            return
        timer.queued_ns = -1
        if timer.armed_ns < 0:
            return
        now: int = self.world.env.now
        if timer.armed_ns + timer.low_ns > now:  # set again since
            self._queue_alarm(name, timer, timer.armed_ns + timer.low_ns, now)
            return
        if timer.deadline_ns < 0:
            spread = timer.high_ns - timer.low_ns
            timer.deadline_ns = timer.armed_ns + timer.low_ns + round(self.timer_stream.random() * spread)
        if timer.deadline_ns > now:
            self._queue_alarm(name, timer, timer.deadline_ns, now)
            return
        timer.armed_ns = timer.deadline_ns = -1
        self.replica.on_timer(self._path.enter(now), name)
