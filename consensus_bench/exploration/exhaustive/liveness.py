"""Can a protocol go on for ever without reaching its goal? All states in which it has not, up to a shift of rounds.

The goal: a value is chosen (Basic Paxos), somebody is elected (Raft, Multi-Paxos; subjects.py). The protocols compare
rounds and add one to the highest they know, so that a state and the same state with all rounds raised behave alike once
every replica that acts has heard of a round. States are equal up to that shift; a window bounds how far rounds may lie
apart. The network loses and duplicates nothing (where the order of arrival is any, equal messages under way count
once).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import Cluster, ConfigError, Context, Message, Options, Replica, ns
from consensus_bench.contract.context import (
    BROADCAST,
    BROADCAST_UNSYNCED,
    CANCEL_TIMER,
    COMMIT,
    NOTE,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
)
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.subjects import raised, rounds_in, subject_of

Timers: TypeAlias = Literal["any", "patient"]
"""When a time-out fires: at any moment; or, "patient", as it does where the usual time-out exceeds a round trip, that
is two of the longest delays: what was under way when it was set has arrived within the first, and what was sent until
then within the second. A shorter wait (Basic Paxos after a Nack) ends at any time."""
SHORT: Final = "short"
"""Stands among a replica's timers when its last was set for a shorter wait than usual."""
Network: TypeAlias = Literal["any", "fifo"]
"""In which order the messages of a link arrive."""
Envelope: TypeAlias = tuple[int, int, Message, int, int]
"""(source, to, message, first, second): the last two are bit masks of the replicas whose patient time-out waits for
this message: it was under way when that was set; it was sent before all of those had arrived."""
Action: TypeAlias = tuple[str, int, int, str]
"""("deliver", source, to, message type) or ("time-out", replica, replica, name)."""
State: TypeAlias = tuple[tuple[int, ...], tuple[Envelope, ...]]
Sent: TypeAlias = tuple[int, Message]


class Outcome(msgspec.Struct, frozen=True):
    """Of a step at a replica: the number of what it is then, what it sends to whom, whether it has reached the goal,
    and whether it has set its timer, or stopped it (None: neither)."""

    node: int
    sent: tuple[Sent, ...]
    reached: bool
    timer: bool | None


class Edge(msgspec.Struct, frozen=True):
    """A step to the state of that number; None: to the goal; -1: beyond the window or bound. In the state that it leads
    to rounds are counted from ``lowered`` higher."""

    action: Action
    message: Message | None
    to: int | None
    lowered: int = 0


class Graph(msgspec.Struct):
    """The states before the goal that can be reached, and every step from each. ``blocked`` steps were left out."""

    edges: list[list[Edge]]
    blocked: int = 0
    decisions: int = 0
    closed: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out, and no execution ends before the goal: then one without a cycle reaches it."""
        return self.closed and not self.blocked and all(self.edges)


class _Node(msgspec.Struct, frozen=True):
    replica: Replica
    timers: frozenset[Any]


class Undecided:
    """``proposers`` of the replicas act: they are asked (Basic Paxos), and their time-outs fire. ``ballots`` bounds
    rounds absolutely (then nothing is shifted)."""

    def __init__(
        self, protocol: type[Replica], options: Options, *, proposers: int, timers: Timers, window: int,
        replicas: int = 3, ballots: int | None = None, states: int = 200_000, network: Network = "any",
    ) -> None:  # fmt: skip
        self.subject = subject_of(protocol.name)
        bounds = {"replicas": replicas, "proposers": proposers, "window": window, "ballots": ballots, "states": states}
        for name, value in bounds.items():
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: must be at least 1")
        if proposers > replicas:
            raise ConfigError(f"--proposers {proposers}: there are only {replicas} replicas")
        self.replicas, self.proposers, self.timers = replicas, proposers, timers
        self.window, self.ballots, self.bound = window, ballots, states
        self.commands = Bounds(proposers=proposers, commands=proposers).make_commands() if self.subject.asked else ()
        self.network = network
        self._marks = timers == "patient" and not self.subject.ballot
        self._context = Context()
        time_out = getattr(options, self.subject.time_out)
        self._usual_ns = ns(time_out[0] if isinstance(time_out, tuple) else time_out)
        self._nodes: list[_Node] = []
        self._numbers: dict[Any, int] = {}
        self._memo: dict[tuple[int, str, Any], Outcome] = {}
        self._lowered: dict[tuple[int, int], int] = {}
        self._rounds: dict[int | Message, tuple[int, ...]] = {}
        self._lowered_messages: dict[tuple[Message, int], Message] = {}
        cluster = Cluster(replicas, (), None)
        self._first = [_Node(protocol(me, cluster, options), frozenset()) for me in range(replicas)]

    def graph(self) -> Graph:
        """Breadth first from the state in which every replica has started and nothing has arrived."""
        start = self._start()
        numbers: dict[State, int] = {start: 0}
        states = [start]
        graph = Graph([])
        for state in states:
            edges: list[Edge] = []
            for action, message, after, reached in self._steps(state):
                if reached or self._is_chosen(after):
                    graph.decisions += 1
                    edges.append(Edge(action, message, None))
                    continue
                shifted, down = self._shifted(after)
                if shifted is None or (shifted not in numbers and len(states) >= self.bound):
                    graph.blocked += 1
                    graph.closed = graph.closed and shifted is None
                    edges.append(Edge(action, message, -1))
                    continue
                if shifted not in numbers:
                    numbers[shifted] = len(states)
                    states.append(shifted)
                edges.append(Edge(action, message, numbers[shifted], down))
            graph.edges.append(edges)
        return graph

    def _start(self) -> State:
        nodes: list[int] = []
        way: tuple[Envelope, ...] = ()
        for me, node in enumerate(self._first):
            if self.subject.asked and me >= self.proposers:
                nodes.append(self._intern(node))
                continue
            what = ("request", self.commands[me]) if self.subject.asked else ("start", None)
            outcome = self._call(node, *what)
            nodes.append(outcome.node)
            way = self._sent(me, way, outcome, 0)
        return tuple(nodes), self._way(way)

    def _steps(self, state: State) -> Iterator[tuple[Action, Message | None, State, bool]]:
        nodes, way = state
        for place, (source, to, message, first, _) in enumerate(way):
            if self.network == "fifo" and place and way[place - 1][:2] == (source, to):
                continue
            outcome = self._step(nodes[to], "deliver", (source, message))
            after = (*nodes[:to], outcome.node, *nodes[to + 1 :])
            rest = self._sent(to, (*way[:place], *way[place + 1 :]), outcome, first)
            yield ("deliver", source, to, type(message).__name__), message, (after, self._way(rest)), outcome.reached
        name = self.subject.timer
        for me in range(self.proposers):
            if name not in self._nodes[nodes[me]].timers or (self.timers == "patient" and self._waits(me, state)):
                continue
            outcome = self._step(nodes[me], "timer", name)
            after = (*nodes[:me], outcome.node, *nodes[me + 1 :])
            yield ("time-out", me, me, name), None, (after, self._way(self._sent(me, way, outcome, 0))), outcome.reached

    def _waits(self, me: int, state: State) -> bool:
        """Whether its time-out is the usual one, and something is under way that comes before."""
        node = self._nodes[state[0][me]]
        if SHORT in node.timers or not self.subject.ballot:
            return any((first | second) >> me & 1 for _, _, _, first, second in state[1])
        own = getattr(node.replica, self.subject.ballot)
        return any(
            me in (source, to)
            and (getattr(message, "ballot", None) == own or (to == me and type(message).__name__ == "Nack"))
            for source, to, message, _, _ in state[1]
        )

    def _sent(self, me: int, way: tuple[Envelope, ...], outcome: Outcome, first: int) -> tuple[Envelope, ...]:
        """What is under way after a step of ``me``; ``first``: of the message that arrived."""
        if not self._marks:
            return (*way, *((me, to, message, 0, 0) for to, message in outcome.sent))
        for envelope in way:
            first |= envelope[3]
        way = (*way, *((me, to, message, 0, first) for to, message in outcome.sent))
        if me >= self.proposers or outcome.timer is None:
            return way
        others, mine = ~(1 << me), outcome.timer << me
        return tuple((s, to, m, first & others | mine, second & others) for s, to, m, first, second in way)

    def _way(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        """By link, in the order of sending; in any order where that does not matter, and equal messages once."""
        if self.network == "fifo":
            return tuple(sorted(envelopes, key=lambda envelope: envelope[:2]))
        once: dict[tuple[int, int, Message], tuple[int, int]] = {}
        for source, to, message, first, second in envelopes:
            before = once.get((source, to, message), (0, 0))
            once[source, to, message] = (before[0] | first, before[1] | second)
        return tuple((*key, *once[key]) for key in sorted(once, key=lambda key: (*key[:2], repr(key[2]))))

    def _step(self, number: int, kind: str, argument: Any) -> Outcome:
        key = (number, kind, argument)
        if key not in self._memo:
            self._memo[key] = self._call(self._nodes[number], kind, argument)
        return self._memo[key]

    def _call(self, node: _Node, kind: str, argument: Any) -> Outcome:
        """One handler, and what the replica sends to itself; the disk keeps everything and nobody crashes."""
        replica, timers, sent, reached = node.replica.clone(), node.timers, [], False
        changed: bool | None = None if kind != "timer" else False
        inputs: list[tuple[str, Any]] = [(kind, argument)]
        for what, with_ in inputs:
            if what == "start":
                replica.on_start(self._context)
            elif what == "request":
                replica.on_request(self._context, with_)
            elif what == "timer":
                timers -= {with_, SHORT}
                replica.on_timer(self._context, with_)
            else:
                getattr(replica, replica.handlers[type(with_[1])])(self._context, *with_)
            effects, self._context.effects[:] = self._context.effects[:], []
            self._context.wrote = False
            for tag, a, b in effects:
                if tag in (SEND, BROADCAST, SEND_UNSYNCED, BROADCAST_UNSYNCED):
                    for to in (a,) if tag in (SEND, SEND_UNSYNCED) else a:
                        if to == replica.me:
                            inputs.append(("deliver", (to, b)))
                        else:
                            sent.append((to, b))
                elif tag in (SET_TIMER, CANCEL_TIMER) and a == self.subject.timer:
                    timers = timers - {a, SHORT}
                    changed = tag == SET_TIMER and b[0] >= self._usual_ns
                    if tag == SET_TIMER:
                        timers |= {a} if changed else {a, SHORT}
                else:
                    reached = reached or tag == COMMIT or (tag == NOTE and a == "elected")
        replica.check()
        return Outcome(self._intern(_Node(replica, timers)), tuple(sent), reached, changed)

    def _intern(self, node: _Node) -> int:
        key = (node.replica.me, node.replica.key(), node.timers)
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[key]

    def _is_chosen(self, state: State) -> bool:
        """Whether a majority's last acceptances are of one ballot."""
        if self.subject.goal != "chosen":
            return False
        replicas: list[Any] = [self._nodes[number].replica for number in state[0]]
        votes = Counter(replica.accepted_ballot for replica in replicas if replica.accepted_ballot[0])
        return any(count > len(replicas) // 2 for count in votes.values())

    def _shifted(self, state: State) -> tuple[State | None, int]:
        """The state with rounds counted from the lowest in use, and how much lower; None: it is out of bounds."""
        nodes, way = state
        of_nodes = [self._rounds_of(number) for number in nodes]
        rounds = [round_ for each in of_nodes for round_ in each]
        rounds += [round_ for envelope in way for round_ in self._rounds_of(envelope[2])]
        lowest, highest = min(rounds, default=1), max(rounds, default=1)
        if self.ballots is not None:
            return (state if highest <= self.ballots else None), 0
        if not all(of_nodes[: self.proposers]):
            lowest = 1
        if highest - lowest >= self.window:
            return None, 0
        if lowest == 1:
            return state, 0
        down = lowest - 1
        lower = tuple(self._lower(number, down) for number in nodes)
        messages = ((s, to, self._lower_message(m, down), first, second) for s, to, m, first, second in way)
        return (lower, self._way(tuple(messages))), down

    def _rounds_of(self, what: int | Message) -> tuple[int, ...]:
        """In a message, or in the node of that number."""
        if what not in self._rounds:
            value = self._nodes[what].replica if isinstance(what, int) else what
            self._rounds[what] = tuple(rounds_in(self.subject, value))
        return self._rounds[what]

    def _lower_message(self, message: Message, down: int) -> Message:
        key = (message, down)
        if key not in self._lowered_messages:
            self._lowered_messages[key] = raised(self.subject, message, -down)
        return self._lowered_messages[key]

    def _lower(self, number: int, down: int) -> int:
        key = (number, down)
        if key not in self._lowered:
            node = self._nodes[number]
            self._lowered[key] = self._intern(_Node(raised(self.subject, node.replica, -down), node.timers))
        return self._lowered[key]
