"""Known ways to get Multi-Paxos wrong: each a minimal subclass whose docstring names the rule that was removed.

``replicas`` is the smallest cluster in which the rule is known to matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from consensus_bench.contract import LOST, NOOP, Ballot, Cluster, Command, Context, HandOver, Snapshot
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_learner import CANDIDATE, LEADER, NEVER
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Chosen,
    Extend,
    Extended,
    Fill,
    Forward,
    MultiPaxosOptions,
    Promise,
    ReadQuery,
    ReadReply,
    Recalled,
)
from protocols.multi_paxos_transfer import MultiPaxosTransfer
from protocols.sessions import SessionsImage
from protocols.slots import CHOSEN, FIRST_SLOT

SCHEDULED: Final = "tests/protocols/test_multi_paxos.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"
SNAPSHOTS: Final = (
    "tests/protocols/test_multi_paxos_snapshots.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"
)
LEASES: Final = "tests/protocols/test_multi_paxos_reads.py::test_a_lease_that_does_not_exclude_others_makes_stale_reads"
CARELESS: Final = "tests/protocols/test_multi_paxos_reads.py::test_a_careless_reader_is_found_out_by_random_schedules"
EPOCHS: Final = "tests/protocols/test_multi_paxos_epochs.py::" + (
    "test_what_an_earlier_leadership_was_asked_takes_no_effect_under_a_later_one"
)
CHECKS: Final = "tests/protocols/test_multi_paxos_check_quorum.py::test_a_leader_that_is_cut_off_steps_down"
LEARNING: Final = (
    "tests/protocols/test_multi_paxos_repair_learning.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"
)
REPAIRS: Final = "tests/protocols/test_multi_paxos_repair.py::test_a_schedule_breaks_the_mutant_and_not_the_protocol"


class Mutant(MultiPaxos):
    """Base: correct."""

    __slots__ = ()
    replicas: ClassVar[int] = 3
    guards: ClassVar[str] = "safety"
    """What the rule is for: safety, liveness, or what epochs promise."""


class IgnoresPromises(Mutant):
    """A new leader proposes what was reported to it, before anything of its own."""

    __slots__ = ()

    def _highest_accepted(self) -> dict[int, tuple[Ballot, Command]]:
        return {}


class AdoptsAnyReportedValue(Mutant):
    """Of the values reported for a slot, the one of the highest ballot is proposed."""

    __slots__ = ()
    hunt = "blackouts"

    def _outranks(self, ballot: Ballot, other: Ballot) -> bool:
        return ballot < other


class BeginsAboveWhatItKnows(Mutant):
    """The slots below the highest that is known to be chosen are proposed again as well, if they are not known."""

    __slots__ = ()
    guards = "liveness"

    def _first_uncertain(self) -> int:
        known = [slot for slot, ballot, _ in self.log.accepted_from(self.committed) if ballot == CHOSEN]
        return known[-1] + 1 if known else self.committed


class ClosesGaps(Mutant):
    """A slot for which nothing was reported gets a no-op: later values stay in their slots."""

    __slots__ = ()

    def _uncertain(self, reported: Mapping[int, tuple[Ballot, Command]]) -> list[Command]:
        return [command for command in super()._uncertain(reported) if command is not NOOP]


class SkipsPhase1(Mutant):
    """A leader has a quorum's promises."""

    __slots__ = ()

    def _campaign(self, ctx: Context) -> None:
        super()._campaign(ctx)
        self._lead(ctx)


class ServesDuringRecovery(Mutant):
    """A request that comes before phase 1 is done waits: only then it is known which slots are free."""

    __slots__ = ()

    def on_request(self, ctx: Context, command: Command) -> None:
        if self.role == CANDIDATE:
            self.next = max(self.next, self.log.end)
            ctx.broadcast_unsynced(self.others, Accept(self.promised, self.next, (command,), self.committed))
        super().on_request(ctx, command)


class CountsOldVotes(Mutant):
    """Only votes for the leader's own ballot count."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_accepted(self, ctx: Context, source: int, message: Accepted) -> None:
        super().on_accepted(ctx, source, Accepted(self.promised, message.slot))


class CountsOldPromises(Mutant):
    """Only promises for the candidate's own ballot count."""

    __slots__ = ()
    hunt = "elections"

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        super().on_promise(ctx, source, Promise(self.promised, message.accepted))


class ReusesBallots(Mutant):
    """A candidate's ballot is on disk before Prepare leaves, so that it is not used again after a crash."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _take_ballot(self, ctx: Context) -> None:
        self.promised = (self.promised[0] + 1, self.me)


class ComparesRounds(Mutant):
    """Ballots are (round, replica): of two with the same round one is higher, and no two replicas share one."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _take_ballot(self, ctx: Context) -> None:
        self.promised = (self.promised[0] + 1, 0)
        ctx.persist("promised", self.promised)


class ForgetsPromises(Mutant):
    """A promise is on disk before it is heard of."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _save_promise(self, ctx: Context) -> None:
        """Nothing is written."""


class ForgetsAcceptances(Mutant):
    """An acceptance is on disk before it is heard of."""

    __slots__ = ()
    hunt = "blackouts"

    def _vote(self, ctx: Context, accept: Accept) -> None:
        for slot, command in enumerate(accept.commands, accept.slot):
            self.log.accept(slot, accept.ballot, command)


class ServesOldLeaders(Mutant):
    """An acceptor accepts nothing at a lower ballot than it has promised."""

    __slots__ = ()
    hunt = "rounds"

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        promised, leader = self.promised, self.leader
        if message.ballot < promised and leader != self.me:
            self.promised, self.leader = message.ballot, source
            super().on_accept(ctx, source, message)
            self.promised, self.leader = promised, leader
        else:
            super().on_accept(ctx, source, message)


class ReportsOnlyItsCommits(Mutant):
    """A promise reports all that was accepted, not only what is known to be chosen."""

    __slots__ = ()

    def _report(self, first: int) -> tuple[tuple[int, Ballot, Command], ...]:
        return tuple(report for report in super()._report(first) if report[1] == CHOSEN)


class TrustsOldAcceptances(Mutant):
    """That a slot is chosen says nothing about a value that was accepted there from an earlier leader."""

    __slots__ = ()

    def _advance(self, ctx: Context, ballot: Ballot = CHOSEN, limit: int = 0) -> None:
        for slot, accepted, command in self.log.accepted_from(self.committed):
            if slot < limit and accepted != CHOSEN:
                self.log.accept(slot, ballot, command)
        super()._advance(ctx, ballot, limit)


class LearnsNoBallots(Mutant):
    """Whoever learns what was chosen at a higher ballot leads no more: what a leader says is chosen, its followers take
    to be what they accepted from it."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_chosen(self, ctx: Context, source: int, message: Chosen) -> None:
        super().on_chosen(ctx, source, Chosen(self.promised, message.first, message.commands, message.committed))


class TeachesWhatItAccepted(Mutant):
    """Only what is known to be chosen is taught."""

    __slots__ = ()
    hunt = "rounds"

    def _teach(self, ctx: Context, to: int, first: int) -> None:
        values = self.log.values(first, self.log.end) if first < self.log.end else ()
        ctx.send_unsynced(to, Chosen(self.promised, first, values, first + len(values)))


class AcceptsWithoutPromising(Mutant):
    """To accept at a ballot is to promise it: no lower one is served afterwards."""

    __slots__ = ()
    killed_by = SCHEDULED

    def on_accept(self, ctx: Context, source: int, message: Accept) -> None:
        promised = self.promised
        super().on_accept(ctx, source, message)
        if self.promised > promised:
            self.promised = promised
            self.leader = None


class CountsItsVoteAtOnce(Mutant):
    """A leader's own vote counts when it is on its disk, like any other's."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _propose(self, ctx: Context, commands: tuple[Command, ...]) -> None:
        slot = self.next
        super()._propose(ctx, commands)
        self.on_accepted(ctx, self.me, Accepted(self.promised, slot))


class TakesItsDiskForChosen(Mutant):
    """What a restarted replica finds accepted on its disk need not have been chosen."""

    __slots__ = ()

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        slots = [key for key in disk if isinstance(key, int)]
        end = next(slot for slot in itertools.count(FIRST_SLOT) if slot not in slots)
        super().recover(ctx, {**disk, "committed": end})


class ExecutesPastGaps(Mutant):
    """A follower executes in slot order, without leaving one out."""

    __slots__ = ()
    hunt = "recoveries"

    def _advance(self, ctx: Context, ballot: Ballot = CHOSEN, limit: int = 0) -> None:
        super()._advance(ctx, ballot, limit)
        known = [slot for slot, accepted, _ in self.log.accepted_from(self.committed) if accepted in (ballot, CHOSEN)]
        if known and known[0] < limit:
            self.committed = known[0]
            super()._advance(ctx, ballot, limit)


class ExecutesRetries(Mutant):
    """A command that was chosen in two slots is executed once."""

    __slots__ = ()
    killed_by = SCHEDULED

    def _execute(self, ctx: Context, command: Command) -> None:
        again = command.kind != "noop" and self.sessions.executed(command)
        super()._execute(ctx, command)
        if again:
            ctx.execute(command)


class ExecutesNoOps(Mutant):
    """A no-op is committed and never executed."""

    __slots__ = ()

    def _execute(self, ctx: Context, command: Command) -> None:
        if command.kind == "noop":
            ctx.execute(command)
        super()._execute(ctx, command)


class NeedsNoIntersection(Mutant):
    """Every phase-1 quorum shares a replica with every phase-2 quorum."""

    __slots__ = ()

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.phase1_quorum = 1


class CountsHalves(Mutant):
    """Half of the replicas are no majority."""

    __slots__ = ()
    replicas = 4

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.phase1_quorum = self.phase2_quorum = cluster.size // 2


class NeverAsksAgain(Mutant):
    """A message that is lost is sent again."""

    __slots__ = ()
    guards = "liveness"

    def _retry(self, ctx: Context) -> None:
        """Nothing is sent."""


class NeverCatchesUp(Mutant):
    """A replica asks for chosen values that it missed."""

    __slots__ = ()
    guards = "liveness"

    def _fetch(self, ctx: Context, source: int) -> None:
        """Nothing is asked."""


class ForgetsItsLoss(Mutant):
    """A replica whose disk was lost does not begin anew as if it had never voted."""

    __slots__ = ()
    killed_by = REPAIRS

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], int]:
        return {key: disk[key] for key in disk if key is not LOST}, 1 << 62


class RecallsFromAMajority(Mutant):
    """All others must have answered before a forgetful replica votes again."""

    __slots__ = ()
    killed_by = REPAIRS

    def _have_all_answered(self) -> bool:
        return len(self.recalled) >= len(self.others) // 2

    def _is_settled(self) -> bool:
        return self.recall_ballot == self.fence


class TakesDamageForNothing(Mutant):
    """A slot that cannot be read is not reported as one where nothing was accepted."""

    __slots__ = ()
    killed_by = REPAIRS

    def _is_damaged_from(self, first: int) -> bool:
        return False


class NeedsNoFence(Mutant):
    """If the ballot that all have promised has no leader, they must promise a higher one: an old Accept may come."""

    __slots__ = ()
    killed_by = REPAIRS

    def _is_settled(self) -> bool:
        return True


class RecallsLowerPromises(Mutant):
    """All must have promised the same ballot: whoever has promised less may accept what its answer does not have."""

    __slots__ = ()
    killed_by = REPAIRS

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        ballot = max(self.recall_ballot, message.ballot)
        for number, answer in list(self.recalled.items()):
            self.recalled[number] = msgspec.structs.replace(answer, ballot=ballot, leads=True)
        super().on_recalled(ctx, source, msgspec.structs.replace(message, ballot=ballot, leads=True))


class RejoinsEmpty(Mutant):
    """A replica that rejoins holds what the others have accepted."""

    __slots__ = ()
    killed_by = REPAIRS

    def _recollected(self) -> dict[int, tuple[Ballot, Command]]:
        return {}


class CountsAnswersToAnotherRecall(Mutant):
    """What was answered to an earlier life may be older than what this life has forgotten."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_repair.py::test_answers_to_an_earlier_life_do_not_count"

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        super().on_recalled(ctx, source, msgspec.structs.replace(message, life=self.life))


class AsksAtEveryAnswer(Mutant):
    """An answer of before brings forth no new questions: they would be more and more, until nothing else arrives."""

    __slots__ = ()
    guards = "liveness"
    killed_by = "tests/protocols/test_multi_paxos_repair.py::test_each_answer_brings_forth_questions_once"

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        super().on_recalled(ctx, source, message)
        if self.recalled and self._have_all_answered():
            self._repair_again(ctx)


class CountsShortPromises(Mutant):
    """A promise that was asked for by an earlier life, for fewer slots, does not report all that may be chosen."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_repair.py::" + (
        "test_a_promise_to_an_earlier_life_that_reports_fewer_slots_does_not_count"
    )

    def on_promise(self, ctx: Context, source: int, message: Promise) -> None:
        super().on_promise(ctx, source, Promise(message.ballot, message.accepted))


class RepairsWithAQuorumOfOne(Mutant):
    """With a quorum of one nobody else need know what a forgetful replica had promised or accepted."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_repair_learning.py::" + (
        "test_with_a_quorum_of_one_what_is_lost_is_not_found_again"
    )
    settings: ClassVar[dict[str, Any]] = {"phase1_quorum": 3, "phase2_quorum": 1}

    def _repair_again(self, ctx: Context) -> None:
        phase2_quorum, self.phase2_quorum = self.phase2_quorum, 2
        super()._repair_again(ctx)
        self.phase2_quorum = phase2_quorum


class LooksWholeTooEarly(Mutant):
    """A snapshot that cannot be read is not replaced by a lesser one before the replica has rejoined."""

    __slots__ = ()
    killed_by = LEARNING

    def _drop_replaced(self, ctx: Context) -> None:
        self._save_snapshot(ctx, self.committed)


class LearnsNoBallotsFromRepair(Mutant):
    """Whoever learns in answer to Recall what was chosen at a higher ballot leads no more, either."""

    __slots__ = ()
    killed_by = LEARNING

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        ballot = message.ballot if self.forgetful else min(message.ballot, self.promised)
        super().on_recalled(ctx, source, msgspec.structs.replace(message, ballot=ballot))


class RejoinsBelowWhatItLearned(Mutant):
    """A forgetful replica rejoins at no lower ballot than what it has learned meanwhile was chosen at."""

    __slots__ = ()
    killed_by = LEARNING

    def _follow(self, ctx: Context, ballot: Ballot, leader: int | None) -> None:
        recall_ballot = self.recall_ballot
        super()._follow(ctx, ballot, leader)
        self.recall_ballot = recall_ballot


class KeepsWhatASnapshotReplaced(Mutant):
    """What was accepted in slots that a snapshot stands for is not on disk any more when ``committed`` is above."""

    __slots__ = ()
    killed_by = LEARNING

    def _drop_replaced(self, ctx: Context) -> None:
        self.log.discard(self.committed)


class KeepsNoSessions(Mutant):
    """Which commands have been executed is part of a snapshot."""

    __slots__ = ()
    killed_by = SNAPSHOTS

    def _adopt(self, ctx: Context, snapshot: Snapshot, sessions: SessionsImage) -> None:
        super()._adopt(ctx, snapshot, ())


class KeepsLateSessions(Mutant):
    """The sessions beside a snapshot are those of its slot, not of what was executed while it was taken."""

    __slots__ = ()
    settings: ClassVar[dict[str, Any]] = {"snapshot_every": 3}

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        if self.taking is not None:
            self.taking = (self.taking[0], self.sessions.image())
        super().on_snapshot(ctx, source, message)


class PromisesBehindASnapshot(Mutant):
    """A promise reports all slots that it is asked for: whoever has discarded some sends its snapshot first."""

    __slots__ = ()
    killed_by = SNAPSHOTS

    def _is_far_behind(self, first: int) -> bool:
        return False


class LosesItsSnapshot(Mutant):
    """A restart begins from the snapshot, which stands for the slots that are no longer there."""

    __slots__ = ()
    killed_by = SNAPSHOTS

    def _restore(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """Nothing is restored."""


class InstallsOldSnapshots(Mutant):
    """A snapshot of what has been executed already is not installed."""

    __slots__ = ()
    killed_by = SNAPSHOTS

    def _is_news(self, snapshot: Snapshot) -> bool:
        return True


class LeasesFromTheAnswer(Mutant):
    """A lease is shorter than what was granted, and counts from when it was asked for."""

    __slots__ = ()
    killed_by = LEASES
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _lease_end(self, ctx: Context, sent_ns: int) -> int:
        return ctx.clock_ns + 2 * self.lease_ns


class PromisesDuringLeases(Mutant):
    """Whoever granted a lease promises nothing to others while it runs."""

    __slots__ = ()
    killed_by = LEASES
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _has_granted(self, ctx: Context, candidate: int, waives: Ballot) -> bool:
        return False


class ForgetsItsGrants(Mutant):
    """A restarted replica may have granted a lease."""

    __slots__ = ()
    killed_by = LEASES
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _restore(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        super()._restore(ctx, disk)
        self.silent_until_ns = 0


class GrantsAnew(Mutant):
    """A restarted replica may have granted a lease to somebody else than the leader that it follows now."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_reads.py::" + (
        "test_a_grant_after_a_restart_is_no_way_round_a_forgotten_one"
    )
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _grant(self, ctx: Context, holder: int) -> None:
        super()._grant(ctx, holder)
        self.silent_until_ns = 0


class GrantsOldLeaders(Mutant):
    """A lease is granted to the leader that is followed, at the ballot that is promised."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_reads.py::test_an_old_leader_is_granted_no_lease"
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def on_extend(self, ctx: Context, source: int, message: Extend) -> None:
        self._grant(ctx, source)
        ctx.send_unsynced(source, Extended(message.ballot, message.round))


class TrustsAllClocks(Mutant):
    """A lease is shorter than what was granted by as much as two clocks' rates may differ."""

    __slots__ = ()
    killed_by = LEASES
    settings: ClassVar[dict[str, Any]] = {"reads": "lease", "clock_drift_bound": 0.99}

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.lease_ns = self.promise_ns


class LeasesFromAMajority(Mutant):
    """With small phase-1 quorums, more than a majority must have granted a lease."""

    __slots__ = ()
    killed_by = LEASES
    settings: ClassVar[dict[str, Any]] = {"reads": "lease", "phase1_quorum": 2, "phase2_quorum": 4}

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.lease_quorum = cluster.size // 2 + 1


class ReadsBeforeItHasRecovered(Mutant):
    """A new leader reads nothing before it has executed what it took over."""

    __slots__ = ()
    killed_by = CARELESS
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _has_recovered(self) -> bool:
        return True


class ReadsAtOnce(Mutant):
    """A quorum read waits until what the quorum has accepted is executed here."""

    __slots__ = ()
    killed_by = CARELESS
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def _needed(self, end: int) -> int:
        return 0


class AsksTooFewForARead(Mutant):
    """A quorum read asks a phase-1 quorum: fewer need not have heard of what a small phase-2 quorum has chosen."""

    __slots__ = ()
    killed_by = CARELESS
    replicas = 5
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum", "phase1_quorum": 4, "phase2_quorum": 2}

    def on_read_reply(self, ctx: Context, source: int, message: ReadReply) -> None:
        phase1_quorum, self.phase1_quorum = self.phase1_quorum, self.phase2_quorum
        super().on_read_reply(ctx, source, message)
        self.phase1_quorum = phase1_quorum


class CountsAnswersToAnEarlierLife(Mutant):
    """What was answered to a question of an earlier life may be older than the read."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_reads.py::test_an_answer_to_an_earlier_life_does_not_count"
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def on_read_reply(self, ctx: Context, source: int, message: ReadReply) -> None:
        super().on_read_reply(ctx, source, msgspec.structs.replace(message, life=self.life))


class AnswersFromALostDisk(Mutant):
    """Who cannot read its disk does not know how far it had accepted anything."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_reads.py::" + (
        "test_who_has_lost_its_disk_does_not_know_how_far_it_had_accepted"
    )
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def on_read_query(self, ctx: Context, source: int, message: ReadQuery) -> None:
        if self.forgetful:
            ctx.send_unsynced(source, ReadReply(message.life, message.round, self.log.end))
        else:
            super().on_read_query(ctx, source, message)


class FillsNothing(Mutant):
    """A read need not wait for a slot in which nobody proposes anything."""

    __slots__ = ()
    guards = "liveness"
    killed_by = (
        "tests/protocols/test_multi_paxos_reads.py::test_a_read_does_not_wait_for_a_slot_that_no_leader_heard_of"
    )
    settings: ClassVar[dict[str, Any]] = {"reads": "quorum"}

    def on_fill(self, ctx: Context, source: int, message: Fill) -> None:
        """It waits for requests."""


class KeepsItsLease(Mutant):
    """A leader that asks another one to take over has no lease any more."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_transfer.py::" + (
        "test_the_old_leader_does_not_read_when_its_successor_may_lead"
    )
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _give_up_lease(self, ctx: Context) -> None:
        """It goes on reading."""


class LeasesAfterAnOffer(Mutant):
    """A leader whose offer came to nothing has no lease again at its ballot: the offer may still arrive."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_transfer.py::test_an_offer_that_comes_late_finds_no_lease"
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _end_transfer(self) -> None:
        super()._end_transfer()
        self.may_lease = True


class WaivesLaterLeases(Mutant):
    """A leader that gave its lease up at one ballot may have one at a later ballot."""

    __slots__ = ()
    killed_by = "tests/protocols/test_multi_paxos_transfer.py::" + (
        "test_leases_are_waived_up_to_the_ballot_of_the_offer"
    )
    settings: ClassVar[dict[str, Any]] = {"reads": "lease"}

    def _has_granted(self, ctx: Context, candidate: int, waives: Ballot) -> bool:
        return super()._has_granted(ctx, candidate, (NEVER, 0) if waives > (0, 0) else waives)


class ServesWhileItHandsOver(Mutant):
    """A leader proposes nothing new while a transfer is under way."""

    __slots__ = ()
    guards = "liveness"
    killed_by = "tests/protocols/test_multi_paxos_transfer.py::" + (
        "test_a_leader_that_serves_on_while_it_hands_over_never_offers_its_office"
    )

    def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
        super().on_hand_over(ctx, source, message)
        self.window = self.options.window


class ServesOldEpochs(Mutant):
    """A request that was made to an earlier leadership is refused."""

    __slots__ = ()
    guards = "epochs"
    killed_by = EPOCHS

    def _is_current(self, message: Forward) -> bool:
        return True


class ComparesLeaders(Mutant):
    """It is not enough that the same replica leads again."""

    __slots__ = ()
    guards = "epochs"
    killed_by = EPOCHS

    def _is_current(self, message: Forward) -> bool:
        return self.role == LEADER and message.ballot[1] == self.me


class AsksTheNextLeader(Mutant):
    """What was passed on to an earlier leadership is not passed on to the next."""

    __slots__ = ()
    guards = "epochs"
    killed_by = EPOCHS

    def _requests_to_ask_again(self) -> list[Command]:
        return list(self.forwarded.values())


class TakesItsQueueAlong(Mutant):
    """A leader that steps down forgets what it was asked for."""

    __slots__ = ()
    guards = "epochs"
    killed_by = EPOCHS

    def _step_down(self, ctx: Context) -> None:
        MultiPaxosTransfer._step_down(self, ctx)


class NeverLosesItsQuorum(Mutant):
    """A leader that checks steps down when it hears nobody."""

    __slots__ = ()
    guards = "liveness"
    killed_by = CHECKS
    settings: ClassVar[dict[str, Any]] = {"check_quorum": True}

    def _check_quorum(self, ctx: Context) -> None:
        self._begin_check(ctx)


class HearsForEver(Mutant):
    """Who answered before the last check does not count at the next."""

    __slots__ = ()
    guards = "liveness"
    killed_by = CHECKS
    settings: ClassVar[dict[str, Any]] = {"check_quorum": True}

    def _begin_check(self, ctx: Context) -> None:
        heard = self.heard
        super()._begin_check(ctx)
        self.heard |= heard


MUTANTS = (
    IgnoresPromises, AdoptsAnyReportedValue, BeginsAboveWhatItKnows, ClosesGaps, SkipsPhase1, ServesDuringRecovery,
    CountsOldVotes, CountsOldPromises, ReusesBallots, ComparesRounds, ForgetsPromises, ForgetsAcceptances,
    ServesOldLeaders, ReportsOnlyItsCommits, TrustsOldAcceptances, LearnsNoBallots, TeachesWhatItAccepted,
    AcceptsWithoutPromising, CountsItsVoteAtOnce, TakesItsDiskForChosen, ExecutesPastGaps, ExecutesRetries,
    ExecutesNoOps, NeedsNoIntersection, CountsHalves, NeverAsksAgain, NeverCatchesUp, ForgetsItsLoss,
    RecallsFromAMajority, TakesDamageForNothing, NeedsNoFence, RecallsLowerPromises, RejoinsEmpty,
    CountsAnswersToAnotherRecall, AsksAtEveryAnswer, CountsShortPromises, RepairsWithAQuorumOfOne, LooksWholeTooEarly,
    LearnsNoBallotsFromRepair, RejoinsBelowWhatItLearned, KeepsWhatASnapshotReplaced, KeepsNoSessions,
    KeepsLateSessions, PromisesBehindASnapshot, LosesItsSnapshot, InstallsOldSnapshots, LeasesFromTheAnswer,
    PromisesDuringLeases, ForgetsItsGrants, GrantsAnew, GrantsOldLeaders, TrustsAllClocks, LeasesFromAMajority,
    ReadsBeforeItHasRecovered, ReadsAtOnce, AsksTooFewForARead, CountsAnswersToAnEarlierLife, AnswersFromALostDisk,
    FillsNothing, KeepsItsLease, LeasesAfterAnOffer, WaivesLaterLeases, ServesWhileItHandsOver, ServesOldEpochs,
    ComparesLeaders, AsksTheNextLeader, TakesItsQueueAlong, NeverLosesItsQuorum, HearsForEver,
)  # fmt: skip
