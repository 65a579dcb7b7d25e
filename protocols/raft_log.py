"""Raft's log: entries with their terms, numbered from 1."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import Final

from consensus_bench.contract import Command, Message, State

_TERM: Final = attrgetter("term")


class LogEntry(Message, frozen=True, gc=False):
    """One entry. The object is shared by the messages and the logs of all replicas of a simulation."""

    term: int
    command: Command


class RaftLog(State):
    """A list of entries that begins after ``base_index``, whose term is ``base_term``.

    Nothing has been discarded as long as both are 0; a snapshot stands for all entries up to ``base_index``. By
    the election restriction and log matching, terms never decrease along a log, so that they can be searched.
    """

    __slots__ = ("base_index", "base_term", "entries")

    def __init__(self) -> None:
        self.base_index = 0
        self.base_term = 0
        self.entries: list[LogEntry] = []

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        """Term of the last entry."""
        return self.entries[-1].term if self.entries else self.base_term

    def term(self, index: int) -> int:
        """Term of the entry at ``index``, from ``base_index`` up to ``last_index``."""
        return self.entries[index - self.base_index - 1].term if index > self.base_index else self.base_term

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry at ``index`` has this term, and is there or discarded: discarded ones are committed, and
        the same everywhere."""
        return index < self.base_index or (index <= self.last_index and self.term(index) == term)

    def slice(self, first: int, most: int) -> tuple[LogEntry, ...]:
        """The entries from index ``first`` on, ``most`` of them at most."""
        start = first - self.base_index - 1
        return tuple(self.entries[start : start + most])

    def truncate(self, first: int) -> list[LogEntry]:
        """Remove the entry at ``first`` and all that follow; returns them."""
        start = first - self.base_index - 1
        removed = self.entries[start:]
        del self.entries[start:]
        return removed

    def discard(self, last: int) -> range:
        """Remove the entries up to ``last``, which a snapshot stands for; returns their indexes."""
        gone = range(self.base_index + 1, min(last, self.last_index) + 1)
        if gone:
            self.base_term = self.term(gone[-1])
            self.base_index = gone[-1]
            del self.entries[: len(gone)]
        return gone

    def begin_after(self, index: int, term: int) -> range:
        """Remove everything: the log begins after ``index``, whose entry had ``term``; returns the indexes removed."""
        gone = range(self.base_index + 1, self.last_index + 1)
        self.base_index, self.base_term, self.entries = index, term, []
        return gone

    def last_of_term(self, index: int, term: int) -> int:
        """The highest index, up to ``index``, whose term is not above ``term`` (``base_index`` if there is none)."""
        end = min(index, self.last_index) - self.base_index
        return self.base_index + bisect_right(self.entries, term, 0, max(end, 0), key=_TERM)
