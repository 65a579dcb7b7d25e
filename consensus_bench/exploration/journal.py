"""A random run that failed, written down as an execution: to be shrunk, kept as a trace, drawn.

What a trace says of disks is less than what happens to them in a run. There a record becomes durable some time after
its step, and what waits for it becomes visible then. In an execution both happen in the step; the steps from the first
record on that a crash loses have no durable effect at all (``durable`` is False, see ``trace``). That is an execution
of the same protocol in which the disk was quick: messages may take their time all the same, only answers come earlier.
So what falls in the run almost always falls in the execution; where it does not, there is no trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from consensus_bench.contract import OPERATOR, Command, ConfigError, Effect, ReplicaId
from consensus_bench.contract.context import PERSIST, SET_TIMER
from consensus_bench.contract.steps import Deliver, Input, Recover, Request, Start, Timer
from consensus_bench.exploration.execution import length_of
from consensus_bench.exploration.random_run import PROGRESS, ScheduleViolated, changed
from consensus_bench.exploration.shrinking import Stage, shrink
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Trace
from consensus_bench.exploration.world import Damage, Observer


class Journal(Observer):
    """Keeps each step as an ``Event``, and which of them left nothing on a disk."""

    def __init__(self) -> None:
        self.clocks_ns: list[int] = []
        """At each replica's start."""
        self.commands: dict[Command, None] = {}
        """All that a client asked for, in order."""
        self._events: list[Event] = []
        self._lost: set[int] = set()
        """Positions of events without durable effect."""
        self._life: dict[ReplicaId, list[int]] = defaultdict(list)
        """Positions of the events since the replica's last start."""
        self._pending: dict[ReplicaId, list[int]] = defaultdict(list)
        """Positions of those whose records are not durable yet."""
        self._damage: dict[ReplicaId, Damage] = {}

    @property
    def events(self) -> list[Event]:
        """The run so far."""
        return [
            msgspec.structs.replace(event, durable=position not in self._lost)
            for position, event in enumerate(self._events)
        ]

    def stepped(self, replica: ReplicaId, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        """Keep it."""
        if any(PERSIST <= tag < SET_TIMER for tag, _, _ in effects):
            self._pending[replica].append(len(self._events))
        match event:
            case Start():
                self.clocks_ns.append(clock_ns)
                return
            case Recover():
                kept = Event("crash", replica, self._damage.pop(replica, None), clock_ns=clock_ns)
            case Deliver(source, message) if source == OPERATOR:
                kept = Event("order", replica, message, clock_ns=clock_ns)
            case Deliver(source, message):
                kept = Event("deliver", replica, (source, message), clock_ns=clock_ns)
            case Request(command):
                self.commands[command] = None
                kept = Event("request", replica, command, clock_ns=clock_ns)
            case Timer(name):
                kept = Event("timer", replica, name, clock_ns=clock_ns)
        self._life[replica].append(len(self._events))
        self._events.append(kept)

    def synced(self, replica: ReplicaId, records: int) -> None:
        """The steps that wrote them last."""
        del self._pending[replica][:records]

    def crashed(self, replica: ReplicaId) -> None:
        """From the first lost record on nothing that the life did is on its disk."""
        pending = self._pending.pop(replica, [])
        if pending:
            self._lost.update(position for position in self._life[replica] if position >= pending[0])
        self._life[replica].clear()

    def damaged(self, replica: ReplicaId, damage: Damage) -> None:
        """The restart finds it so."""
        self._damage[replica] = damage


class Found(msgspec.Struct, frozen=True):
    """A violation as an execution: ``events``, of the ``taken`` steps of the run, suffice."""

    stage: Stage
    events: list[Event]
    taken: int

    def trace(self, spec: str) -> Trace:
        """The steps that suffice, written down. ``spec`` is how the user named the protocol."""
        execution, _ = self.stage.execute(self.events, in_words=True)
        return execution.trace(spec, changed(self.stage.options), execution.violation)


def execution_of(violated: ScheduleViolated) -> Found | None:
    """The run in which something fell, as few of its steps as suffice for the same property; None if its execution
    does not show that one (progress has no last step)."""
    if violated.name == PROGRESS:
        return None
    journal = Journal()
    violated.again(journal)
    run = violated.run
    stage = Stage(
        protocol=run.protocol,
        options=run.options,
        replicas=run.size,
        first_leader=run.world.cluster.first_leader,
        commands=tuple(journal.commands),
        delay_ns=run.world.cluster.delay_ns,
        clocks_ns=tuple(journal.clocks_ns),
    )
    events = journal.events
    for own_at_once in (True, False):
        some = [event for event in events if not (own_at_once and event.is_own)]
        attempt = msgspec.structs.replace(stage, own_at_once=own_at_once)
        execution, _ = attempt.execute(some)
        if execution.violation is not None and execution.violation.property == violated.name:
            return Found(*_plainest(attempt, shrink(attempt.execute, some)), length_of(execution.steps))
    return None


def _plainest(stage: Stage, events: list[Event]) -> tuple[Stage, list[Event]]:
    """Only the commands that are asked for, options at their defaults where they do not matter, and clocks that stand
    still where time does not."""
    asked = {event.argument for event in events if event.kind == "request"}
    stage = msgspec.structs.replace(stage, commands=tuple(command for command in stage.commands if command in asked))
    defaults = stage.protocol.options_type()
    for name in 2 * list(changed(stage.options)):  # one may bound another
        options = msgspec.structs.replace(stage.options, **{name: getattr(defaults, name)})
        try:
            options.validate(stage.replicas)
        except ConfigError:
            continue
        plainer = msgspec.structs.replace(stage, options=options)
        stage = plainer if _falls_alike(stage, plainer, events, events) else stage
    still = msgspec.structs.replace(stage, clocks_ns=())
    timeless = [msgspec.structs.replace(event, clock_ns=0) for event in events]
    if _falls_alike(stage, still, events, timeless):
        stage, events = still, timeless
    return stage, shrink(stage.execute, events)


def _falls_alike(stage: Stage, other: Stage, events: Sequence[Event], others: Sequence[Event]) -> bool:
    wanted, found = stage.execute(events)[0].violation, other.execute(others)[0].violation
    return wanted is not None and found is not None and wanted.property == found.property
