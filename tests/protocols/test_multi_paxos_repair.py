"""Multi-Paxos with damaged disks: what was acknowledged and cannot be read is not treated as never written."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import pytest
from fault_worlds import loaded
from paxos_network import Network, put, violated

from consensus_bench.contract import CORRUPT, LOST, Cluster, Replica
from consensus_bench.contract.context import BROADCAST_UNSYNCED, PERSIST
from consensus_bench.contract.steps import Deliver, Recover, Request, Timer, step
from consensus_bench.exploration import Faults, run_seeds
from consensus_bench.simulation.workload import Workload
from protocols import multi_paxos_repair
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Heartbeat,
    MultiPaxosOptions,
    Prepare,
    Promise,
    Recall,
    Recalled,
)
from protocols.slots import CHOSEN

A, B, C = (put(1, client=client) for client in range(1, 4))
LOST_DISK = {LOST: True}


def lose(network: Network, me: int, *keys: Any) -> None:
    """The process dies; ``keys`` cannot be read any more when it starts again, or without any, everything is lost."""
    network.world.crash(me)
    network.frozen.discard(me)
    disk = network.world.servers[me].disk
    if keys:
        disk.update(dict.fromkeys(keys, CORRUPT))
    else:
        disk.clear()
        disk[LOST] = True
    network.world.restart(me)
    network._sync()


def restarted(
    disk: dict[Any, Any],
    size: int = 3,
    clock_ns: int = 7,
    protocol: type[MultiPaxos] = MultiPaxos,
    **options: Any,
) -> MultiPaxos:
    """Replica 1, started again from that disk."""
    paxos = protocol(1, Cluster(size), MultiPaxosOptions(**options))
    step(paxos, Recover(disk), clock_ns)
    return paxos


def sent(effects: list[Any], kind: type) -> list[Any]:
    return [(a, b) for tag, a, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def recalled(ballot: tuple[int, int], leads: bool = False, *accepted: Any, life: int = 7) -> Recalled:
    return Recalled(life, ballot, leads, accepted, 1)


# --- out of quorums ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", [LOST_DISK, {"promised": CORRUPT, 1: ((1, 0), A)}])
def test_a_forgetful_replica_neither_votes_nor_promises_nor_campaigns_nor_teaches(disk: dict[Any, Any]) -> None:
    paxos = restarted(disk)
    for message in (Prepare((5, 2), 1), Accept((5, 2), 1, (B,), 1), Heartbeat((5, 2), 1)):
        effects = step(paxos, Deliver(2, message))
        assert not sent(effects, Promise)
        assert not sent(effects, Accepted)
        assert not [effect for effect in effects if effect[0] == PERSIST], "a promise written now would hide the loss"
    assert not sent(step(paxos, Timer("election")), Prepare)
    assert paxos.role == "follower"
    assert step(paxos, Deliver(2, Recall(9, (0, 0), 1))) == []


def test_each_answer_brings_forth_questions_once() -> None:
    """Answers of before, which are under way in numbers, would each bring forth as many questions as there are
    replicas: more and more of them, until nothing else arrives. A lost question is asked again at the next tick."""
    paxos = restarted(LOST_DISK)
    assert not sent(step(paxos, Deliver(0, recalled((3, 0)))), Recall)
    assert sent(step(paxos, Deliver(2, recalled((2, 2)))), Recall) == [((2,), Recall(7, (3, 0), 1))]
    for _ in range(3):
        assert not sent(step(paxos, Deliver(2, recalled((2, 2)))), Recall)
    assert sent(step(paxos, Deliver(2, recalled((4, 2)))), Recall) == [((0,), Recall(7, (4, 2), 1))]
    assert sent(step(paxos, Timer("retry")), Recall) == [((0,), Recall(7, (4, 2), 1))]
    mutant = restarted(LOST_DISK, protocol=mutants.AsksAtEveryAnswer)
    for answer in (Deliver(0, recalled((3, 0))), *[Deliver(2, recalled((2, 2)))] * 3):
        asked = sent(step(mutant, answer), Recall)
    assert asked


def test_a_forgetful_replica_passes_requests_on_and_learns_what_is_chosen() -> None:
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    network.ask(0, A)
    network.exchange()
    lose(network, 1)
    network.fire(0, "heartbeat")
    network.exchange(among={0, 1})
    network.ask(1, B)
    network.exchange()
    network.fire(0, "heartbeat")
    network.exchange()
    assert (0, B) in network.answers
    assert network.replica(1).committed == 3


def test_a_replica_that_cannot_read_a_slot_reports_only_above_it_and_still_votes() -> None:
    disk = {"promised": (1, 0), 1: ((1, 0), A), 2: CORRUPT}
    paxos = restarted(disk)
    assert not sent(step(paxos, Deliver(2, Prepare((2, 2), 1))), Promise)
    assert sent(step(paxos, Deliver(2, Prepare((2, 2), 3))), Promise) == [(2, Promise((2, 2), (), 3))]
    assert sent(step(paxos, Deliver(2, Accept((2, 2), 2, (B,), 2))), Accepted)
    assert sent(step(paxos, Deliver(0, Prepare((3, 0), 1))), Promise), "an acceptance replaces what cannot be read"


def test_what_is_chosen_above_a_slot_that_cannot_be_read_is_executed_after_it() -> None:
    paxos = restarted({"promised": (1, 0), "committed": 4, 1: ((1, 0), A), 2: CORRUPT, 3: ((1, 0), C)})
    assert paxos.committed == 2
    step(paxos, Deliver(0, recalled((1, 0), True, (2, CHOSEN, B), (3, CHOSEN, C))))
    assert paxos.committed == 4


# --- and back ---------------------------------------------------------------------------------------------------------


def test_it_rejoins_without_disturbing_a_leader_that_all_follow() -> None:
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    network.ask(0, A)
    network.exchange()
    lose(network, 1)
    network.exchange()
    assert not network.replica(1).forgetful
    assert network.replica(1).promised == network.replica(0).promised == (1, 0)
    assert network.replica(0).role == "leader"
    assert LOST not in network.world.servers[1].disk
    network.crash(1)
    assert not network.replica(1).forgetful


def test_it_waits_for_all_others() -> None:
    network = Network(MultiPaxos, size=5, first_leader=0)
    network.exchange()
    lose(network, 1)
    network.exchange(among={0, 1, 2, 3})
    assert network.replica(1).forgetful
    network.fire(1, "retry")
    network.exchange()
    assert not network.replica(1).forgetful


def test_whoever_has_promised_less_raises_its_promise_first() -> None:
    paxos = restarted(LOST_DISK)
    step(paxos, Deliver(0, recalled((1, 0), True)))
    effects = step(paxos, Deliver(2, recalled((3, 2), True)))
    assert sent(effects, Recall) == [((0,), Recall(7, (3, 2), 1))]
    assert paxos.forgetful
    effects = step(paxos, Deliver(0, recalled((3, 2), False, (1, (1, 0), A))))
    assert {(PERSIST, "promised", (3, 2)), (PERSIST, 1, ((1, 0), A))} <= set(effects)
    assert not paxos.forgetful


def test_without_a_leader_it_raises_a_fence() -> None:
    paxos = restarted(LOST_DISK)
    step(paxos, Deliver(0, recalled((1, 0))))
    assert sent(step(paxos, Deliver(2, recalled((1, 0)))), Recall) == [((0, 2), Recall(7, (2, 1), 1))]
    step(paxos, Deliver(0, recalled((2, 1))))
    step(paxos, Deliver(2, recalled((2, 1), False, (1, (0, 2), A))))
    assert (paxos.forgetful, paxos.promised) == (False, (2, 1))
    assert sent(step(paxos, Timer("election")), Prepare)[0][1].ballot == (3, 1), "nothing is proposed at the fence"


def test_it_holds_the_reported_value_of_the_highest_ballot() -> None:
    paxos = restarted({"promised": CORRUPT, 1: ((1, 0), A), 2: CORRUPT})
    step(paxos, Deliver(0, recalled((4, 2), False, (1, (2, 0), B), (2, (2, 0), C))))
    effects = step(paxos, Deliver(2, recalled((4, 2), True, (1, (1, 2), A), (2, (3, 2), A))))
    assert [effect[1:] for effect in effects if effect[0] == PERSIST] == [
        (1, ((2, 0), B)), (2, ((3, 2), A)), ("promised", (4, 2)),
    ]  # fmt: skip


def test_answers_to_an_earlier_life_do_not_count() -> None:
    for protocol, counts in ((MultiPaxos, False), (mutants.CountsAnswersToAnotherRecall, True)):
        paxos = restarted(LOST_DISK, clock_ns=8, protocol=protocol)
        for source in (0, 2):
            step(paxos, Deliver(source, recalled((1, 0), True)))
        assert paxos.forgetful == (not counts)


@pytest.mark.parametrize("quorums", [(1, 3), (3, 1)])
def test_with_a_quorum_of_one_nobody_else_need_know_what_it_did(quorums: tuple[int, int]) -> None:
    paxos = restarted(LOST_DISK, phase1_quorum=quorums[0], phase2_quorum=quorums[1])
    assert not sent(step(paxos, Timer("retry")), Recall)


def test_a_long_log_is_fetched_before_it_is_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_paxos_repair, "REPORT", 100)
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    for sequence in range(1, 400):
        network.ask(0, put(sequence))
    network.exchange()
    lose(network, 1)
    network.exchange()
    assert network.world.summary.messages["Chosen"] > 0
    assert not network.replica(1).forgetful
    assert network.replica(1).committed == 400


def test_it_rejoins_while_a_leader_goes_on_deciding() -> None:
    """Some 400 slots are decided in each round trip: whoever answers must not insist on teaching all of them first."""
    workload = Workload(rate=5000.0, conflict=0.0)
    world = loaded("multi-paxos", ["crash:p4@1+0.2,disk=lose"], workload=workload, duration_s=2.5)
    forgetful: list[bool] = []
    watch = world.env.timeout(2_000_000_000)
    watch.callbacks.append(lambda event: forgetful.append(world.machines[4].replica.forgetful))
    world.run()
    world.verifier.finish()
    assert forgetful == [False]
    assert len(world.elections) == 1


# --- schedules that break the rule when it is missing, and hold when it is there --------------------------------------


def forgotten_vote(protocol: type[Replica]) -> Network:
    """1 accepts A from leader 0, whose own vote and the count come later, and loses its disk; it can ask 2 only. Then 1
    and 2 decide without 0, if they may."""
    network = Network(protocol, first_leader=0)
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    vote = network.under_way(Accepted)
    network.world.in_flight.clear()
    lose(network, 1)
    network.exchange(among={1, 2})
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, B)
    network.exchange(among={1, 2})
    network.frozen.discard(0)
    network._sync()
    network.world.in_flight += vote
    network.exchange(among={0, 1})
    assert len(network.answers) <= 1
    return network


def unreadable_vote(protocol: type[Replica]) -> Network:
    """The same, but only the slot of the vote cannot be read."""
    network = Network(protocol, first_leader=0)
    network.exchange()
    network.ask(0, A)
    network.exchange(among={0, 1})
    lose(network, 1, 1)
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, B)
    network.exchange(among={1, 2})
    return network


def vote_after_the_answer(protocol: type[Replica]) -> Network:
    """Five replicas. 0 leads; 1 accepts its A, and 2 and 3 have it under way when 1 loses its disk and asks all. 0 and
    4 have promised the same as they. Then 2 and 3 vote, 0 tells them that A is chosen, and dies without it on its disk.
    What 0 answers after its restart does not have it."""
    network = Network(protocol, size=5, first_leader=0)
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    lose(network, 1)
    for me in (2, 3, 4):
        network.deliver(1, me, Recall)
        network.deliver(me, 1, Recalled)
    for me in (2, 3):
        network.deliver(0, me, Accept)
    for me in (1, 2, 3):
        network.deliver(me, 0, Accepted)
    network.fire(0, "heartbeat")
    network.deliver(0, 2, Heartbeat)
    network.crash(0)
    network.deliver(1, 0, Recall)
    network.deliver(0, 1, Recalled)
    network.exchange(among={1})
    network.fire(4, "election")
    network.exchange(among={0, 1, 4})
    network.ask(4, B)
    network.exchange(among={0, 1, 4})
    return network


def asked_of_a_lower_promise(protocol: type[Replica]) -> Network:
    """Five replicas. 1 accepts A from leader 0 and loses its disk. 2 and 3 answer before they accept A, and 4, which
    leads by then, as the leader of a higher ballot; 0 crashes, its vote lost, when it has told 2 that A is chosen."""
    network = Network(protocol, size=5, first_leader=0)
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    lose(network, 1)
    for me in (2, 3):
        network.deliver(1, me, Recall)
        network.deliver(me, 1, Recalled)
    for me in (2, 3):
        network.deliver(0, me, Accept)
    for me in (1, 2, 3):
        network.deliver(me, 0, Accepted)
    network.fire(0, "heartbeat")
    network.deliver(0, 2, Heartbeat)
    network.crash(0)
    network.world.in_flight = [p for p in network.world.in_flight if type(p[2]) is Recall]
    network.fire(4, "election")
    network.deliver(4, 4, Prepare)
    network.deliver(1, 4, Recall)
    network.deliver(4, 1, Recalled)
    network.deliver(1, 0, Recall)
    network.deliver(0, 1, Recalled)
    network.exchange(among={0, 1, 4})
    network.ask(4, B)
    network.exchange(among={0, 1, 4})
    return network


def vote_not_held(protocol: type[Replica]) -> Network:
    """1 accepts A from leader 0, which counts that vote only after 1 has lost its disk and rejoined."""
    network = Network(protocol, first_leader=0)
    network.exchange()
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    network.drop(0, 2, Accept)
    lose(network, 1)
    network.exchange(keep=Accepted)
    network.exchange(among={0, 1})
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, B)
    network.exchange(among={1, 2})
    assert network.answers[0] == (0, A)
    assert network.answers[-1] == (2, B)
    return network


SCHEDULES: list[tuple[Any, type[Replica], str]] = [
    (forgotten_vote, mutants.ForgetsItsLoss, "agreement"),
    (forgotten_vote, mutants.RecallsFromAMajority, "agreement"),
    (unreadable_vote, mutants.TakesDamageForNothing, "agreement"),
    (vote_after_the_answer, mutants.NeedsNoFence, "agreement"),
    (asked_of_a_lower_promise, mutants.RecallsLowerPromises, "agreement"),
    (vote_not_held, mutants.RejoinsEmpty, "agreement"),
]


@pytest.mark.parametrize(
    ("schedule", "mutant", "falls"), SCHEDULES, ids=[mutant.__name__ for _, mutant, _ in SCHEDULES]
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Any, mutant: type[Replica], falls: str) -> None:
    assert violated(schedule, MultiPaxos) is None
    assert violated(schedule, mutant) == falls


def test_a_promise_to_an_earlier_life_that_reports_fewer_slots_does_not_count() -> None:
    """1 comes back with all that it can know; what its old Prepare asked for, from slot 5 on, is not enough."""
    for protocol, role in ((mutants.CountsShortPromises, "leader"), (MultiPaxos, "candidate")):
        paxos = restarted(LOST_DISK, protocol=protocol)
        for source in (0, 2):
            step(paxos, Deliver(source, recalled((1, 0), source == 0)))
        step(paxos, Timer("election"))
        assert paxos.promised == (2, 1)
        step(paxos, Deliver(1, Promise((2, 1), (), 1)))
        step(paxos, Deliver(2, Promise((2, 1), (), 5)))
        assert paxos.role == role
    step(paxos, Deliver(2, Promise((2, 1), ((4, (1, 0), A),), 1)))
    assert paxos.role == "leader"
    assert step(paxos, Request(B))


@pytest.mark.parametrize("size", [3, 5])
def test_random_schedules_with_damaged_disks(size: int) -> None:
    faults = Faults(damage=0.5, crash=0.006, restart=0.05, timer=0.08, early=0.5, sync=0.15, late=0.03, steps=800)
    happened = run_seeds(
        "multi-paxos", range(12), size=size, settings={"snapshot_every": 5 * (size - 3)}, faults=faults
    )
    assert happened.notes["repaired"] >= 3
