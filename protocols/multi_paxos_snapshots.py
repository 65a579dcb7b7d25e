"""Multi-Paxos: snapshots of the state machine, which let the log be cut off behind them (Paxos Made Live, section 4.4).

Each replica takes its own. Beside a snapshot stand the sessions as they were when it was asked for: what was executed
up to its slot, and nothing of what came while it was taken. Snapshot, sessions and the end of the slots that they
replace are one record on disk, so that a crash finds the one or the other.

A replica that lacks slots which others have discarded gets a snapshot instead, wherever it would have got these slots:
in answer to Fetch, and before a promise, which must report all slots that it is asked for. It goes on from there.

A forgetful replica (multi_paxos_repair.py) does not replace what it cannot read before it has rejoined: its disk would
look whole, and not tell how far it had executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from consensus_bench.contract import Cluster, Context, Snapshot
from protocols.multi_paxos_learner import NEVER
from protocols.multi_paxos_messages import Install, MultiPaxosOptions
from protocols.multi_paxos_repair import MultiPaxosRepair
from protocols.sessions import SessionsImage


class MultiPaxosSnapshots(MultiPaxosRepair):
    """What a replica needs for it."""

    __slots__ = ("snapshot", "snapshot_at", "snapshot_every", "taking")
    constants: ClassVar[tuple[str, ...]] = ("snapshot_every",)

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.snapshot_every = options.snapshot_every
        self.snapshot: tuple[Snapshot, SessionsImage] | None = None
        """The newest, and the sessions that belong to it."""
        self.taking: tuple[int, SessionsImage] | None = None
        """The last slot of the snapshot that was asked for and has not come, and the sessions as they were then."""
        self.snapshot_at = self.wake_at = self.committed + self.snapshot_every if self.snapshot_every else NEVER

    def _plan_snapshot(self) -> None:
        self.snapshot_at = self.committed + self.snapshot_every if self.snapshot_every else NEVER
        self._plan_wake()

    def _plan_wake(self) -> None:
        self.wake_at = self.snapshot_at

    def _reached(self, ctx: Context) -> None:
        if self.committed >= self.snapshot_at:
            self._take_snapshot(ctx)
        self._plan_wake()

    # --- taking -------------------------------------------------------------------------------------------------------

    def _take_snapshot(self, ctx: Context) -> None:
        self.taking = (self.committed - 1, self.sessions.image())
        self._plan_snapshot()
        ctx.take_snapshot(self.committed - 1)

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        """The snapshot that was asked for last: keep it, and cut the log off some way behind it."""
        if self.taking is None or message.place != self.taking[0] or self.forgetful:
            return
        self.snapshot = (message, self.taking[1])
        self.taking = None
        self._save_snapshot(ctx, message.place + 1 - self.snapshot_every)

    def _save_snapshot(self, ctx: Context, first: int) -> None:
        """The snapshot stands for all slots below ``first`` (and for some more)."""
        ctx.persist("snapshot", self.snapshot)
        for slot in self.log.discard(first):
            ctx.forget(slot)

    # --- starting from one --------------------------------------------------------------------------------------------

    def _restore(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """The state machine from the disk's snapshot; of the slots that it covers none is kept."""
        if "snapshot" in disk:
            self._adopt(ctx, *disk["snapshot"])
            self.log.discard(self.committed)
            for slot in sorted(key for key in disk if isinstance(key, int) and key < self.committed):
                ctx.forget(slot)

    def _adopt(self, ctx: Context, snapshot: Snapshot, sessions: SessionsImage) -> None:
        """Be where ``snapshot`` is."""
        ctx.install(snapshot)
        self.snapshot = (snapshot, sessions)
        self.taking = None
        self.sessions.restore(sessions)
        self.forwarded = {key: c for key, c in self.forwarded.items() if not self.sessions.executed(c)}
        self.committed = snapshot.place + 1
        self._plan_snapshot()

    # --- teaching -----------------------------------------------------------------------------------------------------

    def _teach(self, ctx: Context, to: int, first: int) -> None:
        if first >= self.log.first or self.forgetful:
            super()._teach(ctx, to, first)
        elif self.snapshot is not None:
            ctx.send_unsynced(to, Install(self.promised, *self.snapshot, self.committed))

    def on_install(self, ctx: Context, source: int, message: Install) -> None:
        """As with Chosen. What is known here already is not replaced by something older."""
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)
        if self._is_news(message.snapshot):
            self._adopt(ctx, message.snapshot, message.sessions)
            if self.forgetful:
                self._drop_replaced(ctx)
            else:
                self._save_snapshot(ctx, self.committed)
            self._advance(ctx)
        if self.committed < message.committed:
            self._fetch(ctx, source)
        else:
            self._taught(ctx)

    def _drop_replaced(self, ctx: Context) -> None:
        """The snapshot is not on disk yet, but what was accepted in its slots need not be what was chosen there: a
        restart that finds it, and ``committed`` above, would execute it."""
        for slot, _, _ in self.log.accepted_from(self.log.first):
            if slot < self.committed:
                ctx.forget(slot)
        self.log.discard(self.committed)

    def _is_news(self, snapshot: Snapshot) -> bool:
        return snapshot.place >= self.committed

    # --- rejoining ----------------------------------------------------------------------------------------------------

    def _rejoin(self, ctx: Context) -> None:
        forgetful = self.forgetful
        super()._rejoin(ctx)
        if forgetful and self.snapshot is not None:
            self._save_snapshot(ctx, self.snapshot[0].place + 1)
        elif forgetful:
            ctx.forget("snapshot")
