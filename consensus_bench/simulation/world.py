"""One run: a protocol on a simulated planet, under a workload, verified while it happens.

A run is a function of (settings, seed): the same bytes come out on any machine and in any process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from consensus_bench.contract import OPERATOR, Cluster, Command, Message, Replica, ns
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.simulation.clients import Population, Site
from consensus_bench.simulation.clock import Clock
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Delivery, Life
from consensus_bench.simulation.faults import Fault, Nemesis
from consensus_bench.simulation.machine import Link, Machine
from consensus_bench.simulation.network import NO_JITTER, Geography, Jitter
from consensus_bench.simulation.operations import Operations
from consensus_bench.simulation.profiles import Profile
from consensus_bench.simulation.randomness import lognormal_ns, plain_stream, stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.verification import Verifier

if TYPE_CHECKING:
    from consensus_bench.simulation.faults.injector import Injected, Injector
    from consensus_bench.simulation.faults.machine import FaultyMachine

SECOND_NS: Final = 1_000_000_000
DRAIN_STEP_NS: Final = SECOND_NS // 10
_PATHS: Final = {"fast_path": 1, "slow_path": 2}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run depends on. ``protocol`` is a registered name or ``path/to/file.py:ClassName``.

    Clients issue operations for ``duration_s`` simulated seconds; the run then goes on until all have their answers (at
    most ``drain_s``). Operations due in the first ``warmup_s`` are not measured. ``crashable``: keep the disks'
    contents, so that replicas can be crashed and restarted. ``reroute``: (client site, replica that its clients turn to
    when the first does not answer); otherwise the nearest other one. ``faults`` are injected when they are due, those
    that ``nemesis`` draws from the seed as well; a run with either is crashable.
    """

    protocol: str
    geography: Geography
    workload: Workload
    profile: Profile
    seed: int
    options: dict[str, Any] = {}
    jitter: Jitter = NO_JITTER
    first_leader: int | None = None
    duration_s: float = 10.0
    warmup_s: float = 1.0
    drain_s: float = 30.0
    client_timeout_ms: float = 10_000.0
    crashable: bool = False
    reroute: tuple[tuple[int, int], ...] = ()
    faults: tuple[Fault, ...] = ()
    nemesis: Nemesis | None = None


class Usage(msgspec.Struct, frozen=True):
    """What one replica used in the measured interval: shares of its processor, card and disk; counts."""

    cpu: float
    network_card: float
    disk: float
    messages_sent: int
    messages_received: int
    bytes_sent: int
    fsyncs: int


class World:
    """The simulated planet. ``env`` is the SimPy environment, for faults and probes as ordinary SimPy processes."""

    def __init__(self, settings: Settings) -> None:
        geography = settings.geography
        size = len(geography.replicas)
        self.settings = settings
        self.seed = settings.seed
        self.profile = settings.profile
        self.workload = settings.workload
        self.client_timeout_ns = ns(settings.client_timeout_ms)
        self.stop_ns = round(settings.duration_s * SECOND_NS)
        self.warmup_ns = round(settings.warmup_s * SECOND_NS)
        self.env: Any = Clock()  # Any: its events are slim, not simpy's
        self.schedule: Any = self.env.schedule  # (event, priority, delay in ns)
        self.operations = Operations()
        self.paths: dict[tuple[int, int], int] = {}
        self.facts: Counter[str] = Counter()
        self.elections: list[tuple[int, int]] = []
        """(time in ns, replica): each time a replica said that it leads."""
        self.suspicions: list[tuple[int, int]] = []
        """The same for each time it acted on a time-out of the leader (EPaxos: of a command's leader)."""
        self.protocol = find_protocol(settings.protocol)
        self.options = make_options(self.protocol, settings.options, size)
        self.cluster = Cluster(size, geography.replica_delays(), settings.first_leader)
        self.verifier = Verifier(size, self.protocol.decides)
        self.injector = self._injector()
        self.machines = [self._machine(r) for r in range(size)]
        self.sites = [Site(self, i, self._contacts(i)) for i in range(len(geography.clients))]
        self.population = Population(self, self.sites)
        self._connect()
        if self.injector is not None:
            self.injector.install()
        self._marks: list[tuple[int, ...]] = []

    def _machine(self, me: int) -> Machine:
        profile = self.profile_of(me)
        fsync = lognormal_ns(profile.fsync_ms * 1e6, profile.fsync_cv, stream(self.seed, "disk", me))
        timers = plain_stream(self.seed, "timers", me)
        if self.injector is not None:
            from consensus_bench.simulation.faults.disk import FaultyDisk
            from consensus_bench.simulation.faults.machine import FaultyMachine

            return FaultyMachine(self, me, self._replica(me), FaultyDisk(fsync), timers)
        return Machine(self, me, self._replica(me), Disk(fsync, self.settings.crashable), timers)

    def _contacts(self, site: int) -> tuple[int, ...]:
        """Whom the clients of ``site`` ask, one after the other."""
        first, *others = self.settings.geography.contacts(site)
        following = dict(self.settings.reroute).get(site)
        if following is not None:
            others.sort(key=lambda replica: replica != following)
        return (first, *others)

    def _injector(self) -> Injector | None:
        """What injects the faults of this run; None in a healthy world, whose messages then meet nothing of it."""
        settings, geography = self.settings, self.settings.geography
        faults = settings.faults
        if settings.nemesis is not None:
            sites = [geography.places[place] for place in geography.replicas]
            faults = (*faults, *settings.nemesis.draw(self.seed, sites, settings.duration_s))
        elif not faults:
            return None
        from consensus_bench.simulation.faults.injector import Injector

        return Injector(self, faults)

    def faulty(self, replica: int) -> FaultyMachine:
        """A machine of a world with faults."""
        return cast("FaultyMachine", self.machines[replica])

    def profile_of(self, replica: int) -> Profile:
        """The costs of one replica's machine: the same for all, unless a world says otherwise."""
        return self.profile

    def _replica(self, me: int) -> Replica:
        return self.protocol(me, self.cluster, self.options)

    def _connect(self) -> None:
        """One link each way between any two replicas, and between each client site and each replica."""
        g, jitter, seed = self.settings.geography, self.settings.jitter, self.seed
        for a, machine in enumerate(self.machines):
            for b, other in enumerate(self.machines):
                delay = jitter.sampler(g, g.replicas[a], g.replicas[b], seed, f"replica {a} to {b}")
                machine.links.append(Link(delay, machine.own_callbacks if a == b else other.deliver_callbacks))
            answers = []
            for i, site in enumerate(self.sites):
                up = jitter.sampler(g, g.clients[i], g.replicas[a], seed, f"client {i} to {a}")
                site.links.append(Link(up, machine.request_callbacks))
                down = jitter.sampler(g, g.replicas[a], g.clients[i], seed, f"replica {a} to client {i}")
                answers.append(Link(down, site.answer_callbacks))
            machine.answer_links += [answers[client.site.index] for client in self.population.clients]

    # What machines ask for.

    def oldest_open(self, client: int) -> int:
        """The lowest sequence number of ``client`` that has no answer yet."""
        return self.population.clients[client].oldest_open()

    def reachable(self, site: int, replica: int) -> bool:
        """What a health check from a client site would say of ``replica`` now. Its messages are not modelled."""
        if not self.machines[replica].alive:
            return False
        return self.injector is None or self.injector.reachable(site, replica)

    def note(self, replica: int, now_ns: int, fact: str, command: Command | None) -> None:
        """A protocol states a fact for the statistics."""
        self.facts[fact] += 1
        if command is not None and fact in _PATHS:
            self.paths[command.client, command.sequence] = _PATHS[fact]
        elif fact == "elected":
            self.elections.append((now_ns, replica))
            if self.injector is not None:
                self.injector.elected()
        elif fact == "suspected":
            self.suspicions.append((now_ns, replica))

    # Faults (the rich language of faults builds on these two: simulation/faults/).

    @property
    def fault_log(self) -> list[Injected]:
        """What was injected so far: (start in ns, end in ns, kind, target), in order of its beginning."""
        return [] if self.injector is None else self.injector.log

    def crash(self, replica: int) -> None:
        """Stop a replica's process now."""
        if not self.settings.crashable and self.injector is None:
            raise ValueError("Settings.crashable must be true: the disks of this run keep nothing")
        self.machines[replica].crash()
        if self.injector is not None:
            self.injector.crashed()

    def restart(self, replica: int) -> None:
        """Start a crashed replica's process again, from its disk."""
        self.machines[replica].restart(self._replica(replica))
        if self.injector is not None:
            self.injector.restarted()

    def tell_due(self) -> None:
        """The verifier hears of everything that is durable by now, at every replica."""
        for machine in self.machines:
            machine.tell_due()

    @property
    def site_numbers(self) -> dict[str, int]:
        """Replicas by the name of their place."""
        geography = self.settings.geography
        return {geography.places[place]: replica for replica, place in enumerate(geography.replicas)}

    def operate(self, replica: int, order: Message) -> None:
        """An operator's order (contract/control.py) reaches a replica now."""
        now = self.env.now
        self.schedule(Delivery(self.machines[replica].deliver_callbacks, Life(OPERATOR), now, now, order), NORMAL, 0)

    # The run.

    def run(self, progress: Callable[[float], None] | None = None) -> None:
        """Simulate to the end. ``progress`` is told the share of simulated time that is done, now and then."""
        for machine in self.machines:
            machine.start()
        self.population.start()
        if self.injector is not None:
            self.injector.start()
        if self.warmup_ns:
            self.env.run(until=self.warmup_ns)
        self._marks.append(self._counters())
        steps = 20
        for i in range(1, steps + 1):
            until = self.warmup_ns + (self.stop_ns - self.warmup_ns) * i // steps
            if until > self.env.now:
                self.env.run(until=until)
            if progress is not None:
                progress(i / steps)
        self._marks.append(self._counters())
        end = self.stop_ns + round(self.settings.drain_s * SECOND_NS)
        while self.population.open_requests() and self.env.now < end:
            self.env.run(until=self.env.now + DRAIN_STEP_NS)
        self.population.record_unanswered()
        for machine in self.machines:
            machine.tell_all()

    def close(self) -> None:
        """Drop what is still under way when all is over. These events hold on to the whole world, and the garbage
        collector does not look into them (``events.py``): without this no world's memory is ever freed."""
        self.env.queue.clear()

    def _counters(self) -> tuple[int, ...]:
        flat: list[int] = []
        for m in self.machines:
            flat += (*m.counters()[:3], m.cpu_ns(), m.disk.fsyncs, m.disk.busy_ns)
        return tuple(flat)

    def usage(self) -> list[Usage]:
        """What each replica used between the end of the warm-up and the end of the load."""
        before, after = self._marks
        seconds = (self.stop_ns - self.warmup_ns) / SECOND_NS
        out = []
        for i, m in enumerate(self.machines):
            received, sent, sent_bytes, cpu_ns, fsyncs, disk_ns = (
                after[i * 6 + k] - before[i * 6 + k] for k in range(6)
            )
            card_ns = sent_bytes * m.ps_per_byte / 1000
            cpu, card, disk = (busy / SECOND_NS / seconds for busy in (cpu_ns, card_ns, disk_ns))
            out.append(Usage(cpu, card, disk, sent, received, sent_bytes, fsyncs))
        return out
