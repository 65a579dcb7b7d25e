"""The world of the drivers without SimPy: servers with disks, messages under way, and what each action does to them.

Nothing happens here by itself and nothing is drawn: whoever drives (the random scheduler, the explorer) picks an
action, ``World`` carries it out and tells the verifier what became visible. What an action means:

- ``deliver``, ``drop``: any message under way, in any order; one that is delivered may stay under way (duplication);
- ``fire``: any armed timer;
- ``sync``: the oldest records of a server become durable, and what waited for them becomes visible, in order;
- ``crash``: memory, timers, messages to itself, and everything that waited for the disk are lost; a prefix of the
  records that were issued survives, perhaps more of them than anybody has seen an effect of;
- ``restart``: a new process recovers from what the disk holds.

The barrier is cumulative and in program order (see ``contract.context``): an effect that vouches for the disk waits for
every record issued before it, and for its own handler's from the first write on. Executions wait in the same queue, so
that what they produce is seen in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeAlias

import msgspec

from consensus_bench.contract import (
    CORRUPT,
    LOST,
    Cluster,
    Command,
    Context,
    Effect,
    Key,
    Message,
    Options,
    PropertyViolated,
    Replica,
    ReplicaId,
    Snapshot,
    TimerName,
    apply,
    image,
)
from consensus_bench.contract.context import (
    ANSWER,
    BROADCAST,
    BROADCAST_UNSYNCED,
    CANCEL_TIMER,
    COMMIT,
    EXECUTE,
    INSTALL,
    NOTE,
    PERSIST,
    READ,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
    TAKE_SNAPSHOT,
)
from consensus_bench.contract.steps import Deliver, Input, Recover, Request, Start, Timer
from consensus_bench.contract.storage import Lost
from consensus_bench.exploration.site import told
from consensus_bench.verification import Verifier

CLIENT: Final = -2
"""The source of a client's request."""

Packet: TypeAlias = tuple[ReplicaId, ReplicaId, Message]
"""(source, to, message) under way; a client's request is its command, with the source ``CLIENT``."""


Damage: TypeAlias = Lost | tuple[Hashable, ...]
"""A disk that is ``LOST``, or the keys of the records that cannot be read."""


class Observer:
    """Is told of everything that happens in a world. The base does nothing with it."""

    def stepped(self, replica: ReplicaId, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        """``replica`` took ``event``; ``effects`` must not be kept."""

    def happened(self, what: str) -> None:
        """Something happened to the world that is no step of a replica: in words. What changes disks is told as data
        too, by the following."""

    def synced(self, replica: ReplicaId, records: int) -> None:
        """The oldest ``records`` that were pending are durable, since just now, or since before the crash to come."""

    def crashed(self, replica: ReplicaId) -> None:
        """Its pending records are lost."""

    def damaged(self, replica: ReplicaId, damage: Damage) -> None:
        """Its disk is, while it is down."""


class Summary(msgspec.Struct):
    """How often what happened, so that a campaign can show that it was not vacuous."""

    steps: int = 0
    delivered: int = 0
    dropped: int = 0
    duplicated: int = 0
    timers: int = 0
    syncs: int = 0
    crashes: int = 0
    records_lost: int = 0
    records_survived: int = 0
    """Records of which nobody knew that they were durable, and which outlived a crash."""
    effects_lost: int = 0
    """What waited for the disk when its server crashed."""
    recoveries: int = 0
    partitions: int = 0
    requests: int = 0
    retries: int = 0
    answers: int = 0
    commits: int = 0
    executions: int = 0
    notes: dict[str, int] = msgspec.field(default_factory=dict)
    """The protocols' own facts: "elected", "fast_path", "slow_path"."""
    messages: dict[str, int] = msgspec.field(default_factory=dict)
    """Deliveries of each message type."""

    def add(self, other: Summary) -> None:
        """Count ``other``'s events as well."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for key, times in theirs.items():
                    mine[key] = mine.get(key, 0) + times
            else:
                setattr(self, name, mine + theirs)


class Server:
    """One replica with its disk, timers and state machine. ``replica`` is None while it is down."""

    __slots__ = ("disk", "executed", "issued", "pending", "replica", "results", "store", "timers", "waiting")

    def __init__(self) -> None:
        self.replica: Replica | None = None
        self.disk: dict[Hashable, Any] = {}
        """What is durable."""
        self.pending: deque[list[Effect]] = deque()
        """Records issued and not durable, oldest first."""
        self.issued = 0
        """Records issued in all: ``issued - len(pending)`` of them are durable (or lost)."""
        self.waiting: deque[tuple[int, Effect]] = deque()
        """Effects behind the barrier: visible once that many records are durable."""
        self.timers: dict[TimerName, int] = {}
        """Armed timers, and when each is due (ns)."""
        self.store: dict[Key, int] = {}
        self.results: dict[tuple[int, int], int | None] = {}
        self.executed = 0
        """Commands executed, or installed, in this life."""

    def write(self, record: list[Effect]) -> None:
        """Make a durable record of the disk's contents."""
        for tag, key, value in record:
            if tag == PERSIST:
                self.disk[key] = value
            else:
                self.disk.pop(key, None)


class World:
    """A cluster of ``protocol`` and everything that is under way.

    ``draw(low_ns, high_ns)`` gives the delay of a timer. ``answered(replica, command, result)`` is called when an
    answer leaves. ``clock(replica)`` gives the replica's own clock, in ns.
    """

    __slots__ = (
        "answered", "clock", "cluster", "context", "draw", "in_flight", "looked_up", "now_ns", "observer", "options",
        "protocol", "servers", "summary", "verifier",
    )  # fmt: skip

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        cluster: Cluster,
        draw: Callable[[int, int], int],
        answered: Callable[[ReplicaId, Command, int | None], None],
        clock: Callable[[ReplicaId], int],
        observer: Observer | None = None,
    ) -> None:
        self.protocol = protocol
        self.options = options
        self.cluster = cluster
        self.draw = draw
        self.answered = answered
        self.now_ns = 0
        self.clock = clock
        self.observer = observer
        self.verifier = Verifier(cluster.size, protocol.decides)
        self.servers = [Server() for _ in range(cluster.size)]
        self.in_flight: list[Packet] = []
        self.looked_up: set[Command] = set()
        """Reads that some replica has answered without giving them a place."""
        self.summary = Summary()
        self.context = Context()

    # --- actions ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """First boot of every server."""
        for me, server in enumerate(self.servers):
            server.replica = self.protocol(me, self.cluster, self.options)
            self._step(me, server, server.replica.on_start, Start)

    def request(self, to: ReplicaId, command: Command) -> None:
        """A client sends ``command`` to replica ``to``: it is under way."""
        self.summary.requests += 1
        self.in_flight.append((CLIENT, to, command))
        if self.observer is not None:
            self.observer.happened(f"client {command.client} asks {to}: {command}")

    def deliver(self, position: int, keep: bool = False) -> None:
        """The message at ``position`` arrives (and with ``keep`` is under way still). A dead server loses it, and a
        type that the protocol does not know is ignored."""
        packet = self.in_flight[position] if keep else self.take(position)
        source, to, message = packet
        server = self.servers[to]
        replica = server.replica
        if replica is None:
            self.lose(packet)
            return
        self.summary.delivered += 1
        self.summary.duplicated += keep
        if source == CLIENT:
            assert isinstance(message, Command)
            self._step(to, server, replica.on_request, Request, message)
            return
        kind = type(message)
        handler = replica.handlers.get(kind)
        if handler is not None:
            seen = self.summary.messages
            seen[kind.__name__] = seen.get(kind.__name__, 0) + 1
            self._step(to, server, getattr(replica, handler), Deliver, source, message)

    def drop(self, position: int) -> None:
        """The message at ``position`` is lost."""
        self.lose(self.take(position))

    def lose(self, packet: Packet) -> None:
        """``packet``, which nobody carries any more, is lost."""
        self.summary.dropped += 1
        if self.observer is not None:
            source, to, message = packet
            self.observer.happened(f"lost {source} -> {to}: {message}")

    def take(self, position: int) -> Packet:
        """Take the message at ``position`` out of the network, for the driver to put back or not."""
        last = self.in_flight.pop()
        if position == len(self.in_flight):
            return last
        packet = self.in_flight[position]
        self.in_flight[position] = last
        return packet

    def fire(self, me: ReplicaId, name: TimerName) -> None:
        """The armed timer ``name`` of replica ``me`` fires."""
        server = self.servers[me]
        assert server.replica is not None
        del server.timers[name]
        self.summary.timers += 1
        self._step(me, server, server.replica.on_timer, Timer, name)

    def sync(self, me: ReplicaId, records: int) -> None:
        """The oldest ``records`` of what is pending at ``me`` become durable, and what waited for them visible."""
        server = self.servers[me]
        self.summary.syncs += 1
        for _ in range(records):
            server.write(server.pending.popleft())
        if self.observer is not None:
            self.observer.happened(f"sync {me}: {records} of {records + len(server.pending)}")
            self.observer.synced(me, records)
        durable = server.issued - len(server.pending)
        waiting = server.waiting
        while waiting and waiting[0][0] <= durable:
            self._release(me, server, waiting.popleft()[1])

    def crash(self, me: ReplicaId, survive: int = 0) -> None:
        """Replica ``me`` dies; the oldest ``survive`` of its pending records had reached the disk all the same."""
        server = self.servers[me]
        if self.observer is not None:
            lost = len(server.pending) - survive
            self.observer.happened(
                f"crash {me}: {survive} records survive, {lost} and {len(server.waiting)} waiting effects are lost"
            )
            self.observer.synced(me, survive)
            self.observer.crashed(me)
        for _ in range(survive):
            server.write(server.pending.popleft())
        self.summary.crashes += 1
        self.summary.records_survived += survive
        self.summary.records_lost += len(server.pending)
        self.summary.effects_lost += len(server.waiting)
        server.pending.clear()
        server.waiting.clear()
        server.timers.clear()
        server.store.clear()
        server.results.clear()
        server.executed = 0
        server.replica = None
        self.in_flight[:] = [p for p in self.in_flight if not (p[0] == me and p[1] == me)]

    def damage(self, me: ReplicaId, damage: Damage) -> None:
        """The disk of ``me``, which is down, is ``LOST``, or the records with these keys cannot be read."""
        disk = self.servers[me].disk
        if isinstance(damage, Lost):
            disk.clear()
            disk[LOST] = True
            said = [f"the disk of {me} is lost"]
        else:
            disk.update(dict.fromkeys(damage, CORRUPT))
            said = [f"on the disk of {me}, {key} cannot be read" for key in damage]
        if self.observer is not None:
            for what in said:
                self.observer.happened(what)
            self.observer.damaged(me, damage)

    def restart(self, me: ReplicaId) -> None:
        """A new process at ``me`` recovers from its disk."""
        server = self.servers[me]
        assert server.replica is None, f"replica {me} is up"
        self.summary.recoveries += 1
        self.verifier.restarted(me)
        server.replica = self.protocol(me, self.cluster, self.options)
        disk = dict(server.disk)
        self._step(me, server, server.replica.recover, Recover, disk)

    # --- what a step does ---------------------------------------------------------------------------------------------

    def _step(
        self, me: ReplicaId, server: Server, handler: Callable[..., None], kind: Callable[..., Input], *given: Any
    ) -> None:
        """Run ``handler``: then its invariants hold, its effects are carried out or wait for the disk."""
        context = self.context
        effects = context.effects
        effects.clear()
        context.wrote = False
        context.clock_ns = self.clock(me)
        try:
            handler(context, *given)
        finally:  # one that fails is a step all the same
            if self.observer is not None:
                self.observer.stepped(me, kind(*given), context.clock_ns, effects)
        assert server.replica is not None
        server.replica.check()
        barrier = server.issued
        durable = barrier - len(server.pending)
        if self.context.wrote:
            server.pending.append([effect for effect in effects if PERSIST <= effect[0] < SET_TIMER])
            server.issued += 1
        for effect in effects:
            tag, a, b = effect
            if tag == SEND_UNSYNCED:
                self.in_flight.append((me, a, b))
            elif tag == BROADCAST_UNSYNCED:
                self.in_flight.extend([(me, to, b) for to in a])
            elif tag == SET_TIMER:
                server.timers[a] = self.now_ns + self.draw(*b)
            elif tag == CANCEL_TIMER:
                server.timers.pop(a, None)
            elif tag == NOTE:
                self.summary.notes[a] = self.summary.notes.get(a, 0) + 1
            elif PERSIST <= tag < SET_TIMER:
                barrier = server.issued
            elif barrier > durable:
                server.waiting.append((barrier, (tag, tuple(a), b) if tag == BROADCAST else effect))
            else:
                self._release(me, server, effect)

    def _release(self, me: ReplicaId, server: Server, effect: Effect) -> None:
        """``effect`` is visible from now on."""
        tag, a, b = effect
        if tag == SEND:
            self.in_flight.append((me, a, b))
        elif tag == BROADCAST:
            self.in_flight.extend([(me, to, b) for to in a])
        elif tag == COMMIT:
            self.summary.commits += 1
            self.verifier.committed(me, a, b)
        elif tag == EXECUTE:
            self.summary.executions += 1
            self.verifier.executed(me, a)
            server.executed += 1
            server.results[a.client, a.sequence] = apply(server.store, a)
        elif tag == ANSWER:
            request = (a.client, a.sequence)
            if request not in server.results and not self.verifier.has_executed(me, a):
                raise PropertyViolated("validity", f"replica {me} answers {a}, which it has not executed")
            self.summary.answers += 1
            self.answered(me, a, server.results.get(request))
        elif tag == READ:
            server.results[a.client, a.sequence] = server.store.get(a.key)
            self.looked_up.add(a)
        elif tag == TAKE_SNAPSHOT:
            snapshot = Snapshot(a, image(server.store), told(server.results))
            self.verifier.snapshot(me, snapshot)
            self.in_flight.append((me, me, snapshot))
        elif tag == INSTALL:
            self.verifier.installed(me, a)
            server.store.clear()
            server.store.update(a.items)
            server.executed = self.verifier.executions(me)
            server.results.update({(client, number): value for client, number, value in a.results})
