"""What a replica may do: the context records effects, in order, as plain tuples ``(tag, a, b)``.

It acts on nothing itself: schedulers, traces and tests read the list. The simulator's own context
(simulation/hot_path.py) has the same methods with the same meaning and acts at once, because a list that is made and
read again costs about a fifth of a message's instructions.

Stable storage. The writes of one handler are one atomic record. Everything that vouches for the disk (``send``,
``commit``, ``answer``) leaves only when *every* write that this replica issued before it is durable: the barrier is
cumulative, in program order, so a handler writes first and sends then. With a barrier per handler, a duplicate Prepare
would be answered before the first one's promise is on disk, and a crash then lets two values be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, TypeAlias

from consensus_bench.contract.control import Snapshot
from consensus_bench.contract.values import Command, Message, Place, ReplicaId, TimerName

Effect: TypeAlias = tuple[int, Any, Any]

SEND: Final = 0  # (to, message)
BROADCAST: Final = 1  # (targets, message)
SEND_UNSYNCED: Final = 2  # (to, message)
BROADCAST_UNSYNCED: Final = 3  # (targets, message)
PERSIST: Final = 4  # (key, value)
FORGET: Final = 5  # (key, None)
SET_TIMER: Final = 6  # (name, (low_ns, high_ns))
CANCEL_TIMER: Final = 7  # (name, None)
COMMIT: Final = 8  # (place, command)
EXECUTE: Final = 9  # (command, None)
ANSWER: Final = 10  # (command, None)
NOTE: Final = 11  # (fact, command or None)
TAKE_SNAPSHOT: Final = 12  # (place, None)
INSTALL: Final = 13  # (snapshot, None)
READ: Final = 14  # (command, None)

EFFECT_NAMES: Final = (
    "send", "broadcast", "send_unsynced", "broadcast_unsynced", "persist", "forget",
    "set_timer", "cancel_timer", "commit", "execute", "answer", "note",
    "take_snapshot", "install", "read",
)  # fmt: skip


class Context:
    """Records what one handler did. ``effects`` is the ordered list; the driver reads and clears it.

    ``clock_ns`` is the replica's own clock, in nanoseconds: an input like any other, which the driver sets before each
    step and may skew. Safety must never lean on it unless the protocol says so. ``wrote`` turns true with the first
    write, so that a driver need not search the list for one before it lets a message go.
    """

    __slots__ = ("_record", "clock_ns", "effects", "wrote")

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._record: Callable[[Effect], None] = self.effects.append
        self.clock_ns = 0
        self.wrote = False

    def send(self, to: ReplicaId, message: Message) -> None:
        """Send once every write issued so far (this handler's too) is durable. ``to`` may be the replica itself: the
        message then comes back when its own disk has caught up ("count my vote when it is on disk")."""
        self._record((SEND, to, message))

    def broadcast(self, targets: Sequence[ReplicaId], message: Message) -> None:
        """``send`` the same message to each of ``targets``, in that order."""
        self._record((BROADCAST, targets, message))

    def send_unsynced(self, to: ReplicaId, message: Message) -> None:
        """Send now. Only for a message that vouches for nothing on this disk (Raft thesis section 10.2.1)."""
        self._record((SEND_UNSYNCED, to, message))

    def broadcast_unsynced(self, targets: Sequence[ReplicaId], message: Message) -> None:
        """``send_unsynced`` the same message to each of ``targets``."""
        self._record((BROADCAST_UNSYNCED, targets, message))

    def persist(self, key: Hashable, value: Any) -> None:
        """Write ``key -> value`` (an immutable value) to stable storage, as part of this handler's atomic record."""
        self.wrote = True
        self._record((PERSIST, key, value))

    def forget(self, key: Hashable) -> None:
        """Remove ``key`` from stable storage, as part of this handler's atomic record."""
        self.wrote = True
        self._record((FORGET, key, None))

    def set_timer(self, name: TimerName, low_ns: int, high_ns: int | None = None) -> None:
        """(Re-)arm the timer ``name``: it fires once, after a delay that the driver draws from [low, high]."""
        self._record((SET_TIMER, name, (low_ns, low_ns if high_ns is None else high_ns)))

    def cancel_timer(self, name: TimerName) -> None:
        """Disarm ``name``; harmless if it is not armed."""
        self._record((CANCEL_TIMER, name, None))

    def commit(self, place: Place, command: Command) -> None:
        """This replica knows that ``command`` is chosen at ``place``. Once per place and life of the process."""
        self._record((COMMIT, place, command))

    def execute(self, command: Command) -> None:
        """Apply to this replica's state machine, next in its order. At most once per (client, sequence) and life of
        the process; never a no-op. The driver owns the state machine and keeps the result for ``answer``."""
        self._record((EXECUTE, command, None))

    def read(self, command: Command) -> None:
        """Look ``command``, a get, up in this replica's state machine as it is now, for ``answer``: a read that has no
        place in the log. That it is no stale one is the protocol's promise, which the clients' history is checked
        against."""
        self._record((READ, command, None))

    def take_snapshot(self, place: int) -> None:
        """Ask for the state machine as it is now, after executing every place up to ``place``. It comes back as a
        ``Snapshot`` from this replica to itself, like any message, so perhaps never if a crash comes first."""
        self._record((TAKE_SNAPSHOT, place, None))

    def install(self, snapshot: Snapshot) -> None:
        """Make this replica's state machine that of ``snapshot``: every place up to its own counts as committed and
        executed here. It must not go back behind what this process has executed."""
        self._record((INSTALL, snapshot, None))

    def answer(self, command: Command) -> None:
        """Tell the client the result of ``command``, which this replica has executed (or read); for a retry, again."""
        self._record((ANSWER, command, None))

    def note(self, fact: str, command: Command | None = None) -> None:
        """A fact for the statistics, perhaps about one command; never control flow. Drivers count them all, and know
        "elected" (it leads), "suspected" (it acts because a leader is silent), "fast_path", "slow_path" (a command)."""
        self._record((NOTE, fact, command))


def describe(effect: Effect) -> str:
    """One effect as a line of a transcript."""
    tag, a, b = effect
    if tag <= BROADCAST_UNSYNCED:
        return f"{EFFECT_NAMES[tag]} -> {a}: {b}"
    return f"{EFFECT_NAMES[tag]} {a}" + ("" if b is None else f" {b}")
