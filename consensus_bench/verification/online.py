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

A fifth, *non-triviality* (only what a client asked for is chosen), needs the clients' side: ``chosen`` gives the
commands, and who knows the clients compares at the end of a run.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol, TypeAlias

from consensus_bench.contract import (
    NOOP,
    Command,
    ConfigError,
    Place,
    PropertyViolated,
    ProtocolBug,
    ReplicaId,
    Snapshot,
)
from consensus_bench.verification.check import Check

AGREEMENT = "agreement"
VALIDITY = "validity"
EXACTLY_ONCE = "exactly once"
EXECUTION_ORDER = "execution order"
NON_TRIVIALITY = "non-triviality"
CONVERGENCE = "convergence"


_Committed: TypeAlias = Callable[[ReplicaId, Any, Command], None]
_Executed: TypeAlias = Callable[[ReplicaId, Command], None]


class _Order(Protocol):
    """How commits and executions of one kind of protocol are checked. ``watch`` gives the two functions of the hot
    path: closures, because they reach their tables without going through an object."""

    def watch(self) -> tuple[_Committed, _Executed]: ...
    def chosen(self) -> Iterator[Command]: ...
    def has_executed(self, replica: ReplicaId, command: Command) -> bool: ...
    def restarted(self, replica: ReplicaId) -> None: ...
    def commits(self, replica: ReplicaId) -> int: ...
    def executions(self, replica: ReplicaId) -> int: ...


class Verifier:
    """Watches one run. ``decides`` is the protocol's (``Replica.decides``): "log", "graph" or "single".

    ``committed(replica, place, command)`` and ``executed(replica, command)`` raise ``PropertyViolated`` at once.
    """

    __slots__ = ("_commits", "_executions", "_order", "_replicas", "_snapshots", "committed", "executed")

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
        self._snapshots: dict[int, int] = {}  # place -> hash of its items
        self.committed, self.executed = self._order.watch()

    def snapshot(self, replica: ReplicaId, snapshot: Snapshot) -> None:
        """``replica`` took ``snapshot``: it has executed up to there, and every snapshot of one place is the same."""
        if isinstance(self._order, _GraphOrder):
            self._order.took(replica, snapshot)
        else:
            self._log("takes").took(replica, snapshot.place)
            self._compare(replica, snapshot)

    def installed(self, replica: ReplicaId, snapshot: Snapshot) -> None:
        """``replica`` takes its state from ``snapshot``: somebody took it, in this or an earlier life, everything up to
        there is chosen, and it does not go back."""
        if isinstance(self._order, _GraphOrder):
            self._order.installed(replica, snapshot)
            return
        self._log("installs").installed(replica, snapshot.place)
        if snapshot.place not in self._snapshots:
            text = f"replica {replica} installs a snapshot of place {snapshot.place}, which nobody took"
            raise PropertyViolated(VALIDITY, text)
        self._compare(replica, snapshot)

    def _log(self, what: str) -> _LogOrder:
        if not isinstance(self._order, _LogOrder):
            raise ProtocolBug(f"a protocol that {what} a snapshot must decide a log or a graph (`decides`)")
        return self._order

    def _compare(self, replica: ReplicaId, snapshot: Snapshot) -> None:
        digest = hash(snapshot.items)
        if self._snapshots.setdefault(snapshot.place, digest) != digest:
            raise PropertyViolated(EXECUTION_ORDER, f"replica {replica} has another snapshot of place {snapshot.place}")

    def restarted(self, replica: ReplicaId) -> None:
        """The process of ``replica`` was lost: it commits and executes again from the first place."""
        self._commits += self._order.commits(replica)
        self._executions += self._order.executions(replica)
        self._order.restarted(replica)

    def chosen(self) -> Iterator[Command]:
        """Every command that any replica has committed, once per place, no-ops left out. *Non-triviality* is for the
        driver to judge: it knows what the clients asked for, and nothing else may be chosen."""
        return (command for command in self._order.chosen() if command.kind != "noop")

    def has_executed(self, replica: ReplicaId, command: Command) -> bool:
        """Whether ``replica`` has executed (or installed) ``command`` in this life: before that it has no answer."""
        return self._order.has_executed(replica, command)

    def covers(self, snapshot: Snapshot, command: Command) -> bool:
        """Whether ``command`` was executed before ``snapshot`` was taken."""
        if isinstance(self._order, _GraphOrder):
            return self._order.covers(snapshot, command)
        return self._log("installs").covers(snapshot.place, command)

    def executions(self, replica: ReplicaId) -> int:
        """How many commands ``replica`` has executed (or installed) in this life."""
        return self._order.executions(replica)

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

    def watch(self) -> tuple[_Committed, _Executed]:
        """The common case: every replica commits and executes place after place."""
        chosen, next_, ahead, cursor, skipped = self._chosen, self._next, self._ahead, self._cursor, self._skipped

        def committed(replica: ReplicaId, place: int, command: Command) -> None:
            if place != next_[replica] or ahead[replica]:
                self._committed_out_of_order(replica, place, command)
                return
            if place < len(chosen):
                known = chosen[place]
                if known is not command:
                    if known is None:
                        self._learn(place, command)
                    elif known != command:
                        _disagree(replica, place, known, command)
            else:
                self._learn(place, command)
            next_[replica] = place + 1

        def executed(replica: ReplicaId, command: Command) -> None:
            place = cursor[replica]
            if place < next_[replica] and chosen[place] is command and place not in skipped:
                cursor[replica] = place + 1
            else:
                self._executed_further(replica, place, command)

        return committed, executed

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
        for replica, ahead in enumerate(self._ahead):
            ahead.update(range(1, self._next[replica]))
            self._next[replica] = self._cursor[replica] = 0
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
            places.extend([0] * (sequence + 8 + sequence // 8 - len(places)))
        elif places[sequence]:
            first = self._chosen[places[sequence] - 1]
            if first is not None and first != command:
                _changed(first, command, f"is chosen at place {place}")
            self._skipped.add(place)
            return
        places[sequence] = place + 1

    def _executed_further(self, replica: ReplicaId, place: int, command: Command) -> None:
        place = self._due(replica)
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

    def took(self, replica: ReplicaId, place: int) -> None:
        """A snapshot of the state after ``place`` may be taken when that place has been executed, and the next that
        anybody executes has not."""
        cursor, end = self._cursor[replica], self._due(replica)
        if not cursor - 1 <= place < end:
            raise PropertyViolated(
                VALIDITY, f"replica {replica} calls its state after place {end - 1} a snapshot of place {place}"
            )

    def _due(self, replica: ReplicaId) -> int:
        """The first place that ``replica`` has neither executed nor passed over."""
        place = self._cursor[replica]
        while place in self._skipped and place < self._next[replica]:
            place += 1
        return place

    def installed(self, replica: ReplicaId, place: int) -> None:
        if self._scanned <= place:
            raise PropertyViolated(
                VALIDITY, f"replica {replica} installs a snapshot of place {place}, but {self._scanned} is not chosen"
            )
        if self._cursor[replica] > place + 1:
            raise PropertyViolated(
                EXECUTION_ORDER,
                f"replica {replica} goes back to a snapshot of place {place} from {self._cursor[replica] - 1}",
            )
        self._cursor[replica] = place + 1
        if self._next[replica] <= place:
            self._next[replica] = place + 1
            self._ahead[replica] = {other for other in self._ahead[replica] if other > place}
            self._absorb(replica)

    def chosen(self) -> Iterator[Command]:
        return (command for command in self._chosen if command is not None)

    def has_executed(self, replica: ReplicaId, command: Command) -> bool:
        return self.covers(self._cursor[replica] - 1, command)

    def covers(self, place: int, command: Command) -> bool:
        places, sequence = self._first.get(command.client), command.sequence
        return places is not None and 0 <= sequence < len(places) and 0 < places[sequence] <= place + 1

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


class _GraphOrder:
    """Places are instances (replica, number). Commands of one key must execute alike, the others in any order.

    Per key it is enough to count: the writes before a command are the same everywhere exactly if their number is,
    because the write executed as the k-th of its key is the same everywhere.

    A session is all that is known of one client's commands, by sequence number: per replica the flags of this life,
    then the positions (1 + how many writes of its key execute before it; 0: not executed yet), then the commands.
    """

    __slots__ = ("_chosen", "_images", "_keys", "_replicas", "_sessions")

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._chosen: list[list[Command | None]] = [[] for _ in range(replicas)]
        self._images: dict[Snapshot, tuple[dict[int, bytes], dict[int | str, int]]] = {}
        """What had been executed when a snapshot was taken: by client the flags, by key how many writes."""
        self._sessions: dict[int, list[Any]] = {}
        self._keys: dict[int | str, list[int]] = {}  # writes executed by each replica, and by any

    def watch(self) -> tuple[_Committed, _Executed]:
        """The common case: the instance, the command and its key are known."""
        columns, sessions, keys = self._chosen, self._sessions, self._keys
        positions, commands = self._replicas, self._replicas + 1

        def committed(replica: ReplicaId, place: tuple[int, int], command: Command) -> None:
            leader, number = place
            column = columns[leader]
            known = column[number] if number < len(column) else None
            if known is not command:
                if known is None:
                    self._learn(leader, number, command)
                elif known != command:
                    _disagree(replica, place, known, command)
            sessions[command.client][replica][command.sequence] |= _COMMITTED

        def executed(replica: ReplicaId, command: Command) -> None:
            sequence = command.sequence
            try:
                session = sessions[command.client]
                flags = session[replica]
                if flags[sequence] != _COMMITTED:
                    self._reject(replica, command)
            except LookupError:
                self._reject(replica, command)
            known = session[commands][sequence]
            if known is not command and known != command:
                self._reject(replica, command)
            flags[sequence] = _EXECUTED
            try:
                counts = keys[command.key]
            except KeyError:
                counts = keys[command.key] = [0] * (positions + 1)
            position = counts[replica] + 1
            where = session[positions]
            if command.kind == "get":
                if where[sequence] != position:
                    if where[sequence]:
                        self._misplaced(replica, command, counts[replica], where[sequence] - 1)
                    where[sequence] = position
                return
            if where[sequence] != position:
                if where[sequence] or counts[positions] >= position:
                    self._misplaced(replica, command, counts[replica], where[sequence] - 1)
                where[sequence] = counts[positions] = position  # the first replica to come here
            counts[replica] = position

        return committed, executed

    def _learn(self, leader: int, number: int, command: Command) -> None:
        """The first commit of an instance by anybody. A no-op has a session too, but is no command in it."""
        chosen = self._chosen[leader]
        if number >= len(chosen):
            chosen.extend([None] * (number + 1 - len(chosen)))
        chosen[number] = command
        sequence = command.sequence
        session = self._sessions.get(command.client)
        if session is None:
            session = self._sessions[command.client] = [bytearray() for _ in range(self._replicas)]
            session += [array("q"), []]
        known: list[Command | None] = session[-1]
        if sequence >= len(known):
            more = sequence + 8 + sequence // 8 - len(known)
            known.extend([None] * more)
            session[-2].frombytes(bytes(8 * more))
            for flags in session[:-2]:
                flags.extend(bytes(more))
        if command.kind == "noop":
            return
        other = known[sequence]
        if other is None:
            known[sequence] = command
        elif other != command:
            _changed(other, command, f"is chosen at place ({leader}, {number})")

    def _misplaced(self, replica: ReplicaId, command: Command, position: int, elsewhere: int) -> NoReturn:
        """``replica`` executes ``command`` elsewhere than another did (-1: nobody did so far)."""
        text = f"replica {replica} executes {command} after {position} writes of its key"
        if elsewhere >= 0:
            raise PropertyViolated(EXECUTION_ORDER, f"{text}, another replica after {elsewhere}")
        other = self._write_at(command.key, position)
        raise PropertyViolated(EXECUTION_ORDER, f"{text}, where another replica executed {other}")

    def _write_at(self, key: int | str, position: int) -> Command | None:
        for session in self._sessions.values():
            commands: list[Command | None] = session[-1]
            for command, where in zip(commands, session[-2], strict=True):
                if command is not None and where == position + 1 and command.key == key and command.kind != "get":
                    return command
        return None

    def _reject(self, replica: ReplicaId, command: Command) -> NoReturn:
        text = f"replica {replica} executes {command}"
        if command.kind == "noop":
            raise PropertyViolated(VALIDITY, f"{text}: a no-op is never executed")
        session = self._sessions.get(command.client)
        if session is None or command.sequence >= len(session[-1]):
            raise PropertyViolated(VALIDITY, f"{text} without having committed it")
        known = session[-1][command.sequence]
        if known is not None and known != command:
            _changed(known, command, f"is executed by replica {replica}")
        if session[replica][command.sequence] == _EXECUTED:
            raise PropertyViolated(EXACTLY_ONCE, f"{text} again")
        raise PropertyViolated(VALIDITY, f"{text} without having committed it")

    def took(self, replica: ReplicaId, snapshot: Snapshot) -> None:
        """A graph has no places that would say what a snapshot covers: that is noted when it is taken."""
        flags = {
            client: bytes(_EXECUTED if flag == _EXECUTED else 0 for flag in session[replica])
            for client, session in self._sessions.items()
        }
        self._images.setdefault(snapshot, (flags, {key: counts[replica] for key, counts in self._keys.items()}))

    def installed(self, replica: ReplicaId, snapshot: Snapshot) -> None:
        """Nothing that ``replica`` has executed may be missing in it."""
        image = self._images.get(snapshot)
        if image is None:
            text = f"replica {replica} installs a snapshot of {snapshot.place} instances, which nobody took"
            raise PropertyViolated(VALIDITY, text)
        flags_then, counts_then = image
        for client, session in self._sessions.items():
            flags, covered = session[replica], flags_then.get(client, b"")
            for sequence, flag in enumerate(flags):
                if sequence < len(covered) and covered[sequence] == _EXECUTED:
                    flags[sequence] = _EXECUTED
                elif flag == _EXECUTED:
                    command = session[-1][sequence]
                    text = f"replica {replica} goes back to a snapshot without {command}, which it has executed"
                    raise PropertyViolated(EXECUTION_ORDER, text)
        for key, counts in self._keys.items():
            counts[replica] = counts_then.get(key, 0)

    def chosen(self) -> Iterator[Command]:
        return (command for column in self._chosen for command in column if command is not None)

    def has_executed(self, replica: ReplicaId, command: Command) -> bool:
        session = self._sessions.get(command.client)
        flags = b"" if session is None else session[replica]
        return 0 <= command.sequence < len(flags) and flags[command.sequence] == _EXECUTED

    def covers(self, snapshot: Snapshot, command: Command) -> bool:
        flags = self._images[snapshot][0].get(command.client, b"") if snapshot in self._images else b""
        return 0 <= command.sequence < len(flags) and flags[command.sequence] == _EXECUTED

    def restarted(self, replica: ReplicaId) -> None:
        for session in self._sessions.values():
            session[replica] = bytearray(len(session[-1]))
        for counts in self._keys.values():
            counts[replica] = 0

    def commits(self, replica: ReplicaId) -> int:
        flags = [session[replica] for client, session in self._sessions.items() if client != NOOP.client]
        return sum(f.count(_COMMITTED) + f.count(_EXECUTED) for f in flags)

    def executions(self, replica: ReplicaId) -> int:
        return sum(session[replica].count(_EXECUTED) for session in self._sessions.values())


class _SingleOrder:
    """One decision, wherever and by whomever it is learned."""

    __slots__ = ("_committed", "_decided", "_executed")

    def __init__(self, replicas: int) -> None:
        self._decided: Command | None = None
        self._committed = [False] * replicas
        self._executed = [False] * replicas

    def watch(self) -> tuple[_Committed, _Executed]:
        return self._check_commit, self._check_execution

    def _check_commit(self, replica: ReplicaId, place: Place, command: Command) -> None:
        """Agreement with the first decision."""
        if self._decided is None:
            self._decided = command
        elif self._decided != command:
            _disagree(replica, place, self._decided, command)
        self._committed[replica] = True

    def _check_execution(self, replica: ReplicaId, command: Command) -> None:
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

    def chosen(self) -> Iterator[Command]:
        return iter(() if self._decided is None else (self._decided,))

    def has_executed(self, replica: ReplicaId, command: Command) -> bool:
        return self._executed[replica] and command == self._decided

    def restarted(self, replica: ReplicaId) -> None:
        self._committed[replica] = self._executed[replica] = False

    def commits(self, replica: ReplicaId) -> int:
        return int(self._committed[replica])

    def executions(self, replica: ReplicaId) -> int:
        return int(self._executed[replica])
