"""Multi-Paxos: the leader hands its office to another replica in an orderly way (cf. Raft thesis, section 3.10).

It proposes nothing new, waits until all that it has proposed is chosen, and offers the office to its successor with
word of how far that is. Once the successor knows so much it takes a higher ballot at once, instead of after a time-out.
If nothing has come of it after the shortest election time-out, the leader goes on; until then its requests wait.

A lease of the leader would keep others from promising the successor anything. So the leader gives it up, for the rest
of its ballot, as the offer may arrive at any time; and Prepare says up to which ballot leases are given up, because the
leader may have one again at a later one. Reads that were to use the lease get slots then, like other commands.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from consensus_bench.contract import Ballot, Cluster, Command, Context, HandOver
from protocols.multi_paxos_learner import LEADER
from protocols.multi_paxos_messages import MultiPaxosOptions, TakeOver
from protocols.multi_paxos_reads import MultiPaxosReads

NONE: Ballot = (0, 0)


class MultiPaxosTransfer(MultiPaxosReads):
    """What a replica needs for it. A leader proposes only while ``window`` has room."""

    __slots__ = ("invited", "offered", "successor", "window")
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.window = options.window
        """Slots that may be proposed and not yet executed; 0 while a transfer is under way."""
        self.successor: int | None = None
        """Who is to lead next, while a transfer is under way."""
        self.offered = False
        self.invited: TakeOver | None = None
        """The offer of this leader, to be taken when so much is known here."""

    # --- the leader ---------------------------------------------------------------------------------------------------

    def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
        """A person's order to the leader."""
        if self.role != LEADER or self.successor is not None or message.to not in self.others:
            return
        self.successor = message.to
        self.window = 0
        ctx.set_timer("transfer", self.election_low_ns)
        self._plan_wake()
        if self._is_ready():
            self._offer(ctx)

    def _is_ready(self) -> bool:
        """Whether all that was proposed is chosen."""
        return self.committed >= self.next

    def _plan_wake(self) -> None:
        super()._plan_wake()
        if self.successor is not None and not self.offered:
            self.wake_at = min(self.wake_at, self.next)

    def _reached(self, ctx: Context) -> None:
        if self.successor is not None and not self.offered and self._is_ready():
            self._offer(ctx)
        super()._reached(ctx)

    def _offer(self, ctx: Context) -> None:
        """From now on the successor may be elected at any time."""
        assert self.successor is not None
        self.offered = True
        self._give_up_lease(ctx)
        ctx.send_unsynced(self.successor, TakeOver(self.promised, self.committed))

    def _beat(self, ctx: Context) -> None:
        super()._beat(ctx)
        if self.offered:
            self._offer(ctx)

    def _end_transfer(self) -> None:
        self.successor = None
        self.offered = False
        self.window = self.options.window
        self._plan_wake()

    def _step_down(self, ctx: Context) -> None:
        if self.successor is not None:
            ctx.cancel_timer("transfer")
            self._end_transfer()
        super()._step_down(ctx)

    # --- the successor ------------------------------------------------------------------------------------------------

    def on_take_over(self, ctx: Context, source: int, message: TakeOver) -> None:
        """An offer, unless this is an old story. What is lacking comes first."""
        if source == self.leader and message.ballot == self.promised:
            self.invited = message
            self._learn_of_commits(ctx, source, message.ballot, message.committed)
            self._accept_offer(ctx)

    def _taught(self, ctx: Context) -> None:
        super()._taught(ctx)
        self._accept_offer(ctx)

    def _accept_offer(self, ctx: Context) -> None:
        offer = self.invited
        if offer is not None and offer.ballot == self.promised and self.committed >= offer.committed:
            self._campaign(ctx)

    def _campaign(self, ctx: Context) -> None:
        """With an offer, its leader's leases are no obstacle."""
        offer, self.invited = self.invited, None
        self.waives = offer.ballot if offer is not None and offer.ballot == self.promised else NONE
        super()._campaign(ctx)

    # --- reads --------------------------------------------------------------------------------------------------------

    def _serve_without_lease(self, ctx: Context, command: Command) -> None:
        self._submit(ctx, command)

    @abstractmethod
    def _submit(self, ctx: Context, command: Command) -> None:
        """Give ``command`` a slot."""
