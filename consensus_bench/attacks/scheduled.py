"""Attacks whose schedule is written down: too long for a search, or published as a schedule.

A schedule is a function that moves messages by hand on a ``Table``, under the protocol without the rule and under the
correct one alike. A step that cannot happen (a message that the correct protocol never sends) is passed over: that is
what the rule prevents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from consensus_bench.attacks.attack import HOLDS, SAFETY, UNDECIDED, Finding
from consensus_bench.contract import Command, Replica, TimerName
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import KEY
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import Envelope, Violation

NOTHING: frozenset[str] = frozenset()


class _Over(Exception):
    """Something is violated: what comes after it does not matter."""


def swap(client: int, sequence: int = 1) -> Command:
    """A write that returns what was there before, of a value of its own."""
    return Command(client, sequence, "swap", KEY, client + 1)


class Table:
    """Replicas on a table, every message moved by hand. Messages to oneself arrive at once."""

    def __init__(self, spec: str, settings: dict[str, Any], size: int, commands: Sequence[Command]) -> None:
        protocol = find_protocol(spec)
        self._spec, self._settings = spec, settings
        self.execution = Execution(protocol, make_options(protocol, settings, size), size, None, commands)
        self.execution.start()
        self._gone: set[int] = set()
        self.passed_over = 0

    def replica(self, number: int) -> Replica:
        """The replica itself."""
        replica = self.execution.sites[number].replica
        assert replica is not None
        return replica

    def ask(self, replica: int, command: Command) -> None:
        """A client's request arrives."""
        self._take(Event("request", replica, command))

    def fire(self, replica: int, timer: TimerName) -> None:
        """A timer fires."""
        self._take(Event("timer", replica, timer))

    def crash(self, replica: int) -> None:
        """The process dies, and starts again from its disk."""
        self._take(Event("crash", replica))

    def deliver(self, source: int, to: int, kind: str) -> None:
        """The oldest message of that kind between the two arrives."""
        for envelope in self.under_way():
            if (envelope.source, envelope.to, envelope.kind) == (source, to, kind):
                return self._arrive(envelope)
        self.passed_over += 1
        return None

    def deliver_all(self, source: int, to: int) -> None:
        """Everything under way from the one to the other arrives, in order; not what is sent meanwhile."""
        for envelope in self.under_way():
            if (envelope.source, envelope.to) == (source, to):
                self._arrive(envelope)

    def cut(self, one: int, other: int) -> None:
        """What is under way between the two is lost."""
        self._gone.update(e.number for e in self.under_way() if {e.source, e.to} == {one, other})

    def exchange(self, among: Collection[int], keep: Collection[str] = NOTHING) -> None:
        """Whatever is under way among these replicas arrives, in order, and the answers, until nothing is left but
        messages of the kinds to ``keep``. Messages to and from others are lost."""
        while True:
            waiting = [e for e in self.under_way() if e.kind not in keep and {e.source, e.to} <= set(among)]
            if not waiting:
                break
            self._arrive(waiting[0])
        self.lose(among, keep)

    def lose(self, among: Collection[int] = (), keep: Collection[str] = NOTHING) -> None:
        """All messages under way are lost, but those of the kinds to ``keep`` among these replicas."""
        for envelope in self.under_way():
            if not (envelope.kind in keep and {envelope.source, envelope.to} <= set(among)):
                self._gone.add(envelope.number)

    def under_way(self) -> list[Envelope]:
        """Messages that have neither arrived nor been lost."""
        return [e for e in self.execution.envelopes if e.number not in self._gone and e.source != e.to]

    def _arrive(self, envelope: Envelope) -> None:
        self._gone.add(envelope.number)
        message = self.execution.messages[envelope.number - 1]
        self._take(Event("deliver", envelope.to, (envelope.source, message)))

    def _take(self, event: Event) -> None:
        try:
            self.execution.take(event)
        except Impossible:
            self.passed_over += 1
        if self.execution.violation is not None:
            raise _Over

    def finding(self, judged: Violation | None = None) -> Finding:
        """What the execution so far shows, to verification or else to a judge."""
        violation = self.execution.violation or judged
        trace = self.execution.trace(self._spec, self._settings, violation)
        if violation is None:
            detail = f"the schedule's {trace.length} steps violate nothing"
            detail += f"; {self.passed_over} could not happen" if self.passed_over else ""
            return Finding(verdict=HOLDS, detail=detail, steps=trace.length, trace=trace)
        return Finding(
            verdict=SAFETY, falls=violation.property, detail=violation.detail, steps=trace.length, trace=trace
        )


def unless_violated(table: Table, play: Callable[[Table], Finding]) -> Finding:
    """What ``play`` finds on the table, or what is violated before it ends."""
    with suppress(_Over):
        return play(table)
    return table.finding()


Script: TypeAlias = Callable[[Table], None]
Judge: TypeAlias = Callable[[Execution], Violation | None]
"""Looks for what verification cannot see: a guarantee beyond what a history of the clients shows."""


def no_judge(_execution: Execution) -> None:
    """Verification sees all there is."""


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """Play ``script`` under ``unsafe`` and under ``safe``."""

    unsafe: str
    safe: str
    script: Script
    replicas: int = 3
    commands: tuple[Command, ...]
    settings: dict[str, Any] = {}
    unsafe_settings: dict[str, Any] = {}
    judge: Judge = no_judge

    def attack(self) -> Finding:
        """Without the assumption."""
        return self._play(self.unsafe, {**self.settings, **self.unsafe_settings})

    def control(self, attacked: Finding) -> Finding:
        """With it. A schedule in which nothing is decided would prove nothing."""
        found = self._play(self.safe, self.settings)
        assert found.trace is not None
        if found.verdict == HOLDS and not any(step.committed for step in found.trace.steps):
            return msgspec.structs.replace(found, verdict=UNDECIDED, detail="nothing is decided in this schedule")
        return found

    def _play(self, spec: str, settings: dict[str, Any]) -> Finding:
        table = Table(spec, settings, self.replicas, self.commands)
        with suppress(_Over):
            self.script(table)
        return table.finding(self.judge(table.execution))
