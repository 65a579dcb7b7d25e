"""The order of execution, against a search that knows no short cuts: networkx on the full graph."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_bench.contract import Command, interferes
from protocols.dependency_graph import ConflictIndex, DependencyGraph, contains, union

ROWS = 3


class Plan:
    """Committed instances as a correct protocol leaves them: any dependencies, but a row's own earlier ones."""

    def __init__(self, draw: Any) -> None:
        lengths = [draw(st.integers(0, 5)) for _ in range(ROWS)]
        self.instances: dict[tuple[int, int], tuple[Command, tuple[int, ...], int]] = {}
        self.noops: dict[tuple[int, int], Command | None] = {}
        client = 0
        for row, length in enumerate(lengths):
            index = ConflictIndex(ROWS)
            for number in range(length):
                client += 1
                kind = draw(st.sampled_from(["get", "put", "swap"]))
                command = Command(client, 1, kind, draw(st.sampled_from(["a", "b"])), client)
                earlier = index.conflicts(command)
                index.add(command, row, number)  # the row's leader knows it, whatever becomes of it
                if draw(st.integers(0, 5)) == 0:
                    self.noops[row, number] = command if draw(st.booleans()) else None
                    continue
                extra = tuple(draw(st.integers(-1, longest - 1)) for longest in lengths)
                self.instances[row, number] = (command, union(earlier, extra), draw(st.integers(0, 2)))

    def executable(self, committed: set[tuple[int, int]], known: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Committed instances that reach nothing unknown and nothing interfering that is uncommitted."""
        blocked = {i for i in self.instances if i not in committed}
        for instance in committed & self.instances.keys():
            command, deps, _ = self.instances[instance]
            if any((r, j) not in known for r in range(ROWS) for j in range(deps[r] + 1)):
                blocked.add(instance)
            for other, lost in self.noops.items():  # known, and not yet known to be a no-op
                if lost is not None and other not in committed and contains(deps, other) and interferes(lost, command):
                    blocked.add(instance)
        graph = self.full_graph()
        reach = blocked | {i for b in blocked for i in nx.ancestors(graph, b)}
        return (committed & self.instances.keys()) - reach

    def full_graph(self) -> Any:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.instances)
        for instance, (command, deps, _) in self.instances.items():
            for other, (other_command, _, _) in self.instances.items():
                if other != instance and contains(deps, other) and interferes(command, other_command):
                    graph.add_edge(instance, other)
        return graph


@st.composite
def plans_and_orders(draw: Any) -> tuple[Plan, list[list[tuple[str, tuple[int, int]]]]]:
    plan = Plan(draw)
    events = [("learn", i) for i in plan.instances] + [("commit", i) for i in (*plan.instances, *plan.noops)]
    events += [("learn", i) for i, command in plan.noops.items() if command is not None]
    orders = [draw(st.permutations(sorted(events))) for _ in range(2)]
    return plan, orders


def replay(plan: Plan, events: list[tuple[str, tuple[int, int]]]) -> list[int]:
    """One replica that learns in this order; after every step exactly what can be executed has been."""
    graph = DependencyGraph(ROWS)
    clients: list[int] = []
    committed: set[tuple[int, int]] = set()
    known: set[tuple[int, int]] = set()
    places = {command.client: i for i, (command, _, _) in plan.instances.items()}
    for what, instance in events:
        if what == "learn":
            if instance in known:
                continue
            command = plan.instances[instance][0] if instance in plan.instances else plan.noops[instance]
            assert command is not None
            ready = list(graph.learn(*instance, command))
        elif instance in plan.noops:
            ready = list(graph.commit_noop(*instance, plan.noops[instance] if instance in known else None))
            committed.add(instance)
        else:
            command, deps, seq = plan.instances[instance]
            ready = [] if instance in known else list(graph.learn(*instance, command))
            ready += graph.commit(*instance, command, deps, seq)
            committed.add(instance)
        known.add(instance)
        clients += [command.client for command in ready]
        assert {places[c] for c in clients} == plan.executable(committed, known)
        graph = graph.clone()
    return clients


@settings(max_examples=200, deadline=None)
@given(plans_and_orders())
def test_any_two_replicas_execute_as_a_full_search_says(case: tuple[Plan, list[list[Any]]]) -> None:
    plan, orders = case
    full = plan.full_graph()
    components = {i: c for c, members in enumerate(nx.strongly_connected_components(full)) for i in members}
    for events in orders:
        done = [next(i for i, (c, _, _) in plan.instances.items() if c.client == x) for x in replay(plan, events)]
        assert sorted(done) == sorted(plan.instances), "each is executed once"
        position = {instance: n for n, instance in enumerate(done)}
        for instance, dependency in full.edges:
            if components[instance] != components[dependency]:
                assert position[dependency] < position[instance], "dependencies first"
        for a in plan.instances:
            for b in plan.instances:
                if components[a] == components[b] and (plan.instances[a][2], a) < (plan.instances[b][2], b):
                    assert position[a] < position[b], "inside a component by sequence number, replica, number"


def committed_graph(*instances: tuple[int, int, str, tuple[int, ...]]) -> tuple[DependencyGraph, list[int]]:
    """Learn all of (row, number, kind, deps) on one key, then commit them in this order."""
    graph, done = DependencyGraph(ROWS), []
    commands = [Command(10 * row + number, 1, kind, "k") for row, number, kind, _ in instances]
    for (row, number, _, _), command in zip(instances, commands, strict=True):
        graph.learn(row, number, command)
    for (row, number, _, deps), command in zip(instances, commands, strict=True):
        done += [c.client for c in graph.commit(row, number, command, deps, 0)]
    return graph, done


def test_a_component_waits_until_all_that_it_reaches_is_committed() -> None:
    """a and b depend on each other, b on c: with a and b committed and c not, neither may be executed."""
    graph = DependencyGraph(ROWS)
    a, b, c = (Command(n, 1, "put", "k") for n in range(3))
    for row, command in enumerate((a, b, c)):
        graph.learn(row, 0, command)
    assert list(graph.commit(0, 0, a, (-1, 0, -1), 0)) == []
    assert list(graph.commit(1, 0, b, (0, -1, 0), 0)) == []
    assert list(graph.commit(2, 0, c, (-1, -1, -1), 0)) == [c, a, b]


def test_the_unknown_is_waited_for_and_the_merely_unfinished_is_not() -> None:
    graph = DependencyGraph(ROWS)
    mine, other = Command(1, 1, "put", "k"), Command(2, 1, "put", "elsewhere")
    graph.learn(0, 0, mine)
    assert list(graph.commit(0, 0, mine, (-1, 0, -1), 0)) == [], "(1, 0) may interfere"
    assert list(graph.learn(1, 0, other)) == [mine], "it does not, whatever becomes of it"


def test_a_noop_sets_free_what_waited_for_it() -> None:
    graph = DependencyGraph(ROWS)
    mine, lost = Command(1, 1, "put", "k"), Command(2, 1, "put", "k")
    graph.learn(1, 0, lost)
    graph.learn(0, 0, mine)
    assert list(graph.commit(0, 0, mine, (-1, 0, -1), 0)) == []
    assert list(graph.commit_noop(1, 0, lost)) == [mine]
    assert graph.executed((1, 0))


def test_dependencies_may_reach_beyond_the_instance_in_its_own_row() -> None:
    """An acceptor heard of (0, 2) first, so (0, 1) depends on it too; (0, 0) must not drop out of the order."""
    _, done = committed_graph((0, 2, "put", (1, -1, -1)), (0, 1, "put", (2, -1, -1)), (0, 0, "put", (-1, -1, -1)))
    assert done == [0, 1, 2]


def test_reads_after_a_write_precede_the_next_write() -> None:
    _, done = committed_graph((1, 0, "put", (2, -1, -1)), (0, 2, "get", (0, -1, -1)), (0, 1, "get", (0, -1, -1)),
                              (0, 0, "put", (-1, -1, -1)))  # fmt: skip
    assert done[0] == 0 and done[-1] == 10 and sorted(done[1:3]) == [1, 2]


def test_a_long_chain_needs_no_recursion_and_little_work() -> None:
    """10,000 writes of one key, committed last to first: the first commit executes them all."""
    graph = DependencyGraph(ROWS)
    commands = [Command(n, 1, "put", "hot") for n in range(10_000)]
    for number, command in enumerate(commands):
        graph.learn(0, number, command)
    for number in range(9_999, 0, -1):
        assert not graph.commit(0, number, commands[number], (number - 1, -1, -1), 0)
    assert list(graph.commit(0, 0, commands[0], (-1, -1, -1), 0)) == commands


class Counted(DependencyGraph):
    """Counts what its searches look at."""

    __slots__ = ("looks",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.looks = 0

    def executed(self, instance: tuple[int, int]) -> bool:
        self.looks += 1
        return super().executed(instance)


def looks_at_a_component_closed_from_above(size: int) -> int:
    """a(0) <- a(1) <- ... <- a(size - 1), each of which depends on a b of its own as well, and each b on the last a.
    The b are committed so that each lets the one component be followed one step further down."""
    graph = Counted(size + 1)
    a = [Command(n, 1, "put", "hot") for n in range(size)]
    b = [Command(size + n, 1, "put", "hot") for n in range(size)]
    done: list[Command] = []
    for n in range(size):
        graph.learn(0, n, a[n])
        graph.learn(n + 1, 0, b[n])
    for n in range(size):
        done += graph.commit(0, n, a[n], (n - 1, *[0 if row == n else -1 for row in range(size)]), 0)
    for n in (0, *range(size - 1, 0, -1)):
        assert not done
        done += graph.commit(n + 1, 0, b[n], (size - 1, *[-1] * size), 0)
    assert done == [*a, *b], "one component"
    return graph.looks


def test_a_component_is_not_searched_anew_at_every_commit() -> None:
    """However the commits come, an edge is followed once: twice as many instances are about twice the work."""
    assert looks_at_a_component_closed_from_above(200) < 2.5 * looks_at_a_component_closed_from_above(100)


def test_a_noop_in_the_middle_of_a_chain_does_not_cut_it() -> None:
    """(1, 0) depends on (0, 1), through which it reaches (0, 0). Then (0, 1) turns out to be a no-op."""
    graph = DependencyGraph(ROWS)
    first, lost, mine = (Command(n, 1, "put", "k") for n in range(3))
    graph.learn(0, 0, first)
    graph.learn(0, 1, lost)
    graph.learn(1, 0, mine)
    assert not graph.commit(1, 0, mine, (1, -1, -1), 0)
    assert not list(graph.commit_noop(0, 1, lost))
    assert list(graph.commit(0, 0, first, (-1, -1, -1), 0)) == [first, mine]


def test_missing_names_the_gaps_below_what_is_known_or_wanted() -> None:
    graph = DependencyGraph(ROWS)
    graph.learn(0, 2, Command(1, 1, "put", "k"))
    assert list(graph.missing()) == [(0, 0), (0, 1)]
    graph.commit(0, 2, Command(1, 1, "put", "k"), (1, 1, -1), 0)
    assert list(graph.missing()) == [(0, 0), (0, 1)], "it waits for row 0 first"


@pytest.mark.parametrize(("first", "second", "conflict"), [
    ("put", "put", True), ("put", "get", True), ("get", "put", True), ("swap", "get", True), ("get", "get", False),
])  # fmt: skip
def test_interference_is_same_key_and_not_both_reads(first: str, second: str, conflict: bool) -> None:
    """SOSP'13 section 4.1."""
    index = ConflictIndex(ROWS)
    index.add(Command(1, 1, first, "k"), 1, 4)
    assert index.conflicts(Command(2, 1, second, "k")) == ((-1, 4, -1) if conflict else index.none)
    assert index.conflicts(Command(2, 1, second, "other")) == index.none


def test_the_latest_of_each_row_counts_whatever_the_order_of_arrival() -> None:
    index = ConflictIndex(ROWS)
    for number in (3, 1):
        index.add(Command(1, 1, "put", "k"), 0, number)
    index.add(Command(1, 1, "get", "k"), 2, 7)
    assert index.conflicts(Command(2, 1, "put", "k")) == (3, -1, 7)
    assert index.conflicts(Command(2, 1, "get", "k")) == (3, -1, -1)


def test_sequence_numbers_exceed_those_of_interfering_commands() -> None:
    """SOSP'13 section 4.3.1: reads are not raised by reads."""
    index = ConflictIndex(ROWS)
    read, write = Command(1, 1, "get", "k"), Command(2, 1, "put", "k")
    assert index.next_sequence(write) == 0
    index.raise_sequence(write, 0)
    assert index.next_sequence(read) == 1
    index.raise_sequence(read, 5)
    assert index.next_sequence(read) == 1 and index.next_sequence(write) == 6
