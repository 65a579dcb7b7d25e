"""The second driver: a seeded random scheduler over the same replicas, without SimPy.

A run has two phases. In the first anything may happen at any step: messages are delivered in any order, lost, delivered
twice, held up on cut links; timers fire whenever they like; disks lag; replicas crash and recover. In the second the
world is kind: all are up, nothing is lost, every message and every disk is served before long, timers fire when they
are due. Then every client must get its answers and every replica must catch up, within a bounded number of steps.

Each step is verified (``verification.Verifier``, ``Replica.check``), the clients' history in the end. A run depends on
its arguments alone; a violation names the call that repeats it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from consensus_bench.contract import (
    CORRUPT,
    LOST,
    OPERATOR,
    ChangeMembers,
    Cluster,
    Command,
    ConfigError,
    Effect,
    HandOver,
    Options,
    PropertyViolated,
    Replica,
    ReplicaId,
    ns,
)
from consensus_bench.contract.context import describe
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.steps import Deliver, Input, Recover, Request, Start, Timer
from consensus_bench.exploration.clients import Clients
from consensus_bench.exploration.faults import Faults, Load
from consensus_bench.exploration.world import Observer, Packet, Summary, World

QUIET_STEPS: Final = 60_000
"""Bound of the second phase: a correct protocol needs some thousands."""
MOST_IN_FLIGHT: Final = 400
"""Above that, messages are lost at random: the network is no memory without end."""
STEP_NS: Final = 100_000
"""Time that passes per step, on average."""
RETRY_NS: Final = ns(3000)
"""In the second phase a client asks again after this time."""
LATE_MESSAGES: Final = 10
"""About so many messages are put aside at a time."""
CHANGES: Final = 0.5
"""Share of the operator's orders that change who the members are, where the protocol can."""
STAYING: Final = 0.5
"""How probably each replica is a member then."""
APART: Final = 0.5
"""How often the members to be are cut off from the others at that moment."""
HELD_UP: Final = 3
"""How many messages are looked at for one whose link is not cut."""


class ScheduleViolated(PropertyViolated):
    """A property was violated in a random run. ``reproduction`` is the Python call that repeats it."""

    def __init__(self, name: str, detail: str, scheduler: Scheduler) -> None:
        super().__init__(name, f"{detail}\n  {scheduler.describe()}\n  repeat with: {scheduler.reproduction()}")
        self.reproduction = scheduler.reproduction()
        self._scheduler = scheduler

    def transcript(self) -> list[str]:
        """The run again, as lines: every step and what it did, up to the violation."""
        lines = Transcript()
        twin = self._scheduler.twin(lines)
        try:
            twin.run()
        except ScheduleViolated as again:
            lines.happened(f"{again.name}: {again.detail.splitlines()[0]}")
        return lines.lines


class Transcript(Observer):
    """What happened, in lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stepped(self, replica: ReplicaId, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        """The input, and below it the effects."""
        match event:
            case Deliver(source, message):
                what = f"{source} -> {replica}: {message}"
            case Request(command):
                what = f"client {command.client} -> {replica}: {command}"
            case Timer(name):
                what = f"timer {name} of {replica}"
            case Recover(disk):
                what = f"restart {replica} from {len(disk)} durable values"
            case Start():
                what = f"start {replica}"
        self.lines.append(what)
        self.lines.extend("    " + describe(effect) for effect in effects)

    def happened(self, what: str) -> None:
        """Anything else."""
        self.lines.append(what)


class Scheduler:
    """One random run of ``size`` replicas of ``protocol``. ``faults`` None: drawn from the seed."""

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        size: int,
        seed: int,
        *,
        faults: Faults | None = None,
        load: Load | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.protocol = protocol
        self.options = options
        self.size = size
        self.seed = seed
        self.random = random = Random(seed)
        self._given = (faults, load)
        drawn = Faults.drawn(random, size)
        self.faults = faults or drawn
        self.load = load or Load()
        self.faults.validate(size)
        self.load.validate()
        self.clients = Clients(self.load, size, random)
        self.step = 0
        self._skew_ns = [random.randrange(ns(self.faults.skew_ms) + 1) for _ in range(size)]
        self._cut: frozenset[tuple[ReplicaId, ReplicaId]] = frozenset()
        self._losing = True
        self._late: list[Packet] = []
        self._damaged: set[ReplicaId] = set()
        self.world = World(protocol, options, self._cluster(), self._draw, self._answered, self._clock, observer)
        self._actions = self._thresholds()

    def _cluster(self) -> Cluster:
        """Half of the runs have a first leader, half know distances."""
        random, size = self.random, self.size
        first_leader = random.randrange(size) if random.random() < 0.5 else None
        delays: tuple[tuple[int, ...], ...] = ()
        if random.random() < 0.5:
            delays = tuple(tuple(0 if a == b else ns(random.randint(1, 100)) for b in range(size)) for a in range(size))
        return Cluster(size, delays, first_leader)

    def _thresholds(self) -> list[tuple[float, Any]]:
        faults = self.faults
        actions = (
            (faults.sync, self._sync_some),
            (faults.timer, self._fire_some),
            (faults.request, self._ask),
            (faults.drop, self._drop_some),
            (faults.duplicate, self._deliver_twice),
            (faults.late, self._delay_some),
            (faults.retry, self._ask_again),
            (faults.restart, self._restart_some),
            (faults.heal, self._heal),
            (faults.crash, self._crash_some),
            (faults.partition, self._partition),
            (faults.order, self._order_some),
        )
        total, thresholds = 0.0, []
        for rate, action in actions:
            total += rate
            thresholds.append((total, action))
        return thresholds

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> Summary:
        """Both phases; returns what happened, or raises ``ScheduleViolated``."""
        try:
            self.world.start()
            self.disturb(self.faults.steps)
            self.settle()
            self.check()
        except ScheduleViolated:
            raise
        except PropertyViolated as violation:
            raise ScheduleViolated(violation.name, f"step {self.step}: {violation.detail}", self) from violation
        except AssertionError as error:
            detail = f"step {self.step}: {error or 'an assertion of the protocol failed'}"
            raise ScheduleViolated("local invariant", detail, self) from error
        except Exception as error:
            detail = f"step {self.step}: {type(error).__name__}: {error}"
            raise ScheduleViolated("no handler fails", detail, self) from error
        return self.summary()

    def summary(self) -> Summary:
        """What happened so far."""
        self.world.summary.steps = self.step
        return self.world.summary

    def disturb(self, steps: int) -> None:
        """The first phase, or some steps of it."""
        draw, actions, world = self.random.random, self._actions, self.world
        for _ in range(steps):
            self.step += 1
            world.now_ns += int(2 * STEP_NS * draw())
            drawn = draw()
            for threshold, action in actions:
                if drawn < threshold:
                    if not action():
                        self._deliver_some()
                    break
            else:
                self._deliver_some()
            if len(world.in_flight) > MOST_IN_FLIGHT:
                self._drop_some()

    def settle(self) -> None:
        """The second phase: all come up, nothing is lost any more, and the clients get their answers."""
        self._losing = False
        self._cut = frozenset()
        self.world.in_flight += self._late
        self._late.clear()
        for me, server in enumerate(self.world.servers):
            if server.replica is None:
                self.world.restart(me)
        for request in self.clients.open:
            request.due_ns = self.world.now_ns + RETRY_NS
        for _ in range(QUIET_STEPS):
            if self._settled():
                return
            self._quiet_step()
        waiting = ", ".join(str(request.command) for request in self.clients.open) or "nobody"
        counts = ", ".join(str(server.executed) for server in self.world.servers)
        raise PropertyViolated(
            "progress",
            f"not settled {QUIET_STEPS} steps after the last fault; clients wait for: {waiting}; the replicas have "
            f"executed {counts} commands",
        )

    def check(self) -> None:
        """The verdict on the whole run."""
        self.clients.check_asked(self.world.verifier.chosen())
        for check in (*self.world.verifier.finish(settled=True), self.clients.check()):
            if check.verdict != "holds":
                raise PropertyViolated(check.property, f"{check.verdict}: {check.detail}")

    def _settled(self) -> bool:
        executed = [server.executed for server in self.world.servers]
        if self.protocol.decides == "single":
            return min(executed) == 1 and self.clients.answered >= 1
        return not (self.clients.open or self.clients.may_ask()) and min(executed) == max(executed)

    # --- the second phase ---------------------------------------------------------------------------------------------

    def _quiet_step(self) -> None:
        """Serve whoever waits, one at random; timers, when they are due; and when nobody waits, let time pass."""
        self.step += 1
        world, random = self.world, self.random
        world.now_ns += int(2 * STEP_NS * random.random())
        if self._fire_due():
            return
        lagging = [me for me, server in enumerate(world.servers) if server.pending]
        work = len(world.in_flight) + len(lagging)
        if not work:
            if self.clients.may_ask():
                self._ask()
                return
            due = [d for server in world.servers for d in server.timers.values()]
            due += [request.due_ns for request in self.clients.open]
            if not due:
                raise PropertyViolated("progress", "nothing is under way and no timer is armed")
            world.now_ns = max(world.now_ns, min(due))
            return
        choice = int(random.random() * work)
        if choice < len(world.in_flight):
            world.deliver(choice)
        else:
            me = lagging[choice - len(world.in_flight)]
            world.sync(me, len(world.servers[me].pending))
        if random.random() < self.faults.request:
            self._ask()

    def _fire_due(self) -> bool:
        now = self.world.now_ns
        for position, request in enumerate(self.clients.open):
            if request.due_ns <= now:
                self._send(self.clients.retry(position))
                return True
        first = self._first_timer()
        if first is None or first[0] > now:
            return False
        self.world.fire(first[1], first[2])
        return True

    def _first_timer(self) -> tuple[int, ReplicaId, Any] | None:
        first: tuple[int, ReplicaId, Any] | None = None
        for me, server in enumerate(self.world.servers):
            for name, due in server.timers.items():
                if first is None or due < first[0]:
                    first = (due, me, name)
        return first

    # --- actions: each says whether it was possible -------------------------------------------------------------------

    def _deliver_some(self, keep: bool = False) -> bool:
        """Any message whose link is not cut; if there is none, the disks go on, or time does."""
        world, draw = self.world, self.random.random
        in_flight = world.in_flight
        for _ in range(HELD_UP):
            if not in_flight:
                return self._sync_some() or self._fire_first()
            position = int(draw() * len(in_flight))
            source, to, _ = in_flight[position]
            if (source, to) not in self._cut:
                world.deliver(position, keep and source != to)
                return True
        return self._sync_some() or self._fire_first()

    def _deliver_twice(self) -> bool:
        return self._deliver_some(keep=True)

    def _drop_some(self) -> bool:
        in_flight = self.world.in_flight
        if not in_flight:
            return False
        position = int(self.random.random() * len(in_flight))
        source, to, _ = in_flight[position]
        if source == to:  # a process does not lose its own messages
            return False
        self.world.drop(position)
        return True

    def _delay_some(self) -> bool:
        """Put a message aside, or back: the more there are, the likelier."""
        late, in_flight, draw = self._late, self.world.in_flight, self.random.random
        if draw() < len(late) / (len(late) + LATE_MESSAGES):
            position = int(draw() * len(late))
            late[position], late[-1] = late[-1], late[position]
            in_flight.append(late.pop())
        elif in_flight:
            position = int(draw() * len(in_flight))
            source, to, _ = in_flight[position]
            if source != to:
                late.append(self.world.take(position))
        return True

    def _sync_some(self) -> bool:
        """A group commit: all that is pending, or a part of it."""
        servers, random = self.world.servers, self.random
        lagging = [me for me, server in enumerate(servers) if server.pending]
        if not lagging:
            return False
        me = lagging[int(random.random() * len(lagging))]
        pending = len(servers[me].pending)
        self.world.sync(me, pending if random.random() < 0.5 else 1 + int(random.random() * pending))
        return True

    def _fire_some(self) -> bool:
        random = self.random
        if random.random() >= self.faults.early:
            return self._fire_first()
        armed = [(me, name) for me, server in enumerate(self.world.servers) for name in server.timers]
        if not armed:
            return False
        self.world.fire(*armed[int(random.random() * len(armed))])
        return True

    def _fire_first(self) -> bool:
        first = self._first_timer()
        if first is None:
            return False
        due, me, name = first
        self.world.now_ns = max(self.world.now_ns, due)
        self.world.fire(me, name)
        return True

    def _ask(self) -> bool:
        if not self.clients.may_ask():
            return False
        request = self.clients.new_request(self.step)
        self._send(request)
        return True

    def _ask_again(self) -> bool:
        waiting = self.clients.open
        if not waiting:
            return False
        self.world.summary.retries += 1
        self._send(self.clients.retry(int(self.random.random() * len(waiting))))
        return True

    def _send(self, request: Any) -> None:
        request.due_ns = self.world.now_ns + RETRY_NS
        self.world.request(request.asked, request.command)

    def _crash_some(self) -> bool:
        servers, random = self.world.servers, self.random
        up = [me for me, server in enumerate(servers) if server.replica is not None]
        if self.size - len(up) >= self.faults.crashed_at_most:
            return False
        me = up[int(random.random() * len(up))]
        self.world.crash(me, int(random.random() * (len(servers[me].pending) + 1)))
        return True

    def _restart_some(self) -> bool:
        down = [me for me, server in enumerate(self.world.servers) if server.replica is None]
        if not down:
            return False
        me = down[int(self.random.random() * len(down))]
        if self.faults.damage and self.random.random() < self.faults.damage and self._may_be_damaged(me):
            self._damage(me)
        self.world.restart(me)
        return True

    def _may_be_damaged(self, me: ReplicaId) -> bool:
        return me in self._damaged or len(self._damaged) < self.faults.damaged_at_most

    def _damage(self, me: ReplicaId) -> None:
        """The disk is lost, or a few of its records cannot be read."""
        disk, random = self.world.servers[me].disk, self.random
        self._damaged.add(me)
        if random.random() < 0.4:
            disk.clear()
            disk[LOST] = None
            self._tell(f"the disk of {me} is lost")
        elif disk:
            keys = sorted(disk, key=repr)
            for key in random.sample(keys, min(len(keys), random.randint(1, 5))):
                disk[key] = CORRUPT
                self._tell(f"on the disk of {me}, {key} cannot be read")

    def _partition(self) -> bool:
        """Cut one replica off, wholly or one way, or split the cluster, or cut a single link."""
        random, replicas = self.random, range(self.size)
        one, other = random.randrange(self.size), random.randrange(self.size)
        side = {me for me in replicas if random.random() < 0.5}
        links = [(a, b) for a in replicas for b in replicas if a != b]
        kinds = (
            [link for link in links if one in link],
            [link for link in links if link[1] == one],
            [link for link in links if link[0] == one],
            [(a, b) for a, b in links if (a in side) != (b in side)],
            [(one, other), (other, one)],
        )
        self._cut = frozenset(random.choice(kinds))
        self.world.summary.partitions += 1
        self._tell(f"links that let nothing through: {sorted(self._cut)}")
        return True

    def _heal(self) -> bool:
        if not self._cut:
            return False
        self._cut = frozenset()
        self._tell("all links let messages through")
        return True

    def _order_some(self) -> bool:
        if HandOver not in self.protocol.messages:
            return False
        whom, to = int(self.random.random() * self.size), int(self.random.random() * self.size)
        if ChangeMembers in self.protocol.messages and self.random.random() < CHANGES:
            self._order_members(whom, to)
        else:
            self.world.in_flight.append((OPERATOR, whom, HandOver(to)))
        return True

    def _order_members(self, whom: ReplicaId, one: ReplicaId) -> None:
        """``one`` and others are to be the members. Often just then they are cut off from the rest."""
        random, replicas = self.random, range(self.size)
        members = tuple(r for r in replicas if r == one or random.random() < STAYING)
        if self.faults.damage and len(members) <= 2 * self.faults.damaged_at_most:
            return  # a majority's disks may be lost then, after which nobody may go on
        leaders = [r for r in replicas if (replica := self.world.servers[r].replica) and replica.view().leader == r]
        self.world.in_flight.append((OPERATOR, random.choice(leaders) if leaders else whom, ChangeMembers(members)))
        if random.random() < APART:
            self._cut = frozenset((a, b) for a in replicas for b in replicas if (a in members) != (b in members))

    # --- what the world asks ------------------------------------------------------------------------------------------

    def _draw(self, low_ns: int, high_ns: int) -> int:
        return low_ns + int(self.random.random() * (high_ns - low_ns))

    def _clock(self, me: ReplicaId) -> int:
        return self.world.now_ns + self._skew_ns[me]

    def _answered(self, replica: ReplicaId, command: Command, result: int | None) -> None:
        if self._losing and self.random.random() < self.faults.lost_answers:
            self._tell(f"the answer of {replica} to {command} is lost")
            return
        self._tell(f"client {command.client} has {result} for its command {command.sequence}")
        self.clients.answered_by(replica, command, result, self.step, command not in self.world.looked_up)

    def _tell(self, what: str) -> None:
        if self.world.observer is not None:
            self.world.observer.happened(what)

    # --- explaining ---------------------------------------------------------------------------------------------------

    def twin(self, observer: Observer) -> Scheduler:
        """The same run, not begun."""
        faults, load = self._given
        return Scheduler(self.protocol, self.options, self.size, self.seed, faults=faults, load=load, observer=observer)

    def describe(self) -> str:
        """Protocol, seed and settings in a line."""
        name = self.protocol.name or self.protocol.__name__
        return f"{name}, {self.size} replicas, seed {self.seed}, {self.options}, {self.world.cluster}, {self.faults}"

    def reproduction(self) -> str:
        """One line of Python that repeats this run."""
        arguments = [repr(_spec(self.protocol)), f"[{self.seed}]", f"size={self.size}"]
        defaults = self.protocol.options_type()
        fields = self.options.__struct_fields__
        settings = {f: getattr(self.options, f) for f in fields if getattr(self.options, f) != getattr(defaults, f)}
        if settings:
            arguments.append(f"settings={settings!r}")
        for name, value in zip(("faults", "load"), self._given, strict=True):
            if value is not None:
                arguments.append(f"{name}={value!r}")
        return f"from consensus_bench.exploration import *; run_seeds({', '.join(arguments)})"


def _spec(protocol: type[Replica]) -> str:
    """How ``find_protocol`` finds this class: by its registered name or by its file."""
    try:
        if find_protocol(protocol.name) is protocol:
            return protocol.name
    except (ConfigError, ImportError):
        pass
    source = inspect.getsourcefile(protocol) or "?.py"
    path = Path(source)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{protocol.__name__}"


def run_seeds(
    protocol: str | type[Replica],
    seeds: Iterable[int],
    *,
    size: int = 3,
    settings: Mapping[str, Any] | None = None,
    faults: Faults | None = None,
    load: Load | None = None,
) -> Summary:
    """Run every seed; returns what happened in all of them, or raises ``ScheduleViolated`` at the first violation.

    ``protocol`` is a class, a registered name or ``path/to/file.py:ClassName``; ``settings`` are its options; without
    ``faults`` each seed draws its own mixture.
    """
    found = find_protocol(protocol) if isinstance(protocol, str) else protocol
    options = make_options(found, dict(settings or {}), size)
    total = Summary()
    for seed in seeds:
        total.add(Scheduler(found, options, size, seed, faults=faults, load=load).run())
    return total
