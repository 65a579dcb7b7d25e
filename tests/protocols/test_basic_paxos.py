"""Basic Paxos beside Paxos Made Simple (Lamport 2001), "PMS": a test a rule, and the schedules that break it."""

from __future__ import annotations

from typing import Any

import basic_paxos_mutants as mutants
import pytest
from paxos_network import Network, put, violated

from consensus_bench.contract import Cluster, ConfigError, Replica
from consensus_bench.contract.context import BROADCAST, PERSIST, SEND, SET_TIMER
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Request, Start, Timer, step
from protocols.basic_paxos import (
    Accept,
    Accepted,
    BasicPaxos,
    BasicPaxosOptions,
    Decided,
    Nack,
    Prepare,
    Promise,
    Query,
)

A, B, C = put(1, client=1), put(1, client=2), put(1, client=3)


def replica(me: int = 0, size: int = 3) -> BasicPaxos:
    return BasicPaxos(me, Cluster(size), BasicPaxosOptions())


def test_a_new_ballot_is_on_disk_before_prepare_leaves() -> None:
    effects = step(replica(), Request(A))
    assert [effect[:1] for effect in effects[:2]] == [(PERSIST,), (BROADCAST,)]
    assert effects[1] == (BROADCAST, (0, 1, 2), Prepare((1, 0)))


def test_an_acceptor_promises_only_higher_ballots_and_each_once() -> None:
    """PMS 2.2, phase 1b: "a prepare request with number n greater than that of any" before."""
    acceptor = replica(2)
    first = step(acceptor, Deliver(1, Prepare((2, 1))))
    assert [effect[0] for effect in first] == [PERSIST, SEND]
    assert first[1] == (SEND, 1, Promise((2, 1), (0, 0), None))
    assert step(acceptor, Deliver(1, Prepare((2, 1)))) == []
    assert step(acceptor, Deliver(0, Prepare((2, 0)))) == [(SEND, 0, Nack((2, 1)))]


def test_an_acceptor_accepts_unless_it_has_promised_a_higher_ballot() -> None:
    """PMS 2.2, phase 2b; it need not have promised this very ballot."""
    acceptor = replica(2)
    step(acceptor, Deliver(1, Prepare((2, 1))))
    assert step(acceptor, Deliver(0, Accept((1, 0), A))) == [(SEND, 0, Nack((2, 1)))]
    effects = step(acceptor, Deliver(0, Accept((3, 0), B)))
    assert [effect[0] for effect in effects] == [PERSIST, PERSIST, SEND], "promise and acceptance, one record"
    assert effects[2] == (SEND, 0, Accepted((3, 0), B))
    assert (acceptor.promised, acceptor.accepted_ballot, acceptor.accepted) == ((3, 0), (3, 0), B)


def test_the_value_of_the_highest_reported_ballot_is_proposed() -> None:
    """PMS 2.2, phase 2a."""
    proposer = replica(0, size=5)
    step(proposer, Request(A))
    assert step(proposer, Deliver(1, Promise((1, 0), (0, 4), B))) == []
    assert step(proposer, Deliver(2, Promise((1, 0), (0, 3), C))) == []
    effect = step(proposer, Deliver(3, Promise((1, 0), (0, 0), None)))[0]
    assert effect == (BROADCAST, (0, 1, 2, 3, 4), Accept((1, 0), B))
    assert step(proposer, Deliver(4, Promise((1, 0), (0, 5), C))) == [], "phase 2 has begun"


def test_a_proposer_is_free_only_if_nothing_was_reported() -> None:
    proposer = replica()
    step(proposer, Request(A))
    step(proposer, Deliver(1, Promise((1, 0), (0, 0), None)))
    effects = step(proposer, Deliver(2, Promise((1, 0), (0, 0), None)))
    assert effects[0] == (BROADCAST, (0, 1, 2), Accept((1, 0), A))


def test_each_phase_has_the_whole_time_before_a_new_ballot() -> None:
    """Else a proposer alone outbids itself for ever where two round trips take longer than ``retry_ms``."""
    proposer = replica()
    assert (SET_TIMER, "retry", (800_000_000, 800_000_000)) in step(proposer, Request(A))
    step(proposer, Deliver(1, Promise((1, 0), (0, 0), None)))
    effects = step(proposer, Deliver(2, Promise((1, 0), (0, 0), None)))
    assert effects[-1] == (SET_TIMER, "retry", (800_000_000, 800_000_000))


def test_a_promise_or_a_vote_that_arrives_twice_counts_once() -> None:
    proposer = replica()
    step(proposer, Request(A))
    assert step(proposer, Deliver(1, Promise((1, 0), (0, 0), None))) == []
    assert step(proposer, Deliver(1, Promise((1, 0), (0, 0), None))) == []
    step(proposer, Deliver(2, Promise((1, 0), (0, 0), None)))
    assert step(proposer, Deliver(1, Accepted((1, 0), A))) == []
    assert step(proposer, Deliver(1, Accepted((1, 0), A))) == []
    assert step(proposer, Deliver(0, Accepted((1, 0), A)))
    assert proposer.decided == A


def test_one_proposer_decides_everybody_learns_and_its_client_is_answered() -> None:
    network = Network(BasicPaxos)
    network.ask(1, A)
    network.exchange()
    assert [network.replica(me).decided for me in range(3)] == [A, A, A]
    assert network.answers == [(1, A)]


def test_a_command_that_lost_is_never_answered_and_the_winner_always_again() -> None:
    network = Network(BasicPaxos)
    network.ask(1, A)
    network.exchange()
    network.ask(2, B)
    network.exchange()
    assert network.answers == [(1, A)]
    network.ask(2, A)
    assert network.answers == [(1, A), (2, A)]


def test_two_proposers_can_outbid_each_other_for_ever() -> None:
    """PMS 2.4; each Prepare comes between the other's two phases."""
    network = Network(BasicPaxos)
    network.ask(0, A)
    network.ask(1, B)
    for me in (0, 1, 2):
        network.deliver(0, me, Prepare)
    for duel in range(10):
        mine, other = duel % 2, 1 - duel % 2
        for me in (0, 1, 2):
            network.deliver(me, mine, Promise)
        for me in (0, 1, 2):
            network.deliver(other, me, Prepare)
        for me in (0, 1, 2):
            network.deliver(mine, me, Accept)
        for me in (0, 1, 2):
            network.deliver(me, mine, Nack)
        network.fire(mine, "retry")
    assert [network.replica(me).accepted for me in range(3)] == [None, None, None]
    assert network.replica(2).promised == (10, 0)


def test_a_proposer_that_was_outbid_waits_at_random_and_goes_above() -> None:
    proposer = BasicPaxos(0, Cluster(3), BasicPaxosOptions(backoff_ms=(50, 70)))
    step(proposer, Request(A))
    assert step(proposer, Deliver(1, Nack((7, 1)))) == [(SET_TIMER, "retry", (50_000_000, 70_000_000))]
    assert step(proposer, Timer("retry"))[1] == (BROADCAST, (0, 1, 2), Prepare((8, 0)))


def test_a_restarted_acceptor_is_what_it_was_and_a_restarted_proposer_uses_a_new_ballot() -> None:
    network = Network(BasicPaxos)
    network.ask(0, A)
    network.deliver(0, 1, Prepare)
    network.deliver(1, 0, Promise)
    network.deliver(0, 0, Prepare)
    network.deliver(0, 0, Promise)
    network.deliver(0, 1, Accept)
    before = network.replica(1).view()
    network.crash(1)
    assert network.replica(1).view() == before
    network.crash(0)
    network.ask(0, B)
    assert network.replica(0).ballot == (2, 0)


def test_a_restarted_replica_knows_the_decision() -> None:
    network = Network(BasicPaxos)
    network.ask(0, A)
    network.exchange()
    network.crash(0)
    assert network.replica(0).decided == A
    network.ask(0, A)
    assert network.answers == [(0, A), (0, A)]


def test_a_replica_that_missed_the_decision_asks_for_it() -> None:
    """PMS 2.3: because of message loss a learner may not find out; it has to ask."""
    network = Network(BasicPaxos)
    network.ask(0, A)
    network.exchange(among={0, 1})
    assert network.replica(2).decided is None
    network.fire(2, "retry")
    assert len(network.under_way(Query)) == 2
    network.exchange()
    assert network.replica(2).decided == A


def test_whoever_prepares_when_all_is_over_is_told_so() -> None:
    network = Network(BasicPaxos)
    network.ask(0, A)
    network.exchange(among={0, 1})
    network.ask(2, B)
    network.deliver(2, 1, Prepare)
    network.deliver(1, 2, Decided)
    assert network.replica(2).decided == A


def test_an_impossible_back_off_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backoff_ms = 9.0,3.0: needs 0 <= low <= high"):
        make_options(BasicPaxos, {"backoff_ms": [9, 3]}, 3)


# --- schedules that break the rule when it is missing, and hold when it is there --------------------------------------


def promised_5_then_3(protocol: type[Replica]) -> Network:
    """Acceptor 2 promises the lower ballot of proposer 0, then the higher one of proposer 1, and crashes. Proposer 0
    goes on with {0, 2}, proposer 1 with {1, 2}, to whom nothing was reported."""
    network = Network(protocol)
    network.ask(0, A)
    network.ask(1, B)
    for source, to in ((0, 0), (0, 2), (1, 1), (1, 2)):
        network.deliver(source, to, Prepare)
    network.crash(2)
    for source, to in ((0, 0), (2, 0), (1, 1), (2, 1)):
        network.deliver(source, to, Promise)
    for source, to in ((0, 0), (0, 2), (1, 1), (1, 2)):
        network.deliver(source, to, Accept)
    network.exchange()
    return network


def accepted_then_crashed(protocol: type[Replica]) -> Network:
    """A is chosen by {0, 2}; 2 crashes; proposer 1 prepares with {1, 2}."""
    network = Network(protocol)
    network.ask(0, A)
    network.exchange(among={0, 2}, keep=Decided)
    network.world.in_flight.clear()
    network.crash(2)
    network.ask(1, B)
    network.exchange(among={1, 2})
    return network


def lower_of_two_reports(protocol: type[Replica]) -> Network:
    """0 has accepted A at (1, 0), then B is chosen at (1, 1) by {1, 2}; proposer 2 hears of both from {0, 2}. Three
    ballots are needed to tell "the highest" from "any"."""
    network = Network(protocol)
    network.ask(0, A)
    for me in (0, 1):
        network.deliver(0, me, Prepare)
    for me in (0, 1):
        network.deliver(me, 0, Promise)
    network.deliver(0, 0, Accept)
    network.world.in_flight.clear()
    network.ask(1, B)
    network.exchange(among={1, 2}, keep=Decided)
    network.world.in_flight.clear()
    network.ask(2, C)
    network.exchange(among={0, 2})
    return network


def old_promises_for_a_ballot_used_again(protocol: type[Replica]) -> Network:
    """Proposer 0 proposes A at (1, 0) and crashes; with copies of the promises it proposes C at the same ballot."""
    network = Network(protocol)
    network.ask(0, A)
    for me in (1, 2):
        network.deliver(0, me, Prepare)
    for me in (1, 2):
        network.deliver(me, 0, Promise, again=True)
    for me in (1, 2):
        network.deliver(0, me, Accept)
    network.crash(0)
    network.ask(0, C)
    for me in (1, 2):
        network.deliver(me, 0, Promise)
    for me in (1, 2):
        network.deliver(me, 0, Accepted)
    network.exchange(among={0, 1, 2}, keep=Decided)
    network.world.in_flight.clear()
    network.ask(1, B)
    network.exchange(among={1, 2})
    return network


def vote_from_an_older_ballot(protocol: type[Replica]) -> Network:
    """1 has accepted A at (1, 0), 2 B at (1, 2). Proposer 0 takes ballot (2, 0) with {0, 2}, so for B, which 0 accepts;
    then comes 1's old vote."""
    network = Network(protocol)
    network.ask(0, A)
    for me in (0, 1):
        network.deliver(0, me, Prepare)
    for me in (0, 1):
        network.deliver(me, 0, Promise)
    network.deliver(0, 1, Accept)
    network.ask(2, B)
    for me in (0, 2):
        network.deliver(2, me, Prepare)
    for me in (0, 2):
        network.deliver(me, 2, Promise)
    network.deliver(2, 2, Accept)
    network.drop(0, 2, Prepare)
    network.drop(0, 0, Accept)
    network.fire(0, "retry")
    for me in (0, 2):
        network.deliver(0, me, Prepare)
    for me in (0, 2):
        network.deliver(me, 0, Promise)
    network.deliver(0, 0, Accept)
    network.deliver(0, 0, Accepted)
    network.deliver(1, 0, Accepted)
    network.world.in_flight.clear()
    network.fire(2, "retry")
    network.exchange(among={1, 2})
    return network


def lower_after_higher(protocol: type[Replica]) -> Network:
    """0 accepts 1's B, at a ballot that it was not asked to promise, and then its own A, at a lower one."""
    network = Network(protocol)
    network.ask(0, A)
    for me in (0, 2):
        network.deliver(0, me, Prepare)
        network.deliver(me, 0, Promise)
    network.ask(1, B)
    for me in (1, 2):
        network.deliver(1, me, Prepare)
        network.deliver(me, 1, Promise)
    for me in (0, 1):
        network.deliver(1, me, Accept)
        network.deliver(me, 1, Accepted)
    network.deliver(0, 0, Accept)
    network.world.in_flight.clear()
    network.ask(2, C)
    network.exchange(among={0, 2})
    return network


SCHEDULES: list[tuple[Any, type[Replica]]] = [
    (promised_5_then_3, mutants.ForgetsPromises),
    (accepted_then_crashed, mutants.ForgetsAcceptances),
    (lower_of_two_reports, mutants.ProposesAnyReportedValue),
    (old_promises_for_a_ballot_used_again, mutants.ReusesBallots),
    (vote_from_an_older_ballot, mutants.CountsOldVotes),
    (lower_after_higher, mutants.AcceptsWithoutPromising),
]


@pytest.mark.parametrize(("schedule", "mutant"), SCHEDULES, ids=[mutant.__name__ for _, mutant in SCHEDULES])
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Any, mutant: type[Replica]) -> None:
    assert violated(schedule, BasicPaxos) is None
    assert violated(schedule, mutant) == "agreement"


def test_the_schedules_end_in_a_decision() -> None:
    """Otherwise that they break nothing would say little."""
    for schedule, _ in SCHEDULES:
        network = schedule(BasicPaxos)
        assert any(network.replica(me).decided for me in range(3)), schedule.__name__


def test_starting_only_arms_the_timer() -> None:
    assert [effect[0] for effect in step(replica(), Start())] == [SET_TIMER]
