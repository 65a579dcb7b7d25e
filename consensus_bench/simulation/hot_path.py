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
from heapq import heappush as push
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consensus_bench.contract import Command, Context, Snapshot, apply, image
from consensus_bench.contract.context import FORGET, PERSIST, Effect
from consensus_bench.contract.values import FRAME_BYTES, sizer
from consensus_bench.simulation.events import NORMAL, Answer, Delivery

if TYPE_CHECKING:
    from consensus_bench.simulation.machine import Machine

ANSWER_BYTES: Final = FRAME_BYTES + 16
"""A client's answer: the frame and the operation's identity; a value that was read comes on top."""


class ActingContext(Context):
    """A context whose methods are the machine's own functions: effects take place as they are stated."""

    __slots__ = (
        "answer", "broadcast", "broadcast_unsynced", "cancel_timer", "commit", "execute", "forget", "install", "note",
        "persist", "read", "send", "send_unsynced", "set_timer", "take_snapshot",
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
    deliver_own: Callable[[Any], None]
    """So does one that the replica sent to itself, which costs the processor nothing."""
    request: Callable[[Any], None]
    """A client's command arrives (callback of ``Delivery``)."""
    enter: Callable[[int], Context]
    """Any other input at that time (ns): gives the context for the handler."""
    boot: Callable[[int], None]
    """The process starts (again) at that time (ns)."""
    counters: Callable[[], Counters]
    set_costs: Callable[[int, int, int], None]
    """From now on receiving, sending and executing cost the processor so much (ns)."""


def hot_path(machine: Machine) -> HotPath:
    """Build the functions of ``machine``, whose links may still be empty lists."""
    me, links, answer_links = machine.me, machine.links, machine.answer_links
    receive_ns, send_ns, execute_ns = machine.receive_ns, machine.send_ns, machine.execute_ns
    ps_per_byte = machine.ps_per_byte
    queue, next_number = machine.world.env.queue, machine.world.env.next_number
    find_handler = machine.handlers.get
    committed, executed = machine.tell_committed, machine.tell_executed
    find_timer = machine.timers.get
    value_bytes = machine.world.workload.size
    write, keep = machine.disk.write, machine.disk.keep
    fixed_sizes: dict[type, int] = {}
    find_size = fixed_sizes.get
    sizers: dict[type, Callable[[Any], int]] = {}
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
    context = machine.new_context()

    # Inputs.

    def deliver(event: Any) -> None:
        nonlocal now, busy, received, record
        message = event.message
        handler = find_handler(type(message))
        if handler is None:  # a dead machine has no handlers
            return
        now = context.clock_ns = event.arrive_ns
        busy = (now if now > busy else busy) + receive_ns
        received += 1
        record = None
        handler(context, event.sender.me, message)

    def deliver_own(event: Any) -> None:
        nonlocal now, busy, record
        message = event.message
        handler = find_handler(type(message))
        if handler is None:
            return
        now = context.clock_ns = event.arrive_ns
        if now > busy:
            busy = now
        record = None
        handler(context, me, message)

    def deliver_if_left(event: Any) -> None:
        """Where machines crash: not what had not left when its sender died."""
        if event.leave_ns <= event.sender.died_ns:
            (deliver_own if event.sender.me == me else deliver)(event)

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
        """The size of a message whose type is new, or whose messages differ in size."""
        kind: Any = type(message)
        measure = sizers.get(kind)
        if measure is None:
            size = sizer(kind)
            if isinstance(size, int):
                fixed_sizes[kind] = size
                return size
            measure = sizers[kind] = size
        return measure(message)

    def send(to: int, message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        if to == me:  # back when the disk has caught up
            send_own(busy if busy > durable else durable, message)
            return
        size = find_size(type(message))
        if size is None:
            size = size_of(message)
        link = links[to]
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
        push(queue, (arrive, NORMAL, next_number(), Delivery(link.callbacks, life, leave, arrive, message)))

    def send_own(at_ns: int, message: Any) -> None:
        """A message to itself takes no card and no link."""
        push(queue, (at_ns, NORMAL, next_number(), Delivery(links[me].callbacks, life, at_ns, at_ns, message)))

    def broadcast(targets: Sequence[int], message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        size = find_size(type(message))
        if size is None:
            size = size_of(message)
        transmit_ns = size * ps_per_byte // 1000
        for to in targets:
            if to == me:
                send_own(busy if busy > durable else durable, message)
                continue
            link = links[to]
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
            push(queue, (arrive, NORMAL, next_number(), Delivery(link.callbacks, life, leave, arrive, message)))

    def send_unsynced(to: int, message: Any) -> None:
        broadcast_unsynced((to,), message)

    def broadcast_unsynced(targets: Sequence[int], message: Any) -> None:
        nonlocal busy, free, sent, sent_bytes
        size = find_size(type(message))
        if size is None:
            size = size_of(message)
        transmit_ns = size * ps_per_byte // 1000
        for to in targets:
            if to == me:
                send_own(busy, message)
                continue
            link = links[to]
            sent += 1
            sent_bytes += size
            busy += send_ns
            free = (busy if busy > free else free) + transmit_ns
            arrive = free + link.delay()
            if arrive < link.last_unsynced_ns:
                arrive = link.last_unsynced_ns
            else:
                link.last_unsynced_ns = arrive
            push(queue, (arrive, NORMAL, next_number(), Delivery(link.callbacks, life, free, arrive, message)))

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
        size = ANSWER_BYTES if result is None else ANSWER_BYTES + value_bytes
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
        push(queue, (arrive, NORMAL, next_number(), event))

    def read(command: Command) -> None:
        nonlocal done, done_result, done_committed_ns, done_executed_ns
        done = command
        done_result = store.get(command.key)
        done_committed_ns = done_executed_ns = busy if busy > durable else durable
        machine.remember(command, done_result)

    def take_snapshot(place: int) -> None:
        snapshot = Snapshot(place, image(store), machine.results())
        machine.tell_snapshot(snapshot)
        send_own(busy if busy > durable else durable, snapshot)

    def install(snapshot: Snapshot) -> None:
        machine.installed(snapshot)
        store.clear()
        store.update(snapshot.items)

    def set_timer(name: Any, low_ns: int, high_ns: int | None = None) -> None:
        timer = find_timer(name)
        if timer is not None and 0 <= timer.queued_ns <= now + low_ns:  # its alarm comes early enough
            timer.armed_ns = now
            timer.low_ns = low_ns
            timer.high_ns = low_ns if high_ns is None else high_ns
            timer.deadline_ns = -1
        else:
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

    def set_costs(receive: int, send: int, execute: int) -> None:
        nonlocal receive_ns, send_ns, execute_ns
        receive_ns, send_ns, execute_ns = receive, send, execute

    for function in (
        answer, broadcast, broadcast_unsynced, commit, execute, forget, install, note, persist, read, send,
        send_unsynced, set_timer, take_snapshot,
    ):  # fmt: skip
        setattr(context, function.__name__, function)
    context.cancel_timer = machine.cancel_timer  # type: ignore[method-assign]
    if machine.disk.keep:
        return HotPath(deliver_if_left, deliver_if_left, request, enter, boot, counters, set_costs)
    return HotPath(deliver, deliver_own, request, enter, boot, counters, set_costs)
