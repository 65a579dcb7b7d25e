"""Raft: terms, votes, and who may lead. The rest of a server is in raft.py.

Whoever hears of a term above its own enters it, and forgets whom it voted for and who led: this is all that keeps old
leaders and candidates from doing harm (section 5.1). Each server votes once per term, for a candidate whose log is at
least as up-to-date as its own, so that a leader holds every committed entry (section 5.4).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, TypeAlias

from consensus_bench.contract import Cluster, Context, Replica, ns
from protocols.quorums import majority
from protocols.raft_log import RaftLog
from protocols.raft_messages import PreVote, PreVoteReply, RaftOptions, Refused, RequestVote, Vote

FOLLOWER: Final = "follower"
PRE_CANDIDATE: Final = "pre-candidate"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"

Members: TypeAlias = tuple[int, ...]
"""A set of servers, as a bit mask; while they change two, the old members and the new ones (raft_membership.py)."""


class RaftElection(Replica):
    """The persistent state of a Raft server, and its handlers for elections. ``Raft`` adds everything else."""

    __slots__ = (
        "current_term", "election_ns", "everyone", "everyone_counts", "heard_ns", "leader", "log", "majority",
        "members", "role", "voted_for", "votes",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("election_ns", "everyone")

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.everyone: Members = ((1 << cluster.size) - 1,)
        self._use_members(((1 << (options.first_members or cluster.size)) - 1,))
        low, high = options.election_timeout_ms
        self.election_ns = (ns(low), ns(high))
        self.current_term = 0
        self.voted_for: int | None = None
        self.log = RaftLog()
        self.role = FOLLOWER
        self.leader: int | None = None
        """Who is known to lead ``current_term``, until the election timer fires."""
        self.heard_ns = 0
        """When it was last heard of, by our clock."""
        self.votes = 0
        """Who has granted us a vote or pre-vote, as a bit mask."""

    @abstractmethod
    def _lead(self, ctx: Context) -> None:
        """Begin to lead ``current_term``."""

    @abstractmethod
    def _stop_leading(self, ctx: Context) -> None:
        """No longer lead."""

    # --- majorities ---------------------------------------------------------------------------------------------------

    def _use_members(self, members: Members) -> None:
        """Whose votes count from now on."""
        self.members = members
        self.everyone_counts = members == self.everyone
        self.majority = max(majority(each.bit_count()) for each in members)
        """Fewer servers are no quorum, whoever they are. So many are one if all servers are members."""

    def _is_quorum(self, servers: int) -> bool:
        """Whether these servers, a bit mask, have among them a majority of each set of members."""
        return all((servers & each).bit_count() >= majority(each.bit_count()) for each in self.members)

    def _held_by_quorum(self, reached: Sequence[int]) -> int:
        """The highest number that a quorum has reached, of what each server has."""
        if self.everyone_counts:
            return sorted(reached)[-self.majority]
        each_reached = [[n for server, n in enumerate(reached) if each >> server & 1] for each in self.members]
        return min(sorted(numbers)[-majority(len(numbers))] for numbers in each_reached)

    # --- leader election (section 5.2, 5.4.1) -------------------------------------------------------------------------

    def _time_out(self, ctx: Context) -> None:
        """No leader was heard of, or no election won, for an election time-out."""
        self.leader = None
        ctx.note("suspected")
        if self.options.pre_vote:
            self._ask_pre_votes(ctx)
        else:
            self._campaign(ctx)

    def _ask_pre_votes(self, ctx: Context) -> None:
        """Thesis section 9.6: increment the term only if a majority would vote for it."""
        self.role = PRE_CANDIDATE
        self.votes = 1 << self.me
        ctx.set_timer("election", *self.election_ns)
        if self._is_quorum(self.votes):
            self._campaign(ctx)
        else:
            ctx.broadcast_unsynced(self.others, PreVote(self.current_term + 1, self.log.last_index, self.log.last_term))

    def on_pre_vote(self, ctx: Context, source: int, message: PreVote) -> None:
        """Grant it if no leader is alive, as far as is known here, and the vote would be granted. Nothing changes."""
        term = message.term
        if term > self.current_term and not self._in_lease(ctx) and self._is_up_to_date(message):
            ctx.send_unsynced(source, PreVoteReply(term, True))
        else:
            ctx.send_unsynced(source, PreVoteReply(self.current_term, False))

    def on_pre_vote_reply(self, ctx: Context, source: int, message: PreVoteReply) -> None:
        """A majority of pre-votes lets the election begin; a refusal may tell of a newer term."""
        if message.granted:
            if self.role == PRE_CANDIDATE and message.term == self.current_term + 1:
                self.votes |= 1 << source
                if self._is_quorum(self.votes):
                    self._campaign(ctx)
        elif message.term > self.current_term:
            self._enter_term(ctx, message.term)

    def _in_lease(self, ctx: Context) -> bool:
        """Whether a leader was heard of within the minimum election time-out (thesis section 4.2.3); safety does not
        depend on this."""
        if self.leader is None:
            return False
        return self.role == LEADER or ctx.clock_ns - self.heard_ns < self.election_ns[0]

    def _campaign(self, ctx: Context, transfer: bool = False) -> None:
        """Begin an election in a new term with a vote for oneself (section 5.2). If it brings nothing, the timer begins
        the next."""
        self.role = CANDIDATE
        self.leader = None
        self.current_term += 1
        self.voted_for = self.me
        self.votes = 0
        self._save_vote(ctx)
        ctx.set_timer("election", *self.election_ns)
        self._solicit(ctx, RequestVote(self.current_term, self.log.last_index, self.log.last_term, transfer))

    def _save_vote(self, ctx: Context) -> None:
        """Term and vote are one value: a vote kept without its term, or the reverse, is worth nothing."""
        ctx.persist("vote", (self.current_term, self.voted_for))

    def _solicit(self, ctx: Context, request: RequestVote) -> None:
        """Once term and vote are on disk, ask the others and count one's own vote."""
        ctx.broadcast(self.others, request)
        ctx.send(self.me, Vote(self.current_term, True))

    def on_request_vote(self, ctx: Context, source: int, message: RequestVote) -> None:
        """One vote per term, first come, first served, for a log that is at least as up-to-date as this one."""
        if not self._knows_its_votes():
            return
        if message.term > self.current_term:
            if self.options.check_quorum and not message.transfer and self._in_lease(ctx):
                return
            self._enter_term(ctx, message.term)
        free = message.transfer or not self._has_promised(ctx)
        granted = (
            free and message.term == self.current_term and self._may_vote_for(source) and self._is_up_to_date(message)
        )
        if granted:
            if self.voted_for is None:
                self.voted_for = source
                self._save_vote(ctx)
            ctx.set_timer("election", *self.election_ns)
        ctx.send(source, Vote(self.current_term, granted))

    def _knows_its_votes(self) -> bool:
        """Whether the disk was able to tell (raft_repair.py)."""
        return True

    def _has_promised(self, ctx: Context) -> bool:
        """Whether a leader relies on us to vote for nobody now (raft_reads.py)."""
        return False

    def _may_vote_for(self, candidate: int) -> bool:
        return self.voted_for is None or self.voted_for == candidate

    def _is_up_to_date(self, request: RequestVote | PreVote) -> bool:
        """Section 5.4.1: the later last term, or with the same one the longer log, is more up-to-date."""
        log = self.log
        return (request.last_log_term, request.last_log_index) >= (log.last_term, log.last_index)

    def on_vote(self, ctx: Context, source: int, message: Vote) -> None:
        """Votes from a majority of the servers for the same term make a leader."""
        if message.term > self.current_term:
            self._enter_term(ctx, message.term)
        elif message.granted and message.term == self.current_term and self.role == CANDIDATE:
            self.votes |= 1 << source
            if self._is_elected():
                self._lead(ctx)

    def _is_elected(self) -> bool:
        """Our own vote among the others says that the term is on this disk: or else votes for an earlier life, whose
        disk was lost, might make us lead a term that the next life could begin anew."""
        return bool(self.votes >> self.me & 1) and self._is_quorum(self.votes)

    # --- terms (section 5.1) ------------------------------------------------------------------------------------------

    def _enter_term(self, ctx: Context, term: int) -> None:
        """A higher term makes a follower of everybody (section 5.1). A running election timer goes on: only a leader,
        the grant of a vote and the start of an election reset it (Figure 2)."""
        self.current_term = term
        self.voted_for = None
        self._save_vote(ctx)
        self._step_down(ctx)

    def _step_down(self, ctx: Context) -> None:
        if self.role == LEADER:
            self._stop_leading(ctx)
            ctx.set_timer("election", *self.election_ns)
        self.role = FOLLOWER
        self.leader = None
        self.votes = 0

    def on_refused(self, ctx: Context, source: int, message: Refused) -> None:
        """There is a newer term."""
        if message.term > self.current_term:
            self._enter_term(ctx, message.term)
