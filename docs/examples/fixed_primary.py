"""Fixed primary: replica 0 orders all commands, a majority makes them last.

The smallest replicated log that is correct, and an example of a protocol file of one's own. There is no election: while
replica 0 is down, nothing is served, and that is all this protocol gives up. It needs no ballots, because nobody else
ever proposes anything; a primary that restarts goes on with the log on its disk.

1. A request goes to the primary, which writes it into the next slot of its log and sends ``Append`` to the others.
2. A replica writes it at the same slot and replies ``Appended``.
3. What a majority has is committed; the primary executes in slot order, answers the clients, and tells the others with
   its heartbeat or the next ``Append``. The heartbeat also sends again what a replica lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.contract import Cluster, Command, Context, Entry, Message, Options, Replica, TimerName, View, ns
from protocols.quorums import majority
from protocols.sessions import Sessions

PRIMARY = 0
BATCH = 64
"""Slots that are sent again in one message at most."""


class Forward(Message, frozen=True, gc=False):
    """A client's command on its way to the primary."""

    command: Command


class Append(Message, frozen=True, gc=False):
    """The primary's log from slot ``first`` on; slots below ``committed`` are committed."""

    first: int
    commands: tuple[Command, ...]
    committed: int


class Appended(Message, frozen=True, gc=False):
    """The sender has every slot below ``length`` on disk."""

    length: int


class FixedPrimary(Replica):
    """One replica; what makes it the primary is its number."""

    __slots__ = ("committed", "lengths", "log", "sessions", "slots")
    name = "fixed-primary"
    options_type = Options
    messages = (Forward, Append, Appended)
    durable = ("log",)

    def __init__(self, me: int, cluster: Cluster, options: Options) -> None:
        super().__init__(me, cluster, options)
        self.log: list[Command] = []
        self.slots: dict[tuple[int, int], int] = {}
        """Where each (client, sequence) is, so that a retry does not get a second slot."""
        self.committed = 0
        """Slots below are committed and executed here."""
        self.lengths = [0] * cluster.size
        """How much of the log each replica has on disk, as far as the primary knows."""
        self.sessions = Sessions()

    def on_start(self, ctx: Context) -> None:
        """Only the primary needs a timer."""
        if self.me == PRIMARY:
            ctx.set_timer("heartbeat", ns(self.options.heartbeat_ms))

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """The log comes back; how much of it is committed is learnt again."""
        for slot in range(len(disk)):
            self._write(disk[slot])
        if self.me == PRIMARY:
            ctx.send(self.me, Appended(len(self.log)))
        self.on_start(ctx)

    def on_request(self, ctx: Context, command: Command) -> None:
        """Step 1, at the primary; the others send it there."""
        if self.me != PRIMARY:
            ctx.send_unsynced(PRIMARY, Forward(command))
        elif self.sessions.executed(command):
            ctx.answer(command)
        elif (command.client, command.sequence) not in self.slots:
            slot = len(self.log)
            self._write(command)
            ctx.persist(slot, command)
            ctx.broadcast(self.others, Append(slot, (command,), self.committed))
            ctx.send(self.me, Appended(len(self.log)))  # comes back when it is on our own disk

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        """A request that came by another replica."""
        self.on_request(ctx, message.command)

    def on_append(self, ctx: Context, source: int, message: Append) -> None:
        """Step 2: write what is new. With a gap before it, say only how much is here."""
        for slot, command in enumerate(message.commands, message.first):
            if slot == len(self.log):
                self._write(command)
                ctx.persist(slot, command)
        ctx.send(source, Appended(len(self.log)))
        self._commit(ctx, min(message.committed, len(self.log)))

    def on_appended(self, ctx: Context, source: int, message: Appended) -> None:
        """Step 3: committed is what a majority has."""
        self.lengths[source] = max(self.lengths[source], message.length)
        ordered = sorted(self.lengths, reverse=True)
        self._commit(ctx, ordered[majority(self.cluster.size) - 1])

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """Heartbeat: what is committed, and what a replica lacks."""
        for to in self.others:
            first = self.lengths[to]
            ctx.send(to, Append(first, tuple(self.log[first : first + BATCH]), self.committed))
        ctx.set_timer("heartbeat", ns(self.options.heartbeat_ms))

    def _write(self, command: Command) -> None:
        self.slots[command.client, command.sequence] = len(self.log)
        self.log.append(command)

    def _commit(self, ctx: Context, length: int) -> None:
        for slot in range(self.committed, length):
            command = self.log[slot]
            ctx.commit(slot, command)
            self.sessions.add(command)
            ctx.execute(command)
            if self.me == PRIMARY:
                ctx.answer(command)
        self.committed = max(self.committed, length)

    def view(self) -> View:
        """Everything below ``committed`` is executed, the rest accepted."""
        status = ("executed", "accepted")
        entries: dict[Any, Entry] = {}
        for slot, command in enumerate(self.log):
            entries[slot] = Entry(status[slot >= self.committed], command)
        return View(entries, (0, PRIMARY), PRIMARY)

    def check(self) -> None:
        """Local invariants."""
        assert self.committed <= len(self.log), f"committed {self.committed} of {len(self.log)} slots"
        assert len(self.slots) == len(self.log), "a command has two slots"
