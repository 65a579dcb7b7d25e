"""What interferes with what, and in which order committed instances are executed.

**Dependencies as a vector.** ``deps[r] = k`` says: every instance (r, j) with j <= k that interferes (-1: none). It is
the form of the published implementation, n numbers however hot the key is, and it is a *set*: the union is the maximum
by row, "is (r, j) in D" is ``j <= D[r]``, and all the rules of the protocol are stated on that set. The set may hold
instances that the replica which computed it had never heard of; that only adds dependencies, and no rule of the
protocol is harmed by a dependency too many.

**The order of execution** is that of SOSP'13 section 4.3.2: strongly connected components of the committed graph,
dependencies first, and inside one component by (sequence number, replica, number), which is replicated data. An
instance of the set that does not interfere is no edge. To know that, its *command* must be known, not its fate: an
instance can only ever hold the command its leader gave it, or a no-op. So an instance waits for the unknown and for
the interfering, never for the merely unfinished.

**Edges.** Row r's leader knows all its own instances, so the dependencies of (r, k) hold every interfering (r, j) with
j < k, and no recovery ever removes one (``EPaxos.check`` asserts it). So of a row only the latest interfering write,
and for a write also the reads after it, need an edge: the others are reached through them, and components and their
order stay the same. A no-op breaks no such chain, because it is no longer among the instances when edges are drawn.

**Work.** An instance that nothing stands in the way of is executed at once, without a graph. The others' components are
found as path-based algorithms find them (Gabow, "Path-based depth-first search for strong and biconnected components",
2000), but for a graph whose nodes arrive one by one: a component follows its edges one after the other and waits at the
first that is not executed; where a chain of waits leads back to its beginning, the two are contracted; with no edge
left it is complete. So every edge is followed once, however long a hot key's queue is: no search begins anew.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from consensus_bench.contract import Command, Key, State

InstanceId: TypeAlias = tuple[int, int]
"""(replica, number): ``number`` counts from 0 in the row of the replica that leads the command."""
Dependencies: TypeAlias = tuple[int, ...]
IndexImage: TypeAlias = tuple[tuple[Key, Dependencies, Dependencies, tuple[int, int]], ...]
"""By key: the latest writes, the latest accesses, the highest sequence numbers of a write and of an access."""


def union(a: Dependencies, b: Dependencies) -> Dependencies:
    """The union of two dependency sets; ``a`` itself where that is the answer."""
    return a if a == b else tuple(map(max, a, b))


def contains(dependencies: Dependencies, instance: InstanceId) -> bool:
    """Whether ``instance`` is in the set."""
    return instance[1] <= dependencies[instance[0]]


def without(dependencies: Dependencies, instance: InstanceId) -> Dependencies:
    """The set without ``instance``, where that is its row's last (else it stays, and counts for nothing)."""
    row, number = instance
    if dependencies[row] != number:
        return dependencies
    return (*dependencies[:row], number - 1, *dependencies[row + 1 :])


class ConflictIndex(State):
    """The latest known instance of each row by key: its last write and its last access. Grows with the keys only.

    An instance stays in the index when a no-op is *accepted* for it: until the no-op is committed its command may come
    back at a higher ballot, with dependencies collected before a newer command that no longer saw it (see
    ``test_an_accepted_noop_still_interferes``).
    """

    __slots__ = ("latest", "none", "sequences")

    def __init__(self, size: int) -> None:
        self.none: Dependencies = (-1,) * size
        self.latest: dict[Key, tuple[Dependencies, Dependencies]] = {}
        """By key: the latest writes, and the latest accesses of either kind."""
        self.sequences: dict[Key, tuple[int, int]] = {}

    def conflicts(self, command: Command) -> Dependencies:
        """All known instances that interfere with ``command``: reads do not interfere with reads."""
        latest = self.latest.get(command.key)
        return self.none if latest is None else latest[command.kind != "get"]

    def add(self, command: Command, row: int, number: int) -> Dependencies:
        """Remember that (row, number) holds ``command``. Returns what interfered with it before."""
        key = command.key
        writes, accesses = self.latest.get(key) or (self.none, self.none)
        raised = _raised(accesses, row, number)
        if command.kind == "get":
            self.latest[key] = (writes, raised)
            return writes
        self.latest[key] = (raised if writes is accesses else _raised(writes, row, number), raised)
        return accesses

    def next_sequence(self, command: Command) -> int:
        """One more than the highest sequence number of an interfering command (SOSP'13 section 4.3.1)."""
        write, access = self.sequences.get(command.key, (-1, -1))
        return 1 + (write if command.kind == "get" else access)

    def raise_sequence(self, command: Command, seq: int) -> None:
        """Remember that ``command`` has the sequence number ``seq``."""
        write, access = self.sequences.get(command.key, (-1, -1))
        if seq > access or seq > write:
            self.sequences[command.key] = (write if command.kind == "get" else max(write, seq), max(access, seq))

    def image(self) -> IndexImage:
        """A value that depends on the contents alone."""
        keys = sorted(self.latest, key=lambda key: (type(key).__name__, key))
        return tuple((key, *self.latest[key], self.sequences.get(key, (-1, -1))) for key in keys)

    def merge(self, image: IndexImage) -> None:
        """Remember what ``image`` does as well."""
        for key, writes, accesses, sequences in image:
            known_writes, known_accesses = self.latest.get(key, (self.none, self.none))
            self.latest[key] = (union(known_writes, writes), union(known_accesses, accesses))
            if sequences[1] >= 0:
                write, access = self.sequences.get(key, (-1, -1))
                self.sequences[key] = (max(write, sequences[0]), max(access, sequences[1]))


def _raised(vector: Dependencies, row: int, number: int) -> Dependencies:
    if vector[row] >= number:
        return vector
    entries = list(vector)
    entries[row] = number
    return tuple(entries)


class DependencyGraph(State):
    """The instances of one replica that are known and not yet executed, and the order in which they may be."""

    __slots__ = (
        "blocked_on", "chains_broken", "edges", "executed_ahead", "executed_upto", "known_ahead", "known_upto",
        "members", "merged", "nodes", "reads", "unknown", "waiters", "writes",
    )  # fmt: skip

    def __init__(self, size: int) -> None:
        self.known_upto = [-1] * size
        """Of each row: every instance up to here has a known command (or is a no-op); ``known_ahead``: those above."""
        self.known_ahead: list[set[int]] = [set() for _ in range(size)]
        self.executed_upto = [-1] * size
        """Of each row: every instance up to here is executed; ``executed_ahead``: those above."""
        self.executed_ahead: list[set[int]] = [set() for _ in range(size)]
        self.writes: list[dict[Key, list[int]]] = [{} for _ in range(size)]
        """Of each row, by key: the numbers of the known writes (``reads``: reads) not yet executed, ascending."""
        self.reads: list[dict[Key, list[int]]] = [{} for _ in range(size)]
        self.nodes: dict[InstanceId, tuple[Command, Dependencies, int]] = {}
        """Committed and not yet executed."""
        self.merged: dict[InstanceId, InstanceId] = {}
        """Towards the instance that stands for its component, as far as that is known; ``members``: by the latter."""
        self.members: dict[InstanceId, list[InstanceId]] = {}
        self.edges: dict[InstanceId, list[InstanceId]] = {}
        """By component: where it leads, as far as not followed yet. It waits for the last of these."""
        self.blocked_on: dict[InstanceId, InstanceId] = {}
        """By waiting component: an instance that the chain of waits leads to."""
        self.waiters: dict[InstanceId, list[InstanceId]] = {}
        """To be looked at again when this instance is executed (or is a no-op)."""
        self.unknown: dict[InstanceId, list[InstanceId]] = {}
        """To be looked at again when the row is known up to this instance."""
        self.chains_broken = False
        """A no-op took the place of a write through which other edges may have been reached."""

    def begin_at(self, upto: Dependencies, ahead: Iterable[InstanceId]) -> None:
        """A new graph begins where these have been executed."""
        self.known_upto, self.executed_upto = list(upto), list(upto)
        for row, number in ahead:
            self.known_ahead[row].add(number)
            self.executed_ahead[row].add(number)

    def executed(self, instance: InstanceId) -> bool:
        """Whether this instance has been executed here (a no-op: passed over)."""
        row, number = instance
        return number <= self.executed_upto[row] or number in self.executed_ahead[row]

    def missing(self) -> Iterator[InstanceId]:
        """Instances of which nothing is known although something above them in their row is, or waits for them."""
        for row, upto in enumerate(self.known_upto):
            ahead = self.known_ahead[row]
            wanted = [number for r, number in self.unknown if r == row]
            for number in range(upto + 1, max([upto, *ahead, *wanted]) + 1):
                if number not in ahead:
                    yield row, number

    def learn(self, row: int, number: int, command: Command) -> Sequence[Command]:
        """The command of (row, number) becomes known. Returns what can be executed now that this is known."""
        pending = (self.reads if command.kind == "get" else self.writes)[row]
        numbers = pending.get(command.key)
        if numbers is None:
            pending[command.key] = [number]
        elif numbers[-1] < number:
            numbers.append(number)
        else:
            insort(numbers, number)
        if number == self.known_upto[row] + 1 and not self.known_ahead[row] and not self.unknown:
            self.known_upto[row] = number
            return ()
        return self._known(row, number)

    def commit(self, row: int, number: int, command: Command, deps: Dependencies, seq: int) -> Sequence[Command]:
        """(row, number), whose command is known, is committed. Returns what can be executed, in order."""
        if self._is_free(command, deps):
            self._retire(row, number, command)
            waiting = self.waiters.pop((row, number), None) if self.waiters else None
            return (command,) if waiting is None else self._run(waiting, [command])
        self.nodes[row, number] = (command, deps, seq)
        return self._run([(row, number)], [])

    def commit_noop(self, row: int, number: int, command: Command | None) -> Sequence[Command]:
        """(row, number) is committed as a no-op; ``command`` is what it was known to hold, if anything."""
        ready: Sequence[Command] = ()
        if command is None:
            ready = self._known(row, number)
            self._mark_executed(row, number)
        else:
            self._retire(row, number, command)
            self.chains_broken = self.chains_broken or (bool(self.edges) and command.kind != "get")
        waiting = self.waiters.pop((row, number), None)
        return ready if waiting is None else self._run(waiting, list(ready))

    def all_executed(self, command: Command, deps: Dependencies) -> bool:
        """Whether everything among ``deps`` that interferes with ``command`` is known and executed here."""
        return self._is_free(command, deps)

    def _is_free(self, command: Command, deps: Dependencies) -> bool:
        """Nothing that it depends on is unknown or unexecuted: nearly always so, and then no graph is needed."""
        key = command.key
        row = -1
        for last in deps:
            row += 1
            if last >= 0:
                if last > self.known_upto[row]:
                    return False
                numbers = self.writes[row].get(key)
                if numbers is not None and numbers[0] <= last:
                    return False
                if command.kind != "get":
                    numbers = self.reads[row].get(key)
                    if numbers is not None and numbers[0] <= last:
                        return False
        return True

    def _known(self, row: int, number: int) -> Sequence[Command]:
        ahead = self.known_ahead[row]
        ahead.add(number)
        upto = self.known_upto[row]
        woken: list[InstanceId] = []
        while upto + 1 in ahead:
            upto += 1
            ahead.remove(upto)
            woken += self.unknown.pop((row, upto), ())
        self.known_upto[row] = upto
        return self._run(woken, []) if woken else ()

    def _retire(self, row: int, number: int, command: Command) -> None:
        pending = (self.reads if command.kind == "get" else self.writes)[row]
        numbers = pending[command.key]
        if len(numbers) == 1:
            del pending[command.key]
        else:
            numbers.remove(number)
        if number == self.executed_upto[row] + 1 and not self.executed_ahead[row]:
            self.executed_upto[row] = number
        else:
            self._mark_executed(row, number)

    def _mark_executed(self, row: int, number: int) -> None:
        ahead = self.executed_ahead[row]
        if number != self.executed_upto[row] + 1:
            ahead.add(number)
            return
        if ahead:
            while number + 1 in ahead:
                number += 1
                ahead.remove(number)
        self.executed_upto[row] = number

    def _run(self, queue: list[InstanceId], ready: list[Command]) -> list[Command]:
        """Look at each of ``queue``, to which every execution adds those that waited for it."""
        for instance in queue:
            root = self._component(instance)
            if root in self.nodes:
                edges = self.edges.get(root)
                if edges is None:
                    if self._awaits_unknown(root):
                        continue
                    self.edges[root] = self._edges(root)
                elif edges and not self.executed(edges[-1]):
                    continue  # it waits elsewhere by now
                self._follow(root, queue, ready)
        return ready

    def _awaits_unknown(self, root: InstanceId) -> bool:
        """Whether an instance among the dependencies has a command not known here yet; then it waits for that."""
        for row, last in enumerate(self.nodes[root][1]):
            if last > self.known_upto[row]:
                self.unknown.setdefault((row, last), []).append(root)
                return True
        return False

    def _follow(self, root: InstanceId, queue: list[InstanceId], ready: list[Command]) -> None:
        """Go on along the edges of this component until it must wait, or is complete and executed."""
        self.blocked_on.pop(root, None)
        edges = self.edges[root]
        while edges:
            target = edges[-1]
            if not self.executed(target):
                end = self._end(target)
                if end != root:
                    self.blocked_on[root] = end
                    self.waiters.setdefault(target, []).append(root)
                    return
            edges.pop()
            other = self._component(target)
            if other != root and other in self.nodes:
                edges = self._merge(root, other)
            if not edges and self.chains_broken:
                edges = self.edges[root] = self._edges_anew(root)
        self._execute(self._dissolve(root), queue, ready)

    def _component(self, instance: InstanceId) -> InstanceId:
        """The instance that stands for all that are known to be in one component with this one."""
        root = instance
        while (further := self.merged.get(root)) is not None:
            root = further
        while instance != root:
            self.merged[instance], instance = root, self.merged[instance]
        return root

    def _end(self, instance: InstanceId) -> InstanceId:
        """Where the chain of who waits for whom ends: at what is not committed, or has not been looked at yet."""
        end = self._component(instance)
        trail = []
        while (further := self.blocked_on.get(end)) is not None:
            if self.executed(further):  # an end of old: from here on step by step
                further = self.edges[end][-1]
                if self.executed(further):
                    break
            trail.append(end)
            end = self._component(further)
        for passed in trail:
            self.blocked_on[passed] = end
        return end

    def _merge(self, root: InstanceId, other: InstanceId) -> list[InstanceId]:
        """``root`` leads to ``other``, which waits for it: one component. Returns what edges it has left."""
        small, edges = sorted((self.edges.pop(root), self.edges.pop(other)), key=len)
        edges += small
        self.edges[root] = edges
        few, members = sorted((self.members.pop(root, [root]), self.members.pop(other, [other])), key=len)
        members += few
        self.members[root] = members
        self.merged[other] = root
        del self.blocked_on[other]
        return edges

    def _edges_anew(self, root: InstanceId) -> list[InstanceId]:
        """What leads out of the component, where a no-op may have cut off what was to be reached through it."""
        found: dict[InstanceId, None] = {}
        for member in self.members.get(root, (root,)):
            found.update(dict.fromkeys(self._edges(member)))
        return [target for target in found if self._component(target) != root]

    def _dissolve(self, root: InstanceId) -> list[InstanceId]:
        """The members of a component that is complete."""
        del self.edges[root]
        if not self.edges:
            self.chains_broken = False
        component = self.members.pop(root, None)
        if component is None:
            return [root]
        for member in component:
            self.merged.pop(member, None)
        return component

    def _edges(self, instance: InstanceId) -> list[InstanceId]:
        """The unexecuted interfering instances that ``instance`` depends on, without those reached through others."""
        (row, number), (command, deps, _) = instance, self.nodes[instance]
        edges: list[InstanceId] = []
        for r, last in enumerate(deps):
            if last >= 0:
                if r == row and last >= number:  # it depends on later ones of its own row as well
                    self._add_edges(edges, command, r, number, last)
                    last = number - 1
                self._add_edges(edges, command, r, -1, last)
        return edges

    def _add_edges(self, edges: list[InstanceId], command: Command, row: int, above: int, last: int) -> None:
        """Row ``row``, numbers in (above, last]: the latest write, and for a write the reads after that one."""
        writes = self.writes[row].get(command.key)
        if writes is not None:
            position = bisect_right(writes, last)
            if position and writes[position - 1] > above:
                above = writes[position - 1]
                edges.append((row, above))
        if command.kind != "get":
            reads = self.reads[row].get(command.key)
            if reads is not None:
                edges += [(row, number) for number in reads[bisect_right(reads, above) : bisect_right(reads, last)]]

    def _execute(self, component: list[InstanceId], queue: list[InstanceId], ready: list[Command]) -> None:
        for instance in self._ordered(component):
            command = self.nodes.pop(instance)[0]
            self._retire(*instance, command)
            ready.append(command)
            queue += self.waiters.pop(instance, ())

    def _ordered(self, component: list[InstanceId]) -> list[InstanceId]:
        """The order inside a component: total, and on replicated data only, so that all replicas take the same."""
        if len(component) == 1:
            return component
        return sorted(component, key=lambda instance: (self.nodes[instance][2], instance))
