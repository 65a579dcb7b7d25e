"""A protocol is a deterministic state machine: subclass ``Replica``, one handler a message, in the paper's order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from consensus_bench.contract.context import Context
from consensus_bench.contract.errors import ConfigError
from consensus_bench.contract.state import State
from consensus_bench.contract.values import Ballot, Command, Message, Place, ReplicaId, TimerName, handler_name

NS_PER_MS: Final = 1_000_000


def ns(milliseconds: float) -> int:
    """Milliseconds as the engine's integer nanoseconds."""
    return round(milliseconds * NS_PER_MS)


class Cluster(msgspec.Struct, frozen=True):
    """What every replica knows of the deployment: fixed for its life.

    ``delay_ns[a][b]`` is the expected one-way delay from replica a to b (empty: all alike). ``first_leader`` is the
    replica that should lead first, or None to let time-outs decide.
    """

    size: int
    delay_ns: tuple[tuple[int, ...], ...] = ()
    first_leader: ReplicaId | None = None

    def nearest(self, me: ReplicaId) -> tuple[ReplicaId, ...]:
        """All replicas by round trip from ``me``, itself first; ties by number."""
        if not self.delay_ns:
            return (me, *(r for r in range(self.size) if r != me))
        round_trip = {r: self.delay_ns[me][r] + self.delay_ns[r][me] for r in range(self.size)}
        return tuple(sorted(range(self.size), key=lambda r: (r != me, round_trip[r], r)))


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that mean the same in every protocol. A protocol subclasses it and adds its own.

    ``validate(size)`` refuses what cannot work in a cluster of that size, in one line (``ConfigError``). An option that
    removes a guarantee has ``unsafe_`` in its name.
    """

    heartbeat_ms: float = 100.0
    """How often a leader that is otherwise silent tells the others that it lives."""
    election_timeout_ms: tuple[float, float] = (1000.0, 2000.0)
    """Silence after which a replica suspects the leader (EPaxos: the command leader); drawn afresh from this range."""
    retry_ms: float = 800.0
    """After how long an unanswered protocol message is sent again."""

    def validate(self, size: int) -> None:
        """Raise ``ConfigError`` unless these settings can work with ``size`` replicas."""
        low, high = self.election_timeout_ms
        if not 0 < low <= high:
            raise ConfigError(f"election_timeout_ms = {low},{high}: needs 0 < low <= high")
        if not 0 < self.heartbeat_ms < low:
            raise ConfigError(f"heartbeat_ms = {self.heartbeat_ms}: must lie between 0 and election_timeout_ms ({low})")
        if self.retry_ms <= 0:
            raise ConfigError(f"retry_ms = {self.retry_ms}: must be positive")


class Entry(msgspec.Struct, frozen=True):
    """What a replica holds at one place: ``status`` is "accepted", "committed" or "executed"; ``ballot`` the one it was
    accepted at, where the protocol has one (Raft: (term, 0)); ``extra`` protocol-specific (EPaxos: dependencies)."""

    status: str
    command: Command | None
    ballot: Ballot | None = None
    extra: Any = None


class View(msgspec.Struct, frozen=True):
    """A replica as the checkers see it. ``leader`` is whom it believes to lead (None: nobody, or no such role);
    ``ballot`` the highest ballot (Raft: (term, 0)) it has promised."""

    entries: Mapping[Place, Entry]
    ballot: Ballot
    leader: ReplicaId | None = None


class Replica(State, ABC):
    """One server as a pure state machine: next state and effects depend only on (state, input).

    Handlers run to completion and act only through the context. No clock, random number, I/O, logging or closure; no
    iteration over a set or a dict's order may reach a message. ``messages`` lists the message types; a missing
    ``on_<message>(ctx, source, message)`` fails when the class is made.
    """

    __slots__ = ("cluster", "me", "options", "others")
    constants: ClassVar[tuple[str, ...]] = ("cluster", "options", "others")

    name: ClassVar[str] = ""
    options_type: ClassVar[type[Options]] = Options
    messages: ClassVar[tuple[type[Message], ...]] = ()
    handlers: ClassVar[dict[type[Message], str]] = {}
    durable: ClassVar[tuple[str, ...]] = ()
    """Attributes that stable storage must bring back: the paper's "persistent state"."""
    repairs_disks: ClassVar[bool] = False
    """Whether a replica whose disk is damaged or lost (contract/storage.py) comes back in the end, when all others are
    up, and nothing is lost."""
    decides: ClassVar[str] = "log"
    """"log": one order of places, all executed; "graph": places ordered by dependencies; "single": one decision."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.handlers = {m: handler_name(m) for m in cls.messages}
        missing = [name for name in cls.handlers.values() if not callable(getattr(cls, name, None))]
        if missing:
            raise TypeError(f"{cls.__name__} has no handler {', '.join(missing)}")

    def __init__(self, me: ReplicaId, cluster: Cluster, options: Any) -> None:
        self.me = me
        self.cluster = cluster
        self.options = options
        self.others = tuple(r for r in range(cluster.size) if r != me)

    @abstractmethod
    def on_start(self, ctx: Context) -> None:
        """First boot, on an empty disk."""

    @abstractmethod
    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """A new object after a crash: ``disk`` is all that survived. The state machine is empty again, so what is
        known committed is committed and executed anew.

        The disk may be damaged (contract/storage.py): ``disk[key] is CORRUPT`` where the record that wrote ``key`` does
        not match its checksum, and ``LOST in disk`` where everything written before is gone. What was acknowledged must
        never be treated as never written: such a replica stays out of quorums until the others have repaired it."""

    @abstractmethod
    def on_request(self, ctx: Context, command: Command) -> None:
        """A client's command, perhaps a retry of one already executed, perhaps first sent to another replica."""

    @abstractmethod
    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """The timer ``name`` fired (it is no longer armed)."""

    @abstractmethod
    def view(self) -> View:
        """A read-only, uniform picture for the checkers."""

    def check(self) -> None:
        """Assert local invariants; run after every step by the scheduler and the explorer, not by the simulator."""
