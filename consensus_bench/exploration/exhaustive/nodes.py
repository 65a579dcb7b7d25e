"""A replica with its past, as one number: local state, messages sent so far, what was seen of it, what it was asked.

Messages are never taken off the network: what was sent once can arrive at any later time, again and again, or never.
So the network is the set of all messages sent, and that is the union of what each replica has sent: it belongs to the
replicas, and a global state is one number for each replica and one for the world. What replica r can do next depends
on its own number and, for messages from s, on that of s: on no third one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from consensus_bench.contract import CORRUPT, LOST, ConfigError
from consensus_bench.contract.context import ANSWER, COMMIT, EXECUTE, INSTALL, READ, TAKE_SNAPSHOT
from consensus_bench.exploration.exhaustive.bounds import Bounds, own_ballot
from consensus_bench.exploration.exhaustive.handlers import (
    DELIVER,
    LAGGING,
    NORMAL,
    ORDER,
    REQUEST,
    START,
    TIMER,
    Core,
    Envelope,
    Handlers,
    Outcome,
)
from consensus_bench.exploration.exhaustive.handlers import Event as Effect
from consensus_bench.exploration.exhaustive.lives import plain
from consensus_bench.exploration.exhaustive.observations import Broken, Happening, Observations, Worlds
from consensus_bench.exploration.site import Event, Impossible
from consensus_bench.exploration.trace import Damage
from consensus_bench.verification.online import VALIDITY

CRASH: Final = 5
"""Kind of a step: a crash and the restart after it."""
_FACTS: Final = {
    COMMIT: "committed",
    EXECUTE: "executed",
    ANSWER: "answered",
    READ: "read",
    TAKE_SNAPSHOT: "snapshot",
    INSTALL: "installed",
}
_OBSERVED: Final = (COMMIT, EXECUTE, READ, TAKE_SNAPSHOT, INSTALL)


class Choice(msgspec.Struct, frozen=True):
    """One step that the world chooses. ``kind`` DELIVER with an envelope's number, REQUEST with a command's, TIMER with
    a name, ORDER with a number, CRASH with the damage to the disk. ``lagging``: what the step writes is not kept any
    more, up to the crash."""

    replica: int
    kind: int
    argument: Any
    lagging: bool = False


class Move(msgspec.Struct, frozen=True):
    """What a step changes: the replica's node becomes ``node``; the world changes by ``happening``, a number
    of ``Worlds`` (0: not at all)."""

    choice: Choice
    node: int
    happening: int
    facts: tuple[str, ...] = ()
    """What happens in the step: see ``properties``."""


class Node(msgspec.Struct, frozen=True):
    """``core`` of ``Handlers``; numbers of the messages sent; ``seen`` of ``Observations``; a bit for each command that
    was asked of this life of the process; what is wrong with an answer that was given, if anything."""

    core: int
    sent: frozenset[int]
    seen: int
    asked: int
    wrong: Broken = None


class Nodes:
    """The nodes of all replicas of a configuration, numbered for each replica from 0, and their steps."""

    def __init__(self, handlers: Handlers, bounds: Bounds, worlds: Worlds) -> None:
        self.bounds = bounds
        self.handlers = handlers
        self.commands = handlers.commands
        self.observations = Observations(bounds.replicas, handlers.protocol.decides, self.commands, handlers.snapshots)
        self.lagging = False
        """Whether disks may lag behind. Needed as soon as something is sent without waiting for the disk."""
        self.nodes: list[list[Node]] = [[] for _ in range(bounds.replicas)]
        self.outboxes: list[list[tuple[int, ...]]] = [[] for _ in range(bounds.replicas)]
        """Per replica and node, for each receiver the number of the set of messages sent to it."""
        self.boxes: list[tuple[int, ...]] = []
        """The interned sets of messages, ascending."""
        self.broken: list[list[Broken]] = [[] for _ in range(bounds.replicas)]
        """Per replica and node, what is violated there whatever the others do."""
        self.leaders: list[list[int | None]] = [[] for _ in range(bounds.replicas)]
        """Per replica and node, whom the replica believes to lead."""
        self.begun = 0
        """Ballots that are begun when the replicas start."""
        self.seen: list[list[int]] = [[] for _ in range(bounds.replicas)]
        """Per replica and node, the number of its observation."""
        self._worlds = worlds
        self._numbers: list[dict[Node, int]] = [{} for _ in range(bounds.replicas)]
        self._box_numbers: dict[tuple[int, ...], int] = {}
        self._answer_numbers = {(c.client, c.sequence): number for number, c in enumerate(self.commands)}

    def starts(self) -> list[int]:
        """The node of each replica after its first boot."""
        nodes = []
        self.begun = 0
        for me in range(self.bounds.replicas):
            outcome = self.handlers.start(me)
            move = self._move(-1, Node(outcome.core, frozenset(), 0, 0), outcome, Choice(me, START, None), 0)
            self.begun += self._begun(self.nodes[me][move.node].sent)
            nodes.append(move.node)
        return nodes

    def require_timers(self, where: str) -> None:
        """Refuse ``timers`` that were never set: an exploration without them would look like one with them."""
        known = {str(name) for core in self.handlers.cores for name in core.timers}
        for name in self.bounds.timers:
            if name not in known:
                raise ConfigError(f"--timer {name}: no replica sets it {where}; set: {', '.join(sorted(known))}")

    def core(self, me: int, node: int) -> Core:
        """The local state in ``node`` of replica ``me``."""
        return self.handlers.cores[self.nodes[me][node].core]

    def received(self, me: int, node: int, envelope: int) -> Iterator[Move]:
        """The steps of replica ``me`` when the message in ``envelope`` arrives."""
        if self.core(me, node).replica is not None:
            yield from self._moves(me, node, DELIVER, envelope)

    def own(self, me: int, node: int) -> Iterator[Move]:
        """The steps of replica ``me`` that need no message of another: requests, time-outs, crashes."""
        core = self.core(me, node)
        if core.replica is None:
            return
        if me < self.bounds.proposers:
            asked = self.nodes[me][node].asked
            for command in range(len(self.commands)):
                if not asked >> command & 1 and self.bounds.may_ask(me, command):
                    yield from self._moves(me, node, REQUEST, command)
            for name in sorted(core.timers, key=repr):
                if not self.bounds.timers or name in self.bounds.timers:
                    yield from self._moves(me, node, TIMER, name)
        for envelope in self.boxes[self.outboxes[me][node][me]]:
            yield from self._moves(me, node, DELIVER, envelope)
        for order in range(len(self.bounds.orders)):
            yield from self._moves(me, node, ORDER, order)
        if self.bounds.crashes:
            yield from self.crash(me, node)
        if self.bounds.damages:
            yield from self.crash(me, node, LOST)
            for key in sorted(core.disk, key=repr):
                if core.disk[key] is not CORRUPT and key != LOST:
                    yield from self.crash(me, node, (key,))

    def crash(self, me: int, node: int, damage: Damage = None) -> Iterator[Move]:
        """The step in which replica ``me`` crashes and restarts, with that damage to its disk."""
        before = self.nodes[me][node]
        outcome = self.handlers.restart(me, before.core, damage)
        if outcome is None:
            return
        counted = 0 if self.handlers.cores[before.core].mode == LAGGING else 1
        sent = before.sent
        if self.bounds.own_messages == "network":  # what it sent to itself is gone with the process
            sent = frozenset(n for n in sent if self.handlers.envelopes[n].to != me)
        emptied = Node(before.core, sent, self.observations.crashed(before.seen), 0, before.wrong)
        move = self._move(node, emptied, outcome, Choice(me, CRASH, damage), counted)
        facts = (*move.facts, "restarted") if damage is None else (*move.facts, "restarted", "damaged")
        yield msgspec.structs.replace(move, facts=facts)

    def take(self, nodes: Sequence[int], event: Event) -> Move | None:
        """The step ``event`` of replicas at ``nodes``, whether or not it is within the bounds; None if it cannot happen
        here."""
        me, node = event.replica, nodes[event.replica]
        core = self.core(me, node)
        if core.replica is None or (event.kind == "timer" and event.argument not in core.timers):
            return None
        if event.kind == "crash":
            try:
                return next(self.crash(me, node, event.argument), None)
            except Impossible:
                return None
        found = self._argument(nodes, event)
        if found is None:
            return None
        moves = self._moves(me, node, *found)
        return next((move for move in moves if move.choice.lagging == (not event.durable)), None)

    def _argument(self, nodes: Sequence[int], event: Event) -> tuple[int, Any] | None:
        if event.kind == "deliver":
            source, message = event.argument
            wanted = Envelope(source, event.replica, message)
            for number in sorted(self.nodes[source][nodes[source]].sent):
                envelope = self.handlers.envelopes[number]
                if Envelope(envelope.source, envelope.to, plain(envelope.message)) == wanted:
                    return (DELIVER, number)
            return None
        if event.kind == "request":
            return (REQUEST, self.commands.index(event.argument)) if event.argument in self.commands else None
        if event.kind == "order":
            return (ORDER, self.handlers.number_of(event.argument))
        return (TIMER, event.argument)

    def _moves(self, me: int, number: int, kind: int, argument: Any) -> Iterator[Move]:
        before = self.nodes[me][number]
        mode = self.handlers.cores[before.core].mode
        outcome = self.handlers.step(before.core, kind, argument, mode)
        if outcome is None:
            return
        choice = Choice(me, kind, argument, mode == LAGGING)
        yield self._move(number, before, outcome, choice, 0)
        if self.lagging and mode == NORMAL and outcome.wrote:
            lost = self.handlers.step(before.core, kind, argument, LAGGING)
            if lost is not None:
                yield self._move(number, before, lost, Choice(me, kind, argument, True), 1)

    def _move(self, number: int, before: Node, outcome: Outcome, choice: Choice, crash: int) -> Move:
        """``before`` with what the step did; ``number`` is the node that it is compared with."""
        me = choice.replica
        seen, sent, asked = before.seen, before.sent, before.asked
        ballots = 0
        if not sent.issuperset(outcome.sent):
            sent = sent.union(outcome.sent)
            ballots = self._begun(sent) - self._begun(before.sent)
        answers: list[tuple[int, int | None]] = []
        broken: Broken = None
        if outcome.events:
            visible = tuple(event for event in outcome.events if event[0] in _OBSERVED)
            seen = self.observations.after(seen, visible) if visible else seen
            for event in outcome.events:
                if event[0] == ANSWER:
                    broken = self._answer(seen, event, answers) or broken
        command = choice.argument if choice.kind == REQUEST else -1
        if command >= 0 and (outcome.core != before.core or outcome.sent or outcome.events):
            asked |= 1 << command  # a request that is ignored has not happened
        node = self._intern(me, Node(outcome.core, sent, seen, asked, before.wrong or broken))
        if node == number and not answers:
            return Move(choice, node, 0)  # nothing has happened that could be counted
        happening = Happening(
            crash,
            int(choice.kind == CRASH and choice.argument is not None),
            int(choice.kind == TIMER),
            ballots,
            1 << choice.argument if choice.kind == ORDER else 0,
            command,
            tuple(answers),
        )
        facts = (*outcome.notes, *[_FACTS[event[0]] for event in outcome.events])
        return Move(choice, node, self._worlds.intern(happening), facts)

    def _begun(self, sent: frozenset[int]) -> int:
        """How many ballots of its own a replica has begun that has sent these."""
        envelopes = self.handlers.envelopes
        ballots = {own_ballot(envelopes[number].source, envelopes[number].message) for number in sent}
        return len(ballots - {None})

    def _answer(self, seen: int, event: Effect, answers: list[tuple[int, int | None]]) -> Broken:
        command = event[1]
        number = self._answer_numbers.get((command.client, command.sequence))
        results = self.observations.results(seen)
        if number is None or (command.client, command.sequence) not in results:
            return (VALIDITY, f"{command} is answered where it was not executed")
        answers.append((number, results[command.client, command.sequence]))
        return None

    def _intern(self, me: int, node: Node) -> int:
        number = self._numbers[me].get(node)
        if number is None:
            number = self._numbers[me][node] = len(self.nodes[me])
            self.nodes[me].append(node)
            self.seen[me].append(node.seen)
            self.outboxes[me].append(tuple(self._box(node.sent, to) for to in range(self.bounds.replicas)))
            core = self.handlers.cores[node.core]
            self.broken[me].append(core.broken or self.observations.broken[node.seen] or node.wrong)
            self.leaders[me].append(None if core.replica is None else core.replica.view().leader)
        return number

    def _box(self, sent: frozenset[int], to: int) -> int:
        envelopes = self.handlers.envelopes
        lost = self.bounds.lost
        box = tuple(
            number
            for number in sorted(sent)
            if envelopes[number].to == to and type(envelopes[number].message).__name__ not in lost
        )
        number = self._box_numbers.get(box)
        if number is None:
            number = self._box_numbers[box] = len(self.boxes)
            self.boxes.append(box)
        return number
