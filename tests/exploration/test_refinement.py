"""The states of the real Basic Paxos class, seen through Lamport's variables, are those of Lamport's specification."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import lamport_paxos
import numpy as np
import pytest

from consensus_bench.contract.registry import make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.handlers import REQUEST
from consensus_bench.exploration.exhaustive.nodes import Nodes
from consensus_bench.exploration.exhaustive.properties import find_properties
from consensus_bench.exploration.exhaustive.search import Search
from consensus_bench.exploration.exhaustive.table import States
from protocols.basic_paxos import NO_BALLOT, Accept, Accepted, BasicPaxos, Prepare, Promise

LEARNING = ("Accepted", "Nack", "Decided", "Query")
"""What only learners and outbid proposers need; the specification has no such steps."""


def explored(**bounds: Any) -> Search:
    """Each ballot (1, r) is begun by replica r, which may want either of two values."""
    limits = Bounds(ballots=2, rounds=1, requests="anywhere", timeouts=0, **bounds)
    options = make_options(BasicPaxos, {}, limits.replicas)
    search = Search(BasicPaxos, options, limits, find_properties([], 0, "single"))
    search.run()
    assert search.result.violation is None
    return search


def ballot(value: tuple[int, int]) -> int:
    """Lamport's number of a ballot."""
    return -1 if value == NO_BALLOT else value[1]


def value(command: Any) -> int:
    return -1 if command is None else command.client


def message(source: int, sent: Any) -> tuple[Any, ...] | None:
    match sent:
        case Prepare():
            return ("1a", ballot(sent.ballot))
        case Promise():
            return ("1b", source, ballot(sent.ballot), ballot(sent.accepted_ballot), value(sent.accepted))
        case Accept():
            return ("2a", ballot(sent.ballot), value(sent.command))
        case Accepted():
            return ("2b", source, ballot(sent.ballot), value(sent.command))
    return None


class Projection:
    """Per replica, each node's part of Lamport's state, numbered."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.parts: list[list[Any]] = []
        self.numbers: list[States] = []
        for me, nodes in enumerate(search.nodes.nodes):
            found = [self.part(search.nodes, me, number) for number in range(len(nodes))]
            known = {part: number for number, part in enumerate(dict.fromkeys(found))}
            self.parts.append(list(known))
            self.numbers.append(np.array([known[part] for part in found]))

    @staticmethod
    @cache
    def part(nodes: Nodes, me: int, number: int) -> tuple[Any, frozenset[Any]]:
        """What the acceptor holds, and what the replica has sent, as Lamport writes them."""
        replica: Any = nodes.core(me, number).replica
        acceptor = (ballot(replica.promised), ballot(replica.accepted_ballot), value(replica.accepted))
        envelopes = (nodes.handlers.envelopes[number] for number in nodes.nodes[me][number].sent)
        return acceptor, frozenset(m for e in envelopes if (m := message(me, e.message)) is not None)

    def of(self, states: States) -> States:
        """One number for each state: equal for equal projections."""
        projected = np.zeros(len(states), dtype=np.int64)
        for me, numbers in enumerate(self.numbers):
            node = states >> self.search._shifts[me] & (1 << self.search._widths[me]) - 1
            projected = projected * len(self.parts[me]) + numbers[node]
        return projected

    def states(self, projected: States) -> set[lamport_paxos.State]:
        """Lamport's states that the numbers stand for."""
        found = set()
        for number in np.unique(projected).tolist():
            parts = []
            for known in reversed(self.parts):
                number, part = divmod(number, len(known))
                parts.append(known[part])
            parts.reverse()
            found.add((tuple(acceptor for acceptor, _ in parts), frozenset().union(*(sent for _, sent in parts))))
        return found


def visible_depth(search: Search, projection: Projection) -> int:
    """Steps on the longest shortest path, counting only those that change the projection."""

    def fresh(states: States) -> States:
        new = np.unique(states)
        new = new[~seen[np.searchsorted(search.visited, new)]]
        seen[np.searchsorted(search.visited, new)] = True
        return new

    seen = np.zeros(len(search.visited), dtype=bool)
    layer, depth = fresh(search.levels[0]), 0
    while True:
        later = []
        open_ = layer
        while len(open_):
            pairs = [table.expand(open_) for table in search.tables]
            sources, reached = (np.concatenate(column) for column in zip(*pairs, strict=True))
            invisible = projection.of(sources) == projection.of(reached)
            later.append(reached[~invisible])
            open_ = fresh(reached[invisible])
        layer = fresh(np.concatenate(later))
        if not len(layer):
            return depth
        depth += 1


@pytest.fixture(scope="module")
def specification() -> list[set[lamport_paxos.State]]:
    return lamport_paxos.levels(2)


def test_the_specification_has_the_published_states(specification: list[set[lamport_paxos.State]]) -> None:
    assert sum(map(len, specification)) == 3_921
    assert len(specification) == 17, "states on the longest shortest path, as TLC counts depth"


def test_the_class_reaches_exactly_the_states_of_the_specification(
    specification: list[set[lamport_paxos.State]],
) -> None:
    search = explored(own_messages="network", lost=LEARNING)
    projection = Projection(search)
    assert projection.states(projection.of(search.visited)) == set().union(*specification)
    assert visible_depth(search, projection) == 16, "steps: one less than states"
    assert search.result.closed and search.result.states == 113_697


def test_what_replicas_learn_adds_no_state(specification: list[set[lamport_paxos.State]]) -> None:
    search = explored(own_messages="network", depth=12)
    projection = Projection(search)
    assert projection.states(projection.of(search.visited)) < set().union(*specification)
    assert {"committed", "answered"} <= search.result.facts


class Bursts:
    """The same exploration in fewer states. Hearing a promise changes nothing but what the proposer remembers, as long
    as no quorum is complete: so it can wait until the promise that completes one is heard. And once it has proposed,
    what it remembers of promises is never looked at again. So a replica is what its acceptor holds, what it has sent,
    and the value that it wants while it has not proposed; it hears the promises of a quorum in one go."""

    def __init__(self, ballots: int) -> None:
        limits = Bounds(
            proposers=ballots, ballots=ballots, rounds=1, requests="anywhere", timeouts=0, own_messages="network",
            lost=LEARNING,
        )  # fmt: skip
        options = make_options(BasicPaxos, {}, 3)
        search = Search(BasicPaxos, options, limits, find_properties([], 0, "single"))
        self.nodes = search.nodes
        self.projection: list[dict[int, Any]] = [{}, {}, {}]
        self._representatives: list[dict[Any, int]] = [{}, {}, {}]
        self._memo: dict[tuple[int, ...], tuple[int, ...]] = {}

    def represent(self, me: int, node: int) -> int:
        """The first node that was met of those with the same future."""
        part = Projection.part(self.nodes, me, node)
        replica: Any = self.nodes.core(me, node).replica
        key = (part, None if replica.proposal is not None else replica.wanted)
        first = self._representatives[me].setdefault(key, node)
        self.projection[me][first] = part
        return first

    def after(self, state: tuple[int, ...]) -> set[tuple[int, ...]]:
        """The states one visible step further."""
        found = set()
        for me in range(3):
            boxes = tuple(self.nodes.outboxes[source][state[source]][me] for source in range(3))
            key = (me, state[me], *boxes)
            reached = self._memo.get(key)
            if reached is None:
                reached = self._memo[key] = tuple(self._steps(me, state[me], boxes))
            found.update((*state[:me], node, *state[me + 1 :]) for node in reached)
        return found

    def _steps(self, me: int, node: int, boxes: tuple[int, ...]) -> set[int]:
        reached = {move.node for move in self.nodes.own(me, node) if move.choice.kind == REQUEST}
        promises = []
        for envelope in (number for box in boxes for number in self.nodes.boxes[box]):
            if isinstance(self.nodes.handlers.envelopes[envelope].message, Promise):
                promises.append(envelope)
            else:
                reached |= {move.node for move in self.nodes.received(me, node, envelope)}
        for first, second in combinations(promises, 2):
            (heard,) = self.nodes.received(me, node, first)
            reached |= {move.node for move in self.nodes.received(me, heard.node, second)}
        part = Projection.part(self.nodes, me, node)
        return {self.represent(me, n) for n in reached if Projection.part(self.nodes, me, n) != part}

    def levels(self) -> list[set[Any]]:
        """Lamport's states, by the number of visible steps that the first path to them takes."""
        start = tuple(self.represent(me, node) for me, node in enumerate(self.nodes.starts()))
        known, frontier = {start}, {start}
        projected: set[Any] = set()
        found = []
        while frontier:
            new = {tuple(self.projection[me][node] for me, node in enumerate(s)) for s in frontier} - projected
            projected |= new
            found.append(new)
            frontier = {after for state in frontier for after in self.after(state)} - known
            known |= frontier
        return [level for level in found if level]


def test_bursts_reach_the_same_states(specification: list[set[lamport_paxos.State]]) -> None:
    found = [
        {(tuple(a for a, _ in state), frozenset().union(*(sent for _, sent in state))) for state in level}
        for level in Bursts(2).levels()
    ]
    assert found == specification


def test_three_ballots_reach_the_published_number_of_states() -> None:
    found = Bursts(3).levels()
    assert sum(map(len, found)) == 185_369
    assert len(found) == 25
