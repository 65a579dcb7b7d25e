"""What EPaxos replicas say to each other, and what each remembers of an instance that is not committed yet."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from consensus_bench.contract import Ballot, Command, ConfigError, Key, Message, Options, Snapshot, State
from protocols.dependency_graph import Dependencies, IndexImage, InstanceId
from protocols.sessions import SessionsImage

INITIAL: Final = 0
PREACCEPTED: Final = 1
ACCEPTED: Final = 2

Conflict: TypeAlias = tuple[int, int, bool]
"""(replica, number, whether its fate is settled there): an instance that stands against the one being recovered."""

Fence: TypeAlias = tuple[int, Ballot]
"""From this number of a row on, this is the ballot that its instances begin with."""


class EPaxosOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of EPaxos. The common ones mean: ``heartbeat_ms``, how often a replica tells the others that it lives
    and what it has executed; ``election_timeout_ms``, how long an instance may stay unfinished, and its command leader
    silent, before it is recovered; ``retry_ms``, after how long the command leader (or recoverer) asks again."""

    rules: Literal["star", "sosp13"] = "star"
    """"star": EPaxos* (Ryabinin, Gotsman, Sutra, OPODIS'25). "sosp13": the published EPaxos (Moraru et al., SOSP'13)
    with sequence numbers, equal replies of a fast quorum named beforehand, and recovery by TryPreAccept."""
    thrifty: bool = False
    """Ask only the nearest replicas that make up a quorum, and the others when they do not answer in time."""
    toq: bool = False
    """Timestamp-ordered queueing (Tollman et al., NSDI'21): every replica of the fast quorum, the leader included,
    processes a PreAccept when its clock says that all others have it. Only with ``rules = "sosp13"``."""
    toq_slack_ms: float = 4.0
    """Added to the expected delay to the farthest replica of the fast quorum."""
    reads: Literal["log", "quorum"] = "log"
    """"log": a read is a command like any other, which writes depend on. "quorum": it asks a majority which writes it
    has to wait for, and takes no instance. Neither needs a clock."""
    snapshot_every: int = 0
    """Instances that all have executed between two snapshots of the state machine, which replace them on disk; 0: the
    disk keeps all decisions for ever."""
    unsafe_single_ballot: bool = False
    """One ballot per instance, as published: joining a ballot overwrites the one voted at (Sutra, IPL 2020)."""
    unsafe_any_quorum: bool = False
    """"sosp13": the first equal replies count, whoever sends them, as in the published non-thrifty variant. Nobody can
    then tell who may have been in the fast quorum, and recovery guesses (OPODIS'25, section 7)."""

    def validate(self, size: int) -> None:
        """Raise ``ConfigError`` unless these settings can work with ``size`` replicas."""
        super().validate(size)
        if self.toq and self.rules != "sosp13":
            raise ConfigError(
                'toq = true: needs rules = "sosp13" (EPaxos* compares replies with dependencies that the leader sends '
                "along, and with queueing it has none to send)"
            )
        if self.unsafe_any_quorum and self.rules != "sosp13":
            raise ConfigError('unsafe_any_quorum = true: is about rules = "sosp13", not "star"')
        if self.snapshot_every < 0:
            raise ConfigError(f"snapshot_every = {self.snapshot_every}: must not be negative (0: no snapshots)")
        if self.toq_slack_ms < 0:
            raise ConfigError(f"toq_slack_ms = {self.toq_slack_ms}: must not be negative")


class PreAccept(Message, frozen=True):
    """Phase 1. ``quorum``: the fast quorum as a bit mask; ``open_after_ns``: when to process it (0: at once)."""

    instance: InstanceId
    ballot: Ballot
    command: Command
    deps: Dependencies
    seq: int
    quorum: int
    open_after_ns: int


class PreAcceptOk(Message, frozen=True):
    """Pre-accepted with exactly the attributes that were sent."""

    instance: InstanceId
    ballot: Ballot


class PreAcceptReply(Message, frozen=True):
    """Pre-accepted with other attributes than those that were sent."""

    instance: InstanceId
    ballot: Ballot
    deps: Dependencies
    seq: int


class Accept(Message, frozen=True):
    """Phase 2, with a command or a no-op."""

    instance: InstanceId
    ballot: Ballot
    command: Command
    deps: Dependencies
    seq: int


class AcceptOk(Message, frozen=True):
    """Accepted at ``ballot``."""

    instance: InstanceId
    ballot: Ballot


class Commit(Message, frozen=True):
    """The decision. Also what is kept of a committed instance, in memory and on disk: one object for all."""

    instance: InstanceId
    command: Command
    deps: Dependencies
    seq: int


class Recover(Message, frozen=True):
    """Join ``ballot`` and tell what you have (SOSP'13: Prepare)."""

    instance: InstanceId
    ballot: Ballot


class RecoverOk(Message, frozen=True):
    """Joined ``ballot``; ``accepted`` is the ballot of the last vote, for what follows it."""

    instance: InstanceId
    ballot: Ballot
    accepted: Ballot
    phase: int
    command: Command | None
    noop: bool
    deps: Dependencies
    seq: int
    initial_deps: Dependencies | None
    quorum: int


class Refused(Message, frozen=True):
    """I have joined ``ballot``, which is higher than yours."""

    instance: InstanceId
    ballot: Ballot


class Validate(Message, frozen=True):
    """EPaxos*: may ``command`` have been committed with ``deps``, or does something you know exclude that?"""

    instance: InstanceId
    ballot: Ballot
    command: Command
    deps: Dependencies


class ValidateOk(Message, frozen=True):
    """The instances that exclude it, those whose fate is not settled only if they are committed as they were begun."""

    instance: InstanceId
    ballot: Ballot
    conflicts: tuple[Conflict, ...]


class Waiting(Message, frozen=True):
    """EPaxos*: the recovery of ``instance`` waits for others; ``votes`` replicas pre-accepted it as it was begun."""

    instance: InstanceId
    votes: int


class TryPreAccept(Message, frozen=True):
    """SOSP'13: pre-accept exactly this, unless something you know excludes it."""

    instance: InstanceId
    ballot: Ballot
    command: Command
    deps: Dependencies
    seq: int
    quorum: int


class TryPreAcceptReply(Message, frozen=True):
    """Pre-accepted if ``conflicts`` is empty; else what excludes it."""

    instance: InstanceId
    ballot: Ballot
    conflicts: tuple[Conflict, ...]


class Executed(Message, frozen=True):
    """I live, and of each row I have durably executed everything up to here."""

    upto: Dependencies


class Fetch(Message, frozen=True):
    """Send what is committed in the row of ``start`` from there on."""

    start: InstanceId


class Committed(Message, frozen=True):
    """Decisions, in answer to ``Fetch``."""

    commits: tuple[Commit, ...]


class ReadQuery(Message, frozen=True):
    """Which are the latest writes of ``key`` that you know?"""

    life: int
    round: int
    key: Key


class ReadReply(Message, frozen=True):
    """These, of each row."""

    life: int
    round: int
    writes: Dependencies


class Forgotten(Message, frozen=True):
    """I cannot read what I had in these instances."""

    instances: tuple[InstanceId, ...]


class Recall(Message, frozen=True):
    """I have lost everything. If you have heard of nothing in my row from ``start`` on, let it begin there with
    ``ballot``. ``life`` tells the answers from those to an earlier life."""

    life: int
    start: int
    ballot: Ballot


class Recalled(Message, frozen=True):
    """``heard``: the highest number of each row that I have heard of, in mine that I have begun; ``fences``: those of
    your row, ``own_fences``: those of mine."""

    life: int
    heard: Dependencies
    fences: tuple[Fence, ...]
    own_fences: tuple[Fence, ...]


class Refetch(Message, frozen=True):
    """As ``Fetch``, from one who may have forgotten what it had executed."""

    start: InstanceId


class Image(Message, frozen=True):
    """What belongs beside a snapshot: everything up to ``upto`` and ``ahead`` is executed in it, and everything up to
    ``collected`` by all replicas; the sessions; what interferes by key."""

    upto: Dependencies
    ahead: tuple[InstanceId, ...]
    collected: Dependencies
    sessions: SessionsImage
    index: IndexImage


class Install(Message, frozen=True):
    """The state machine, in answer to ``Refetch`` of what is forgotten here."""

    snapshot: Snapshot
    image: Image


class Instance(State):
    """An instance that this replica has heard of and does not know committed.

    ============ =========== =====================================================================================
    OPODIS'25    here        meaning
    ============ =========== =====================================================================================
    phase        phase       INITIAL, PREACCEPTED or ACCEPTED
    bal          ballot      the highest ballot joined
    abal         accepted    the ballot of the last vote (SOSP'13 with the correction: vbal)
    cmd          command,    the command this instance holds, once known; ``noop``: the last vote was for a no-op
                 noop
    dep          deps, seq   the attributes of the last vote
    initDep      initial_deps the attributes its leader began with; None where only Accept or Recover came
    ============ =========== =====================================================================================

    ``quorum`` is the fast quorum its leader named (SOSP'13). ``age`` counts the sweeps it has stayed unfinished and
    ``attempts`` the recoveries seen, which make the next one wait longer; both are volatile.
    """

    __slots__ = (
        "accepted", "age", "attempts", "ballot", "command", "deps", "initial_deps", "noop", "phase", "quorum", "seq",
    )  # fmt: skip

    def __init__(
        self,
        phase: int,
        ballot: Ballot,
        accepted: Ballot,
        command: Command | None,
        noop: bool,
        deps: Dependencies,
        seq: int,
        initial_deps: Dependencies | None,
        quorum: int,
    ) -> None:
        self.phase = phase
        self.ballot = ballot
        self.accepted = accepted
        self.command = command
        self.noop = noop
        self.deps = deps
        self.seq = seq
        self.initial_deps = initial_deps
        self.quorum = quorum
        self.age = 0
        self.attempts = 0

    def record(self) -> tuple[Any, ...]:
        """What must survive a crash: the arguments that make this instance again."""
        return (
            self.phase, self.ballot, self.accepted, self.command, self.noop, self.deps, self.seq, self.initial_deps,
            self.quorum,
        )  # fmt: skip


def begun(message: PreAccept) -> Instance:
    """The instance that was pre-accepted exactly as ``message`` says."""
    ballot, deps = message.ballot, message.deps
    return Instance(PREACCEPTED, ballot, ballot, message.command, False, deps, message.seq, deps, message.quorum)


class Leading(State):
    """An instance that this replica leads through phases 1 and 2 at ``ballot``: who answered, and what."""

    __slots__ = (
        "accepting", "age", "ballot", "command", "deps", "first_reply", "forced_slow", "proposal", "quorum", "seq",
        "unanimous", "voters",
    )  # fmt: skip

    def __init__(self, proposal: PreAccept | Accept, voters: int, forced_slow: bool) -> None:
        self.proposal = proposal
        """The message that is sent again to those who do not answer."""
        self.accepting = isinstance(proposal, Accept)
        self.ballot = proposal.ballot
        self.command = proposal.command
        self.deps = proposal.deps
        """The union of all replies; ``seq``: their maximum."""
        self.seq = proposal.seq
        self.quorum = proposal.quorum if isinstance(proposal, PreAccept) else 0
        self.voters = voters
        """Who answered, as a bit mask."""
        self.unanimous = True
        """Whether all replies so far allow the fast path."""
        self.first_reply: tuple[Dependencies, int] | None = None
        self.forced_slow = forced_slow
        self.age = 0


class Recovery(State):
    """An instance that this replica recovers at ``ballot``."""

    __slots__ = ("age", "answers", "ballot", "candidate", "conflicts", "members", "replies", "stage", "votes")

    COLLECTING: Final = 0
    VALIDATING: Final = 1
    """EPaxos*: Validate; SOSP'13: TryPreAccept."""
    WAITING: Final = 2

    def __init__(self, ballot: Ballot, own: RecoverOk, me: int) -> None:
        self.ballot = ballot
        self.stage = Recovery.COLLECTING
        self.replies: dict[int, RecoverOk] = {me: own}
        self.members: tuple[int, ...] = ()
        """The quorum Q the decision is drawn from, ascending."""
        self.candidate: RecoverOk | None = None
        """A reply that holds what may have been committed on the fast path."""
        self.votes = 0
        """|R|: how many of Q pre-accepted it exactly as it was begun."""
        self.answers: dict[int, tuple[Conflict, ...]] = {}
        self.conflicts: tuple[InstanceId, ...] = ()
        self.age = 0
