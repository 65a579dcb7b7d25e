"""Injects faults into a world when they are due, ends them, and keeps a record of what was injected when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from consensus_bench.simulation.events import NORMAL, Alarm
from consensus_bench.simulation.faults.disk import NEVER_NS
from consensus_bench.simulation.faults.gate import End, Gate
from consensus_bench.simulation.faults.kinds import Fault, LinkFault, Momentary
from consensus_bench.simulation.faults.links import Chosen, strike_links
from consensus_bench.simulation.faults.strikes import STRIKES, Hit
from consensus_bench.simulation.faults.targets import (
    Links,
    Selector,
    choose,
    needs_leader,
    parse_links,
    parse_selector,
)
from consensus_bench.simulation.faults.validation import CRASHED, ELECTED, RESTARTED, check_faults
from consensus_bench.simulation.randomness import plain_stream

if TYPE_CHECKING:
    from consensus_bench.simulation.world import World


class Injected(NamedTuple):
    """One fault as it took place. ``target``: the sites or links that it struck."""

    start_ns: int
    end_ns: int
    kind: str
    target: str


class _Open(msgspec.Struct):
    """A fault that has begun."""

    start_ns: int
    fault: Fault
    text: str
    undo: list[Callable[[], None]]
    end_ns: int = -1


class _Plan(msgspec.Struct):
    """A fault that is to come. ``times``: how often it has begun."""

    fault: Fault
    number: int
    draw: Random
    times: int = 0


class Injector:
    """The faults of one world. ``gates`` stand in front of all its links."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        settings = world.settings
        places = settings.geography.places
        self.sites = tuple(places[place] for place in settings.geography.replicas)
        client_sites = tuple(places[place] for place in settings.geography.clients)
        check_faults(faults, self.sites, client_sites, settings.duration_s)
        self._world = world
        self._plans = [_Plan(f, i, plain_stream(world.seed, "faults", i)) for i, f in enumerate(faults)]
        self._leaderless: list[_Plan] = []  # due, but nobody leads now
        self._log: list[_Open] = []
        self._client_sites = client_sites
        self.gates: list[Gate] = []

    def install(self) -> None:
        """Put a gate in front of every link, before anything is sent."""
        world, geography = self._world, self._world.settings.geography
        replicas = [End(site, number) for number, site in enumerate(self.sites)]
        delay, at = geography.one_way_ns, geography.replicas
        for a, machine in enumerate(world.machines):
            for b, link in enumerate(machine.links):
                self.gates.append(Gate(world, link, replicas[a], replicas[b], delay[at[a]][at[b]]))
        for i, site in enumerate(world.sites):
            clients, place = End(self._client_sites[i]), geography.clients[i]
            for r, link in enumerate(site.links):
                self.gates.append(Gate(world, link, clients, replicas[r], delay[place][at[r]]))
            client = next(client for client in world.population.clients if client.site is site)
            for r, machine in enumerate(world.machines):
                link = machine.answer_links[client.number]  # the clients of a site share it
                self.gates.append(Gate(world, link, replicas[r], clients, delay[at[r]][place]))

    def reachable(self, site: int, replica: int) -> bool:
        """Whether a message from the clients of ``site`` reaches a running ``replica`` now, and its answer them."""
        ends = {End(self._client_sites[site]), End(self.sites[replica], replica)}
        cut = any(t.cut for gate in self.gates if {gate.origin, gate.target} == ends for t in gate.troubles)
        return not cut and not self._world.faulty(replica).paused

    def start(self) -> None:
        """Plan what has a time."""
        for plan in self._plans:
            if not plan.fault.when:
                self._due_at(plan, plan.fault.time_ns("at"))

    @property
    def log(self) -> list[Injected]:
        """What was injected, in order of its beginning; what has not ended lasts until now."""
        now: int = self._world.env.now
        return [
            Injected(entry.start_ns, entry.end_ns if entry.end_ns >= 0 else now, entry.fault.kind, entry.text)
            for entry in self._log
        ]

    def inject(self, fault: Fault) -> None:
        """Begin ``fault`` now, whatever its trigger says."""
        check_faults([msgspec.structs.replace(fault, at="0 s", when="", after="", every="", times=0)], self.sites,
                     self._client_sites, self._world.settings.duration_s)  # fmt: skip
        number = len(self._plans)
        self._plans.append(_Plan(fault, number, plain_stream(self._world.seed, "faults", number), times=1 << 30))
        self._begin(self._plans[-1])

    # Triggers.

    def _due_at(self, plan: _Plan, at_ns: int) -> None:
        self._world.schedule(Alarm((self._on_due,), plan), NORMAL, at_ns - self._world.env.now)

    def _on_due(self, event: Alarm) -> None:
        plan: _Plan = event.what
        fault, now = plan.fault, self._world.env.now
        if now >= self._world.stop_ns:
            return
        if not fault.when:
            plan.times += 1
            every_ns = fault.time_ns("every")
            if every_ns and plan.times != fault.times:
                self._due_at(plan, now + every_ns)
        self._begin(plan)

    def happened(self, what: str) -> None:
        """Something happened that faults may wait for. They begin in an event of their own, never in the midst of what
        happens now."""
        now: int = self._world.env.now
        for plan in self._plans:
            fault = plan.fault
            if fault.when == what and now >= fault.time_ns("at") and plan.times < (fault.times or 1):
                plan.times += 1
                self._due_at(plan, now + fault.time_ns("after"))
        if what == ELECTED and self._leaderless:
            waiting, self._leaderless = self._leaderless, []
            for plan in waiting:
                self._world.schedule(Alarm((self._on_leader,), plan), NORMAL, 0)

    def _on_leader(self, event: Alarm) -> None:
        if self._world.env.now < self._world.stop_ns:
            self._begin(event.what)

    def elected(self) -> None:
        """A replica says that it leads."""
        self.happened(ELECTED)

    def crashed(self) -> None:
        """A replica's process died."""
        self.happened(CRASHED)

    def restarted(self) -> None:
        """A replica's process was started again."""
        self.happened(RESTARTED)

    # Beginning and end.

    def leader(self) -> int | None:
        """Who leads now: the last that said so, if it has not died since. Under a protocol that never says so: whom a
        replica takes for itself, or the first leader that was asked for (then 0)."""
        world = self._world
        if world.elections:
            at_ns, replica = world.elections[-1]
            last = world.faulty(replica)
            return replica if last.alive and last.booted_ns <= at_ns else None
        for replica, machine in enumerate(world.machines):
            if machine.alive and world.protocol.decides == "log" and machine.replica.view().leader == replica:
                return replica
        return world.settings.first_leader or 0

    def _begin(self, plan: _Plan) -> None:
        fault, leader = plan.fault, self.leader()
        target: Links | Selector = (
            parse_links(fault.target) if isinstance(fault, LinkFault) else parse_selector(fault.target)
        )
        selectors = target.sides if isinstance(target, Links) else (target,)
        if leader is None and any(map(needs_leader, selectors)):
            self._leaderless.append(plan)
            return
        now: int = self._world.env.now
        duration_ns = fault.time_ns("duration")
        end_ns = now + duration_ns if duration_ns else NEVER_NS
        if isinstance(target, Links):
            assert isinstance(fault, LinkFault)
            chosen = Chosen(target, self.gates, self.sites, leader, plan.draw)
            entry = _Open(now, fault, chosen.text, [strike_links(self._world, fault, chosen, end_ns, plan.draw)])
        else:
            entry = self._strike_replicas(fault, target, leader, end_ns, plan.draw)
        if not entry.undo:
            return
        self._log.append(entry)
        self.happened(f"{fault.kind} begins")
        if isinstance(fault, Momentary):
            self._end(entry)
        elif duration_ns:
            self._world.schedule(Alarm((self._on_end,), entry), NORMAL, duration_ns)

    def _strike_replicas(self, fault: Fault, target: Selector, leader: int | None, end_ns: int, draw: Random) -> _Open:
        now: int = self._world.env.now
        strike = STRIKES[type(fault)]
        struck, undo = [], []
        for replica in choose(target, self.sites, leader, draw):
            ended = strike(Hit(self._world, fault, self._world.faulty(replica), end_ns, draw))
            if ended is not None:
                struck.append(self.sites[replica])
                undo.append(ended)
        return _Open(now, fault, ",".join(struck), undo)

    def _on_end(self, event: Alarm) -> None:
        self._end(event.what)

    def _end(self, entry: _Open) -> None:
        entry.end_ns = self._world.env.now
        for undo in entry.undo:
            undo()
        self.happened(f"{entry.fault.kind} ends")
