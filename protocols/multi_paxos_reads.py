"""Multi-Paxos: reads that have no place in the log.

``reads = "lease"``: the leader answers from its state machine while it is certain that nobody else can have become
leader (master leases: Chandra, Griesemer, Redstone, "Paxos Made Live" (2007), section 5.2).

- Whoever grants the leader a lease promises nothing to anybody else for ``lease_ms`` by its own clock. The leader
  counts from when it *asked*, and for less: one clock is at most 1 + ``clock_drift_bound`` times as fast as another.
  Beyond it reads are stale. To be some time off does no harm; to be set back does.
- Those who granted must meet every phase-1 quorum: with quorums of Q1 among N replicas, N - Q1 + 1 of them do.
- A restarted replica does not know what it granted, and promises nothing to anybody for as long as a lease may run:
  not even to whom it has granted one since, for it may have forgotten a higher ballot, and a grant at that.
- A new leader answers no read before it has executed everything that it took over from those before.

``reads = "quorum"``: any replica answers, without a clock or a leader (Charapko, Ailijiang, Demirbas, "Linearizable
Quorum Reads in Paxos" (HotStorage 2019)).

- It asks a phase-1 quorum for the highest slot that each has accepted, waits until it has executed that far itself, and
  reads. Every phase-1 quorum has heard of all that was chosen before.
- Answers to the questions of an earlier life may be older than the read: ``life`` tells them (multi_paxos_repair.py).
- A slot that few had accepted may be above all that a later leader has heard of. Nothing was chosen there, and nothing
  will be before there are requests enough; so whoever waits for it asks the leader to fill it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import Ballot, Cluster, Command, Context, ns
from protocols.multi_paxos_learner import LEADER, NEVER
from protocols.multi_paxos_messages import (
    Extend,
    Extended,
    Fill,
    Forward,
    MultiPaxosOptions,
    Prepare,
    ReadQuery,
    ReadReply,
)
from protocols.multi_paxos_snapshots import MultiPaxosSnapshots

NOBODY: Final = -1


class MultiPaxosReads(MultiPaxosSnapshots):
    """What a replica needs for them. ``MultiPaxos`` calls ``_read_apart`` with each read."""

    __slots__ = (
        "confirmed", "granted_ballot", "granted_until_ns", "holder", "lease_end_ns", "lease_ns", "lease_quorum",
        "may_lease", "promise_ns",
        "queries", "reads_apart", "reads_at", "reads_by_quorum", "round", "round_sent_ns", "silent_until_ns",
        "unanswered", "unserved",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("lease_ns", "lease_quorum", "promise_ns", "reads_apart", "reads_by_quorum")

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.reads_apart = options.reads != "log"
        self.reads_by_quorum = options.reads == "quorum"
        self.promise_ns = ns(options.lease_ms) if options.reads == "lease" else 0
        self.lease_ns = int(self.promise_ns / (1 + options.clock_drift_bound))
        self.lease_quorum = cluster.size - self.phase1_quorum + 1
        self.holder = NOBODY
        """To whom a lease was granted last, and (in the next) how long it may run, by the own clock."""
        self.granted_until_ns = 0
        self.granted_ballot: Ballot = (0, 0)
        self.silent_until_ns = 0
        """Of a restarted replica: how long a lease of anybody may run."""
        self.unanswered: dict[int, Command] = {}
        """By client, the last read that was passed on, or waits for a leader."""
        self.reads_at: list[tuple[int, Command]] = []
        """(slot, read) of those that wait until everything below that slot is executed."""
        self.round = 0
        """The number of the last question, for a lease or for slots."""
        self.queries: dict[int, tuple[Command, int, int]] = {}
        """By number of the question: the read, the replicas that have answered (bit mask), the highest slot's end."""
        self._forget_lease()

    def _forget_lease(self) -> None:
        """What only a leader has."""
        self.lease_end_ns = 0
        self.may_lease = self.promise_ns > 0
        self.confirmed = [0] * self.cluster.size
        """The last question for a lease that each has answered with yes."""
        self.round_sent_ns: dict[int, int] = {}
        """When the questions were sent that have no quorum yet."""
        self.unserved: list[Command] = []
        """Reads that wait for a lease."""

    # --- requests -----------------------------------------------------------------------------------------------------

    def _read_apart(self, ctx: Context, command: Command) -> None:
        leader = self.leader
        if self.reads_by_quorum:
            self._query(ctx, command)
        elif leader == self.me:
            self._serve_read(ctx, command)
        else:
            self.unanswered[command.client] = command
            if leader is not None:
                ctx.send_unsynced(leader, Forward(command, self.promised))

    def _reads_to_ask_again(self) -> list[Command]:
        """There is a leader, perhaps a new one: reads that the last one may not have answered."""
        reads = list(self.unanswered.values())
        self.unanswered.clear()
        return reads

    def _serve_read(self, ctx: Context, command: Command) -> None:
        """Now, or when there is a lease, or when everything that was taken over has been executed."""
        if not self.may_lease:
            self._serve_without_lease(ctx, command)
        elif ctx.clock_ns >= self.lease_end_ns:
            self.unserved.append(command)
        elif not self._has_recovered():
            self._wait_for(self.recovered, command)
        else:
            self._read(ctx, command)

    @abstractmethod
    def _serve_without_lease(self, ctx: Context, command: Command) -> None:
        """Of the leader: there will be no lease at this ballot."""

    def _read(self, ctx: Context, command: Command) -> None:
        ctx.read(command)
        ctx.answer(command)

    def _has_recovered(self) -> bool:
        return self.committed >= self.recovered

    def _wait_for(self, slot: int, command: Command) -> None:
        self.reads_at.append((slot, command))
        self.wake_at = min(self.wake_at, slot)

    def _plan_wake(self) -> None:
        super()._plan_wake()
        if self.reads_at:
            self.wake_at = min(self.wake_at, *(slot for slot, _ in self.reads_at), NEVER)

    def _reached(self, ctx: Context) -> None:
        """So much has been executed that a read need not wait any longer."""
        if self.reads_at:
            ready = [command for slot, command in self.reads_at if slot <= self.committed]
            self.reads_at = [(slot, command) for slot, command in self.reads_at if slot > self.committed]
            for command in ready:
                if self.reads_by_quorum:
                    self._read(ctx, command)
                else:
                    self._read_apart(ctx, command)
        super()._reached(ctx)

    # --- leases -------------------------------------------------------------------------------------------------------

    def _took_office(self, ctx: Context) -> None:
        super()._took_office(ctx)
        self._extend_lease(ctx)

    def _beat(self, ctx: Context) -> None:
        super()._beat(ctx)
        self._extend_lease(ctx)

    def _extend_lease(self, ctx: Context) -> None:
        """Ask all for a lease, and grant it oneself."""
        if not self.may_lease:
            return
        self.round += 1
        self.round_sent_ns[self.round] = ctx.clock_ns
        self._grant(ctx, self.me)
        ctx.broadcast_unsynced(self.others, Extend(self.promised, self.round))
        self._count_grants(ctx)

    def _grant(self, ctx: Context, holder: int) -> None:
        self.holder = holder
        self.granted_ballot = self.promised
        self.granted_until_ns = max(self.granted_until_ns, ctx.clock_ns + self.promise_ns)

    def on_extend(self, ctx: Context, source: int, message: Extend) -> None:
        """Grant the leader that is followed a lease."""
        if source == self.leader and message.ballot == self.promised:
            self._grant(ctx, source)
            ctx.send_unsynced(source, Extended(message.ballot, message.round))

    def on_extended(self, ctx: Context, source: int, message: Extended) -> None:
        """Who grants a lease has granted all earlier ones."""
        current = self.may_lease and self.role == LEADER and message.ballot == self.promised
        if current and message.round > self.confirmed[source]:
            self.confirmed[source] = message.round
            self._count_grants(ctx)

    def _count_grants(self, ctx: Context) -> None:
        self.confirmed[self.me] = self.round
        by_quorum = sorted(self.confirmed)[-self.lease_quorum]
        sent_ns = self.round_sent_ns.get(by_quorum)
        if sent_ns is None:
            return  # no more than was known before
        self.round_sent_ns = {number: at for number, at in self.round_sent_ns.items() if number > by_quorum}
        self.lease_end_ns = max(self.lease_end_ns, self._lease_end(ctx, sent_ns))
        reads, self.unserved = self.unserved, []
        for command in reads:
            self._serve_read(ctx, command)

    def _lease_end(self, ctx: Context, sent_ns: int) -> int:
        return sent_ns + self.lease_ns

    def _has_granted(self, ctx: Context, candidate: int, waives: Ballot) -> bool:
        """Whether somebody else relies on us to promise ``candidate`` nothing. Up to ``waives`` leases are given up."""
        if ctx.clock_ns < self.silent_until_ns:
            return True
        return candidate != self.holder and ctx.clock_ns < self.granted_until_ns and self.granted_ballot > waives

    def _give_up_lease(self, ctx: Context) -> None:
        """For the rest of this ballot."""
        self.may_lease = False
        self.lease_end_ns = 0
        reads, self.unserved = self.unserved, []
        for command in reads:
            self._serve_read(ctx, command)

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        if not self._has_granted(ctx, source, message.waives):
            super().on_prepare(ctx, source, message)

    def _campaign(self, ctx: Context) -> None:
        """In vain while a lease of another runs."""
        if self._has_granted(ctx, self.me, self.waives):
            left_ns = max(self.granted_until_ns, self.silent_until_ns) - ctx.clock_ns
            ctx.set_timer("election", left_ns, left_ns + self.election_high_ns - self.election_low_ns)
        else:
            super()._campaign(ctx)

    def _restore(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        super()._restore(ctx, disk)
        if self.promise_ns:
            self.silent_until_ns = ctx.clock_ns + self.promise_ns

    def _step_down(self, ctx: Context) -> None:
        if self.role == LEADER:
            waiting = [*self.unserved, *(command for _, command in self.reads_at)]
            if not self.reads_by_quorum:
                self.unanswered.update({command.client: command for command in waiting})
                self.reads_at = []
            self._forget_lease()
        super()._step_down(ctx)

    # --- quorum reads -------------------------------------------------------------------------------------------------

    def _query(self, ctx: Context, command: Command) -> None:
        waiting = {read for read, _, _ in self.queries.values()} | {read for _, read in self.reads_at}
        if command not in waiting:
            self.round += 1
            self.queries[self.round] = (command, 0, 0)
            question = ReadQuery(self.life, self.round)
            ctx.broadcast_unsynced(self.others, question)
            self.on_read_query(ctx, self.me, question)

    def on_read_query(self, ctx: Context, source: int, message: ReadQuery) -> None:
        """How far the log goes here. Who cannot read its disk does not know."""
        if self.forgetful or self._is_damaged_from(self.committed):
            return
        reply = ReadReply(message.life, message.round, self.log.end)
        if source == self.me:
            self.on_read_reply(ctx, source, reply)
        else:
            ctx.send_unsynced(source, reply)

    def on_read_reply(self, ctx: Context, source: int, message: ReadReply) -> None:
        """With a quorum's answers it is known how far to execute."""
        query = self.queries.get(message.round)
        if query is None or message.life != self.life:
            return
        command, replied, end = query
        replied |= 1 << source
        end = max(end, message.end)
        if replied.bit_count() < self.phase1_quorum:
            self.queries[message.round] = (command, replied, end)
            return
        del self.queries[message.round]
        self._wait_for(self._needed(end), command)
        if self.committed >= self.wake_at:
            self._reached(ctx)

    def _needed(self, end: int) -> int:
        return end

    @abstractmethod
    def on_fill(self, ctx: Context, source: int, message: Fill) -> None:
        """Somebody waits for slots that the leader has not heard of."""

    def _query_again(self, ctx: Context) -> None:
        """Whoever has not answered, for a lost answer is not missed otherwise; and the leader, to fill a gap."""
        if self.reads_by_quorum and self.reads_at and self.leader is not None:
            fill = Fill(max(slot for slot, _ in self.reads_at))
            if self.leader == self.me:
                self.on_fill(ctx, self.me, fill)
            else:
                ctx.send_unsynced(self.leader, fill)
        for number, (_, replied, _) in self.queries.items():
            silent = tuple(r for r in self.others if not replied >> r & 1)
            ctx.broadcast_unsynced(silent, ReadQuery(self.life, number))
