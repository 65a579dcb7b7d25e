"""Change of members by joint consensus (section 6; thesis chapter 4): two majorities while it lasts, and never two that
could decide alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
import raft_mutants as mutants
from fault_worlds import loaded
from raft_network import PLAIN, A, B, C, D, RaftNetwork, violated

from consensus_bench.contract import LOST, OPERATOR, ChangeMembers, ConfigError, HandOver, PropertyViolated, Snapshot
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments.measure import judged
from consensus_bench.exploration import Faults, Scheduler
from consensus_bench.exploration.world import Summary
from protocols.raft import Raft
from protocols.raft_messages import AppendEntries, InstallSnapshot, TimeoutNow

MS = 1_000_000


class Cluster(RaftNetwork):
    """Five servers, 0 leads. Three of them are members, unless said otherwise."""

    def __init__(self, protocol: type[Raft] = Raft, members: int = 3, size: int = 5, **settings: Any) -> None:
        super().__init__(protocol, size, 0, **{**PLAIN, "first_members": members, **settings})
        self.exchange()
        self.settle(0)

    def order(self, leader: int, *members: int) -> None:
        """An operator's order reaches ``leader``."""
        self.world.in_flight.append((OPERATOR, leader, ChangeMembers(members)))
        self._deliver_at(len(self.world.in_flight) - 1)

    def settle(self, leader: int, among: Sequence[int] | None = None) -> None:
        """Heartbeats, so that all know what is committed, and new servers catch up."""
        for _ in range(3):
            self.now_ns += 100 * MS
            self.fire(leader, "heartbeat")
            self.exchange(among)

    def again(self, leader: int, among: Sequence[int] | None = None, keep: Any = None) -> None:
        """The leader sends again what was lost."""
        for _ in range(2):
            self.fire(leader, "retry")
            self.exchange(among, keep)

    def members(self, me: int) -> list[str]:
        """Who the members are in the eyes of ``me``; two sets while they change."""
        return ["".join(str(r) for r in range(5) if mask >> r & 1) for mask in self.replica(me).members]

    def committed(self, me: int) -> int:
        return int(self.replica(me).commit_index)


def joint(protocol: type[Raft] = Raft, **settings: Any) -> Cluster:
    """The members 0, 1, 2 are to be 0, 3, 4; what is said of that is under way."""
    cluster = Cluster(protocol, **settings)
    cluster.order(0, 0, 3, 4)
    return cluster


# --- the way of a change ----------------------------------------------------------------------------------------------


def test_members_change_in_two_steps_and_all_are_served() -> None:
    cluster = joint()
    assert cluster.members(0) == ["012", "034"], "in force as soon as it is in the log"
    cluster.ask(0, A)
    cluster.exchange()
    cluster.settle(0)
    assert [cluster.members(me) for me in range(5)] == [["034"]] * 5
    assert cluster.world.summary.notes["members_changed"] == 1
    assert (0, A) in cluster.answers
    cluster.elect(3, among=(3, 4))
    assert cluster.leaders() == [0, 3], "3 and 4 are a majority now"
    cluster.ask(3, B)
    cluster.exchange(among=(3, 4))
    assert (3, B) in cluster.answers


@pytest.mark.parametrize(("among", "commits"), [((0, 3, 4), False), ((0, 1, 2), False), ((0, 1, 3), True)])
def test_meanwhile_entries_need_both_majorities(among: tuple[int, ...], commits: bool) -> None:
    cluster = joint()
    before = cluster.committed(0)
    cluster.exchange(among)
    assert (cluster.committed(0) > before) == commits


@pytest.mark.parametrize(
    ("voters", "wins"), [((1, 2), False), ((3, 4), False), ((1, 2, 3), False), ((1, 2, 3, 4), True)]
)
def test_meanwhile_candidates_need_both_majorities(voters: tuple[int, ...], wins: bool) -> None:
    cluster = joint()
    for follower in (1, 2, 3, 4):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=())
    cluster.elect(voters[0], among=voters, keep=AppendEntries)
    assert (voters[0] in cluster.leaders()) == wins


def test_a_leader_needs_both_majorities_to_know_that_it_leads() -> None:
    cluster = joint(reads="index")
    read = msgspec.structs.replace(A, kind="get", value=0)
    cluster.exchange(among=())
    cluster.ask(0, read)
    cluster.exchange(among=(0, 3, 4))
    assert (0, read) not in cluster.answers
    cluster.fire(0, "heartbeat")
    cluster.exchange(among=(0, 1, 4))
    assert (0, read) in cluster.answers


def test_a_lease_ends_where_new_members_may_vote() -> None:
    cluster = Cluster(pre_vote=True, check_quorum=True, reads="lease")
    assert cluster.replica(0).lease_end_ns > cluster.now_ns
    cluster.order(0, 0, 3, 4)
    assert cluster.replica(0).lease_end_ns == 0


def test_what_is_removed_from_the_log_is_no_longer_in_force() -> None:
    cluster = joint()
    cluster.exchange(among=())
    cluster.elect(1, among=(1, 2))
    cluster.fire(1, "retry")
    cluster.exchange()
    assert [cluster.members(me) for me in range(5)] == [["012"]] * 5


def test_the_next_leader_finishes_what_it_finds() -> None:
    cluster = joint()
    for follower in (1, 2, 3, 4):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=())
    cluster.elect(1, among=(1, 2, 3, 4))
    [leader] = [leader for leader in cluster.leaders() if leader]
    assert leader in (3, 4), "1 is no member any more, and has handed its office over"
    cluster.settle(leader, among=(1, 2, 3, 4))
    assert [cluster.members(me) for me in (1, 2, 3, 4)] == [["034"]] * 4


# --- who is no member -------------------------------------------------------------------------------------------------


def test_learners_get_everything_and_count_for_nothing() -> None:
    cluster = Cluster()
    cluster.ask(0, A)
    cluster.exchange(among=(0, 3, 4))
    assert (0, A) not in cluster.answers and cluster.terms(3) == [1, 1]
    cluster.elect(3, among=(3, 4))
    assert cluster.replica(3).current_term == 1, "nor do they stand for election"


def test_a_leader_that_leaves_does_not_count_itself_and_hands_over() -> None:
    cluster = Cluster(members=4)
    cluster.order(0, 1, 2, 3)
    cluster.exchange(keep=AppendEntries)
    for follower in (1, 2):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(keep=AppendEntries)
    assert cluster.members(0) == ["123"]
    before = cluster.committed(0)
    cluster.exchange(among=(0, 1))
    assert cluster.committed(0) == before, "0 and 1 are two, but 0 is no member"
    cluster.again(0, among=(0, 1, 2), keep=TimeoutNow)
    assert cluster.under_way(TimeoutNow), "a member that has everything is asked to lead"
    cluster.exchange()
    [leader] = cluster.leaders()
    assert leader in (1, 2)
    cluster.settle(leader)
    cluster.elect(0)
    assert cluster.replica(0).role == "follower"


def test_a_leader_that_left_gives_up_when_nobody_takes_over() -> None:
    cluster = Cluster(members=4)
    cluster.order(0, 1, 2, 3)
    cluster.exchange(keep=TimeoutNow)
    cluster.world.in_flight.clear()
    cluster.fire(0, "transfer")
    assert cluster.leaders() == []


def test_who_has_the_new_members_alone_may_lead_though_it_is_none_of_them() -> None:
    """Old members 0 and 1, new one 2: only 0 has C_new, and would not vote for 1; so it is up to 0 (thesis 4.2.2)."""
    cluster = Cluster(members=2, size=3)
    cluster.order(0, 2)
    cluster.exchange(keep=AppendEntries)
    for follower in (1, 2):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(keep=AppendEntries)
    cluster.exchange(among=())
    assert [cluster.members(me) for me in range(3)] == [["2"], ["01", "2"], ["01", "2"]]
    cluster.crash(0)
    cluster.elect(1)
    assert cluster.leaders() == []
    cluster.elect(0)
    cluster.settle(2)
    assert cluster.leaders() == [2]
    assert [cluster.members(me) for me in range(3)] == [["2"]] * 3


# --- orders -----------------------------------------------------------------------------------------------------------


def test_one_change_at_a_time() -> None:
    cluster = joint()
    cluster.order(0, 0, 1, 2, 3)
    cluster.exchange()
    cluster.settle(0)
    assert cluster.members(0) == ["034"]
    cluster.order(0, 0, 1, 2)
    assert cluster.members(0) == ["034", "012"]


def test_none_before_an_entry_of_the_term_is_committed() -> None:
    cluster = Cluster()
    cluster.elect(1, among=(0, 1, 2), keep=AppendEntries)
    cluster.order(1, 0, 1, 3)
    assert cluster.leaders() == [1] and cluster.members(1) == ["012"]


@pytest.mark.parametrize("members", [(), (0, 5), (0, 1, 2), (-1, 0)])
def test_impossible_and_idle_orders_change_nothing(members: tuple[int, ...]) -> None:
    cluster = Cluster()
    cluster.order(0, *members)
    cluster.order(1, 0, 3, 4)
    assert [cluster.members(me) for me in (0, 1)] == [["012"]] * 2


def test_a_new_server_catches_up_first() -> None:
    cluster = Cluster()
    cluster.ask(0, A, B)
    cluster.exchange(among=(0, 1, 2))
    cluster.order(0, 0, 3, 4)
    cluster.settle(0, among=(0, 1, 2, 3))
    assert cluster.members(0) == ["012"], "4 lacks something"
    cluster.again(0)
    cluster.settle(0)
    assert cluster.members(0) == ["034"]


def test_a_round_that_took_too_long_is_followed_by_another() -> None:
    cluster = Cluster()
    cluster.ask(0, A)
    cluster.exchange(among=(0, 1, 2))
    cluster.order(0, 0, 3, 4)
    cluster.now_ns += 1500 * MS
    cluster.ask(0, B)
    cluster.exchange(among=(0, 1, 2))
    cluster.again(0)
    cluster.fire(0, "heartbeat")
    assert cluster.members(0) == ["012"]
    cluster.settle(0)
    assert cluster.members(0) == ["034"]


def test_a_new_server_that_never_catches_up_is_given_up() -> None:
    cluster = Cluster()
    cluster.ask(0, A)
    cluster.exchange(among=(0, 1, 2))
    cluster.order(0, 0, 3, 4)
    cluster.now_ns += 11_000 * MS
    cluster.fire(0, "heartbeat")
    cluster.order(0, 0, 1)
    assert cluster.members(0) == ["012", "01"]


def test_only_members_are_handed_the_office() -> None:
    cluster = Cluster()
    cluster.world.in_flight.append((OPERATOR, 0, HandOver(3)))
    cluster.exchange(keep=TimeoutNow)
    assert not cluster.under_way(TimeoutNow)


def test_members_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="first_members = 4: there are 3 replicas"):
        make_options(find_protocol("raft"), {"first_members": 4}, 3)


# --- disks and snapshots ----------------------------------------------------------------------------------------------


def test_a_restart_brings_the_members_back_in_every_phase() -> None:
    cluster = joint()
    for follower in (1, 2, 3, 4):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=())
    cluster.crash(1)
    assert cluster.members(1) == ["012", "034"]
    cluster.again(0)
    cluster.crash(1)
    assert cluster.members(1) == ["034"]


def test_snapshots_say_who_the_members_are() -> None:
    cluster = Cluster(snapshot_every=2)
    cluster.order(0, 0, 1, 4)
    cluster.exchange(among=(0, 1, 2, 4))
    cluster.ask(0, A, B, C, D)
    cluster.exchange(among=(0, 1, 2, 4))
    cluster.settle(0, among=(0, 1, 2, 4))
    assert cluster.replica(0).log.base_index > 3
    cluster.crash(0)
    assert cluster.members(0) == ["014"]
    cluster.elect(1, keep=InstallSnapshot)
    assert [to for _, to, _ in cluster.under_way(InstallSnapshot)] == [3]
    cluster.exchange()
    assert cluster.members(3) == ["014"] and cluster.replica(3).log.base_index > 3


@pytest.mark.parametrize(("members", "comes_back"), [((0, 1, 2), True), ((0, 1), False)])
def test_a_lost_disk_is_repaired_only_by_a_majority_of_the_members(members: tuple[int, ...], comes_back: bool) -> None:
    """Of the members 0 and 1 the disk of 1 is lost. That of 0 alone does not tell what both had committed."""
    cluster = Cluster()
    cluster.order(0, *members)
    cluster.exchange()
    cluster.settle(0)
    cluster.world.crash(1)
    cluster.world.servers[1].disk = {LOST: None}
    cluster.world.restart(1)
    cluster.now_ns += 1
    cluster.exchange()
    cluster.settle(0)
    assert cluster.replica(1).asking == (not comes_back)


# --- what is each rule for --------------------------------------------------------------------------------------------


def new_members_decide_alone(protocol: type[Raft]) -> None:
    """C_old,new reaches 3 and 4, the majority of 0, 3, 4, and none of the others; 1 and 2 go on by themselves."""
    cluster = joint(protocol)
    cluster.ask(0, A)
    cluster.exchange(among=(0, 3, 4))
    cluster.elect(1, among=(1, 2))
    cluster.ask(1, B)
    cluster.exchange(among=(1, 2))


def old_members_decide_alone(protocol: type[Raft]) -> None:
    """All of 1, 2, 3, 4 have C_old,new, and C_new is committed by 3 and 4; 1, which has it not, asks 2 for its vote."""
    cluster = joint(protocol)
    for follower in (1, 2, 3, 4):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=(0, 1, 2, 3, 4), keep=AppendEntries)
    cluster.exchange(among=(0, 3, 4))
    cluster.ask(0, A)
    cluster.exchange(among=(0, 3, 4))
    cluster.elect(1, among=(1, 2))
    cluster.ask(1, B)
    cluster.exchange(among=(1, 2))


def counted_though_it_left(protocol: type[Raft]) -> None:
    """0 leaves, and all have C_new; of what comes after it, A, 1 knows, but not 2 and 3, which are a majority."""
    cluster = Cluster(protocol, members=4)
    cluster.order(0, 1, 2, 3)
    for follower in (1, 2, 3):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=(0, 1, 2, 3), keep=AppendEntries)
    cluster.ask(0, A)
    for follower in (1, 1, 2, 3):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=(0, 1))
    cluster.elect(2, among=(2, 3))
    cluster.ask(2, B)
    cluster.exchange(among=(2, 3))


def a_change_that_was_removed(protocol: type[Raft]) -> None:
    """0 appends C_old,new, which 1 replaces: the old members alone count again."""
    cluster = joint(protocol)
    cluster.exchange(among=())
    cluster.elect(1, among=(1, 2))
    cluster.again(1)
    cluster.settle(1)
    cluster.elect(0, among=(0, 2))
    if 0 not in cluster.leaders():
        raise PropertyViolated("progress", "two of three members are a majority")


def left_by_another_leader(protocol: type[Raft]) -> None:
    """Server 0 dies when all have C_old,new; whoever leads next finds it and goes on."""
    cluster = joint(protocol)
    for follower in (1, 2, 3, 4):
        cluster.deliver(0, follower, AppendEntries)
    cluster.exchange(among=())
    cluster.elect(1, among=(1, 2, 3, 4))
    if not {3, 4} & set(cluster.leaders()):
        raise PropertyViolated("members lead", f"leaders {cluster.leaders()}")


def the_change_was_discarded(protocol: type[Raft]) -> None:
    """The change to 0, 3, 4 stands in nobody's log any more, only in the snapshots. Then 1 and 2 restart, and go on by
    themselves while 0, 3 and 4 do."""
    cluster = joint(protocol, snapshot_every=2)
    cluster.exchange()
    cluster.ask(0, C, D)
    cluster.exchange()
    cluster.settle(0)
    assert cluster.replica(1).snapshot[0].place > 3
    for server in (1, 2):
        cluster.crash(server)
    cluster.ask(0, A)
    cluster.exchange(among=(0, 3, 4))
    cluster.elect(1, among=(1, 2))
    cluster.ask(1, B)
    cluster.exchange(among=(1, 2))


def a_snapshot_before_a_change_that_was_removed(protocol: type[Raft]) -> None:
    """A snapshot of what is before it is ready when 0 has C_old,new, which 1 replaces; then 0 restarts."""
    cluster = Cluster(protocol, snapshot_every=2)
    cluster.ask(0, A)
    cluster.exchange(keep=Snapshot)
    cluster.order(0, 0, 3, 4)
    cluster.deliver(0, 0, Snapshot)
    cluster.exchange(among=())
    cluster.elect(1, among=(1, 2))
    cluster.again(1)
    assert cluster.members(0) == ["012"] and cluster.replica(0).snapshot is not None
    cluster.crash(0)
    cluster.elect(0, among=(0, 2))
    if 0 not in cluster.leaders():
        raise PropertyViolated("progress", "two of three members are a majority")


def a_learner_is_cut_off(protocol: type[Raft]) -> None:
    """Server 3 is a spare one; it hears nothing for a while."""
    cluster = Cluster(protocol)
    cluster.elect(3, among=(3, 4))
    cluster.fire(0, "heartbeat")
    cluster.exchange()
    if cluster.leaders() != [0]:
        raise PropertyViolated("a healthy leader stays", f"leaders {cluster.leaders()}")


def a_leader_that_leaves(protocol: type[Raft]) -> None:
    """Server 0 is no member of 1, 2, 3, all of which live."""
    cluster = Cluster(protocol, members=4)
    cluster.order(0, 1, 2, 3)
    cluster.exchange()
    if 0 in cluster.leaders():
        raise PropertyViolated("members lead", f"leaders {cluster.leaders()}")


@pytest.mark.parametrize(
    ("schedule", "mutant"),
    [
        (new_members_decide_alone, mutants.CountsNewMembersOnly),
        (old_members_decide_alone, mutants.CountsOldMembersOnly),
        (new_members_decide_alone, mutants.ChangesInOneStep),
        (counted_though_it_left, mutants.CountsItselfAsMember),
        (a_change_that_was_removed, mutants.KeepsRemovedMembers),
        (new_members_decide_alone, mutants.LeavesTheJointAtOnce),
        (left_by_another_leader, mutants.StaysInTheJoint),
        (the_change_was_discarded, mutants.SnapshotsWithoutMembers),
        (a_snapshot_before_a_change_that_was_removed, mutants.SnapshotsWithLaterMembers),
        (a_learner_is_cut_off, mutants.LearnersStand),
        (a_leader_that_leaves, mutants.StaysInOffice),
    ],
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Callable[[Any], None], mutant: Any) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) is not None


def test_spare_servers_replace_members_under_load() -> None:
    """Of five servers three are members. Spares replace two of them, the leader among them, while clients go on."""
    changes = ["change-members:leader@3,members=p0+p3+p4", "change-members:leader@5,members=p2+p3+p4"]
    world = loaded(
        "raft", [*changes, "crash:p1@4", "crash:p0@7"], options={"first_members": 3}, client_timeout_ms=700.0
    )
    result, _ = judged("run", world, lambda: False)
    assert {check.verdict for check in result.checks} == {"holds"}
    assert [entry.kind for entry in world.fault_log] == ["change-members", "crash", "change-members", "crash"]
    leaders = [who for _, who in world.elections]
    assert leaders[0] == 0 and leaders[-1] in (2, 3, 4)
    assert (world.operations.column("answered_ns") > 0).all()
    assert [machine.replica.members for machine in world.machines[2:]] == [(0b11100,)] * 3


def test_random_schedules_full_of_changes_violate_nothing() -> None:
    """Every other one is calm enough for many changes to come to an end."""
    protocol, total = find_protocol("raft"), Summary()
    for seed in range(200):
        random = Random(seed)
        size = random.choice([3, 4, 5])
        settings: dict[str, Any] = {} if random.random() < 0.6 else dict(PLAIN)
        settings["snapshot_every"] = random.choice([0, 0, 3, 9])
        settings["first_members"] = random.choice([0, 0, 3])
        settings["reads"] = random.choice(["log", "index"])
        faults = msgspec.structs.replace(
            Faults.drawn(random, size), order=random.choice([0.01, 0.03, 0.08]), damage=random.choice([0.0, 0.0, 0.5])
        )
        if seed % 2:
            faults = Faults(order=0.03, timer=0.04, crash=0.0, sync=0.2, partition=0.0, drop=0.0)
        total.add(Scheduler(protocol, make_options(protocol, settings, size), size, seed, faults=faults).run())
    assert total.notes["members_changed"] > 40
