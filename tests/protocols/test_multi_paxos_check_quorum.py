"""Multi-Paxos with check_quorum: whoever cannot get anything chosen does not go on calling itself the leader."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import pytest
from fault_worlds import loaded

from consensus_bench.contract import Cluster
from consensus_bench.contract.context import ANSWER, BROADCAST_UNSYNCED, SEND_UNSYNCED
from consensus_bench.contract.steps import Deliver, Start, Timer, step
from consensus_bench.exploration import run_seeds
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import Alive, Heartbeat, MultiPaxosOptions, Prepare, Promise


def leading(size: int = 5, **options: Any) -> MultiPaxos:
    """Replica 0, which leads at ballot (1, 0)."""
    paxos = MultiPaxos(0, Cluster(size, first_leader=0), MultiPaxosOptions(check_quorum=True, **options))
    step(paxos, Start())
    for source in range(paxos.phase1_quorum):
        step(paxos, Deliver(source, Promise((1, 0), ())))
    return paxos


@pytest.mark.parametrize(("second", "needed"), [(0, 2), (2, 1), (4, 3)])
def test_a_phase_2_quorum_must_answer_between_two_checks(second: int, needed: int) -> None:
    quorums = {"phase1_quorum": 6 - second, "phase2_quorum": second} if second else {}
    for answers in (needed, needed - 1):
        paxos = leading(**quorums)
        for source in range(1, 1 + answers):
            step(paxos, Deliver(source, Alive((1, 0))))
        step(paxos, Deliver(4, Alive((0, 1))))
        step(paxos, Timer("quorum"))
        assert (paxos.role == "leader") == (answers == needed)
        paxos.check()


def test_followers_answer_heartbeats_where_that_is_asked_for() -> None:
    for asked in (False, True):
        paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(check_quorum=asked))
        effects = step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
        assert ((SEND_UNSYNCED, 0, Alive((1, 0))) in effects) == asked


def test_whoever_stepped_down_leads_again_only_at_a_new_ballot() -> None:
    paxos = leading()
    step(paxos, Timer("quorum"))
    for source in range(5):
        assert not [effect for effect in step(paxos, Deliver(source, Promise((1, 0), ()))) if effect[0] == ANSWER]
    assert paxos.role == "follower"
    effects = step(paxos, Timer("election"))
    assert [b.ballot for tag, _, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is Prepare] == [(2, 0)]


def role_when_cut_off(protocol: str) -> str:
    """Of the first leader, p0, after it has been cut off from the others for 2.4 s."""
    roles = []
    faults = ["partition:p0|replicas@3+4"]
    world = loaded(protocol, faults, options={"check_quorum": True}, client_timeout_ms=700.0)
    watch = world.env.timeout(5_400_000_000)
    watch.callbacks.append(lambda event: roles.append(world.machines[0].replica.role))
    world.run()
    world.verifier.finish()
    return roles[0]


def test_a_leader_that_is_cut_off_steps_down() -> None:
    assert role_when_cut_off("multi-paxos") != "leader"
    for mutant in (mutants.NeverLosesItsQuorum, mutants.HearsForEver):
        assert role_when_cut_off(f"multi_paxos_mutants:{mutant.__name__}") == "leader"


@pytest.mark.parametrize("settings", [{}, {"reads": "lease"}, {"epochs": True}])
def test_random_schedules(settings: dict[str, Any]) -> None:
    happened = run_seeds("multi-paxos", range(25), settings={"check_quorum": True, **settings})
    assert happened.notes["quorum_lost"] > 0


def test_nothing_is_sent_for_it_by_default() -> None:
    kinds = {kind.__name__ for kind in MultiPaxos.messages}
    seen = run_seeds("multi-paxos", range(20)).messages
    assert set(seen) <= kinds - {"Alive", "Outdated", "Extend", "Extended", "ReadQuery", "ReadReply", "Fill", "Install"}
