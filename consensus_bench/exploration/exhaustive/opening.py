"""An execution after which an exploration begins: what is rare from the start may be near from there.

Its steps count towards no bound, and all that was sent in it is still under way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from consensus_bench.contract import Command, ConfigError, Replica
from consensus_bench.exploration.exhaustive.bounds import round_of
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Trace, TraceStep, damage_of, from_data, read_trace


class Opening(msgspec.Struct, frozen=True):
    """``events`` of ``replicas`` replicas, in which messages of rounds up to ``last_round`` were sent; ``commands`` are
    all that clients may ask for, then and later. ``where`` it comes from, in words."""

    replicas: int
    first_leader: int | None
    delay_ns: tuple[tuple[int, ...], ...]
    commands: tuple[Command, ...]
    events: tuple[Event, ...]
    last_round: int
    where: str = "the opening"


def read_opening(where: str) -> tuple[Trace, int]:
    """A trace and how many of its steps: ``FILE``, all; ``FILE:N``, the first N. ``ConfigError`` for what is none."""
    file, colon, number = where.rpartition(":")
    path, steps = (Path(file), int(number)) if colon and number.isdecimal() else (Path(where), None)
    trace = read_trace(path)
    if steps is None:
        return trace, trace.length
    if not 1 <= steps <= trace.length:
        raise ConfigError(f"--after {where}: choose 1 to {trace.length}, the steps of {path}")
    return trace, steps


def opening_of(
    trace: Trace,
    protocol: type[Replica],
    steps: int | None = None,
    where: str = "the opening",
    own_messages: bool = False,
) -> Opening:
    """The first ``steps`` steps of ``trace`` (None: all). ``own_messages``: those of a replica to itself are steps of
    their own, which do not count; without it they arrive at once, and ``ConfigError`` says so where they did not."""
    if not own_messages and not own_at_once(trace):
        raise ConfigError(f"{where}: a message of a replica to itself arrives later there: add --own-messages network")
    events, last = [], 0
    left = trace.length if steps is None else steps
    for step in trace.steps:
        counts = step.kind not in ("start", "restart") and not step.own
        if counts and not left:
            break
        left -= counts
        last = step.number
        if counts or (step.own and own_messages):
            events.append(_event(trace, step, protocol))
    sent = [envelope.decode(protocol) for envelope in trace.messages if envelope.step <= last]
    last_round = max(map(round_of, sent), default=0)
    return Opening(trace.replicas, trace.first_leader, trace.delay_ns, trace.commands, tuple(events), last_round, where)


def own_at_once(trace: Trace) -> bool:
    """Whether each message of a replica to itself arrives right after the step in which it was sent, and once."""
    waiting: set[int] = set()
    for step in trace.steps:
        if step.own != (step.message in waiting) or (waiting and not step.own):
            return False
        waiting.discard(step.message or 0)
        waiting.update(n for n in step.sent if trace.messages[n - 1].source == trace.messages[n - 1].to)
    return True


def _event(trace: Trace, step: TraceStep, protocol: type[Replica]) -> Event:
    argument: Any = step.command
    if step.kind == "deliver":
        assert step.message is not None
        envelope = trace.messages[step.message - 1]
        argument = (envelope.source, envelope.decode(protocol))
    elif step.kind == "timer":
        argument = from_data(step.timer)
    elif step.kind == "order":
        assert step.order is not None
        argument = step.order.decode(protocol)
    elif step.kind == "crash":
        later = trace.steps[step.number :]
        argument = next((damage_of(s) for s in later if s.kind == "restart" and s.replica == step.replica), None)
    return Event(step.kind, step.replica, argument, step.durable)
