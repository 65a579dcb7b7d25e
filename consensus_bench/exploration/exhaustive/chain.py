"""EPaxos: commands that commit one after the other and are never executed, as a schedule that can be repeated for ever.

A committed command is executed after its dependencies, and with all that depend on each other in a circle (Moraru et
al., SOSP 2013, section 4.3.2). So nothing is executed as long as every command has a dependency that is not committed
yet. Here two replicas are asked in turn for interfering commands, each before it hears of the other's last one:

    a replica is asked for the next command; then all that concerns the last one happens, to its commit everywhere

The other replica knows the next command when it is asked about the last one, so the last one depends on it. No search
finds this as a cycle of states, because committed commands pile up. What comes back is all that a turn depends on: the
instances that are not committed, and the messages under way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec

from consensus_bench.contract import Command, Entry
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import KEY
from consensus_bench.exploration.exhaustive.repetition import Repetition
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Envelope

REPLICAS: Final = 3
PERIOD: Final = 2
"""After so many turns it is the same replica's again."""
TURNS: Final = 24
FIRST: Final = 3
"""After so many turns a command has others before it in both rows."""


class Chain(msgspec.Struct, frozen=True):
    """What a run of so many ``turns`` shows. ``committed``: commands that all replicas have committed; ``executed``:
    that any has executed while clients go on, and all when they have paused. ``comes_back``: whether what a turn
    depends on is after each turn as it was ``PERIOD`` turns before, but for instances one number higher."""

    turns: int
    committed: int
    executed: int
    executed_after_pause: int
    comes_back: bool


class _Turns:
    """The schedule, turn by turn. ``with_timers``: each timer of each replica fires in every turn."""

    def __init__(self, turns: int, with_timers: bool) -> None:
        protocol = find_protocol("epaxos")
        self.commands = tuple(
            Command(turn % PERIOD, turn // PERIOD + 1, "swap", KEY, turn + 1) for turn in range(turns + 1)
        )
        options = make_options(protocol, {}, REPLICAS)
        self.execution = Execution(protocol, options, REPLICAS, None, self.commands)
        self.execution.start()
        self.with_timers = with_timers
        self.arrived: set[int] = set()
        self.ask(0)

    def ask(self, number: int) -> None:
        """The client of that command asks the replica whose turn it is."""
        self.execution.take(Event("request", number % PERIOD, self.commands[number]))

    def turn(self, number: int) -> None:
        """The next command is asked for, then the last one gets committed."""
        self.ask(number + 1)
        last, following = _instance(number), _instance(number + 1)
        self.deliver(lambda envelope: envelope.fields.get("instance") == last)
        if self.with_timers:
            for replica, site in enumerate(self.execution.sites):
                for timer in sorted(site.timers, key=str):
                    self.execution.take(Event("timer", replica, timer))
            self.deliver(lambda envelope: envelope.fields.get("instance") != following)

    def deliver(self, wanted: Callable[[Envelope], bool]) -> None:
        """Whatever is ``wanted`` arrives, in the order of sending, with all the wanted answers."""
        while chosen := next(filter(wanted, self.under_way()), None):
            self.arrived.add(chosen.number)
            message = self.execution.messages[chosen.number - 1]
            self.execution.take(Event("deliver", chosen.to, (chosen.source, message)))

    def under_way(self) -> list[Envelope]:
        """Messages that have not arrived."""
        return [e for e in self.execution.envelopes if e.number not in self.arrived and e.source != e.to]

    def count(self, *statuses: str) -> list[int]:
        """Of each replica, how many commands have one of these statuses."""
        views = [site.replica.view() for site in self.execution.sites if site.replica is not None]
        return [sum(entry.status in statuses for entry in view.entries.values()) for view in views]

    def pending(self, turns: int) -> Hashable:
        """All that the next turn depends on, with instances counted from the one whose turn is over."""
        base = turns // PERIOD

        def relative(value: Any) -> Any:
            if isinstance(value, list | tuple):  # dependencies, by row; -1: none
                return tuple(None if part == -1 else part - base for part in value)
            return value

        way = sorted(
            (e.source, e.to, e.kind, e.fields["instance"][0], e.fields["instance"][1] - base,
             repr(relative(e.fields.get("deps"))))
            for e in self.under_way()
        )  # fmt: skip
        uncommitted = []
        for site in self.execution.sites:
            entries: dict[Any, Entry] = {} if site.replica is None else dict(site.replica.view().entries)
            uncommitted += [
                sorted(
                    (row, number - base, entry.status, repr(entry.ballot), repr(relative(entry.extra)))
                    for (row, number), entry in entries.items()
                    if entry.status not in ("committed", "executed")
                )
            ]
        timers = tuple(frozenset(site.timers) for site in self.execution.sites)
        return (tuple(way), tuple(map(tuple, uncommitted)), timers)


def _instance(number: int) -> list[int]:
    return [number % PERIOD, number // PERIOD]


def endless_chain(turns: int = TURNS) -> Chain:
    """Run the schedule for so many turns, every timer included, and then let the clients pause."""
    run = _Turns(turns, with_timers=True)
    shapes = []
    for number in range(turns):
        run.turn(number)
        shapes.append(run.pending(number + 1))
    committed, executed = min(run.count("committed", "executed")), max(run.count("executed"))
    settled = shapes[FIRST - 1 :]
    comes_back = all(shape == before for shape, before in zip(settled[PERIOD:], settled, strict=False))
    run.deliver(lambda _: True)
    return Chain(turns, committed, executed, min(run.count("executed")), comes_back)


def draw_chain() -> Repetition:
    """The schedule without timers, as something that repeats itself, and one turn more."""
    run = _Turns(FIRST + PERIOD + 1, with_timers=False)
    ends = []
    for number in range(FIRST + PERIOD + 1):
        run.turn(number)
        ends.append(len(run.execution.steps))
    trace = run.execution.trace("epaxos", {}, None)
    begins = ends[FIRST - 1] + 1
    changed = "instances one number higher"
    return Repetition(trace, begins, ends[FIRST + PERIOD - 1], changed, begins)


SCHEDULES: Final = {"epaxos": (endless_chain, draw_chain)}
"""Protocols whose question is answered by a schedule: what runs it, and what writes it down."""
