"""Known ways to get EPaxos wrong: each a minimal subclass whose docstring names the rule that was removed.

``settings`` are the options under which the rule matters, ``replicas`` the smallest cluster in which it is known to;
``killed_by`` is the schedule that shows it, where random ones seldom do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from msgspec import structs

from consensus_bench.contract import CORRUPT, Ballot, Cluster, Command, Context, Snapshot
from protocols.dependency_graph import Dependencies, DependencyGraph, InstanceId
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import (
    ACCEPTED,
    Accept,
    Commit,
    Conflict,
    EPaxosOptions,
    Executed,
    Image,
    Instance,
    Leading,
    PreAccept,
    Recalled,
    RecoverOk,
    Recovery,
    Refused,
    TryPreAccept,
    Validate,
)

CORE: Final = "tests/protocols/test_epaxos.py::"
READS: Final = "tests/protocols/test_epaxos_reads.py::"
REPAIR: Final = "tests/protocols/test_epaxos_repair.py::"
RECOVERY: Final = "tests/protocols/test_epaxos_recovery.py::"


class Mutant(EPaxos):
    """Base: correct."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {}
    replicas: ClassVar[int] = 3
    guards: ClassVar[str] = "safety"
    """What the rule is for: safety, liveness, or what epochs promise."""


class SingleBallot(Mutant):
    """The ballot joined and the ballot of the last vote are kept apart (Sutra, IPL 2020)."""

    __slots__ = ()
    killed_by = RECOVERY + "test_joining_a_ballot_is_not_voting_at_it"

    def _join(self, ctx: Context, instance_id: InstanceId, instance: Instance, ballot: Ballot) -> RecoverOk:
        report = super()._join(ctx, instance_id, instance, ballot)
        instance.accepted = ballot
        ctx.persist(instance_id, instance.record())
        return report


class ForgetsAccepted(Mutant):
    """A recoverer proposes the accepted value of the highest ballot again."""

    __slots__ = ()
    killed_by = RECOVERY + "test_case_2_an_accepted_value_is_proposed_again"

    def _highest_vote(self, replies: Sequence[RecoverOk]) -> RecoverOk | None:
        return None


class ComparesWithZero(Mutant):
    """A ballot is joined only if it is higher than the one joined before, not merely higher than 0."""

    __slots__ = ()

    def _may_join(self, instance: Instance, ballot: Ballot) -> bool:
        return ballot[0] > 0


class NeverMayHaveCommitted(Mutant):
    """With |R| >= |Q| - e replicas that voted for the leader's own dependencies a fast commit must be assumed."""

    __slots__ = ()

    def _may_have_committed(self, recovery: Recovery) -> bool:
        return False


class FastPathAlthoughRepliesDiffer(Mutant):
    """The fast path needs every reply of the fast quorum to be the same."""

    __slots__ = ()

    def _agrees(self, leading: Leading, source: int, deps: Dependencies, seq: int) -> bool:
        return True


class _ArrivalOrderGraph(DependencyGraph):
    __slots__ = ()

    def _ordered(self, component: list[InstanceId]) -> list[InstanceId]:
        return component


class TieBrokenByArrival(Mutant):
    """Inside a component the order is total on replicated data."""

    __slots__ = ()
    graph_type = _ArrivalOrderGraph


class _SlotOrderGraph(DependencyGraph):
    __slots__ = ()

    def _is_free(self, command: Command, deps: Dependencies) -> bool:
        return True


class ExecutesAsCommitted(Mutant):
    """Dependencies are executed first."""

    __slots__ = ()
    graph_type = _SlotOrderGraph


class AnswersAtCommit(Mutant):
    """A command is answered after its execution."""

    __slots__ = ()

    def _announce(self, ctx: Context, decision: Commit) -> None:
        super()._announce(ctx, decision)
        if decision.command.kind != "noop":
            ctx.answer(decision.command)


class AcceptDoesNotJoin(Mutant):
    """Accepting at a ballot joins it."""

    __slots__ = ()

    def _accept(self, ctx: Context, message: Accept, instance: Instance) -> None:
        joined = instance.ballot
        super()._accept(ctx, message, instance)
        instance.ballot = joined
        ctx.persist(message.instance, instance.record())


class PromiseNotRecorded(Mutant):
    """An acceptor that joined a ballot refuses lower ones."""

    __slots__ = ()
    killed_by = RECOVERY + "test_a_promise_keeps_an_older_proposal_from_being_accepted"

    def _promise(self, instance: Instance, ballot: Ballot) -> None:
        if ballot[1] == self.me:
            instance.ballot = ballot


class RefusalNotDurable(Mutant):
    """A ballot of which a refusal tells is joined as durably as any other: what asks for it next is answered."""

    __slots__ = ()
    killed_by = RECOVERY + "test_a_ballot_that_a_refusal_named_is_joined_across_a_crash"
    replicas = 5

    def on_refused(self, ctx: Context, source: int, message: Refused) -> None:
        super().on_refused(Context(), source, message)


class PreAcceptanceNotDurable(Mutant):
    """A pre-acceptance is on disk before the reply leaves."""

    __slots__ = ()

    def _save_pre_accepted(self, ctx: Context, instance_id: InstanceId, record: Any) -> None:
        pass


class PreAcceptLeavesEarly(Mutant):
    """A leader's instance is on disk before its PreAccept leaves."""

    __slots__ = ()

    def _ask(self, ctx: Context, proposal: PreAccept) -> None:
        ctx.broadcast_unsynced(self.targets, proposal)


class CommitLeavesEarly(Mutant):
    """A leader's fast decision is on disk before anybody hears of it."""

    __slots__ = ()
    killed_by = RECOVERY + "test_a_fast_decision_that_a_crash_forgets_must_not_have_been_heard_of"

    def _announce(self, ctx: Context, decision: Commit) -> None:
        ctx.broadcast_unsynced(self.others, decision)


def _without(deps: Dependencies, row: int, number: int) -> Dependencies:
    return (*deps[:row], number - 1, *deps[row + 1 :]) if deps[row] == number else deps


class ForgetsAcceptedNoop(Mutant):
    """An instance for which a no-op is accepted, but not committed, still interferes."""

    __slots__ = ()
    killed_by = RECOVERY + "test_an_accepted_noop_still_interferes"
    replicas = 5

    def _accept(self, ctx: Context, message: Accept, instance: Instance) -> None:
        super()._accept(ctx, message, instance)
        if instance.noop and instance.command is not None:
            row, number = message.instance
            writes, accesses = self.index.latest[instance.command.key]
            self.index.latest[instance.command.key] = (_without(writes, row, number), _without(accesses, row, number))


class ValidatesNothing(Mutant):
    """A recoverer asks its quorum for instances that exclude a fast commit."""

    __slots__ = ()
    killed_by = RECOVERY + "test_a_committed_command_that_does_not_see_it_excludes_it"

    def _validate(self, ctx: Context, message: Validate) -> tuple[Conflict, ...]:
        super()._validate(ctx, message)
        return ()


class ValidateLeavesNoTrace(Mutant):
    """A replica remembers the command it was asked to validate: newer ones depend on it."""

    __slots__ = ()
    killed_by = RECOVERY + "test_what_was_validated_is_remembered_by_those_who_had_not_heard_of_it"

    def _validate(self, ctx: Context, message: Validate) -> tuple[Conflict, ...]:
        return tuple(self._excluding_star(message.instance, message.command, message.deps))


class TriesNothing(Mutant):
    """TryPreAccept is refused when something known excludes it."""

    __slots__ = ()
    killed_by = RECOVERY + "test_sosp13_a_committed_command_that_does_not_see_it_makes_it_begin_again"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}
    replicas = 5

    def _excluding_sosp13(self, instance_id: InstanceId, command: Command, deps: Dependencies) -> Iterator[Conflict]:
        return iter(())


class AlwaysBeginsAgain(Mutant):
    """What may have been committed on the fast path is proposed again, not replaced."""

    __slots__ = ()
    killed_by = RECOVERY + "test_sosp13_identical_votes_of_f_replicas_are_accepted"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}

    def _possibly_committed(self, instance_id: InstanceId, recovery: Recovery) -> RecoverOk | None:
        return None


class SlowPathTakesOneReply(Mutant):
    """The slow path accepts the union of a majority's replies."""

    __slots__ = ()

    def _slow_path(self, ctx: Context, leading: Leading) -> None:
        leading.deps = leading.proposal.deps
        super()._slow_path(ctx, leading)


class CollectsTooEarly(Mutant):
    """Nothing is forgotten that may interfere with a replica's own unfinished command."""

    __slots__ = ()
    killed_by = CORE + "test_what_may_interfere_with_an_unfinished_command_is_kept_for_its_recovery"

    def _gossip(self, ctx: Context) -> None:
        self.reported[self.me] = tuple(self.graph.executed_upto)
        ctx.broadcast(self.others, Executed(self.reported[self.me]))


class LosesCommandOfNoop(Mutant):
    """A command whose instance became a no-op is led again under a new one."""

    __slots__ = ()
    guards = "liveness"

    def _lead_again(self, ctx: Context, command: Command) -> None:
        pass


class RejoinsAtOnce(Mutant):
    """A replica that lost its disk is out of quorums until it is repaired."""

    __slots__ = ()
    killed_by = REPAIR + "test_a_vote_that_was_forgotten_is_not_contradicted"

    def _is_bounded(self) -> bool:
        return True

    def _first_number(self) -> int:
        return self._highest_heard(self.me) + 1


class AsksAMajority(Mutant):
    """It asks all others what it may have forgotten, not only a majority (Michael et al., DISC 2017)."""

    __slots__ = ()
    killed_by = REPAIR + "test_a_vote_that_was_forgotten_is_not_contradicted"

    def _answers_needed(self) -> int:
        return self.majority - 1


class ReusesNumbers(Mutant):
    """It begins no instance with a number that it has used before."""

    __slots__ = ()
    killed_by = REPAIR + "test_no_number_is_used_twice"

    def _first_number(self) -> int:
        return 0

    def _skip_named(self) -> None:
        pass


class PutsUpNoFence(Mutant):
    """What it sent before, and nobody had received, is refused from then on."""

    __slots__ = ()
    killed_by = REPAIR + "test_what_was_under_way_when_the_disk_was_lost_is_refused"

    def _is_unwelcome(self, message: PreAccept) -> bool:
        return self.forgetful


class SkipsWhatItCannotRead(Mutant):
    """An instance whose record cannot be read is not one that was never heard of."""

    __slots__ = ()
    killed_by = REPAIR + "test_a_vote_that_was_forgotten_is_not_contradicted"

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> dict[InstanceId, Any]:
        return super()._readable(ctx, {key: value for key, value in disk.items() if value is not CORRUPT})


class ReadsAskNobody(Mutant):
    """A read without an instance asks a majority for the writes that it must see."""

    __slots__ = ()
    killed_by = READS + "test_a_write_that_was_answered_elsewhere_is_waited_for"
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def _read_quorum(self) -> int:
        return 1


class ReadsAtOnce(Mutant):
    """It waits until these are executed."""

    __slots__ = ()
    killed_by = READS + "test_a_write_that_was_answered_elsewhere_is_waited_for"
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def _may_look(self, command: Command, writes: Dependencies) -> bool:
        return True


class SkipsNoNumber(Mutant):
    """It begins no instance that others have given up, having heard of it before the disk was lost."""

    __slots__ = ()
    killed_by = REPAIR + "test_a_number_that_others_have_given_up_is_skipped"

    def _skip_named(self) -> None:
        pass


class AsksLeadersAlone(Mutant):
    """It asks the others of every row, not only of their own: an instance may be recovered that its leader forgot."""

    __slots__ = ()
    killed_by = REPAIR + "test_what_was_given_up_in_the_row_of_one_that_lost_its_disk_is_known_to_the_next_that_does"

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        heard = tuple(last if row in (source, self.me) else -1 for row, last in enumerate(message.heard))
        super().on_recalled(ctx, source, structs.replace(message, heard=heard))


class ForgetsSessions(Mutant):
    """A snapshot brings with it which commands of each client it covers."""

    __slots__ = ()
    killed_by = REPAIR + "test_what_was_executed_before_a_snapshot_is_not_executed_again"

    def _adopt(self, ctx: Context, snapshot: Snapshot, image: Image) -> None:
        super()._adopt(ctx, snapshot, structs.replace(image, sessions=()))


class TakesTheLowestVote(Mutant):
    """Of accepted values that of the highest ballot is proposed again, not any."""

    __slots__ = ()
    killed_by = RECOVERY + "test_case_2_of_accepted_values_that_of_the_highest_ballot"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}

    def _highest_vote(self, replies: Sequence[RecoverOk]) -> RecoverOk | None:
        votes = [reply for reply in replies if reply.phase == ACCEPTED]
        return min(votes, key=lambda vote: vote.accepted, default=None)


class FastQuorumTooSmall(Mutant):
    """A fast quorum leaves so few out that two recoveries can tell which of them had one (n >= 2e + f - 1)."""

    __slots__ = ()
    killed_by = RECOVERY + "test_with_a_fast_quorum_that_is_too_small_recovery_cannot_tell"
    replicas = 7

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.fast = self.majority


class AnyConflictExcludes(Mutant):
    """What is only begun without a command shows not yet that this one was not committed."""

    __slots__ = ()
    killed_by = RECOVERY + "test_a_command_that_was_only_begun_does_not_exclude_a_fast_commit"
    replicas = 5

    def _leader_outside(self, recovery: Recovery, conflicts: Sequence[Conflict]) -> bool:
        return True


class AnyWaitExcludes(Mutant):
    """Another recovery that waits excludes this command only with more than n - f - e unchanged votes."""

    __slots__ = ()
    killed_by = RECOVERY + "test_waiting_ends_when_the_other_waits_too_with_enough_votes"
    replicas = 5

    def _excludes(self, votes: int) -> bool:
        return votes > 0


class WaitsForEver(Mutant):
    """Two recoveries that wait for each other end."""

    __slots__ = ()
    guards = "liveness"
    killed_by = RECOVERY + "test_two_recoveries_that_wait_for_each_other_both_give_up"
    replicas = 9

    def _excludes(self, votes: int) -> bool:
        return False


class OneVoteTooFew(Mutant):
    """Identical votes prove nothing until they and the leader are a majority."""

    __slots__ = ()
    killed_by = RECOVERY + "test_sosp13_a_committed_command_that_does_not_see_it_makes_it_begin_again"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}
    replicas = 5

    def _alike_enough(self) -> int:
        return super()._alike_enough() - 1


class TryingIsVoting(Mutant):
    """TryPreAccept leaves a vote of ballot 0: what was committed on the fast path stays what may have been."""

    __slots__ = ()
    killed_by = RECOVERY + "test_sosp13_what_was_only_tried_may_still_have_been_committed"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}
    replicas = 5

    def _try_pre_accept(self, ctx: Context, message: TryPreAccept) -> tuple[Conflict, ...]:
        conflicts = super()._try_pre_accept(ctx, message)
        if not conflicts:
            instance = self._instance(message.instance)
            instance.accepted = message.ballot
            ctx.persist(message.instance, instance.record())
        return conflicts


class TriesAfterAccept(Mutant):
    """A TryPreAccept that arrives after the Accept of its ballot takes nothing back."""

    __slots__ = ()
    killed_by = RECOVERY + "test_sosp13_a_late_try_does_not_take_back_what_was_accepted"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13"}
    replicas = 5

    def _at_ballot(self, ctx: Context, source: int, instance_id: InstanceId, ballot: Ballot) -> bool:
        return instance_id in self.live and self._instance(instance_id).ballot == ballot


class CountsOldAnswers(Mutant):
    """An answer counts for the ballot that it was given for."""

    __slots__ = ()
    killed_by = RECOVERY + "test_an_answer_counts_for_the_ballot_that_it_was_given_for"

    def on_recover_ok(self, ctx: Context, source: int, message: RecoverOk) -> None:
        recovery = self.recovering.get(message.instance)
        if recovery is not None:
            super().on_recover_ok(ctx, source, structs.replace(message, ballot=recovery.ballot))


class ExecutesTwice(Mutant):
    """A command that was committed in two instances is executed once."""

    __slots__ = ()

    def _execute(self, ctx: Context, commands: Iterable[Command]) -> None:
        for command in commands:
            self.sessions.next.pop(command.client, None)
            self.sessions.ahead.pop(command.client, None)
            super()._execute(ctx, (command,))


class _ImpatientGraph(DependencyGraph):
    __slots__ = ()

    def _awaits_unknown(self, root: InstanceId) -> bool:
        return False


class ExecutesBeforeTheUnknown(Mutant):
    """An instance waits for every dependency, also for one of which nothing is known here."""

    __slots__ = ()
    graph_type = _ImpatientGraph


class ForgetsItsQueue(Mutant):
    """A leader's dependencies hold all its earlier interfering commands, also those still in its queue."""

    __slots__ = ()
    hunt = "rounds"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13", "toq": True}

    def _settled_deps(self, command: Command) -> Dependencies:
        queue, self.queue = self.queue, []
        deps = super()._settled_deps(command)
        self.queue = queue
        return deps


class ReportsEarly(Mutant):
    """What a replica reports as executed, for all to forget, is on its disk."""

    __slots__ = ()
    killed_by = CORE + "test_what_is_reported_as_executed_is_on_disk"

    def _gossip(self, ctx: Context) -> None:
        super()._gossip(Context())
        ctx.broadcast_unsynced(self.others, Executed(self.reported[self.me]))


class ReadsForgetTheirLife(Mutant):
    """An answer to a question of an earlier life is none to one of this life."""

    __slots__ = ()
    killed_by = READS + "test_questions_that_were_lost_are_asked_again_and_old_answers_count_for_nothing"
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        super().recover(ctx, disk)
        self.life = 0


class QueuedIsUnknown(Mutant):
    """What a leader has voted for is known to it, though its own queue has not opened it yet."""

    __slots__ = ()
    killed_by = CORE + "test_toq_a_command_that_its_leader_voted_for_out_of_turn_is_known_from_then_on"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13", "toq": True}

    def _hold(self, ctx: Context, instance_id: InstanceId, instance: Instance, command: Command, seq: int) -> None:
        if instance.command is None:
            super()._hold(ctx, instance_id, instance, command, seq)


class LeaderNeedNotAgree(Mutant):
    """With timestamp-ordered queueing the leader's own reply must be equal too."""

    __slots__ = ()
    killed_by = CORE + "test_toq_the_leaders_own_reply_must_be_equal_too"
    settings: ClassVar[dict[str, Any]] = {"rules": "sosp13", "toq": True}

    def _fast_path(self, leading: Leading) -> bool:
        leading.voters |= 1 << self.me
        return super()._fast_path(leading)


MUTANTS: tuple[type[Mutant], ...] = (
    SingleBallot, ForgetsAccepted, ComparesWithZero, NeverMayHaveCommitted, FastPathAlthoughRepliesDiffer,
    TieBrokenByArrival, ExecutesAsCommitted, AnswersAtCommit, AcceptDoesNotJoin, PromiseNotRecorded,
    RefusalNotDurable, PreAcceptanceNotDurable, PreAcceptLeavesEarly, CommitLeavesEarly, ForgetsAcceptedNoop,
    ValidatesNothing, ValidateLeavesNoTrace, TriesNothing, AlwaysBeginsAgain, SlowPathTakesOneReply, CollectsTooEarly,
    LosesCommandOfNoop, RejoinsAtOnce, AsksAMajority, ReusesNumbers, PutsUpNoFence, SkipsWhatItCannotRead,
    ReadsAskNobody, ReadsAtOnce, ReadsForgetTheirLife, QueuedIsUnknown, LeaderNeedNotAgree,
    SkipsNoNumber, AsksLeadersAlone, ForgetsSessions, TakesTheLowestVote, FastQuorumTooSmall, AnyConflictExcludes,
    AnyWaitExcludes, WaitsForEver, OneVoteTooFew, TryingIsVoting, TriesAfterAccept, CountsOldAnswers, ExecutesTwice,
    ExecutesBeforeTheUnknown, ForgetsItsQueue, ReportsEarly,
)  # fmt: skip
"""All of the above."""
