"""A protocol's handlers as a function on numbers: (local state, input) -> (local state, what it did).

The local state of a replica ("core") is its object, its disk and its armed timers, interned: equal cores have one
number. A step is a deterministic function of core and input, so the protocol's code runs once for each distinct pair.

The barrier makes handler and disk write one atomic step: what waits for the disk could as well have been delayed by the
network. What does not wait for it (``send_unsynced``) can leave although the write is lost. For that a replica can
enter the mode ``LAGGING``: from then on its disk keeps nothing, what waits for the disk never leaves, the rest does,
and it ends in a crash (docs/exploring.md has the argument).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, Final, TypeAlias

import msgspec

from consensus_bench.contract import (
    OPERATOR,
    Cluster,
    Command,
    ConfigError,
    Context,
    Effect,
    Message,
    Options,
    Replica,
)
from consensus_bench.contract.context import (
    BROADCAST,
    BROADCAST_UNSYNCED,
    CANCEL_TIMER,
    COMMIT,
    EXECUTE,
    FORGET,
    INSTALL,
    NOTE,
    PERSIST,
    READ,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
    TAKE_SNAPSHOT,
)
from consensus_bench.contract.state import freeze
from consensus_bench.exploration.exhaustive.bounds import Bounds, round_of
from consensus_bench.exploration.exhaustive.lives import (
    NEW,
    Life,
    Snapshots,
    installed,
    with_commit,
    with_execution,
    with_read,
)
from consensus_bench.exploration.site import NO_EXCEPTION, OWN_INVARIANTS, damaged
from consensus_bench.exploration.trace import Damage
from consensus_bench.verification.online import VALIDITY

NORMAL: Final = 0
LAGGING: Final = 1

DELIVER: Final = 0
REQUEST: Final = 1
TIMER: Final = 2
START: Final = 3
RECOVER: Final = 4
ORDER: Final = 6

Event: TypeAlias = tuple[int, Any, Any]
"""(COMMIT, place, command), or (tag, what, None): EXECUTE, READ or ANSWER a command, TAKE_SNAPSHOT, INSTALL."""


class Core:
    """A local state. ``broken`` is (property, detail) if the handler that led here failed; then there is no replica.
    ``life`` and ``lives`` (how many ended) are told apart only where they matter to the protocol."""

    __slots__ = ("broken", "disk", "life", "lives", "mode", "replica", "timers")

    def __init__(
        self,
        replica: Replica | None,
        disk: dict[Any, Any],
        timers: frozenset[Any] = frozenset(),
        mode: int = NORMAL,
        life: Life = NEW,
        lives: int = 0,
    ) -> None:
        self.replica = replica
        self.disk = disk
        self.timers = timers
        self.mode = mode
        self.life = life
        self.lives = lives
        self.broken: tuple[str, str] | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What a step led to and what became visible: numbers of messages, commits, executions, answers, facts."""

    core: int
    sent: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()
    wrote: bool = False


class Envelope(msgspec.Struct, frozen=True):
    """A message between two replicas, as the network knows it."""

    source: int
    to: int
    message: Message


class _Beyond(Exception):
    """The step would go beyond the bounds."""


class _NobodyTook(Exception):
    """A snapshot is installed that no replica has taken."""


class _Run:
    """The effects of one step as they are gathered: of the handler, and of the replica's messages to itself."""

    __slots__ = ("core", "events", "notes", "own", "sent", "unsynced", "wrote")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.sent: list[int] = []
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.own: deque[Message] = deque()
        self.wrote = False
        self.unsynced = False


class Handlers:
    """The handlers of one protocol in one configuration, memoised."""

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        bounds: Bounds,
        commands: tuple[Command, ...],
        last_round: int,
        lives_matter: bool,
        delay_ns: tuple[tuple[int, ...], ...] = (),
    ) -> None:
        self.protocol = protocol
        self.commands = commands
        self.orders = bounds.make_orders()
        self.snapshots = Snapshots()
        self.lives_matter = lives_matter
        """Whether a replica's past decides what it does next: its snapshots, and how it tells its lives apart."""
        self.cores: list[Core] = []
        self.envelopes: list[Envelope] = []
        self.calls = 0
        """How often the protocol's code ran: once for each distinct step."""
        self.beyond = 0
        """Distinct steps that were left out because they go beyond the bound on ballots."""
        self.uses_unsynced = False
        """Whether a step was seen that sent something without waiting for a write of its replica."""
        self._options = options
        self._bounds = bounds
        self._last_round = last_round
        self._cluster = Cluster(bounds.replicas, delay_ns, bounds.first_leader)
        self._core_numbers: dict[Hashable, int] = {}
        self._envelope_numbers: dict[tuple[int, int, Message], int] = {}
        self._memo: dict[tuple[int, int, Any, int], Outcome | None] = {}
        self._context = Context()

    def start(self, me: int) -> Outcome:
        """First boot of replica ``me``."""
        return self._must(self._execute(Core(self._new(me), {}), START, None, NORMAL))

    def restart(self, me: int, core: int, damage: Damage = None) -> Outcome | None:
        """A crash of replica ``me``, and a new process with what is on the disk; None: beyond the bounds."""
        disk = damaged(self.cores[core].disk, damage)
        lives = self.cores[core].lives + self.lives_matter
        key = (-1 - me, RECOVER, (freeze(disk), lives), NORMAL)
        if key not in self._memo:
            self._memo[key] = self._execute(Core(self._new(me), disk, lives=lives), RECOVER, disk, NORMAL)
        return self._memo[key]

    def number_of(self, order: Message) -> int:
        """The number of an operator's ``order``, which need not be one of the bounds'."""
        if order not in self.orders:
            self.orders = (*self.orders, order)
        return self.orders.index(order)

    def step(self, core: int, kind: int, argument: Any, mode: int) -> Outcome | None:
        """``kind`` DELIVER with the number of an envelope, REQUEST with that of a command, TIMER with a name, ORDER
        with the number of an order. ``mode`` is the one in which the step ends. None: beyond the bounds."""
        key = (core, kind, argument, mode)
        try:
            return self._memo[key]
        except KeyError:
            outcome = self._memo[key] = self._execute(self.cores[core], kind, argument, mode)
            return outcome

    def _new(self, me: int) -> Replica:
        return self.protocol(me, self._cluster, self._options)

    @staticmethod
    def _must(outcome: Outcome | None) -> Outcome:
        assert outcome is not None, "the very first steps go beyond the bounds"
        return outcome

    def _execute(self, before: Core, kind: int, argument: Any, mode: int) -> Outcome | None:
        """Run the handler on a copy, and what it sends to itself."""
        self.calls += 1
        self._context.effects.clear()
        assert before.replica is not None, "a broken replica takes no step"
        replica = before.replica.clone()
        core = Core(replica, dict(before.disk), before.timers, mode, before.life, before.lives)
        run = _Run(core)
        self._context.clock_ns = before.lives
        try:
            self._call(run, replica, kind, argument)
            while run.own:
                self._deliver(run, replica, replica.me, run.own.popleft())
            replica.check()
        except _Beyond:
            self.beyond += 1
            return None
        except AssertionError as error:
            core.broken = (OWN_INVARIANTS, str(error) or "an assertion of the protocol fails")
        except ConfigError:
            raise
        except _NobodyTook as error:
            core.broken = (VALIDITY, str(error))
        except Exception as error:  # whatever a protocol raises is its finding
            core.broken = (NO_EXCEPTION, f"{type(error).__name__}: {error}")
        if run.unsynced and not self.uses_unsynced:
            self.uses_unsynced = True
        number = self._intern(core)
        return Outcome(number, tuple(run.sent), tuple(run.events), tuple(run.notes), run.wrote)

    def _call(self, run: _Run, replica: Replica, kind: int, argument: Any) -> None:
        context = self._context
        if kind == DELIVER:
            envelope = self.envelopes[argument]
            self._deliver(run, replica, envelope.source, envelope.message)
            return
        if kind == REQUEST:
            replica.on_request(context, self.commands[argument])
        elif kind == TIMER:
            run.core.timers -= {argument}
            replica.on_timer(context, argument)
        elif kind == ORDER:
            self._deliver(run, replica, OPERATOR, self.orders[argument])
            return
        elif kind == START:
            replica.on_start(context)
        else:
            replica.recover(context, argument)
        self._gather(run, replica.me)

    def _deliver(self, run: _Run, replica: Replica, source: int, message: Message) -> None:
        handler = replica.handlers.get(type(message))
        if handler is not None:
            getattr(replica, handler)(self._context, source, message)
        self._gather(run, replica.me)

    def _gather(self, run: _Run, me: int) -> None:
        """What the handler did becomes visible, or is lost with the disk that no longer keeps anything."""
        effects, self._context.effects[:] = self._context.effects[:], []
        self._context.wrote = False
        lagging = run.core.mode == LAGGING
        for tag, a, b in effects:
            if tag in (SEND, SEND_UNSYNCED):
                self._send(run, me, (a,), b, tag == SEND_UNSYNCED)
            elif tag in (BROADCAST, BROADCAST_UNSYNCED):
                self._send(run, me, a, b, tag == BROADCAST_UNSYNCED)
            elif tag == SET_TIMER:
                run.core.timers |= {a}
            elif tag == CANCEL_TIMER:
                run.core.timers -= {a}
            elif tag in (PERSIST, FORGET):
                run.wrote = True
                if not lagging:
                    self._write(run.core.disk, (tag, a, b))
            elif tag == NOTE:
                run.notes.append(a)
            elif not lagging:
                self._become_visible(run, me, (tag, a, b))

    def _become_visible(self, run: _Run, me: int, effect: Effect) -> None:
        """A commit, an execution, a read, an answer or a snapshot."""
        core, (tag, a, b) = run.core, effect
        if tag == TAKE_SNAPSHOT:
            if not self.lives_matter:
                raise ConfigError(
                    f"{self.protocol.name} takes a snapshot with snapshot_every = 0: set it to be explored"
                )
            a = self.snapshots.take(core.life, a)
            self._send(run, me, (me,), a, unsynced=False)
        elif tag == INSTALL:
            covered = self.snapshots.covered(a)
            if covered is None:
                raise _NobodyTook(f"replica {me} installs a snapshot of place {a.place}, which nobody took")
            core.life = installed(core.life, covered)
        elif self.lives_matter and tag == COMMIT:
            core.life = with_commit(core.life, a, b)
        elif self.lives_matter and tag == EXECUTE:
            core.life = with_execution(core.life, a)
        elif self.lives_matter and tag == READ:
            core.life = with_read(core.life, a)
        run.events.append((tag, a, b))

    @staticmethod
    def _write(disk: dict[Any, Any], record: Effect) -> None:
        tag, key, value = record
        if tag == PERSIST:
            disk[key] = value
        else:
            disk.pop(key, None)

    def _send(self, run: _Run, me: int, targets: tuple[int, ...], message: Message, unsynced: bool) -> None:
        if round_of(message) > self._last_round:
            raise _Beyond
        run.unsynced |= unsynced
        if run.core.mode == LAGGING and not unsynced:
            return
        for to in targets:
            if to == me and self._bounds.own_messages == "at-once":
                run.own.append(message)
            else:
                number = self._number(Envelope(me, to, message))
                if number not in run.sent:
                    run.sent.append(number)

    def _number(self, envelope: Envelope) -> int:
        key = (envelope.source, envelope.to, envelope.message)
        number = self._envelope_numbers.get(key)
        if number is None:
            number = self._envelope_numbers[key] = len(self.envelopes)
            self.envelopes.append(envelope)
        return number

    def _intern(self, core: Core) -> int:
        if core.broken is not None or core.replica is None:
            key: Hashable = ("broken", core.broken)
            core.replica = None
        else:
            key = (core.replica.key(), freeze(core.disk), core.timers, core.mode, core.life, core.lives)
        number = self._core_numbers.get(key)
        if number is None:
            number = self._core_numbers[key] = len(self.cores)
            self.cores.append(core)
        return number
