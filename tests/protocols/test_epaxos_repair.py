"""EPaxos with a damaged disk: what was acknowledged counts, though the replica that acknowledged it forgot it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from epaxos_mutants import (
    AsksAMajority,
    AsksLeadersAlone,
    ForgetsSessions,
    PutsUpNoFence,
    RejoinsAtOnce,
    ReusesNumbers,
    SkipsNoNumber,
    SkipsWhatItCannotRead,
)
from epaxos_table import Table, get, put

from consensus_bench.contract import CORRUPT, LOST, NOOP, Snapshot
from consensus_bench.contract.steps import Deliver
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import (
    Accept,
    Commit,
    Committed,
    Install,
    PreAccept,
    PreAcceptOk,
    Recall,
    Recalled,
    Recover,
    Refetch,
    Refused,
    Validate,
)

NONE3 = (-1,) * 3


def repaired(table: Table, r: int) -> bool:
    """Whether ``r`` is a voter again once time has passed."""
    for _ in range(12):
        table.pass_time()
        if not table.replicas[r].forgetful:
            return True
    return False


def lose_and_repair(table: Table, r: int) -> None:
    """As fast as can be."""
    table.lose_disk(r)
    for _ in range(6):
        table.timer(r, "tick")
        table.settle()
    assert not table.replicas[r].forgetful


def forgotten_vote(protocol: type[EPaxos], rules: str, lost: bool) -> Table:
    """0 committed on the fast path with the vote of 1, and only 0 knows. 1 forgets its vote; 0 is down."""
    table = Table(3, protocol, rules=rules)
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptOk, 1, 0)
    assert table.decision(0, (0, 0)) == (put(1), NONE3)
    table.crash(0, 1)
    table.drop()
    if lost:
        table.lose_disk(1)
    else:
        table.disks[1][0, 0] = CORRUPT
        table.restart(1)
    for _ in range(3):
        table.timer(1, "tick")
        table.settle()
    return table


@pytest.mark.parametrize("rules", ["star", "sosp13"])
@pytest.mark.parametrize(("protocol", "lost"), [
    (EPaxos, True), (EPaxos, False), (RejoinsAtOnce, True), (AsksAMajority, True), (SkipsWhatItCannotRead, False),
])  # fmt: skip
def test_a_vote_that_was_forgotten_is_not_contradicted(protocol: type[EPaxos], lost: bool, rules: str) -> None:
    """2 recovers the instance with 1's help, if 1 gives it."""
    table = forgotten_vote(protocol, rules, lost)
    table.take_over(2, (0, 0))
    table.feed(1, Deliver(2, Recover((0, 0), (1, 2))))
    table.settle()
    assert table.decision(2, (0, 0)) == (None if protocol is EPaxos else (NOOP, NONE3))
    table.restart(0)
    if protocol is EPaxos:
        assert repaired(table, 1)
        table.pass_time(sweeps=8)
        assert [committed[0, 0] for committed in table.committed] == [put(1)] * 3
        assert ("repaired", None) in table.notes


def test_a_forgetful_replica_says_nothing_but_what_its_repair_needs() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.drop()
    table.lose_disk(1)
    messages = [
        PreAccept((0, 0), (0, 0), put(1), NONE3, 0, 7, 0),
        Accept((0, 0), (0, 0), put(1), NONE3, 0),
        Recover((0, 0), (1, 2)),
        Validate((0, 0), (1, 2), put(1), NONE3),
        Recall(5, 0, (0, 2)),
    ]
    for message in messages:
        assert table.feed(1, Deliver(2, message)) == []
    table.request(1, put(2))
    for _ in range(5):
        table.timer(1, "tick")
        table.timer(1, "sweep")
    assert {type(message) for _, _, message in table.messages} == {Recall}
    decided = Commit((0, 0), put(1), NONE3, 0)
    table.feed(1, Deliver(0, decided))
    table.drop()
    table.feed(1, Deliver(2, Recover((0, 0), (1, 2))))
    assert table.messages == [(1, 2, decided)], "a decision is one, whoever passes it on"


def test_what_waited_for_the_repair_is_led_then_and_under_a_new_number() -> None:
    table = Table(3)
    for sequence in (1, 2):
        table.request(1, put(1, sequence=sequence))
        table.settle()
    table.lose_disk(1)
    table.request(1, put(1, sequence=3))
    assert repaired(table, 1)
    table.settle()
    assert table.committed[1][1, 2] == put(1, sequence=3)
    assert (1, put(1, sequence=3)) in table.answers
    assert all(executed == table.executed[0] for executed in table.executed)


@pytest.mark.parametrize("protocol", [EPaxos, ReusesNumbers])
def test_no_number_is_used_twice(protocol: type[EPaxos]) -> None:
    """The others know (1, 0), and it is on its way nowhere else."""
    table = Table(3, protocol)
    table.request(1, put(1))
    table.settle()
    table.lose_disk(1)
    assert repaired(table, 1)
    with nullcontext() if protocol is EPaxos else pytest.raises(AssertionError, match="both open and committed"):
        table.request(1, put(2))
        table.settle()
        assert table.committed[0][1, 1] == put(2)


@pytest.mark.parametrize("protocol", [EPaxos, PutsUpNoFence])
def test_what_was_under_way_when_the_disk_was_lost_is_refused(protocol: type[EPaxos]) -> None:
    """1 led (1, 0), and nobody had heard of it. Its number is used again, and then the old message arrives at 0."""
    table = Table(3, protocol)
    table.request(1, put(1))
    old = table.under_way(PreAccept, 1, 0)[0]
    table.drop()
    table.lose_disk(1)
    assert repaired(table, 1)
    table.request(1, put(2))
    new = table.under_way(PreAccept, 1, 2)[0]
    assert new.instance == old.instance and new.ballot > old.ballot  # type: ignore[attr-defined]
    table.feed(0, Deliver(1, old))
    assert bool(table.under_way(Refused, 0)) == (protocol is EPaxos)
    table.drop(PreAcceptOk)
    table.deliver(PreAccept, 1)
    table.deliver(PreAcceptOk, 2, 1)
    assert table.decision(1, (1, 0)) == (put(2), NONE3)
    table.crash(1)
    table.drop()
    table.take_over(2, (1, 0), 0)
    table.settle()
    decided = table.decision(2, (1, 0))
    assert decided is not None and (decided[0] == put(2)) == (protocol is EPaxos)


@pytest.mark.parametrize("protocol", [EPaxos, SkipsNoNumber])
def test_a_number_that_others_have_given_up_is_skipped(protocol: type[EPaxos]) -> None:
    """0 hears of (1, 0) by a message that it refuses, and recovers it before 1 begins it again."""
    table = Table(3, protocol)
    table.request(1, put(1))
    old = table.under_way(PreAccept, 1, 0)[0]
    table.drop()
    table.lose_disk(1)
    assert repaired(table, 1)
    table.feed(0, Deliver(1, old))
    table.pass_time(sweeps=14)
    assert table.committed[1] == {(1, 0): NOOP}
    with nullcontext() if protocol is EPaxos else pytest.raises(AssertionError, match="both open and committed"):
        table.request(1, put(2))
        table.settle()
        assert table.committed[0][1, 1] == put(2)


@pytest.mark.parametrize("protocol", [EPaxos, AsksLeadersAlone])
def test_what_was_given_up_in_the_row_of_one_that_lost_its_disk_is_known_to_the_next_that_does(
    protocol: type[EPaxos],
) -> None:
    """Of (1, 0) nobody has heard but as a dependency of 0's command, which 1 had pre-accepted before it lost its disk.
    Before 1 begins it again 0 gives it up, with the vote of 2, and tells nobody. Then 2 loses its disk as well."""
    table = Table(3, protocol)
    table.request(1, put(1))
    table.drop()
    table.request(0, put(2))
    table.deliver(PreAccept, 0, 1)
    table.settle(keep=lambda s, t, m: t == 1)
    assert table.decision(2, (0, 0)) == (put(2), (-1, 0, -1))
    lose_and_repair(table, 1)
    table.take_over(0, (1, 0), 2)
    table.settle(keep=lambda s, t, m: t == 1 or isinstance(m, Commit))
    assert table.decision(0, (1, 0)) == (NOOP, NONE3)
    table.drop()
    lose_and_repair(table, 2)
    table.request(1, put(3))
    table.settle(keep=lambda s, t, m: 0 in (s, t))
    assert (table.decision(1, (1, 0)) in (None, (NOOP, NONE3))) == (protocol is EPaxos)


def test_a_second_loss_puts_up_a_second_fence_and_every_replica_knows_all_of_them() -> None:
    table = Table(3)
    for loss in range(1, 4):
        table.lose_disk(1)
        assert repaired(table, 1)
        table.request(1, put(loss))
        table.settle()
        for replica in table.replicas:
            assert len(replica.fences[1]) == loss
        ballots = [ballot for _, ballot in table.replicas[0].fences[1]]
        assert ballots == sorted(set(ballots))
    table.lose_disk(0)
    assert repaired(table, 0)
    assert table.replicas[0].fences[1] == table.replicas[2].fences[1], "1 has told it"
    table.crash(2)
    table.restart(2)
    assert table.replicas[2].fences == table.replicas[1].fences, "they are on disk"


def test_answers_to_an_earlier_life_count_for_nothing() -> None:
    table = Table(3)
    table.lose_disk(1)
    table.timer(1, "tick")
    table.deliver(Recall, 1)
    early = table.under_way(Recalled)
    assert len(early) == 2
    table.lose_disk(1)
    for source, message in zip((0, 2), early, strict=True):
        table.feed(1, Deliver(source, message))
    assert not table.replicas[1].recalled


def forgotten_by_all(size: int = 3, protocol: type[EPaxos] = EPaxos) -> Table:
    """Twelve commands are executed by all, and nobody holds them any more; two more are executed, and held."""
    table = Table(size, protocol)
    for sequence in range(1, 13):
        table.request(sequence % size, put(sequence, key=f"k{sequence % 4}"))
        table.settle()
    table.pass_time(sweeps=2)
    assert not any(replica.log[row] for replica in table.replicas for row in range(size))
    for sequence in (13, 14):
        table.request(0, put(sequence, key=f"k{sequence % 4}"))
        table.settle()
    return table


def test_what_all_have_forgotten_comes_as_a_snapshot_and_the_rest_as_decisions() -> None:
    table = forgotten_by_all()
    table.lose_disk(1)
    assert repaired(table, 1)
    assert table.stores[1] == table.stores[0] and len(table.stores[1]) == 4
    assert table.replicas[1].log[0].keys() == table.replicas[0].log[0].keys() != set()
    interfering = table.replicas[0].index.conflicts(put(15, key="k1"))
    table.request(1, put(15, key="k1"))
    assert table.under_way(PreAccept, 1)[0].deps == interfering  # type: ignore[attr-defined]
    table.settle()
    for restarted in (1, 1):
        table.crash(restarted)
        table.restart(restarted)
        assert not table.replicas[1].forgetful
        assert table.stores[1] == table.stores[0]
    table.request(1, get(16, key="k1"))
    table.settle()
    assert (1, get(16, key="k1")) in table.answers
    assert all(len(set(executed)) == len(executed) == 16 for executed in table.executed)


def test_a_snapshot_that_lacks_what_was_executed_here_is_not_installed() -> None:
    """1 learns and executes a command that 0 had not executed when it took its snapshot."""
    table = forgotten_by_all()
    table.lose_disk(1)
    table.feed(0, Deliver(1, Refetch((0, 0))))
    table.deliver(Snapshot, 0, 0)
    table.request(2, put(20, key="other"))
    table.settle(keep=lambda s, t, m: isinstance(m, Install))
    other = next(message for message in table.replicas[2].log[2].values() if message.command == put(20, key="other"))
    table.feed(1, Deliver(2, Commit(other.instance, other.command, NONE3, 0)))
    assert table.executed[1] == [put(20, key="other")]
    table.deliver(Install, 0, 1)
    assert table.executed[1] == [put(20, key="other")]
    assert repaired(table, 1) and set(table.executed[1]) == set(table.executed[0])


def test_two_that_lost_their_disks_at_once_wait_for_each_other() -> None:
    """Each may hold what the other has forgotten: nobody can tell any more, and none of the two votes."""
    table = Table(3)
    table.request(0, put(1))
    table.settle()
    table.crash(1, 2)
    table.lose_disk(1)
    table.lose_disk(2)
    assert not repaired(table, 1) and table.replicas[2].forgetful
    table.request(0, put(2))
    table.settle()
    assert (0, put(2)) not in table.answers


def test_a_command_that_only_the_damaged_disk_held_becomes_a_noop() -> None:
    table = Table(3)
    table.request(1, put(1))
    table.drop()
    table.crash(1)
    table.disks[1][1, 0] = CORRUPT
    table.restart(1)
    assert table.replicas[1].forgetful and not table.replicas[1].lost
    assert repaired(table, 1)
    assert [committed[1, 0] for committed in table.committed] == [NOOP] * 3
    assert CORRUPT not in table.disks[1].values()
    table.request(1, put(2))
    table.settle()
    assert table.committed[1][1, 1] == put(2)


def test_damaged_decisions_that_all_have_forgotten_are_covered_by_a_snapshot() -> None:
    table = forgotten_by_all()
    table.crash(1)
    table.disks[1][0, 1] = table.disks[1][2, 0] = CORRUPT
    table.restart(1)
    assert repaired(table, 1)
    assert table.stores[1] == table.stores[0]
    table.crash(1)
    table.restart(1)
    assert not table.replicas[1].forgetful and table.stores[1] == table.stores[0]


def test_a_replica_that_crashes_during_its_repair_goes_on_with_it() -> None:
    """1 has the snapshot, and not yet the decisions that it covers and not everybody has executed. One of them is a
    no-op, which 1 had pre-accepted as a command."""
    table = forgotten_by_all()
    table.request(2, put(15, key="k3"))
    table.deliver(PreAccept, 2, 1)
    table.drop()
    table.crash(1)
    table.take_over(0, (2, 4), 2)
    table.settle()
    assert table.committed[0][2, 4] == NOOP
    table.disks[1][0, 1] = CORRUPT
    table.restart(1)
    table.timer(1, "tick")
    table.settle(keep=lambda s, t, m: isinstance(m, Committed))
    assert table.replicas[1].image is not None
    for _ in range(2):
        table.crash(1)
        table.restart(1)
        assert table.replicas[1].forgetful
    assert repaired(table, 1)
    replica = table.replicas[1]
    assert replica.log[2][4].command == NOOP
    assert replica.graph.all_executed(get(20, key="k3"), replica.index.conflicts(get(20, key="k3")))
    assert table.stores[1] == table.stores[0]


def test_what_was_executed_before_a_snapshot_is_not_executed_again() -> None:
    for protocol in (EPaxos, ForgetsSessions):
        table = forgotten_by_all(protocol=protocol)
        table.lose_disk(1)
        assert repaired(table, 1)
        table.request(1, put(5, key="k1", sequence=1))
        table.settle()
        assert ((1, put(5, key="k1")) in table.answers) and (table.replicas[1].next == 5) != (protocol is EPaxos)


def test_a_disk_whose_fences_or_snapshot_cannot_be_read_is_as_good_as_lost() -> None:
    table = forgotten_by_all()
    table.lose_disk(1)
    assert repaired(table, 1)
    for key in ("image", ("fences", 1)):
        table.crash(1)
        table.disks[1][key] = CORRUPT
        table.clocks_ns[1] += 1
        table.restart(1)
        assert table.replicas[1].lost and LOST in table.disks[1]
        assert repaired(table, 1)
        assert table.stores[1] == table.stores[0] and LOST not in table.disks[1]


def test_snapshots_bound_the_disk_and_a_replica_starts_again_from_them() -> None:
    table = Table(3, snapshot_every=6)
    sequence, longest = 0, 0
    for _ in range(20):
        for _ in range(3):
            sequence += 1
            table.request(sequence % 3, put(sequence, key=f"k{sequence % 4}"))
            table.settle()
        table.pass_time()
        longest = max(longest, *map(len, table.disks))
    assert sequence == 60 and longest < 25
    before = dict(table.stores[1])
    table.crash(1)
    table.restart(1)
    table.pass_time(sweeps=2)
    assert table.stores[1] == before == table.stores[0]
    table.request(1, get(99, key="k1"))
    table.settle()
    assert (1, get(99, key="k1")) in table.answers
    assert all(set(executed) == set(table.executed[0]) for executed in table.executed)


def test_a_replica_that_was_away_catches_up_and_then_everything_is_forgotten() -> None:
    """Longer than one answer to Fetch, and with snapshots: nothing that it needs was replaced by one."""
    table = Table(3, snapshot_every=6)
    table.crash(2)
    for sequence in range(1, 61):
        table.request(sequence % 2, put(sequence, key=f"k{sequence % 4}"))
        table.settle()
        if sequence % 20 == 0:
            table.pass_time()
    assert min(len(table.disks[r]) for r in (0, 1)) >= 60, "the price of its absence"
    table.restart(2)
    table.pass_time(sweeps=12)
    assert table.stores[2] == table.stores[0] and len(table.executed[2]) == 60
    assert not any(log for replica in table.replicas for log in replica.log)
    assert max(map(len, table.disks)) < 10


def test_own_instances_are_finished_however_often_their_leader_crashes() -> None:
    """1 crashes again whenever its recovery has got one message further; its client has its answer in the end."""
    for crashes in range(8):
        table = Table(3)
        table.request(0, put(9))
        table.drop()
        table.request(1, put(1))
        table.deliver(PreAccept, 1, 2)
        for _ in range(crashes):
            table.crash(1)
            table.restart(1)
            for source, to, message in list(table.messages)[: crashes % 4]:
                table.messages.remove((source, to, message))
                table.feed(to, Deliver(source, message))
        table.settle()
        table.pass_time(sweeps=16)
        commands = [command for command in table.committed[1].values() if command.kind != "noop"]
        assert sorted(set(commands), key=str) == sorted([put(1), put(9)], key=str), f"after {crashes} crashes"
        assert (1, put(1)) in table.answers
        assert all(executed == table.executed[0] and len(executed) == 2 for executed in table.executed)
