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
- Nack: that a higher ballot exists stays true; Forward, Fetch: only requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import (
    NOOP,
    Ballot,
    Cluster,
    Command,
    Context,
    Entry,
    Message,
    Replica,
    TimerName,
    View,
    ns,
)
from protocols.fifo import Fifo
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    MultiPaxosOptions,
    Nack,
    Prepare,
    Promise,
)
from protocols.quorums import majority
from protocols.sessions import Sessions
from protocols.slots import CHOSEN, FIRST_SLOT, Slots

FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"

CHUNK: Final = 256
"""Slots in one Accept of a new leader's recovery, and that a candidate may lack and be promised something, at most."""
PART: Final = 4096
"""Slots in one Chosen, at most. A replica that was away gets one each round trip, while others go on deciding."""


class MultiPaxos(Replica):
    """One replica."""

    __slots__ = (
        "batch_ns", "committed", "election_high_ns", "election_low_ns", "everyone", "fetching", "forwarded",
        "heartbeat_ns", "leader", "log", "next", "open", "phase1_quorum", "phase2_quorum", "promised", "promises",
        "proposed", "queue", "resend_below", "retry_ns", "role", "saved", "sessions", "votes",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = (
        "batch_ns", "election_high_ns", "election_low_ns", "everyone", "heartbeat_ns", "phase1_quorum", "phase2_quorum",
        "retry_ns",
    )  # fmt: skip
    name = "multi-paxos"
    options_type = MultiPaxosOptions
    messages: ClassVar[tuple[type[Message], ...]] = (
        Forward, Prepare, Promise, Accept, Accepted, Nack, Heartbeat, Fetch, Chosen,
    )  # fmt: skip
    durable = ("promised", "log")

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.everyone = tuple(range(cluster.size))
        self.phase1_quorum = options.phase1_quorum or majority(cluster.size)
        self.phase2_quorum = options.phase2_quorum or majority(cluster.size)
        self.election_low_ns, self.election_high_ns = map(ns, options.election_timeout_ms)
        self.heartbeat_ns, self.retry_ns, self.batch_ns = map(
            ns, (options.heartbeat_ms, options.retry_ms, options.batch_ms)
        )
        self.promised: Ballot = (0, 0)
        self.log = Slots()
        self.committed = FIRST_SLOT
        self.saved = FIRST_SLOT
        """``committed`` as last written to disk, now and then: a restart learns the rest again."""
        self.sessions = Sessions()
        self.role = FOLLOWER
        self.leader: int | None = None
        """Who is known to lead at ``promised``."""
        self.queue = Fifo()
        """Requests that wait for a leader, or for the leader's window."""
        self.forwarded: dict[tuple[int, int], Command] = {}
        """What was passed on to the leader and is not executed here yet: if that leader dies, the next one gets it."""
        self.open: set[tuple[int, int]] = set()
        """(client, sequence) of what is queued or proposed here, so that a retry is not proposed again."""
        self.promises: dict[int, Promise] = {}
        self.next = FIRST_SLOT
        self.proposed: dict[int, Accept] = {}
        self.votes: dict[int, int] = {}
        self.resend_below = FIRST_SLOT
        """``next`` at the last retry tick: older proposals have waited for at least ``retry_ms``."""
        self.fetching = 0
        """The slot that was asked for and has not come, until the next retry tick."""

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
        self.promised = disk.get("promised", self.promised)
        committed = disk.get("committed", FIRST_SLOT)
        for slot in sorted(key for key in disk if isinstance(key, int)):
            ballot, command = disk[slot]
            self.log.accept(slot, ballot, command)
            if slot < committed or ballot == CHOSEN:
                ctx.commit(slot, command)
            if slot < committed:
                self._execute(ctx, command)
        self.committed = self.saved = committed
        self._advance(ctx)
        ctx.set_timer("retry", self.retry_ns)
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)

    # --- requests -----------------------------------------------------------------------------------------------------

    def on_request(self, ctx: Context, command: Command) -> None:
        """Answer again, pass on to the leader, propose, or keep until there is a leader."""
        leader = self.leader
        if self.sessions.executed(command):
            ctx.answer(command)
        elif leader is None or leader == self.me:
            self._submit(ctx, command)
        else:
            ctx.send_unsynced(leader, Forward(command, self.promised))
            if len(self.forwarded) < self.options.queue_limit:
                self.forwarded[command.client, command.sequence] = command

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        """A request by way of another replica. It is passed on only to a leader of a higher ballot than the sender
        knew, so that it cannot go in circles."""
        if self.leader in (None, self.me) or message.ballot < self.promised:
            self.on_request(ctx, message.command)

    def _submit(self, ctx: Context, command: Command) -> None:
        request = (command.client, command.sequence)
        queue = self.queue
        if request in self.open or len(queue) >= self.options.queue_limit:
            return
        self.open.add(request)
        if self.role != LEADER:
            queue.append(command)
        elif not queue.items and self.options.batch_size == 1 and self.next - self.committed < self.options.window:
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
            size = min(len(queue), full, self.options.window - (self.next - self.committed))
            if size <= 0 or (size < full and not partial):
                return
            self._propose(ctx, queue.take(size))

    def _serve_queue(self, ctx: Context) -> None:
        """There is a leader, here or elsewhere, for the requests that were kept, and for those that an earlier leader
        may have taken with it: whatever the new one has already, it ignores."""
        waiting = {**self.forwarded, **{(c.client, c.sequence): c for c in self.queue.waiting()}}
        self.forwarded.clear()
        self.queue = Fifo()
        for command in waiting.values():
            self.on_request(ctx, command)

    # --- phase 1 ------------------------------------------------------------------------------------------------------

    def _campaign(self, ctx: Context) -> None:
        """Phase 1a with a ballot above all that this replica has seen. If it fails, the election timer begins another,
        after a random time, so that two candidates do not outbid each other for ever (Paxos Made Simple, 2.4)."""
        self._step_down(ctx)
        self.role = CANDIDATE
        self.leader = None
        self._take_ballot(ctx)
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        ctx.broadcast(self.everyone, Prepare(self.promised, self.committed))

    def _take_ballot(self, ctx: Context) -> None:
        """Promising one's own ballot keeps it from being taken again: also after a crash, for it is durable before
        Prepare leaves."""
        self.promised = (self.promised[0] + 1, self.me)
        ctx.persist("promised", self.promised)

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        """Phase 1b: promise to serve no lower ballot, and report all that was accepted. A candidate that lacks very
        much is taught first, so that no promise has to carry a whole log."""
        if message.ballot < self.promised:
            self._refuse(ctx, source)
        elif self.committed - message.first > CHUNK:
            self._teach(ctx, source, message.first)
        else:
            if message.ballot > self.promised:
                self._follow(ctx, message.ballot, None)
            ctx.send(source, Promise(message.ballot, self._report(message.first)))

    def _report(self, first: int) -> tuple[tuple[int, Ballot, Command], ...]:
        committed = self.committed
        return tuple(
            (slot, CHOSEN if slot < committed else ballot, command)
            for slot, ballot, command in self.log.accepted_from(first)
        )

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        """A quorum of promises for the ballot under way makes a leader."""
        if self.role != CANDIDATE or message.ballot != self.promised:
            return
        for slot, ballot, command in message.accepted:
            if ballot == CHOSEN:
                self._learn(ctx, slot, command)
        self._advance(ctx)
        self.promises[source] = message
        if len(self.promises) >= self.phase1_quorum:
            self._lead(ctx)

    def _lead(self, ctx: Context) -> None:
        """Finish what earlier leaders may have begun, then serve the requests that waited. Those must not overtake:
        a slot is free only above all that the quorum reported (Paxos Made Simple, section 3)."""
        uncertain = self._uncertain(self._highest_accepted())
        self.promises.clear()
        self.role = LEADER
        self.leader = self.me
        self.next = self.resend_below = self._first_uncertain()
        self.open = {(command.client, command.sequence) for command in uncertain if command.kind != "noop"}
        ctx.note("elected")
        ctx.cancel_timer("election")
        ctx.set_timer("heartbeat", self.heartbeat_ns)
        ctx.broadcast_unsynced(self.others, Heartbeat(self.promised, self.committed))
        for start in range(0, len(uncertain), CHUNK):
            self._propose(ctx, tuple(uncertain[start : start + CHUNK]))
        self._serve_queue(ctx)

    def _first_uncertain(self) -> int:
        """The first slot to propose in: the first that is not known to be chosen, whatever is known of later ones."""
        return self.committed

    def _highest_accepted(self) -> dict[int, tuple[Ballot, Command]]:
        """Per slot "the highest-numbered proposal among the responses" (Paxos Made Simple, section 2.2, phase 2a)."""
        highest: dict[int, tuple[Ballot, Command]] = {}
        for source in sorted(self.promises):
            for slot, ballot, command in self.promises[source].accepted:
                known = highest.get(slot)
                if known is None or self._outranks(ballot, known[0]):
                    highest[slot] = (ballot, command)
        return highest

    def _outranks(self, ballot: Ballot, other: Ballot) -> bool:
        return ballot > other

    def _uncertain(self, reported: Mapping[int, tuple[Ballot, Command]]) -> list[Command]:
        """What to propose from the first uncertain slot on, without a gap: where nothing was reported nothing can have
        been chosen, and a no-op lets the later slots be executed (Paxos Made Simple, section 3)."""
        nothing = ((0, 0), NOOP)
        end = max(reported, default=0) + 1
        return [reported.get(slot, nothing)[1] for slot in range(self._first_uncertain(), end)]

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

    # --- what is chosen -----------------------------------------------------------------------------------------------

    def _advance(self, ctx: Context, ballot: Ballot = CHOSEN, limit: int = 0) -> None:
        """Execute in slot order as far as is known: slots that are marked ``CHOSEN``, and below ``limit`` those whose
        value was accepted at ``ballot``, whose leader has said that they are. (A value accepted at an older ballot may
        have lost: PMS, section 2.2.)"""
        log = self.log
        ballots, commands, first, end = log.ballots, log.commands, log.first, log.end
        slot = self.committed
        while slot < end:
            accepted, command = ballots[slot - first], commands[slot - first]
            if slot < limit and accepted == ballot:
                assert command is not None, f"slot {slot} has a ballot and no command"
                ctx.commit(slot, command)
            elif accepted != CHOSEN or command is None:
                break
            slot += 1
            self._execute(ctx, command)
        self.committed = slot

    def _execute(self, ctx: Context, command: Command) -> None:
        """Each command once, in however many slots it was chosen. The leader answers."""
        if command.kind == "noop":
            return
        if self.sessions.add(command):
            ctx.execute(command)
        if self.role == LEADER:
            self.open.discard((command.client, command.sequence))
            ctx.answer(command)
        elif self.forwarded:
            self.forwarded.pop((command.client, command.sequence), None)

    def _learn(self, ctx: Context, slot: int, command: Command) -> None:
        """``command`` is chosen in ``slot``, which may be ahead of what can be executed."""
        if slot >= self.committed and self.log.accept(slot, CHOSEN, command):
            ctx.persist(slot, (CHOSEN, command))
            ctx.commit(slot, command)

    def _fetch(self, ctx: Context, source: int) -> None:
        """``source`` knows more slots to be chosen than can be told from the log here: ask, once in a while."""
        if self.fetching != self.committed:
            self.fetching = self.committed
            ctx.send_unsynced(source, Fetch(self.committed))

    def on_fetch(self, ctx: Context, source: int, message: Fetch) -> None:
        """Send what is known, a part at a time."""
        self._teach(ctx, source, message.first)

    def _teach(self, ctx: Context, to: int, first: int) -> None:
        if first < self.committed:
            values = self.log.values(first, min(first + PART, self.committed))
            ctx.send_unsynced(to, Chosen(self.promised, first, values, self.committed))

    def on_chosen(self, ctx: Context, source: int, message: Chosen) -> None:
        """Learn; ask for the next part; a candidate that was taught asks for the promises that it still lacks. To know
        what was chosen is to know of the ballot: an old leader would otherwise tell its followers, who may have
        accepted something else from it, that these slots are chosen."""
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)
        for slot, command in enumerate(message.commands, message.first):
            self._learn(ctx, slot, command)
        self._advance(ctx)
        if self.committed < message.committed:
            self._fetch(ctx, source)
        elif self.role == CANDIDATE:
            self._prepare_again(ctx)

    # --- who leads ----------------------------------------------------------------------------------------------------

    def _follow(self, ctx: Context, ballot: Ballot, leader: int | None) -> None:
        """Serve ``ballot`` from now on. ``leader`` None: its candidate has not won yet, as far as is known."""
        if ballot > self.promised:
            self.promised = ballot
            self._save_promise(ctx)
        if self.role != FOLLOWER:
            self._step_down(ctx)
        self.leader = leader
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        if leader is not None:
            self.open.clear()
            self._serve_queue(ctx)

    def _save_promise(self, ctx: Context) -> None:
        ctx.persist("promised", self.promised)

    def _step_down(self, ctx: Context) -> None:
        """Whoever leads next gets what was proposed here and is not known to be chosen, with the queue."""
        if self.role == LEADER:
            proposals = [self.proposed[slot] for slot in sorted(self.proposed)]
            commands = [c for accept in proposals for c in accept.commands if c.kind != "noop"]
            self.queue = Fifo(commands + self.queue.waiting())
            self.proposed.clear()
            self.votes.clear()
            ctx.cancel_timer("heartbeat")
            ctx.cancel_timer("batch")
        self.promises.clear()
        self.role = FOLLOWER

    def _refuse(self, ctx: Context, source: int) -> None:
        """Tell an old leader or candidate that its time is over."""
        ctx.send_unsynced(source, Nack(self.promised))

    def on_nack(self, ctx: Context, source: int, message: Nack) -> None:
        """There is a higher ballot: one's own can no longer be sure of a quorum."""
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)

    def on_heartbeat(self, ctx: Context, source: int, message: Heartbeat) -> None:
        """The leader lives."""
        if message.ballot < self.promised:
            self._refuse(ctx, source)
            return
        if self.leader != source or message.ballot != self.promised:
            self._follow(ctx, message.ballot, source)
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        self._advance(ctx, message.ballot, message.committed)
        if message.committed > self.committed:
            self._fetch(ctx, source)

    # --- timers -------------------------------------------------------------------------------------------------------

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """No leader was heard; time for a heartbeat; for a batch that is not full; to send again."""
        if name == "election":
            ctx.note("suspected")
            self._campaign(ctx)
        elif name == "heartbeat":
            # Also just after an Accept: to leave one out would make a silence of nearly two heartbeats.
            ctx.broadcast_unsynced(self.others, Heartbeat(self.promised, self.committed))
            ctx.set_timer("heartbeat", self.heartbeat_ns)
        elif name == "batch":
            self._propose_queued(ctx, True)
            if self.queue.items:
                ctx.set_timer("batch", self.batch_ns)
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
        if self.saved < self.committed:
            self.saved = self.committed
            ctx.persist("committed", self.committed)
        ctx.set_timer("retry", self.retry_ns)

    def _prepare_again(self, ctx: Context) -> None:
        silent = tuple(r for r in self.everyone if r not in self.promises)
        ctx.broadcast(silent, Prepare(self.promised, self.committed))

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
