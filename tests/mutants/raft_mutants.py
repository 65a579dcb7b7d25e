"""Known ways to get Raft wrong: each a minimal subclass whose docstring names the rule that was removed.

``settings`` are the options under which the rule matters, ``replicas`` the smallest cluster in which it is known to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from consensus_bench.contract import CORRUPT, Command, Context, Snapshot
from protocols.quorums import majority
from protocols.raft import Raft
from protocols.raft_election import LEADER, Members, RaftElection
from protocols.raft_log import LogEntry
from protocols.raft_messages import (
    Appended,
    AppendEntries,
    Confirm,
    Confirmed,
    Conflict,
    InstallSnapshot,
    PreVote,
    RequestVote,
    TimeoutNow,
    Vote,
)
from protocols.sessions import Sessions, SessionsImage

TEST: Final = "test_a_schedule_breaks_the_mutant_and_not_the_protocol"
SCHEDULED: Final = f"tests/protocols/test_raft.py::{TEST}"
MEMBERSHIP: Final = f"tests/protocols/test_raft_membership.py::{TEST}"
READS: Final = f"tests/protocols/test_raft_reads.py::{TEST}"
SNAPSHOTS: Final = f"tests/protocols/test_raft_snapshots.py::{TEST}"
TRANSFER: Final = f"tests/protocols/test_raft_transfer.py::{TEST}"
REPAIR: Final = f"tests/protocols/test_raft_repair.py::{TEST}"


class Mutant(Raft):
    """Base: correct. Hunted as the basic protocol: CheckQuorum and pre-votes make elections rare."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"pre_vote": False, "check_quorum": False}
    replicas: ClassVar[int] = 3
    guards: ClassVar[str] = "safety"
    """What the rule is for: safety, liveness, or what epochs promise."""


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
    guards = "liveness"

    def _first_commands(self) -> tuple[Command, ...]:
        return ()


class PreVoteBeginsATerm(Mutant):
    """Asking for pre-votes leaves the term as it is (thesis section 9.6)."""

    __slots__ = ()
    guards = "liveness"
    settings: ClassVar[dict[str, Any]] = {}
    killed_by = SCHEDULED

    def _ask_pre_votes(self, ctx: Context) -> None:
        self._enter_term(ctx, self.current_term + 1)
        super()._ask_pre_votes(ctx)


class IgnoresTheVoteLease(Mutant):
    """Who hears a leader grants neither pre-votes nor votes (thesis sections 9.6, 4.2.3)."""

    __slots__ = ()
    guards = "liveness"
    settings: ClassVar[dict[str, Any]] = {}
    killed_by = SCHEDULED

    def _in_lease(self, ctx: Context) -> bool:
        return False


class LeadsWithoutAMajority(Mutant):
    """A leader whom no majority answers steps down (thesis section 6.2)."""

    __slots__ = ()
    guards = "liveness"
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


class LeavesTheJointAtOnce(Mutant):
    """C_new is appended when C_old,new is committed, by both majorities, and not before (section 6)."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _append_members(self, ctx: Context, members: Members) -> None:
        super()._append_members(ctx, members)
        if len(members) == 2:
            super()._append_members(ctx, members[1:])


class StaysInTheJoint(Mutant):
    """Whoever leads when C_old,new is committed appends C_new, also if it is not the one that began (section 6)."""

    __slots__ = ()
    guards = "liveness"
    killed_by = MEMBERSHIP

    def _members_committed(self, ctx: Context, noop: int) -> None:
        if self.configurations[-1][0] == noop:
            super()._members_committed(ctx, noop)


class SnapshotsWithoutMembers(Mutant):
    """A snapshot says who the members were (section 7)."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _begin_members(self, index: int, members: Members) -> None:
        super()._begin_members(index, ((1 << (self.options.first_members or self.cluster.size)) - 1,))


class SnapshotsWithLaterMembers(Mutant):
    """Those are the members at its place, not those of a later entry, which may be removed again."""

    __slots__ = ()
    killed_by = MEMBERSHIP

    def _members_at(self, index: int) -> Members:
        return self.members


class LearnersStand(Mutant):
    """Who knows that it is no member does not stand for election (section 6; thesis section 4.2.1)."""

    __slots__ = ()
    guards = "liveness"
    killed_by = MEMBERSHIP

    def _may_campaign(self) -> bool:
        return True


class StaysInOffice(Mutant):
    """A leader that is no member any more hands its office over when C_new is committed (section 6)."""

    __slots__ = ()
    guards = "liveness"
    killed_by = MEMBERSHIP

    def _resign(self, ctx: Context) -> None:
        pass


class _Reader(Mutant):
    """Base: reads by ReadIndex."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"reads": "index"}


class AnswersUnasked(_Reader):
    """A majority says that the leader still leads before it answers a read (thesis section 6.4)."""

    __slots__ = ()

    def _serve_read(self, ctx: Context, command: Command) -> None:
        self._read(ctx, command)


class ReadsBeforeItsTerm(_Reader):
    """A new leader answers no read before an entry of its own term is committed (thesis section 6.4)."""

    __slots__ = ()

    def _knows_all_committed(self) -> bool:
        return True


class CountsEarlierConfirmations(_Reader):
    """The question whether the leader still leads is asked after the read came (thesis section 6.4)."""

    __slots__ = ()
    killed_by = READS

    def _serve_read(self, ctx: Context, command: Command) -> None:
        self._ask_whether_leading(ctx)
        self.unconfirmed.append((self.round - 1, command))


class ConfirmsAnybody(_Reader):
    """Only a follower of the term says that its leader leads (thesis section 6.4)."""

    __slots__ = ()
    killed_by = READS

    def on_confirm(self, ctx: Context, source: int, message: Confirm) -> None:
        ctx.send_unsynced(source, Confirmed(message.term, message.round))


class CountsConfirmationsOfOtherTerms(_Reader):
    """That it led an earlier term confirms nothing (thesis section 6.4)."""

    __slots__ = ()
    killed_by = READS

    def on_confirmed(self, ctx: Context, source: int, message: Confirmed) -> None:
        super().on_confirmed(ctx, source, Confirmed(self.current_term, message.round))


class _LeaseHolder(Mutant):
    """Base: reads by lease."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}
    killed_by = READS


class LeasesFromTheAnswer(_LeaseHolder):
    """A lease counts from when the question was sent (thesis section 6.4.1)."""

    __slots__ = ()

    def on_confirmed(self, ctx: Context, source: int, message: Confirmed) -> None:
        super().on_confirmed(ctx, source, message)
        if self.role == LEADER and self.lease_end_ns:
            self.lease_end_ns = ctx.clock_ns + self.lease_ns


class PromisesNothing(_LeaseHolder):
    """Who has confirmed a leader votes for nobody for the shortest election time-out (thesis section 6.4.1)."""

    __slots__ = ()

    def _has_promised(self, ctx: Context) -> bool:
        return False

    def _in_lease(self, ctx: Context) -> bool:
        return False


class PromisesForItsTerm(_LeaseHolder):
    """That promise binds in later terms as well, and whether the leader is remembered or not."""

    __slots__ = ()

    def _has_promised(self, ctx: Context) -> bool:
        return self.leader is not None and super()._has_promised(ctx)


class ForgetsItsPromise(_LeaseHolder):
    """That promise binds after a restart as well."""

    __slots__ = ()

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        super().recover(ctx, disk)
        self.heard_ns = ctx.clock_ns - self.election_ns[0]


class KeepsItsLease(_LeaseHolder):
    """A leader that asks another server to take over has no lease any more (thesis sections 3.10, 6.4.1)."""

    __slots__ = ()

    def _give_up_lease(self) -> None:
        pass


class RenewsItsLease(_LeaseHolder):
    """Nor gets it another one in that term: the other server may begin at any time."""

    __slots__ = ()

    def _give_up_lease(self) -> None:
        self.lease_end_ns = 0


class ObeysOldOrders(_LeaseHolder):
    """Only the leader of the term may ask for an election in spite of itself (thesis section 3.10)."""

    __slots__ = ()

    def on_timeout_now(self, ctx: Context, source: int, message: TimeoutNow) -> None:
        self._campaign(ctx, transfer=True)


class HandsOverTooEarly(Mutant):
    """The successor has the whole log before it is asked to begin (thesis section 3.10)."""

    __slots__ = ()
    guards = "liveness"
    killed_by = TRANSFER

    def _caught_up(self, ctx: Context, follower: int) -> None:
        if follower == self.successor:
            ctx.send_unsynced(follower, TimeoutNow(self.current_term))


class IgnoresTheTransfer(Mutant):
    """Who hears a leader votes for the server that this leader has asked to take over (thesis section 4.2.3)."""

    __slots__ = ()
    guards = "liveness"
    settings: ClassVar[dict[str, Any]] = {}
    killed_by = TRANSFER

    def on_request_vote(self, ctx: Context, source: int, message: RequestVote) -> None:
        super().on_request_vote(
            ctx, source, RequestVote(message.term, message.last_log_index, message.last_log_term, False)
        )


class DropsWhatWaits(Mutant):
    """Requests that waited during a transfer that came to nothing are served (thesis section 3.10)."""

    __slots__ = ()
    guards = "liveness"
    killed_by = TRANSFER

    def on_timer(self, ctx: Context, name: Any) -> None:
        if name == "transfer":
            self.queue.clear()
        super().on_timer(ctx, name)


class HeartbeatsSayNothing(Mutant):
    """A heartbeat tells the followers what is committed (Figure 2)."""

    __slots__ = ()
    guards = "liveness"

    def _send_heartbeats(self, ctx: Context) -> None:
        ctx.broadcast_unsynced(self.others, AppendEntries(self.current_term, 0, 0, (), 0))


class _Snapshots(Mutant):
    """Base: with snapshots."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"snapshot_every": 3}


class ForgetsSessions(_Snapshots):
    """What was executed before a snapshot is known after it (thesis section 6.3)."""

    __slots__ = ()

    def _adopt(
        self, ctx: Context, snapshot: Snapshot, sessions: SessionsImage, last_term: int, members: Members
    ) -> None:
        super()._adopt(ctx, snapshot, (), last_term, members)


class SessionsOfLater(_Snapshots):
    """The sessions beside a snapshot are those of its place, and say nothing of what was executed meanwhile."""

    __slots__ = ()

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        if self.taking is not None:
            self.taking = (self.taking[0], self.sessions.image())
        super().on_snapshot(ctx, source, message)


class GoesBack(_Snapshots):
    """A snapshot of less than what is committed here replaces nothing (section 7)."""

    __slots__ = ()

    def on_install_snapshot(self, ctx: Context, source: int, message: InstallSnapshot) -> None:
        self.commit_index = min(self.commit_index, message.snapshot.place - 1)
        super().on_install_snapshot(ctx, source, message)


class DiscardsUncommitted(_Snapshots):
    """The log is cut off up to the snapshot, not up to its end (section 7)."""

    __slots__ = ()

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        super().on_snapshot(ctx, source, message)
        if self.snapshot is not None:
            self._save_snapshot(ctx, self.log.discard(self.log.last_index))


class KeepsWhatASnapshotContradicts(_Snapshots):
    """Entries beyond a snapshot are kept only if the log agrees with it (section 7)."""

    __slots__ = ()
    killed_by = SNAPSHOTS

    def on_install_snapshot(self, ctx: Context, source: int, message: InstallSnapshot) -> None:
        place = message.snapshot.place
        if self.log.base_index < place <= self.log.last_index:
            message = msgspec.structs.replace(message, last_term=self.log.term(place))
        super().on_install_snapshot(ctx, source, message)


class _Repair(Mutant):
    """Base of those that know no better after a disk was damaged."""

    __slots__ = ()
    killed_by = REPAIR


class NeverWritten(_Repair):
    """What cannot be read is not treated as never written."""

    __slots__ = ()

    def _read_disk(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        good: dict[Any, Any] = {"vote": disk["vote"]} if disk.get("vote", CORRUPT) is not CORRUPT else {}
        while disk.get(len(good) + 1 - ("vote" in good), CORRUPT) is not CORRUPT:
            index = len(good) + 1 - ("vote" in good)
            good[index] = disk[index]
        super()._read_disk(ctx, good)


class RepairedAtOnce(_Repair):
    """Who has lost entries is repaired when it has a leader's, not when it has heard from one."""

    __slots__ = ()

    def _is_damaged(self) -> bool:
        return self.asking > 0


class RepairedByOldEntries(_Repair):
    """Of a later term, an entry of that term says that the log has everything; earlier ones do not."""

    __slots__ = ()

    def _perhaps_repaired(self, ctx: Context, agreeing: int) -> None:
        if self.repair is not None and self.current_term > self.repair[0]:
            self.repair = (self.current_term, 0)
        super()._perhaps_repaired(ctx, agreeing)


class AsksNobody(_Repair):
    """Who has lost its vote says nothing before the others have told their terms."""

    __slots__ = ()

    def _have_asked_enough(self) -> bool:
        return True

    def _is_damaged(self) -> bool:
        return False


class AsksAMajority(_Repair):
    """All others are asked: the one that does not answer may be the candidate that has the forgotten vote."""

    __slots__ = ()

    def _have_asked_enough(self) -> bool:
        return len(self.replies) >= majority(self.cluster.size) - 1


class CountsTheLost(_Repair):
    """When a majority has lost its votes, nobody goes on."""

    __slots__ = ()

    def _have_asked_enough(self) -> bool:
        return len(self.replies) == len(self.others)


class TakesUpTermsWhileAsking(_Repair):
    """Who has lost its vote writes no term down before the others have told theirs."""

    __slots__ = ()

    def _enter_term(self, ctx: Context, term: int) -> None:
        RaftElection._enter_term(self, ctx, term)


class LeadsBeforeItsTermIsDurable(_Repair):
    """Nobody leads a term that is not on its disk: votes for it may come from before that disk was lost."""

    __slots__ = ()

    def _is_elected(self) -> bool:
        return self._is_quorum(self.votes)


class LeavesTheLeaderInTheDark(_Repair):
    """A leader is told that a follower has lost what it acknowledged."""

    __slots__ = ()
    guards = "liveness"

    def _restart_follower(self, ctx: Context, follower: int, last_index: int) -> None:
        pass


MUTANTS: tuple[type[Mutant], ...] = (
    VotesForAnyLog, ComparesLengthsOnly, VotesTwice, VotedForNotDurable, TermNotDurable, SolicitsEarly, VotesEarly,
    CountsOldVotes, CountsOldAcknowledgements, TakesRefusalsForAgreement, ObeysOldLeaders, CountsOlderTerms,
    SkipsTheConsistencyCheck, TruncatesAlways, KeepsConflicts, CommitsBeyondNew, AcknowledgesItsWholeLog,
    AcknowledgesEarly, CountsItselfEarly, ForgetsNothing, ExecutesRetries, BeginsWithoutNoop, PreVoteBeginsATerm,
    IgnoresTheVoteLease, LeadsWithoutAMajority,
    CountsNewMembersOnly, CountsOldMembersOnly, CountsItselfAsMember, ChangesInOneStep, KeepsRemovedMembers,
    LeavesTheJointAtOnce, StaysInTheJoint, SnapshotsWithoutMembers, SnapshotsWithLaterMembers, LearnersStand,
    StaysInOffice,
    AnswersUnasked, ReadsBeforeItsTerm, CountsEarlierConfirmations, ConfirmsAnybody, CountsConfirmationsOfOtherTerms,
    LeasesFromTheAnswer, PromisesNothing, PromisesForItsTerm, ForgetsItsPromise, KeepsItsLease, RenewsItsLease,
    ObeysOldOrders, HandsOverTooEarly, IgnoresTheTransfer, DropsWhatWaits, HeartbeatsSayNothing,
    ForgetsSessions, SessionsOfLater, GoesBack, DiscardsUncommitted, KeepsWhatASnapshotContradicts,
    NeverWritten, RepairedAtOnce, RepairedByOldEntries, AsksNobody, AsksAMajority, CountsTheLost,
    TakesUpTermsWhileAsking, LeadsBeforeItsTermIsDurable, LeavesTheLeaderInTheDark,
)  # fmt: skip
"""All of the above."""
