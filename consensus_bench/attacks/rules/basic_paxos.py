"""Basic Paxos without one of its rules. Each docstring names the rule that is removed."""

from __future__ import annotations

from collections.abc import Collection

from consensus_bench.contract import Ballot, Command, Context
from protocols.basic_paxos import Accept, Accepted, BasicPaxos, Decided, Prepare, Promise


class UnsafePromiseNotOnDisk(BasicPaxos):
    """A promise is on disk before it is heard of."""

    __slots__ = ()

    def _save_promise(self, ctx: Context) -> None:
        """Nothing is written."""


class UnsafeAcceptanceNotOnDisk(BasicPaxos):
    """An acceptance is on disk before it is heard of."""

    __slots__ = ()

    def _save_acceptance(self, ctx: Context) -> None:
        """Nothing is written."""


class UnsafeOwnValue(BasicPaxos):
    """Phase 2a proposes the reported value, if there is one."""

    __slots__ = ()

    def _choose_proposal(self) -> Command:
        assert self.wanted is not None
        return self.wanted


class UnsafeAnyReportedValue(BasicPaxos):
    """Phase 2a proposes, of the reported values, the one of the highest ballot."""

    __slots__ = ()

    def _choose_proposal(self) -> Command:
        reported = [promise for promise in self.promises.values() if promise.accepted is not None]
        lowest = min(reported, key=lambda promise: promise.accepted_ballot, default=None)
        command = self.wanted if lowest is None else lowest.accepted
        assert command is not None
        return command


class UnsafeNoPhase1(BasicPaxos):
    """Phase 1 comes before phase 2."""

    __slots__ = ()

    def _prepare(self, ctx: Context) -> None:
        super()._prepare(ctx)
        assert self.wanted is not None
        self.proposal = self.wanted
        ctx.broadcast(self.everyone, Accept(self.ballot, self.wanted))


class UnsafeNoBallotCheck(BasicPaxos):
    """An acceptor accepts nothing at a lower ballot than it has promised."""

    __slots__ = ()

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        """Whatever was promised."""
        self.promised = min(self.promised, message.ballot)
        super().on_accept(ctx, source, message)


class UnsafeOldPromises(BasicPaxos):
    """Only promises for the ballot under way count."""

    __slots__ = ()

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        """Any promise is taken for one of this ballot."""
        super().on_promise(ctx, source, Promise(self.ballot, message.accepted_ballot, message.accepted))


class UnsafeOldVotes(BasicPaxos):
    """Only acceptances at one ballot make a value chosen."""

    __slots__ = ()

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        """Any acceptance is taken for one of this ballot."""
        super().on_accepted(ctx, source, Accepted(self.ballot, message.command))


class UnsafeSharedBallots(BasicPaxos):
    """No two proposers ever use the same ballot: the replica's number is part of it. A proposer that shares its ballots
    with others must also hear its duplicates answered, as after a lost promise, to get as far as phase 2."""

    __slots__ = ()

    def _new_ballot(self, ctx: Context) -> Ballot:
        round_, _ = super()._new_ballot(ctx)
        return (round_, 0)

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        """A repeated Prepare is answered again, as most implementations do."""
        if self.decided is None and message.ballot == self.promised:
            ctx.send(source, Promise(message.ballot, self.accepted_ballot, self.accepted))
        else:
            super().on_prepare(ctx, source, message)


class AnswersAgain(BasicPaxos):
    """Correct: ballots are unique, and a repeated Prepare is answered again (the control of shared ballots)."""

    __slots__ = ()

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        """A repeated Prepare is answered again."""
        if self.decided is None and message.ballot == self.promised:
            ctx.send(source, Promise(message.ballot, self.accepted_ballot, self.accepted))
        else:
            super().on_prepare(ctx, source, message)


class UnsafeOneVote(BasicPaxos):
    """A value is chosen when a majority has accepted it, not when one acceptor has."""

    __slots__ = ()

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        """The first vote decides."""
        if message.ballot == self.ballot and self.decided is None:
            self._conclude(ctx, message.command)
            ctx.broadcast(self.others, Decided(message.command))


class UnsafeHalves(BasicPaxos):
    """Any two quorums intersect: half of four replicas are none."""

    __slots__ = ()

    def _is_quorum(self, replicas: Collection[int]) -> bool:
        return len(replicas) >= self.cluster.size // 2


class FlexibleQuorums(BasicPaxos):
    """Correct: all replicas promise, and then one acceptor's vote decides (Howard, Malkhi, Spiegelman, OPODIS 2016).
    Only quorums of different phases need to intersect."""

    __slots__ = ()

    def _is_quorum(self, replicas: Collection[int]) -> bool:
        return len(replicas) >= (self.cluster.size if self.proposal is None else 1)


class UnsafeFlexibleQuorums(BasicPaxos):
    """Quorums of the two phases intersect: one promise and a majority of votes need not."""

    __slots__ = ()

    def _is_quorum(self, replicas: Collection[int]) -> bool:
        return len(replicas) >= (1 if self.proposal is None else self.cluster.size // 2 + 1)
