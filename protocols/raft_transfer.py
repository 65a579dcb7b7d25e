"""Raft: the leader hands its office to another server in an orderly way (thesis section 3.10).

It takes no new requests, lets the target's log become equal to its own, and asks it to begin an election at once. The
target needs no pre-vote, and its RequestVote is heard in spite of a living leader. If nothing has come of it after the
shortest election time-out, the leader goes on as before; until then its requests wait.
"""

from __future__ import annotations

from typing import ClassVar

from consensus_bench.contract import Cluster, Context, HandOver
from protocols.raft_election import LEADER
from protocols.raft_messages import RaftOptions, TimeoutNow
from protocols.raft_reads import RaftReads


class RaftTransfer(RaftReads):
    """What a server needs for it. ``Raft`` keeps requests while ``successor`` is somebody, and calls ``_caught_up``."""

    __slots__ = ("match_index", "successor")
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.match_index = [0] * cluster.size
        self.successor: int | None = None
        """Who is to lead next, while a transfer is under way."""

    def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
        """A person's order to the leader. What stands in the log is still replicated."""
        if self.role != LEADER or self.successor is not None or message.to not in self.others:
            return
        self.successor = message.to
        ctx.cancel_timer("batch")
        ctx.set_timer("transfer", self.election_ns[0])
        self._caught_up(ctx, message.to)

    def _caught_up(self, ctx: Context, follower: int) -> None:
        """If it is the successor, and has the whole log: let it begin. It may do so at any time from now on, so that no
        lease in this term excludes another leader any more."""
        if follower == self.successor and self.match_index[follower] == self.log.last_index:
            self._give_up_lease()
            ctx.send_unsynced(follower, TimeoutNow(self.current_term))

    def on_timeout_now(self, ctx: Context, source: int, message: TimeoutNow) -> None:
        """Begin an election, unless this is an old story."""
        if source == self.leader and message.term == self.current_term:
            self._campaign(ctx, transfer=True)
