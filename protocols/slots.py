"""The log of Multi-Paxos: per slot the value accepted last, and the ballot it was accepted at."""

from __future__ import annotations

from typing import Final

from consensus_bench.contract import Ballot, Command, State

FIRST_SLOT: Final = 1
CHOSEN: Final[Ballot] = (1 << 62, 0)
"""Stands in a slot's place for the ballot once its value is known to be chosen. It is above every ballot: reported to a
new leader, such a value is the one of the highest ballot, which is what it must adopt."""


class Slots(State):
    """Two lists side by side, since a log of a million small objects costs ten times the memory.

    ``first`` is the slot at the head of the lists. A slot that has accepted nothing holds None in both.
    """

    __slots__ = ("ballots", "commands", "first")

    def __init__(self) -> None:
        self.first = FIRST_SLOT
        self.ballots: list[Ballot | None] = []
        self.commands: list[Command | None] = []

    @property
    def end(self) -> int:
        """The slot after the last that has accepted something."""
        return self.first + len(self.ballots)

    def accept(self, slot: int, ballot: Ballot, command: Command) -> bool:
        """Hold ``command``, accepted at ``ballot``, in ``slot``. False if the slot's value is known to be chosen: it
        stays (and is the same), or has been discarded."""
        ballots = self.ballots
        position = slot - self.first
        known = len(ballots)
        if position < known:
            if position < 0 or ballots[position] == CHOSEN:
                return False
            ballots[position] = ballot
            self.commands[position] = command
            return True
        if position > known:
            ballots.extend([None] * (position - known))
            self.commands.extend([None] * (position - known))
        ballots.append(ballot)
        self.commands.append(command)
        return True

    def ballot(self, slot: int) -> Ballot | None:
        """The ballot at which ``slot`` has accepted what it holds; None if it holds nothing."""
        position = slot - self.first
        return self.ballots[position] if 0 <= position < len(self.ballots) else None

    def discard(self, first: int) -> range:
        """Forget the slots below ``first``; returns those that were there."""
        gone = range(self.first, min(first, self.end))
        del self.ballots[: len(gone)], self.commands[: len(gone)]
        self.first = max(self.first, first)
        return gone

    def accepted_from(self, slot: int) -> list[tuple[int, Ballot, Command]]:
        """(slot, ballot, command) of each slot from ``slot`` on that has accepted something."""
        position = slot - self.first
        pairs = zip(self.ballots[position:], self.commands[position:], strict=True)
        return [
            (number, ballot, command)
            for number, (ballot, command) in enumerate(pairs, slot)
            if ballot is not None and command is not None
        ]

    def values(self, start: int, end: int) -> tuple[Command, ...]:
        """The commands of the slots from ``start`` up to, not including, ``end``, which must all hold one."""
        commands = self.commands[start - self.first : end - self.first]
        return tuple(command for command in commands if command is not None)
