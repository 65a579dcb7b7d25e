"""Clients: closed loops and open loops, time-outs, and where a client goes next when its replica does not answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappush
from typing import TYPE_CHECKING, Any

from consensus_bench.contract import Command
from consensus_bench.simulation.events import NORMAL, Alarm, Answer, Delivery, Life
from consensus_bench.simulation.operations import KIND_CODES, NEVER
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.simulation.workload import Operation, arrivals_ns, operations

if TYPE_CHECKING:
    from consensus_bench.simulation.machine import Link
    from consensus_bench.simulation.world import World

START_WITHIN_NS = 100_000_000
"""Closed-loop clients start at random within this time, so that they do not march in step."""


class _Request:
    """One operation under way."""

    __slots__ = ("attempts", "command", "contact", "due_ns", "sent_ns")

    def __init__(self, command: Command, due_ns: int, contact: int) -> None:
        self.command = command
        self.due_ns = due_ns
        self.sent_ns = due_ns
        self.contact = contact
        self.attempts = 1


class Client:
    """One session: numbered operations, each retried under its number until it is answered. In an open loop it is all
    arrivals of a site."""

    __slots__ = ("contact", "idle", "number", "pending", "sequence", "site", "stream")

    def __init__(self, number: int, site: Site, stream: Iterator[Operation]) -> None:
        self.number = number
        self.site = site
        self.stream = stream
        self.sequence = 0
        self.idle = False  # a closed loop that was interrupted because its site is down
        self.contact = 0  # position in the site's order of replicas: moves on after a time-out
        self.pending: dict[int, _Request] = {}

    def oldest_open(self) -> int:
        """The lowest sequence number that has no answer yet."""
        return next(iter(self.pending), self.sequence + 1)  # in the order of issue


class Site:
    """The clients of one site, and their links to every replica."""

    __slots__ = ("alive", "answer_callbacks", "contacts", "index", "life", "links", "world")

    def __init__(self, world: World, index: int, contacts: tuple[int, ...]) -> None:
        self.world = world
        self.index = index
        self.contacts = contacts
        self.links: list[Link] = []  # to each replica
        self.answer_callbacks = (self.on_answer,)
        self.life = Life(-1)
        self.alive = True

    def send(self, request: _Request) -> None:
        """The request leaves for the replica it is meant for; clients' own machines are not modelled."""
        world = self.world
        now: int = world.env.now
        link = self.links[self.contacts[request.contact]]
        arrive = max(now + link.delay(), link.last_unsynced_ns)
        link.last_unsynced_ns = arrive
        event = Delivery(link.callbacks, self.life, now, arrive, request.command)
        heappush(world.env.queue, (arrive, NORMAL, world.env.next_number(), event))

    def on_answer(self, event: Answer) -> None:
        """An answer arrives. Only the first counts."""
        if event.leave_ns > event.sender.died_ns:
            return
        command = event.command
        population = self.world.population
        client = population.clients[command.client]
        request = client.pending.pop(command.sequence, None)
        if request is None:
            return
        now = event.arrive_ns
        result = event.result
        path = self.world.paths.pop((command.client, command.sequence), 0)
        population.record(
            (
                self.index, command.client, command.sequence, command.key, KIND_CODES[command.kind],
                request.due_ns, request.sent_ns, event.committed_ns, event.executed_ns, now,
                path, request.attempts, command.value or NEVER, NEVER if result is None else result,
            )
        )  # fmt: skip
        population.completed(client, now)


class Population:
    """All clients of a run."""

    def __init__(self, world: World, sites: list[Site]) -> None:
        self.world = world
        self.sites = sites
        workload = world.workload
        self.record = world.operations.add
        self.think_ns = round(workload.think_ms * 1e6)
        self.open_loop = workload.rate > 0
        per_site = 1 if self.open_loop else workload.clients
        count = len(sites) * per_site
        self.clients = [
            Client(number, sites[number // per_site], operations(workload, world.seed, number, count))
            for number in range(count)
        ]
        self._deadlines: deque[tuple[int, Client, int]] = deque()
        self._abandoned: list[tuple[Client, _Request]] = []  # their clients died

    def start(self) -> None:
        """Schedule the first operations."""
        world = self.world
        for client in self.clients:
            if self.open_loop:
                rate = world.workload.rate / len(self.sites)
                # Not while the first leader is still being made: the queue of that time would be with a system that
                # runs near its capacity long after the warm-up.
                begin = world.warmup_ns // 2
                due = (begin + at for at in arrivals_ns(rate, world.seed, client.site.index))
                first = next(due)
                world.schedule(Alarm((self._on_arrival,), (client, due, first)), NORMAL, first)
            else:
                offset = plain_stream(world.seed, "start", client.number).randrange(START_WITHIN_NS)
                world.schedule(Alarm((self._on_thought,), client), NORMAL, offset)

    def _issue(self, client: Client, due_ns: int) -> None:
        kind, key, value, size = next(client.stream)
        client.sequence += 1
        command = Command(client.number, client.sequence, kind, key, value, size)
        if client.contact and self.world.reachable(client.site.index, client.site.contacts[0]):
            client.contact = 0
        request = client.pending[client.sequence] = _Request(command, due_ns, client.contact)
        client.site.send(request)
        deadlines = self._deadlines
        if not deadlines:
            self._watch(due_ns + self.world.client_timeout_ns)
        deadlines.append((due_ns + self.world.client_timeout_ns, client, client.sequence))

    def _on_thought(self, event: Alarm) -> None:
        now = self.world.env.now
        if not event.what.site.alive:
            event.what.idle = True
        elif now < self.world.stop_ns:
            self._issue(event.what, now)

    def _on_arrival(self, event: Alarm) -> None:
        client, due, now = event.what
        if now >= self.world.stop_ns:
            return
        if client.site.alive:
            self._issue(client, now)
        following = next(due)
        self.world.schedule(Alarm((self._on_arrival,), (client, due, following)), NORMAL, following - now)

    def completed(self, client: Client, now: int) -> None:
        """An operation of ``client`` was answered: a closed loop goes on."""
        if self.open_loop:
            return
        if self.think_ns:
            self.world.schedule(Alarm((self._on_thought,), client), NORMAL, self.think_ns)
        elif now < self.world.stop_ns:
            self._issue(client, now)

    # Time-outs: the delay is one constant, so deadlines come in order and only the first is in the event queue.

    def _watch(self, at_ns: int) -> None:
        self.world.schedule(Alarm((self._on_deadline,)), NORMAL, at_ns - self.world.env.now)

    def _on_deadline(self, event: Alarm) -> None:
        now: int = self.world.env.now
        deadlines = self._deadlines
        while deadlines:
            deadline, client, sequence = deadlines[0]
            request = client.pending.get(sequence)
            if request is None:
                deadlines.popleft()
            elif deadline <= now:
                deadlines.popleft()
                self._retry(client, request)
                deadlines.append((now + self.world.client_timeout_ns, client, sequence))
            else:
                self._watch(deadline)
                return

    def _retry(self, client: Client, request: _Request) -> None:
        """Ask the next replica, in order of distance, and stay with it until the first one is back."""
        request.attempts += 1
        request.contact = (request.contact + 1) % len(client.site.contacts)
        client.contact = request.contact
        client.site.send(request)

    # Sites that go down with their clients.

    def stop(self, site: Site) -> None:
        """The clients of ``site`` die. What they had asked for may take effect; nobody will know."""
        site.alive = False
        for client in self.clients:
            if client.site is site and client.pending:
                self._abandoned += [(client, request) for request in client.pending.values()]
                client.pending.clear()
                client.idle = True

    def go_on(self, site: Site) -> None:
        """They are back, and go on with the next operations."""
        site.alive = True
        for client in self.clients:
            if client.site is site and client.idle:
                client.idle = False
                if not self.open_loop:
                    self.world.schedule(Alarm((self._on_thought,), client), NORMAL, 0)

    # At the end.

    def open_requests(self) -> int:
        """How many operations have no answer."""
        return sum(len(client.pending) for client in self.clients)

    def abandoned(self) -> int:
        """How many operations have no answer because their clients died."""
        return len(self._abandoned)

    def record_unanswered(self) -> None:
        """Rows for the operations that never had an answer: they may or may not have taken effect."""
        pending = [(client, request) for client in self.clients for request in client.pending.values()]
        for client, request in (*self._abandoned, *pending):
            c = request.command
            row: tuple[Any, ...] = (
                client.site.index, c.client, c.sequence, c.key, KIND_CODES[c.kind],
                request.due_ns, request.sent_ns, NEVER, NEVER, NEVER,
                0, request.attempts, c.value or NEVER, NEVER,
            )  # fmt: skip
            self.record(row)
