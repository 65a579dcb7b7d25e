"""Raft: how the leader makes the other servers' logs equal to its own, and what becomes committed (section 5.3).

A follower is *in step* when it has been sent the whole log: it gets new entries at once. The others are behind, and
have a ``next_index``; while that is a guess (``probing``), they get one AppendEntries at a time, until they agree.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar, Final

from consensus_bench.contract import Cluster, Context
from protocols.raft_election import LEADER
from protocols.raft_log import LogEntry
from protocols.raft_messages import Appended, AppendEntries, Conflict, RaftOptions, Refused
from protocols.raft_snapshots import RaftSnapshots

CHUNK: Final = 256
"""Entries in one AppendEntries to a follower that is behind, at most (a batch may be larger)."""


class RaftReplication(RaftSnapshots):
    """AppendEntries at both ends. ``Raft`` calls ``_append`` with what clients ask for."""

    __slots__ = (
        "ahead", "chunk", "floor", "heard", "horizon", "in_step", "last_at_retry", "match_at_retry", "next_index",
        "probing",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.chunk = max(CHUNK, options.batch_size)
        self._clear_leader_state()

    @abstractmethod
    def _follow(self, ctx: Context, term: int, leader: int) -> None:
        """``leader`` leads ``term``, which is not over."""

    def _clear_leader_state(self) -> None:
        """What only a leader has, new with each term that it leads (Figure 2)."""
        self.match_index = [0] * self.cluster.size
        self.next_index: dict[int, int] = {}
        self.probing: set[int] = set()
        self.in_step: tuple[int, ...] = ()
        self.horizon = 0
        """Up to this index no window of a follower in step can close."""
        self.floor = 0
        """No match up to this index can commit anything more: see ``_first_countable``."""
        self.ahead = 0
        """How many match indexes are above ``floor``: only when they may be a quorum, a median has to be found."""
        self.heard = 0
        """Who has answered since the last "quorum" timer, as a bit mask."""
        self.last_at_retry = 0
        self.match_at_retry = self.match_index[:]
        self.successor = None
        self.catching_up = None
        self._forget_reads()

    # --- followers ----------------------------------------------------------------------------------------------------

    def on_append_entries(self, ctx: Context, source: int, message: AppendEntries) -> None:
        """Make the log agree with the leader's up to the last entry of the message, acknowledge it when it is on disk,
        and see what is committed."""
        if (source != self.leader or message.term != self.current_term) and not self._accepts_leader(
            ctx, source, message.term
        ):
            return
        self.heard_ns = ctx.clock_ns
        low, high = self.election_ns
        ctx.set_timer("election", low, high)
        log, last, new = self.log, message.previous_index, message.entries
        held = log.entries
        if held and last == log.base_index + len(held) and message.previous_term == held[-1].term:
            for entry in new:  # the usual case: just what comes next
                last += 1
                held.append(entry)
                ctx.persist(last, entry)
                if entry.command.kind == "noop":
                    self._learn_members(last, entry.command)
        elif self._agrees(last, message.previous_term):
            self._merge(ctx, last, new)
            last += len(new)
        else:
            hint = log.last_of_term(last, message.previous_term)
            ctx.send_unsynced(source, Conflict(message.term, last, hint, log.term(hint)))
            return
        if self.repair is not None:
            self._perhaps_repaired(ctx, last)
        self._acknowledge(ctx, source, last)
        commit_index = self._committed_here(message.commit_index, last)
        if commit_index > self.commit_index:
            self._commit(ctx, commit_index)

    def _accepts_leader(self, ctx: Context, source: int, term: int) -> bool:
        if self.asking:
            return False
        if self._is_outdated(term):
            ctx.send_unsynced(source, Refused(self.current_term))
            return False
        if source != self.leader or term != self.current_term:
            self._follow(ctx, term, source)
        return True

    def _is_outdated(self, term: int) -> bool:
        return term < self.current_term

    def _agrees(self, index: int, term: int) -> bool:
        """The consistency check: by the Log Matching Property all entries up to ``index`` are the leader's then."""
        return self.log.holds(index, term)

    def _merge(self, ctx: Context, previous: int, entries: Sequence[LogEntry]) -> None:
        """Add what is not here, after removing what conflicts."""
        known = self._already_held(previous, entries)
        if known < len(entries):
            first = previous + 1 + known
            if first <= self.log.last_index:
                self._truncate(ctx, first)
            self._store(ctx, first, entries[known:])

    def _already_held(self, previous: int, entries: Sequence[LogEntry]) -> int:
        """How many of ``entries`` are in the log. The message may be an old one that holds less than the log does: only
        an entry of another term at the same index is a conflict (Figure 2)."""
        for known, entry in enumerate(entries):
            if not self.log.holds(previous + 1 + known, entry.term):
                return known
        return len(entries)

    def _truncate(self, ctx: Context, first: int) -> None:
        """Remove the entry at ``first`` and all that follow, in one record with what replaces them."""
        assert first > self.commit_index, f"entry {first} is overwritten, but {self.commit_index} are committed"
        for index in range(first, first + len(self.log.truncate(first))):
            self._forget(ctx, index)
        self._unlearn_members(first)

    def _forget(self, ctx: Context, index: int) -> None:
        ctx.forget(index)

    def _store(self, ctx: Context, first: int, entries: Sequence[LogEntry]) -> None:
        append, persist = self.log.entries.append, ctx.persist
        for entry in entries:
            append(entry)
            persist(first, entry)
            if entry.command.kind == "noop":
                self._learn_members(first, entry.command)
            first += 1

    def _acknowledge(self, ctx: Context, leader: int, match_index: int) -> None:
        ctx.send(leader, Appended(self.current_term, match_index))

    def _committed_here(self, leader_commit: int, last_new: int) -> int:
        """Up to ``last_new`` the log is known to be the leader's. What stands beyond may be something else, of which
        the leader's commit index says nothing (Figure 2)."""
        return leader_commit if leader_commit < last_new else last_new

    # --- the leader ---------------------------------------------------------------------------------------------------

    def _append(self, ctx: Context, entries: tuple[LogEntry, ...]) -> None:
        """Append to our log and send at once what the windows allow; our own disk answers like a follower."""
        log = self.log
        previous_index, previous_term = log.last_index, log.last_term
        last = previous_index + len(entries)
        self._store(ctx, previous_index + 1, entries)
        if last > self.horizon:
            self._close_windows(previous_index, last)
        if self.in_step:
            message = AppendEntries(self.current_term, previous_index, previous_term, entries, self.commit_index)
            ctx.broadcast_unsynced(self.in_step, message)
        if self.next_index:
            for follower in self.others:
                if follower in self.next_index and follower not in self.probing:
                    self._feed(ctx, follower)
        self._count_own(ctx, last)

    def _count_own(self, ctx: Context, last: int) -> None:
        """The leader counts itself when its own disk has the entries (thesis section 10.2.1)."""
        ctx.send(self.me, Appended(self.current_term, last))

    def on_appended(self, ctx: Context, source: int, message: Appended) -> None:
        """The source's disk holds our log up to ``match_index``: perhaps that makes a majority."""
        if message.term != self.current_term or self.role != LEADER:
            return
        self.heard |= 1 << source
        match_index, index = self.match_index, message.match_index
        before = match_index[source]
        if index <= before:
            return
        match_index[source] = index
        if index > self.floor:
            if before <= self.floor:
                self.ahead += 1
            if self.ahead >= self.majority:
                self._advance_commit_index(ctx)
        if self.successor is not None:
            self._caught_up(ctx, source)
        if self.next_index and source in self.next_index:
            if source in self.probing:
                self.probing.remove(source)
                self.next_index[source] = index + 1
            self._feed(ctx, source)

    def _advance_commit_index(self, ctx: Context) -> None:
        """The highest index that a quorum has is committed."""
        ordered = sorted(self.match_index)
        if self.everyone_counts:
            index = ordered[-self.majority]
        else:
            index = self._held_by_quorum(self.match_index)
            if index <= self.floor:
                return  # so many have more, but learners are among them, or both majorities are needed
        self.floor = index
        self.ahead = len(ordered) - bisect_right(ordered, index)
        self._commit(ctx, index)
        if self.unconfirmed:
            self._serve_confirmed(ctx)

    def _commit(self, ctx: Context, index: int) -> None:
        """All entries up to ``index`` are committed: execute them in order. The leader answers."""
        base, entries, last_noop = self.log.base_index + 1, self.log.entries, 0
        sessions, pending, leading = self.sessions, self.pending, self.role == LEADER
        for number in range(self.commit_index + 1, index + 1):
            command = entries[number - base].command
            ctx.commit(number, command)
            if command.kind == "noop":
                last_noop = number
                continue
            if sessions.add(command):  # once, however many entries hold the command (thesis section 6.3)
                ctx.execute(command)
            if pending:
                pending.pop((command.client, command.sequence), None)
            if leading:
                ctx.answer(command)
        self.commit_index = index
        if index >= self.snapshot_at:
            self._take_snapshot(ctx)
        if last_noop and leading:
            self._members_committed(ctx, last_noop)

    def on_conflict(self, ctx: Context, source: int, message: Conflict) -> None:
        """Try again further back (section 5.3), a whole term at a time. Between the hint and the rejected index the
        follower has nothing, or terms above all of ours there; up to the hint, it has none above the hint's. So the
        last place where the logs may agree is our last entry up to the hint whose term is not above the hint's."""
        if message.term != self.current_term or self.role != LEADER:
            return
        self.heard |= 1 << source
        rejected, match = message.previous_index, self.match_index[source]
        if rejected <= match or (source in self.probing and rejected != self.next_index[source] - 1):
            return  # an answer to something older than what we know or have asked since
        agreeing, log = self.log.last_of_term(message.hint_index, message.hint_term), self.log
        if message.hint_index < log.base_index or message.hint_term < log.base_term:
            agreeing = min(message.hint_index, log.base_index - 1)  # it needs what is discarded
        self._probe(ctx, source, max(agreeing, match) + 1)

    def _probe(self, ctx: Context, follower: int, next_index: int) -> None:
        """Send from ``next_index`` on, and nothing more until the follower answers or a retry is due."""
        self.probing.add(follower)
        self._fall_behind({follower: next_index})
        self._send_entries(ctx, follower, next_index, self.options.window)

    def _feed(self, ctx: Context, follower: int) -> None:
        """Send what the window of a follower that is behind allows. If that is everything, it is in step; after a
        snapshot that stands for more than the window, when that is acknowledged."""
        match, last = self.match_index[follower], self.log.last_index
        next_index, end = max(self.next_index[follower], match + 1), match + self.options.window
        while next_index <= min(last, end):
            sent = self._send_entries(ctx, follower, next_index, end + 1 - next_index)
            assert sent > 0, f"nothing is sent from index {next_index} on, but the log ends at {last}"
            next_index += sent
        self.next_index[follower] = next_index
        if end >= last < next_index:
            del self.next_index[follower]
            self.in_step = tuple(r for r in self.others if r not in self.next_index)
            self.horizon = min(self.horizon, end) if len(self.in_step) > 1 else end

    def _send_entries(self, ctx: Context, to: int, first: int, most: int) -> int:
        """One AppendEntries that begins at ``first``, or the snapshot if that is discarded; returns how many entries it
        holds, or stands for."""
        if first <= self.log.base_index:
            return self._send_snapshot(ctx, to) + 1 - first
        previous, entries = first - 1, self.log.slice(first, min(most, self.chunk))
        message = AppendEntries(self.current_term, previous, self.log.term(previous), entries, self.commit_index)
        ctx.send_unsynced(to, message)
        return len(entries)

    def _restart_follower(self, ctx: Context, follower: int, last_index: int) -> None:
        self.ahead -= self.match_index[follower] > self.floor
        self.match_index[follower] = self.match_at_retry[follower] = 0
        self._probe(ctx, follower, min(last_index, self.log.last_index) + 1)

    def _close_windows(self, previous: int, last: int) -> None:
        """Entries up to ``last`` are about to be sent to all in step: not to those whose window they do not fit."""
        match, window = self.match_index, self.options.window
        self._fall_behind({r: previous + 1 for r in self.in_step if last - match[r] > window})
        self.horizon = min([match[r] for r in self.in_step], default=last) + window

    def _fall_behind(self, next_index: dict[int, int]) -> None:
        self.next_index.update(next_index)
        self.in_step = tuple(r for r in self.others if r not in self.next_index)

    def _send_heartbeats(self, ctx: Context) -> None:
        """At every tick, also to those who were just sent entries: to leave one out would make a silence of nearly two
        heartbeats, which may be more than an election time-out. What a follower has acknowledged is what it must agree
        with, so that a heartbeat is never the one to be refused, and tells of all that can be committed there."""
        base = self.log.base_index
        for follower in self.others:
            match = self.match_index[follower]
            if match >= base:
                self._send_entries(ctx, follower, match + 1, 0)
            else:  # everybody agrees on what is discarded
                ctx.send_unsynced(follower, AppendEntries(self.current_term, 0, 0, (), self.commit_index))

    def _retry(self, ctx: Context) -> None:
        """To whom nothing new was acknowledged since the last time, though there was something to acknowledge."""
        match = self.match_index
        for follower in self.others:
            if match[follower] == self.match_at_retry[follower] and match[follower] < self.last_at_retry:
                guess = self.next_index[follower] if follower in self.probing else match[follower] + 1
                self._probe(ctx, follower, guess)
        self.match_at_retry = match[:]
        self.last_at_retry = self.log.last_index
