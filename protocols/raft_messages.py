"""What Raft servers say to each other, and the options of the protocol."""

from __future__ import annotations

from typing import Literal

from consensus_bench.contract import Command, ConfigError, Message, Options, Snapshot
from protocols.raft_log import LogEntry
from protocols.sessions import SessionsImage


class RaftOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of Raft. The first two are no part of the basic protocol; each needs the other, because without PreVote a
    replica that was cut off deposes a healthy leader on its return, and without CheckQuorum a leader that reaches one
    follower can keep that one from voting for a leader that would reach a majority."""

    pre_vote: bool = True
    """Ask, before a term is begun, whether a majority would vote for it (thesis section 9.6). One more round trip per
    election; the first election of all, by ``first_leader``, does without."""
    check_quorum: bool = True
    """A leader that has not heard from a majority for an election time-out steps down (thesis section 6.2), and who has
    heard from a leader within the shortest one ignores RequestVote (section 4.2.3)."""
    batch_size: int = 1
    """Commands that the leader appends and sends together at most; full batches do not wait."""
    batch_ms: float = 0.0
    """How long a command may wait for its batch to fill up. 0: nothing waits, whatever ``batch_size``."""
    window: int = 10_000
    """Entries sent to a follower and not yet acknowledged, at most (thesis section 10.2.2: pipelining)."""
    queue_limit: int = 100_000
    """Requests that a replica keeps while no leader is known, and as many that it has passed on and not executed; it
    drops more, and clients retry."""
    reads: Literal["log", "index", "lease"] = "log"
    """"log": a read is an entry like any other. "index": the leader asks a majority whether it still leads, and answers
    from its state machine (thesis section 6.4, ReadIndex). "lease": it need not ask while the last answers are younger
    than the shortest election time-out by its own clock."""
    clock_drift_bound: float = 0.01
    """"lease": one clock is at most 1 + this times as fast as another (0.01: 1 % faster). If that is
    exceeded, or a clock is set back, reads may be stale."""
    first_members: int = 0
    """The members at the beginning: so many, from the first replica on (0: all). The others are spare servers, which an
    operator may make members (``ChangeMembers``, section 6)."""
    snapshot_every: int = 0
    """After so many entries a server takes a snapshot and discards its log, but for as many entries again, for
    followers that are a little behind (section 7). 0: it keeps the whole log."""

    def validate(self, size: int) -> None:
        """Raise ``ConfigError`` unless these settings can work with ``size`` replicas."""
        super().validate(size)
        if self.batch_size < 1:
            raise ConfigError(f"batch_size = {self.batch_size}: must be at least 1 (1 turns batching off)")
        if self.batch_ms < 0:
            raise ConfigError(f"batch_ms = {self.batch_ms}: must not be negative")
        if self.window < 1:
            raise ConfigError(f"window = {self.window}: must be at least 1 entry")
        if self.queue_limit < 1:
            raise ConfigError(f"queue_limit = {self.queue_limit}: must be at least 1")
        if self.snapshot_every < 0:
            raise ConfigError(f"snapshot_every = {self.snapshot_every}: must not be negative (0: no snapshots)")
        if self.first_members < 0 or self.first_members > size:
            raise ConfigError(f"first_members = {self.first_members}: there are {size} replicas (0: all are members)")
        if self.reads == "lease" and not self.check_quorum:
            raise ConfigError('reads = "lease": needs check_quorum = true, by which followers refuse votes')
        if not 0 <= self.clock_drift_bound < 1:
            raise ConfigError(f"clock_drift_bound = {self.clock_drift_bound}: must lie between 0 and 1")


class Forward(Message, frozen=True, gc=False):
    """A client's command on its way to the leader that the sender knows."""

    command: Command


class PreVote(Message, frozen=True, gc=False):
    """Would you vote for me in ``term``, with a log that ends like this?"""

    term: int
    last_log_index: int
    last_log_term: int


class PreVoteReply(Message, frozen=True, gc=False):
    """``granted``: yes, for that ``term``. Otherwise ``term`` is the sender's own."""

    term: int
    granted: bool


class RequestVote(Message, frozen=True, gc=False):
    """The sender is a candidate in ``term``; its log ends like this. ``transfer``: the leader asked it to be one."""

    term: int
    last_log_index: int
    last_log_term: int
    transfer: bool = False


class Vote(Message, frozen=True, gc=False):
    """Answers RequestVote: the sender's term, and whether the candidate has its vote there."""

    term: int
    granted: bool


class AppendEntries(Message, frozen=True, gc=False):
    """``entries`` follow the one at ``previous_index``; without any, a heartbeat. ``commit_index``: the leader's."""

    term: int
    previous_index: int
    previous_term: int
    entries: tuple[LogEntry, ...]
    commit_index: int


class Appended(Message, frozen=True, gc=False):
    """The sender's log equals that of the leader of ``term`` up to ``match_index``, on its disk."""

    term: int
    match_index: int


class InstallSnapshot(Message, frozen=True, gc=False):
    """Instead of entries that the leader of ``term`` has discarded: its state machine, the sessions that belong to it,
    the term of the last entry that it stands for, and the members then (a bit mask, or two)."""

    term: int
    snapshot: Snapshot
    sessions: SessionsImage
    last_term: int
    members: tuple[int, ...]


class Conflict(Message, frozen=True, gc=False):
    """The sender has no entry like the leader's at ``previous_index``. Up to there, its last one whose term is not
    above that of the leader's entry is at ``hint_index`` and has ``hint_term``."""

    term: int
    previous_index: int
    hint_index: int
    hint_term: int


class Refused(Message, frozen=True, gc=False):
    """AppendEntries came from a leader of an earlier term than the sender's, which is ``term``."""

    term: int


class Confirm(Message, frozen=True, gc=False):
    """Do I still lead ``term``? ``round`` numbers the question."""

    term: int
    round: int


class Confirmed(Message, frozen=True, gc=False):
    """Yes: the sender knew of no other leader when it was asked."""

    term: int
    round: int


class TimeoutNow(Message, frozen=True, gc=False):
    """The leader of ``term`` asks the receiver to begin an election at once (thesis section 3.10)."""

    term: int


class AskTerm(Message, frozen=True, gc=False):
    """The sender's disk is damaged: its log ends at ``last_index``, whatever it acknowledged. ``question``: to match
    the answers."""

    question: int
    last_index: int


class TermReply(Message, frozen=True, gc=False):
    """The sender's term (-1: it has lost it as well), and if it leads that, its last index (else one beyond all); who
    are the members as far as it knows, a bit mask or two."""

    question: int
    term: int
    leader_index: int
    members: tuple[int, ...]
