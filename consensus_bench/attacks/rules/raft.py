"""Raft without one of its rules. Each docstring names the rule that is removed; sections are of Ongaro and Ousterhout,
"In Search of an Understandable Consensus Algorithm", USENIX ATC 2014 (extended version)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.attacks.rules.retries import NoSessions
from consensus_bench.contract import CORRUPT, Command, Context
from protocols.raft import Raft
from protocols.raft_election import LEADER, Members
from protocols.raft_messages import Appended, PreVote, RequestVote


class UnsafeVoteNotOnDisk(Raft):
    """A vote is on disk before it is given (Figure 2)."""

    __slots__ = ()

    def _save_vote(self, ctx: Context) -> None:
        ctx.persist("vote", (self.current_term, None))


class UnsafeTermNotOnDisk(Raft):
    """The current term is on disk before anybody hears of it (Figure 2)."""

    __slots__ = ()

    def _save_vote(self, ctx: Context) -> None:
        """Nothing is written."""

    def check(self) -> None:
        """A log that is ahead of its term would be noticed; here it is not, as it was not in production."""


class UnsafeAnyLog(Raft):
    """A vote goes only to a candidate whose log is at least as up-to-date (section 5.4.1)."""

    __slots__ = ()

    def _is_up_to_date(self, request: RequestVote | PreVote) -> bool:
        return True


class UnsafeOldTermsCounted(Raft):
    """Only entries of the current term are committed by counting replicas (section 5.4.2, Figure 8)."""

    __slots__ = ()

    def _first_countable(self) -> int:
        return self.commit_index + 1


class UnsafeOldLeadersObeyed(Raft):
    """AppendEntries of an earlier term is refused (section 5.1)."""

    __slots__ = ()

    def _is_outdated(self, term: int) -> bool:
        return False

    def _follow(self, ctx: Context, term: int, leader: int) -> None:
        """A leader that obeys another one leads no more."""
        self._step_down(ctx)
        super()._follow(ctx, term, leader)


class UnsafeEarlyAcknowledgement(Raft):
    """Entries are on disk before they are acknowledged."""

    __slots__ = ()

    def _acknowledge(self, ctx: Context, leader: int, match_index: int) -> None:
        ctx.send_unsynced(leader, Appended(self.current_term, match_index))


class UnsafeRetriesExecuted(Raft):
    """A retry is neither appended nor executed again (Ongaro's thesis, section 6.3)."""

    __slots__ = ()
    sessions_type = NoSessions

    def _is_new(self, ctx: Context, command: Command) -> bool:
        return True


class UnsafeUnaskedReads(Raft):
    """A leader that answers reads from its state machine has asked a majority whether it still leads (Ongaro,
    "Consensus: Bridging Theory and Practice", section 6.4)."""

    __slots__ = ()

    def _serve_read(self, ctx: Context, command: Command) -> None:
        self._read(ctx, command)


class SingleServerChange(Raft):
    """Ongaro's other way to change the members (thesis section 4.1): one server at a time, in one step, since any
    majority of the old members meets any majority of the new ones. Correct as corrected: not before an entry of the
    leader's own term is committed."""

    __slots__ = ()

    def _append_members(self, ctx: Context, members: Members) -> None:
        super()._append_members(ctx, members[-1:])


class UnsafeSingleServerChange(SingleServerChange):
    """A leader changes the members only after it has committed an entry of its own term."""

    __slots__ = ()

    def _may_change(self) -> bool:
        return self.role == LEADER and self.configurations[-1][0] <= self.commit_index


class UnsafeNeverWritten(Raft):
    """An acknowledged record that cannot be read is not taken for one that was never written."""

    __slots__ = ()

    def _read_disk(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        good: dict[Any, Any] = {key: disk[key] for key in ("vote",) if disk.get(key, CORRUPT) is not CORRUPT}
        index = 1
        while disk.get(index, CORRUPT) is not CORRUPT:
            good[index] = disk[index]
            index += 1
        super()._read_disk(ctx, good)
