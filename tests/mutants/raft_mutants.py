"""Known ways to get Raft wrong: each a minimal subclass whose docstring names the rule that was removed.

``settings`` are the options under which the rule matters, ``replicas`` the smallest cluster in which it is known to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from consensus_bench.contract import Command, Context
from protocols.quorums import majority
from protocols.raft import Raft
from protocols.raft_election import Members
from protocols.raft_log import LogEntry
from protocols.raft_messages import Appended, Conflict, PreVote, RequestVote, Vote
from protocols.sessions import Sessions

MEMBERSHIP: Final = "tests/protocols/test_raft_membership.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"
SCHEDULED: Final = "tests/protocols/test_raft.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"


class Mutant(Raft):
    """Base: correct. Hunted as the basic protocol: CheckQuorum and pre-votes make elections rare."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"pre_vote": False, "check_quorum": False}
    replicas: ClassVar[int] = 3


class VotesForAnyLog(Mutant):
    """A vote goes only to a candidate whose log is at least as up-to-date (section 5.4.1)."""

    __slots__ = ()

    def _is_up_to_date(self, request: RequestVote | PreVote) -> bool:
        return True


class ComparesLengthsOnly(Mutant):
    """Of two logs the one with the later last term is more up-to-date, whatever their lengths (section 5.4.1)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _is_up_to_date(self, request: RequestVote | PreVote) -> bool:
        return request.last_log_index >= self.log.last_index


class VotesTwice(Mutant):
    """One vote per term (section 5.2)."""

    __slots__ = ()

    def _may_vote_for(self, candidate: int) -> bool:
        return True


class VotedForNotDurable(Mutant):
    """A vote is on disk before it is given (Figure 2)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _save_vote(self, ctx: Context) -> None:
        ctx.persist("vote", (self.current_term, None))


class TermNotDurable(Mutant):
    """A term is on disk before anybody hears of it (Figure 2)."""

    __slots__ = ()

    def _save_vote(self, ctx: Context) -> None:
        pass


class SolicitsEarly(Mutant):
    """A candidate's vote for itself is on disk before it counts."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _solicit(self, ctx: Context, request: RequestVote) -> None:
        ctx.broadcast_unsynced(self.others, request)
        ctx.send_unsynced(self.me, Vote(self.current_term, True))


class _Impatient:
    """A context that lets everything leave at once."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.send = ctx.send_unsynced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


class VotesEarly(Mutant):
    """A vote for another is on disk before the candidate hears of it (Figure 2)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_request_vote(self, ctx: Context, source: int, message: RequestVote) -> None:
        super().on_request_vote(_Impatient(ctx), source, message)  # type: ignore[arg-type]


class CountsOldVotes(Mutant):
    """A candidate counts the votes for its current term only (section 5.2)."""

    __slots__ = ()

    def on_vote(self, ctx: Context, source: int, message: Vote) -> None:
        super().on_vote(ctx, source, Vote(max(message.term, self.current_term), message.granted))


class CountsOldAcknowledgements(Mutant):
    """A leader counts the acknowledgements of its own term only: an earlier leader's entries may be others."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_appended(self, ctx: Context, source: int, message: Appended) -> None:
        known = min(message.match_index, self.log.last_index)
        super().on_appended(ctx, source, Appended(self.current_term, known))


class TakesRefusalsForAgreement(Mutant):
    """Only AppendEntries that is accepted says what a follower holds (Figure 2), not the hint of a refusal."""

    __slots__ = ()

    def on_conflict(self, ctx: Context, source: int, message: Conflict) -> None:
        super().on_conflict(ctx, source, message)
        if message.term == self.current_term:
            self.on_appended(ctx, source, Appended(message.term, min(message.hint_index, self.log.last_index)))


class ObeysOldLeaders(Mutant):
    """AppendEntries of an earlier term is refused (section 5.1)."""

    __slots__ = ()

    def _is_outdated(self, term: int) -> bool:
        return False


class CountsOlderTerms(Mutant):
    """Only entries of the current term are committed by counting replicas (section 5.4.2, Figure 8)."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {**Mutant.settings, "window": 1}
    killed_by = SCHEDULED

    def _first_countable(self) -> int:
        return self.commit_index + 1


class SkipsTheConsistencyCheck(Mutant):
    """AppendEntries is refused unless the log holds the entry before the new ones (section 5.3)."""

    __slots__ = ()

    def _agrees(self, index: int, term: int) -> bool:
        return index <= self.log.last_index


class TruncatesAlways(Mutant):
    """Only entries that conflict are removed (Figure 2)."""

    __slots__ = ()

    def _already_held(self, previous: int, entries: Sequence[LogEntry]) -> int:
        return 0


class KeepsConflicts(Mutant):
    """An entry that conflicts is removed, with all that follow (Figure 2)."""

    __slots__ = ()

    def _already_held(self, previous: int, entries: Sequence[LogEntry]) -> int:
        return min(self.log.last_index - previous, len(entries))


class CommitsBeyondNew(Mutant):
    """The commit index stops at the last new entry: what stands beyond may not be the leader's (Figure 2)."""

    __slots__ = ()

    def _committed_here(self, leader_commit: int, last_new: int) -> int:
        return min(leader_commit, self.log.last_index)


class AcknowledgesItsWholeLog(Mutant):
    """What is acknowledged is what the message covered: what stands beyond may not be the leader's."""

    __slots__ = ()

    def _acknowledge(self, ctx: Context, leader: int, match_index: int) -> None:
        super()._acknowledge(ctx, leader, self.log.last_index)


class AcknowledgesEarly(Mutant):
    """Entries are on disk before they are acknowledged."""

    __slots__ = ()

    def _acknowledge(self, ctx: Context, leader: int, match_index: int) -> None:
        ctx.send_unsynced(leader, Appended(self.current_term, match_index))


class CountsItselfEarly(Mutant):
    """A leader counts its own copy of an entry when it is on disk (thesis section 10.2.1)."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _count_own(self, ctx: Context, last: int) -> None:
        ctx.send_unsynced(self.me, Appended(self.current_term, last))


class ForgetsNothing(Mutant):
    """What is removed from the log is removed from the disk."""

    __slots__ = ()

    def _forget(self, ctx: Context, index: int) -> None:
        pass


class _NoSessions(Sessions):
    __slots__ = ()

    def add(self, command: Command) -> bool:
        super().add(command)
        return True


class ExecutesRetries(Mutant):
    """A retry is neither appended nor executed again (thesis section 6.3)."""

    __slots__ = ()
    sessions_type = _NoSessions

    def _is_new(self, ctx: Context, command: Command) -> bool:
        return True


class BeginsWithoutNoop(Mutant):
    """A leader begins with an entry of its own term, or it could not commit those of earlier ones (section 8)."""

    __slots__ = ()

    def _first_commands(self) -> tuple[Command, ...]:
        return ()


class PreVoteBeginsATerm(Mutant):
    """Asking for pre-votes leaves the term as it is (thesis section 9.6)."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {}
    killed_by = SCHEDULED

    def _ask_pre_votes(self, ctx: Context) -> None:
        self._enter_term(ctx, self.current_term + 1)
        super()._ask_pre_votes(ctx)


class IgnoresTheVoteLease(Mutant):
    """Who hears a leader grants neither pre-votes nor votes (thesis sections 9.6, 4.2.3)."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {}
    killed_by = SCHEDULED

    def _in_lease(self, ctx: Context) -> bool:
        return False


class LeadsWithoutAMajority(Mutant):
    """A leader whom no majority answers steps down (thesis section 6.2)."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {}
    replicas = 5
    killed_by = SCHEDULED

    def _check_quorum(self, ctx: Context) -> None:
        pass


class _Counting(Mutant):
    """Base of those that count otherwise who is a member."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _counted(self) -> Members:
        return self.members

    def _is_quorum(self, servers: int) -> bool:
        return all((servers & each).bit_count() >= majority(each.bit_count()) for each in self._counted())

    def _held_by_quorum(self, reached: Sequence[int]) -> int:
        return max(n for n in reached if self._is_quorum(sum(1 << r for r, m in enumerate(reached) if m >= n)))


class CountsNewMembersOnly(_Counting):
    """While the members change, a majority of the old ones is needed (section 6)."""

    __slots__ = ()

    def _counted(self) -> Members:
        return self.members[-1:]


class CountsOldMembersOnly(_Counting):
    """While the members change, a majority of the new ones is needed (section 6)."""

    __slots__ = ()

    def _counted(self) -> Members:
        return self.members[:1]


class CountsItselfAsMember(_Counting):
    """A leader that is no member any more does not count itself (section 6)."""

    __slots__ = ()

    def _is_quorum(self, servers: int) -> bool:
        own = servers & 1 << self.me
        return all((servers & each | own).bit_count() >= majority(each.bit_count()) for each in self.members)


class ChangesInOneStep(Mutant):
    """Between the old members and the new ones lies a time in which both must agree (section 6, Figure 10)."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _append_members(self, ctx: Context, members: Members) -> None:
        super()._append_members(ctx, members[-1:])


class KeepsRemovedMembers(Mutant):
    """When a configuration is removed from the log, the one before it is in force again (section 6)."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _unlearn_members(self, first: int) -> None:
        pass


MUTANTS: tuple[type[Mutant], ...] = (
    VotesForAnyLog, ComparesLengthsOnly, VotesTwice, VotedForNotDurable, TermNotDurable, SolicitsEarly, VotesEarly,
    CountsOldVotes, CountsOldAcknowledgements, TakesRefusalsForAgreement, ObeysOldLeaders, CountsOlderTerms,
    SkipsTheConsistencyCheck, TruncatesAlways, KeepsConflicts, CommitsBeyondNew, AcknowledgesItsWholeLog,
    AcknowledgesEarly, CountsItselfEarly, ForgetsNothing, ExecutesRetries, BeginsWithoutNoop, PreVoteBeginsATerm,
    IgnoresTheVoteLease, LeadsWithoutAMajority,
    CountsNewMembersOnly, CountsOldMembersOnly, CountsItselfAsMember, ChangesInOneStep, KeepsRemovedMembers,
)  # fmt: skip
"""All of the above."""
