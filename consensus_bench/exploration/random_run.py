"""One random run, without SimPy: what all styles of schedule have in common.

A run has two phases. In the first the world is at its worst: each style has its own way (``scheduler``: anything may
happen at any step; ``rounds``: long stretches of calm between few changes). In the second the world is kind: all are
up, nothing is lost, every message and every disk is served before long, timers fire when they are due. Then every
client must get its answers and every replica must catch up, within a bounded number of steps.

Each step is verified (``verification.Verifier``, ``Replica.check``), the clients' history in the end. A run depends on
its arguments alone; a violation names the call that repeats it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from consensus_bench.contract import (
    LOST,
    OPERATOR,
    ChangeMembers,
    Cluster,
    Command,
    ConfigError,
    HandOver,
    Options,
    PropertyViolated,
    Replica,
    ReplicaId,
    ns,
)
from consensus_bench.contract.registry import find_protocol
from consensus_bench.exploration.clients import Clients
from consensus_bench.exploration.faults import AnyFaults, Load, survivable
from consensus_bench.exploration.site import NO_EXCEPTION, OWN_INVARIANTS
from consensus_bench.exploration.transcript import Transcript
from consensus_bench.exploration.world import Observer, Packet, Summary, World

PROGRESS: Final = "progress"
"""In the end the clients have their answers, and the replicas are alike."""
HOPELESS_STEPS: Final = 1_000
"""So long the second phase of a run in which more disks were damaged than a protocol can bear."""
STEP_NS: Final = 100_000
"""Time that passes per step, on average."""
CHANGES: Final = 0.5
"""Share of the operator's orders that change who the members are, where the protocol can."""
STAYING: Final = 0.5
"""How probably each replica is a member then."""
LOST_DISKS: Final = 0.4
"""Share of the damaged disks that are lost; on the others some records cannot be read."""
CORRUPT_RECORDS: Final = 5
"""At most so many of them."""
BEARABLE: Final = 1
"""Replicas whose disks may be damaged in a run so that all go on in the end: to be repaired they need all others. Of
members that bear no crash (``survivable``), none."""


class ScheduleViolated(PropertyViolated):
    """A property was violated in a random run. ``reproduction`` is the Python call that repeats it."""

    def __init__(self, name: str, detail: str, run: RandomRun[Any]) -> None:
        super().__init__(name, f"{detail}\n  {run.describe()}\n  repeat with: {run.reproduction()}")
        self.reproduction = run.reproduction()
        self.run = run

    def again(self, observer: Observer) -> ScheduleViolated | None:
        """The same run, up to the violation, with somebody who watches."""
        try:
            self.run.twin(observer).run()
        except ScheduleViolated as again:
            return again
        return None

    def transcript(self) -> list[str]:
        """The run again, as lines: every step and what it did, up to the violation."""
        lines = Transcript()
        again = self.again(lines)
        if again is not None:
            lines.happened(f"{again.name}: {again.detail.splitlines()[0]}")
        return lines.lines


F = TypeVar("F", bound=AnyFaults)


class RandomRun(ABC, Generic[F]):
    """One random run of ``size`` replicas of ``protocol``. ``faults`` None: drawn from the seed."""

    quiet_steps: ClassVar[int]
    """Bound of the second phase: a correct protocol needs some thousands."""
    retry_ns: ClassVar[int] = ns(3000)
    """In the second phase a client asks again after this time."""
    style: ClassVar[str] = ""
    """How ``run_seeds`` is told of it: the name of the class, but for the usual one."""

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        size: int,
        seed: int,
        *,
        faults: F | None = None,
        load: Load | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.protocol = protocol
        self.options = options
        self.size = size
        self.seed = seed
        self.random = random = Random(seed)
        self._given = (faults, load)
        drawn = self._draw_faults()
        self.faults: F = faults or drawn
        self.load = load or self._draw_load()
        self.faults.validate(size)
        self.load.validate()
        self.clients = Clients(self.load, size, random)
        self.step = 0
        self._skew_ns = [random.randrange(ns(self.faults.skew_ms) + 1) for _ in range(size)]
        self._cut: frozenset[tuple[ReplicaId, ReplicaId]] = frozenset()
        """Links that let nothing through at the moment."""
        self._losing = True
        self._late: list[Packet] = []
        """What is under way for longer."""
        self._damaged: set[ReplicaId] = set()
        self.world = World(protocol, options, self._draw_cluster(), self._draw, self._answered, self._clock, observer)

    # --- what the styles differ in ------------------------------------------------------------------------------------

    @abstractmethod
    def _draw_faults(self) -> F:
        """The mixture of this seed."""

    def _draw_load(self) -> Load:
        """What the clients ask for, if nobody says."""
        return Load()

    @abstractmethod
    def _draw_cluster(self) -> Cluster:
        """What the replicas are told of each other."""

    @abstractmethod
    def disturb(self, length: int | None = None) -> None:
        """The first phase, or a part of it."""

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> Summary:
        """Both phases; returns what happened, or raises ``ScheduleViolated``."""
        try:
            self.world.start()
            self.disturb()
            self.settle()
            self.check()
        except ScheduleViolated:
            raise
        except PropertyViolated as violation:
            raise ScheduleViolated(violation.name, f"step {self.step}: {violation.detail}", self) from violation
        except AssertionError as error:
            detail = f"step {self.step}: {error or 'an assertion of the protocol failed'}"
            raise ScheduleViolated(OWN_INVARIANTS, detail, self) from error
        except Exception as error:
            detail = f"step {self.step}: {type(error).__name__}: {error}"
            raise ScheduleViolated(NO_EXCEPTION, detail, self) from error
        return self.summary()

    def summary(self) -> Summary:
        """What happened so far."""
        self.world.summary.steps = self.step
        return self.world.summary

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
            request.due_ns = self.world.now_ns + self.retry_ns
        bearable = len(self._damaged) <= min(BEARABLE, survivable(msgspec.structs.asdict(self.options), self.size))
        for _ in range(self.quiet_steps if bearable else HOPELESS_STEPS):
            if self._settled():
                return
            self._quiet_step()
        if not bearable:
            return  # nobody may go on who does not know what a majority has forgotten
        waiting = ", ".join(str(request.command) for request in self.clients.open) or "nobody"
        counts = ", ".join(str(server.executed) for server in self.world.servers)
        raise PropertyViolated(
            PROGRESS,
            f"not settled {self.quiet_steps} steps after the last fault; clients wait for: {waiting}; the replicas "
            f"have executed {counts} commands",
        )

    def check(self) -> None:
        """The verdict on the whole run."""
        self.clients.check_asked(self.world.verifier.chosen())
        for check in (*self.world.verifier.finish(settled=self._settled()), self.clients.check()):
            if check.verdict != "holds":
                raise PropertyViolated(check.property, f"{check.verdict}: {check.detail}")

    def _settled(self) -> bool:
        executed = [server.executed for server in self.world.servers]
        if self.protocol.decides == "single":
            return min(executed) == 1 and self.clients.answered >= 1
        return not (self.clients.open or self._wants_more()) and min(executed) == max(executed)

    # --- the second phase ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _wants_more(self) -> bool:
        """Whether commands are still to come."""

    @abstractmethod
    def _quiet_step(self) -> None:
        """One step that is kind."""

    def _let_time_pass(self) -> None:
        """Until something is due."""
        world = self.world
        due = [due for server in world.servers for due in server.timers.values()]
        due += [request.due_ns for request in self.clients.open]
        if not due:
            raise PropertyViolated(PROGRESS, "nothing is under way and no timer is armed")
        world.now_ns = max(world.now_ns, min(due))

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

    # --- what any style may do: each says whether it was possible -----------------------------------------------------

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
        request.due_ns = self.world.now_ns + self.retry_ns
        self.world.request(request.asked, request.command)

    def _may_be_damaged(self, me: ReplicaId) -> bool:
        few = me in self._damaged or len(self._damaged) < self.faults.damaged_at_most
        return few and self.protocol.repairs_disks

    def _damage(self, me: ReplicaId) -> None:
        """The disk is lost, or a few of its records cannot be read."""
        disk, random = self.world.servers[me].disk, self.random
        self._damaged.add(me)
        if random.random() < LOST_DISKS:
            self.world.damage(me, LOST)
        elif disk:
            keys = sorted((key for key in disk if key is not LOST), key=repr)
            self.world.damage(me, tuple(random.sample(keys, min(len(keys), random.randint(1, CORRUPT_RECORDS)))))

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
        leaders = self._leaders()
        self.world.in_flight.append((OPERATOR, random.choice(leaders) if leaders else whom, ChangeMembers(members)))
        self._ordered(members)

    def _ordered(self, members: tuple[ReplicaId, ...]) -> None:
        """An order is under way that makes these the members."""

    def _leaders(self) -> list[ReplicaId]:
        """Who believes that it leads."""
        servers = enumerate(self.world.servers)
        return [me for me, server in servers if server.replica and server.replica.view().leader == me]

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

    def twin(self, observer: Observer) -> RandomRun[F]:
        """The same run, not begun."""
        faults, load = self._given
        return type(self)(
            self.protocol, self.options, self.size, self.seed, faults=faults, load=load, observer=observer
        )

    def describe(self) -> str:
        """Protocol, seed and settings in a line."""
        name = self.protocol.name or self.protocol.__name__
        return f"{name}, {self.size} replicas, seed {self.seed}, {self.options}, {self.world.cluster}, {self.faults}"

    def reproduction(self) -> str:
        """One line of Python that repeats this run."""
        arguments = [repr(_spec(self.protocol)), f"[{self.seed}]", f"size={self.size}"]
        settings = changed(self.options)
        if settings:
            arguments.append(f"settings={settings!r}")
        if self.style:
            arguments.append(f"style={self.style}")
        for name, value in zip(("faults", "load"), self._given, strict=True):
            if value is not None:
                arguments.append(f"{name}={value!r}")
        return f"from consensus_bench.exploration import *; run_seeds({', '.join(arguments)})"


def changed(options: Options) -> dict[str, Any]:
    """The options that are not at their defaults."""
    defaults = type(options)()
    values = {name: getattr(options, name) for name in options.__struct_fields__}
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}


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
