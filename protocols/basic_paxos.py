"""Basic Paxos: one decision, among any number of proposers, each of which may fail at any moment.

Lamport: Paxos Made Simple (2001), section 2. Nothing here is needed for speed; read this file first.

    here                                      in Lamport's specification of Paxos (TLA+)
    promised, accepted_ballot, accepted       maxBal, maxVBal, maxVal of an acceptor
    Prepare, Promise, Accept, Accepted        the messages "1a", "1b", "2a", "2b"

Every replica is an acceptor and a learner, and becomes a proposer when a client asks it for something:

1. (a) The proposer takes a ballot that nobody has used, above all it knows, and asks the acceptors to *prepare*.
   (b) An acceptor that has promised no ballot as high *promises* to ignore lower ones, and reports what it accepted.
2. (a) With the promises of a majority, the proposer asks all to *accept* the value of the highest ballot reported;
   only if none was reported is it free to propose what its own client wants.
   (b) An acceptor *accepts*, unless it has promised a higher ballot meanwhile.

A value that a majority accepted at one ballot is chosen, and every higher ballot can then only propose it again: any
majority of promises includes one of those acceptors. So there is one decision: the first command wins, and is executed
and answered. No other can be chosen here any more, and its client gets no answer.

Two proposers can outbid each other for ever, each preparing a ballot between the other's two phases. Nothing wrong is
decided then, but nothing at all; a random wait before the next ballot (``backoff_ms``) makes it end.

On disk before anybody hears of it: promises and acceptances, since an acceptor that forgets either lets two values be
chosen; and the round of a proposer's ballot, since a proposer that restarts must not use it for another value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import (
    Ballot,
    Cluster,
    Command,
    ConfigError,
    Context,
    Entry,
    Message,
    Options,
    Replica,
    TimerName,
    View,
    ns,
)
from protocols.quorums import majority

NO_BALLOT: Final[Ballot] = (0, 0)
"""Below every ballot: the first round is 1."""
PLACE: Final = 0
"""Where the one decision is made."""


class BasicPaxosOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``retry_ms`` is how long a proposer waits for answers, in each phase, before it tries a new ballot (so it must
    exceed the round trip to a majority), and how often a replica that has not heard of a decision asks for it. There is
    no leader: ``heartbeat_ms`` and ``election_timeout_ms`` have no meaning."""

    backoff_ms: tuple[float, float] = (100.0, 800.0)
    """How long a proposer that was outbid waits before its next ballot; drawn afresh from this range. 0,0: at once."""

    def validate(self, size: int) -> None:
        """Raise ``ConfigError`` unless these settings can work."""
        super().validate(size)
        low, high = self.backoff_ms
        if not 0 <= low <= high:
            raise ConfigError(f"backoff_ms = {low},{high}: needs 0 <= low <= high")


class Prepare(Message, frozen=True, gc=False):
    """Phase 1a."""

    ballot: Ballot


class Promise(Message, frozen=True, gc=False):
    """Phase 1b: no lower ballot will be served; and what was accepted last, at which ballot (if anything was)."""

    ballot: Ballot
    accepted_ballot: Ballot
    accepted: Command | None


class Accept(Message, frozen=True, gc=False):
    """Phase 2a."""

    ballot: Ballot
    command: Command


class Accepted(Message, frozen=True, gc=False):
    """Phase 2b."""

    ballot: Ballot
    command: Command


class Nack(Message, frozen=True, gc=False):
    """The sender has promised ``ballot``, which is higher than the one it was asked to serve."""

    ballot: Ballot


class Decided(Message, frozen=True, gc=False):
    """``command`` is chosen."""

    command: Command


class Query(Message, frozen=True, gc=False):
    """Is anything chosen?"""


class BasicPaxos(Replica):
    """One replica: acceptor, learner, and proposer when asked."""

    __slots__ = (
        "accepted", "accepted_ballot", "ballot", "decided", "everyone", "highest", "promised", "promises", "proposal",
        "round", "voters", "wanted",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("everyone",)
    name = "basic-paxos"
    options_type = BasicPaxosOptions
    messages: ClassVar[tuple[type[Message], ...]] = (Prepare, Promise, Accept, Accepted, Nack, Decided, Query)
    durable = ("promised", "accepted_ballot", "accepted", "round")
    decides = "single"

    def __init__(self, me: int, cluster: Cluster, options: BasicPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.everyone = tuple(range(cluster.size))
        # The acceptor.
        self.promised = NO_BALLOT
        self.accepted_ballot = NO_BALLOT
        self.accepted: Command | None = None
        # The proposer.
        self.round = 0
        """Of the last ballot of our own."""
        self.highest = 0
        """The highest round heard of."""
        self.wanted: Command | None = None
        """What the client asked for."""
        self.ballot = NO_BALLOT
        """The ballot under way."""
        self.promises: dict[int, Promise] = {}
        self.proposal: Command | None = None
        """What was proposed at ``ballot``; None in phase 1."""
        self.voters: frozenset[int] = frozenset()
        # The learner.
        self.decided: Command | None = None

    def on_start(self, ctx: Context) -> None:
        """Wait for a client, or to hear of a decision."""
        ctx.set_timer("retry", ns(self.options.retry_ms))

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """The acceptor is what it was. The proposer only knows which ballots it may not use again."""
        self.promised = disk.get("promised", NO_BALLOT)
        self.accepted_ballot, self.accepted = disk.get("accepted", (NO_BALLOT, None))
        self.round = disk.get("round", 0)
        if "decided" in disk:
            self._conclude(ctx, disk["decided"])
        else:
            ctx.set_timer("retry", ns(self.options.retry_ms))

    # --- the proposer -------------------------------------------------------------------------------------------------

    def on_request(self, ctx: Context, command: Command) -> None:
        """Propose it, if there is neither a decision nor another command to propose."""
        if self.decided == command:
            ctx.answer(command)
        elif self.decided is None and self.wanted is None:
            self.wanted = command
            self._prepare(ctx)

    def _prepare(self, ctx: Context) -> None:
        """Phase 1a, with a new ballot."""
        self.ballot = self._new_ballot(ctx)
        self.promises.clear()
        self.proposal = None
        self.voters = frozenset()
        ctx.broadcast(self.everyone, Prepare(self.ballot))
        ctx.set_timer("retry", ns(self.options.retry_ms))

    def _new_ballot(self, ctx: Context) -> Ballot:
        """One that nobody has used: the round is new to this replica, and no other uses its number."""
        self.round = max(self.round, self.highest, self.promised[0]) + 1
        ctx.persist("round", self.round)
        return (self.round, self.me)

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        """Phase 2a, once a majority has promised."""
        if message.ballot != self.ballot or self.proposal is not None or self.decided is not None:
            return
        self.promises[source] = message
        if self._is_quorum(self.promises):
            self.proposal = self._choose_proposal()
            ctx.broadcast(self.everyone, Accept(self.ballot, self.proposal))
            ctx.set_timer("retry", ns(self.options.retry_ms))

    def _choose_proposal(self) -> Command:
        """ "The value of the highest-numbered proposal among the responses", or any value if there is none."""
        highest, command = NO_BALLOT, self.wanted
        for source in sorted(self.promises):
            promise = self.promises[source]
            if promise.accepted_ballot > highest:
                highest, command = promise.accepted_ballot, promise.accepted
        assert command is not None, f"ballot {self.ballot} has nothing to propose"
        return command

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        """A value is chosen when a majority has accepted it at one ballot."""
        if message.ballot != self.ballot or self.decided is not None:
            return
        self.voters |= {source}
        if self._is_quorum(self.voters):
            self._conclude(ctx, message.command)
            ctx.broadcast(self.others, Decided(message.command))

    def _is_quorum(self, replicas: Collection[int]) -> bool:
        """Any two majorities share a replica."""
        return len(replicas) >= majority(self.cluster.size)

    def on_nack(self, ctx: Context, source: int, message: Nack) -> None:
        """Outbid. This ballot may still succeed; if it does not, the next will be above the other one."""
        self.highest = max(self.highest, message.ballot[0])
        if self.decided is None and message.ballot > self.ballot and self.wanted is not None:
            low, high = self.options.backoff_ms
            ctx.set_timer("retry", ns(low), ns(high))

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """Not decided, as far as this replica knows: try again; without anything to propose, ask."""
        if self.wanted is not None:
            self._prepare(ctx)
        else:
            ctx.broadcast(self.others, Query())
            ctx.set_timer("retry", ns(self.options.retry_ms))

    # --- the acceptor -------------------------------------------------------------------------------------------------

    def on_prepare(self, ctx: Context, source: int, message: Prepare) -> None:
        """Phase 1b. Whoever still prepares when all is over is told so. (An equal ballot is a duplicate: whoever misses
        the first answer tries another ballot.)"""
        if self.decided is not None:
            ctx.send(source, Decided(self.decided))
        elif message.ballot > self.promised:
            self.promised = message.ballot
            self._save_promise(ctx)
            ctx.send(source, Promise(message.ballot, self.accepted_ballot, self.accepted))
        elif message.ballot < self.promised:
            ctx.send(source, Nack(self.promised))

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        """Phase 2b."""
        if message.ballot < self.promised:
            ctx.send(source, Nack(self.promised))
        else:
            self.promised = self.accepted_ballot = message.ballot
            self.accepted = message.command
            self._save_acceptance(ctx)
            ctx.send(source, Accepted(message.ballot, message.command))

    def _save_promise(self, ctx: Context) -> None:
        ctx.persist("promised", self.promised)

    def _save_acceptance(self, ctx: Context) -> None:
        """With the promise that it is, as one record."""
        ctx.persist("promised", self.promised)
        ctx.persist("accepted", (self.accepted_ballot, self.accepted))

    # --- the learner --------------------------------------------------------------------------------------------------

    def on_decided(self, ctx: Context, source: int, message: Decided) -> None:
        """Somebody knows what is chosen."""
        if self.decided is None:
            self._conclude(ctx, message.command)

    def on_query(self, ctx: Context, source: int, message: Query) -> None:
        """Tell it, if it is known here."""
        if self.decided is not None:
            ctx.send(source, Decided(self.decided))

    def _conclude(self, ctx: Context, command: Command) -> None:
        """Execute the decision; answer if this replica was asked for it. What is chosen stays chosen on the disks of a
        majority: it is written here, last, only to save a restarted replica the question."""
        self.decided = command
        ctx.cancel_timer("retry")
        ctx.commit(PLACE, command)
        ctx.execute(command)
        if command == self.wanted:
            ctx.answer(command)
        ctx.persist("decided", command)

    # --- looking at it ------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """The decision, or what was accepted last."""
        entries: dict[Any, Entry] = {}
        if self.decided is not None:
            entries[PLACE] = Entry("executed", self.decided)
        elif self.accepted is not None:
            entries[PLACE] = Entry("accepted", self.accepted, self.accepted_ballot)
        return View(entries, self.promised)

    def check(self) -> None:
        """Local invariants."""
        assert self.accepted_ballot <= self.promised, f"accepted at {self.accepted_ballot}, promised {self.promised}"
        assert (self.accepted is None) == (self.accepted_ballot == NO_BALLOT), f"{self.accepted} at no ballot"
