"""A cluster whose every event the test picks. What a replica writes is durable as soon as it has written it, unless the
test has frozen its disk."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from consensus_bench.contract import Cluster, Command, Message, PropertyViolated, Replica
from consensus_bench.contract.registry import make_options
from consensus_bench.exploration import World


def put(sequence: int, client: int = 0) -> Command:
    """The ``sequence``-th command of a client: a write with a value of its own."""
    return Command(client, sequence, "put", "x", 100 * client + sequence)


class Network:
    """Messages are under way until the test delivers or drops them; every step is verified."""

    def __init__(
        self, protocol: type[Replica], size: int = 3, first_leader: int | None = None, **settings: Any
    ) -> None:
        self.answers: list[tuple[int, Command]] = []
        self.frozen: set[int] = set()
        """Replicas whose writes do not become durable, until they crash."""
        self.world = World(
            protocol,
            make_options(protocol, settings, size),
            Cluster(size, (), first_leader),
            draw=lambda low_ns, high_ns: low_ns,
            answered=lambda replica, command, result: self.answers.append((replica, command)),
            clock=lambda replica: 0,
        )
        self.world.start()
        self._sync()

    def replica(self, me: int) -> Any:
        """The replica, to look at."""
        return self.world.servers[me].replica

    def under_way(self, kind: type[Message]) -> list[tuple[int, int, Any]]:
        """(source, to, message) of that type."""
        return [packet for packet in self.world.in_flight if type(packet[2]) is kind]

    def ask(self, me: int, *commands: Command) -> None:
        """Clients' commands arrive at ``me``."""
        for command in commands:
            self.world.request(me, command)
            self._deliver_at(len(self.world.in_flight) - 1)

    def deliver(self, source: int, to: int, kind: type[Message], again: bool = False) -> None:
        """The oldest such message arrives. ``again``: it stays under way, to arrive once more."""
        position = self._find(source, to, kind)
        packet = self.world.in_flight[position]
        self._deliver_at(position)
        if again:
            self.world.in_flight.append(packet)

    def drop(self, source: int, to: int, kind: type[Message]) -> None:
        """The oldest such message is lost."""
        del self.world.in_flight[self._find(source, to, kind)]

    def exchange(self, among: Collection[int] | None = None, keep: type[Message] | None = None) -> None:
        """Deliver in order of sending, until nothing is under way; with ``among``, what others send or should get is
        lost; messages of the type ``keep`` stay under way."""
        kept = []
        while self.world.in_flight:
            source, to, message = self.world.in_flight[0]
            if type(message) is keep:
                kept.append(self.world.in_flight.pop(0))
            elif among is not None and not (source in among and to in among):
                del self.world.in_flight[0]
            else:
                self._deliver_at(0)
        self.world.in_flight += kept

    def fire(self, me: int, name: str) -> None:
        """A timer fires, which must be armed."""
        self.world.fire(me, name)
        self._sync()

    def crash(self, me: int) -> None:
        """The process dies and starts again from its disk."""
        self.world.crash(me)
        self.frozen.discard(me)
        self.world.restart(me)
        self._sync()

    def _find(self, source: int, to: int, kind: type[Message]) -> int:
        for position, packet in enumerate(self.world.in_flight):
            if packet[:2] == (source, to) and type(packet[2]) is kind:
                return position
        raise AssertionError(f"no {kind.__name__} is under way from {source} to {to}: {self.world.in_flight}")

    def _deliver_at(self, position: int) -> None:
        self.world.in_flight.append(self.world.in_flight.pop(position))
        self.world.deliver(len(self.world.in_flight) - 1)
        self._sync()

    def _sync(self) -> None:
        for me, server in enumerate(self.world.servers):
            if me not in self.frozen:
                self.world.sync(me, len(server.pending))


def violated(schedule: Callable[[type[Replica]], Any], protocol: type[Replica]) -> str | None:
    """The property that falls when ``protocol`` goes through ``schedule``, or None if all hold."""
    try:
        schedule(protocol)
    except PropertyViolated as violation:
        return violation.name
    return None
