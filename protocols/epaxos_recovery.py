"""EPaxos: what becomes of an instance whose command leader fell silent.

A recoverer joins a quorum Q to a new ballot and asks what its members voted for. An accepted value must be proposed
again, as in Paxos. Otherwise the question is whether the leader may have committed on the fast path, which only it
knows. Two answers are implemented, chosen by ``rules``:

- "star" (EPaxos*, OPODIS'25, section 4): the fast path demands replies equal to the leader's own dependencies, so what
  may have been committed is known; ``Validate`` asks Q for instances that exclude it, and changes nothing that a later
  recovery could mistake for a vote. Recoveries that wait for each other tell so (``Waiting``), which ends the wait.
- "sosp13" (section 4.4 of the paper and the authors' TLA+): the fast path demands equal replies of the fast quorum. It
  must be known who was in it, so ``PreAccept`` names it (the paper's prose leaves that open for the non-thrifty
  variant). ``TryPreAccept`` makes others vote for the candidate. Where we depart from the published text:
  (a) the ballot joined and the ballot of the last vote are kept apart (Sutra, IPL 2020);
  (b) a conflict is judged by dependencies alone: the published test also refuses when the other's sequence number is
      not lower, which could refuse a value that was committed unless all its dependencies were (a condition the TLA+
      has and the paper's prose has not), and dependencies alone order the two;
  (c) an accepted no-op that is not committed counts as unsettled, with the dependencies its command began with;
  (d) a replica that tentatively pre-accepted keeps the vote's ballot at 0: it then stands for exactly what a voter of
      ballot 0 stands for, "I know this command, and nothing that these dependencies miss".

Both rest on two facts about the disk. *The leader's instance is durable before its PreAccept leaves*: so a replica
that pre-accepted A and later leads B, B's dependencies hold A, across crashes. *Its fast decision is durable before
anybody hears of it*: "the leader answered and had not committed" must mean that it never will.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from consensus_bench.contract import NOOP, Ballot, Cluster, Command, Context, Replica, interferes
from protocols.dependency_graph import (
    ConflictIndex,
    Dependencies,
    DependencyGraph,
    InstanceId,
    contains,
    union,
)
from protocols.epaxos_messages import (
    ACCEPTED,
    INITIAL,
    PREACCEPTED,
    Commit,
    Conflict,
    EPaxosOptions,
    Instance,
    Leading,
    PreAccept,
    Recover,
    RecoverOk,
    Recovery,
    Refused,
    TryPreAccept,
    TryPreAcceptReply,
    Validate,
    ValidateOk,
    Waiting,
    begun,
)
from protocols.quorums import fast_quorum, majority

MOST_ATTEMPTS: Final = 4
"""The back-off between two recoveries of one instance doubles this often."""


class EPaxosRecovery(Replica):
    """The state of an EPaxos replica, and its handlers for recovery. ``EPaxos`` adds everything else."""

    __slots__ = (
        "collected", "deferred", "fast", "graph", "index", "leading", "live", "log", "majority", "none", "recovering",
        "star", "waits",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ("fast", "majority", "none", "star")
    options: EPaxosOptions
    graph_type: ClassVar[type[DependencyGraph]] = DependencyGraph

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        size = cluster.size
        self.star = options.rules == "star"
        self.majority = majority(size)
        """n - f: slow and recovery quorums."""
        self.fast = max(fast_quorum(size), self.majority)
        """n - e: fast quorums, the leader counted."""
        self.none: Dependencies = (-1,) * size
        self.live: dict[InstanceId, Instance | PreAccept] = {}
        """Every instance heard of that is not known committed. One that was pre-accepted exactly as its leader began it
        (most never become more) is kept, here and on disk, as that message; ``_instance`` unfolds it."""
        self.log: list[dict[int, Commit]] = [{} for _ in range(size)]
        """By row and number: what is committed here and not yet collected."""
        self.collected = [-1] * size
        """Of each row: all replicas have durably executed everything up to here, and it is forgotten."""
        self.leading: dict[InstanceId, Leading] = {}
        self.recovering: dict[InstanceId, Recovery] = {}
        self.waits: dict[InstanceId, int] = {}
        """Instances whose recovery waits somewhere, and how many of its quorum pre-accepted it unchanged."""
        self.deferred: dict[InstanceId, tuple[InstanceId, ...]] = {}
        """SOSP'13: recoveries put off until these other instances are committed."""
        self.index = ConflictIndex(size)
        self.graph = self.graph_type(size)

    @abstractmethod
    def _propose(
        self, ctx: Context, instance_id: InstanceId, ballot: Ballot, command: Command, deps: Dependencies, seq: int
    ) -> None:
        """Phase 2 at ``ballot``."""

    @abstractmethod
    def _pre_accept_anew(
        self, ctx: Context, instance_id: InstanceId, ballot: Ballot, command: Command, deps: Dependencies, seq: int
    ) -> None:
        """Phase 1 at a ballot above 0, which leads to phase 2."""

    @abstractmethod
    def _know(self, ctx: Context, instance_id: InstanceId, command: Command, seq: int) -> None:
        """The command of an instance becomes known here."""

    def _instance(self, instance_id: InstanceId) -> Instance:
        """The state of an instance that is not committed, also of one never heard of."""
        instance = self.live.get(instance_id)
        if isinstance(instance, Instance):
            return instance
        if instance is None:
            zero = self._first_ballot(instance_id)
            unfolded = Instance(INITIAL, zero, zero, None, False, self.none, 0, None, 0)
        else:
            unfolded = begun(instance)
        self.live[instance_id] = unfolded
        return unfolded

    @abstractmethod
    def _first_ballot(self, instance_id: InstanceId) -> Ballot:
        """The ballot at which its leader begins it: (0, leader), unless that one lost its disk."""

    def _settled(self, ctx: Context, source: int, instance_id: InstanceId) -> bool:
        """Whether the instance is committed here; then ``source`` is told. What is collected, it has executed."""
        row, number = instance_id
        commit = self.log[row].get(number)
        if commit is not None:
            ctx.send(source, commit)
            return True
        return number <= self.collected[row]

    # --- joining a ballot ---------------------------------------------------------------------------------------------

    def start_recovery(self, ctx: Context, instance_id: InstanceId) -> None:
        """Take the instance over at a ballot of our own."""
        ctx.note("suspected")
        instance = self._instance(instance_id)
        self.leading.pop(instance_id, None)
        self.deferred.pop(instance_id, None)
        instance.age = 0
        instance.attempts = min(instance.attempts + 1, MOST_ATTEMPTS)
        ballot = (instance.ballot[0] + 1, self.me)
        recovery = Recovery(ballot, self._join(ctx, instance_id, instance, ballot), self.me)
        self.recovering[instance_id] = recovery
        ctx.broadcast(self.others, Recover(instance_id, ballot))
        if self.majority == 1:
            self._choose(ctx, instance_id, recovery)

    def on_recover(self, ctx: Context, source: int, message: Recover) -> None:
        """Join the ballot unless a higher one was joined; the vote stays what it was."""
        if self._settled(ctx, source, message.instance):
            return
        instance = self._instance(message.instance)
        if self._may_join(instance, message.ballot):
            self._yield(message.instance, instance)
            ctx.send(source, self._join(ctx, message.instance, instance, message.ballot))
        elif message.ballot == instance.ballot and instance.accepted < message.ballot:  # asked again: answer again
            ctx.send(source, _recover_ok(message.instance, instance, message.ballot))
        elif message.ballot < instance.ballot:
            ctx.send_unsynced(source, Refused(message.instance, instance.ballot))

    def on_refused(self, ctx: Context, source: int, message: Refused) -> None:
        """Somebody is ahead: let it, and use a higher ballot if it does not finish. That is joining its ballot, and as
        durable: when its ``Recover`` arrives it finds this ballot joined, and the answer is a promise."""
        if message.instance in self.live:
            instance = self._instance(message.instance)
            if instance.ballot < message.ballot:
                instance.ballot = message.ballot
                ctx.persist(message.instance, instance.record())
                self._yield(message.instance, instance)

    def _may_join(self, instance: Instance, ballot: Ballot) -> bool:
        return ballot > instance.ballot

    def _yield(self, instance_id: InstanceId, instance: Instance) -> None:
        """Another replica is at work on it at a higher ballot: what we had begun is void, and we give it time."""
        self.leading.pop(instance_id, None)
        self.recovering.pop(instance_id, None)
        instance.age = 0
        instance.attempts = min(instance.attempts + 1, MOST_ATTEMPTS)

    def _join(self, ctx: Context, instance_id: InstanceId, instance: Instance, ballot: Ballot) -> RecoverOk:
        """Promise ``ballot``, durably. Returns what is reported: the vote, with the ballot it was given at."""
        report = _recover_ok(instance_id, instance, ballot)
        self._promise(instance, ballot)
        if self.options.unsafe_single_ballot:
            instance.accepted = ballot
        ctx.persist(instance_id, instance.record())
        return report

    def _promise(self, instance: Instance, ballot: Ballot) -> None:
        instance.ballot = ballot

    # --- choosing a value ---------------------------------------------------------------------------------------------

    def on_recover_ok(self, ctx: Context, source: int, message: RecoverOk) -> None:
        """With n - f answers the value is chosen; while waiting for others, late answers still help."""
        recovery = self.recovering.get(message.instance)
        if recovery is None or recovery.ballot != message.ballot or source in recovery.replies:
            return
        recovery.replies[source] = message
        if recovery.stage == Recovery.WAITING:
            self._try_to_finish(ctx, message.instance, recovery)
        elif recovery.stage == Recovery.COLLECTING and len(recovery.replies) >= self.majority:
            self._choose(ctx, message.instance, recovery)

    def _choose(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        recovery.members = tuple(sorted(recovery.replies))
        voted = self._highest_vote([recovery.replies[member] for member in recovery.members])
        if voted is not None:
            self._conclude_voted(ctx, instance_id, voted)
        elif self.star:
            self._choose_star(ctx, instance_id, recovery)
        else:
            self._choose_sosp13(ctx, instance_id, recovery)

    def _highest_vote(self, replies: Sequence[RecoverOk]) -> RecoverOk | None:
        """What was accepted at the highest ballot. EPaxos* looks only at the highest ballot of *any* vote."""
        votes = [reply for reply in replies if reply.phase == ACCEPTED]
        if self.star:
            highest = max(reply.accepted for reply in replies)
            votes = [reply for reply in votes if reply.accepted == highest]
        # Votes of one ballot are for one value, so any of the highest will do: the last.
        return max(reversed(votes), key=lambda vote: vote.accepted, default=None)

    def _conclude_voted(self, ctx: Context, instance_id: InstanceId, vote: RecoverOk) -> None:
        if vote.noop:
            self._conclude_noop(ctx, instance_id)
        else:
            assert vote.command is not None, f"{instance_id}: accepted, and no command"
            self._conclude(ctx, instance_id, vote.command, vote.deps, vote.seq)

    def _conclude_noop(self, ctx: Context, instance_id: InstanceId) -> None:
        self._conclude(ctx, instance_id, NOOP, self.none, 0)

    def _conclude(self, ctx: Context, instance_id: InstanceId, command: Command, deps: Dependencies, seq: int) -> None:
        ballot = self.recovering.pop(instance_id).ballot
        self._propose(ctx, instance_id, ballot, command, deps, seq)

    def _choose_star(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        """Nobody in Q accepted: only a fast commit is possible (OPODIS'25, Fig. 3)."""
        if instance_id[0] in recovery.members:  # the leader has joined this ballot: it did not commit, and never will
            self._conclude_noop(ctx, instance_id)
            return
        replies = [recovery.replies[member] for member in recovery.members]
        highest = max(reply.accepted for reply in replies)
        unchanged = [
            reply
            for reply in replies
            if reply.accepted == highest and reply.phase == PREACCEPTED and reply.deps == reply.initial_deps
        ]
        recovery.votes = len(unchanged)
        if self._may_have_committed(recovery):
            recovery.candidate = unchanged[0]
            recovery.stage = Recovery.VALIDATING
            recovery.answers[self.me] = self._validate(ctx, _validate_message(instance_id, recovery))
            self._ask_again(ctx, instance_id, recovery)
        else:
            self._conclude_noop(ctx, instance_id)

    def _may_have_committed(self, recovery: Recovery) -> bool:
        """|R| >= |Q| - e: of a fast quorum at most e are missing in Q. (At least one, or there is no candidate.)"""
        return recovery.votes >= max(1, len(recovery.members) - (self.cluster.size - self.fast))

    # --- EPaxos*: Validate and Waiting --------------------------------------------------------------------------------

    def on_validate(self, ctx: Context, source: int, message: Validate) -> None:
        """Remember the command as its leader began it, and name what excludes that."""
        if self._at_ballot(ctx, source, message.instance, message.ballot):
            ctx.send(source, ValidateOk(message.instance, message.ballot, self._validate(ctx, message)))

    def _at_ballot(self, ctx: Context, source: int, instance_id: InstanceId, ballot: Ballot) -> bool:
        """Whether the recoverer's ballot is the one joined, and it has not moved on to phase 2 (a late duplicate)."""
        if self._settled(ctx, source, instance_id):
            return False
        if instance_id not in self.live:
            return False
        instance = self._instance(instance_id)
        if instance.ballot < ballot:
            return False
        if instance.ballot > ballot:
            ctx.send_unsynced(source, Refused(instance_id, instance.ballot))
            return False
        return not (instance.phase == ACCEPTED and instance.accepted == ballot)

    def _validate(self, ctx: Context, message: Validate) -> tuple[Conflict, ...]:
        instance = self._instance(message.instance)
        if instance.command is None or instance.initial_deps is None:
            instance.initial_deps = message.deps
            if instance.command is None:
                instance.command = message.command
                self._know(ctx, message.instance, message.command, 0)
            ctx.persist(message.instance, instance.record())
        return tuple(self._excluding_star(message.instance, message.command, message.deps))

    def _beyond(self, command: Command, deps: Dependencies) -> Iterator[tuple[InstanceId, Commit | Instance]]:
        """Known interfering instances outside ``deps``, no-ops excepted.

        What is collected is not looked at, and need not be: a replica lets nothing be collected that it executed after
        its own oldest unfinished command began (``EPaxos._gossip``), so all such is among that command's dependencies.
        """
        for row in range(self.cluster.size):
            last = max([self.graph.known_upto[row], *self.graph.known_ahead[row]])
            for number in range(max(deps[row], self.collected[row]) + 1, last + 1):
                found = self.log[row].get(number) or self.live.get((row, number))
                if found is not None and found.command is not None and interferes(found.command, command):
                    yield (row, number), found if isinstance(found, Commit) else self._instance((row, number))

    def _excluding_star(self, instance_id: InstanceId, command: Command, deps: Dependencies) -> Iterator[Conflict]:
        for other, found in self._beyond(command, deps):
            if other == instance_id:
                continue
            if isinstance(found, Commit):
                if not contains(found.deps, instance_id):
                    yield (*other, True)
            elif found.initial_deps is not None and not contains(found.initial_deps, instance_id):
                yield (*other, False)

    def on_validate_ok(self, ctx: Context, source: int, message: ValidateOk) -> None:
        """With the answers of all of Q, decide, or wait for the fate of what stands against it."""
        recovery = self._answered(message.instance, message.ballot, source, message.conflicts)
        if recovery is not None and len(recovery.answers) == len(recovery.members):
            self._judge_star(ctx, message.instance, recovery)

    def _answered(
        self, instance_id: InstanceId, ballot: Ballot, source: int, conflicts: tuple[Conflict, ...]
    ) -> Recovery | None:
        recovery = self.recovering.get(instance_id)
        if recovery is None or recovery.ballot != ballot or recovery.stage != Recovery.VALIDATING:
            return None
        recovery.answers[source] = conflicts
        return recovery

    def _judge_star(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        conflicts = sorted({conflict for answer in recovery.answers.values() for conflict in answer})
        if not conflicts:
            self._conclude_candidate(ctx, instance_id, recovery)
        elif any(settled for _, _, settled in conflicts) or self._leader_outside(recovery, conflicts):
            self._conclude_noop(ctx, instance_id)
        else:
            recovery.stage = Recovery.WAITING
            recovery.conflicts = tuple((row, number) for row, number, _ in conflicts)
            for other in recovery.conflicts:
                if other[1] > self.collected[other[0]] and other[1] not in self.log[other[0]]:
                    self._instance(other)  # so that it is recovered in its turn, should its leader be silent too
            ctx.broadcast(self.others, Waiting(instance_id, recovery.votes))
            self._note_waiting(instance_id, recovery.votes)
            self._try_to_finish(ctx, instance_id, recovery)

    def _leader_outside(self, recovery: Recovery, conflicts: Sequence[Conflict]) -> bool:
        """|R| = |Q| - e: then all replicas outside Q would have been in the fast quorum; and the leader of another
        instance, had it pre-accepted this one, would have begun its own with this one among the dependencies."""
        tight = recovery.votes == len(recovery.members) - (self.cluster.size - self.fast)
        return tight and any(row not in recovery.members for row, _, _ in conflicts)

    def _conclude_candidate(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        candidate = recovery.candidate
        assert candidate is not None and candidate.command is not None, f"{instance_id}: no candidate to propose"
        self._conclude(ctx, instance_id, candidate.command, candidate.deps, candidate.seq)

    def on_waiting(self, ctx: Context, source: int, message: Waiting) -> None:
        """Two recoveries that wait for each other: enough pre-acceptances of one show that the other did not commit."""
        row, number = message.instance
        if number not in self.log[row] and number > self.collected[row]:
            self._note_waiting(message.instance, message.votes)
            self._reconsider(ctx)

    def _note_waiting(self, instance_id: InstanceId, votes: int) -> None:
        self.waits[instance_id] = max(votes, self.waits.get(instance_id, 0))

    def _reconsider(self, ctx: Context) -> None:
        """Something that recoveries may wait for has happened."""
        for instance_id in sorted(self.recovering):
            recovery = self.recovering.get(instance_id)
            if recovery is not None and recovery.stage == Recovery.WAITING:
                self._try_to_finish(ctx, instance_id, recovery)
        for instance_id, others in sorted(self.deferred.items()):
            if all(self._committed(other) for other in others):
                self.start_recovery(ctx, instance_id)

    def _committed(self, instance_id: InstanceId) -> bool:
        row, number = instance_id
        return number in self.log[row] or number <= self.collected[row]

    def _try_to_finish(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        """The first of the four events that end the wait (OPODIS'25, Fig. 3, lines 71-83)."""
        late = {source: reply for source, reply in recovery.replies.items() if source not in recovery.members}
        voted = max(
            (reply for reply in late.values() if reply.phase == ACCEPTED), key=lambda vote: vote.accepted, default=None
        )
        if voted is not None:
            self._conclude_voted(ctx, instance_id, voted)
            return
        if instance_id[0] in late:
            self._conclude_noop(ctx, instance_id)
            return
        commits = [self.log[row].get(number) for row, number in recovery.conflicts]
        if any(c is not None and c.command.kind != "noop" and not contains(c.deps, instance_id) for c in commits):
            self._conclude_noop(ctx, instance_id)
        elif all(self._committed(other) for other in recovery.conflicts):
            self._conclude_candidate(ctx, instance_id, recovery)
        elif any(self._excludes(self.waits.get(other, 0)) for other in recovery.conflicts):
            self._conclude_noop(ctx, instance_id)

    def _excludes(self, votes: int) -> bool:
        """More than n - f - e unchanged votes for the other: with its leader they leave no fast quorum for this one."""
        return votes > self.majority - (self.cluster.size - self.fast)

    # --- SOSP'13: TryPreAccept ----------------------------------------------------------------------------------------

    def _choose_sosp13(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        """Nobody in Q accepted: propose what may have been committed, or begin again, or give up the instance."""
        replies = [recovery.replies[member] for member in recovery.members]
        if all(reply.command is None for reply in replies):
            self._conclude_noop(ctx, instance_id)
            return
        recovery.candidate = self._possibly_committed(instance_id, recovery)
        if recovery.candidate is None:
            self._begin_again(ctx, instance_id, recovery)
            return
        candidate = recovery.candidate
        same = [m for m in recovery.members if _same_vote(recovery.replies[m], candidate)]
        if len(same) >= self._alike_enough():
            self._conclude_candidate(ctx, instance_id, recovery)
            return
        recovery.stage = Recovery.VALIDATING
        recovery.answers = dict.fromkeys(same, ())
        if self.me not in same:
            recovery.answers[self.me] = self._try_pre_accept(ctx, _try_message(instance_id, recovery))
        self._ask_again(ctx, instance_id, recovery)
        self._judge_sosp13(ctx, instance_id, recovery)

    def _alike_enough(self) -> int:
        """Step 6 of the paper: with the leader, whose dependencies they all contain, F form a majority. With
        timestamp-ordered queueing they were computed without the leader's, so that all of Q must agree."""
        return self.majority if self.options.toq else self.majority - 1

    def _possibly_committed(self, instance_id: InstanceId, recovery: Recovery) -> RecoverOk | None:
        """A vote of the fast quorum, if the leader may have seen all of it vote alike."""
        replies = recovery.replies
        if instance_id[0] in recovery.members or any(
            replies[m].accepted > self._first_ballot(instance_id) for m in recovery.members
        ):
            return None  # the leader never will commit; or an earlier recoverer found that it did not
        voted = [m for m in recovery.members if replies[m].phase == PREACCEPTED]
        if not voted:
            return None
        candidate = replies[voted[0]]
        if self.options.unsafe_any_quorum:
            members = voted if len(voted) >= self.majority // 2 else []
        else:
            members = [m for m in recovery.members if candidate.quorum >> m & 1]
            candidate = replies[members[0]] if members else candidate
        return candidate if members and all(_same_vote(replies[m], candidate) for m in members) else None

    def _begin_again(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        """It was not committed on the fast path: collect dependencies anew, beyond those known."""
        known = [recovery.replies[m] for m in recovery.members if recovery.replies[m].command is not None]
        deps, seq = self.none, 0
        for reply in known:
            deps, seq = union(deps, reply.deps), max(seq, reply.seq)
        command = known[0].command
        assert command is not None, f"{instance_id}: no command to begin again with"
        ballot = self.recovering.pop(instance_id).ballot
        self._pre_accept_anew(ctx, instance_id, ballot, command, deps, seq)

    def on_try_pre_accept(self, ctx: Context, source: int, message: TryPreAccept) -> None:
        """Vote as if at ballot 0, unless something known here excludes it."""
        if self._at_ballot(ctx, source, message.instance, message.ballot):
            conflicts = self._try_pre_accept(ctx, message)
            ctx.send(source, TryPreAcceptReply(message.instance, message.ballot, conflicts))

    def _try_pre_accept(self, ctx: Context, message: TryPreAccept) -> tuple[Conflict, ...]:
        instance = self._instance(message.instance)
        conflicts = tuple(self._excluding_sosp13(message.instance, message.command, message.deps))
        if not conflicts:
            instance.phase = PREACCEPTED
            instance.deps, instance.seq, instance.quorum = message.deps, message.seq, message.quorum
            if instance.initial_deps is None:
                instance.initial_deps = message.deps
            if instance.command is None:
                instance.command = message.command
                self._know(ctx, message.instance, message.command, message.seq)
            ctx.persist(message.instance, instance.record())
        return conflicts

    def _excluding_sosp13(self, instance_id: InstanceId, command: Command, deps: Dependencies) -> Iterator[Conflict]:
        for other, found in self._beyond(command, deps):
            if other == instance_id:
                continue
            if isinstance(found, Commit):
                if not contains(found.deps, instance_id):
                    yield (*other, True)
            elif found.phase != INITIAL:
                held = (found.initial_deps or self.none) if found.noop else found.deps
                if not contains(held, instance_id):
                    yield (*other, found.phase == ACCEPTED and not found.noop)

    def on_try_pre_accept_reply(self, ctx: Context, source: int, message: TryPreAcceptReply) -> None:
        """All of Q vote for it, or something excludes it, or something must be settled first."""
        recovery = self._answered(message.instance, message.ballot, source, message.conflicts)
        if recovery is not None:
            self._judge_sosp13(ctx, message.instance, recovery)

    def _judge_sosp13(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        if len(recovery.answers) < len(recovery.members):
            return
        candidate = recovery.candidate
        assert candidate is not None, f"{instance_id}: answers to TryPreAccept, and no candidate"
        conflicts = sorted({conflict for answer in recovery.answers.values() for conflict in answer})
        if not conflicts:
            self._conclude_candidate(ctx, instance_id, recovery)
        elif any(settled for _, _, settled in conflicts) or (
            # A leader in the fast quorum began its own instance without this one in the dependencies, so it had not
            # pre-accepted this one before, and its vote would have named the other. (With timestamp-ordered queueing
            # a leader sends no dependencies, and this cannot be told: the recovery then waits for either leader.)
            not self.options.toq and any(candidate.quorum >> row & 1 for row, _, _ in conflicts)
        ):
            self._begin_again(ctx, instance_id, recovery)
        else:
            del self.recovering[instance_id]
            self.deferred[instance_id] = tuple((row, number) for row, number, _ in conflicts)

    # --- asking again -------------------------------------------------------------------------------------------------

    def _ask_again(self, ctx: Context, instance_id: InstanceId, recovery: Recovery) -> None:
        """Send what this stage of the recovery sends, to those who have not answered."""
        silent = tuple(r for r in self.others if r not in recovery.replies)
        if recovery.stage != Recovery.VALIDATING and silent:
            ctx.broadcast(silent, Recover(instance_id, recovery.ballot))
        if recovery.stage == Recovery.WAITING:
            ctx.broadcast(self.others, Waiting(instance_id, recovery.votes))
        elif recovery.stage == Recovery.VALIDATING:
            targets = tuple(m for m in recovery.members if m != self.me and m not in recovery.answers)
            ctx.broadcast(
                targets,
                _validate_message(instance_id, recovery) if self.star else _try_message(instance_id, recovery),
            )


def _recover_ok(instance_id: InstanceId, instance: Instance, ballot: Ballot) -> RecoverOk:
    return RecoverOk(
        instance_id, ballot, instance.accepted, instance.phase, instance.command, instance.noop, instance.deps,
        instance.seq, instance.initial_deps, instance.quorum,
    )  # fmt: skip


def _same_vote(reply: RecoverOk, candidate: RecoverOk) -> bool:
    return reply.phase == PREACCEPTED and reply.deps == candidate.deps and reply.seq == candidate.seq


def _validate_message(instance_id: InstanceId, recovery: Recovery) -> Validate:
    candidate = recovery.candidate
    assert candidate is not None and candidate.command is not None, f"{instance_id}: nothing to validate"
    return Validate(instance_id, recovery.ballot, candidate.command, candidate.deps)


def _try_message(instance_id: InstanceId, recovery: Recovery) -> TryPreAccept:
    candidate = recovery.candidate
    assert candidate is not None and candidate.command is not None, f"{instance_id}: nothing to try"
    return TryPreAccept(
        instance_id, recovery.ballot, candidate.command, candidate.deps, candidate.seq, candidate.quorum
    )
