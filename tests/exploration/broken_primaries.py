"""The example protocol with one thing wrong each: what the random scheduler must find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consensus_bench.contract import Command, Context, TimerName
from consensus_bench.contract.context import BROADCAST, BROADCAST_UNSYNCED
from consensus_bench.contract.registry import find_protocol

EXAMPLE = f"{Path(__file__).parents[2] / 'docs' / 'examples' / 'fixed_primary.py'}:FixedPrimary"
FixedPrimary: Any = find_protocol(EXAMPLE)


class SendsEarly(FixedPrimary):
    """Sends a slot before it is on disk: after a crash the slot is given to another command."""

    __slots__ = ()
    name = "sends-early"
    expected = "agreement"

    def on_request(self, ctx: Context, command: Command) -> None:
        """As before, but the broadcast does not wait."""
        before = len(ctx.effects)
        super().on_request(ctx, command)
        for position in range(before, len(ctx.effects)):
            tag, targets, message = ctx.effects[position]
            if tag == BROADCAST:
                ctx.effects[position] = (BROADCAST_UNSYNCED, targets, message)


class ExecutesRetries(FixedPrimary):
    """Gives a retry another slot and executes it again."""

    __slots__ = ()
    name = "executes-retries"
    expected = "exactly once"

    def on_request(self, ctx: Context, command: Command) -> None:
        """Forgets that it knows the command."""
        self.slots.pop((command.client, command.sequence), None)
        super().on_request(ctx, command)

    def check(self) -> None:
        """The base's invariant is broken on purpose."""


class ReadsLocally(FixedPrimary):
    """Every replica answers what it has executed, and a get at once from what it has executed so far."""

    __slots__ = ()
    name = "reads-locally"
    expected = "validity"

    def on_request(self, ctx: Context, command: Command) -> None:
        """Answers a get that nobody has decided."""
        if command.kind == "get":
            ctx.execute(command)
            ctx.answer(command)
        else:
            super().on_request(ctx, command)


class InventsCommands(FixedPrimary):
    """Now and then orders a write that nobody asked for, of a key that nobody reads; all replicas agree on it."""

    __slots__ = ()
    name = "invents-commands"
    expected = "non-triviality"

    def on_request(self, ctx: Context, command: Command) -> None:
        """Before a client's third command, one of its own."""
        if command.sequence == 3:
            super().on_request(ctx, Command(command.client, 1000, "put", "unread", 1))
        super().on_request(ctx, command)


class NeverAsksAgain(FixedPrimary):
    """Loses what the network loses."""

    __slots__ = ()
    name = "never-asks-again"
    expected = "progress"

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """Sends nothing again."""


class MiscountsItsLog(FixedPrimary):
    """An assertion of its own fails."""

    __slots__ = ()
    name = "miscounts-its-log"
    expected = "own invariants"

    def check(self) -> None:
        """Wrong once there are three commands."""
        assert len(self.log) < 3, "too many"


class TripsOverItsFeet(FixedPrimary):
    """A handler fails."""

    __slots__ = ()
    name = "trips-over-its-feet"
    expected = "no exception"

    def on_appended(self, ctx: Context, source: int, message: Any) -> None:
        """Takes a path that does not exist."""
        raise KeyError("nowhere")


BROKEN = (
    SendsEarly, ExecutesRetries, ReadsLocally, InventsCommands, NeverAsksAgain, MiscountsItsLog, TripsOverItsFeet,
)  # fmt: skip
