"""Raft: snapshots, which let servers discard their logs (section 7; thesis chapter 5).

Every server takes its own. Beside the state machine it keeps what the protocol must know of the entries that the
snapshot stands for: the sessions, the members, and index and term of the last one. All of it is one record on disk,
with the entries that it replaces removed in the same step. Entries somewhat older than the snapshot stay, for followers
that are a little behind; whoever needs older ones gets the snapshot (InstallSnapshot, here in one message).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import CORRUPT, Cluster, Command, Context, Snapshot
from protocols.raft_election import Members
from protocols.raft_messages import Appended, InstallSnapshot, RaftOptions
from protocols.raft_repair import NEVER, RaftRepair
from protocols.sessions import Sessions, SessionsImage

NO_SNAPSHOT: Final = 1 << 62


class RaftSnapshots(RaftRepair):
    """What a server needs for them. ``Raft`` calls ``_take_snapshot`` when the commit index reaches ``snapshot_at``,
    and ``_send_snapshot`` to a follower that needs entries that are gone."""

    __slots__ = ("pending", "sessions", "snapshot", "snapshot_at", "taking")
    constants: ClassVar[tuple[str, ...]] = ()
    sessions_type: ClassVar[type[Sessions]] = Sessions

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.sessions = self.sessions_type()
        self.pending: dict[tuple[int, int], Command] = {}
        self.snapshot: tuple[Snapshot, SessionsImage, int, Members] | None = None
        """The newest, its sessions, the term of its last entry, and the members then."""
        self.taking: tuple[int, SessionsImage] | None = None
        """The last entry of the one that was asked for and has not come, and the sessions as they were then."""
        self._plan_snapshot()

    @abstractmethod
    def _accepts_leader(self, ctx: Context, source: int, term: int) -> bool:
        """Whether ``source`` leads a term that is not over; follow it."""

    def _plan_snapshot(self) -> None:
        every = self.options.snapshot_every
        self.snapshot_at = self.commit_index + every if every else NO_SNAPSHOT

    def _take_snapshot(self, ctx: Context) -> None:
        self.taking = (self.commit_index, self.sessions.image())
        self._plan_snapshot()
        ctx.take_snapshot(self.commit_index)

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        """The one that was asked for last: keep it, and discard what is older by as many entries again."""
        if self.taking is None or message.place != self.taking[0] or message.place < self.log.base_index:
            return
        place = message.place
        self.snapshot = (message, self.taking[1], self.log.term(place), self._members_at(place))
        self.taking = None
        gone = self.log.discard(place - self.options.snapshot_every)
        self._forget_members()
        self._save_snapshot(ctx, gone)

    def _save_snapshot(self, ctx: Context, gone: Iterable[int]) -> None:
        assert self.snapshot is not None
        ctx.persist("snapshot", (*self.snapshot, self.log.base_index, self.log.base_term))
        for index in gone:
            ctx.forget(index)

    def _read_disk(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """The state machine from the snapshot, the log from what follows. Without the snapshot the log is worth
        nothing: all of it is lost then, and nobody here knows how far it went."""
        saved = disk.get("snapshot")
        if saved is CORRUPT:
            ctx.forget("snapshot")
            super()._read_disk(ctx, {key: CORRUPT if isinstance(key, int) else disk[key] for key in disk})
            if not self.asking:
                self._begin_repair(ctx, self.current_term, NEVER)
                self._ask_terms(ctx)
            return
        if saved is not None:
            snapshot, sessions, term, members, self.log.base_index, self.log.base_term = saved
            self._adopt(ctx, snapshot, sessions, term, members)
            covered = [key for key in disk if isinstance(key, int) and key <= snapshot.place]
            if any(disk[key] is CORRUPT for key in covered):  # the snapshot stands for them anyhow
                disk = {key: value for key, value in disk.items() if key not in covered}
                self.log.begin_after(snapshot.place, term)
                self._save_snapshot(ctx, sorted(covered))
        super()._read_disk(ctx, disk)

    def _adopt(
        self, ctx: Context, snapshot: Snapshot, sessions: SessionsImage, last_term: int, members: Members
    ) -> None:
        """Be where ``snapshot`` is."""
        ctx.install(snapshot)
        self.snapshot = (snapshot, sessions, last_term, members)
        self._begin_members(snapshot.place, members)
        self.taking = None
        self.sessions.restore(sessions)
        self.pending = {key: command for key, command in self.pending.items() if not self.sessions.executed(command)}
        self.commit_index = snapshot.place
        self._plan_snapshot()

    def _send_snapshot(self, ctx: Context, to: int) -> int:
        """Returns the last index that it stands for."""
        assert self.snapshot is not None, "entries are gone, and nothing stands for them"
        ctx.send_unsynced(to, InstallSnapshot(self.current_term, *self.snapshot))
        return self.snapshot[0].place

    def on_install_snapshot(self, ctx: Context, source: int, message: InstallSnapshot) -> None:
        """Section 7: entries that the log has beyond the snapshot are kept if it agrees with it, else none is. What is
        committed here already is not replaced by something older."""
        if not self._accepts_leader(ctx, source, message.term):
            return
        self._hear(ctx)
        place = message.snapshot.place
        if place > self.commit_index:
            log = self.log
            agrees = place <= log.last_index and log.holds(place, message.last_term)
            gone = log.discard(place) if agrees else log.begin_after(place, message.last_term)
            self._adopt(ctx, message.snapshot, message.sessions, message.last_term, message.members)
            self._save_snapshot(ctx, gone)
        if self.repair is not None:
            self._perhaps_repaired(ctx, place)
        ctx.send(source, Appended(self.current_term, place))
