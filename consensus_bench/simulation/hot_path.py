"""The hot path: a message delivered, handled, and what it sends. A function that makes functions.

Everything that a message touches is a local variable of ``hot_path`` (a cell of its closures), which CPython reaches
several times faster than attributes; nothing else in the suite is written this way. ``benchmarks/`` measures it.

The replica's context acts here at once instead of recording, with the same meaning (contract/context.py): nothing that
it does can reach the replica before the handler returns, because every message is an event of its own.

The processor serves messages in order of arrival. A handler runs when its message arrives, and its output leaves at
``busy = max(busy, now) + cost``: the latencies are those of an explicit queue, because nothing can reach the replica in
between. The network card sends one message after the other. What vouches for the disk leaves when everything this
replica wrote before is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consensus_bench.contract import Command, Context, apply
from consensus_bench.contract.context import FORGET, PERSIST, Effect
from consensus_bench.contract.values import FRAME_BYTES, sizer
from consensus_bench.simulation.events import NORMAL, Answer, Delivery

if TYPE_CHECKING:
    from consensus_bench.simulation.machine import Machine

ANSWER_BYTES: Final = FRAME_BYTES + 16
"""A client's answer: the frame and the operation's identity; a read adds the value's size."""


class ActingContext(Context):
    """A context whose methods are the machine's own functions: effects take place as they are stated."""

    __slots__ = (
        "answer", "broadcast", "broadcast_unsynced", "cancel_timer", "commit", "execute", "forget", "note", "persist",
        "send", "send_unsynced", "set_timer",
    )  # fmt: skip


class Counters(NamedTuple):
    """What a machine has done so far."""

    received: int
    sent: int
    sent_bytes: int
    executed: int


class HotPath(NamedTuple):
    """The functions of one machine."""

    deliver: Callable[[Any], None]
    """A peer's message arrives (callback of ``Delivery``)."""
    request: Callable[[Any], None]
    """A client's command arrives (callback of ``Delivery``)."""
    enter: Callable[[int], Context]
    """Any other input at that time (ns): gives the context for the handler."""
    boot: Callable[[int], None]
    """The process starts (again) at that time (ns)."""
    counters: Callable[[], Counters]


def hot_path(machine: Machine) -> HotPath:
    """Build the functions of ``machine``, whose links may still be empty lists."""
    me, links, answer_links = machine.me, machine.links, machine.answer_links
    receive_ns, send_ns, execute_ns = machine.receive_ns, machine.send_ns, machine.execute_ns
    ps_per_byte = machine.ps_per_byte
    schedule, find_handler = machine.world.schedule, machine.handlers.get
    committed, executed = machine.tell_committed, machine.tell_executed
    timers = machine.timers
    write, keep = machine.disk.write, machine.disk.keep
    sizes: dict[type, Any] = {}
    find_size = sizes.get
    now = busy = free = durable = 0  # the time; when the processor and the card are free; when all writes are on disk
    record: list[Effect] | None = None  # this handler's writes, once there is one
    life = machine.life
    received = sent = sent_bytes = executions = 0
    store: dict[Any, int] = {}
    fresh: Command | None = None  # committed last, not yet executed
    fresh_ns = 0
    commit_times: dict[tuple[int, int], int] = {}  # the others that are committed and not yet executed
    done: Command | None = None  # executed last
    done_result: int | None = None
    done_committed_ns = done_executed_ns = 0
    context = ActingContext()

    # Inputs.

    def deliver(event: Any) -> None:
        nonlocal now, busy, received, record
        sender = event.sender
        if event.leave_ns > sender.died_ns:  # had not left when its sender died
            return
        message = event.message
        handler = find_handler(type(message))
        if handler is None:  # a dead machine has no handlers
            return
        now = context.clock_ns = event.arrive_ns
        if now > busy:
            busy = now
        source = sender.me
        if source != me:
            received += 1
            busy += receive_ns
        record = None
        handler(context, source, message)

    def request(event: Any) -> None:
        nonlocal now, busy, received, record
        if machine.alive:
            now = context.clock_ns = event.arrive_ns
            busy = (now if now > busy else busy) + receive_ns
            received += 1
            record = None
            machine.replica.on_request(context, event.message)

    def enter(at_ns: int) -> Context:
        nonlocal now, busy, record
        now = context.clock_ns = at_ns
        if now > busy:
            busy = now
        record = None
        return context

    # Effects.

    def persist(key: Any, value: Any) -> None:
        nonlocal durable, record
        if record is None:
            record = []
            durable = write(now, busy, record)
        if keep:
            record.append((PERSIST, key, value))

    def forget(key: Any) -> None:
        nonlocal durable, record
        if record is None:
            record = []
            durable = write(now, busy, record)
        if keep:
            record.append((FORGET, key, None))

    def size_of(message: Any) -> int:
        kind: Any = type(message)
        size: Any = find_size(kind)
        if size is None:
            size = sizes[kind] = sizer(kind)
        return size if type(size) is int else size(message)

    def send(to: int, message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        link = links[to]
        if to == me:  # no card, no link: back when the disk has caught up
            leave = arrive = busy if busy > durable else durable
        else:
            size = find_size(type(message))
            if type(size) is not int:
                size = size_of(message)
            sent += 1
            sent_bytes += size
            busy += send_ns
            free = (busy if busy > free else free) + size * ps_per_byte // 1000
            leave = free if free > durable else durable
            arrive = leave + link.delay()
            if arrive < link.last_synced_ns:
                arrive = link.last_synced_ns
            else:
                link.last_synced_ns = arrive
        schedule(Delivery(link.callbacks, life, leave, arrive, message), NORMAL, arrive - now)

    def broadcast(targets: Sequence[int], message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        size = find_size(type(message))
        if type(size) is not int:
            size = size_of(message)
        transmit_ns = size * ps_per_byte // 1000
        for to in targets:
            link = links[to]
            if to == me:
                leave = arrive = busy if busy > durable else durable
            else:
                sent += 1
                sent_bytes += size
                busy += send_ns
                free = (busy if busy > free else free) + transmit_ns
                leave = free if free > durable else durable
                arrive = leave + link.delay()
                if arrive < link.last_synced_ns:
                    arrive = link.last_synced_ns
                else:
                    link.last_synced_ns = arrive
            schedule(Delivery(link.callbacks, life, leave, arrive, message), NORMAL, arrive - now)

    def broadcast_unsynced(targets: Sequence[int], message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        size = find_size(type(message))
        if type(size) is not int:
            size = size_of(message)
        transmit_ns = size * ps_per_byte // 1000
        for to in targets:
            link = links[to]
            if to == me:
                arrive = busy
            else:
                sent += 1
                sent_bytes += size
                busy += send_ns
                free = (busy if busy > free else free) + transmit_ns
                arrive = free + link.delay()
                if arrive < link.last_unsynced_ns:
                    arrive = link.last_unsynced_ns
                else:
                    link.last_unsynced_ns = arrive
            schedule(Delivery(link.callbacks, life, free, arrive, message), NORMAL, arrive - now)

    def send_unsynced(to: int, message: Any) -> None:
        broadcast_unsynced((to,), message)

    def commit(place: Any, command: Command) -> None:
        nonlocal fresh, fresh_ns
        committed(me, place, command)
        if fresh is not None and fresh.client >= 0:
            commit_times[fresh.client, fresh.sequence] = fresh_ns
        fresh = command
        fresh_ns = busy if busy > durable else durable

    def execute(command: Command) -> None:
        nonlocal busy, executions, fresh, done, done_result, done_committed_ns, done_executed_ns
        busy += execute_ns
        executions += 1
        executed(me, command)
        done = command
        done_executed_ns = busy if busy > durable else durable
        if command is fresh:
            fresh = None
            done_committed_ns = fresh_ns
        else:
            done_committed_ns = commit_times.pop((command.client, command.sequence), done_executed_ns)
        if command.kind == "put":
            store[command.key] = command.value
            done_result = None
        else:
            done_result = apply(store, command)
            if done_result is not None:
                machine.remember(command, done_result)

    def answer(command: Command) -> None:
        nonlocal busy, free, sent, sent_bytes
        visible = busy if busy > durable else durable
        if command is done:
            result, committed_ns, executed_ns = done_result, done_committed_ns, done_executed_ns
        else:
            result, committed_ns, executed_ns = machine.recall(command), visible, visible
        link = answer_links[command.client]
        size = ANSWER_BYTES + (command.size if command.kind == "get" else 0)
        sent += 1
        sent_bytes += size
        busy += send_ns
        free = (busy if busy > free else free) + size * ps_per_byte // 1000
        leave = free if free > durable else durable
        arrive = leave + link.delay()
        if arrive < link.last_synced_ns:
            arrive = link.last_synced_ns
        else:
            link.last_synced_ns = arrive
        event = Answer(link.callbacks, life, leave, arrive, command, result, committed_ns, executed_ns)
        schedule(event, NORMAL, arrive - now)

    def set_timer(name: Any, low_ns: int, high_ns: int | None = None) -> None:
        timer = timers.get(name)
        if timer is not None and timer.high_ns == high_ns and timer.low_ns == low_ns and timer.queued_ns >= 0:
            timer.armed_ns = now  # as before: its alarm is in the queue and comes early enough
            timer.deadline_ns = -1
            if timer.queued_ns <= now + low_ns:
                return
        machine.set_timer(name, low_ns, low_ns if high_ns is None else high_ns, now)

    def note(fact: str, command: Command | None = None) -> None:
        machine.world.note(me, now, fact, command)

    # The process.

    def boot(at_ns: int) -> None:
        nonlocal now, busy, free, durable, life, fresh, done
        now = busy = free = durable = at_ns
        life = machine.life
        fresh = done = None
        store.clear()
        commit_times.clear()

    def counters() -> Counters:
        return Counters(received, sent, sent_bytes, executions)

    for function in (
        answer, broadcast, broadcast_unsynced, commit, execute, forget, note, persist, send, send_unsynced, set_timer,
    ):  # fmt: skip
        setattr(context, function.__name__, function)
    context.cancel_timer = machine.cancel_timer  # type: ignore[method-assign]
    return HotPath(deliver, request, enter, boot, counters)
