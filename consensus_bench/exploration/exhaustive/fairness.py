"""Fair cycles: can an execution that keeps to a fairness assumption stay among the undecided states for ever?

Such an execution ends up in a strongly connected part of the graph. Weak fairness: what is enabled in every state of
the part is taken in it. Strong fairness: what is enabled in one of its states is taken in it; where it is not, the
states that enable it cannot come back for ever, so they are removed and the rest is split again (Emerson and Lei 1987).
"Every choice": each step of a state that comes back for ever is taken from that state, so that no step may lead out;
in a finite graph this is probability one, if each step has a positive probability that depends on the state alone.
A step that was left out of the graph (window) counts as enabled and never as taken: what is found is really fair.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Literal, TypeAlias

import msgspec

from consensus_bench.exploration.exhaustive.liveness import Action, Edge, Graph

Strength: TypeAlias = Literal["weak", "strong"]


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
    """An execution in which steps are taken for ever and nothing is chosen, or None: there is none in this graph."""
    work = deque(_parts(graph, set(range(len(graph.edges)))))
    while work:
        part = work.popleft()
        inner = [e.action for state in part for e in graph.edges[state] if e.to in part]
        if not inner:
            continue
        bad = _unserved(graph, part, set(inner), fairness)
        if bad is None:
            return _lasso(graph, part, fairness)
        work.extend(_parts(graph, part - bad))
    return None


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
    everything = set(range(len(graph.edges)))
    stem = [] if 0 in part else _path(graph, 0, everything, lambda _, edge: edge.to in part)
    start = stem[-1].to if stem else 0
    assert start is not None
    cycle: list[Edge] = []
    here = start
    kinds = fairness.kinds
    demanded = {e.action for s in part for e in graph.edges[s] if e.to in part and e.action[0] in kinds}
    if fairness.choices:
        demanded = set()
    while missing := demanded - {edge.action for edge in cycle}:
        cycle += _path(graph, here, part, lambda _, edge, missing=missing: edge.action in missing)
        assert cycle[-1].to is not None
        here = cycle[-1].to
    if here != start or not cycle:
        cycle += _path(graph, here, part, lambda _, edge: edge.to == start)
    return Lasso(tuple(stem), tuple(cycle), len(part))
