"""Raft: reads that have no place in the log (thesis section 6.4).

A leader may answer a read from its own state machine if it is still the leader when it looks. It knows so

- with ``reads = "index"``, from a majority that answers a question which was asked after the read came (ReadIndex);
- with ``reads = "lease"``, from its clock: each follower that answers such a question promises to vote for nobody for
  the shortest election time-out. The lease counts from when the question was *sent*, and is shorter than the promise by
  ``clock_drift_bound``: one clock is at most 1 + this times as fast as another. Beyond it reads are stale.

In both cases it must have committed an entry of its own term, or it does not know all that is committed; it executes
what it commits at once, so that the state machine is never behind the commit index.

A follower that restarts has forgotten its promise, and keeps it by voting for nobody for as long as it may run. A
leader that asks another one to take over (raft_transfer.py) lets it be elected in spite of leases, so that from then on
it has none in this term: the request may arrive at any time.
"""

from __future__ import annotations

from typing import ClassVar

from consensus_bench.contract import Cluster, Command, Context
from protocols.raft_election import LEADER, RaftElection
from protocols.raft_messages import Confirm, Confirmed, Forward, RaftOptions


class RaftReads(RaftElection):
    """What a server needs for them. ``Raft`` calls ``_serve_read`` with each read."""

    __slots__ = (
        "commit_index", "confirmed", "lease_end_ns", "lease_ns", "may_lease", "passed_reads", "reads_apart", "round",
        "round_sent_ns", "term_start", "unconfirmed",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("lease_ns", "reads_apart")

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.reads_apart = options.reads != "log"
        leased = self.election_ns[0] / (1 + options.clock_drift_bound)
        self.lease_ns = int(leased) if options.reads == "lease" else 0
        self.commit_index = 0
        self.passed_reads: dict[int, Command] = {}
        """By client, the last read that was passed on to a leader: if that one dies, the next one gets it."""
        self._forget_reads()

    def _forget_reads(self) -> None:
        """What only a leader has, new with each term that it leads."""
        self.term_start = 0
        """The first entry of the term that it leads: below, no read may be served."""
        self.round = 0
        """The last question whether it still leads."""
        self.confirmed = [0] * self.cluster.size
        """The last such question that each has answered with yes."""
        self.unconfirmed: list[tuple[int, Command]] = []
        """(round, read): reads that wait for the answers to this question, or a later one."""
        self.round_sent_ns: dict[int, int] = {}
        """When the questions were sent that have no majority yet."""
        self.lease_end_ns = 0
        self.may_lease = self.lease_ns > 0

    def _serve_read(self, ctx: Context, command: Command) -> None:
        """Of the leader: now, if the lease runs; else when a majority has confirmed that it leads."""
        if self.lease_end_ns > ctx.clock_ns and self._knows_all_committed():
            self._read(ctx, command)
        else:
            self.unconfirmed.append((self.round + 1, command))
            self._ask_whether_leading(ctx)

    def _read(self, ctx: Context, command: Command) -> None:
        ctx.read(command)
        ctx.answer(command)

    def _pass_read(self, ctx: Context, leader: int, command: Command) -> None:
        ctx.send_unsynced(leader, Forward(command))
        self.passed_reads[command.client] = command

    def _knows_all_committed(self) -> bool:
        return self.commit_index >= self.term_start

    def _ask_whether_leading(self, ctx: Context) -> None:
        self.round += 1
        self.round_sent_ns[self.round] = ctx.clock_ns
        ctx.broadcast_unsynced(self.others, Confirm(self.current_term, self.round))
        if self.majority == 1:
            self._count_confirmed(ctx)  # a sole member has its majority without asking

    def on_confirm(self, ctx: Context, source: int, message: Confirm) -> None:
        """Say yes to the leader of the term; with a lease, this is the promise to vote for nobody else."""
        if source == self.leader and message.term == self.current_term:
            self._hear(ctx)
            ctx.send_unsynced(source, Confirmed(message.term, message.round))

    def _hear(self, ctx: Context) -> None:
        """The leader lives."""
        self.heard_ns = ctx.clock_ns
        ctx.set_timer("election", *self.election_ns)

    def on_confirmed(self, ctx: Context, source: int, message: Confirmed) -> None:
        """The follower lets us lead."""
        if message.term != self.current_term or self.role != LEADER or message.round <= self.confirmed[source]:
            return
        self.confirmed[source] = message.round
        self._count_confirmed(ctx)

    def _count_confirmed(self, ctx: Context) -> None:
        """A majority that says yes to a question has said so to all earlier ones."""
        self.confirmed[self.me] = self.round
        by_majority = self._held_by_quorum(self.confirmed)
        sent_ns = self.round_sent_ns.get(by_majority)
        if sent_ns is None:
            return  # no more than was known before
        self.round_sent_ns = {number: at for number, at in self.round_sent_ns.items() if number > by_majority}
        if self.may_lease:
            self.lease_end_ns = max(self.lease_end_ns, sent_ns + self.lease_ns)
        self._serve_confirmed(ctx)

    def _serve_confirmed(self, ctx: Context) -> None:
        """The reads that a majority has confirmed, once an entry of the term is committed."""
        if self.unconfirmed and self._knows_all_committed():
            confirmed = self._held_by_quorum(self.confirmed)
            reads, self.unconfirmed = self.unconfirmed, []
            for number, command in reads:
                if number <= confirmed:
                    self._read(ctx, command)
                else:
                    self.unconfirmed.append((number, command))

    def _confirm_at_heartbeat(self, ctx: Context) -> None:
        """Renew the lease; ask again for reads whose question or answers were lost."""
        if self.lease_ns or self.unconfirmed:
            self._ask_whether_leading(ctx)

    def _has_promised(self, ctx: Context) -> bool:
        """A promise binds whoever gave it, in whatever term it is now, and though it may have forgotten the leader."""
        return self.lease_ns > 0 and ctx.clock_ns - self.heard_ns < self.election_ns[0]

    def _in_lease(self, ctx: Context) -> bool:
        return self._has_promised(ctx) or super()._in_lease(ctx)

    def _give_up_lease(self) -> None:
        """For the rest of the term."""
        self.lease_end_ns = 0
        self.may_lease = False
