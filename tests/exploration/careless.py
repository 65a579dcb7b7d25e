"""Replicas that remember nothing of what they do wrong: the explorer must see it in the step itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.contract import Command, Context, Message, Replica, Snapshot, TimerName, View


class Decide(Message, frozen=True):
    """``command`` is chosen, it says."""

    command: Command


class CommitsAll(Replica):
    """Commits at place 1 whatever it hears of."""

    __slots__ = ()
    name = "commits-all"
    messages = (Decide,)
    decides = "single"

    def on_start(self, ctx: Context) -> None:
        """Nothing to do."""

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Nothing to remember."""

    def on_request(self, ctx: Context, command: Command) -> None:
        """Tell replica 2."""
        ctx.send(2, Decide(command))

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """There is none."""

    def on_decide(self, ctx: Context, source: int, message: Decide) -> None:
        """Believe it."""
        ctx.commit(1, message.command)

    def view(self) -> View:
        """Nothing is held."""
        return View({}, (0, 0))


class SnapshotsAlways(CommitsAll):
    """One command, and a snapshot of it, though no option says so."""

    __slots__ = ()
    name = "snapshots-always"
    messages = (Decide, Snapshot)
    decides = "log"

    def on_request(self, ctx: Context, command: Command) -> None:
        """Only the first counts: it is alone here."""
        ctx.persist("chosen", command)
        ctx.commit(1, command)
        ctx.execute(command)
        ctx.take_snapshot(1)
        ctx.answer(command)

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        """Nothing to cut off."""


class AnswersAll(CommitsAll):
    """Answers what it has not executed."""

    __slots__ = ()
    name = "answers-all"

    def on_decide(self, ctx: Context, source: int, message: Decide) -> None:
        """Hear, and say so."""
        ctx.answer(message.command)
