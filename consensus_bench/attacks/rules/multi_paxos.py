"""Multi-Paxos without one of its rules. Each docstring names the rule that is removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.attacks.rules.retries import NoSessions
from consensus_bench.contract import CORRUPT, NOOP, Ballot, Cluster, Command, Context
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_learner import CANDIDATE, NEVER
from protocols.multi_paxos_messages import Accept, Forward, MultiPaxosOptions
from protocols.slots import CHOSEN


class UnsafeNoPhase1(MultiPaxos):
    """A leader has a quorum's promises."""

    __slots__ = ()

    def _campaign(self, ctx: Context) -> None:
        super()._campaign(ctx)
        self._lead(ctx)


class UnsafeOwnValue(MultiPaxos):
    """A new leader proposes what was reported to it, before anything of its own."""

    __slots__ = ()

    def _highest_accepted(self) -> dict[int, tuple[Ballot, Command]]:
        return {}


class UnsafeGapsClosed(MultiPaxos):
    """A slot for which nothing was reported gets a no-op: later values stay in their slots."""

    __slots__ = ()

    def _uncertain(self, reported: Mapping[int, tuple[Ballot, Command]]) -> list[Command]:
        return [command for command in super()._uncertain(reported) if command is not NOOP]


class UnsafeServesDuringRecovery(MultiPaxos):
    """A request that comes before phase 1 is done waits: only then is it known which slots are free."""

    __slots__ = ()

    def on_request(self, ctx: Context, command: Command) -> None:
        """In the next slot that is free here."""
        if self.role == CANDIDATE:
            self.next = max(self.next, self.log.end)
            ctx.broadcast_unsynced(self.others, Accept(self.promised, self.next, (command,), self.committed))
        super().on_request(ctx, command)


class UnsafeGapsSkipped(MultiPaxos):
    """Slots are executed in order, without leaving one out."""

    __slots__ = ()

    def _advance(self, ctx: Context, ballot: Ballot = CHOSEN, limit: int = 0) -> None:
        super()._advance(ctx, ballot, limit)
        known = [slot for slot, accepted, _ in self.log.accepted_from(self.committed) if accepted in (ballot, CHOSEN)]
        if known and known[0] < limit:
            self.committed = known[0]
            super()._advance(ctx, ballot, limit)


class UnsafePromiseNotOnDisk(MultiPaxos):
    """A promise is on disk before it is heard of."""

    __slots__ = ()

    def _save_promise(self, ctx: Context) -> None:
        """Nothing is written."""


class UnsafeAcceptanceNotOnDisk(MultiPaxos):
    """An acceptance is on disk before it is heard of."""

    __slots__ = ()

    def _vote(self, ctx: Context, accept: Accept) -> None:
        """In memory alone."""
        for slot, command in enumerate(accept.commands, accept.slot):
            self.log.accept(slot, accept.ballot, command)


class UnsafeRetriesExecuted(MultiPaxos):
    """A command that was asked for twice is executed once (Ongaro's thesis, section 6.3)."""

    __slots__ = ()

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.sessions = NoSessions()


class UnsafeUnaskedReads(MultiPaxos):
    """A leader that answers reads from its state machine holds a lease (Paxos Made Live, section 5.2)."""

    __slots__ = ()

    def _serve_read(self, ctx: Context, command: Command) -> None:
        self._read(ctx, command)


class UnsafeOldLeadersServed(MultiPaxos):
    """An acceptor accepts nothing at a lower ballot than it has promised."""

    __slots__ = ()

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        """Whatever was promised."""
        promised, leader = self.promised, self.leader
        if message.ballot < promised and leader != self.me:
            self.promised, self.leader = message.ballot, source
            super().on_accept(ctx, source, message)
            self.promised, self.leader = promised, leader
        else:
            super().on_accept(ctx, source, message)


class UnsafeEpochsUnchecked(MultiPaxos):
    """A request that was made to an earlier leadership is refused (option ``epochs``)."""

    __slots__ = ()

    def _is_current(self, message: Forward) -> bool:
        return True


class UnsafeNeverWritten(MultiPaxos):
    """An acknowledged record that cannot be read is not taken for one that was never written."""

    __slots__ = ()

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], int]:
        bad = min((key for key in disk if isinstance(key, int) and disk[key] is CORRUPT), default=NEVER)
        whole = {key: value for key, value in disk.items() if value is not CORRUPT}
        return super()._readable(ctx, {k: v for k, v in whole.items() if not isinstance(k, int) or k < bad})
