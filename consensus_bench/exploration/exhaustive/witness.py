"""From a state that violates something to a shortest execution that leads there, in the protocol's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

import msgspec

from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.handlers import DELIVER, ORDER, REQUEST, TIMER
from consensus_bench.exploration.exhaustive.lives import plain
from consensus_bench.exploration.exhaustive.nodes import CRASH, Choice
from consensus_bench.exploration.exhaustive.search import Search
from consensus_bench.exploration.shrinking import Attempt, run_possible, shrink
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import StepKind, Trace, Violation

_KINDS: Final[dict[int, StepKind]] = {
    DELIVER: "deliver",
    REQUEST: "request",
    TIMER: "timer",
    ORDER: "order",
    CRASH: "crash",
}


def path_to(search: Search, state: int) -> list[int]:
    """A shortest sequence of states from the initial one to ``state``, which is in the last level."""
    path = [state]
    for level in range(len(search.levels) - 2, -1, -1):
        path.append(search.predecessor(level, path[-1]))
    return path[::-1]


def choices_along(search: Search, path: Sequence[int]) -> list[Choice]:
    """The step that leads from each state of ``path`` to the next: the first there is."""
    chosen = []
    for before, after in pairwise(path):
        chosen.append(next(choice for choice, reached in search.successors(before) if reached == after))
    return chosen


def event_of(search: Search, choice: Choice) -> Event:
    """The same step for ``Execution``: with values for numbers."""
    handlers = search.nodes.handlers
    argument: Any = choice.argument
    if choice.kind == DELIVER:
        envelope = handlers.envelopes[choice.argument]
        argument = (envelope.source, plain(envelope.message))
    elif choice.kind == REQUEST:
        argument = handlers.commands[choice.argument]
    elif choice.kind == ORDER:
        argument = handlers.orders[choice.argument]
    return Event(_KINDS[choice.kind], choice.replica, argument, not choice.lagging)


def execute(search: Search, events: Sequence[Event], in_words: bool = False) -> Attempt:
    """Run ``events`` after the opening, up to the first violation; what is impossible does not happen."""
    bounds, opening = search.bounds, () if search.opening is None else search.opening.events
    execution = Execution(
        search.protocol, search.options, bounds.replicas, bounds.first_leader, search.nodes.commands,
        bounds.own_messages == "at-once", () if search.opening is None else search.opening.delay_ns, in_words,
    )  # fmt: skip
    execution.start()
    happened = run_possible(execution, _timed(search, (*opening, *events)))
    return execution, happened[len(opening) :]


def _timed(search: Search, events: Sequence[Event]) -> Iterator[Event]:
    """With what the clocks show, as ``Handlers`` has it: nothing, or which life it is."""
    lives = [0] * search.bounds.replicas
    for event in events:
        if search.nodes.handlers.lives_matter:
            lives[event.replica] += event.kind == "crash"
            event = msgspec.structs.replace(event, clock_ns=lives[event.replica])
        yield event


def make_trace(search: Search, events: Sequence[Event], spec: str, settings: dict[str, Any]) -> Trace:
    """The execution of ``events``, shrunk and written down. What is violated is found anew, by the verifier of every
    benchmark; the explorer's own finding is given only where that one sees nothing (which would be a bug)."""
    execution, happened = execute(search, events)
    if execution.violation is None and len(happened) < len(events):
        raise Impossible(f"step {len(happened) + 1} of the explorer's execution cannot happen")
    execution, _ = execute(search, shrink(partial(execute, search), events), in_words=True)
    violation = execution.violation
    if violation is None and search.result.violation is not None:
        name, detail = search.result.violation
        violation = Violation(property=name, detail=f"{detail} (not confirmed by the execution)")
    return execution.trace(spec, settings, violation)
