"""A trace is run again: with the real classes, step by step, and each step must do what the trace says."""

from __future__ import annotations

from consensus_bench.contract import ConfigError, Options, Replica, TimerName
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.site import Impossible
from consensus_bench.exploration.trace import Trace, TraceStep, damage_of, from_data
from consensus_bench.exploration.wording import show


def replay(trace: Trace, protocol: type[Replica], options: Options) -> Execution:
    """Run ``trace`` again; ``ConfigError`` at the first step that cannot happen or does something else."""
    execution = Execution(
        protocol, options, trace.replicas, trace.first_leader, trace.commands, delay_ns=trace.delay_ns
    )
    for step in trace.steps:
        if step.message is not None:
            _check_message(execution, trace, step, step.message)
        try:
            done = execution.call(
                step.kind,
                step.replica,
                command=step.command,
                message=step.message,
                timer=_timer(execution, step),
                order=None if step.order is None else step.order.decode(protocol),
                damage=damage_of(step),
                own=step.own,
                durable=step.durable,
                clock_ns=step.clock_ns,
            )
        except Impossible as error:
            raise ConfigError(f"step {step.number} does not fit {trace.protocol}: {error}") from error
        for field in ("sent", "written", "committed", "executed", "answered", "notes", "disk"):
            expected, found = getattr(step, field), getattr(done, field)
            if expected != found:
                raise ConfigError(
                    f"step {step.number} does not fit {trace.protocol}: {field} is {show(found)}, "
                    f"in the trace {show(expected)}"
                )
        for number in step.sent:
            _check_message(execution, trace, step, number)
    return execution


def _check_message(execution: Execution, trace: Trace, step: TraceStep, number: int) -> None:
    """Message ``number`` was sent, and is the one that the trace has."""
    if len(execution.envelopes) < number:
        raise ConfigError(f"step {step.number} does not fit {trace.protocol}: message {number} was not sent")
    there, here = trace.messages[number - 1], execution.envelopes[number - 1]
    message, sent = there.decode(execution.protocol), execution.messages[number - 1]
    if (message, there.source, there.to, there.step) != (sent, here.source, here.to, here.step):
        raise ConfigError(
            f"step {step.number} does not fit {trace.protocol}: message {number} is {show(sent)} from {here.source} to "
            f"{here.to} in step {here.step}, in the trace {show(message)} from {there.source} to {there.to} in step "
            f"{there.step}"
        )


def _timer(execution: Execution, step: TraceStep) -> TimerName:
    """The timer of the step, as the protocol names it."""
    name: TimerName = from_data(step.timer)
    if step.kind == "timer" and name not in execution.sites[step.replica].timers:
        raise Impossible(f"the timer {show(name)} of replica {step.replica} is not armed")
    return name
