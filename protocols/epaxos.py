"""EPaxos: no leader; each replica leads the commands of its own clients, and only interfering ones are ordered.

Moraru, Andersen, Kaminsky: There Is More Consensus in Egalitarian Parliaments (SOSP'13), with the corrections of
Sutra (IPL 2020), and Ryabinin, Gotsman, Sutra: EPaxos* (OPODIS'25). Here: phases 1 and 2, commit, execution, what is
forgotten, restart. Recovery: ``epaxos_recovery``. Order of execution: ``dependency_graph``.

A replica's command gets its next instance (replica, number). Phase 1 asks the others for the dependencies they know.
It commits in one round trip (the fast path) when a fast quorum, n - e replicas with the leader, replies

- "star": exactly the dependencies that the leader sent;
- "sosp13": the same dependencies and sequence number, each replica of the fast quorum that the leader *named* (the
  nearest ones not silent). The published non-thrifty variant takes any equal replies; ``unsafe_any_quorum`` is that.
  We do not ask that all dependencies be committed: without comparing sequence numbers in recovery nothing needs it.

Otherwise phase 2 has a majority accept the union of what was replied. It starts as soon as a majority has replied and
one reply rules out the fast path.

Durable before it is heard of: an instance before its PreAccept leaves (so that no number is used twice, and see
``epaxos_recovery``), every vote and promise, and every decision. A reply can only answer a message that left behind
the barrier, so the leader's own vote needs no message to itself.

A command is answered after execution, which makes real-time order hold without further conditions (a command executed
before another begins can have no dependency on it). It also bounds the chains of dependencies that never close
(efficient/epaxos issue 14) by the number of clients: a closed loop waits, an open loop above the rate that a hot key
can bear grows them.

Forgotten: what all replicas have durably executed. The disk keeps every decision, because a restarted replica executes
again from its own disk, unless ``snapshot_every`` replaces what is forgotten by a snapshot. While a replica is down
nothing is forgotten: it will ask (``Fetch``) for what it missed, and what it had begun may have to be recovered, in
which each decision that it had not executed may count. So memory and disk grow with how long it is away.

With timestamp-ordered queueing the dependencies are computed when a PreAccept is opened, by the leader too, so that
none are sent (but those that are already executed here or precede in the leader's own row), and the leader's own reply
must be equal as well. Safety does not rest on clocks. Its price: two interfering commands whose leaders both fell
silent may leave evidence that fits either having been committed; their recovery then waits for one of the leaders.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from consensus_bench.contract import (
    Ballot,
    Cluster,
    Command,
    Context,
    Entry,
    Message,
    Snapshot,
    TimerName,
    View,
    interferes,
    ns,
)
from protocols.dependency_graph import ConflictIndex, Dependencies, InstanceId, union, without
from protocols.epaxos_messages import (
    ACCEPTED,
    INITIAL,
    PREACCEPTED,
    Accept,
    AcceptOk,
    Commit,
    Committed,
    EPaxosOptions,
    Executed,
    Fetch,
    Forgotten,
    Install,
    Instance,
    Leading,
    PreAccept,
    PreAcceptOk,
    PreAcceptReply,
    ReadQuery,
    ReadReply,
    Recall,
    Recalled,
    Recover,
    RecoverOk,
    Recovery,
    Refetch,
    Refused,
    TryPreAccept,
    TryPreAcceptReply,
    Validate,
    ValidateOk,
    Waiting,
    begun,
)
from protocols.epaxos_reads import EPaxosReads

FETCH_LIMIT: Final = 256
"""Decisions in one ``Committed``."""
PATIENCE_SWEEPS: Final = 2
"""Sweeps an instance may stay unfinished when its leader is silent: two of half the election time-out each."""
LONG_PATIENCE_SWEEPS: Final = 12
"""The same when its leader is heard, which asks again itself and would only be disturbed."""
MOST_CHECKPOINTS: Final = 64

Queued = tuple[int, InstanceId, int, PreAccept]
"""(open after, instance, from whom, what): ordered by the first two."""


class EPaxos(EPaxosReads):
    """One EPaxos replica: command leader for its clients, acceptor for the others, recoverer when needed."""

    __slots__ = (
        "checkpoints", "fetching", "heard", "last_open_ns", "queue", "quorum", "reported", "requests",
        "silence", "targets", "toq_delay_ns",
    )  # fmt: skip
    name = "epaxos"
    options_type = EPaxosOptions
    messages: ClassVar[tuple[type[Message], ...]] = (
        PreAccept, PreAcceptOk, PreAcceptReply, Accept, AcceptOk, Commit, Recover, RecoverOk, Refused, Validate,
        ValidateOk, Waiting, TryPreAccept, TryPreAcceptReply, Executed, Fetch, Committed, Forgotten, Recall, Recalled,
        Refetch, Snapshot, Install, ReadQuery, ReadReply,
    )  # fmt: skip
    durable = ("live", "log", "next")
    decides = "graph"
    repairs_disks = True

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.requests: dict[int, set[int]] = {}
        """By client, the sequence numbers asked of this replica and not executed: these get an answer."""
        self.heard = 0
        """Who sent ``Executed`` since the last sweep, as a bit mask; ``silence``: how many sweeps each did not."""
        self.silence = [0] * cluster.size
        self.reported = [self.none] * cluster.size
        """What each replica says it has durably executed, for all to forget."""
        self.checkpoints: list[tuple[int, Dependencies]] = []
        """What was executed when our next number was this."""
        self.fetching = [-1] * cluster.size
        """The first number missing of each row at the last sweep."""
        self.queue: list[Queued] = []
        self.last_open_ns = 0
        self._choose_quorum()

    def _choose_quorum(self) -> None:
        """Whom to ask in phase 1, and who makes up the fast quorum: the nearest replicas that are not silent."""
        near = sorted(self.cluster.nearest(self.me), key=lambda r: self.silence[r] >= PATIENCE_SWEEPS)
        nearest = near[: self.fast]
        everyone = self.star or self.options.unsafe_any_quorum
        self.quorum = sum(1 << r for r in (near if everyone else nearest))
        self.targets = tuple(nearest[1:]) if self.options.thrifty else self.others
        delays = self.cluster.delay_ns
        farthest = max((delays[self.me][r] for r in nearest), default=0) if delays else 0
        self.toq_delay_ns = farthest + ns(self.options.toq_slack_ms)

    # --- starting -----------------------------------------------------------------------------------------------------

    def on_start(self, ctx: Context) -> None:
        """Nothing to agree on beforehand: only the two timers."""
        self._set_tick(ctx)
        self._set_sweep(ctx)

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Bring everything back, execute again what is committed, and recover our own unfinished instances: their
        votes at ballot 0 may have been counted, so they are not led on."""
        commits: list[Commit] = []
        for instance_id, value in sorted(self._readable(ctx, disk).items()):
            if isinstance(value, Commit):
                commits.append(value)
            else:
                instance = self.live[instance_id] = value if isinstance(value, PreAccept) else Instance(*value)
                if instance.command is not None and self._is_covered(instance_id):
                    self.index.add(instance.command, *instance_id)
                elif instance.command is not None:
                    self._know(ctx, instance_id, instance.command, instance.seq)
        for commit in commits:
            self._learn(ctx, commit, restarting=True)
        for instance_id, instance in list(self.live.items()):
            if instance_id[0] == self.me:
                if instance.command is not None and not self.sessions.executed(instance.command):
                    self.requests.setdefault(instance.command.client, set()).add(instance.command.sequence)
                if not self.forgetful:
                    self.start_recovery(ctx, instance_id)
        self.on_start(ctx)

    # --- phase 1 ------------------------------------------------------------------------------------------------------

    def on_request(self, ctx: Context, command: Command) -> None:
        """The replica that a client asks leads the command; what is already under way here is not begun twice."""
        asked = self.requests.get(command.client)
        if asked is not None and command.sequence in asked:
            return
        if self.sessions.executed(command):
            ctx.answer(command)
            return
        if self.reads_apart and command.kind == "get":
            self._read_by_quorum(ctx, command)
            return
        if asked is None:
            self.requests[command.client] = {command.sequence}
        else:
            asked.add(command.sequence)
        self._lead(ctx, command)

    def _lead(self, ctx: Context, command: Command) -> None:
        """A new instance: its dependencies, durable, then PreAccept."""
        zero = (0, self.me)
        if self.guarded:
            if self.forgetful:
                self.parked.append(command)
                return
            self._skip_named()
            zero = self._first_ballot((self.me, self.next))
        instance_id = (self.me, self.next)
        self.next += 1
        if self.options.toq:
            self._lead_queued(ctx, instance_id, zero, command)
            return
        deps = self.index.conflicts(command)
        seq = 0 if self.star else self.index.next_sequence(command)
        proposal = PreAccept(instance_id, zero, command, deps, seq, self.quorum, 0)
        self.live[instance_id] = proposal
        ctx.persist(instance_id, proposal)
        self.leading[instance_id] = Leading(proposal, 1 << self.me, False)
        self._ask(ctx, proposal)
        self._know(ctx, instance_id, command, seq)
        if self.majority == 1:
            self._commit(ctx, instance_id, command, deps, seq)

    def _ask(self, ctx: Context, proposal: PreAccept) -> None:
        ctx.broadcast(self.targets, proposal)

    def _know(self, ctx: Context, instance_id: InstanceId, command: Command, seq: int) -> None:
        row, number = instance_id
        self.index.add(command, row, number)
        if not self.star:
            self.index.raise_sequence(command, seq)
        ready = self.graph.learn(row, number, command)
        if ready:
            self._execute(ctx, ready)

    def _hold(self, ctx: Context, instance_id: InstanceId, instance: Instance, command: Command, seq: int) -> None:
        """A vote for ``command``: whoever asks from now on hears of it. (Our own may be in the queue until then.)"""
        if instance.command is None:
            instance.command = command
            self._know(ctx, instance_id, command, seq)
        elif not self.star:
            self.index.add(command, *instance_id)
            self.index.raise_sequence(command, seq)

    def on_pre_accept(self, ctx: Context, source: int, message: PreAccept) -> None:
        """Phase 1 at an acceptor: add what is known here, vote, reply."""
        instance_id = message.instance
        row, number = instance_id
        if message.open_after_ns:
            self._enqueue(ctx, message.open_after_ns, instance_id, source, message)
        elif (
            instance_id in self.live
            or number in self.log[row]
            or number <= self.collected[row]
            or (self.guarded and self._is_unwelcome(message))
        ):
            self._pre_accept_again(ctx, source, message)
        else:
            self._pre_accept(ctx, source, message)

    def _is_unwelcome(self, message: PreAccept) -> bool:
        """Whether we may not vote, or it is from an earlier life of its leader, which has forgotten it."""
        return self.forgetful or message.ballot < self._first_ballot(message.instance)

    def _pre_accept_again(self, ctx: Context, source: int, message: PreAccept) -> None:
        """The instance is known here: a repetition, a late message, or (SOSP'13) phase 1 at a higher ballot."""
        if self._settled(ctx, source, message.instance):
            return
        instance = self._instance(message.instance)
        ballot = message.ballot
        if ballot < instance.ballot:
            ctx.send_unsynced(source, Refused(message.instance, instance.ballot))
        elif instance.phase == INITIAL or ballot > instance.accepted:
            if ballot > instance.ballot:
                self._yield(message.instance, instance)
            self._pre_accept_known(ctx, source, message, instance)
        elif instance.phase == PREACCEPTED and ballot == instance.accepted:
            self._reply_pre_accept(ctx, source, message, instance)

    def _pre_accept(self, ctx: Context, source: int, message: PreAccept) -> None:
        """The first that is heard of the instance."""
        instance_id, command, deps = message.instance, message.command, message.deps
        row, number = instance_id
        seq = message.seq if self.star else max(message.seq, self.index.next_sequence(command))
        known = self.index.add(command, row, number)
        if known is not self.none and known != deps:
            deps = union(deps, known)
        if not self.star:
            self.index.raise_sequence(command, seq)
        ready = self.graph.learn(row, number, command)
        if ready:
            self._execute(ctx, ready)
        if seq == message.seq and (deps is message.deps or deps == message.deps):
            self.live[instance_id] = message
            self._save_pre_accepted(ctx, instance_id, message)
            ctx.send(source, PreAcceptOk(instance_id, message.ballot))
        else:
            instance = begun(message)
            instance.deps, instance.seq = deps, seq
            self.live[instance_id] = instance
            self._reply_pre_accept(ctx, source, message, instance)

    def _pre_accept_known(self, ctx: Context, source: int, message: PreAccept, instance: Instance) -> None:
        """An instance that was heard of before, by recovery or at a lower ballot."""
        command = message.command
        deps = union(message.deps, without(self.index.conflicts(command), message.instance))
        seq = 0 if self.star else max(message.seq, self.index.next_sequence(command))
        self._vote(instance, PREACCEPTED, message.ballot, deps, seq)
        instance.noop = False
        if instance.initial_deps is None:
            instance.initial_deps = message.deps
        if message.ballot == self._first_ballot(message.instance):
            instance.quorum = message.quorum
        self._hold(ctx, message.instance, instance, command, seq)
        self._reply_pre_accept(ctx, source, message, instance)

    def _reply_pre_accept(self, ctx: Context, to: int, message: PreAccept, instance: Instance) -> None:
        self._save_pre_accepted(ctx, message.instance, instance.record())
        if instance.deps == message.deps and instance.seq == message.seq:
            ctx.send(to, PreAcceptOk(message.instance, message.ballot))
        else:
            ctx.send(to, PreAcceptReply(message.instance, message.ballot, instance.deps, instance.seq))

    def _save_pre_accepted(self, ctx: Context, instance_id: InstanceId, record: Any) -> None:
        ctx.persist(instance_id, record)

    def on_pre_accept_ok(self, ctx: Context, source: int, message: PreAcceptOk) -> None:
        """A reply with the attributes that were sent."""
        leading = self.leading.get(message.instance)
        if leading is not None and not leading.accepting and leading.ballot == message.ballot:
            self._count_pre_accepted(ctx, source, leading, leading.proposal.deps, leading.proposal.seq)

    def on_pre_accept_reply(self, ctx: Context, source: int, message: PreAcceptReply) -> None:
        """A reply with other attributes."""
        leading = self.leading.get(message.instance)
        if leading is not None and not leading.accepting and leading.ballot == message.ballot:
            self._count_pre_accepted(ctx, source, leading, message.deps, message.seq)

    def _count_pre_accepted(self, ctx: Context, source: int, leading: Leading, deps: Dependencies, seq: int) -> None:
        if leading.voters >> source & 1:
            return
        leading.voters |= 1 << source
        if deps is not leading.deps:
            leading.deps = union(leading.deps, deps)
        if seq > leading.seq:
            leading.seq = seq
        if leading.unanimous and not self._agrees(leading, source, deps, seq):
            leading.unanimous = False
        if self._fast_path(leading):
            fast_deps, fast_seq = leading.first_reply or (leading.proposal.deps, leading.proposal.seq)
            self._commit(ctx, leading.proposal.instance, leading.command, fast_deps, fast_seq)
        elif leading.forced_slow or not leading.unanimous:
            self._slow_path(ctx, leading)

    def _agrees(self, leading: Leading, source: int, deps: Dependencies, seq: int) -> bool:
        """Whether this reply leaves the fast path open."""
        if self.star:
            return deps == leading.proposal.deps
        if not leading.quorum >> source & 1:
            return True
        if leading.first_reply is None:
            leading.first_reply = (deps, seq)
        return leading.first_reply == (deps, seq)

    def _fast_path(self, leading: Leading) -> bool:
        """Whether the fast quorum is complete and of one mind."""
        return (
            leading.unanimous and not leading.forced_slow and (leading.voters & leading.quorum).bit_count() >= self.fast
        )

    def _slow_path(self, ctx: Context, leading: Leading) -> None:
        """Phase 2 with the union, if a majority has replied, the leader (which may still queue it) among it."""
        if leading.voters.bit_count() >= self.majority and leading.voters >> self.me & 1:
            proposal = leading.proposal
            self._propose(ctx, proposal.instance, leading.ballot, leading.command, leading.deps, leading.seq)

    def _pre_accept_anew(
        self, ctx: Context, instance_id: InstanceId, ballot: Ballot, command: Command, deps: Dependencies, seq: int
    ) -> None:
        """SOSP'13, recovery: phase 1 for somebody's command at our own ballot; the fast path is closed."""
        instance = self._instance(instance_id)
        assert instance.ballot == ballot, f"{instance_id}: begins again at {ballot}, has joined {instance.ballot}"
        proposal = PreAccept(instance_id, ballot, command, deps, seq, 0, 0)
        known = without(self.index.conflicts(command), instance_id)
        deps, seq = union(deps, known), max(seq, self.index.next_sequence(command))
        self._vote(instance, PREACCEPTED, ballot, deps, seq)
        instance.noop = False
        self._hold(ctx, instance_id, instance, command, seq)
        ctx.persist(instance_id, instance.record())
        leading = self.leading[instance_id] = Leading(proposal, 1 << self.me, True)
        leading.deps, leading.seq = deps, seq
        ctx.broadcast(self.others, proposal)
        self._slow_path(ctx, leading)

    # --- phase 2 ------------------------------------------------------------------------------------------------------

    def _propose(
        self, ctx: Context, instance_id: InstanceId, ballot: Ballot, command: Command, deps: Dependencies, seq: int
    ) -> None:
        instance = self._instance(instance_id)
        assert instance.ballot == ballot, f"{instance_id}: proposes at {ballot}, has joined {instance.ballot}"
        proposal = Accept(instance_id, ballot, command, deps, seq)
        self._accept(ctx, proposal, instance)
        self.leading[instance_id] = Leading(proposal, 1 << self.me, True)
        ctx.broadcast(self.targets[: self.majority - 1] if self.options.thrifty else self.others, proposal)
        if self.majority == 1:
            self._commit(ctx, instance_id, command, deps, seq)

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        """Vote for the value unless a higher ballot was joined."""
        if self._settled(ctx, source, message.instance):
            return
        instance = self._instance(message.instance)
        if message.ballot < instance.ballot:
            ctx.send_unsynced(source, Refused(message.instance, instance.ballot))
            return
        if message.ballot > instance.ballot:
            self._yield(message.instance, instance)
        self._accept(ctx, message, instance)
        ctx.send(source, AcceptOk(message.instance, message.ballot))

    def _accept(self, ctx: Context, message: Accept, instance: Instance) -> None:
        self._vote(instance, ACCEPTED, message.ballot, message.deps, message.seq)
        instance.noop = message.command.kind == "noop"
        if not instance.noop:
            self._hold(ctx, message.instance, instance, message.command, message.seq)
        ctx.persist(message.instance, instance.record())

    def _vote(self, instance: Instance, phase: int, ballot: Ballot, deps: Dependencies, seq: int) -> None:
        """A vote at ``ballot`` joins it as well."""
        instance.phase = phase
        instance.ballot = instance.accepted = ballot
        instance.deps = deps
        instance.seq = seq

    def on_accept_ok(self, ctx: Context, source: int, message: AcceptOk) -> None:
        """Accepted by a majority: decided."""
        leading = self.leading.get(message.instance)
        if leading is not None and leading.accepting and leading.ballot == message.ballot:
            leading.voters |= 1 << source
            if leading.voters.bit_count() >= self.majority:
                self._commit(ctx, message.instance, leading.command, leading.deps, leading.seq)

    # --- commit and execution -----------------------------------------------------------------------------------------

    def _commit(self, ctx: Context, instance_id: InstanceId, command: Command, deps: Dependencies, seq: int) -> None:
        """This replica has decided it, and tells everybody, behind the barrier: a decision on the fast path stands
        only once it is on our own disk (see ``epaxos_recovery``)."""
        if command.kind != "noop":
            ctx.note("slow_path" if self.leading[instance_id].accepting else "fast_path", command)
        decision = Commit(instance_id, command, deps, seq)
        self._learn(ctx, decision)
        self._announce(ctx, decision)

    def _announce(self, ctx: Context, decision: Commit) -> None:
        ctx.broadcast(self.others, decision)

    def on_commit(self, ctx: Context, source: int, message: Commit) -> None:
        """Somebody decided it. Who was recovering it tells the others, who may need it as well."""
        row, number = message.instance
        if number in self.log[row] or number <= self.collected[row]:
            return
        if self.recovering and message.instance in self.recovering:
            ctx.broadcast(tuple(r for r in self.others if r != source), message)
        self._learn(ctx, message)

    def _learn(self, ctx: Context, commit: Commit, restarting: bool = False) -> None:
        """It is decided: record it, give it to the graph, and execute what that sets free."""
        instance_id, command = commit.instance, commit.command
        row, number = instance_id
        self.log[row][number] = commit
        instance = self.live.pop(instance_id, None)
        self.leading.pop(instance_id, None)
        if not restarting:
            ctx.persist(instance_id, commit)
        ctx.commit(instance_id, command)
        known = None if instance is None else instance.command
        if command.kind == "noop":
            self._learn_noop(ctx, row, number, known)
        elif self._is_covered(instance_id):
            self.index.add(command, row, number)
        else:
            if known is None:
                self._know(ctx, instance_id, command, commit.seq)
            elif not self.star:
                self.index.add(command, row, number)  # unless it was still queued, it is there
                self.index.raise_sequence(command, commit.seq)
            ready = self.graph.commit(row, number, command, commit.deps, commit.seq)
            if ready:
                self._execute(ctx, ready)
        if self.recovering or self.deferred or self.waits or self.waiting_reads:
            self._after_decision(ctx, instance_id)
            self._serve_reads(ctx, command.key if known is None else known.key)

    def _learn_noop(self, ctx: Context, row: int, number: int, known: Command | None) -> None:
        if not self._is_covered((row, number)):
            self._execute(ctx, self.graph.commit_noop(row, number, known))
        if row == self.me and known is not None:
            self._lead_again(ctx, known)

    def _lead_again(self, ctx: Context, command: Command) -> None:
        """Our command lost its instance to a no-op: under a new instance, if a client still waits for it."""
        if command.sequence in self.requests.get(command.client, ()):
            self._lead(ctx, command)

    def _after_decision(self, ctx: Context, instance_id: InstanceId) -> None:
        self.recovering.pop(instance_id, None)
        self.deferred.pop(instance_id, None)
        self.waits.pop(instance_id, None)
        self._reconsider(ctx)

    def _execute(self, ctx: Context, commands: Iterable[Command]) -> None:
        """Apply in this order what the graph releases; a command that was committed twice counts the first time."""
        for command in commands:
            if self.sessions.add(command):
                ctx.execute(command)
            asked = self.requests.get(command.client)
            if asked is not None and command.sequence in asked:
                if len(asked) == 1:
                    del self.requests[command.client]
                else:
                    asked.remove(command.sequence)
                ctx.answer(command)

    # --- timers -------------------------------------------------------------------------------------------------------

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """ "tick": tell the others that we live, ask again. "sweep": recover. "open": timestamp-ordered queueing."""
        if self.forgetful and name != "open":
            self._on_timer_forgetful(ctx, name)
        elif name == "tick":
            self._gossip(ctx)
            self._forget()
            self._shorten_disk(ctx)
            self._retry(ctx)
            self._ask_reads_again(ctx)
            self._set_tick(ctx)
        elif name == "sweep":
            self._watch_silence()
            self._sweep(ctx)
            self._fetch_missing(ctx)
            self._set_sweep(ctx)
        elif name == "open":
            self._open_due(ctx, at_least_one=True)

    def _on_timer_forgetful(self, ctx: Context, name: TimerName) -> None:
        """To the others it is as if we were down: nothing is said but what the repair needs."""
        if name == "tick":
            self._repair(ctx)
            self._set_tick(ctx)
        else:
            self._watch_silence()
            self._set_sweep(ctx)

    def _set_tick(self, ctx: Context) -> None:
        ctx.set_timer("tick", ns(self.options.heartbeat_ms))

    def _set_sweep(self, ctx: Context) -> None:
        low, high = self.options.election_timeout_ms
        ctx.set_timer("sweep", ns(low / PATIENCE_SWEEPS), ns(high / PATIENCE_SWEEPS))

    def _retry(self, ctx: Context) -> None:
        """Ask those again who have not answered; without a full fast quorum in time, take the slow path."""
        late: list[InstanceId] = []
        works: tuple[Mapping[InstanceId, Leading | Recovery], ...] = (self.leading, self.recovering)
        for work in works:
            for instance_id, progress in work.items():
                progress.age += 1
                if progress.age >= self.retry_ticks:
                    progress.age = 0
                    late.append(instance_id)
        for instance_id in sorted(late):
            leading = self.leading.get(instance_id)
            if leading is None:
                self._ask_again(ctx, instance_id, self.recovering[instance_id])
                continue
            if not leading.accepting:
                self._slow_path(ctx, leading)
            if self.leading.get(instance_id) is leading:
                silent = tuple(r for r in self.others if not leading.voters >> r & 1)
                ctx.broadcast(silent, leading.proposal)

    def _watch_silence(self) -> None:
        for r in self.others:
            self.silence[r] = 0 if self.heard >> r & 1 else self.silence[r] + 1
        self.heard = 0
        self._choose_quorum()

    def _sweep(self, ctx: Context) -> None:
        """Recover what stays unfinished: soon when its leader is silent or restarted, late when the leader lives."""
        for instance_id in self.graph.missing():
            if not self._committed(instance_id):
                self._instance(instance_id)
        due: list[InstanceId] = []
        for instance_id in list(self.live):
            instance = self._instance(instance_id)
            instance.age += 1
            leader = instance_id[0]
            alive = self.silence[leader] < PATIENCE_SWEEPS and (leader != self.me or instance_id in self.leading)
            patience = PATIENCE_SWEEPS << max(0, instance.attempts - 1)
            if instance.age >= (max(patience, LONG_PATIENCE_SWEEPS) if alive else patience):
                due.append(instance_id)
            elif alive and leader != self.me and instance.age == PATIENCE_SWEEPS:
                ctx.send_unsynced(leader, Fetch(instance_id))
        for instance_id in sorted(due):
            self.start_recovery(ctx, instance_id)

    # --- catching up and forgetting -----------------------------------------------------------------------------------

    def _fetch_missing(self, ctx: Context) -> None:
        """What others have executed, and was missing here a sweep ago too."""
        for row in range(self.cluster.size):
            target, source = max((self.reported[r][row], r) for r in range(self.cluster.size))
            number = self.graph.executed_upto[row] + 1
            while number in self.log[row]:
                number += 1
            if number <= target and number == self.fetching[row]:
                ctx.send_unsynced(source, Fetch((row, number)))
            self.fetching[row] = number

    def on_fetch(self, ctx: Context, source: int, message: Fetch) -> None:
        """Decisions for one who lacks them. What is collected it has executed."""
        row, start = message.start
        log = self.log[row]
        found = tuple(log[number] for number in range(start, start + FETCH_LIMIT) if number in log)
        if found:
            ctx.send(source, Committed(found))

    def on_refetch(self, ctx: Context, source: int, message: Refetch) -> None:
        """The same for one who may have forgotten what it had executed."""
        row, start = message.start
        if start <= self.collected[row]:
            self._give_image(ctx, source)
        else:
            self.on_fetch(ctx, source, Fetch(message.start))

    def on_committed(self, ctx: Context, source: int, message: Committed) -> None:
        """Learn them, and ask on when there may be more."""
        for commit in message.commits:
            self.on_commit(ctx, source, commit)
        if len(message.commits) == FETCH_LIMIT:
            row, number = message.commits[-1].instance
            ctx.send_unsynced(source, Fetch((row, number + 1)))

    def _gossip(self, ctx: Context) -> None:
        """Report what may be forgotten as far as we are concerned: what we had executed when our oldest unfinished
        command began. Later ones may interfere with it without being among its dependencies, and a recovery of it must
        then find them (``_beyond``). The message leaves behind the barrier: what it reports is durable."""
        executed = tuple(self.graph.executed_upto)
        if len(self.checkpoints) < MOST_CHECKPOINTS:
            self.checkpoints.append((self.next, executed))
        while self.checkpoints and self.checkpoints[0][0] - 1 <= executed[self.me]:
            self.reported[self.me] = self.checkpoints.pop(0)[1]
        ctx.broadcast(self.others, Executed(self.reported[self.me]))

    def on_executed(self, ctx: Context, source: int, message: Executed) -> None:
        """The sender lives. What all have executed is forgotten at the next tick."""
        self.heard |= 1 << source
        self.reported[source] = union(self.reported[source], message.upto)

    def _forget(self) -> None:
        """Drop what all have executed. (A restarted replica may be behind its own earlier report.)"""
        for row, upto in enumerate(self.graph.executed_upto):
            upto = min(upto, *[reported[row] for reported in self.reported])
            log = self.log[row]
            for number in range(self.collected[row] + 1, upto + 1):
                log.pop(number, None)  # what a snapshot brought was never here
            self.collected[row] = max(upto, self.collected[row])

    def _highest_heard(self, row: int) -> int:
        known = [self.collected[row], self.graph.known_upto[row], *self.graph.known_ahead[row], *self.log[row]]
        waiting = [queued[1] for queued in self.queue]
        if row == self.me:
            known.append(self.next - 1)
        return max([*known, *[number for r, number in (*self.live, *waiting, *self.damaged) if r == row]])

    def _drop_answered(self) -> None:
        for client, asked in list(self.requests.items()):
            asked -= {n for n in asked if self.sessions.executed(Command(client, n, "get", ""))}
            if not asked:
                del self.requests[client]

    # --- timestamp-ordered queueing -----------------------------------------------------------------------------------

    def _lead_queued(self, ctx: Context, instance_id: InstanceId, zero: Ballot, command: Command) -> None:
        """Send it now, process it when all of the fast quorum have it. The number is durable, the vote comes later."""
        opening = self.last_open_ns = max(self.last_open_ns, ctx.clock_ns + self.toq_delay_ns, 1)
        deps = self._settled_deps(command)
        proposal = PreAccept(instance_id, zero, command, deps, 0, self.quorum, opening)
        instance = Instance(INITIAL, zero, zero, command, False, deps, 0, deps, self.quorum)
        self.live[instance_id] = instance
        ctx.persist(instance_id, instance.record())
        self.leading[instance_id] = Leading(proposal, 0, False)
        self._ask(ctx, proposal)
        ready = self.graph.learn(*instance_id, command)
        self._enqueue(ctx, opening, instance_id, self.me, proposal)
        self._execute(ctx, ready)

    def _settled_deps(self, command: Command) -> Dependencies:
        """What precedes in any case: interfering instances executed here, and those before it in our own row."""
        known = self.index.conflicts(command)
        own = [
            number
            for _, (row, number), _, queued in self.queue
            if row == self.me and interferes(queued.command, command)
        ]
        return tuple(
            max([last, *own]) if row == self.me else min(last, self.graph.executed_upto[row])
            for row, last in enumerate(known)
        )

    def _enqueue(self, ctx: Context, opening: int, instance_id: InstanceId, source: int, message: PreAccept) -> None:
        if all(queued[1] != instance_id for queued in self.queue):
            insort(self.queue, (opening, instance_id, source, message), key=lambda queued: queued[:2])
        self._open_due(ctx, at_least_one=False)

    def _open_due(self, ctx: Context, at_least_one: bool) -> None:
        """Process in timestamp order what is due; the timer's word counts even when the clock lags."""
        while self.queue and (at_least_one or self.queue[0][0] <= ctx.clock_ns):
            at_least_one = False
            _, instance_id, source, message = self.queue.pop(0)
            if source == self.me:
                self._open_own(ctx, instance_id, message)
            elif instance_id in self.live or self._committed(instance_id) or self._is_unwelcome(message):
                self._pre_accept_again(ctx, source, message)
            else:
                self._pre_accept(ctx, source, message)
        if self.queue:
            ctx.set_timer("open", max(1, self.queue[0][0] - ctx.clock_ns))

    def _open_own(self, ctx: Context, instance_id: InstanceId, message: PreAccept) -> None:
        """The leader's own reply, which must be equal too: the others' were computed without it."""
        command = message.command
        seq = self.index.next_sequence(command)
        deps = union(message.deps, self.index.add(command, *instance_id))
        leading = self.leading.get(instance_id)
        if leading is None or leading.ballot != message.ballot or leading.voters >> self.me & 1:
            return  # it is being recovered, or decided; our later commands depend on it all the same
        instance = self._instance(instance_id)
        self._vote(instance, PREACCEPTED, message.ballot, deps, seq)
        self.index.raise_sequence(command, seq)
        ctx.persist(instance_id, instance.record())
        self._count_pre_accepted(ctx, self.me, leading, deps, seq)

    # --- inspection ---------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """Everything not yet collected."""
        entries: dict[Any, Entry] = {}
        ballot = (0, self.me)
        for instance_id, held in self.live.items():
            instance = begun(held) if isinstance(held, PreAccept) else held
            ballot = max(ballot, instance.ballot)
            if instance.phase != INITIAL:
                entries[instance_id] = Entry("accepted", instance.command, instance.accepted, instance.deps)
        for log in self.log:
            for commit in log.values():
                status = "executed" if self.graph.executed(commit.instance) else "committed"
                entries[commit.instance] = Entry(status, commit.command, None, commit.deps)
        return View(entries, ballot)

    def check(self) -> None:
        """Local invariants."""
        for instance_id, held in self.live.items():
            assert not self._committed(instance_id), f"{instance_id} is both open and committed"
            if isinstance(held, Instance):
                assert held.accepted <= held.ballot, f"{instance_id}: voted above the ballot joined"
        works: tuple[Mapping[InstanceId, Leading | Recovery], ...] = (self.leading, self.recovering)
        for work in works:
            for instance_id, progress in work.items():
                joined = self.live[instance_id].ballot
                assert progress.ballot == joined, f"{instance_id}: works at {progress.ballot}, has joined {joined}"
        for row, log in enumerate(self.log):
            assert self.collected[row] <= self.graph.executed_upto[row], f"row {row}: collected before it was executed"
            self._check_own_row(row, [log[number] for number in sorted(log)])

    def _check_own_row(self, row: int, commits: list[Commit]) -> None:
        """What ``dependency_graph`` leans on: a row's earlier interfering instances are among the dependencies."""
        before = ConflictIndex(self.cluster.size)
        for commit in commits:
            if commit.command.kind != "noop":
                earlier = before.conflicts(commit.command)[row]
                assert earlier <= commit.deps[row], f"{commit.instance} does not depend on {(row, earlier)}"
                before.add(commit.command, *commit.instance)
