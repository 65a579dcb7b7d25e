"""Reads beside the log (thesis section 6.4): leadership is certain by a majority's word, or by the clock."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
import raft_mutants as mutants
from fault_worlds import loaded
from raft_network import MS, PLAIN, B, RaftNetwork, violated

from consensus_bench.contract import (
    OPERATOR,
    Cluster,
    Command,
    ConfigError,
    Context,
    Effect,
    HandOver,
    PropertyViolated,
)
from consensus_bench.contract.context import ANSWER, READ
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Start, Timer, step
from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.statistics import column
from consensus_bench.exploration import Faults, Scheduler
from consensus_bench.exploration.world import Summary
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import World
from protocols.raft import Raft
from protocols.raft_messages import (
    Appended,
    AppendEntries,
    Confirm,
    Confirmed,
    RaftOptions,
    RequestVote,
    TimeoutNow,
    Vote,
)

GET = Command(1, 1, "get", "x")
LOW_MS, HIGH_MS = 1000.0, 1200.0


def answers(effects: list[Effect]) -> list[Any]:
    return [a for tag, a, _ in effects if tag == ANSWER]


def leading(**options: Any) -> Raft:
    """Server 0 of three, just elected in term 1; its no-op is not committed."""
    raft = Raft(0, Cluster(3, first_leader=0), RaftOptions(**options))
    step(raft, Start())
    step(raft, Deliver(0, Vote(1, True)))
    step(raft, Deliver(1, Vote(1, True)))
    assert raft.role == "leader"
    return raft


def commit_noop(raft: Raft) -> list[Effect]:
    return [*step(raft, Deliver(0, Appended(1, 1))), *step(raft, Deliver(1, Appended(1, 1)))]


def test_a_read_waits_for_a_majority_that_was_asked_after_it() -> None:
    raft = leading(reads="index")
    commit_noop(raft)
    early = raft.round
    assert not answers(step(raft, Request(GET)))
    assert not answers(step(raft, Deliver(1, Confirmed(1, early)))), "that was asked before the read came"
    effects = step(raft, Deliver(1, Confirmed(1, raft.round)))
    assert [tag for tag, a, _ in effects if a == GET] == [READ, ANSWER]


def test_a_new_leader_serves_no_read_before_it_knows_what_is_committed() -> None:
    raft = leading(reads="index")
    step(raft, Request(GET))
    assert not answers(step(raft, Deliver(1, Confirmed(1, raft.round))))
    assert answers(commit_noop(raft)) == [GET]


def test_an_answer_to_another_term_confirms_nothing() -> None:
    raft = leading(reads="index")
    commit_noop(raft)
    step(raft, Request(GET))
    assert not answers(step(raft, Deliver(1, Confirmed(0, raft.round))))


def test_only_a_follower_of_that_term_confirms() -> None:
    raft = Raft(1, Cluster(3), RaftOptions(reads="index"))
    step(raft, Start())
    assert not [e for e in step(raft, Deliver(0, Confirm(1, 1))) if isinstance(e[2], Confirmed)], "it knows no leader"
    step(raft, Deliver(0, AppendEntries(1, 0, 0, (), 0)))
    assert [e[2] for e in step(raft, Deliver(0, Confirm(1, 1))) if isinstance(e[2], Confirmed)] == [Confirmed(1, 1)]
    step(raft, Deliver(2, RequestVote(2, 0, 0, transfer=True)))
    assert not [e for e in step(raft, Deliver(0, Confirm(1, 2))) if isinstance(e[2], Confirmed)], "it is in term 2"


def test_a_question_that_was_lost_is_asked_again() -> None:
    raft = leading(reads="index")
    commit_noop(raft)
    step(raft, Request(GET))
    first = raft.round
    effects = step(raft, Timer("heartbeat"))
    assert [b for _, _, b in effects if isinstance(b, Confirm)] == [Confirm(1, first + 1)]
    assert answers(step(raft, Deliver(1, Confirmed(1, first + 1)))) == [GET]


@pytest.mark.parametrize("reads", ["index", "lease"])
def test_a_sole_member_needs_nobody_to_confirm_that_it_leads(reads: str) -> None:
    """Neither a cluster of one nor spare servers that are down may keep a reader waiting."""
    for size in (1, 3):
        raft = Raft(0, Cluster(size, first_leader=0), RaftOptions(reads=reads, first_members=1))  # type: ignore[arg-type]
        step(raft, Start())
        step(raft, Deliver(0, Vote(1, True)))
        assert not answers(step(raft, Request(GET))), "it does not know yet what is committed"
        assert answers(step(raft, Deliver(0, Appended(1, 1)))) == [GET]
        assert answers(step(raft, Request(GET))) == [GET]


def test_reads_of_a_leader_that_is_deposed_go_to_the_next_one() -> None:
    raft = leading(reads="index")
    commit_noop(raft)
    step(raft, Request(GET))
    effects = step(raft, Deliver(2, AppendEntries(2, 1, 1, (), 1)))
    assert [(a, b.command) for _, a, b in effects if hasattr(b, "command")] == [(2, GET)]


def test_a_lease_begins_when_the_question_was_sent() -> None:
    raft = leading(reads="lease", election_timeout_ms=(LOW_MS, HIGH_MS), clock_drift_bound=0.25)
    commit_noop(raft)
    step(raft, Timer("heartbeat"), clock_ns=100 * MS)
    step(raft, Deliver(1, Confirmed(1, raft.round)), clock_ns=300 * MS)
    assert answers(step(raft, Request(GET), clock_ns=899 * MS)) == [GET]
    assert not answers(step(raft, Request(GET), clock_ns=901 * MS)), "100 + 1000 / 1.25 ms"


def follower_of_a_leaseholder(heard_ms: int, **options: Any) -> Raft:
    raft = Raft(1, Cluster(3), RaftOptions(**{"reads": "lease", "election_timeout_ms": (LOW_MS, HIGH_MS), **options}))
    step(raft, Start())
    step(raft, Deliver(0, AppendEntries(1, 0, 0, (), 0)), clock_ns=heard_ms * MS)
    return raft


def granted(raft: Raft, request: RequestVote, clock_ms: int) -> bool:
    effects = step(raft, Deliver(2, request), clock_ns=clock_ms * MS)
    return any(isinstance(b, Vote) and b.granted for _, _, b in effects)


def test_who_has_promised_votes_for_nobody_until_the_promise_is_over() -> None:
    assert not granted(follower_of_a_leaseholder(500), RequestVote(2, 9, 1), 1499)
    assert granted(follower_of_a_leaseholder(500), RequestVote(2, 9, 1), 1500)


def test_a_promise_binds_in_later_terms_as_well() -> None:
    raft = follower_of_a_leaseholder(500)
    step(raft, Deliver(2, Vote(3, False)), clock_ns=600 * MS)
    assert raft.current_term == 3
    assert not granted(raft, RequestVote(3, 9, 1), 700)


def test_a_restart_does_not_end_a_promise() -> None:
    raft = Raft(1, Cluster(3), RaftOptions(reads="lease", election_timeout_ms=(LOW_MS, HIGH_MS)))
    step(raft, Recover({"vote": (1, 0)}), clock_ns=600 * MS)
    assert not granted(raft, RequestVote(2, 9, 1), 1599)
    assert granted(raft, RequestVote(2, 9, 1), 1600)


def test_settings_that_cannot_keep_a_promise_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs check_quorum"):
        make_options(Raft, {"reads": "lease", "check_quorum": False}, 3)
    with pytest.raises(ConfigError, match="clock_drift_bound = 1"):
        make_options(Raft, {"clock_drift_bound": 1.0}, 3)


# In the simulated world.

CUT = "partition:p0|replicas@3+4"
SLOW_CLOCK = "clock-drift:p0@0.5+8,ppm=-500000"


def world(reads: str, faults: list[str], protocol: str = "raft", **options: Any) -> World:
    return loaded(
        protocol,
        faults,
        workload=Workload(clients=3, conflict=100.0, reads=0.6, swaps=0.2),
        options={"reads": reads, "election_timeout_ms": (LOW_MS, HIGH_MS), **options},
        client_timeout_ms=700.0,
        drain_s=60.0,
    )


def verdicts(given: World) -> set[str]:
    result, _ = judged("run", given, lambda: False)
    return {check.property for check in result.checks if check.verdict == "violated"}


STORMS: dict[str, list[str]] = {
    "nothing": [],
    "the leader is cut off from the others": [CUT],
    "the leader crashes": ["crash:leader@3+2"],
    "everybody restarts": ["crash:all@3+0.05"],
    "a follower restarts": ["partition:p0|p1,p2@3+4", "crash:p3@3.1+0.02", "crash:p4@3.3+0.02", CUT],
    "messages are late, twice and lost": [
        "reordering-link:all@1+7,rate=0.3,delay=900 ms", "duplicating-link:all@1+7,rate=0.3", "lossy-link:all@1+7",
    ],
    "offices change hands": ["hand-over:leader@2", "hand-over:leader@3", "hand-over:leader@4.5"],
}  # fmt: skip


@pytest.mark.parametrize("name", STORMS)
@pytest.mark.parametrize("reads", ["index", "lease"])
def test_reads_are_linearizable(reads: str, name: str) -> None:
    given = world(reads, STORMS[name])
    assert verdicts(given) == set()
    table = given.operations.table()
    assert (column(table, "answered_ns") > 0).all()


def test_a_clock_beyond_the_bound_makes_stale_reads_and_they_are_found() -> None:
    """The leader's clock runs at half speed, and it does not notice that the others have elected another one."""
    assert verdicts(world("lease", [SLOW_CLOCK, CUT])) == {"linearizability"}
    assert verdicts(world("lease", [SLOW_CLOCK, CUT], clock_drift_bound=0.99)) == set(), "a bound that holds"
    assert verdicts(world("index", [SLOW_CLOCK, CUT])) == set(), "no clock is trusted"


@pytest.mark.parametrize(("reads", "round_trips"), [("log", 1), ("index", 1), ("lease", 0)])
def test_what_a_read_at_the_leader_costs(reads: str, round_trips: int) -> None:
    """p0's majority of five is 40 ms away; the profile's costs stay below 2 ms."""
    given = world(reads, [])
    given.run()
    table = given.operations.table()
    mine = (column(table, "site") == 0) & (column(table, "kind") == column(table, "kind").min())
    waits = column(table, "answered_ns")[mine] - column(table, "due_ns")[mine]
    assert np.median(waits) / MS == pytest.approx(40.0 * round_trips, abs=4.0)


def test_random_schedules_with_leases_violate_nothing() -> None:
    """Timers are late, never early: a lease relies on that."""
    protocol, total = find_protocol("raft"), Summary()
    for seed in range(120):
        random = Random(seed)
        settings = {"reads": "lease", "pre_vote": seed % 2 == 0, "first_members": random.choice([0, 0, 3])}
        faults = msgspec.structs.replace(Faults.drawn(random, 4), early=0.0, order=random.choice([0.0, 0.01, 0.03]))
        total.add(Scheduler(protocol, make_options(protocol, settings, 4), 4, seed, faults=faults).run())
    assert total.messages["Confirmed"] > 1000 and total.messages["TimeoutNow"] > 10


# What is each rule for.


def leaseholder(protocol: type[Raft], lease: bool = True) -> RaftNetwork:
    """Server 0 of three leads; with a lease, followers have promised it their votes for a second from now on. Nothing
    is under way."""
    settings = {"reads": "lease", "pre_vote": False} if lease else {"reads": "index", **PLAIN}
    network = RaftNetwork(protocol, 3, 0, election_timeout_ms=(LOW_MS, HIGH_MS), **settings)
    network.exchange()
    network.now_ns += 10_000 * MS
    network.fire(0, "heartbeat")
    network.exchange()
    return network


def another_writes(network: RaftNetwork, leader: int, voter: int) -> bool:
    """``leader`` begins an election, and if ``voter`` votes for it, both commit a write."""
    network.fire(leader, "election")
    network.exchange(among=(leader, voter))
    network.ask(leader, B)
    network.exchange(among=(leader, voter))
    return (leader, B) in network.answers


def no_stale_answer(network: RaftNetwork, old: int = 0) -> None:
    """A read that came after that write sees it, so that ``old``, which does not, gives no answer."""
    if (old, GET) in network.answers:
        raise PropertyViolated("linearizability", f"replica {old} answers a read without the last write")


def asked_too_early(protocol: type[Raft]) -> None:
    """Server 2 confirms that 0 leads; before that arrives, 1 is elected, writes, and a read comes to 0."""
    network = leaseholder(protocol, lease=False)
    network.ask(0, Command(2, 1, "get", "x"))
    network.deliver(0, 2, Confirm)
    [late] = network.under_way(Confirmed)
    network.exchange(among=())
    assert another_writes(network, 1, 2)
    network.ask(0, GET)
    network.world.in_flight[:] = [late]
    network.exchange(among=(0, 2))
    no_stale_answer(network)


def asked_whom_has_another_leader(protocol: type[Raft]) -> None:
    """Server 1 is elected by 2 and writes; then 0 asks 2 whether it still leads."""
    network = leaseholder(protocol, lease=False)
    assert another_writes(network, 1, 2)
    network.ask(0, GET)
    network.deliver(0, 2, Confirm)
    for source, to, _ in network.under_way(Confirmed):
        network.deliver(source, to, Confirmed)
    no_stale_answer(network)


def confirmed_two_terms_ago(protocol: type[Raft]) -> None:
    """What 2 has said of term 1 arrives when 0 has led term 3, and 1 has been elected in term 4."""
    network = leaseholder(protocol, lease=False)
    for number in (1, 2):
        network.ask(0, Command(2, number, "get", "x"))
    for _ in range(2):
        network.deliver(0, 2, Confirm)
    late = network.under_way(Confirmed)[-1]
    network.exchange()
    network.elect(1)
    network.elect(0)
    assert another_writes(network, 1, 2)
    network.ask(0, GET)
    network.world.in_flight[:] = [late]
    network.exchange(among=(0, 2))
    no_stale_answer(network)


def the_answer_takes_long(protocol: type[Raft]) -> None:
    """The answer that gives 0 its lease is under way until the promise is nearly over."""
    network = leaseholder(protocol)
    network.now_ns += 2000 * MS
    network.fire(0, "heartbeat")
    network.deliver(0, 2, AppendEntries)
    network.deliver(0, 2, Confirm)
    network.now_ns += 900 * MS
    network.deliver(2, 0, Confirmed)
    network.exchange(among=())
    network.now_ns += 110 * MS
    assert another_writes(network, 1, 2)
    network.ask(0, GET)
    no_stale_answer(network)


def an_early_election_after(protocol: type[Raft], event: Callable[[RaftNetwork], None]) -> None:
    """Server 1 is cut off; 0 has its lease by the promise of 2, to which ``event`` happens; then 1 asks 2 for its vote,
    half a time-out after the promise."""
    network = leaseholder(protocol)
    network.now_ns += 3000 * MS
    network.fire(0, "heartbeat")
    network.exchange(among=(0, 2))
    network.now_ns += 500 * MS
    event(network)
    if another_writes(network, 1, 2):
        network.ask(0, GET)
        no_stale_answer(network)


def an_early_election(protocol: type[Raft]) -> None:
    """Nothing."""
    an_early_election_after(protocol, lambda network: None)


def a_restart_after_the_promise(protocol: type[Raft]) -> None:
    """Server 2 restarts."""
    an_early_election_after(protocol, lambda network: network.crash(2))


def a_newer_term_after_the_promise(protocol: type[Raft]) -> None:
    """Server 2 hears late of a term in which 1 was a candidate, and of no leader."""

    def hear(network: RaftNetwork) -> None:
        network.fire(1, "election")
        network.world.in_flight[:] = [(1, 2, Vote(network.replica(1).current_term, False))]
        network.exchange()

    an_early_election_after(protocol, hear)


def handed_over(protocol: type[Raft], meanwhile: Callable[[RaftNetwork], None]) -> None:
    """Server 0 asks 1 to take over; before that arrives, there is ``meanwhile``; then 1 is elected by 2 and writes."""
    network = leaseholder(protocol)
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    network.exchange(keep=TimeoutNow)
    meanwhile(network)
    network.exchange(among=(1, 2, 0), keep=TimeoutNow)
    network.deliver(0, 1, TimeoutNow)
    network.exchange(among=(1, 2))
    network.ask(1, B)
    network.exchange(among=(1, 2))
    assert (1, B) in network.answers
    network.ask(0, GET)
    no_stale_answer(network)


def a_transfer_during_a_lease(protocol: type[Raft]) -> None:
    """Nothing."""
    handed_over(protocol, lambda network: None)


def a_lease_after_a_transfer(protocol: type[Raft]) -> None:
    """A heartbeat, which all answer."""
    handed_over(protocol, lambda network: network.fire(0, "heartbeat"))


def an_order_of_an_earlier_leader(protocol: type[Raft]) -> None:
    """Server 0 asks 1 to take over, and that arrives when 2 leads the next term and has a lease."""
    network = leaseholder(protocol)
    network.world.in_flight.append((OPERATOR, 0, HandOver(1)))
    network.exchange(keep=TimeoutNow)
    [late] = network.under_way(TimeoutNow)
    network.exchange(among=())
    network.elect(2)
    network.now_ns += 100 * MS
    network.fire(2, "heartbeat")
    network.exchange()
    assert network.leaders() == [2] and network.replica(2).lease_end_ns > network.now_ns
    network.world.in_flight[:] = [late]
    network.exchange(among=(0, 1))
    network.ask(1, B)
    network.exchange(among=(0, 1))
    if (1, B) in network.answers:
        network.ask(2, GET)
        no_stale_answer(network, 2)


@pytest.mark.parametrize(
    ("schedule", "mutant"),
    [
        (asked_too_early, mutants.CountsEarlierConfirmations),
        (asked_whom_has_another_leader, mutants.ConfirmsAnybody),
        (confirmed_two_terms_ago, mutants.CountsConfirmationsOfOtherTerms),
        (the_answer_takes_long, mutants.LeasesFromTheAnswer),
        (an_early_election, mutants.PromisesNothing),
        (a_restart_after_the_promise, mutants.ForgetsItsPromise),
        (a_newer_term_after_the_promise, mutants.PromisesForItsTerm),
        (a_transfer_during_a_lease, mutants.KeepsItsLease),
        (a_lease_after_a_transfer, mutants.RenewsItsLease),
        (an_order_of_an_earlier_leader, mutants.ObeysOldOrders),
    ],
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Callable[[Any], None], mutant: Any) -> None:
    assert violated(schedule, Raft) is None
    assert violated(schedule, mutant) == "linearizability"


class LeasesForTooLong(Raft):
    """The lease is five time-outs long, counted from when the answer came."""

    __slots__ = ()

    def on_confirmed(self, ctx: Context, source: int, message: Confirmed) -> None:
        super().on_confirmed(ctx, source, message)
        if self.role == "leader":
            self.lease_end_ns = ctx.clock_ns + 5 * self.lease_ns


def test_a_lease_that_is_longer_than_the_promises_makes_stale_reads() -> None:
    """CheckQuorum ends the old leader's office between one and two time-outs after the cut, so that some cuts do no
    harm."""
    cuts = [f"partition:p0|replicas@{at}+4" for at in (3.0, 3.25, 3.5, 3.75)]
    fallen = [verdicts(world("lease", [cut], f"{__file__}:LeasesForTooLong")) for cut in cuts]
    assert {"linearizability"} in fallen
    assert all(not verdicts(world("lease", [cut])) for cut in cuts)
