"""Attacks that the explorer finds: within small bounds, with a shortest execution.

The control is twofold: the explorer visits all executions of the correct protocol within the same bounds, up to the
length of the attack; and the attack's own schedule is given to the correct protocol, step by step.
"""

from __future__ import annotations

from typing import Any

import msgspec

from consensus_bench.attacks.attack import HOLDS, SAFETY, UNDECIDED, Finding
from consensus_bench.contract import Command, ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import Report, explore
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import Trace, TraceStep, from_data


class Explored(msgspec.Struct, frozen=True, kw_only=True):
    """Explore ``unsafe``, a protocol with a rule removed (by itself or by ``unsafe_settings``), and ``safe``, the
    correct one, within ``bounds``."""

    unsafe: str
    safe: str
    bounds: Bounds
    settings: dict[str, Any] = {}
    unsafe_settings: dict[str, Any] = {}
    depth: int | None = None
    """How far the control goes where the attack finds nothing; None: until it closes."""

    def attack(self) -> Finding:
        """Explore without the assumption."""
        return _finding(explore(self.unsafe, self._bounds(None), {**self.settings, **self.unsafe_settings}))

    def control(self, attacked: Finding) -> Finding:
        """Explore with it, as deep as the attack went; then the attack's own schedule."""
        found = _finding(explore(self.safe, self._bounds(attacked.steps), self.settings))
        if found.verdict != HOLDS or attacked.trace is None:
            return found
        same = same_schedule(attacked.trace, self.safe, self.settings)
        if same.verdict != HOLDS:
            return same
        return msgspec.structs.replace(found, detail=f"{found.detail}; {same.detail}", trace=same.trace)

    def _bounds(self, steps: int | None) -> Bounds:
        depth = self.depth if steps is None else steps
        return msgspec.structs.replace(self.bounds, depth=depth)


def _finding(report: Report) -> Finding:
    if report.trace is not None and report.trace.violation is not None:
        violation = report.trace.violation
        return Finding(
            verdict=SAFETY, falls=violation.property, detail=violation.detail, steps=report.trace.length,
            trace=report.trace,
        )  # fmt: skip
    if report.extent == "closed":
        if report.missing:
            return Finding(verdict=UNDECIDED, detail=f"never happened: {', '.join(report.missing)}")
        return Finding(verdict=HOLDS, detail=f"all {report.states:,} states within the bounds")
    if report.extent == "depth bound":
        return Finding(verdict=HOLDS, detail=f"all executions of up to {report.depth} steps, {report.states:,} states")
    return Finding(verdict=UNDECIDED, detail=f"{report.extent}: {report.states:,} states, none of them wrong")


def same_schedule(trace: Trace, spec: str, settings: dict[str, Any]) -> Finding:
    """Give the schedule of ``trace`` to another protocol. What cannot happen there (a message that it never sends, or
    sends with other contents) is left out: that is what the rule prevents."""
    protocol = find_protocol(spec)
    options = make_options(protocol, settings, trace.replicas)
    execution = Execution(protocol, options, trace.replicas, trace.first_leader, trace.commands)
    execution.start()
    steps = [step for step in trace.steps if step.kind not in ("start", "restart") and not step.own]
    taken = 0
    for step in steps:
        if execution.violation is not None:
            break
        try:
            execution.take(_event(trace, step, execution))
        except (Impossible, ConfigError):
            continue
        taken += 1
    again = execution.trace(spec, settings, execution.violation)
    if execution.violation is not None:
        violation = execution.violation
        return Finding(
            verdict=SAFETY, falls=violation.property, detail=violation.detail, steps=again.length, trace=again
        )
    detail = f"of the attack's own {len(steps)} steps {taken} can happen, and nothing is violated"
    return Finding(verdict=HOLDS, detail=detail, steps=again.length, trace=again)


def _event(trace: Trace, step: TraceStep, execution: Execution) -> Event:
    if step.kind == "deliver":
        envelope = trace.messages[(step.message or 1) - 1]
        return Event("deliver", step.replica, (envelope.source, envelope.decode(execution.protocol)), step.durable)
    argument: Command | Any = step.command if step.kind == "request" else from_data(step.timer)
    return Event(step.kind, step.replica, argument, step.durable)
