"""Multi-Paxos: a leader that has a majority's promise for all slots gets each command chosen in one round trip.

Lamport: Paxos Made Simple (2001), section 3. van Renesse, Altinbuken: Paxos Made Moderately Complex (2015), "PMMC".
Chandra, Griesemer, Redstone: Paxos Made Live (2007). Howard, Malkhi, Spiegelman: Flexible Paxos (2016).

    here               in the papers
    ballot             proposal number; (round, replica), so that no two replicas ever use the same
    promised           the highest ballot an acceptor has promised (PMMC: ballot_num)
    log                per slot the value accepted last, and at which ballot (PMMC: accepted)
    committed          every slot below is chosen, known to be, and executed here (PMMC: slot_out)
    next               the leader's next unused slot (PMMC: slot_in)
    proposed, votes    phase 2 under way: what was proposed, and who has accepted it, as a bit mask

Each replica is acceptor, learner, and now and then proposer. What a ballot is used for:

1. A replica that hears no leader takes a ballot above all it knows and sends Prepare for every slot it does not know to
   be decided. A Promise reports what was accepted there, and excludes lower ballots.
2. With a phase-1 quorum of promises it leads: it proposes again, in each uncertain slot, the reported value of the
   highest ballot, and a no-op where none was reported. Then come the requests, those that waited included.
3. A phase-2 quorum of Accepted for a slot has chosen it. The others learn so from ``committed`` in the next Accept or
   Heartbeat; a replica that lacks something asks for it (Fetch, Chosen).

Durable before it is heard of: a promise before Promise (and a ballot of one's own before Prepare, so that it is never
used twice), an acceptance before Accepted. The leader's own vote comes back as a message to itself when it is on disk.
Everything else vouches for nothing on this disk and leaves at once:

- Accept, Heartbeat: their ballot is durable since Prepare, and a leader that crashes never proposes at it again;
- Chosen, and ``committed`` in both: a quorum's disks hold what is chosen, whether this one does or not;
- Install, TakeOver: like Chosen and Heartbeat; Nack: that a higher ballot exists stays true;
- Extended: a restarted replica keeps every lease that it may have granted; ReadReply: what is durable is in memory too;
- Forward, Outdated, Fetch, Recall, Extend, ReadQuery, Fill, Alive: only requests and signs of life.

What the options assume and cost: docs/multi-paxos-options.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from consensus_bench.contract import (
    NOOP,
    Cluster,
    Command,
    Context,
    Entry,
    HandOver,
    Message,
    Snapshot,
    TimerName,
    View,
    ns,
)
from protocols.fifo import Fifo
from protocols.multi_paxos_election import CHUNK
from protocols.multi_paxos_epochs import MultiPaxosEpochs
from protocols.multi_paxos_learner import CANDIDATE, LEADER
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Alive,
    Chosen,
    Extend,
    Extended,
    Fetch,
    Fill,
    Forward,
    Heartbeat,
    Install,
    MultiPaxosOptions,
    Nack,
    Outdated,
    Prepare,
    Promise,
    ReadQuery,
    ReadReply,
    Recall,
    Recalled,
    TakeOver,
)
from protocols.slots import CHOSEN, FIRST_SLOT


class MultiPaxos(MultiPaxosEpochs):
    """One replica: clients' requests, phase 2, timers. What it inherits, each with a file multi_paxos_*.py of its own:
    epochs, transfer of the office, reads without a place in the log, snapshots, repair of what its disk has lost,
    election (phase 1), and the learner (what is chosen)."""

    __slots__ = ("batch_ns", "retry_ns")
    constants: ClassVar[tuple[str, ...]] = ("batch_ns", "retry_ns")
    name = "multi-paxos"
    options_type = MultiPaxosOptions
    messages: ClassVar[tuple[type[Message], ...]] = (
        Forward, Prepare, Promise, Accept, Accepted, Nack, Heartbeat, Fetch, Chosen, Recall, Recalled,
        Install, Snapshot, Extend, Extended, ReadQuery, ReadReply, Fill,
        HandOver, TakeOver, Outdated, Alive,
    )  # fmt: skip
    durable = ("promised", "log")

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.retry_ns, self.batch_ns = ns(options.retry_ms), ns(options.batch_ms)

    # --- starting -----------------------------------------------------------------------------------------------------

    def on_start(self, ctx: Context) -> None:
        """Follow, unless chosen to lead first."""
        ctx.set_timer("retry", self.retry_ns)
        if self.cluster.first_leader == self.me:
            self._campaign(ctx)
        else:
            ctx.set_timer("election", self.election_low_ns, self.election_high_ns)

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Promises and acceptances are back; execute again what is known to be chosen; follow."""
        disk, intact_below = self._readable(ctx, disk)
        self.promised = disk.get("promised", self.promised)
        committed = disk.get("committed", FIRST_SLOT)
        self._restore(ctx, disk)
        for slot in sorted(key for key in disk if isinstance(key, int) and key >= self.committed):
            ballot, command = disk[slot]
            known = slot < committed
            in_order = known and slot < intact_below
            self.log.accept(slot, CHOSEN if known and not in_order else ballot, command)
            if known or ballot == CHOSEN:
                ctx.commit(slot, command)
            if in_order:
                self._execute(ctx, command)
        self.committed = max(self.committed, min(committed, intact_below))
        self.saved = self.committed
        self._advance(ctx)
        ctx.set_timer("retry", self.retry_ns)
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        self._begin_repair(ctx)

    # --- requests -----------------------------------------------------------------------------------------------------

    def on_request(self, ctx: Context, command: Command) -> None:
        """Answer again, pass on to the leader, propose, or keep until there is a leader."""
        leader = self.leader
        if self.reads_apart and command.kind == "get":
            self._read_apart(ctx, command)
        elif self.sessions.executed(command):
            ctx.answer(command)
        elif leader is None or leader == self.me:
            self._submit(ctx, command)
        else:
            ctx.send_unsynced(leader, Forward(command, self.promised))
            if len(self.forwarded) < self.options.queue_limit:
                self.forwarded[command.client, command.sequence] = command

    def _submit(self, ctx: Context, command: Command) -> None:
        request = (command.client, command.sequence)
        queue = self.queue
        if request in self.open or len(queue) >= self.options.queue_limit:
            return
        self.open.add(request)
        if self.role != LEADER:
            queue.append(command)
        elif not queue.items and self.options.batch_size == 1 and self.next - self.committed < self.window:
            self._propose(ctx, (command,))
        else:
            queue.append(command)
            if self.batch_ns and len(queue) == 1:
                ctx.set_timer("batch", self.batch_ns)
            self._propose_queued(ctx, self.batch_ns == 0)

    def _propose_queued(self, ctx: Context, partial: bool) -> None:
        """Propose what the window allows: full batches, and with ``partial`` the rest as well."""
        queue, full = self.queue, self.options.batch_size
        while queue.items:
            size = min(len(queue), full, self.window - (self.next - self.committed))
            if size <= 0 or (size < full and not partial):
                return
            self._propose(ctx, queue.take(size))

    def _serve_queue(self, ctx: Context) -> None:
        """There is a leader, here or elsewhere, for the requests that were kept, and for those that an earlier leader
        may have taken with it: whatever the new one has already, it ignores."""
        kept = [*self._requests_to_ask_again(), *self.queue.waiting()]
        waiting = {(command.client, command.sequence): command for command in kept}
        self.queue = Fifo()
        for command in [*waiting.values(), *self._reads_to_ask_again()]:
            self.on_request(ctx, command)

    # --- phase 2 ------------------------------------------------------------------------------------------------------

    def _propose(self, ctx: Context, commands: tuple[Command, ...]) -> None:
        """Phase 2a: the others are asked at once, the leader's own vote counts when it is on disk."""
        slot, ballot = self.next, self.promised
        accept = Accept(ballot, slot, commands, self.committed)
        ctx.broadcast_unsynced(self.others, accept)
        self.proposed[slot] = accept
        self.votes[slot] = 0
        self.next = slot + len(commands)
        self._vote(ctx, accept)
        ctx.send(self.me, Accepted(ballot, slot))

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        """Phase 2b: accept unless a higher ballot was promised; then see what it tells of earlier slots."""
        ballot = message.ballot
        if self.leader != source or ballot != self.promised:
            if ballot < self.promised:
                self._refuse(ctx, source)
                return
            self._follow(ctx, ballot, source)
            if self.forgetful:
                self._learn_of_commits(ctx, source, ballot, message.committed)
                return
        self._vote(ctx, message)
        ctx.send(source, Accepted(ballot, message.slot))
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        if message.committed > self.committed:
            self._advance(ctx, ballot, message.committed)
            if message.committed > self.committed:
                self._fetch(ctx, source)

    def _vote(self, ctx: Context, accept: Accept) -> None:
        """Accept, durably."""
        slot, ballot, log = accept.slot, accept.ballot, self.log
        for command in accept.commands:
            if log.accept(slot, ballot, command):
                ctx.persist(slot, (ballot, command))
            slot += 1

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        """Count the votes for proposals of our ballot. A value accepted by a quorum is chosen."""
        slot = message.slot
        voters = self.votes.get(slot)
        if voters is None or message.ballot != self.promised:
            return
        voters |= 1 << source
        if voters.bit_count() < self.phase2_quorum:
            self.votes[slot] = voters
            return
        del self.votes[slot]
        commands = self.proposed.pop(slot).commands
        if slot <= self.committed:
            self._advance(ctx, message.ballot, slot + len(commands))
        else:
            for number, command in enumerate(commands, slot):
                self._learn(ctx, number, command)
        if self.queue.items:
            self._propose_queued(ctx, self.batch_ns == 0)

    def on_fill(self, ctx: Context, source: int, message: Fill) -> None:
        """No-ops, up to the slot that a read waits for. What phase 1 has told is proposed already."""
        if self.role == LEADER and self.window:
            for start in range(self.next, message.end, CHUNK):
                self._propose(ctx, (NOOP,) * (min(start + CHUNK, message.end) - start))

    # --- timers -------------------------------------------------------------------------------------------------------

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """No leader was heard; time for a heartbeat; for a batch that is not full; to send again."""
        if name == "election":
            ctx.note("suspected")
            self._campaign(ctx)
        elif name == "heartbeat":
            self._beat(ctx)
        elif name == "batch":
            self._propose_queued(ctx, True)
            if self.queue.items:
                ctx.set_timer("batch", self.batch_ns)
        elif name == "quorum":
            self._check_quorum(ctx)
        elif name == "transfer":
            self._end_transfer()
            self._propose_queued(ctx, True)
        elif name == "retry":
            self._retry(ctx)

    def _retry(self, ctx: Context) -> None:
        """Ask again whoever has not answered; note on disk how far the log is known to be chosen."""
        self.fetching = 0
        if self.role == CANDIDATE:
            self._prepare_again(ctx)
        elif self.role == LEADER:
            for slot in sorted(self.proposed):
                if slot < self.resend_below:
                    silent = tuple(r for r in self.others if not self.votes[slot] >> r & 1)
                    ctx.broadcast_unsynced(silent, self.proposed[slot])
            self.resend_below = self.next
        self._repair_again(ctx)
        self._query_again(ctx)
        if self.saved < self.committed:
            self.saved = self.committed
            ctx.persist("committed", self.committed)
        ctx.set_timer("retry", self.retry_ns)

    # --- looking at it ------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """Executed below ``committed``; above, chosen or only accepted."""
        entries: dict[Any, Entry] = {}
        for slot, ballot, command in self.log.accepted_from(self.log.first):
            status = "executed" if slot < self.committed else "committed" if ballot == CHOSEN else "accepted"
            entries[slot] = Entry(status, command, None if ballot == CHOSEN else ballot)
        return View(entries, self.promised, self.leader)

    def check(self) -> None:
        """Local invariants."""
        assert self.committed <= self.log.end, f"committed below {self.committed}, but the log ends at {self.log.end}"
        assert (self.leader == self.me) == (self.role == LEADER), f"a {self.role} takes {self.leader} for the leader"
        assert self.proposed.keys() == self.votes.keys(), f"votes for {self.votes.keys()}, not {self.proposed.keys()}"
        assert self.role == LEADER or not self.proposed, f"a {self.role} has proposals"
        assert self.role == CANDIDATE or not self.promises, f"a {self.role} collects promises"
        if self.role == LEADER:
            assert self.next >= self.committed, f"next slot {self.next}, but {self.committed} are committed"
