"""Raft: a server whose disk is damaged or lost stays out of quorums until the others have repaired it.

What it acknowledged it may have forgotten (contract/storage.py), and whoever counts on its votes or entries must not be
disappointed (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018). So it gives no votes,
does not campaign, and acknowledges only what its disk really holds, until it is repaired:

1. *Its vote is lost.* It may have voted for anybody in any term, but only for a candidate that had made its term
   durable first. So it asks all others for their terms, and does nothing else until all have answered. The highest
   term counts as one in which it has voted. A majority of the others would not do: the one candidate that holds the
   forgotten vote may be the one that is silent (Michael et al., "Recovering Shared Objects without Stable Storage",
   DISC 2017). Others that have lost their votes as well say so: they are no candidates any more. Only as long as
   they are a minority, this server counted: what a majority has committed is known to nobody when a majority's disks
   are lost, and then no server may come back by itself.
2. *Entries are lost.* It has them again, as far as anybody counted on them, when its log equals that of a leader
   - of the same term up to the end of what it had acknowledged: the last index that the disk has a trace of, or, where
     none is left, the leader's last index after the restart; or
   - of a later term, up to an entry of that term. That leader was elected without our vote, by a majority of the
     others: these meet each majority that our entries were counted in, and vote for nobody who lacks what was
     committed (section 5.4.3; while the members change, majorities of the old and of the new ones meet likewise).

A leader that believed our acknowledgements must be told, or it would take our conflicts for old ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import CORRUPT, LOST, Cluster, Context
from protocols.quorums import majority
from protocols.raft_election import LEADER
from protocols.raft_membership import RaftMembership
from protocols.raft_messages import AskTerm, PreVote, RaftOptions, RequestVote, TermReply, TimeoutNow

UNKNOWN: Final = -1
"""The term of a server that has lost its vote as well."""
NEVER: Final = 1 << 62
"""No index of a leader of the same term proves anything."""


class RaftRepair(RaftMembership):
    """What a server needs for it. ``Raft`` calls ``_read_disk``, and ``_perhaps_repaired`` when its log agrees with a
    leader's."""

    __slots__ = ("asking", "question", "repair", "replies")
    repairs_disks = True
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.repair: tuple[int, int] | None = None
        """(term, index): what a log must have to be repaired, see above; None: it is sound."""
        self.asking = False
        """Our vote is lost, and not all others have told their terms."""
        self.question = 0
        """The time on our clock when we restarted: tells the answers to this process from those to earlier ones."""
        self.replies: dict[int, TermReply] = {}

    @abstractmethod
    def _restart_follower(self, ctx: Context, follower: int, last_index: int) -> None:
        """Of a leader: ``follower`` has lost what it acknowledged. Its log ends at ``last_index``."""

    def _read_disk(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Take up what can be read, and say what cannot."""
        self.question = ctx.clock_ns
        indexes = sorted(key for key in disk if isinstance(key, int))
        for index in indexes:
            if disk[index] is CORRUPT:
                break
            assert index == self.log.last_index + 1, f"entry {index} on disk follows {self.log.last_index}"
            self.log.entries.append(disk[index])
        self._members_in_log()
        end = indexes[-1] if indexes else 0
        for index in range(self.log.last_index + 1, end + 1):
            ctx.forget(index)
        vote, repair = disk.get("vote", (0, None)), disk.get("repair")
        if LOST in disk or vote is CORRUPT or repair is CORRUPT:
            self.asking = True
            self._ask_terms(ctx)
            return
        self.current_term, self.voted_for = vote
        self.repair = repair
        if end > self.log.last_index:
            self._begin_repair(ctx, self.current_term, end if repair is None else max(end, repair[1]))
        if self.repair is not None:
            self._ask_terms(ctx)

    def _begin_repair(self, ctx: Context, term: int, index: int) -> None:
        self.repair = (term, index)
        ctx.persist("repair", self.repair)

    def _ask_terms(self, ctx: Context) -> None:
        """Until we are repaired: to learn the terms, and to tell leaders."""
        ctx.broadcast_unsynced(self.others, AskTerm(self.question, self.log.last_index))
        ctx.set_timer("ask", self.election_ns[0])

    def on_ask_term(self, ctx: Context, source: int, message: AskTerm) -> None:
        """Tell our term, when it is durable."""
        term = UNKNOWN if self.asking else self.current_term
        leads = self.role == LEADER
        last_index = self.log.last_index if leads else NEVER
        ctx.send(source, TermReply(message.question, term, last_index, self.members))
        if leads:
            self._restart_follower(ctx, source, message.last_index)

    def on_term_reply(self, ctx: Context, source: int, message: TermReply) -> None:
        """When all others have answered, what we may have promised is known. The leader of that term also says up to
        where we may have acknowledged its log."""
        if message.question != self.question:
            return
        if self.asking:
            self.replies[source] = message
            if self._have_asked_enough():
                self._bound_votes(ctx)
        elif self.repair == (message.term, NEVER) and message.leader_index < NEVER:
            self._begin_repair(ctx, message.term, message.leader_index)

    def _bound_votes(self, ctx: Context) -> None:
        replies = self.replies.values()
        term = max(self.log.last_term, *(reply.term for reply in replies))
        index = min((reply.leader_index for reply in replies if reply.term == term), default=NEVER)
        self.asking = False
        self.replies = {}
        self.current_term, self.voted_for = term, self.me  # to nobody else, and we were no candidate
        self._save_vote(ctx)
        self._begin_repair(ctx, term, index)
        ctx.forget(LOST)

    def _have_asked_enough(self) -> bool:
        """Whether all have answered, and whoever has not lost its votes is a majority of the members. (We may have lost
        who these are. But if a configuration is in force, a majority of the one before knows it, and so on back to the
        first: if the intact are no majority of the last one, some of them know one of which they are none.)"""
        replies = self.replies.items()
        intact = sum(1 << server for server, reply in replies if reply.term != UNKNOWN)
        known = {*self.members, *(each for _, reply in replies if reply.term != UNKNOWN for each in reply.members)}
        enough = all((intact & each).bit_count() >= majority(each.bit_count()) for each in known)
        return len(self.replies) == len(self.others) and enough

    def _perhaps_repaired(self, ctx: Context, agreeing: int) -> None:
        """Our log equals that of the leader of our term up to ``agreeing``."""
        assert self.repair is not None
        term, index = self.repair
        if (self.current_term == term and agreeing >= index) or (
            self.current_term > term and self.log.term(agreeing) == self.current_term
        ):
            self.repair = None
            ctx.forget("repair")
            ctx.cancel_timer("ask")

    def _knows_its_votes(self) -> bool:
        return not self.asking

    def _enter_term(self, ctx: Context, term: int) -> None:
        """Not while we ask: the new term on disk, without a vote, would look to the next restart as if all were well,
        and we may have voted in it."""
        if not self.asking:
            super()._enter_term(ctx, term)

    def _is_damaged(self) -> bool:
        return self.asking or self.repair is not None

    def _is_up_to_date(self, request: RequestVote | PreVote) -> bool:
        """No log is, beside one whose end we have forgotten."""
        return not self._is_damaged() and super()._is_up_to_date(request)

    def _time_out(self, ctx: Context) -> None:
        """Who is damaged does not campaign."""
        if self._is_damaged():
            self.leader = None
            ctx.set_timer("election", *self.election_ns)
        else:
            super()._time_out(ctx)

    def on_timeout_now(self, ctx: Context, source: int, message: TimeoutNow) -> None:
        if not self._is_damaged():
            super().on_timeout_now(ctx, source, message)
