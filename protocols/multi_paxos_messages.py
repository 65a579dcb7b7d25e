"""What Multi-Paxos replicas say to each other, and the options of the protocol."""

from __future__ import annotations

from typing import Literal

from consensus_bench.contract import Ballot, Command, ConfigError, Message, Options, Snapshot
from protocols.quorums import majority, require_intersection
from protocols.sessions import SessionsImage


class MultiPaxosOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of Multi-Paxos. ``election_timeout_ms`` is also a candidate's back-off before its next ballot."""

    phase1_quorum: int = 0
    """Promises that make a leader, its own counted; 0: a majority. Any sizes do whose sum exceeds the number of
    replicas (Flexible Paxos). With a quorum of one, in either phase, a replica whose disk was lost cannot come back:
    the others need not have heard what it did."""
    phase2_quorum: int = 0
    """Acceptances that choose a value, the leader's own counted; 0: a majority."""
    unsafe_quorums: bool = False
    """Allow quorums that need not intersect."""
    batch_size: int = 1
    """Commands in one Accept at most, each in a slot of its own."""
    batch_ms: float = 0.0
    """How long a command may wait for a batch to fill up. 0: only what the window holds up is batched."""
    window: int = 10_000
    """Slots that may be proposed and not yet executed, at most; further requests queue (PMMC section 4.1)."""
    reads: Literal["log", "lease", "quorum"] = "log"
    """"log": a read gets a slot like any other command. "lease": the leader answers from its state machine while a
    lease runs. "quorum": any replica answers, once it has executed all that a phase-1 quorum has heard of."""
    lease_ms: float = 1000.0
    """"lease": how long whoever grants one promises nothing to anybody else, by its own clock; a restarted replica
    promises nothing for as long."""
    clock_drift_bound: float = 0.01
    """"lease": one clock is at most 1 + this times as fast as another (0.01: 1 % faster). If that is
    exceeded, or a clock is set back, reads may be stale."""
    check_quorum: bool = False
    """A leader that has not heard from a phase-2 quorum for the shortest election time-out steps down; followers answer
    its heartbeats."""
    epochs: bool = False
    """Refuse requests that were made to an earlier leadership, and forget them when the leader changes: clients must
    ask again. Otherwise the next leader serves them."""
    snapshot_every: int = 0
    """Slots executed between two snapshots of the state machine; 0: none, the log grows for ever. As many slots are
    kept behind a snapshot, for replicas that lack no more than that."""
    queue_limit: int = 100_000
    """Requests that a replica keeps while it cannot propose or pass them on; it drops more, and clients retry."""

    def validate(self, size: int) -> None:
        """Raise ``ConfigError`` unless these settings can work with ``size`` replicas."""
        super().validate(size)
        first, second = self.phase1_quorum or majority(size), self.phase2_quorum or majority(size)
        require_intersection(first, second, size, self.unsafe_quorums)
        if self.batch_size < 1:
            raise ConfigError(f"batch_size = {self.batch_size}: must be at least 1 (1 turns batching off)")
        if self.batch_ms < 0:
            raise ConfigError(f"batch_ms = {self.batch_ms}: must not be negative")
        if self.window < self.batch_size:
            raise ConfigError(f"window = {self.window}: must hold at least one batch (batch_size = {self.batch_size})")
        if self.reads == "lease" and self.lease_ms <= self.heartbeat_ms:
            raise ConfigError(f"lease_ms = {self.lease_ms}: must exceed heartbeat_ms = {self.heartbeat_ms}")
        if not 0 <= self.clock_drift_bound < 1:
            raise ConfigError(f"clock_drift_bound = {self.clock_drift_bound}: must lie between 0 and 1")
        if self.snapshot_every < 0:
            raise ConfigError(f"snapshot_every = {self.snapshot_every}: must not be negative (0 turns snapshots off)")
        if self.queue_limit < 1:
            raise ConfigError(f"queue_limit = {self.queue_limit}: must be at least 1")


class Forward(Message, frozen=True, gc=False):
    """A client's command on its way to whoever the sender takes for the leader of ``ballot``."""

    command: Command
    ballot: Ballot


class Prepare(Message, frozen=True, gc=False):
    """Phase 1a, for all slots from ``first`` on at once: the sender knows everything below. Leases of ballots up to
    ``waives`` have been given up."""

    ballot: Ballot
    first: int
    waives: Ballot = (0, 0)


class Promise(Message, frozen=True, gc=False):
    """Phase 1b: (slot, ballot, command) of all that the sender has accepted in the slots asked for, which are those
    from ``first`` on. ``CHOSEN`` in the place of the ballot: known to be chosen."""

    ballot: Ballot
    accepted: tuple[tuple[int, Ballot, Command], ...]
    first: int = 1


class Accept(Message, frozen=True, gc=False):
    """Phase 2a: ``commands`` for consecutive slots from ``slot`` on. All slots below ``committed`` are chosen."""

    ballot: Ballot
    slot: int
    commands: tuple[Command, ...]
    committed: int


class Accepted(Message, frozen=True, gc=False):
    """Phase 2b: the sender has accepted the Accept of that ballot that begins at ``slot``."""

    ballot: Ballot
    slot: int


class Nack(Message, frozen=True, gc=False):
    """The sender has promised ``ballot``, which is higher than the one it was asked to serve."""

    ballot: Ballot


class Heartbeat(Message, frozen=True, gc=False):
    """The leader lives, and all slots below ``committed`` are chosen."""

    ballot: Ballot
    committed: int


class Fetch(Message, frozen=True, gc=False):
    """The sender lacks the slots from ``first`` on."""

    first: int


class Chosen(Message, frozen=True, gc=False):
    """The values of consecutive slots from ``first`` on; the sender knows all below ``committed``, and none of them was
    chosen at a higher ballot than ``ballot``."""

    ballot: Ballot
    first: int
    commands: tuple[Command, ...]
    committed: int


class Install(Message, frozen=True, gc=False):
    """In the place of a Chosen whose slots the sender has discarded: its state machine, and the ``sessions`` that
    belong to it. The sender knows all below ``committed``, and nothing in it was chosen at a higher ballot."""

    ballot: Ballot
    snapshot: Snapshot
    sessions: SessionsImage
    committed: int


class Extend(Message, frozen=True, gc=False):
    """The leader of ``ballot`` asks for a lease, from now on. ``round`` numbers the question."""

    ballot: Ballot
    round: int


class Extended(Message, frozen=True, gc=False):
    """Granted: the sender promises nothing to anybody else for a while."""

    ballot: Ballot
    round: int


class ReadQuery(Message, frozen=True, gc=False):
    """How far have you accepted anything? ``round`` numbers the question, of this ``life``."""

    life: int
    round: int


class ReadReply(Message, frozen=True, gc=False):
    """The sender has accepted something in the slot below ``end``, and in none from there on."""

    life: int
    round: int
    end: int


class Fill(Message, frozen=True, gc=False):
    """A read waits for the slots below ``end``: propose something there."""

    end: int


class TakeOver(Message, frozen=True, gc=False):
    """The leader of ``ballot`` asks the receiver to lead in its place, as soon as it knows all below ``committed``."""

    ballot: Ballot
    committed: int


class Outdated(Message, frozen=True, gc=False):
    """The request with this client's number and sequence number was meant for the leader of ``ballot``, and came too
    late."""

    client: int
    sequence: int
    ballot: Ballot


class Alive(Message, frozen=True, gc=False):
    """Answers a Heartbeat, with ``check_quorum``."""

    ballot: Ballot


class Recall(Message, frozen=True, gc=False):
    """The sender's disk is damaged: promise at least ``ballot``, and report what was accepted from ``first`` on.
    ``life`` tells the answers to this process of it from those to earlier ones."""

    life: int
    ballot: Ballot
    first: int


class Recalled(Message, frozen=True, gc=False):
    """Answers Recall: the sender has promised ``ballot``, and perhaps ``leads`` at it; ``first`` and ``accepted`` as in
    Promise."""

    life: int
    ballot: Ballot
    leads: bool
    accepted: tuple[tuple[int, Ballot, Command], ...]
    first: int
