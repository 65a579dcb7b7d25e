"""What has become visible of a replica, and of the clients, so far: the properties speak about nothing else.

``Seen`` is one replica's: per life of its process, what it committed and what it executed in which order. ``History``
is the clients': who asked and who was answered, in which order. Both are interned.

Answers arrive at once and requests are sent at the last moment. Every other timing only makes more operations overlap,
so that what is not linearizable then is not linearizable here either (Herlihy and Wing, TOPLAS 1990).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from consensus_bench.contract import Command, PropertyViolated, Snapshot
from consensus_bench.contract.context import COMMIT, EXECUTE, INSTALL, READ, TAKE_SNAPSHOT
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.handlers import Event
from consensus_bench.exploration.exhaustive.lives import (
    NEW,
    Life,
    Snapshots,
    installed,
    results_of,
    with_commit,
    with_execution,
    with_read,
)
from consensus_bench.verification.linearizability import LINEARIZABILITY, Operation, check_operations
from consensus_bench.verification.online import EXECUTION_ORDER, VALIDITY, Verifier

Lives: TypeAlias = tuple[Life, ...]
"""Lives that ended, in any order, and the one under way last."""
Broken: TypeAlias = tuple[str, str] | None
"""(property, detail) of what is violated."""


class Observations:
    """Interned observations of replicas, and the verdicts of the verifier on them."""

    def __init__(self, replicas: int, decides: str, commands: tuple[Command, ...], snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self.lives: list[Lives] = [(NEW,)]
        self.broken: list[Broken] = [None]
        self._replicas = replicas
        self._decides = decides
        self._known = set(commands)
        self._numbers: dict[tuple[Lives, Broken], int] = {((NEW,), None): 0}
        """By what is violated as well: how it came about, the lives alone need not show (two commits at one place)."""
        self._after: dict[tuple[int, tuple[Event, ...]], int] = {}
        self._pairs: dict[tuple[int, int], Broken] = {}

    def after(self, seen: int, events: tuple[Event, ...]) -> int:
        """What is seen once ``events`` have happened as well."""
        key = (seen, events)
        if key not in self._after:
            self._after[key] = self._extend(self.lives[seen], self.broken[seen], events)
        return self._after[key]

    def crashed(self, seen: int) -> int:
        """The life under way has ended, and another began."""
        *past, last = self.lives[seen]
        last = (last[0], last[1], ())  # nobody is answered by a read of an earlier life
        ended = {*past} | ({last} if last != NEW else set())
        return self._number((*sorted(ended, key=repr), NEW), self.broken[seen])

    def results(self, seen: int) -> dict[tuple[int, int], int | None]:
        """What a replica of which this is seen can answer: by client and sequence number, the results."""
        return results_of(self.lives[seen][-1])[1]

    def compare(self, a: int, b: int) -> Broken:
        """What the observations of two replicas violate together, if anything."""
        if a == b == 0:
            return None
        key = (a, b) if a <= b else (b, a)
        if key not in self._pairs:
            self._pairs[key] = self._judge(self.lives[key[0]], self.lives[key[1]])
        return self._pairs[key]

    def _judge(self, *replicas: Lives) -> Broken:
        verifier = Verifier(self._replicas, self._decides)
        try:
            for replica, lives in enumerate(replicas):
                _feed(verifier, replica, lives)
        except PropertyViolated as violation:
            return (violation.name, violation.detail)
        return None

    def _extend(self, lives: Lives, broken: Broken, events: tuple[Event, ...]) -> int:
        life = lives[-1]
        verifier = Verifier(self._replicas, self._decides)
        broken = broken or _try(_feed, verifier, 0, lives)
        for tag, a, b in events:
            if tag == COMMIT:
                if b not in self._known and b.kind != "noop":
                    broken = broken or (VALIDITY, f"{b} is committed at place {a}: no client asked for it")
                broken = broken or _try(verifier.committed, 0, a, b)
                life = with_commit(life, a, b)
            elif tag == EXECUTE:
                broken = broken or _try(verifier.executed, 0, a)
                life = with_execution(life, a)
            elif tag == READ:
                life = with_read(life, a)
            elif tag == TAKE_SNAPSHOT:
                broken = broken or _try(verifier.snapshot, 0, a)
            else:
                assert tag == INSTALL, f"event {tag} is unknown"
                broken = broken or self._goes_back(life, a)
                life = installed(life, self._snapshots.covered(a) or NEW)
                verifier = Verifier(self._replicas, self._decides)
                broken = broken or _try(_feed, verifier, 0, (*lives[:-1], life))
        return self._number((*lives[:-1], life), broken)

    def _goes_back(self, life: Life, snapshot: Snapshot) -> Broken:
        """Whether something that was executed in this life is not covered by the snapshot that is installed."""
        covered = self._snapshots.covered(snapshot) or NEW
        lacking = [command for command in life[1] if command not in covered[1]]
        if lacking:
            return (EXECUTION_ORDER, f"a snapshot of place {snapshot.place} takes {lacking[0]} back")
        return None

    def _number(self, lives: Lives, broken: Broken) -> int:
        number = self._numbers.get((lives, broken))
        if number is None:
            number = self._numbers[lives, broken] = len(self.lives)
            self.lives.append(lives)
            self.broken.append(broken)
        return number


def _try(call: Any, *arguments: Any) -> Broken:
    try:
        call(*arguments)
    except PropertyViolated as violation:
        return (violation.name, violation.detail)
    return None


def _feed(verifier: Verifier, replica: int, lives: Lives) -> None:
    """Tell the verifier of all lives of a replica."""
    for number, (commits, executed, _) in enumerate(lives):
        if number:
            verifier.restarted(replica)
        for place, command in commits:
            verifier.committed(replica, place, command)
        for command in executed:
            verifier.executed(replica, command)


class Happening(msgspec.Struct, frozen=True):
    """What a step changes about the world: whether it is a crash, damages a disk, or is a time-out, how many ballots it
    begins, a bit for the order that is given, the number of the command that is asked for (or -1), the answers
    (command, result)."""

    crash: int = 0
    damage: int = 0
    timeout: int = 0
    ballots: int = 0
    order: int = 0
    asked: int = -1
    answers: tuple[tuple[int, int | None], ...] = ()


class World(msgspec.Struct, frozen=True):
    """The part of a global state that belongs to no replica: crashes, damaged disks, ballots and time-outs so far, a
    bit for each order that was given, and the clients' history."""

    crashes: int = 0
    damages: int = 0
    ballots: int = 0
    timeouts: int = 0
    orders: int = 0
    events: tuple[tuple[int, int, int | None], ...] = ()
    """(0, command, None): asked for; (1, command, result): answered. In order of time."""


class Worlds:
    """Interned worlds. ``histories`` false: nothing is remembered of the clients."""

    def __init__(self, bounds: Bounds, histories: bool, commands: tuple[Command, ...]) -> None:
        self.all: list[World] = [World()]
        self.broken: list[Broken] = [None]
        self.histories = histories
        self._bounds = bounds
        self._commands = commands
        self._numbers: dict[World, int] = {World(): 0}
        self._happenings = [Happening()]
        self._happening_numbers = {Happening(): 0}
        self._memo: dict[tuple[int, int], int | None] = {}

    def intern(self, happening: Happening) -> int:
        """The number of ``happening``; 0 is that of nothing."""
        if not self.histories:
            happening = msgspec.structs.replace(happening, asked=-1, answers=())
        if self._bounds.timeouts is None:
            happening = msgspec.structs.replace(happening, timeout=0)
        number = self._happening_numbers.get(happening)
        if number is None:
            number = self._happening_numbers[happening] = len(self._happenings)
            self._happenings.append(happening)
        return number

    def after(self, world: int, happening: int) -> int | None:
        """The world after a step; None: the step is beyond a bound."""
        if not happening:
            return world
        key = (world, happening)
        try:
            return self._memo[key]
        except KeyError:
            number = self._memo[key] = self._advance(self.all[world], self._happenings[happening])
            return number

    def _advance(self, world: World, happening: Happening) -> int | None:
        bounds = self._bounds
        crashes = world.crashes + happening.crash
        damages = world.damages + happening.damage
        ballots = world.ballots + happening.ballots
        timeouts = world.timeouts + happening.timeout
        if crashes > bounds.crashes or damages > bounds.damages or ballots > bounds.ballots:
            return None
        if bounds.timeouts is not None and timeouts > bounds.timeouts:
            return None
        if world.orders & happening.order:
            return None
        events = self._events_after(world.events, happening) if self.histories else ()
        return self._number(World(crashes, damages, ballots, timeouts, world.orders | happening.order, events))

    def unbounded(self, world: int, happening: int) -> int:
        """The world after a step that no bound counts: one of the execution after which the exploration begins."""
        events = self.all[world].events
        if self.histories:
            events = self._events_after(events, self._happenings[happening])
        return self._number(World(events=events))

    def _number(self, world: World) -> int:
        number = self._numbers.get(world)
        if number is None:
            number = self._numbers[world] = len(self.all)
            self.all.append(world)
            self.broken.append(self._judge(world.events))
        return number

    @staticmethod
    def _events_after(
        before: tuple[tuple[int, int, int | None], ...], happening: Happening
    ) -> tuple[tuple[int, int, int | None], ...]:
        events = list(before)
        known = {(what, command) for what, command, _ in before}
        if happening.asked >= 0 and (0, happening.asked) not in known:
            _insert(events, (0, happening.asked, None))
        for command, result in happening.answers:
            if (1, command) not in known:
                known.add((1, command))
                _insert(events, (1, command, result))
        return tuple(events)

    def _judge(self, events: tuple[tuple[int, int, int | None], ...]) -> Broken:
        """Is what the clients saw linearizable?"""
        times = {(what, command): (time, result) for time, (what, command, result) in enumerate(events)}
        operations = []
        for (what, number), (invoked, _) in times.items():
            if what == 0:
                command = self._commands[number]
                answered, result = times.get((1, number), (None, None))
                operations.append(
                    Operation(command.client, command.key, command.kind, command.value, result, invoked, answered)
                )
        check = check_operations(operations, "register", None)
        if check.verdict == "holds":
            return None
        return (LINEARIZABILITY, "; ".join([check.reason, *map(str, check.operations)]))


def _insert(events: list[tuple[int, int, int | None]], event: tuple[int, int, int | None]) -> None:
    """Append, in a normal form: the order of two requests, or of two answers, between which nothing else happened makes
    no difference to which operations overlap."""
    position = len(events)
    while position and events[position - 1][0] == event[0] and events[position - 1][1] > event[1]:
        position -= 1
    events.insert(position, event)
