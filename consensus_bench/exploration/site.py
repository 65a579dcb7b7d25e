"""One replica with its disk, its timers and its copy of the data, and what can happen to it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consensus_bench.contract import Command, Key, Replica, TimerName
from consensus_bench.exploration.trace import Answered, Committed, StepKind

OWN_INVARIANTS: Final = "own invariants"
NO_EXCEPTION: Final = "no exception"
NO_SNAPSHOTS: Final = "snapshots are not explored: leave snapshot_every at 0"


class Event(msgspec.Struct, frozen=True):
    """A step that the world chooses: ``kind`` "request" with a command, "deliver" with (source, message), "timer" with
    a name, or "crash" (a restart follows at once). ``durable``: see ``trace``."""

    kind: StepKind
    replica: int
    argument: Any = None
    durable: bool = True


class Impossible(Exception):
    """A step that cannot happen here: the message was not sent, the timer is not armed."""


class Site:
    """One replica, its disk, its timers and its copy of the data."""

    __slots__ = ("disk", "durable", "replica", "results", "store", "timers")

    def __init__(self) -> None:
        self.replica: Replica | None = None
        self.disk: dict[Any, Any] = {}
        self.timers: set[TimerName] = set()
        self.store: dict[Key, int] = {}
        self.results: dict[tuple[int, int], int | None] = {}
        self.durable = True
        """False from the first step whose writes are lost, until the crash."""


class Record:
    """What one step did, as it is gathered."""

    __slots__ = ("answered", "committed", "executed", "notes", "sent", "written")

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.written: list[str] = []
        self.committed: list[Committed] = []
        self.executed: list[Command] = []
        self.answered: list[Answered] = []
        self.notes: list[str] = []
