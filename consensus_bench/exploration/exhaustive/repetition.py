"""A lasso as an execution of the real classes, with the rounds that they really use, written down as a trace.

This is the check of the search: what it found with states folded together is run here by plain objects, twice around.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from consensus_bench.contract import Message, Options, Replica
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.fairness import Lasso
from consensus_bench.exploration.exhaustive.liveness import Edge, Undecided
from consensus_bench.exploration.exhaustive.subjects import raised
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Trace

TURNS = 2


class Repetition(msgspec.Struct, frozen=True):
    """``trace``: all that leads to the cycle, and the cycle twice. The steps ``begins`` to ``ends`` of the trace are
    the cycle; after it all that it depends on is as before, but for what ``changed`` says."""

    trace: Trace
    begins: int
    ends: int
    changed: str
    shown: int = 1
    """The first step that a picture needs."""


class Reached(AssertionError):
    """The lasso reaches the goal, or cannot happen: the search was wrong."""


def repeat(
    search: Undecided, lasso: Lasso, protocol: type[Replica], options: Options, spec: str, settings: dict[str, Any]
) -> Repetition:
    """Run ``lasso``; ``spec`` and ``settings`` are how the user named the protocol and its options."""
    execution = Execution(protocol, options, search.replicas, None, search.commands)
    execution.start()
    for proposer, command in enumerate(search.commands):
        execution.take(Event("request", proposer, command))
    walk = _Walk(search, execution)
    for edge in lasso.stem:
        walk.take(edge)
    begins, before = len(execution.steps) + 1, walk.higher
    ends = higher = 0
    for turn in range(TURNS):
        for edge in lasso.cycle:
            walk.take(edge)
        if turn == 0:
            ends, higher = len(execution.steps), walk.higher - before
    _check_goal(search, execution)
    return Repetition(execution.trace(spec, settings, None), begins, ends, f"rounds {higher} higher")


class _Walk:
    """Takes the steps of a graph, in which rounds are counted from the lowest in use."""

    def __init__(self, search: Undecided, execution: Execution) -> None:
        self.search, self.execution = search, execution
        self.higher = 0
        """By so much are the real rounds higher."""

    def take(self, edge: Edge) -> None:
        kind, source, to, name = edge.action
        if kind == "time-out":
            self.execution.take(Event("timer", to, name))
        else:
            message: Message = raised(self.search.subject, edge.message, self.higher)
            self.execution.take(Event("deliver", to, (source, message)))
        self.higher += edge.lowered


def _check_goal(search: Undecided, execution: Execution) -> None:
    """Nobody was elected or has learnt of a choice, and no majority has ever accepted one ballot."""
    voters: dict[Any, set[int]] = defaultdict(set)
    for step in execution.steps:
        if step.committed or "elected" in step.notes:
            raise Reached(f"step {step.number} reaches the goal: {step.text}")
        for number in step.sent:
            envelope = execution.envelopes[number - 1]
            if search.subject.goal == "chosen" and envelope.kind == "Accepted":
                voters[tuple(envelope.fields["ballot"])].add(envelope.source)
    if any(len(replicas) > search.replicas // 2 for replicas in voters.values()):
        raise Reached("a majority accepts one ballot")
    delivered = [step.message for step in execution.steps if step.message is not None]
    if len(delivered) != len(set(delivered)):
        raise Reached("a message is delivered twice")
