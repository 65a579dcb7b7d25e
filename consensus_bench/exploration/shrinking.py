"""Leaves out of an execution what it does without.

Large pieces first, then step by step, again and again until none can be spared (Zeller, Hildebrandt: "Simplifying and
Isolating Failure-Inducing Input", IEEE TSE 2002). What cannot happen any more once a step is gone (a message that was
not sent) is gone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from consensus_bench.contract import Command, Options, Replica
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.site import Event, Impossible

MOST_RUNS: Final = 3_000
"""Attempts, at most; what has been reached then is good enough."""
Attempt: TypeAlias = tuple[Execution, list[Event]]
"""An execution and the events that happened in it."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What an execution begins with. ``clocks_ns``: what each replica's clock shows when it starts."""

    protocol: type[Replica]
    options: Options
    replicas: int
    first_leader: int | None = None
    commands: tuple[Command, ...] = ()
    own_at_once: bool = True
    delay_ns: tuple[tuple[int, ...], ...] = ()
    clocks_ns: tuple[int, ...] = ()

    def execute(self, events: Sequence[Event], in_words: bool = False) -> Attempt:
        """Run ``events`` from the start."""
        execution = Execution(
            self.protocol, self.options, self.replicas, self.first_leader, self.commands, self.own_at_once,
            self.delay_ns, in_words,
        )  # fmt: skip
        execution.start(self.clocks_ns)
        return execution, run_possible(execution, events)


def run_possible(execution: Execution, events: Iterable[Event]) -> list[Event]:
    """Those of ``events`` that happened, up to the first violation: what is impossible does not."""
    happened = []
    for event in events:
        if execution.violation is not None:
            break
        try:
            execution.take(event)
        except Impossible:
            continue
        happened.append(event)
    return happened


def shrink(
    execute: Callable[[Sequence[Event]], Attempt], events: Sequence[Event], most_runs: int = MOST_RUNS
) -> list[Event]:
    """As few of ``events`` as lead to a violation of the same property: no single one of them can be left out.
    ``execute`` runs some."""
    execution, kept = execute(events)
    wanted, runs = execution.violation, 0

    def falls(some: Sequence[Event]) -> list[Event] | None:
        nonlocal runs
        runs += 1
        found, happened = execute(some)
        same = found.violation is not None and wanted is not None and found.violation.property == wanted.property
        return happened if same else None

    size = max(1, len(kept) // 2)
    while wanted is not None and runs < most_runs:
        position, removed = len(kept), False
        while position > 0 and runs < most_runs:
            position = min(position, len(kept))
            start = max(0, position - size)
            # a message of a replica to itself is never lost: it goes with the step that sends it
            shorter = falls(
                [*kept[:start], *(event for event in kept[start:position] if event.is_own), *kept[position:]]
            )
            if shorter is not None and len(shorter) < len(kept):
                kept, removed = shorter, True
            position -= size
        if size == 1 and not removed:
            break
        size = max(1, size // 2)
    return kept
