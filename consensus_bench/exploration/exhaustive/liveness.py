"""Can Basic Paxos go on for ever and choose nothing? All undecided states, ballots counted from the lowest in use.

The protocol compares rounds and adds one to the highest it knows, so that a state and the same state with all rounds
raised behave alike once every proposer has heard of a round. States are equal up to that shift; a window bounds how far
rounds may lie apart. The network loses and duplicates nothing (where the order of arrival
is any, equal messages under way count once).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import Ballot, Command, ConfigError, Context, Message, Options, Replica
from consensus_bench.contract.context import BROADCAST, CANCEL_TIMER, SEND, SET_TIMER
from consensus_bench.exploration.exhaustive.bounds import Bounds

Timers: TypeAlias = Literal["any", "patient"]
"""When a proposer's time-out fires: at any moment; or, "patient", only when it was outbid, or nothing of its ballot is
under way any more (``retry_ms`` exceeds the round trip, as the options demand)."""
OUTBID: Final = "outbid"
"""Stands among a replica's timers when its last was set for a shorter wait than ``retry_ms``: after a Nack."""
Network: TypeAlias = Literal["any", "fifo"]
"""In which order the messages of a link arrive."""
Envelope: TypeAlias = tuple[int, int, Message]
Action: TypeAlias = tuple[str, int, int, str]
"""("deliver", source, to, message type) or ("time-out", replica, replica, name)."""
State: TypeAlias = tuple[tuple[int, ...], tuple[Envelope, ...]]

ROUNDS: Final = ("round", "highest")


class Edge(msgspec.Struct, frozen=True):
    """A step to the undecided state of that number; None: to a decision; -1: beyond the window or bound."""

    action: Action
    message: Message | None
    to: int | None


class Graph(msgspec.Struct):
    """The undecided states that can be reached, and every step from each. ``blocked`` steps were left out."""

    edges: list[list[Edge]]
    blocked: int = 0
    decisions: int = 0
    closed: bool = True


class _Node(msgspec.Struct, frozen=True):
    replica: Replica
    timers: frozenset[Any]


class Undecided:
    """``proposers`` of three replicas are asked; ``ballots`` bounds rounds absolutely (then nothing is shifted)."""

    def __init__(
        self, protocol: type[Replica], options: Options, *, proposers: int, timers: Timers, window: int,
        ballots: int | None = None, states: int = 200_000, network: Network = "any",
    ) -> None:  # fmt: skip
        if protocol.name != "basic-paxos":
            raise ConfigError(f"liveness {protocol.name}: only basic-paxos has states that are equal up to ballots")
        for name, value in (("proposers", proposers), ("window", window), ("ballots", ballots), ("states", states)):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: must be at least 1")
        if proposers > 3:
            raise ConfigError(f"--proposers {proposers}: there are only 3 replicas")
        from consensus_bench.contract import Cluster

        self.proposers, self.timers, self.window, self.ballots, self.bound = proposers, timers, window, ballots, states
        self._commands = Bounds(proposers=proposers, commands=proposers).make_commands()
        self.network = network
        self._context = Context()
        self._retry_ns = int(options.retry_ms * 1_000_000)
        self._nodes: list[_Node] = []
        self._numbers: dict[Any, int] = {}
        self._memo: dict[tuple[int, str, Any], tuple[_Node, tuple[Envelope, ...]]] = {}
        cluster = Cluster(3, (), None)
        self._first = [_Node(protocol(me, cluster, options), frozenset()) for me in range(3)]

    def graph(self) -> Graph:
        """Breadth first from the state in which every proposer has been asked and nothing has arrived."""
        start = self._start()
        numbers: dict[State, int] = {start: 0}
        states = [start]
        graph = Graph([])
        for state in states:
            edges: list[Edge] = []
            for action, message, after in self._steps(state):
                if self._is_chosen(after):
                    graph.decisions += 1
                    edges.append(Edge(action, message, None))
                    continue
                shifted = self._shifted(after)
                if shifted is None or (shifted not in numbers and len(states) >= self.bound):
                    graph.blocked += 1
                    graph.closed = graph.closed and shifted is None
                    edges.append(Edge(action, message, -1))
                    continue
                if shifted not in numbers:
                    numbers[shifted] = len(states)
                    states.append(shifted)
                edges.append(Edge(action, message, numbers[shifted]))
            graph.edges.append(edges)
        return graph

    def _start(self) -> State:
        nodes: list[int] = []
        sent: list[Envelope] = []
        for me, node in enumerate(self._first):
            if me < self.proposers:
                node, envelopes = self._call(me, node, "request", self._commands[me])
                sent += envelopes
            nodes.append(self._intern(node))
        return tuple(nodes), self._way(tuple(sent))

    def _steps(self, state: State) -> Iterator[tuple[Action, Message | None, State]]:
        nodes, way = state
        for place, (source, to, message) in enumerate(way):
            if self.network == "fifo" and place and way[place - 1][:2] == (source, to):
                continue
            node, sent = self._step(nodes[to], "deliver", (source, message))
            after = (*nodes[:to], self._intern(node), *nodes[to + 1 :])
            yield (
                ("deliver", source, to, type(message).__name__),
                message,
                (after, self._way((*way[:place], *way[place + 1 :], *sent))),
            )
        for me in range(self.proposers):
            if "retry" not in self._nodes[nodes[me]].timers or (self.timers == "patient" and self._waits(me, state)):
                continue
            node, sent = self._step(nodes[me], "timer", "retry")
            after = (*nodes[:me], self._intern(node), *nodes[me + 1 :])
            yield ("time-out", me, me, "retry"), None, (after, self._way((*way, *sent)))

    def _way(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        """By link, in the order of sending; in any order where that does not matter, and equal messages once."""
        if self.network == "fifo":
            return tuple(sorted(envelopes, key=lambda envelope: envelope[:2]))
        return tuple(sorted(set(envelopes), key=lambda envelope: (*envelope[:2], repr(envelope[2]))))

    def _waits(self, me: int, state: State) -> bool:
        """Whether it was not outbid, and something of its ballot is under way: sent by it or in answer to it."""
        node = self._nodes[state[0][me]]
        replica: Any = node.replica
        own = replica.ballot
        return OUTBID not in node.timers and any(
            me in (source, to)
            and (getattr(message, "ballot", None) == own or (to == me and type(message).__name__ == "Nack"))
            for source, to, message in state[1]
        )

    def _step(self, number: int, kind: str, argument: Any) -> tuple[_Node, tuple[Envelope, ...]]:
        key = (number, kind, argument)
        if key not in self._memo:
            node = self._nodes[number]
            self._memo[key] = self._call(node.replica.me, node, kind, argument)
        return self._memo[key]

    def _call(self, me: int, node: _Node, kind: str, argument: Any) -> tuple[_Node, tuple[Envelope, ...]]:
        """One handler, and what the replica sends to itself; the disk keeps everything and nobody crashes."""
        replica, timers, sent = node.replica.clone(), node.timers, []
        inputs: list[tuple[str, Any]] = [(kind, argument)]
        for what, with_ in inputs:
            if what == "request":
                replica.on_request(self._context, with_)
            elif what == "timer":
                timers -= {with_, OUTBID}
                replica.on_timer(self._context, with_)
            else:
                getattr(replica, replica.handlers[type(with_[1])])(self._context, *with_)
            effects, self._context.effects[:] = self._context.effects[:], []
            self._context.wrote = False
            for tag, a, b in effects:
                if tag in (SEND, BROADCAST):
                    for to in (a,) if tag == SEND else a:
                        if to == me:
                            inputs.append(("deliver", (me, b)))
                        else:
                            sent.append((me, to, b))
                elif tag in (SET_TIMER, CANCEL_TIMER):
                    timers = timers - {a, OUTBID}
                    if tag == SET_TIMER:
                        timers |= {a, OUTBID} if b[0] < self._retry_ns else {a}
        replica.check()
        return _Node(replica, timers), tuple(sent)

    def _intern(self, node: _Node) -> int:
        key = (node.replica.me, node.replica.key(), node.timers)
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[key]

    def _is_chosen(self, state: State) -> bool:
        """Whether a majority's last acceptances are of one ballot, or a replica has learnt a decision."""
        replicas: list[Any] = [self._nodes[number].replica for number in state[0]]
        accepted = [replica.accepted_ballot for replica in replicas if replica.accepted_ballot[0]]
        return any(replica.decided for replica in replicas) or len(accepted) > len(set(accepted))

    def _shifted(self, state: State) -> State | None:
        replicas: list[Any] = [self._nodes[number].replica for number in state[0]]
        rounds = {r for replica in replicas for r in _rounds_of(replica)}
        rounds |= {r for _, _, message in state[1] for r in _rounds(message)}
        rounds.discard(0)
        lowest, highest = min(rounds), max(rounds)
        if self.ballots is not None:
            return state if highest <= self.ballots else None
        if any(max(r.round, r.highest, r.promised[0]) == 0 for r in replicas[: self.proposers]):
            lowest = 1
        if highest - lowest >= self.window:
            return None
        if lowest == 1:
            return state
        down = lowest - 1
        nodes = tuple(self._intern(_lowered(self._nodes[number], down)) for number in state[0])
        return nodes, self._way(tuple((source, to, _lower(message, down)) for source, to, message in state[1]))


def _lowered(node: _Node, down: int) -> _Node:
    replica: Any = node.replica.clone()
    for name in ROUNDS:
        setattr(replica, name, _lower_round(getattr(replica, name), down))
    for name in ("accepted_ballot", "ballot", "promised", "promises"):
        setattr(replica, name, _lower(getattr(replica, name), down))
    return _Node(replica, node.timers)


def _lower_round(round_: int, down: int) -> int:
    return round_ and round_ - down


def _lower(value: Any, down: int) -> Any:
    """Every ballot in it with a lower round; (0, 0) is no ballot."""
    if isinstance(value, tuple):
        return (_lower_round(value[0], down), value[1])
    if isinstance(value, Mapping):
        return {key: _lower(part, down) for key, part in value.items()}
    if isinstance(value, Message) and not isinstance(value, Command):
        names = [name for name in ("ballot", "accepted_ballot") if hasattr(value, name)]
        return msgspec.structs.replace(value, **{name: _lower(getattr(value, name), down) for name in names})
    return value


def _rounds(message: Any) -> Iterator[int]:
    for name in ("ballot", "accepted_ballot"):
        ballot: Ballot | None = getattr(message, name, None)
        if ballot is not None:
            yield ballot[0]


def _rounds_of(replica: Any) -> Iterator[int]:
    yield from (replica.round, replica.highest, replica.promised[0], replica.accepted_ballot[0], replica.ballot[0])
    for promise in replica.promises.values():
        yield from _rounds(promise)
