"""EPaxos' reads by a quorum: no instance, nothing on a disk, and never a stale value."""

from __future__ import annotations

import pytest
from epaxos_mutants import QueuedIsUnknown, ReadsAskNobody, ReadsAtOnce, ReadsForgetTheirLife
from epaxos_table import Table, get, put

from consensus_bench.contract.steps import Deliver
from consensus_bench.exploration import Faults, Load, run_seeds
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import Accept, AcceptOk, Commit, PreAccept, PreAcceptReply, ReadQuery, ReadReply


def test_a_read_takes_one_round_trip_and_no_instance_and_no_write_depends_on_it() -> None:
    table = Table(3, reads="quorum")
    table.request(0, put(1))
    table.settle()
    disks = [dict(disk) for disk in table.disks]
    table.request(2, get(2))
    assert not table.looked_up
    table.deliver(ReadQuery, 2, 1)
    table.deliver(ReadReply, 1, 2)
    assert table.looked_up == [(2, get(2), 1)]
    assert table.disks == disks
    table.request(1, put(3))
    assert table.under_way(PreAccept, 1)[0].deps == (0, -1, -1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", [EPaxos, ReadsAskNobody, ReadsAtOnce])
def test_a_write_that_was_answered_elsewhere_is_waited_for(protocol: type[EPaxos]) -> None:
    """2 has not heard of the write, which 0 has answered."""
    table = Table(3, protocol, reads="quorum")
    table.request(0, put(1))
    table.settle(keep=lambda s, t, m: t == 2)
    assert (0, put(1)) in table.answers
    table.request(2, get(2))
    table.settle(keep=lambda s, t, m: not isinstance(m, (ReadQuery, ReadReply)))
    if protocol is not EPaxos:
        assert table.looked_up == [(2, get(2), None)], "stale"
        return
    assert not table.looked_up
    table.settle()
    assert table.looked_up == [(2, get(2), 1)]


def test_a_write_that_was_only_begun_and_became_a_noop_is_not_waited_for_any_longer() -> None:
    table = Table(3, reads="quorum")
    table.request(1, put(5))
    table.deliver(PreAccept, 1, 2)
    table.crash(1)
    table.drop()
    table.request(2, get(2))
    table.settle()
    assert not table.looked_up
    table.pass_time(sweeps=6)
    assert len(table.looked_up) == 1 and table.looked_up[0][2] in (None, 5)


@pytest.mark.parametrize("protocol", [EPaxos, ReadsForgetTheirLife])
def test_questions_that_were_lost_are_asked_again_and_old_answers_count_for_nothing(protocol: type[EPaxos]) -> None:
    table = Table(3, protocol, reads="quorum")
    table.request(2, get(2))
    old = table.under_way(ReadQuery, 2, 0)[0]
    table.drop()
    table.request(2, get(2))
    assert not table.messages, "it is under way already"
    replica = table.replicas[2]
    for _ in range(replica.retry_ticks - 1):
        table.timer(2, "tick")
        assert not table.under_way(ReadQuery, 2, 0), "the answers may be under way as long"
    table.timer(2, "tick")
    assert table.under_way(ReadQuery, 2, 0) == [old]
    table.crash(2)
    table.clocks_ns[2] += 1
    table.restart(2)
    table.request(2, get(3))
    table.feed(2, Deliver(0, ReadReply(old.life, old.round, (-1,) * 3)))  # type: ignore[attr-defined]
    assert bool(table.looked_up) == (protocol is not EPaxos)
    table.settle()
    assert table.looked_up == [(2, get(3), None)]


def test_a_write_that_its_leader_voted_for_out_of_turn_is_waited_for() -> None:
    """With timestamp-ordered queueing 0 has its own write in the queue when 1 recovers it, with 0's vote. 1 answers the
    client, who had asked there too. 2's read asks 0, whose queue is still waiting for its clock."""
    for protocol in (EPaxos, QueuedIsUnknown):
        table = Table(3, protocol, rules="sosp13", toq=True, reads="quorum")
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.timer(1, "open")
        table.request(1, put(1))
        table.drop()
        table.take_over(1, (0, 0), 0)
        table.settle(keep=lambda s, t, m: t == 2 or isinstance(m, Commit))
        assert table.answers == [(1, put(1))]
        table.request(2, get(2))
        table.settle(keep=lambda s, t, m: not isinstance(m, (ReadQuery, ReadReply)))
        assert table.looked_up == ([] if protocol is EPaxos else [(2, get(2), None)]), "stale"


def test_a_read_that_came_during_a_repair_is_answered_after_it_and_takes_no_instance() -> None:
    table = Table(3, reads="quorum")
    table.request(0, put(1))
    table.settle()
    table.lose_disk(1)
    for _ in range(2):
        table.request(1, get(2))
    table.pass_time(sweeps=4)
    assert not table.replicas[1].forgetful
    assert table.looked_up == [(1, get(2), 1)] and (1, get(2)) in table.answers
    assert table.replicas[1].next == 0 and not table.replicas[1].live


@pytest.mark.parametrize("rules", ["star", "sosp13"])
def test_random_schedules_with_reads_apart(rules: str) -> None:
    faults = Faults(timer=0.15, late=0.1, crash=0.03, restart=0.08, sync=0.15, steps=500, damage=0.3)
    summary = run_seeds(
        EPaxos, range(6), settings={"rules": rules, "reads": "quorum"}, faults=faults, load=Load(reads=0.5, keys=2)
    )
    assert summary.answers


def test_a_slow_write_is_seen_by_a_read_that_begins_after_another_read_saw_it() -> None:
    """0 has decided and read it; 1 has accepted it. 2's read asks 1 and waits."""
    table = Table(3, reads="quorum")
    table.request(1, put(8))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptReply, 1, 0)
    table.deliver(Accept, 0, 1)
    table.deliver(AcceptOk, 1, 0)
    table.drop(PreAccept, PreAcceptReply)
    assert table.under_way(Commit, 0)
    table.request(2, get(2))
    table.deliver(ReadQuery, 2, 1)
    table.deliver(ReadReply, 1, 2)
    assert not table.looked_up
    table.deliver(Commit, 0)
    table.pass_time(sweeps=14)
    assert len(table.looked_up) == 1 and table.looked_up[0][2] in (1, 8)
