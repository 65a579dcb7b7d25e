"""Multi-Paxos: phase 1, and who leads. The rest is in multi_paxos.py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from consensus_bench.contract import NOOP, Ballot, Cluster, Command, Context, ns
from protocols.fifo import Fifo
from protocols.multi_paxos_learner import CANDIDATE, FOLLOWER, LEADER, MultiPaxosLearner
from protocols.multi_paxos_messages import Accept, Alive, Heartbeat, MultiPaxosOptions, Nack, Prepare, Promise, Recalled
from protocols.quorums import majority
from protocols.slots import CHOSEN, FIRST_SLOT

CHUNK: Final = 256
"""Slots in one Accept of a new leader's recovery, and that a candidate may lack and be promised something, at most."""


class MultiPaxosElection(MultiPaxosLearner):
    """Ballots, promises, and what a leader takes over from those before."""

    __slots__ = (
        "check_quorum", "election_high_ns", "election_low_ns", "everyone", "heard", "heartbeat_ns", "next",
        "phase1_quorum", "phase2_quorum", "promises", "proposed", "queue", "recovered", "resend_below", "votes",
        "waives",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = (
        "check_quorum",
        "election_high_ns", "election_low_ns", "everyone", "heartbeat_ns", "phase1_quorum", "phase2_quorum",
    )  # fmt: skip

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.everyone = tuple(range(cluster.size))
        self.phase1_quorum = options.phase1_quorum or majority(cluster.size)
        self.phase2_quorum = options.phase2_quorum or majority(cluster.size)
        self.election_low_ns, self.election_high_ns = map(ns, options.election_timeout_ms)
        self.heartbeat_ns = ns(options.heartbeat_ms)
        self.check_quorum = options.check_quorum
        self.heard = 0
        """Of a leader that checks: who has answered its heartbeats since it last did so, as a bit mask."""
        self.queue = Fifo()
        """Requests that wait for a leader, or for the leader's window."""
        self.promises: dict[int, Promise] = {}
        self.next = FIRST_SLOT
        self.waives: Ballot = (0, 0)
        """Of a candidate: up to which ballot leases need not be minded."""
        self.recovered = FIRST_SLOT
        """A leader has taken over all that was chosen before its time when everything below is executed."""
        self.proposed: dict[int, Accept] = {}
        self.votes: dict[int, int] = {}
        self.resend_below = FIRST_SLOT
        """``next`` at the last retry tick: older proposals have waited for at least ``retry_ms``."""

    @abstractmethod
    def _propose(self, ctx: Context, commands: tuple[Command, ...]) -> None:
        """Phase 2a for these, in the next slots."""

    @abstractmethod
    def _serve_queue(self, ctx: Context) -> None:
        """There is a leader, here or elsewhere, for the requests that were kept."""

    # --- phase 1 ------------------------------------------------------------------------------------------------------

    def _campaign(self, ctx: Context) -> None:
        """Phase 1a with a ballot above all that this replica has seen. If it fails, the election timer begins another,
        after a random time, so that two candidates do not outbid each other for ever (Paxos Made Simple, 2.4)."""
        self._step_down(ctx)
        self.role = CANDIDATE
        self.leader = None
        self._take_ballot(ctx)
        ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        ctx.broadcast(self.everyone, Prepare(self.promised, self.committed, self.waives))

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
        elif self._is_far_behind(message.first):
            self._teach(ctx, source, message.first)
        else:
            if message.ballot > self.promised:
                self._follow(ctx, message.ballot, None)
            ctx.send(source, Promise(message.ballot, self._report(message.first), message.first))

    def _is_far_behind(self, first: int) -> bool:
        return self.committed - first > CHUNK or first < self.log.first

    def _report(self, first: int) -> tuple[tuple[int, Ballot, Command], ...]:
        committed = self.committed
        return tuple(
            (slot, CHOSEN if slot < committed else ballot, command)
            for slot, ballot, command in self.log.accepted_from(first)
        )

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        """A quorum of promises for the ballot under way makes a leader. One that does not report all slots from the
        first uncertain one on answers a Prepare of an earlier life that this disk has forgotten."""
        if self.role != CANDIDATE or message.ballot != self.promised or message.first > self.committed:
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
        if self.check_quorum:
            self._begin_check(ctx)
        ctx.broadcast_unsynced(self.others, Heartbeat(self.promised, self.committed))
        for start in range(0, len(uncertain), CHUNK):
            self._propose(ctx, tuple(uncertain[start : start + CHUNK]))
        self.recovered = self.next
        self._took_office(ctx)
        self._serve_queue(ctx)

    def _took_office(self, ctx: Context) -> None:
        """A new leader may serve now."""

    def _beat(self, ctx: Context) -> None:
        """The leader lives. Also just after an Accept: to leave one out would make a silence of nearly two."""
        ctx.broadcast_unsynced(self.others, Heartbeat(self.promised, self.committed))
        ctx.set_timer("heartbeat", self.heartbeat_ns)

    def _first_uncertain(self) -> int:
        """The first slot to propose in: the first that is not known to be chosen, whatever is known of later ones."""
        return self.committed

    def _highest_accepted(self) -> dict[int, tuple[Ballot, Command]]:
        """Per slot "the highest-numbered proposal among the responses" (Paxos Made Simple, section 2.2, phase 2a)."""
        return self._highest(self.promises)

    def _highest(self, reports: Mapping[int, Promise] | Mapping[int, Recalled]) -> dict[int, tuple[Ballot, Command]]:
        highest: dict[int, tuple[Ballot, Command]] = {}
        for source in sorted(reports):
            for slot, ballot, command in reports[source].accepted:
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

    def _prepare_again(self, ctx: Context) -> None:
        silent = tuple(r for r in self.everyone if r not in self.promises)
        ctx.broadcast(silent, Prepare(self.promised, self.committed, self.waives))

    def _taught(self, ctx: Context) -> None:
        """A candidate that was taught asks for the promises that it still lacks."""
        if self.role == CANDIDATE:
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
            if self.check_quorum:
                ctx.cancel_timer("quorum")
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
        self._learn_of_commits(ctx, source, message.ballot, message.committed)
        if self.check_quorum:
            ctx.send_unsynced(source, Alive(message.ballot))

    # --- does the leader reach anybody? -------------------------------------------------------------------------------

    def _begin_check(self, ctx: Context) -> None:
        self.heard = 1 << self.me
        ctx.set_timer("quorum", self.election_low_ns)

    def on_alive(self, ctx: Context, source: int, message: Alive) -> None:
        """A heartbeat was heard, and its answer too."""
        if self.role == LEADER and message.ballot == self.promised:
            self.heard |= 1 << source

    def _check_quorum(self, ctx: Context) -> None:
        """A leader that cannot get anything chosen steps down, instead of keeping requests for ever that a leader on
        the other side of a cut would serve (as CheckQuorum does in Raft: thesis section 6.2)."""
        if self.heard.bit_count() < self.phase2_quorum:
            ctx.note("quorum_lost")
            self._follow(ctx, self.promised, None)
        else:
            self._begin_check(ctx)
