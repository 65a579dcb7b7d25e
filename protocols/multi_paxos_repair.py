"""Multi-Paxos: a replica that finds its disk damaged, and how it becomes an acceptor again.

What it acknowledged may not be treated as never written (Alagappan et al., FAST 2018). Two cases:

- ``promised`` cannot be read, or the snapshot, or everything is lost. The replica is *forgetful*: it may have promised
  any ballot and accepted anything. It learns and executes what is chosen, but votes, promises, campaigns and teaches
  no more.
- Only slots cannot be read. It may still vote, for to accept at a ballot that is not below its promise replaces what
  was there, but it must not report (Promise) a range in which such a slot is empty.

Either asks *all* others (Recall) which ballot they have promised and what they have accepted; whoever has promised less
than the highest of those raises its promise. Suppose that all others have promised the same ballot b, and that b either
has a leader, who is among them and leads still, or is a *fence*: above all ballots that any of them knew, never to be
proposed at. Then the replica promises b, holds in each slot the reported value of the highest ballot, both durably, and
is an acceptor again. Why this is enough:

1. It had promised nothing above b. A ballot is durable at its owner before it is sent, and the owner has answered. (A
   ballot of its own is dealt with below.) Michael et al., "Recovering Shared Objects Without Stable Storage" (DISC
   2017): a majority's answers would not do, for a candidate outside of it may hold the forgotten promise.
2. It had accepted nothing at a ballot e > b: there is another replica in the phase-1 quorum of e, which had promised e.
3. Suppose that its forgotten acceptance at e <= b helps to choose v in a slot. Some other member q of that phase-2
   quorum accepts v at e. Before q answers: then q reports v, at e or higher, where nothing else was proposed. After
   that q serves nothing below b, so that e = b, and b has a leader, since nothing is proposed at a fence. The leader
   proposed v before this replica crashed, so before its own answer, which therefore has v. (One that had crashed
   meanwhile might not: its own vote may have been lost when it had told others that v is chosen.)

Both 2 and 3 need another replica in each quorum; with a quorum of one, the replica stays as it is. A leader that all
others follow is not disturbed: b is its ballot. While another replica is forgetful or down, this one has to wait.

Its own forgotten ballots: none at which it led is above b, by 2. A Prepare of another may still be under way, and the
ballot be used again. What comes back then is a promise like any other, unless it was asked for fewer slots: so Promise
says from where on it reports. The answers to another life's Recall, after a second loss, are told by ``life``: the
clock at the start. It leans on the clock's not showing the same nanosecond twice, and on nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import CORRUPT, LOST, Ballot, Cluster, Command, Context
from protocols.multi_paxos_election import MultiPaxosElection
from protocols.multi_paxos_learner import FOLLOWER, LEADER, NEVER
from protocols.multi_paxos_messages import MultiPaxosOptions, Prepare, Recall, Recalled
from protocols.slots import CHOSEN, FIRST_SLOT

REPORT: Final = 16_384
"""Slots that whoever asks may lack and still be answered at most. More than for a candidate, since a leader may go on
deciding meanwhile: the asker must not lack more in the time of a round trip, or it is only taught for ever."""


class MultiPaxosRepair(MultiPaxosElection):
    """What a replica needs for it."""

    __slots__ = ("damaged", "fence", "forgetful", "life", "recall_ballot", "recalled")
    repairs_disks = True
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.forgetful = False
        """It does not know what it has promised. ``promised`` is (0, 0) meanwhile, which says nothing."""
        self.damaged: tuple[int, ...] = ()
        """Slots that could not be read. Those that hold something again have been repaired."""
        self.life = 0
        self.recall_ballot: Ballot = (0, 0)
        """The highest that another is known to have promised, or that something was learned from meanwhile."""
        self.fence: Ballot = (0, 0)
        self.recalled: dict[int, Recalled] = {}

    # --- starting with a damaged disk ---------------------------------------------------------------------------------

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], int]:
        """What can be read of ``disk``, and the first slot that cannot."""
        damaged = {key for key in disk if disk[key] is CORRUPT}
        self.forgetful = LOST in disk or "promised" in damaged or "snapshot" in damaged
        if not damaged and not self.forgetful:
            return disk, NEVER
        self.damaged = tuple(sorted(key for key in damaged if isinstance(key, int)))
        first = FIRST_SLOT if self.forgetful else min(self.damaged, default=NEVER)
        unread = {*damaged, LOST, "promised"} if self.forgetful else damaged
        return {key: disk[key] for key in disk if key not in unread}, first

    def _begin_repair(self, ctx: Context) -> None:
        self.life = ctx.clock_ns
        self._repair_again(ctx)

    def _is_damaged_from(self, first: int) -> bool:
        """Whether something that was accepted in a slot from ``first`` on can neither be read nor has been replaced."""
        return any(slot >= first and self.log.ballot(slot) is None for slot in self.damaged if slot >= self.committed)

    # --- out of quorums -----------------------------------------------------------------------------------------------

    def _follow(self, ctx: Context, ballot: Ballot, leader: int | None) -> None:
        if not self.forgetful:
            super()._follow(ctx, ballot, leader)
            return
        # No promise yet: only to know where requests go, and at which ballots what is learned may have been chosen.
        self.recall_ballot = max(self.recall_ballot, ballot)
        if leader is not None:
            ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
            if leader != self.leader:
                self.leader = leader
                self._serve_queue(ctx)

    def _campaign(self, ctx: Context) -> None:
        if self.forgetful:
            self.leader = None
            ctx.set_timer("election", self.election_low_ns, self.election_high_ns)
        else:
            super()._campaign(ctx)

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        if not self.forgetful and not self._is_damaged_from(message.first):
            super().on_prepare(ctx, source, message)

    def _teach(self, ctx: Context, to: int, first: int) -> None:
        if not self.forgetful:  # it could not say at which ballots the values were chosen
            super()._teach(ctx, to, first)

    # --- asking the others --------------------------------------------------------------------------------------------

    def _repair_again(self, ctx: Context) -> None:
        """Ask whoever has not answered, or has promised less than another."""
        if not self.forgetful and not self._is_damaged_from(self.committed):
            self.damaged = ()
            self.recalled.clear()
        elif min(self.phase1_quorum, self.phase2_quorum) > 1:
            ballot = self.recall_ballot
            silent = tuple(r for r in self.others if r not in self.recalled or self.recalled[r].ballot < ballot)
            ctx.broadcast_unsynced(silent, Recall(self.life, ballot, self.committed))

    def _taught(self, ctx: Context) -> None:
        super()._taught(ctx)
        if self.forgetful or self.damaged:
            self._repair_again(ctx)

    def on_recall(self, ctx: Context, source: int, message: Recall) -> None:
        """Promise and report as to a candidate, or teach first."""
        if self.forgetful or self._is_damaged_from(message.first):
            return
        if message.first < self.log.first or self.committed - message.first > REPORT:
            self._teach(ctx, source, message.first)
            return
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)
        leads = self.role == LEADER
        ctx.send(source, Recalled(message.life, self.promised, leads, self._report(message.first), message.first))

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        """Wait until all others have promised the same."""
        known = self.recalled.get(source)
        if message.life != self.life or message.first > self.committed or not (self.forgetful or self.damaged):
            return
        news = known is None or message.ballot > self.recall_ballot
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)  # as with Chosen: who learns what was chosen at it leads no more
        for slot, ballot, command in message.accepted:
            if ballot == CHOSEN:
                self._learn(ctx, slot, command)
        self._advance(ctx)
        if known is None or message.ballot >= known.ballot:
            self.recalled[source] = message
        self.recall_ballot = max(self.recall_ballot, message.ballot)
        if not self._have_all_answered():
            return
        if any(answer.ballot < self.recall_ballot for answer in self.recalled.values()):
            if news:  # once: an answer of before would bring forth as many questions as there are replicas
                self._repair_again(ctx)
        elif self._is_settled():
            self._rejoin(ctx)
        elif self.forgetful:
            self.recall_ballot = self.fence = (self.recall_ballot[0] + 1, self.me)
            self._repair_again(ctx)
        else:
            self.recalled.clear()  # ask again at the next tick: there may be a leader then

    def _have_all_answered(self) -> bool:
        return len(self.recalled) == len(self.others)

    def _is_settled(self) -> bool:
        """Whether nothing can be accepted any more that no answer tells of."""
        ballot = self.recall_ballot
        if ballot[1] == self.me:
            return ballot == self.fence or (self.role == LEADER and ballot == self.promised)
        return self.recalled[ballot[1]].leads

    def _rejoin(self, ctx: Context) -> None:
        """Hold what all others together know, durably, and be an acceptor again."""
        for slot, (ballot, command) in sorted(self._recollected().items()):
            held = self.log.ballot(slot)
            if slot >= self.committed and (held is None or ballot > held) and self.log.accept(slot, ballot, command):
                ctx.persist(slot, (ballot, command))
        for slot in self.damaged:
            if slot >= self.committed and self.log.ballot(slot) is None:
                ctx.forget(slot)  # nobody has seen anything there
        self.damaged = ()
        if self.forgetful:
            self.forgetful = False
            self.leader = None  # the next heartbeat tells
            self.promised = self.recall_ballot
            ctx.forget(LOST)
            self._save_promise(ctx)
        self.recalled.clear()
        ctx.note("repaired")

    def _recollected(self) -> dict[int, tuple[Ballot, Command]]:
        """Per slot the reported value of the highest ballot."""
        return self._highest(self.recalled)

    def check(self) -> None:
        """Local invariants."""
        super().check()
        assert not (self.forgetful and self.role != FOLLOWER), f"a forgetful {self.role}"
