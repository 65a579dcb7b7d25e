"""One simulated server: a replica, its processor, network card and disk, its timers. The hot path of the suite.

A message is one SimPy event. The processor serves messages in order of arrival; the handler runs when the message
arrives and its output leaves at ``busy = max(busy, now) + cost``, which gives the same latencies as an explicit queue
because nothing else can reach the replica in between. The network card serialises what leaves. What vouches for the
disk leaves when everything this replica ever wrote is durable (contract/context.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus_bench.contract import Command, Context, Replica, apply
from consensus_bench.contract.context import (
    ANSWER,
    BROADCAST,
    CANCEL_TIMER,
    COMMIT,
    EXECUTE,
    NOTE,
    PERSIST,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
    Effect,
)
from consensus_bench.contract.values import FRAME_BYTES, Key, sizer
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Alarm, Answer, Delivery, lost_in_crash

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
    """A server that runs ``replica``. Counters are plain attributes, read when a run ends."""

    __slots__ = (
        "_busy_ns", "_card_free_ns", "_commit_times", "_context", "_deferred", "_handlers", "_results", "_schedule",
        "_sizes", "_timers", "alive", "crashes", "deliver_callbacks", "disk", "epoch", "execute_ns", "executed",
        "links", "me", "ps_per_byte", "receive_ns", "received", "replica", "request_callbacks", "send_ns", "sent",
        "sent_bytes", "store", "timer_stream", "world",
    )  # fmt: skip

    def __init__(self, world: World, me: int, replica: Replica, disk: Disk, timer_stream: Random) -> None:
        profile = world.profile
        self.world = world
        self.me = me
        self.disk = disk
        self.timer_stream = timer_stream
        self.receive_ns = round(profile.receive_us * 1000)
        self.send_ns = round(profile.send_us * 1000)
        self.execute_ns = round(profile.execute_us * 1000)
        self.ps_per_byte = round(8_000_000 / profile.bandwidth_mbps) if profile.bandwidth_mbps else 0
        self.links: list[Link] = []
        self.deliver_callbacks = (self.deliver,)
        self.request_callbacks = (self.request,)
        self.alive = True
        self.epoch = 0
        self.crashes: list[int] = []
        self.received = self.sent = self.sent_bytes = self.executed = 0
        self._schedule = world.schedule
        self._context = Context()
        self._sizes: dict[type, Any] = {}
        self._deferred: deque[tuple[int, Effect]] | None = deque() if disk.keep else None
        self._boot(replica, 0)

    def _boot(self, replica: Replica, now_ns: int) -> None:
        self.replica = replica
        self._handlers = {kind: getattr(replica, name) for kind, name in replica.handlers.items()}
        self._timers: dict[Any, _Timer] = {}
        self._busy_ns = self._card_free_ns = now_ns
        self._commit_times: dict[tuple[int, int], int] = {}
        self._results: dict[int, dict[int, int | None]] = {}
        self.store: dict[Key, int] = {}

    # Inputs.

    def start(self) -> None:
        """First boot."""
        now = self.world.env.now
        self.replica.on_start(self._at(now))
        self._act(now, self._busy_ns)

    def deliver(self, event: Delivery) -> None:
        """A peer's message arrives."""
        sender = event.sender
        if not self.alive or (event.epoch != sender.epoch and lost_in_crash(event)):
            return
        message = event.message
        now: int = self.world.env.now
        busy = self._busy_ns
        if now > busy:
            busy = now
        if sender is not self:
            self.received += 1
            busy += self.receive_ns
        handler = self._handlers.get(type(message))
        if handler is None:
            self._busy_ns = busy
            return
        context = self._context
        context.clock_ns = now
        handler(context, sender.me, message)
        if context.effects:
            self._act(now, busy)
        else:
            self._busy_ns = busy

    def request(self, event: Delivery) -> None:
        """A client's command arrives."""
        if not self.alive:
            return
        now = self.world.env.now
        self.received += 1
        self.replica.on_request(self._at(now), event.message)
        self._act(now, max(self._busy_ns, now) + self.receive_ns)

    def crash(self) -> None:
        """The process dies: memory, writes that are not durable and all that waited for them are lost."""
        now = self.world.env.now
        self._tell_checks(now)
        self.alive = False
        self.crashes.append(now)
        self.epoch += 1
        self.disk.crash(now)
        if self._deferred is not None:
            self._deferred.clear()

    def restart(self, replica: Replica) -> None:
        """A new process finds what the disk kept."""
        now = self.world.env.now
        self.alive = True
        self._boot(replica, now)
        self.world.verifier.restarted(self.me)
        replica.recover(self._at(now), self.disk.contents())
        self._act(now, now)

    def _at(self, now_ns: int) -> Context:
        self._context.clock_ns = now_ns
        return self._context

    # Effects.

    def _act(self, now: int, busy: int) -> None:
        """Carry out what the handler did: it took the processor until ``busy``, sends not counted."""
        context = self._context
        effects = context.effects
        disk = self.disk
        if context.wrote:
            context.wrote = False
            disk.write(now, busy, effects)
        durable = disk.durable_ns
        fresh: Command | None = None  # committed in this handler, not yet executed
        done: Command | None = None  # executed last in this handler
        result: int | None = None
        committed_ns = 0
        for tag, a, b in effects:
            if tag == SEND or tag == SEND_UNSYNCED:  # noqa: SIM109 - a tuple test is slower
                busy = self._transmit(a, b, now, busy, durable if tag == SEND else 0)
            elif tag < PERSIST:
                unsynced_or_durable = durable if tag == BROADCAST else 0
                for to in a:
                    busy = self._transmit(to, b, now, busy, unsynced_or_durable)
            elif tag == PERSIST:
                pass  # written above, as one record
            elif tag == COMMIT:
                self._check(now, busy, durable, (COMMIT, a, b))
                if fresh is not None:
                    self._commit_times[fresh.client, fresh.sequence] = max(busy, durable)
                fresh = b
            elif tag == EXECUTE:
                busy += self.execute_ns
                self.executed += 1
                self._check(now, busy, durable, (EXECUTE, a, None))
                committed_ns = max(busy, durable)
                if a is fresh:
                    fresh = None
                elif self._commit_times:
                    committed_ns = self._commit_times.pop((a.client, a.sequence), committed_ns)
                done = a
                result = apply(self.store, a)
                if result is not None:
                    self._remember(a, result)
            elif tag == SET_TIMER:
                self._set_timer(a, b, now)
            elif tag == ANSWER:
                visible = max(busy, durable)
                if done is not None and a is done:
                    busy = self._answer(done, result, committed_ns, visible, now, busy, durable)
                else:
                    again = self._results.get(a.client, {}).get(a.sequence)
                    busy = self._answer(a, again, visible, visible, now, busy, durable)
            elif tag == CANCEL_TIMER:
                if a in self._timers:
                    self._timers[a].armed_ns = -1
            elif tag == NOTE:
                self.world.note(self.me, now, a, b)
        if fresh is not None and fresh.client >= 0:
            self._commit_times[fresh.client, fresh.sequence] = max(busy, durable)
        effects.clear()
        self._busy_ns = busy

    def _transmit(self, to: int, message: Any, now: int, busy: int, durable: int) -> int:
        """Send ``message`` to replica ``to``; returns when the processor is free again. ``durable`` is 0 for what need
        not wait for the disk."""
        link = self.links[to]
        if to == self.me:
            leave = arrive = busy if busy > durable else durable
        else:
            size: Any = self._sizes.get(type(message))
            if size is None:
                kind: Any = type(message)
                size = self._sizes[kind] = sizer(kind)
            if type(size) is not int:
                size = size(message)
            self.sent += 1
            self.sent_bytes += size
            busy += self.send_ns
            leave = self._card_free_ns
            if busy > leave:
                leave = busy
            leave += size * self.ps_per_byte // 1000
            self._card_free_ns = leave
            if durable:
                if durable > leave:
                    leave = durable
                arrive = leave + link.delay()
                if arrive < link.last_synced_ns:
                    arrive = link.last_synced_ns
                else:
                    link.last_synced_ns = arrive
            else:
                arrive = leave + link.delay()
                if arrive < link.last_unsynced_ns:
                    arrive = link.last_unsynced_ns
                else:
                    link.last_unsynced_ns = arrive
        self._schedule(Delivery(link.callbacks, self, self.epoch, leave, message), NORMAL, arrive - now)
        return busy

    def _answer(
        self, command: Command, result: int | None, committed: int, executed: int, now: int, busy: int, durable: int
    ) -> int:
        """Send a result straight to the client's site, behind the disk barrier."""
        link = self.world.answer_link(self.me, command.client)
        size = FRAME_BYTES + 16 + (command.size if command.kind == "get" else 0)
        self.sent += 1
        self.sent_bytes += size
        busy += self.send_ns
        leave = max(self._card_free_ns, busy) + size * self.ps_per_byte // 1000
        self._card_free_ns = leave
        leave = max(leave, durable)
        arrive = link.last_synced_ns = max(leave + link.delay(), link.last_synced_ns)
        event = Answer(link.callbacks, self, self.epoch, leave, command, result, committed, executed)
        self._schedule(event, NORMAL, arrive - now)
        return busy

    def _remember(self, command: Command, result: int) -> None:
        """Keep a read's result for a retry, until the client has moved on."""
        results = self._results.get(command.client)
        if results is None:
            results = self._results[command.client] = {}
        results[command.sequence] = result
        if len(results) >= 64:
            oldest = self.world.oldest_open(command.client)
            for sequence in [s for s in results if s < oldest]:
                del results[sequence]

    # Verification: a commit or execution behind the barrier is told when the disk has caught up.

    def _check(self, now: int, busy: int, durable: int, effect: Effect) -> None:
        deferred = self._deferred
        if deferred is not None and (deferred or durable > now or busy > now):
            self._tell_checks(now)
            if deferred or durable > now or busy > now:
                deferred.append((max(busy, durable), effect))
                return
        if effect[0] == COMMIT:
            self.world.verifier.committed(self.me, effect[1], effect[2])
        else:
            self.world.verifier.executed(self.me, effect[1])

    def tell_checks(self) -> None:
        """At the end of a run: everything still waiting for the disk counts."""
        self._tell_checks(None)

    def _tell_checks(self, now: int | None) -> None:
        deferred, verifier = self._deferred, self.world.verifier
        while deferred and (now is None or deferred[0][0] <= now):
            tag, a, b = deferred.popleft()[1]
            if tag == COMMIT:
                verifier.committed(self.me, a, b)
            else:
                verifier.executed(self.me, a)

    # Timers.

    def _set_timer(self, name: Any, delay_range: tuple[int, int], now: int) -> None:
        timer = self._timers.get(name)
        if timer is None:
            timer = self._timers[name] = _Timer()
        timer.armed_ns = now
        timer.low_ns, timer.high_ns = delay_range
        timer.deadline_ns = -1
        earliest = now + timer.low_ns
        if timer.queued_ns < 0 or timer.queued_ns > earliest:
            self._queue_alarm(name, timer, earliest, now)

    def _queue_alarm(self, name: Any, timer: _Timer, at_ns: int, now: int) -> None:
        timer.queued_ns = at_ns
        timer.alarms += 1
        self._schedule(Alarm((self._on_alarm,), (name, timer, timer.alarms, self.epoch)), NORMAL, at_ns - now)

    def _on_alarm(self, event: Alarm) -> None:
        name, timer, number, epoch = event.what
        if number != timer.alarms or epoch != self.epoch or not self.alive:
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
        self.replica.on_timer(self._at(now), name)
        self._act(now, max(self._busy_ns, now))
