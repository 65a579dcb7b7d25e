"""Multi-Paxos' reads beside the log: by a lease (Paxos Made Live, section 5.2), and by a quorum."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import numpy as np
import pytest
from fault_worlds import loaded
from paxos_network import Network, put
from test_multi_paxos_repair import lose
from worlds import MS

from consensus_bench.contract import Cluster, Command, ConfigError, Effect, Replica
from consensus_bench.contract.context import ANSWER, BROADCAST_UNSYNCED, READ
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Start, Timer, step
from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.statistics import column
from consensus_bench.exploration import Faults, ScheduleViolated, run_seeds
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import World
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Extend,
    Extended,
    Forward,
    Heartbeat,
    MultiPaxosOptions,
    Nack,
    Prepare,
    Promise,
    ReadQuery,
    ReadReply,
)

GET = Command(1, 1, "get", "x")
A, B = put(1, client=2), put(1, client=3)


def served(effects: list[Effect]) -> list[Any]:
    """Reads that were answered."""
    assert [a for tag, a, _ in effects if tag == READ] == [a for tag, a, _ in effects if tag == ANSWER]
    return [a for tag, a, _ in effects if tag == READ]


def sent(effects: list[Any], kind: type) -> list[Any]:
    return [(a, b) for tag, a, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def leader(*reported: Any, size: int = 3, now_ms: float = 0.0, **options: Any) -> MultiPaxos:
    """Replica 0, which leads at ballot (1, 0) since then. The promises reported this."""
    settings = {"reads": "lease", "clock_drift_bound": 0.25, **options}
    paxos = MultiPaxos(0, Cluster(size, (), 0), MultiPaxosOptions(**settings))
    step(paxos, Start())
    for source in range(paxos.phase1_quorum):
        step(paxos, Deliver(source, Promise((1, 0), reported)), round(now_ms * MS))
    assert paxos.role == "leader"
    return paxos


def follower(**options: Any) -> MultiPaxos:
    """Replica 1, which follows replica 0 and has granted it a lease at 100 ms."""
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(**{"reads": "lease", **options}))
    step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    assert sent(step(paxos, Deliver(0, Extend((1, 0), 1)), 100 * MS), Extended) == [(0, Extended((1, 0), 1))]
    return paxos


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_lease_counts_from_when_it_was_asked_for_and_is_shorter_by_the_bound() -> None:
    paxos = leader(now_ms=100)
    assert served(step(paxos, Request(GET), 110 * MS)) == []
    assert served(step(paxos, Deliver(1, Extended((1, 0), 1)), 150 * MS)) == [GET]
    assert served(step(paxos, Request(GET), 899 * MS)) == [GET]
    assert served(step(paxos, Request(GET), 900 * MS)) == [], "100 + 1000 / 1.25"


def test_heartbeats_renew_it() -> None:
    paxos = leader()
    assert sent(step(paxos, Timer("heartbeat"), 500 * MS), Extend) == [((1, 2), Extend((1, 0), 2))]
    step(paxos, Deliver(2, Extended((1, 0), 2)), 550 * MS)
    assert served(step(paxos, Request(GET), 1299 * MS)) == [GET]
    assert served(step(paxos, Deliver(1, Extended((1, 0), 1)), 1300 * MS)) == [], "an old grant brings nothing"
    assert served(step(paxos, Request(GET), 1300 * MS)) == []


@pytest.mark.parametrize(("first", "second", "needed"), [(0, 0, 3), (2, 4, 4), (4, 2, 2)])
def test_those_who_granted_meet_every_phase_1_quorum(first: int, second: int, needed: int) -> None:
    paxos = leader(size=5, phase1_quorum=first, phase2_quorum=second)
    step(paxos, Request(GET))
    answers = [len(served(step(paxos, Deliver(source, Extended((1, 0), 1)), MS))) for source in range(1, 5)]
    assert answers.index(1) == needed - 2, "itself counted"


def test_a_new_leader_reads_nothing_before_it_has_executed_what_it_took_over() -> None:
    paxos = leader((1, (0, 1), A))
    assert served(step(paxos, Deliver(1, Extended((1, 0), 1)))) == []
    assert served(step(paxos, Request(GET))) == []
    step(paxos, Deliver(1, Accepted((1, 0), 1)))
    effects = step(paxos, Deliver(2, Accepted((1, 0), 1)))
    assert [a for tag, a, _ in effects if tag == READ] == [GET]


def test_whoever_granted_a_lease_promises_nothing_to_others_while_it_runs() -> None:
    paxos = follower()
    assert step(paxos, Deliver(2, Prepare((2, 2), 1)), 1099 * MS) == []
    assert sent(step(paxos, Timer("election"), 1000 * MS), Prepare) == []
    assert sent(step(paxos, Deliver(2, Prepare((2, 2), 1)), 1100 * MS), Promise)


def test_the_holder_of_the_lease_may_take_a_higher_ballot() -> None:
    assert sent(step(follower(), Deliver(0, Prepare((3, 0), 1)), 200 * MS), Promise)


def test_to_hear_of_a_ballot_is_no_way_round_the_lease() -> None:
    """2 has told its ballot by a Nack: its Prepare is no repetition of one that was granted."""
    paxos = follower()
    step(paxos, Deliver(2, Nack((2, 2))), 200 * MS)
    assert not sent(step(paxos, Deliver(2, Prepare((2, 2), 1)), 300 * MS), Promise)


def test_a_restarted_replica_may_have_granted_a_lease() -> None:
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(reads="lease"))
    step(paxos, Recover({"promised": (1, 0)}), 5000 * MS)
    assert step(paxos, Deliver(2, Prepare((2, 2), 1)), 5999 * MS) == []
    assert sent(step(paxos, Deliver(2, Prepare((2, 2), 1)), 6000 * MS), Promise)


def old_leader_asks(protocol: type[Replica]) -> Network:
    """1 takes over with 2 when 0's lease has run out, and decides A. 0 asks 2 for a new one."""
    network = Network(protocol, first_leader=0, reads="lease")
    network.exchange()
    network.world.clock = lambda replica: 10_000 * MS
    network.fire(1, "election")
    network.exchange(among={1, 2})
    network.ask(1, A)
    network.exchange(among={1, 2})
    network.fire(0, "heartbeat")
    network.deliver(0, 2, Extend)
    if network.under_way(Extended):
        network.deliver(2, 0, Extended)
    network.world.in_flight.clear()
    network.ask(0, GET)
    return network


def test_an_old_leader_is_granted_no_lease() -> None:
    assert old_leader_asks(MultiPaxos).answers == [(1, A)]
    assert old_leader_asks(mutants.GrantsOldLeaders).answers == [(1, A), (0, GET)], "without A"


def forgotten_grant(protocol: type[Replica]) -> Network:
    """1 takes over from 0, which promises and has a question for a lease under way to 2. 2 grants 1 a lease and crashes
    before it has noted whom it follows; then it hears 0, grants it a lease, and is asked for a promise."""
    network = Network(protocol, first_leader=0, reads="lease", lease_ms=5000.0)
    network.exchange()
    network.world.clock = lambda replica: 10_000 * MS
    network.fire(0, "heartbeat")
    late = [packet for packet in network.world.in_flight if packet[1] == 2]
    network.world.in_flight.clear()
    network.world.clock = lambda replica: 20_000 * MS
    network.fire(1, "election")
    network.frozen.add(2)
    for me in (0, 1):
        network.deliver(1, me, Prepare)
        network.deliver(me, 1, Promise)
    network.deliver(1, 2, Heartbeat)
    network.deliver(1, 2, Extend)
    network.deliver(2, 1, Extended)
    network.crash(2)
    network.world.in_flight[:] = late
    network.exchange(among={0, 2})
    network.fire(0, "election")
    network.exchange(among={0, 2})
    network.ask(0, A)
    network.exchange(among={0, 2})
    network.ask(1, GET)
    return network


def test_a_grant_after_a_restart_is_no_way_round_a_forgotten_one() -> None:
    assert forgotten_grant(MultiPaxos).answers == [(1, GET)]
    assert forgotten_grant(mutants.GrantsAnew).answers == [(0, A), (1, GET)], "without A, which came before"


def test_a_leader_that_steps_down_passes_its_reads_on() -> None:
    paxos = leader()
    step(paxos, Request(GET))
    step(paxos, Deliver(2, Nack((2, 2))))
    assert sent(step(paxos, Deliver(2, Heartbeat((2, 2), 1))), Forward) == [(2, Forward(GET, (2, 2)))]


# --- quorum reads -----------------------------------------------------------------------------------------------------


def test_a_quorum_read_waits_until_what_a_quorum_has_accepted_is_executed_here() -> None:
    paxos = MultiPaxos(1, Cluster(3), MultiPaxosOptions(reads="quorum"))
    step(paxos, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    assert sent(step(paxos, Request(GET)), ReadQuery) == [((0, 2), ReadQuery(0, 1))]
    assert served(step(paxos, Deliver(2, ReadReply(0, 1, 3)))) == []
    step(paxos, Deliver(0, Accept((1, 0), 2, (B,), 2)))
    effects = step(paxos, Deliver(0, Heartbeat((1, 0), 3)))
    assert [a for tag, a, _ in effects if tag == READ] == [GET]


def test_a_lost_question_is_asked_again() -> None:
    paxos = MultiPaxos(1, Cluster(5), MultiPaxosOptions(reads="quorum"))
    step(paxos, Request(GET))
    step(paxos, Deliver(3, ReadReply(0, 1, 1)))
    assert sent(step(paxos, Timer("retry")), ReadQuery) == [((0, 2, 4), ReadQuery(0, 1))]
    assert sent(step(paxos, Request(GET)), ReadQuery) == []
    assert served(step(paxos, Deliver(4, ReadReply(0, 1, 1)))) == [GET]


def answered_before_a_crash(protocol: type[Replica]) -> Network:
    """2 answers 1, which crashes. 0 and 2 decide A. Then 1 is asked again, and the old answer comes."""
    network = Network(protocol, first_leader=0, reads="quorum")
    network.exchange()
    network.ask(1, GET)
    network.deliver(1, 2, ReadQuery)
    late = network.under_way(ReadReply)
    network.world.in_flight.clear()
    network.ask(0, A)
    network.exchange(among={0, 2})
    network.world.clock = lambda replica: MS
    network.crash(1)
    network.ask(1, GET)
    network.world.in_flight[:] = late
    network.exchange(among={1, 2})
    return network


def test_an_answer_to_an_earlier_life_does_not_count() -> None:
    assert answered_before_a_crash(MultiPaxos).answers == [(0, A)]
    assert answered_before_a_crash(mutants.CountsAnswersToAnEarlierLife).answers == [(0, A), (1, GET)], "without A"


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_a_read_does_not_wait_for_a_slot_that_no_leader_heard_of(asked: int) -> None:
    """1 alone has accepted A from 0. 2 takes over without hearing of it, and there are no other requests."""
    for protocol, answers in ((MultiPaxos, [(asked, GET)]), (mutants.FillsNothing, [])):
        network = Network(protocol, first_leader=0, reads="quorum")
        network.exchange()
        network.frozen.add(0)
        network.ask(0, A)
        network.deliver(0, 1, Accept)
        network.world.in_flight.clear()
        network.crash(0)
        network.fire(2, "election")
        network.exchange(among={0, 2})
        network.fire(2, "heartbeat")
        network.exchange()
        network.ask(asked, GET)
        if asked != 1:
            network.drop(asked, 2 - asked, ReadQuery)
        network.exchange()
        for _ in range(2):
            for me in range(3):
                network.fire(me, "retry")
                network.exchange()
            network.fire(2, "heartbeat")
            network.exchange()
        assert network.answers == answers


def forgotten_by_who_answers(protocol: type[Replica]) -> Network:
    """0 and 1 decide A, 1 loses its disk, and 2, which has heard nothing, asks 1 for a read."""
    network = Network(protocol, first_leader=0, reads="quorum")
    network.exchange()
    network.ask(0, A)
    network.exchange(among={0, 1})
    lose(network, 1)
    network.ask(2, GET)
    network.exchange(among={1, 2})
    return network


def test_who_has_lost_its_disk_does_not_know_how_far_it_had_accepted() -> None:
    assert forgotten_by_who_answers(MultiPaxos).answers == [(0, A)]
    assert forgotten_by_who_answers(mutants.AnswersFromALostDisk).answers == [(0, A), (2, GET)], "without A"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reads": "lease", "lease_ms": 100.0}, "lease_ms = 100.0: must exceed heartbeat_ms"),
        ({"clock_drift_bound": 1.0}, "clock_drift_bound = 1.0"),
        ({"reads": "index"}, "reads"),
    ],
)
def test_options_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_options(MultiPaxos, settings, 3)


# --- worlds -----------------------------------------------------------------------------------------------------------

CUT = "partition:p0|replicas@3+4"
SLOW_CLOCK = "clock-drift:p0@0.5+8,ppm=-500000"


def world(reads: str, faults: list[str], protocol: str = "multi-paxos", **options: Any) -> World:
    return loaded(
        protocol,
        faults,
        workload=Workload(clients=3, conflict=100.0, reads=0.6, swaps=0.2),
        options={"reads": reads, "election_timeout_ms": (1000.0, 1200.0), **options},
        client_timeout_ms=700.0,
        drain_s=60.0,
    )


def verdicts(given: World) -> set[str]:
    result, _ = judged("run", given, lambda: False)
    return {check.property for check in result.checks if check.verdict == "violated"}


STORMS: dict[str, list[str]] = {
    "nothing": [],
    "the leader is cut off from the others": [CUT],
    "everybody restarts": ["crash:all@3+0.05"],
    "a follower restarts": ["partition:p0|p1,p2@3+4", "crash:p3@3.1+0.02", "crash:p4@3.3+0.02", CUT],
    "messages are late, twice and lost": [
        "reordering-link:all@1+7,rate=0.3,delay=900 ms", "duplicating-link:all@1+7,rate=0.3", "lossy-link:all@1+7",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STORMS)
@pytest.mark.parametrize("reads", ["lease", "quorum"])
def test_reads_are_linearizable(reads: str, name: str) -> None:
    given = world(reads, STORMS[name])
    assert verdicts(given) == set()
    assert (column(given.operations.table(), "answered_ns") > 0).all()


def test_a_clock_beyond_the_bound_makes_stale_reads_and_they_are_found() -> None:
    """The leader's clock runs at half speed, and it does not notice that the others have elected another one."""
    assert verdicts(world("lease", [SLOW_CLOCK, CUT])) == {"linearizability"}
    assert verdicts(world("lease", [SLOW_CLOCK, CUT], clock_drift_bound=0.99, lease_ms=3000.0)) == set(), "it holds"
    assert verdicts(world("quorum", [SLOW_CLOCK, CUT])) == set(), "no clock is trusted"


@pytest.mark.parametrize(("reads", "round_trip_ms"), [("log", 40.0), ("quorum", 40.0), ("lease", 0.0)])
def test_what_a_read_at_the_leader_costs(reads: str, round_trip_ms: float) -> None:
    """p0's majority of five is 40 ms away; the profile's costs stay below 2 ms. (A quorum read also waits for the
    writes that are under way: hence the quiet workload.)"""
    given = loaded("multi-paxos", workload=Workload(clients=1, conflict=0.0, reads=0.5), options={"reads": reads})
    given.run()
    table = given.operations.table()
    mine = (column(table, "site") == 0) & (column(table, "kind") == column(table, "kind").min())
    waits = column(table, "answered_ns")[mine] - column(table, "due_ns")[mine]
    assert np.median(waits) / MS == pytest.approx(round_trip_ms, abs=4.0)


@pytest.mark.parametrize("settings", [{"reads": "lease"}, {"reads": "quorum", "snapshot_every": 5}])
def test_random_schedules(settings: dict[str, Any]) -> None:
    happened = run_seeds("multi-paxos", range(30), settings=settings)
    run_seeds("multi-paxos", range(30, 40), size=5, settings={**settings, "phase1_quorum": 4, "phase2_quorum": 2})
    assert happened.messages.get("Extended", 0) + happened.messages.get("ReadReply", 0) > 300


# --- mutants ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", [mutants.ReadsBeforeItHasRecovered, mutants.ReadsAtOnce, mutants.AsksTooFewForARead])
def test_a_careless_reader_is_found_out_by_random_schedules(mutant: Any) -> None:
    faults = Faults(timer=0.15, early=0.4, late=0.1, crash=0.01, request=0.1, sync=0.2)
    with pytest.raises(ScheduleViolated, match="linearizab"):
        run_seeds(mutant, range(300), size=mutant.replicas, settings=mutant.settings, faults=faults)


@pytest.mark.parametrize(
    ("mutant", "faults"),
    [
        (mutants.LeasesFromTheAnswer, [CUT]),
        (mutants.TrustsAllClocks, [SLOW_CLOCK, CUT]),
        (mutants.PromisesDuringLeases, [CUT]),
        (mutants.ForgetsItsGrants, [CUT, "crash:p1@3.05+0.02", "crash:p2@3.05+0.02", "crash:p3@3.05+0.02"]),
        (mutants.LeasesFromAMajority, ["partition:p0|p3,p4@2+3", "partition:p0|replicas@5+3"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_lease_that_does_not_exclude_others_makes_stale_reads(mutant: Any, faults: list[str]) -> None:
    """An old leader at p0, where clients are, does not hear of the new one."""
    options = {"lease_ms": 3000.0, **mutant.settings}
    fallen = verdicts(world(faults=faults, protocol=f"multi_paxos_mutants:{mutant.__name__}", **options))
    assert fallen == {"linearizability"}
    assert verdicts(world(faults=faults, **options)) == set()
