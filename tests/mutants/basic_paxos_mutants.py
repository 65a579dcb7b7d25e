"""Known ways to get Basic Paxos wrong: each a minimal subclass whose docstring names the rule that was removed.

Two proposers that share a ballot are not among them: an acceptor promises each ballot once, so only one of them finds a
majority. (In Multi-Paxos, where a repeated Prepare is answered again, they do harm.)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Final

from consensus_bench.contract import Ballot, Command, Context, TimerName
from protocols.basic_paxos import NO_BALLOT, Accept, Accepted, BasicPaxos, Decided, Prepare, Promise

SCHEDULED: Final = "tests/protocols/test_basic_paxos.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"


class Mutant(BasicPaxos):
    """Base: correct."""

    __slots__ = ()
    replicas: ClassVar[int] = 3
    guards: ClassVar[str] = "safety"
    """What the rule is for: safety, liveness, or what epochs promise."""


class ForgetsPromises(Mutant):
    """A promise is on disk before it is heard of."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _save_promise(self, ctx: Context) -> None:
        """Nothing is written."""


class ForgetsAcceptances(Mutant):
    """An acceptance is on disk before it is heard of."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _save_acceptance(self, ctx: Context) -> None:
        """Nothing is written."""


class ProposesItsOwnValue(Mutant):
    """Phase 2a proposes the reported value, if there is one."""

    __slots__ = ()

    def _choose_proposal(self) -> Command:
        assert self.wanted is not None
        return self.wanted


class ProposesAnyReportedValue(Mutant):
    """Phase 2a proposes, of the reported values, the one of the highest ballot (three ballots are needed to see it)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _choose_proposal(self) -> Command:
        reported = [p for p in self.promises.values() if p.accepted is not None]
        lowest = min(reported, key=lambda promise: promise.accepted_ballot, default=None)
        command = self.wanted if lowest is None else lowest.accepted
        assert command is not None
        return command


class SkipsPhase1(Mutant):
    """Phase 1 comes before phase 2."""

    __slots__ = ()

    def _prepare(self, ctx: Context) -> None:
        super()._prepare(ctx)
        assert self.wanted is not None
        self.proposal = self.wanted
        ctx.broadcast(self.everyone, Accept(self.ballot, self.wanted))


class AcceptsWhenOutbid(Mutant):
    """An acceptor accepts nothing at a lower ballot than it has promised."""

    __slots__ = ()
    hunt = "blackouts"

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        self.promised = min(self.promised, message.ballot)
        super().on_accept(ctx, source, message)


class AcceptsWithoutPromising(Mutant):
    """To accept at a ballot is to promise it: nothing lower is served afterwards (three proposers are needed)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        promised = self.promised
        super().on_accept(ctx, source, message)
        self.promised = promised

    def check(self) -> None:
        """That an acceptance is a promise is not asked."""


class ReportsNothing(Mutant):
    """A promise reports what was accepted last."""

    __slots__ = ()

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        if message.ballot > self.promised and self.decided is None:
            self.promised = message.ballot
            self._save_promise(ctx)
            ctx.send(source, Promise(message.ballot, NO_BALLOT, None))
        else:
            super().on_prepare(ctx, source, message)


class NeverTriesAgain(Mutant):
    """A proposer that gets no quorum tries a new ballot, and whoever has not heard of a decision asks."""

    __slots__ = ()
    guards = "liveness"

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        ctx.set_timer("retry", 10**9)


class CountsOldPromises(Mutant):
    """Only promises for the ballot under way count."""

    __slots__ = ()

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        super().on_promise(ctx, source, Promise(self.ballot, message.accepted_ballot, message.accepted))


class CountsOldVotes(Mutant):
    """Only acceptances at one ballot make a value chosen."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        super().on_accepted(ctx, source, Accepted(self.ballot, message.command))


class ReusesBallots(Mutant):
    """A proposer uses no ballot twice, also after a crash: the round is on disk before Prepare leaves."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _new_ballot(self, ctx: Context) -> Ballot:
        self.round = max(self.round, self.highest, self.promised[0]) + 1
        return (self.round, self.me)


class CountsHalves(Mutant):
    """Any two quorums intersect: half of the replicas are none."""

    __slots__ = ()
    hunt = "recoveries"
    replicas = 4

    def _is_quorum(self, replicas: Collection[int]) -> bool:
        return len(replicas) >= self.cluster.size // 2


class DecidesOnOneVote(Mutant):
    """A value is chosen when a majority has accepted it, not when one acceptor has."""

    __slots__ = ()
    hunt = "elections"

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        if message.ballot == self.ballot and self.decided is None:
            self._conclude(ctx, message.command)
            ctx.broadcast(self.others, Decided(message.command))


MUTANTS = (
    ForgetsPromises, ForgetsAcceptances, ProposesItsOwnValue, ProposesAnyReportedValue, SkipsPhase1, AcceptsWhenOutbid,
    AcceptsWithoutPromising, ReportsNothing, NeverTriesAgain,
    CountsOldPromises, CountsOldVotes, ReusesBallots, CountsHalves, DecidesOnOneVote,
)  # fmt: skip
