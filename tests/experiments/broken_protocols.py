"""Protocols that get it wrong, each in its own way: what a comparison must notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.contract import Cluster, Command, Context, Message, Replica, TimerName, View


class Hello(Message, frozen=True, gc=False):
    """Never sent."""


class Forward(Message, frozen=True, gc=False):
    """A write on its way to replica 0."""

    command: Command


class Write(Message, frozen=True, gc=False):
    """The ``number``-th write."""

    number: int
    command: Command


class _Alone(Replica):
    """Speaks with nobody."""

    __slots__ = ("length",)
    messages = (Hello,)

    def __init__(self, me: int, cluster: Cluster, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.length = 0

    def on_start(self, ctx: Context) -> None:
        pass

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        pass

    def on_hello(self, ctx: Context, source: int, message: Hello) -> None:
        pass

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        pass

    def view(self) -> View:
        return View({}, (0, 0))

    def on_request(self, ctx: Context, command: Command) -> None:
        place = self._place()
        self.length += 1
        ctx.commit(place, command)
        ctx.execute(command)
        ctx.answer(command)

    def _place(self) -> Any:
        return self.length


class Selfish(_Alone):
    """Every replica decides alone what stands in the one log: no agreement."""

    __slots__ = ()
    name = "selfish"


class StaleReads(_Alone):
    """Replica 0 orders the writes, but each replica answers reads by itself, at once: what clients see is not
    linearizable, and nothing that replicas say of themselves shows it."""

    __slots__ = ("reads",)
    name = "stale-reads"
    decides = "graph"
    messages = (Forward, Write)

    def __init__(self, me: int, cluster: Cluster, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.reads = 0

    def on_request(self, ctx: Context, command: Command) -> None:
        if command.kind == "get":
            ctx.commit((self.me, 2 * self.reads + 1), command)
            self.reads += 1
            ctx.execute(command)
            ctx.answer(command)
        else:
            ctx.send(0, Forward(command))

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        ctx.broadcast(range(self.cluster.size), Write(self.length, message.command))
        self.length += 1

    def on_write(self, ctx: Context, source: int, message: Write) -> None:
        ctx.commit((0, 2 * message.number), message.command)
        ctx.execute(message.command)
        if self.me == 0:
            ctx.answer(message.command)


class Crashes(_Alone):
    """Fails at its tenth command."""

    __slots__ = ()
    name = "crashes"
    decides = "graph"

    def _place(self) -> Any:
        if self.length == 9:
            raise ZeroDivisionError("planted")
        return (self.me, self.length)


class Invents(Replica):
    """Replica 0 orders everything, and now and then a write that nobody asked for: under a number that the client has
    not come to, of a key that nobody reads."""

    __slots__ = ("length",)
    name = "invents"
    messages = (Forward, Write)

    def __init__(self, me: int, cluster: Cluster, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.length = 0

    def on_start(self, ctx: Context) -> None:
        pass

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        pass

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        pass

    def view(self) -> View:
        return View({}, (0, 0))

    def on_request(self, ctx: Context, command: Command) -> None:
        ctx.send(0, Forward(command))

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        command = message.command
        self._order(ctx, command)
        if command.sequence == 3:
            self._order(ctx, Command(command.client, 100_000, "put", 1 << 40, 7))

    def _order(self, ctx: Context, command: Command) -> None:
        self.length += 1
        ctx.broadcast(range(self.cluster.size), Write(self.length, command))

    def on_write(self, ctx: Context, source: int, message: Write) -> None:
        ctx.commit(message.number, message.command)
        ctx.execute(message.command)
        if self.me == 0 and message.command.sequence < 100_000:
            ctx.answer(message.command)
