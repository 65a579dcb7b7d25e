"""Fair cycles: can an execution that keeps to a fairness assumption never reach the goal?

Such an execution ends up in a strongly connected part of the graph. Weak fairness: what is enabled in every state of
the part is taken in it. Strong fairness: what is enabled in one of its states is taken in it; where it is not, the
states that enable it cannot come back for ever, so they are removed and the rest is split again (Emerson and Lei 1987).
"Every choice": each step of a state that comes back for ever is taken from that state, so that no step may lead out;
in a finite graph this is probability one, if each step has a positive probability that depends on the state alone.
A step that was left out of the graph (window) counts as enabled and never as taken: what is found is really fair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from consensus_bench.exploration.exhaustive.liveness import Action, Edge, Graph

Strength: TypeAlias = Literal["weak", "strong"]


EFFORT: Final = 40_000
"""A lasso is looked for from so many states, divided by the number of those that it may visit."""


class Fairness(msgspec.Struct, frozen=True):
    """What must be taken: actions of these kinds ("deliver": each link and message type; "time-out": each replica)."""

    name: str
    strength: Strength | None = None
    kinds: tuple[str, ...] = ()
    choices: bool = False


FAIRNESS: Final[dict[str, Fairness]] = {
    fairness.name: fairness
    for fairness in (
        Fairness("none"),
        Fairness("weak-delivery", "weak", ("deliver",)),
        Fairness("weak", "weak", ("deliver", "time-out")),
        Fairness("strong-delivery", "strong", ("deliver",)),
        Fairness("strong", "strong", ("deliver", "time-out")),
        Fairness("every-choice", None, (), True),
    )
}


class Lasso(msgspec.Struct, frozen=True):
    """``stem`` leads to the cycle's first state, ``cycle`` back to it and takes each action that fairness demands."""

    stem: tuple[Edge, ...]
    cycle: tuple[Edge, ...]
    states: int
    """Of the strongly connected part that the cycle lies in."""


def fair_lasso(graph: Graph, fairness: Fairness) -> Lasso | None:
    """An execution in which steps are taken for ever and the goal is not reached; None: there is none in this graph."""
    lassos = [_lasso(graph, part, fairness) for part in _fair_parts(graph, fairness)]
    return min(lassos, key=lambda lasso: (len(lasso.cycle), len(lasso.stem)), default=None)


def _fair_parts(graph: Graph, fairness: Fairness) -> Iterator[set[int]]:
    """The strongly connected parts in which an execution can stay for ever and be fair, as large as they are."""
    work = deque(_parts(graph, set(range(len(graph.edges)))))
    while work:
        part = work.popleft()
        inner = {e.action for state in part for e in graph.edges[state] if e.to in part}
        if not inner:
            continue
        bad = _unserved(graph, part, inner, fairness)
        if bad is None:
            yield part
        else:
            work.extend(_parts(graph, part - bad))


def _unserved(graph: Graph, part: set[int], taken: set[Action], fairness: Fairness) -> set[int] | None:
    """The states that cannot come back for ever, because of an action that is not taken; None: the part is fair."""
    if fairness.choices:
        return {s for s in part if any(e.to not in part for e in graph.edges[s])} or None
    enabled = {s: {e.action for e in graph.edges[s] if e.action[0] in fairness.kinds} - taken for s in part}
    if fairness.strength == "weak":
        return part if set.intersection(*enabled.values()) else None
    return {s for s, actions in enabled.items() if actions} or None


def _parts(graph: Graph, states: set[int]) -> list[set[int]]:
    """Strongly connected parts of the graph within ``states`` (Tarjan 1972, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    parts: list[set[int]] = []
    for root in sorted(states):
        if root in index:
            continue
        calls: list[tuple[int, Any]] = [(root, None)]
        while calls:
            state, rest = calls.pop()
            if rest is None:
                index[state] = low[state] = len(index)
                stack.append(state)
                on_stack.add(state)
                rest = iter([e.to for e in graph.edges[state] if e.to in states])
            for to in rest:
                if to not in index:
                    calls += [(state, rest), (to, None)]
                    break
                if to in on_stack:
                    low[state] = min(low[state], index[to])
            else:
                if calls:
                    parent = calls[-1][0]
                    low[parent] = min(low[parent], low[state])
                if low[state] == index[state]:
                    cut = stack.index(state)
                    parts.append(set(stack[cut:]))
                    on_stack.difference_update(stack[cut:])
                    del stack[cut:]
    return parts


def _path(graph: Graph, start: int, within: set[int], wanted: Any) -> list[Edge]:
    """A shortest path inside ``within`` whose last edge (source, edge) is ``wanted``."""
    before: dict[int, tuple[int, Edge]] = {}
    queue, seen = deque([start]), {start}
    while queue:
        state = queue.popleft()
        for edge in graph.edges[state]:
            if edge.to is None or edge.to not in within:
                continue
            if wanted(state, edge):
                path = [edge]
                while state != start:
                    state, last = before[state]
                    path.append(last)
                return path[::-1]
            if edge.to not in seen:
                seen.add(edge.to)
                before[edge.to] = (state, edge)
                queue.append(edge.to)
    raise AssertionError("the part is not strongly connected")


def _lasso(graph: Graph, part: set[int], fairness: Fairness) -> Lasso:
    """The shortest of the lassos whose cycle begins at one of many states of the part, and goes to the nearest action
    that is missing until none is."""
    everything = set(range(len(graph.edges)))
    kinds = () if fairness.choices else fairness.kinds
    demanded = {e.action for s in part for e in graph.edges[s] if e.to in part and e.action[0] in kinds}
    cycles = {start: _cycle(graph, part, start, demanded) for start in sorted(part)[: max(1, EFFORT // len(part))]}
    least = min(map(len, cycles.values()))
    starts = {start for start, cycle in cycles.items() if len(cycle) == least}
    stem = [] if 0 in starts else _path(graph, 0, everything, lambda _, edge: edge.to in starts)
    start = stem[-1].to if stem else 0
    assert start is not None
    return Lasso(tuple(stem), tuple(cycles[start]), len(part))


def _cycle(graph: Graph, part: set[int], start: int, demanded: set[Action]) -> list[Edge]:
    cycle: list[Edge] = []
    here, missing = start, set(demanded)

    def is_missing(_: int, edge: Edge) -> bool:
        return edge.action in missing

    while missing:
        cycle += _path(graph, here, part, is_missing)
        missing.difference_update(edge.action for edge in cycle)
        assert cycle[-1].to is not None
        here = cycle[-1].to
    if here != start or not cycle:
        cycle += _path(graph, here, part, lambda _, edge: edge.to == start)
    return cycle
