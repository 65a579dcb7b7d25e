"""A queue whose cost does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consensus_bench.contract import Command, State

SHORT: Final = 64
"""Up to here it costs nothing to move the whole list, and equal queues then have equal state."""


class Fifo(State):
    """First in, first out. What was taken stays at the head of ``items`` until it is half of the list: to cut off one
    command of a hundred thousand moves all the others."""

    __slots__ = ("items", "taken")

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self.items = list(commands)
        """Empty if the queue is."""
        self.taken = 0

    def __len__(self) -> int:
        return len(self.items) - self.taken

    def waiting(self) -> list[Command]:
        """All, in order."""
        return self.items[self.taken :]

    def append(self, command: Command) -> None:
        """To the end."""
        self.items.append(command)

    def take(self, count: int) -> tuple[Command, ...]:
        """The first ``count``, which must be there."""
        start, end = self.taken, self.taken + count
        commands = tuple(self.items[start:end])
        if len(self.items) <= SHORT or 2 * end >= len(self.items):
            del self.items[:end]
            end = 0
        self.taken = end
        return commands
