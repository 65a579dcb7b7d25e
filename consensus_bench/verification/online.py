"""Checks decisions and executions while they happen, in both drivers and in every run.

Four properties, over all replicas and all lives of each replica (a restarted replica commits and executes anew):

- *agreement*: no two different commands are committed at the same place;
- *validity*: what a replica executes is exactly a command it has committed in this life, never a no-op, and two
  commands with the same (client, sequence) are the same command;
- *exactly once*: a replica executes each (client, sequence) at most once in a life;
- *execution order*: interfering commands execute in one order everywhere. For a log the rule is stronger: execution
  follows the places without gaps; only no-ops and repetitions of an earlier command are passed over.

These calls are on the hot path of every run (once per replica and command), so the common case of each is a few list
look-ups; everything that explains a violation is worked out only when there is one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NoReturn, Protocol

from consensus_bench.contract import Command, ConfigError, Place, PropertyViolated, ReplicaId
from consensus_bench.verification.check import Check

AGREEMENT = "agreement"
VALIDITY = "validity"
EXACTLY_ONCE = "exactly once"
EXECUTION_ORDER = "execution order"
CONVERGENCE = "convergence"


class _Order(Protocol):
    """How commits and executions of one kind of protocol are checked."""

    def committed(self, replica: ReplicaId, place: Place, command: Command) -> None: ...
    def executed(self, replica: ReplicaId, command: Command) -> None: ...
    def restarted(self, replica: ReplicaId) -> None: ...
    def commits(self, replica: ReplicaId) -> int: ...
    def executions(self, replica: ReplicaId) -> int: ...


class Verifier:
    """Watches one run. ``decides`` is the protocol's (``Replica.decides``): "log", "graph" or "single".

    ``committed(replica, place, command)`` and ``executed(replica, command)`` raise ``PropertyViolated`` at once.
    """

    __slots__ = ("_commits", "_executions", "_order", "_replicas", "committed", "executed")

    committed: Callable[[ReplicaId, Place, Command], None]
    executed: Callable[[ReplicaId, Command], None]

    def __init__(self, replicas: int, decides: str) -> None:
        kinds: dict[str, type[_LogOrder] | type[_GraphOrder] | type[_SingleOrder]] = {
            "log": _LogOrder,
            "graph": _GraphOrder,
            "single": _SingleOrder,
        }
        if decides not in kinds:
            raise ConfigError(f"a protocol's `decides` is {decides!r}: it must be one of {', '.join(map(repr, kinds))}")
        self._order: _Order = kinds[decides](replicas)
        self._replicas = replicas
        self._commits = 0
        self._executions = 0
        # Bound once: no second call per event.
        self.committed = self._order.committed
        self.executed = self._order.executed

    def restarted(self, replica: ReplicaId) -> None:
        """The process of ``replica`` was lost: it commits and executes again from the first place."""
        self._commits += self._order.commits(replica)
        self._executions += self._order.executions(replica)
        self._order.restarted(replica)

    def finish(self, settled: bool = False) -> list[Check]:
        """What was checked, for a run in which nothing was raised. With ``settled`` the run claims to have come to
        rest with every replica up: then all must have executed equally many commands (*convergence*)."""
        executions = [self._order.executions(r) for r in range(self._replicas)]
        commits = self._commits + sum(self._order.commits(r) for r in range(self._replicas))
        executed = self._executions + sum(executions)
        checks = [
            Check(AGREEMENT, "holds", commits, "commits, at every replica and in every life, one command a place"),
            Check(VALIDITY, "holds", executed, "executions, each of a command committed there before"),
            Check(EXACTLY_ONCE, "holds", executed, "executions, none twice in a replica's life"),
            Check(EXECUTION_ORDER, "holds", executed, "executions, interfering commands in one order everywhere"),
        ]
        if settled:
            alike = len(set(executions)) <= 1
            counts = ", ".join(f"replica {r}: {n}" for r, n in enumerate(executions))
            checks.append(Check(CONVERGENCE, "holds" if alike else "violated", executed, f"executed by {counts}"))
        return checks


def _disagree(replica: ReplicaId, place: Place, known: Command, command: Command) -> NoReturn:
    raise PropertyViolated(AGREEMENT, f"replica {replica} commits {command} at place {place}, where {known} is chosen")


def _changed(known: Command, command: Command, where: str) -> NoReturn:
    raise PropertyViolated(VALIDITY, f"{command} {where}, but the same client and sequence number is {known}")


class _LogOrder:
    """Places are the integers from 0 or 1. Agreement makes one log of all replicas' logs; each executes along it."""

    __slots__ = ("_ahead", "_chosen", "_cursor", "_first", "_next", "_origin", "_scanned", "_skipped")

    def __init__(self, replicas: int) -> None:
        self._origin = 1  # until somebody commits place 0
        self._chosen: list[Command | None] = [None]
        self._scanned = 1  # every place below is chosen and known as new, repeated or no-op
        self._skipped: set[int] = set()  # places that nobody executes: no-ops, repetitions of an earlier place
        self._first: dict[int, array[int]] = {}  # client -> sequence -> 1 + first place (0: none)
        self._next = [1] * replicas  # every place below is committed at this replica in this life
        self._ahead: list[set[int]] = [set() for _ in range(replicas)]  # committed places above
        self._cursor = [1] * replicas  # the next place to execute

    def committed(self, replica: ReplicaId, place: Place, command: Command) -> None:
        """Agreement at ``place``; the common case is the replica's next place."""
        assert type(place) is int
        chosen = self._chosen
        if place == self._next[replica]:
            if place < len(chosen) and (known := chosen[place]) is not None:
                if known is not command and known != command:
                    _disagree(replica, place, known, command)
            else:
                self._learn(place, command)
            place += 1
            if self._ahead[replica]:
                self._next[replica] = place
                self._absorb(replica)
            else:
                self._next[replica] = place
            return
        self._committed_out_of_order(replica, place, command)

    def _committed_out_of_order(self, replica: ReplicaId, place: int, command: Command) -> None:
        known = self._chosen[place] if place < len(self._chosen) else None
        if known is None:
            if place < self._origin:
                self._begin_at_zero(place, command)
            self._learn(place, command)
        elif known != command:
            _disagree(replica, place, known, command)
        if place >= self._next[replica]:
            self._ahead[replica].add(place)
            self._absorb(replica)

    def _begin_at_zero(self, place: int, command: Command) -> None:
        """The log starts at 0, which nobody had committed so far."""
        if place != 0:
            raise PropertyViolated(VALIDITY, f"{command} is committed at place {place}: a log starts at 0 or 1")
        for replica, cursor in enumerate(self._cursor):
            if cursor > 1:
                first = self._chosen[cursor - 1]
                raise PropertyViolated(EXECUTION_ORDER, f"replica {replica} executed {first} before place 0 was chosen")
        replicas = range(len(self._next))
        self._ahead = [set(range(1, self._next[r])) | self._ahead[r] for r in replicas]
        self._next = [0 for _ in replicas]
        self._cursor = [0 for _ in replicas]
        self._origin = self._scanned = 0
        self._skipped.clear()
        self._first.clear()

    def _absorb(self, replica: ReplicaId) -> None:
        ahead = self._ahead[replica]
        place = self._next[replica]
        while place in ahead:
            ahead.remove(place)
            place += 1
        self._next[replica] = place

    def _learn(self, place: int, command: Command) -> None:
        """The first commit of ``place`` by anybody."""
        chosen = self._chosen
        if place >= len(chosen):
            chosen.extend([None] * (place - len(chosen)))
            chosen.append(command)
        else:
            chosen[place] = command
        while self._scanned < len(chosen) and (new := chosen[self._scanned]) is not None:
            self._classify(self._scanned, new)
            self._scanned += 1

    def _classify(self, place: int, command: Command) -> None:
        """Whether ``place`` is the first of its command: a repetition is never executed (sessions)."""
        if command.kind == "noop":
            self._skipped.add(place)
            return
        sequence = command.sequence
        places = self._first.get(command.client)
        if places is None:
            places = self._first[command.client] = array("q")
        if sequence >= len(places):
            places.extend([0] * (sequence + 1 - len(places)))
        elif places[sequence]:
            first = self._chosen[places[sequence] - 1]
            if first is not None and first != command:
                _changed(first, command, f"is chosen at place {place}")
            self._skipped.add(place)
            return
        places[sequence] = place + 1

    def executed(self, replica: ReplicaId, command: Command) -> None:
        """Execution follows the log."""
        place = self._cursor[replica]
        if place < self._next[replica] and self._chosen[place] is command and place not in self._skipped:
            self._cursor[replica] = place + 1
        else:
            self._executed_further(replica, place, command)

    def _executed_further(self, replica: ReplicaId, place: int, command: Command) -> None:
        while place in self._skipped and place < self._next[replica]:
            place += 1
        expected = self._chosen[place] if place < self._next[replica] else None
        if expected is None or expected != command:
            self._explain(replica, place, command)
        self._cursor[replica] = place + 1

    def _explain(self, replica: ReplicaId, place: int, command: Command) -> NoReturn:
        """Why ``replica`` may not execute ``command`` when it has come to ``place``."""
        text = f"replica {replica} executes {command}"
        if command.kind == "noop":
            raise PropertyViolated(VALIDITY, f"{text}: a no-op is never executed")
        places = self._first.get(command.client)
        sequence = command.sequence
        first = places[sequence] - 1 if places is not None and 0 <= sequence < len(places) else -1
        if first < 0 or (first >= self._next[replica] and first not in self._ahead[replica]):
            raise PropertyViolated(VALIDITY, f"{text} without having committed it")
        known = self._chosen[first]
        if known is not None and known != command:
            _changed(known, command, f"is executed by replica {replica}")
        if first < self._cursor[replica]:
            raise PropertyViolated(EXACTLY_ONCE, f"{text} again (it is chosen at place {first})")
        due = self._chosen[place] if place < self._next[replica] else "a place it has not committed"
        raise PropertyViolated(EXECUTION_ORDER, f"{text} of place {first} before place {place}, {due}")

    def restarted(self, replica: ReplicaId) -> None:
        self._next[replica] = self._cursor[replica] = self._origin
        self._ahead[replica].clear()

    def commits(self, replica: ReplicaId) -> int:
        return self._next[replica] - self._origin + len(self._ahead[replica])

    def executions(self, replica: ReplicaId) -> int:
        cursor = self._cursor[replica]
        return cursor - self._origin - sum(1 for place in self._skipped if place < cursor)


_COMMITTED = 1  # flags of a command at one replica, in this life
_EXECUTED = 3


class _Session:
    """All that is known of one client's commands, by sequence number."""

    __slots__ = ("commands", "flags", "positions")

    def __init__(self, replicas: int) -> None:
        self.commands: list[Command | None] = []
        self.positions = array("q")  # 1 + how many writes of its key execute before it (0: not executed yet)
        self.flags = [bytearray() for _ in range(replicas)]  # a bytearray a replica

    def grow(self, sequence: int) -> None:
        """Make room for ``sequence``."""
        more = sequence + 1 - len(self.commands) + (len(self.commands) >> 3)
        self.commands.extend([None] * more)
        self.positions.frombytes(bytes(8 * more))
        for flags in self.flags:
            flags.extend(bytes(more))


class _GraphOrder:
    """Places are instances (replica, number). Commands of one key must execute alike, the others in any order.

    Per key it is enough to count: the writes before a command are the same everywhere exactly if their number is,
    because the write executed as the k-th of its key is the same everywhere.
    """

    __slots__ = ("_chosen", "_keys", "_replicas", "_sessions")

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._chosen: list[list[Command | None]] = [[] for _ in range(replicas)]
        self._sessions: dict[int, _Session] = {}
        self._keys: dict[int | str, list[int]] = {}  # writes executed by each replica, and by any

    def committed(self, replica: ReplicaId, place: Place, command: Command) -> None:
        """Agreement at the instance ``place``."""
        assert type(place) is tuple
        leader, number = place
        chosen = self._chosen[leader]
        if number < len(chosen) and (known := chosen[number]) is not None:
            if known is not command and known != command:
                _disagree(replica, place, known, command)
        else:
            self._learn(leader, number, command)
        if command.kind != "noop":
            flags = self._sessions[command.client].flags[replica]
            flags[command.sequence] |= _COMMITTED

    def _learn(self, leader: int, number: int, command: Command) -> None:
        """The first commit of an instance by anybody."""
        chosen = self._chosen[leader]
        if number >= len(chosen):
            chosen.extend([None] * (number + 1 - len(chosen)))
        chosen[number] = command
        if command.kind == "noop":
            return
        sequence = command.sequence
        session = self._sessions.get(command.client)
        if session is None:
            session = self._sessions[command.client] = _Session(self._replicas)
        if sequence >= len(session.commands):
            session.grow(sequence)
        known = session.commands[sequence]
        if known is None:
            session.commands[sequence] = command
        elif known != command:
            _changed(known, command, f"is chosen at place ({leader}, {number})")

    def executed(self, replica: ReplicaId, command: Command) -> None:
        """Committed here, not executed here, and after as many writes of its key as everywhere."""
        session = self._sessions.get(command.client)
        sequence = command.sequence
        if session is None or sequence >= len(session.commands) or command.kind == "noop":
            self._reject(replica, command)
        flags = session.flags[replica]
        known = session.commands[sequence]
        if flags[sequence] != _COMMITTED or (known is not command and known != command):
            self._reject(replica, command)
        flags[sequence] = _EXECUTED
        counts = self._keys.get(command.key)
        if counts is None:
            counts = self._keys[command.key] = [0] * (self._replicas + 1)
        position = counts[replica]
        if session.positions[sequence] != position + 1:
            self._place(replica, command, session, counts)
        if command.kind != "get":
            counts[replica] = position + 1

    def _place(self, replica: ReplicaId, command: Command, session: _Session, counts: list[int]) -> None:
        """``replica`` is the first to execute ``command``, or does it elsewhere than the others."""
        position, elsewhere = counts[replica], session.positions[command.sequence] - 1
        text = f"replica {replica} executes {command} after {position} writes of its key"
        if elsewhere >= 0:
            raise PropertyViolated(EXECUTION_ORDER, f"{text}, another replica after {elsewhere}")
        if command.kind != "get":
            if position < counts[-1]:
                other = self._write_at(command.key, position)
                raise PropertyViolated(EXECUTION_ORDER, f"{text}, where another replica executed {other}")
            counts[-1] = position + 1
        session.positions[command.sequence] = position + 1

    def _write_at(self, key: int | str, position: int) -> Command | None:
        for session in self._sessions.values():
            for command, where in zip(session.commands, session.positions, strict=True):
                if command is not None and where == position + 1 and command.key == key and command.kind != "get":
                    return command
        return None

    def _reject(self, replica: ReplicaId, command: Command) -> NoReturn:
        text = f"replica {replica} executes {command}"
        if command.kind == "noop":
            raise PropertyViolated(VALIDITY, f"{text}: a no-op is never executed")
        session = self._sessions.get(command.client)
        if session is None or command.sequence >= len(session.commands):
            raise PropertyViolated(VALIDITY, f"{text} without having committed it")
        known = session.commands[command.sequence]
        if known is not None and known != command:
            _changed(known, command, f"is executed by replica {replica}")
        if session.flags[replica][command.sequence] == _EXECUTED:
            raise PropertyViolated(EXACTLY_ONCE, f"{text} again")
        raise PropertyViolated(VALIDITY, f"{text} without having committed it")

    def restarted(self, replica: ReplicaId) -> None:
        for session in self._sessions.values():
            session.flags[replica] = bytearray(len(session.commands))
        for counts in self._keys.values():
            counts[replica] = 0

    def commits(self, replica: ReplicaId) -> int:
        flags = [session.flags[replica] for session in self._sessions.values()]
        return sum(f.count(_COMMITTED) + f.count(_EXECUTED) for f in flags)

    def executions(self, replica: ReplicaId) -> int:
        return sum(session.flags[replica].count(_EXECUTED) for session in self._sessions.values())


class _SingleOrder:
    """One decision, wherever and by whomever it is learned."""

    __slots__ = ("_committed", "_decided", "_executed")

    def __init__(self, replicas: int) -> None:
        self._decided: Command | None = None
        self._committed = [False] * replicas
        self._executed = [False] * replicas

    def committed(self, replica: ReplicaId, place: Place, command: Command) -> None:
        """Agreement with the first decision."""
        if self._decided is None:
            self._decided = command
        elif self._decided != command:
            _disagree(replica, place, self._decided, command)
        self._committed[replica] = True

    def executed(self, replica: ReplicaId, command: Command) -> None:
        """The decided command, once."""
        text = f"replica {replica} executes {command}"
        if command.kind == "noop":
            raise PropertyViolated(VALIDITY, f"{text}: a no-op is never executed")
        if not self._committed[replica]:
            raise PropertyViolated(VALIDITY, f"{text} without having committed it")
        if command != self._decided:
            raise PropertyViolated(VALIDITY, f"{text}, but {self._decided} is decided")
        if self._executed[replica]:
            raise PropertyViolated(EXACTLY_ONCE, f"{text} again")
        self._executed[replica] = True

    def restarted(self, replica: ReplicaId) -> None:
        self._committed[replica] = self._executed[replica] = False

    def commits(self, replica: ReplicaId) -> int:
        return int(self._committed[replica])

    def executions(self, replica: ReplicaId) -> int:
        return int(self._executed[replica])
