"""Breadth-first search over global states that are single 64-bit numbers.

A state packs the replicas' node numbers and the world's number into fields of bits. What a pair of replicas can do
depends on three fields only, so it is worked out once for each content of these, in Python: a list of differences to be
added to the state. All else is arithmetic on arrays, a level of the search at a time: cut the contents out, look them
up, add, sort, and drop what is known. A state takes eight bytes.

Properties about one replica, a pair, or the world are judged where such a content is first met, which is before the
first state that has it is expanded: they cost nothing per state, and no state escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from consensus_bench.contract import Command, ConfigError, Options, Replica, Snapshot
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.handlers import Handlers
from consensus_bench.exploration.exhaustive.nodes import Choice, Move, Nodes
from consensus_bench.exploration.exhaustive.observations import Broken, Happening, Worlds
from consensus_bench.exploration.exhaustive.opening import Opening
from consensus_bench.exploration.exhaustive.properties import LEADER_CHANGED, Property
from consensus_bench.exploration.exhaustive.result import NO_MOVES, Moves, Result
from consensus_bench.exploration.exhaustive.table import States, Table, chunks, distinct, positions
from consensus_bench.verification.linearizability import LINEARIZABILITY

STATE_BITS: Final = 63
LARGEST: Final = 4
"""A depth is not begun that would bring the states to more than so many times their bound."""


class _Overflow(Exception):
    """A field is too narrow."""

    def __init__(self, field: int) -> None:
        super().__init__(field)
        self.field = field


class _DisksLag(Exception):
    """Something is sent without waiting for the disk: disks must be allowed to lag."""


class _Full(Exception):
    """A state no longer fits into ``STATE_BITS``."""


class Search:
    """All reachable states of one configuration."""

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        bounds: Bounds,
        properties: tuple[Property, ...],
        opening: Opening | None = None,
    ) -> None:
        bounds.validate()
        known = [message.__name__ for message in protocol.messages]
        for name in bounds.lost:
            if name not in known:
                raise ConfigError(f"--lost {name}: {protocol.name} has no such message; it has {', '.join(known)}")
        for text, order in zip(bounds.orders, bounds.make_orders(), strict=True):
            if type(order) not in protocol.messages:
                raise ConfigError(
                    f"--order {text}: {protocol.name} has no {type(order).__name__}: it takes no such order"
                )
        if bounds.damages and not protocol.repairs_disks:
            raise ConfigError(f"--damages {bounds.damages}: {protocol.name} does not repair disks (repairs_disks)")
        self.protocol = protocol
        self.options = options
        self.bounds = bounds
        self.properties = properties
        self._always = {p.name for p in properties if p.mood == "always"}
        histories = LINEARIZABILITY in self._always
        commands = bounds.make_commands() if opening is None else opening.commands
        self.opening = opening
        self.worlds = Worlds(bounds, histories, commands)
        self.nodes = Nodes(self._handlers(commands), bounds, self.worlds)
        self.visited: States = np.empty(0, dtype=np.int64)
        """All states, ascending."""
        self.levels: list[States] = []
        """The states first reached with 0, 1, 2, ... steps, each ascending."""
        self.result = Result()
        self._own: dict[tuple[int, int], Moves] = {}
        self._received: list[dict[tuple[int, int], Moves]] = [{} for _ in range(bounds.replicas)]
        size = bounds.replicas
        self._widths = [1] * (size + 1)
        self._shifts: list[int] = []
        pairs: list[tuple[int, ...]] = [(r, s) for r in range(size) for s in range(r + 1, size)]
        self.tables = [Table(pair, [r for r in pair if _own_pair(r, size) == pair]) for pair in pairs or [(0,)]]

    # --- states -------------------------------------------------------------------------------------------------------

    def pack(self, nodes: list[int], world: int) -> int:
        """The state in which each replica is at its node."""
        state = 0
        for field, number in enumerate([*nodes, world]):
            self._fit(field, number)
            state |= number << self._shifts[field]
        return state

    def _fit(self, field: int, number: int) -> None:
        if number >> self._widths[field]:
            raise _Overflow(field)

    def unpack(self, state: int) -> tuple[list[int], int]:
        """The nodes and the world of ``state``."""
        fields = [state >> shift & (1 << width) - 1 for shift, width in zip(self._shifts, self._widths, strict=True)]
        return fields[:-1], fields[-1]

    def _handlers(self, commands: tuple[Command, ...]) -> Handlers:
        bounds, events = self.bounds, () if self.opening is None else self.opening.events
        last_round = bounds.last_round + (0 if self.opening is None else self.opening.last_round)
        lives_matter = (
            bool(bounds.damages or getattr(self.options, "snapshot_every", Snapshot in self.protocol.messages))
            or getattr(self.options, "reads", "") == "quorum"
            or any(event.kind == "crash" and event.argument is not None for event in events)
        )
        delay_ns = () if self.opening is None else self.opening.delay_ns
        return Handlers(self.protocol, self.options, bounds, commands, last_round, lives_matter, delay_ns)

    def begin(self) -> tuple[list[int], int]:
        """Nodes and world in the beginning: every replica has started, and gone through the opening."""
        nodes = self.nodes.starts()
        if self.opening is not None:
            return self._play(self.opening, nodes)
        world = self.worlds.after(0, self.worlds.intern(Happening(ballots=self.nodes.begun)))
        if world is None:
            raise ConfigError(f"--ballots {self.bounds.ballots}: the replicas begin more when they start")
        return nodes, world

    def _play(self, opening: Opening, nodes: list[int]) -> tuple[list[int], int]:
        world = 0
        self.nodes.lagging |= any(not event.durable for event in opening.events)
        for number, event in enumerate(opening.events, 1):
            me = event.replica
            move = self.nodes.take(nodes, event)
            if move is None:
                raise ConfigError(f"{opening.where}: step {number} cannot happen to {self.protocol.name} here")
            nodes[me], world = move.node, self.worlds.unbounded(world, move.happening)
            if (broken := self.broken(nodes, world, me)) is not None:
                raise ConfigError(f"{opening.where}: step {number} violates {broken[0]} already: begin before it")
        return nodes, world

    def steps(self, nodes: Sequence[int], world: int) -> Iterator[tuple[Move, int]]:
        """Every step that changes something, and the world after it."""
        for me, source in (pair for table in self.tables for pair in table.inputs):
            node = nodes[me]
            for moves in self._enabled(me, node, source, nodes[source]):
                for move in (*moves.moves, *moves.worldly):
                    after = self.worlds.after(world, move.happening)
                    if after is not None and (after != world or move.node != node):
                        yield move, after

    def successors(self, state: int) -> Iterator[tuple[Choice, int]]:
        """Every step from ``state`` that changes something, and where it leads."""
        nodes, world = self.unpack(state)
        for move, after in self.steps(nodes, world):
            me = move.choice.replica
            yield move.choice, self.pack([*nodes[:me], move.node, *nodes[me + 1 :]], after)

    def predecessor(self, level: int, state: int) -> int:
        """The first state of ``level`` that has ``state`` among its successors."""
        found = [
            int(sources[reached == state].min())
            for chunk in chunks(self.levels[level])
            for sources, reached in (table.expand(chunk) for table in self.tables)
            if (reached == state).any()
        ]
        return min(found)

    # --- searching ----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Search until everything was seen, a bound is reached, a property is violated, or the user interrupts."""
        while True:
            try:
                return self._search()
            except _DisksLag:
                self.nodes.lagging = True

    def _search(self) -> Result:
        result = self.result = Result()
        self.levels = [self._begin()]
        self.visited = self.levels[0]
        try:
            while True:
                result.depth = len(self.levels) - 1
                self._work_out_level()
                if result.violation is not None:
                    break
                new = self.expand(self.levels[-1])
                if not len(new):
                    break
                full = (
                    len(self.visited) >= self.bounds.states
                    or len(self.visited) + len(new) > LARGEST * self.bounds.states
                )
                if full or result.depth == self.bounds.depth:
                    result.frontier = len(self.levels[-1])
                    break
                self.visited = np.concatenate([self.visited, new])
                self.visited.sort(kind="stable")  # merges the two runs
                self.levels.append(new)
        except (KeyboardInterrupt, _Full) as stop:
            result.interrupted = isinstance(stop, KeyboardInterrupt)
            result.full = isinstance(stop, _Full)
            result.frontier = len(self.levels[-1])
        result.states = len(self.visited)
        result.levels = [len(level) for level in self.levels]
        result.closed = result.frontier == 0 and result.violation is None
        return result

    def _begin(self) -> States:
        """The initial state, after everything that was known of another search is forgotten."""
        self.forget()
        self.tables = [Table(table.replicas, [r for r, s in table.inputs if s < 0]) for table in self.tables]
        while True:
            self._lay_out()
            try:
                return np.array([self.pack(*self.begin())], dtype=np.int64)
            except _Overflow as overflow:
                self._widths[overflow.field] += 1

    def forget(self) -> None:
        """Forget which steps are possible: disks may lag from now on."""
        self._own = {}
        self._received = [{} for _ in range(self.bounds.replicas)]

    def _lay_out(self) -> None:
        """Place the fields."""
        self._shifts = [sum(self._widths[:field]) for field in range(len(self._widths))]
        for table in self.tables:
            fields = (*table.replicas, self.bounds.replicas)
            table.mask = sum(((1 << self._widths[f]) - 1) << self._shifts[f] for f in fields)

    def _widen(self, field: int) -> None:
        """Make room for higher numbers in ``field``, in all states and tables."""
        if sum(self._widths) == STATE_BITS:
            raise _Full
        low = (1 << self._shifts[field] + self._widths[field]) - 1

        def wider(states: States) -> States:
            return (states & low) | (states & ~low) << 1

        self._widths[field] += 1
        self._lay_out()
        self.levels = [wider(level) for level in self.levels]
        self.visited = wider(self.visited)
        for table in self.tables:
            table.convert(wider)

    def expand(self, frontier: States) -> States:
        """The successors of all states of ``frontier`` that were not visited yet, ascending."""
        new = []
        for chunk in chunks(frontier):
            reached = np.concatenate([table.expand(chunk)[1] for table in self.tables])
            self.result.transitions += len(reached)
            reached = distinct(reached)
            new.append(reached[~positions(self.visited, reached)[1]])
        return new[0] if len(new) == 1 else distinct(np.concatenate(new))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _work_out_level(self) -> None:
        """Enter into the tables what the states of the last level need, and judge it."""
        for table in self.tables:
            while True:
                contents = table.missing(self.levels[-1])
                differences: list[list[int]] = []
                try:
                    for content in contents:
                        differences.append(self._work_out(table, content))
                        if self.result.violation is not None:
                            found = self.levels[-1][self.levels[-1] & table.mask == content]
                            self.result.violating_state = int(found[0])
                            return
                except _Overflow as overflow:
                    self._widen(overflow.field)
                else:
                    table.add(contents, differences)
                    break

    def _work_out(self, table: Table, content: int) -> list[int]:
        """The differences for ``content``, which is judged as well."""
        shifts, widths = self._shifts, self._widths
        world = content >> shifts[-1]
        at = {r: content >> shifts[r] & (1 << widths[r]) - 1 for r in table.replicas}
        self.result.violation = self.judge(at, world)
        found: set[int] = set()
        for me, source in table.inputs:
            node, shift = at[me], shifts[me]
            for moves in self._enabled(me, node, source, at.get(source, 0)):
                for steps in moves.plain:
                    self._fit(me, node + steps)
                    found.add(steps << shift)
                for move in moves.worldly:
                    after = self.worlds.after(world, move.happening)
                    if after is not None and (after != world or move.node != node):
                        self._fit(me, move.node)
                        self._fit(self.bounds.replicas, after)
                        found.add(((move.node - node) << shift) + ((after - world) << shifts[-1]))
                        self.result.facts.update(move.facts)
        if self.disks_must_lag():
            raise _DisksLag
        return sorted(found)

    def disks_must_lag(self) -> bool:
        """Whether something was sent without waiting for the disk, and disks were not yet allowed to lag behind."""
        return self.nodes.handlers.uses_unsynced and self.bounds.crashes > 0 and not self.nodes.lagging

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
        moves = self._own[me, node] = self._sort(node, list(self.nodes.own(me, node)))
        return moves

    def _add_received(self, me: int, node: int, envelope: int) -> Moves:
        moves = self._sort(node, list(self.nodes.received(me, node, envelope)))
        self._received[me][node, envelope] = moves
        return moves

    def _sort(self, node: int, found: list[Move]) -> Moves:
        """Tell apart what changes the world and what does not."""
        plain = [move for move in found if move.happening == 0 and move.node != node]
        for move in plain:
            self.result.facts.update(move.facts)
        worldly = tuple(move for move in found if move.happening)
        if not plain and not worldly:
            return NO_MOVES
        return Moves(tuple({move.node - node for move in plain}), worldly, tuple(plain))

    def broken(self, nodes: Sequence[int], world: int, changed: int) -> Broken:
        """What is violated, if anything, between the replica that changed and any other."""
        for other in range(len(nodes)):
            found = self.judge({changed: nodes[changed], other: nodes[other]}, world)
            if found is not None:
                return found
        return None

    def judge(self, at: Mapping[int, int], world: int) -> Broken:
        """What must always hold and does not, where one or two replicas are at the nodes ``at``."""
        known = self.nodes
        found: list[Broken] = [self.worlds.broken[world]]
        for replica, node in at.items():
            found.append(known.broken[replica][node])
        if len(at) == 2:
            (a, node_a), (b, node_b) = at.items()
            found.append(known.observations.compare(known.seen[a][node_a], known.seen[b][node_b]))
            leader, other = known.leaders[a][node_a], known.leaders[b][node_b]
            if leader != other and leader is not None and other is not None:
                self.result.facts.add(LEADER_CHANGED)
        return next((broken for broken in found if broken is not None and broken[0] in self._always), None)


def _own_pair(replica: int, size: int) -> tuple[int, ...]:
    """The pair in which a replica's own steps are counted."""
    if size == 1:
        return (0,)
    other = (replica + 1) % size
    return (min(replica, other), max(replica, other))
