"""A trace of the explorer, run in the simulated world: both drivers of the same classes must end in the same state.

The world's own machines run it: their processors, disks, timers and the SimPy queue. What the trace dictates is what a
network and clocks would decide otherwise: which message arrives next, again or never, which timer fires, who crashes
and restarts, from when on a disk is not quick enough, and what the clocks show. The machines cost nothing: all happens
at time 0, in the order of the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from consensus_bench.contract import Command, ConfigError, PropertyViolated, Replica, TimerName
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.state import freeze
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.site import NO_EXCEPTION, OWN_INVARIANTS, damaged
from consensus_bench.exploration.trace import Trace, TraceStep, Violation, damage_of, from_data
from consensus_bench.exploration.wording import show
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.events import NORMAL, Answer, Delivery, Life
from consensus_bench.simulation.faults.machine import LocalClock, WrongContext
from consensus_bench.simulation.hot_path import ActingContext
from consensus_bench.simulation.machine import Link, Machine, _Timer
from consensus_bench.simulation.network import Geography
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World
from consensus_bench.verification import History
from consensus_bench.verification.linearizability import LINEARIZABILITY

NEVER_NS: Final = 1 << 60


class Replayed(msgspec.Struct, frozen=True):
    """``violation``: what the simulator's verification found first. ``differences``: where the two drivers' states in
    the end are not the same, in words."""

    violation: Violation | None
    differences: tuple[str, ...]


def replay_in_simulator(trace: Trace) -> Replayed:
    """Run ``trace`` in both worlds, step by step. ``ConfigError`` at the first step that cannot happen, or in which
    something else is sent than the trace says."""
    protocol = find_protocol(trace.protocol)
    execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
    world = ScriptedWorld(trace)
    for step in trace.steps:
        world.take(step)
    return Replayed(world.verdict(), tuple(_differences(execution, world)))


class _Envelope(msgspec.Struct, frozen=True):
    to: int
    event: Any


class ScriptedMachine(Machine):
    """A machine whose timers fire when they are told to, and whose disk keeps up or not as it is told."""

    __slots__ = ("broke_off", "clock", "keeps_up")
    world: ScriptedWorld

    def __init__(self, world: World, me: int, replica: Replica, disk: Disk, timer_stream: Any) -> None:
        self.clock = LocalClock()
        self.keeps_up = True
        self.broke_off = False
        """Something was violated in its last step: the explorer looks at no later effect, here all are done."""
        super().__init__(world, me, replica, disk, timer_stream)
        disk.sample = lambda: 0 if self.keeps_up else NEVER_NS

    def new_context(self) -> ActingContext:
        return WrongContext(self.clock)

    def set_timer(self, name: Any, low_ns: int, high_ns: int, now: int) -> None:
        """Only remember that it is armed."""
        self.timers.setdefault(name, _Timer()).armed_ns = now

    def fall_behind(self) -> None:
        """From now on the disk keeps nothing more, whatever waits for it: it is busy with a record that never ends."""
        self.keeps_up = False
        self._path.enter(self.world.env.now).persist("", None)

    def fire(self, name: TimerName) -> None:
        """The timer fires now."""
        self.timers[name].armed_ns = -1
        self.replica.on_timer(self._path.enter(self.world.env.now), name)

    def armed(self) -> set[TimerName]:
        """The timers that are armed."""
        return {name for name, timer in self.timers.items() if timer.armed_ns >= 0}

    def recall(self, command: Command) -> int | None:
        """What is answered; where it was not executed here, the handler goes on too."""
        try:
            return super().recall(command)
        except PropertyViolated as violated:
            self.world.found(violated.name, violated.detail)
            return None

    def _tell(self, now: int | None) -> None:
        try:
            super()._tell(now)
        except PropertyViolated as violated:  # the handler goes on, as it does for the explorer
            self._telling = False
            self.world.found(violated.name, violated.detail)


class ScriptedWorld(World):
    """A world in which nothing happens by itself. ``take`` does a step of the trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.mail: list[_Envelope] = []
        """What has left so far, in order: the trace numbers it from 1."""
        self.violation: Violation | None = None
        self._history = History()
        self._invoked: dict[tuple[int, int], int] = {}
        self._answered: dict[tuple[int, int], tuple[int | None, int]] = {}
        self._step = 0
        size = trace.replicas
        distances = trace.delay_ns or tuple((0,) * size for _ in range(size))
        places = tuple(range(size))
        super().__init__(
            Settings(
                protocol=trace.protocol,
                geography=Geography(tuple(f"replica {r}" for r in places), distances, places, (0,)),
                workload=Workload(clients=1),
                profile=find_profile("zero"),
                seed=0,
                options=trace.options,
                first_leader=trace.first_leader,
                crashable=True,
            )
        )

    def _machine(self, me: int) -> Machine:
        return ScriptedMachine(self, me, self._replica(me), Disk(lambda: 0, True), plain_stream(0, "timers", me))

    def _connect(self) -> None:
        """Whatever is sent stays under way."""
        clients = max([command.client for command in self.trace.commands], default=0) + 1
        for machine in self.machines:
            machine.links += [Link(lambda: 0, (self._letterbox(to),)) for to in range(len(self.machines))]
            machine.answer_links += [Link(lambda: 0, (self._answers,))] * clients

    def _letterbox(self, to: int) -> Callable[[Any], None]:
        return lambda event: self.mail.append(_Envelope(to, event))

    def _answers(self, event: Answer) -> None:
        self._answered.setdefault((event.command.client, event.command.sequence), (event.result, self._step))

    def oldest_open(self, client: int) -> int:
        """Every result may still be asked for."""
        return 0

    def found(self, name: str, detail: str) -> None:
        """Something is violated: the first counts."""
        if self.violation is None:
            self.violation = Violation(property=name, detail=detail)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def take(self, step: TraceStep) -> None:
        """Do one step, and let all that it sends leave."""
        machine = self.machines[step.replica]
        assert isinstance(machine, ScriptedMachine)
        self._step = step.number
        machine.clock.offset_ns = step.clock_ns
        before, known = len(self.mail), self.violation
        if machine.keeps_up and not step.durable:
            machine.fall_behind()
        try:
            self._do(machine, step)
            self._let_leave()
            if machine.alive:
                machine.replica.check()
        except AssertionError as error:
            self.found(OWN_INVARIANTS, str(error))
        except PropertyViolated as violated:
            self.found(violated.name, violated.detail)
        except ConfigError:
            raise
        except Exception as error:  # whatever a protocol raises is its finding
            self.found(NO_EXCEPTION, f"{type(error).__name__}: {error}")
        machine.broke_off = self.violation is not known
        self._compare(step, self.mail[before:], machine.broke_off)

    def _do(self, machine: ScriptedMachine, step: TraceStep) -> None:
        if step.kind == "start":
            machine.start()
        elif step.kind == "crash":
            machine.crash()
            machine.keeps_up = True
            for link in machine.links:  # a new connection does not wait for what never left
                link.last_synced_ns = link.last_unsynced_ns = 0
        elif step.kind == "restart":
            machine.disk._contents = damaged(dict(machine.disk.contents()), damage_of(step))
            machine.restart(self._replica(machine.me))
        elif step.kind == "timer":
            name: TimerName = from_data(step.timer)
            if name not in machine.armed():
                raise ConfigError(f"step {step.number}: the timer {show(name)} of replica {machine.me} is not armed")
            machine.fire(name)
        elif step.kind == "order":
            assert step.order is not None
            self.operate(machine.me, step.order.decode(self.protocol))
        elif step.kind == "request":
            assert step.command is not None
            self._invoked.setdefault((step.command.client, step.command.sequence), step.number)
            self.schedule(Delivery(machine.request_callbacks, Life(-1), 0, 0, step.command), NORMAL, 0)
        else:
            assert step.message is not None
            self._deliver(machine, step.number, step.message)

    def _deliver(self, machine: ScriptedMachine, number: int, message: int) -> None:
        if message > len(self.mail):
            raise ConfigError(f"step {number}: message {message} was not sent")
        sent = self.mail[message - 1].event
        callbacks = machine.own_callbacks if sent.sender.me == machine.me else machine.deliver_callbacks
        self.schedule(Delivery(callbacks, sent.sender, sent.leave_ns, 0, sent.message), NORMAL, 0)

    def _let_leave(self) -> None:
        """Everything that is due now; what waits for a disk that does not keep up is never due."""
        queue = self.env.queue
        while queue and queue[0][0] <= self.env.now:
            self.env.step()

    def _compare(self, step: TraceStep, left: list[_Envelope], broke_off: bool) -> None:
        expected = [self.trace.messages[number - 1] for number in step.sent]
        wanted = [(e.source, e.to, e.decode(self.protocol)) for e in expected]
        found = [(e.event.sender.me, e.to, e.event.message) for e in left]
        if (found[: len(wanted)] if broke_off else found) != wanted:
            raise ConfigError(f"step {step.number} sends {show(found)} in the simulator, in the trace {show(wanted)}")

    def verdict(self) -> Violation | None:
        """What the verification found, the clients' history included."""
        for command in self.trace.commands:
            key = (command.client, command.sequence)
            if key in self._invoked:
                result, at = self._answered.get(key, (None, None))
                self._history.append(
                    command.client, command.key, command.kind, command.value, result, self._invoked[key], at
                )
        check = self._history.check()
        if check.verdict == "violated":
            self.found(LINEARIZABILITY, "; ".join([check.reason, *map(str, check.operations)]))
        return self.violation


def _differences(execution: Execution, world: ScriptedWorld) -> list[str]:
    """Where the replicas, their disks or their timers are not the same."""
    found = []
    for me, (site, machine) in enumerate(zip(execution.sites, world.machines, strict=True)):
        assert isinstance(machine, ScriptedMachine)
        alive = machine.replica if machine.alive else None
        if (site.replica is None) != (alive is None):
            found.append(f"replica {me} is up in one world and down in the other")
            continue
        if site.replica is not None and alive is not None and site.replica.key() != alive.key():
            found.append(f"replica {me} is {show(freeze(site.replica))} for the explorer, {show(freeze(alive))} here")
        if machine.broke_off:
            continue
        if site.timers != (machine.armed() if alive is not None else set()):
            found.append(f"replica {me}: other timers are armed")
        machine.disk._settle(world.env.now)
        if site.disk != machine.disk.contents():
            found.append(f"the disk of replica {me} holds {show(machine.disk.contents())}, not {show(site.disk)}")
    return found
