"""Breadth-first search over global states that are single integers.

A state packs the replicas' node numbers and the world's number into fields of bits. What a pair of replicas can do
depends on three fields only, so it is worked out once for each content of these: a tuple of differences to be added to
the state. The inner loop then masks, looks up and adds, a whole tuple at a time.

Properties about one replica, a pair, or the world are judged where such a content is first met, which is while the
first state that has it is expanded: they cost nothing in the inner loop, and no state escapes them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

import msgspec

from consensus_bench.contract import ConfigError, Options, Replica
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.nodes import Choice, Move, Nodes
from consensus_bench.exploration.exhaustive.observations import Broken, Happening, Worlds
from consensus_bench.exploration.exhaustive.properties import LEADER_CHANGED, Property
from consensus_bench.verification.linearizability import LINEARIZABILITY

FIRST_WIDTH: Final = 10
"""Bits of a field at first; a field that overflows gets ``MORE_WIDTH`` more, and the search starts again."""
MORE_WIDTH: Final = 3


class _Overflow(Exception):
    """A field is too narrow."""

    def __init__(self, field: int) -> None:
        super().__init__(field)
        self.field = field


class _Violated(Exception):
    """Every state with this ``content`` under ``mask`` violates something."""

    def __init__(self, mask: int, content: int, broken: tuple[str, str]) -> None:
        super().__init__(broken)
        self.mask = mask
        self.content = content
        self.broken = broken


class _DisksLag(Exception):
    """Something is sent without waiting for the disk: disks must be allowed to lag."""


class Slice(dict[int, tuple[int, ...]]):
    """One pair of replicas: a table from the content of their fields and the world's, which ``mask`` cuts out, to the
    differences that their steps make. What is missing is worked out when it is asked for.

    ``inputs``: (receiver, sender) both ways, and (replica, -1) for replicas whose own steps are counted here.
    """

    def __init__(
        self, replicas: tuple[int, ...], own: tuple[int, ...], work_out: Callable[[Slice, int], tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.replicas = replicas
        self.inputs = tuple((r, s) for r in replicas for s in replicas if r != s) + tuple((r, -1) for r in own)
        self.mask = 0
        self._work_out = work_out

    def __missing__(self, content: int) -> tuple[int, ...]:
        differences = self[content] = self._work_out(self, content)
        return differences


class Moves(msgspec.Struct, frozen=True):
    """What a replica can do at one node. ``moves`` change nothing but its node, by ``plain``; ``worldly`` ones change
    the world as well, or are allowed only so often."""

    plain: tuple[int, ...]
    worldly: tuple[Move, ...]
    moves: tuple[Move, ...]


NO_MOVES: Final = Moves((), (), ())


class Result(msgspec.Struct, kw_only=True):
    """What a search found. ``states`` distinct ones; ``transitions`` changes of state that were generated: the distinct
    successors by the steps of each pair of replicas; ``depth`` the length of the longest shortest path; ``frontier``
    states that were not expanded."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    frontier: int = 0
    closed: bool = False
    interrupted: bool = False
    levels: list[int] = []
    violation: tuple[str, str] | None = None
    violating_state: int | None = None
    facts: set[str] = msgspec.field(default_factory=set)


class Search:
    """All reachable states of one configuration."""

    def __init__(
        self, protocol: type[Replica], options: Options, bounds: Bounds, properties: tuple[Property, ...]
    ) -> None:
        bounds.validate()
        self.protocol = protocol
        self.options = options
        self.bounds = bounds
        self.properties = properties
        self._always = {p.name for p in properties if p.mood == "always"}
        histories = LINEARIZABILITY in self._always and protocol.decides != "single"
        self.worlds = Worlds(bounds, histories)
        self.nodes = Nodes(protocol, options, bounds, self.worlds)
        self.visited: set[int] = set()
        self.levels: list[list[int]] = []
        """The states first reached with 0, 1, 2, ... steps."""
        self.result = Result()
        self._own: dict[tuple[int, int], Moves] = {}
        self._received: list[dict[tuple[int, int], Moves]] = []
        size = bounds.replicas
        self._widths = [FIRST_WIDTH] * (size + 1)
        self._shifts: list[int] = []
        pairs = [(r, s) for r in range(size) for s in range(r + 1, size)]
        self._slices = [
            Slice(pair, tuple(r for r in pair if _own_pair(r, size) == pair), self._work_out) for pair in pairs
        ]
        if size == 1:
            self._slices = [Slice((0,), (0,), self._work_out)]

    # --- states -------------------------------------------------------------------------------------------------------

    def pack(self, nodes: list[int], world: int) -> int:
        """The state in which each replica is at its node."""
        state = 0
        for field, number in enumerate([*nodes, world]):
            if number >> self._widths[field]:
                raise _Overflow(field)
            state |= number << self._shifts[field]
        return state

    def unpack(self, state: int) -> tuple[list[int], int]:
        """The nodes and the world of ``state``."""
        fields = [state >> shift & (1 << width) - 1 for shift, width in zip(self._shifts, self._widths, strict=True)]
        return fields[:-1], fields[-1]

    def initial(self) -> int:
        """Every replica has started, nothing else has happened."""
        nodes = self.nodes.starts()
        world = self.worlds.after(0, self.worlds.intern(Happening(ballots=self.nodes.begun)))
        if world is None:
            raise ConfigError(f"--ballots {self.bounds.ballots}: the replicas begin more when they start")
        return self.pack(nodes, world)

    def successors(self, state: int) -> Iterator[tuple[Choice, int]]:
        """Every step from ``state`` that changes something, and where it leads."""
        nodes, world = self.unpack(state)
        for me, source in (pair for slice_ in self._slices for pair in slice_.inputs):
            node = nodes[me]
            for moves in self._enabled(me, node, source, nodes[source]):
                for move in (*moves.moves, *moves.worldly):
                    after = self.worlds.after(world, move.happening)
                    if after is not None and (after != world or move.node != node):
                        difference = (move.node - node) << self._shifts[me]
                        yield move.choice, state + difference + ((after - world) << self._shifts[-1])

    def differences(self, state: int) -> list[int]:
        """The same without the steps: what to add to ``state`` for each successor."""
        return [d for slice_ in self._slices for d in slice_[state & slice_.mask]]

    # --- searching ----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Search until everything was seen, a bound is reached, a property is violated, or the user interrupts."""
        collecting = gc.isenabled()
        gc.disable()  # states are integers: there is nothing to find, and much to look through
        try:
            while True:
                try:
                    return self._search()
                except _DisksLag:
                    self.nodes.lagging = True
        finally:
            if collecting:
                gc.enable()

    def _search(self) -> Result:
        result = self.result = Result()
        start = self._begin()
        self.visited = {start}
        self.levels = [[start]]
        try:
            while True:
                result.depth = len(self.levels) - 1
                new = self._successors_of_level()
                new -= self.visited
                if result.violation is not None or not new:
                    break
                if len(self.visited) >= self.bounds.states or result.depth == self.bounds.depth:
                    result.frontier = len(self.levels[-1])
                    break
                self.visited |= new
                self.levels.append([*new])
        except KeyboardInterrupt:
            result.interrupted = True
            result.frontier = len(self.levels[-1])
        result.states = len(self.visited)
        result.levels = [len(level) for level in self.levels]
        result.closed = result.frontier == 0 and not result.interrupted and result.violation is None
        return result

    def _begin(self) -> int:
        self._own = {}
        self._received = [{} for _ in range(self.bounds.replicas)]
        for slice_ in self._slices:
            slice_.clear()
        while True:
            self._lay_out()
            try:
                return self.initial()
            except _Overflow as overflow:
                self._widths[overflow.field] += MORE_WIDTH

    def _lay_out(self) -> None:
        """Place the fields."""
        self._shifts = [sum(self._widths[:field]) for field in range(len(self._widths))]
        for slice_ in self._slices:
            fields = (*slice_.replicas, self.bounds.replicas)
            slice_.mask = sum(((1 << self._widths[f]) - 1) << self._shifts[f] for f in fields)

    def _widen(self, field: int) -> None:
        """Make room for higher numbers in ``field``, in all states and tables."""
        low = (1 << self._shifts[field] + self._widths[field]) - 1
        self._widths[field] += MORE_WIDTH
        self._lay_out()

        def wider(state: int) -> int:
            return (state & low) | (state & ~low) << MORE_WIDTH

        for number, level in enumerate(self.levels):
            self.levels[number] = list(map(wider, level))
        self.visited = {state for level in self.levels for state in level}
        for slice_ in self._slices:
            known = [*slice_.items()]
            slice_.clear()
            for content, differences in known:
                at = wider(content)
                slice_[at] = tuple(wider(content + difference) - at for difference in differences)

    def _successors_of_level(self) -> set[int]:
        """The successors of the last level, unless a state of it violates something."""
        while True:
            transitions = self.result.transitions
            try:
                return self._expand(self.levels[-1])
            except _Overflow as overflow:
                self.result.transitions = transitions
                self._widen(overflow.field)
            except _Violated as violated:
                self.result.violation = violated.broken
                self.result.violating_state = next(
                    state for state in self.levels[-1] if state & violated.mask == violated.content
                )
                return set()

    def _expand(self, frontier: list[int]) -> set[int]:
        """The successors of all states of ``frontier``. The loops over states that can be are in C."""
        new: set[int] = set()
        update = new.update
        count = 0
        columns = [map(s.__getitem__, map(s.mask.__and__, frontier)) for s in self._slices]
        if len(columns) == 3:
            for state, first, second, third in zip(frontier, *columns, strict=True):
                differences = first + second + third
                count += len(differences)
                update(map(state.__add__, differences))
        else:
            for state, parts in zip(frontier, zip(*columns, strict=True), strict=True):
                differences = tuple(chain.from_iterable(parts))
                count += len(differences)
                update(map(state.__add__, differences))
        self.result.transitions += count
        return new

    def _work_out(self, slice_: Slice, content: int) -> tuple[int, ...]:
        """The differences for ``content``, which is judged as well."""
        shifts, widths = self._shifts, self._widths
        world = content >> shifts[-1]
        at = {r: content >> shifts[r] & (1 << widths[r]) - 1 for r in slice_.replicas}
        self._judge(slice_, at, world, content)
        found: set[int] = set()
        for me, source in slice_.inputs:
            node, shift = at[me], shifts[me]
            for moves in self._enabled(me, node, source, at.get(source, 0)):
                for steps in moves.plain:
                    found.add(steps << shift)
                for move in moves.worldly:
                    after = self.worlds.after(world, move.happening)
                    if after is not None and (after != world or move.node != node):
                        if after >> widths[-1]:
                            raise _Overflow(len(widths) - 1)
                        found.add(((move.node - node) << shift) + ((after - world) << shifts[-1]))
                        self.result.facts.update(move.facts)
        if self.nodes.handlers.uses_unsynced and self.bounds.crashes and not self.nodes.lagging:
            raise _DisksLag
        return tuple(found)

    def _enabled(self, me: int, node: int, source: int, source_node: int) -> list[Moves]:
        """What replica ``me`` can do on the messages of ``source``, or (-1) on its own."""
        if source < 0:
            own = self._own.get((me, node))
            return [self._add_own(me, node) if own is None else own]
        received = []
        known = self._received[me]
        for envelope in self.nodes.boxes[self.nodes.outboxes[source][source_node][me]]:
            moves = known.get((node, envelope))
            if moves is None:
                moves = self._add_received(me, node, envelope)
            if moves is not NO_MOVES:
                received.append(moves)
        return received

    def _add_own(self, me: int, node: int) -> Moves:
        moves = self._own[me, node] = self._sort(me, node, list(self.nodes.own(me, node)))
        return moves

    def _add_received(self, me: int, node: int, envelope: int) -> Moves:
        moves = self._sort(me, node, list(self.nodes.received(me, node, envelope)))
        self._received[me][node, envelope] = moves
        return moves

    def _sort(self, me: int, node: int, found: list[Move]) -> Moves:
        """Tell apart what changes the world and what does not."""
        for move in found:
            if move.node >> self._widths[me]:
                raise _Overflow(me)
        plain = [move for move in found if move.happening == 0 and move.node != node]
        for move in plain:
            self.result.facts.update(move.facts)
        worldly = tuple(move for move in found if move.happening)
        if not plain and not worldly:
            return NO_MOVES
        return Moves(tuple({move.node - node for move in plain}), worldly, tuple(plain))

    def _judge(self, slice_: Slice, at: dict[int, int], world: int, content: int) -> None:
        """Raise ``_Violated`` if something that must always hold does not."""
        known = self.nodes
        found: list[Broken] = [self.worlds.broken[world]]
        for replica, node in at.items():
            found.append(known.broken[replica][node])
        if len(at) == 2:
            a, b = slice_.replicas
            found.append(known.observations.compare(known.seen[a][at[a]], known.seen[b][at[b]]))
            leader, other = known.leaders[a][at[a]], known.leaders[b][at[b]]
            if leader != other and leader is not None and other is not None:
                self.result.facts.add(LEADER_CHANGED)
        for broken in found:
            if broken is not None and broken[0] in self._always:
                raise _Violated(slice_.mask, content, broken)


def _own_pair(replica: int, size: int) -> tuple[int, int]:
    """The pair in which a replica's own steps are counted."""
    other = (replica + 1) % size
    return (min(replica, other), max(replica, other))
