"""Protocols that get it wrong, each in its own way: what a comparison must notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.contract import Cluster, Command, Context, Replica, TimerName, View


class _Alone(Replica):
    """Speaks with nobody."""

    __slots__ = ("length",)

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


class Islands(_Alone):
    """Every replica executes its own clients' commands and tells nobody: not linearizable, and nothing that replicas
    say of themselves shows it."""

    __slots__ = ()
    name = "islands"
    decides = "graph"

    def _place(self) -> Any:
        return (self.me, self.length)


class Crashes(_Alone):
    """Fails at its tenth command."""

    __slots__ = ()
    name = "crashes"
    decides = "graph"

    def _place(self) -> Any:
        if self.length == 9:
            raise ZeroDivisionError("planted")
        return (self.me, self.length)
