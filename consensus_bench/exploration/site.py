"""One replica with its disk, its timers and its copy of the data, and what can happen to it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consensus_bench.contract import CORRUPT, LOST, Command, Key, Replica, TimerName
from consensus_bench.contract.storage import Lost
from consensus_bench.exploration.trace import Answered, Committed, Damage, StepKind

OWN_INVARIANTS: Final = "own invariants"
NO_EXCEPTION: Final = "no exception"


class Event(msgspec.Struct, frozen=True):
    """A step that the world chooses: ``kind`` "request" with a command, "deliver" with (source, message), "timer" with
    a name, "order" with the operator's message, or "crash" with the damage to the disk (a restart follows at once).
    ``durable``, ``clock_ns``: see ``trace``."""

    kind: StepKind
    replica: int
    argument: Any = None
    durable: bool = True
    clock_ns: int = 0

    @property
    def is_own(self) -> bool:
        """Whether it is the delivery of a message of the replica to itself."""
        return self.kind == "deliver" and bool(self.argument[0] == self.replica)


class Impossible(Exception):
    """A step that cannot happen here: the message was not sent, the timer is not armed."""


def damaged(disk: dict[Any, Any], damage: Damage) -> dict[Any, Any]:
    """What is found on ``disk`` after ``damage``; ``Impossible`` where there is no such record."""
    if damage is None:
        return dict(disk)
    if isinstance(damage, Lost):
        return {LOST: True}
    missing = [key for key in damage if key not in disk]
    if missing:
        raise Impossible(f"no record of {missing[0]} is on the disk")
    return {**disk, **dict.fromkeys(damage, CORRUPT)}


def told(results: dict[tuple[int, int], int | None]) -> tuple[tuple[int, int, int | None], ...]:
    """What a snapshot says of ``results``; of a command that it covers and says nothing of, the result is None."""
    return tuple((*request, result) for request, result in sorted(results.items()) if result is not None)


class Site:
    """One replica, its disk, its timers and its copy of the data."""

    __slots__ = ("born", "disk", "durable", "replica", "results", "store", "timers")

    def __init__(self) -> None:
        self.replica: Replica | None = None
        self.disk: dict[Any, Any] = {}
        self.timers: set[TimerName] = set()
        self.store: dict[Key, int] = {}
        self.results: dict[tuple[int, int], int | None] = {}
        self.durable = True
        """False from the first step whose writes are lost, until the crash."""
        self.born = 0
        """How many envelopes there were when this process began: what it sent to itself before is gone."""


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
