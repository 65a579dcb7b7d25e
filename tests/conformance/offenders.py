"""Protocols that break a promise to the drivers each: the conformance suite must notice every one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recordings import EXAMPLE

from consensus_bench.contract import Command, Context, Entry, Message, View
from consensus_bench.contract.registry import find_protocol

FixedPrimary: Any = find_protocol(EXAMPLE)
calls = 0


class SharesItsLog(FixedPrimary):
    """A clone that is none."""

    __slots__ = ()

    def clone(self) -> Any:
        """Copies all but the log."""
        twin = super().clone()
        twin.log = self.log
        return twin


class CountsInAGlobal(FixedPrimary):
    """Effects that depend on something outside the state."""

    __slots__ = ()

    def on_appended(self, ctx: Context, source: int, message: Any) -> None:
        """Notes how often it was called in this process."""
        global calls
        calls += 1
        ctx.note(f"call {calls}")
        super().on_appended(ctx, source, message)


class Listing(Message, frozen=True):
    commands: list[Command]


class SendsAList(FixedPrimary):
    """A message that is no value."""

    __slots__ = ()
    messages = (*FixedPrimary.messages, Listing)

    def on_listing(self, ctx: Context, source: int, message: Listing) -> None:
        """Nothing to do."""

    def on_append(self, ctx: Context, source: int, message: Any) -> None:
        """Sends its log itself."""
        super().on_append(ctx, source, message)
        ctx.send(source, Listing(self.log))


class Extra(Message, frozen=True):
    number: int


class SendsWhatIsNotListed(FixedPrimary):
    """A message type that nobody can receive."""

    __slots__ = ()

    def on_append(self, ctx: Context, source: int, message: Any) -> None:
        """One message too many."""
        super().on_append(ctx, source, message)
        ctx.send(source, Extra(1))


class WritesAList(FixedPrimary):
    """A value on disk that changes later."""

    __slots__ = ()

    def on_request(self, ctx: Context, command: Command) -> None:
        """Writes the log under one more key."""
        super().on_request(ctx, command)
        ctx.persist("log", self.log)

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Ignores the additional key."""
        super().recover(ctx, {key: value for key, value in disk.items() if key != "log"})


class LosesASlot(FixedPrimary):
    """Recovers all but the newest slot."""

    __slots__ = ()

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """One too few."""
        super().recover(ctx, {slot: disk[slot] for slot in range(len(disk) - 1)})


class LeansOnTheOrderOfItsDisk(FixedPrimary):
    """Reads the disk in the order in which it was written."""

    __slots__ = ()

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Takes the values as they come."""
        super().recover(ctx, dict(enumerate(disk.values())))


class NeedsItsFirstWrite(FixedPrimary):
    """Cannot recover from an empty disk."""

    __slots__ = ()

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """There may be no slot 0."""
        assert disk[0]
        super().recover(ctx, disk)


class BelievesAnOldLength(FixedPrimary):
    """A late ``Appended`` makes it forget what a replica has; and it trusts that this never happens."""

    __slots__ = ()

    def on_appended(self, ctx: Context, source: int, message: Any) -> None:
        """Asserts an order of arrival that nobody promises."""
        assert message.length >= self.lengths[source], "lengths only grow"
        super().on_appended(ctx, source, message)


class ViewsTooMuch(FixedPrimary):
    """A view that claims what has not happened."""

    __slots__ = ()

    def view(self) -> View:
        """All of the log, and a slot more."""
        entries: dict[Any, Entry] = {slot: Entry("committed", command) for slot, command in enumerate(self.log)}
        return View({**entries, len(self.log): Entry("committed", Command(9, 9, "get", 0))}, (0, 0), 0)
