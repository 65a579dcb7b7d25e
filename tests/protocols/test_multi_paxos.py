"""Multi-Paxos beside its papers: Paxos Made Simple (Lamport 2001), "PMS"; Paxos Made Moderately Complex (van Renesse,
Altinbuken 2015), "PMMC"; Flexible Paxos (Howard et al. 2016)."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import pytest
from paxos_network import Network, put, violated

from consensus_bench.contract import NOOP, Cluster, Command, ConfigError, Replica
from consensus_bench.contract.context import (
    ANSWER,
    BROADCAST,
    BROADCAST_UNSYNCED,
    COMMIT,
    EXECUTE,
    PERSIST,
    SEND,
    SEND_UNSYNCED,
)
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Start, Timer, step
from protocols import multi_paxos_learner
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_election import CHUNK
from protocols.multi_paxos_messages import (
    Accept,
    Accepted,
    Chosen,
    Fetch,
    Forward,
    Heartbeat,
    MultiPaxosOptions,
    Nack,
    Prepare,
    Promise,
)
from protocols.slots import CHOSEN

A, B, C, D = (put(1, client=client) for client in range(1, 5))
OLD = (1, 2)


def replica(me: int = 0, size: int = 3, first_leader: int | None = None, **options: Any) -> MultiPaxos:
    return MultiPaxos(me, Cluster(size, (), first_leader), MultiPaxosOptions(**options))


def candidate(**options: Any) -> MultiPaxos:
    """Replica 0, which has sent Prepare at ballot (1, 0)."""
    paxos = replica(0, first_leader=0, **options)
    step(paxos, Start())
    return paxos


def leader(**options: Any) -> MultiPaxos:
    """Replica 0, which leads at ballot (1, 0) with an empty log."""
    paxos = candidate(**options)
    for source in range(paxos.phase1_quorum):
        step(paxos, Deliver(source, Promise((1, 0), ())))
    assert paxos.role == "leader"
    return paxos


def follower(ballot: tuple[int, int] = (1, 0)) -> MultiPaxos:
    """Replica 1, which follows replica 0."""
    paxos = replica(1)
    step(paxos, Deliver(ballot[1], Heartbeat(ballot, 1)))
    return paxos


def sent(effects: list[Any], kind: type) -> list[Any]:
    """(targets, message) of the messages of that type."""
    return [(a, b) for tag, a, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def committed(effects: list[Any]) -> list[tuple[int, Command]]:
    return [(a, b) for tag, a, b in effects if tag == COMMIT]


def held(paxos: MultiPaxos) -> dict[Any, Command | None]:
    return {slot: entry.command for slot, entry in paxos.view().entries.items()}


# --- phase 1 ----------------------------------------------------------------------------------------------------------


def test_a_ballot_of_ones_own_is_on_disk_before_prepare_leaves() -> None:
    effects = step(replica(0, first_leader=0), Start())
    kinds = [effect[0] for effect in effects]
    assert kinds.index(PERSIST) < kinds.index(BROADCAST)
    assert (BROADCAST, (0, 1, 2), Prepare((1, 0), 1)) in effects


def test_an_acceptor_promises_durably_and_reports_what_it_accepted_in_the_open_slots() -> None:
    acceptor = follower()
    step(acceptor, Deliver(0, Accept((1, 0), 1, (A, B), 1)))
    step(acceptor, Deliver(0, Accept((1, 0), 4, (C,), 2)))
    effects = step(acceptor, Deliver(2, Prepare((2, 2), 1)))
    reported = ((1, CHOSEN, A), (2, (1, 0), B), (4, (1, 0), C))
    assert effects[0] == (PERSIST, "promised", (2, 2))
    assert effects[-1] == (SEND, 2, Promise((2, 2), reported))
    assert sent(step(acceptor, Deliver(2, Prepare((2, 2), 4))), Promise) == [
        (2, Promise((2, 2), ((4, (1, 0), C),), 4))
    ], "a repeated Prepare is answered again"


@pytest.mark.parametrize("message", [Prepare(OLD, 1), Accept(OLD, 1, (A,), 1), Heartbeat(OLD, 1)])
def test_a_lower_ballot_is_refused(message: Any) -> None:
    acceptor = follower((2, 0))
    assert step(acceptor, Deliver(2, message)) == [(SEND_UNSYNCED, 2, Nack((2, 0)))]
    assert held(acceptor) == {}


def test_a_new_leader_proposes_the_reported_value_of_the_highest_ballot() -> None:
    """PMS 2.2, phase 2a, in each slot; which promise came first does not matter."""
    for order in ((1, 2), (2, 1)):
        paxos = candidate(phase1_quorum=2)
        reports = {1: ((1, (0, 1), A), (2, (0, 2), B)), 2: ((1, (0, 2), C), (2, (0, 1), D))}
        step(paxos, Deliver(order[0], Promise((1, 0), reports[order[0]])))
        effects = step(paxos, Deliver(order[1], Promise((1, 0), reports[order[1]])))
        assert sent(effects, Accept) == [((1, 2), Accept((1, 0), 1, (C, B), 1))]


def test_the_example_of_paxos_made_simple() -> None:
    """PMS 3: the new leader knows commands 1-134, 138 and 139. Phase 1 reports values for 135 and 140 only. It
    proposes those again, no-ops in the gap 136 and 137, and its clients' next command as 141."""
    paxos = candidate()
    step(paxos, Request(D))
    known = tuple(put(sequence) for sequence in range(1, 140))
    step(paxos, Deliver(1, Chosen((0, 1), 1, known[:134], 135)))
    step(paxos, Deliver(1, Chosen((0, 1), 138, known[137:139], 135)))
    assert paxos.committed == 135
    step(paxos, Deliver(0, Promise((1, 0), ((138, CHOSEN, known[137]), (139, CHOSEN, known[138])))))
    effects = step(paxos, Deliver(1, Promise((1, 0), ((135, (0, 1), A), (140, (0, 1), B)))))
    again = Accept((1, 0), 135, (A, NOOP, NOOP, known[137], known[138], B), 135)
    assert sent(effects, Accept) == [((1, 2), again), ((1, 2), Accept((1, 0), 141, (D,), 135))]


def test_values_reported_as_chosen_are_learnt_and_not_proposed_again() -> None:
    paxos = candidate()
    effects = step(paxos, Deliver(1, Promise((1, 0), ((1, CHOSEN, A), (2, CHOSEN, B), (3, (0, 1), C)))))
    assert committed(effects) == [(1, A), (2, B)]
    assert sent(step(paxos, Deliver(2, Promise((1, 0), ()))), Accept) == [((1, 2), Accept((1, 0), 3, (C,), 3))]


def test_requests_that_come_during_recovery_wait_and_are_not_lost() -> None:
    paxos = candidate()
    assert step(paxos, Request(A)) == []
    assert step(paxos, Deliver(1, Forward(B, (0, 0)))) == []
    step(paxos, Deliver(1, Promise((1, 0), ((1, (0, 1), C),))))
    effects = step(paxos, Deliver(2, Promise((1, 0), ())))
    assert [message.commands for _, message in sent(effects, Accept)] == [(C,), (A,), (B,)]


def test_a_request_that_the_recovery_proposes_anyway_gets_no_second_slot() -> None:
    paxos = candidate()
    step(paxos, Request(A))
    step(paxos, Deliver(1, Promise((1, 0), ((1, (0, 1), A),))))
    effects = step(paxos, Deliver(2, Promise((1, 0), ())))
    assert [message.commands for _, message in sent(effects, Accept)] == [(A,)]


def test_promises_for_another_ballot_do_not_count() -> None:
    paxos = candidate()
    step(paxos, Timer("election"))
    assert paxos.promised == (2, 0)
    for source in (1, 2):
        step(paxos, Deliver(source, Promise((1, 0), ())))
    assert paxos.role == "candidate"


def test_a_candidate_that_was_refused_goes_above_when_its_timer_fires() -> None:
    paxos = candidate()
    step(paxos, Deliver(1, Nack((7, 1))))
    assert paxos.role == "follower"
    assert sent(step(paxos, Timer("election")), Prepare) == [((0, 1, 2), Prepare((8, 0), 1))]


def test_a_lost_prepare_is_sent_again_to_those_who_have_not_promised() -> None:
    paxos = candidate()
    step(paxos, Deliver(2, Promise((1, 0), ())))
    assert sent(step(paxos, Timer("retry")), Prepare) == [((0, 1), Prepare((1, 0), 1))]


def test_a_candidate_far_behind_is_taught_before_it_is_promised_anything() -> None:
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    for sequence in range(1, 2 * CHUNK + 50):
        network.ask(0, put(sequence))
    network.exchange(among={0, 1})
    assert network.replica(2).committed == 1
    network.fire(2, "election")
    network.deliver(2, 0, Prepare)
    assert len(network.under_way(Chosen)) == 1
    assert not network.under_way(Promise)
    network.exchange()
    assert network.replica(2).role == "leader"
    assert network.replica(2).committed == 2 * CHUNK + 50


# --- phase 2 ----------------------------------------------------------------------------------------------------------


def test_a_request_costs_the_leader_one_broadcast_one_write_and_its_own_vote() -> None:
    """The Accept vouches for nothing on the leader's disk; its own vote comes back when that has caught up."""
    assert step(leader(), Request(A)) == [
        (BROADCAST_UNSYNCED, (1, 2), Accept((1, 0), 1, (A,), 1)),
        (PERSIST, 1, ((1, 0), A)),
        (SEND, 0, Accepted((1, 0), 1)),
    ]


def test_an_acceptor_writes_and_then_votes() -> None:
    acceptor = follower()
    effects = step(acceptor, Deliver(0, Accept((1, 0), 1, (A, B), 1)))
    assert effects[:3] == [
        (PERSIST, 1, ((1, 0), A)),
        (PERSIST, 2, ((1, 0), B)),
        (SEND, 0, Accepted((1, 0), 1)),
    ]


def test_a_quorum_of_votes_commits_executes_and_answers() -> None:
    paxos = leader()
    step(paxos, Request(A))
    assert step(paxos, Deliver(1, Accepted((1, 0), 1))) == []
    assert step(paxos, Deliver(1, Accepted((1, 0), 1))) == [], "a vote that arrives twice counts once"
    assert step(paxos, Deliver(2, Accepted((1, 0), 1))) == [(COMMIT, 1, A), (EXECUTE, A, None), (ANSWER, A, None)]
    assert step(paxos, Deliver(0, Accepted((1, 0), 1))) == []


def test_votes_for_an_older_ballot_do_not_count() -> None:
    paxos = leader()
    step(paxos, Request(A))
    step(paxos, Deliver(1, Nack((2, 1))))
    step(paxos, Timer("election"))
    assert paxos.promised == (3, 0)
    for source in (0, 1):
        step(paxos, Deliver(source, Promise((3, 0), ())))
    assert sent([(BROADCAST_UNSYNCED, (), message) for message in paxos.proposed.values()], Accept)
    for source in (0, 1, 2):
        assert step(paxos, Deliver(source, Accepted((1, 0), 1))) == []


def test_a_slot_chosen_out_of_order_is_committed_and_executed_in_its_turn() -> None:
    paxos = leader()
    for command in (A, B):
        step(paxos, Request(command))
    step(paxos, Deliver(1, Accepted((1, 0), 2)))
    early = step(paxos, Deliver(2, Accepted((1, 0), 2)))
    assert committed(early) == [(2, B)]
    assert not [effect for effect in early if effect[0] in (EXECUTE, ANSWER)]
    step(paxos, Deliver(1, Accepted((1, 0), 1)))
    late = step(paxos, Deliver(2, Accepted((1, 0), 1)))
    assert committed(late) == [(1, A)]
    assert [a for tag, a, _ in late if tag == EXECUTE] == [A, B]


def test_a_batch_that_the_leader_has_learnt_in_part_is_executed() -> None:
    """A late Chosen may tell a leader of the first slots of what it is proposing again."""
    paxos = candidate()
    step(paxos, Deliver(1, Promise((1, 0), ((1, (0, 1), A), (2, (0, 1), B)))))
    step(paxos, Deliver(2, Promise((1, 0), ())))
    step(paxos, Deliver(1, Chosen((0, 1), 1, (A,), 2)))
    step(paxos, Deliver(1, Accepted((1, 0), 1)))
    assert committed(step(paxos, Deliver(2, Accepted((1, 0), 1)))) == [(2, B)]


def test_a_duplicate_command_executes_once_and_a_no_op_never() -> None:
    acceptor = follower()
    step(acceptor, Deliver(0, Accept((1, 0), 1, (A, NOOP, A, B), 1)))
    effects = step(acceptor, Deliver(0, Heartbeat((1, 0), 5)))
    assert committed(effects) == [(1, A), (2, NOOP), (3, A), (4, B)]
    assert [a for tag, a, _ in effects if tag == EXECUTE] == [A, B]


def test_proposals_without_a_quorum_are_sent_again_to_the_silent_after_a_whole_interval() -> None:
    paxos = leader()
    for command in (A, B):
        step(paxos, Request(command))
    for source in (1, 2):
        step(paxos, Deliver(source, Accepted((1, 0), 1)))
    step(paxos, Deliver(0, Accepted((1, 0), 2)))
    assert sent(step(paxos, Timer("retry")), Accept) == []
    step(paxos, Request(C))
    assert sent(step(paxos, Timer("retry")), Accept) == [((1, 2), Accept((1, 0), 2, (B,), 1))]


def test_an_old_leader_is_fenced_and_its_requests_go_to_its_successor() -> None:
    """The old leader is cut off, not dead: it goes on proposing, in vain, and learns of the new one when it is back."""
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    network.fire(1, "election")
    network.exchange(among={1, 2})
    network.ask(0, A)
    network.exchange(among={0})
    network.ask(1, B)
    network.exchange(among={1, 2})
    assert network.answers == [(1, B)]
    network.ask(0, C)
    network.exchange()
    assert network.replica(0).role == "follower"
    network.fire(1, "heartbeat")
    network.fire(1, "heartbeat")
    network.exchange()
    assert network.answers == [(1, B), (1, A), (1, C)]
    network.fire(1, "heartbeat")
    network.fire(1, "heartbeat")
    network.exchange()
    assert [network.world.servers[me].executed for me in range(3)] == [3, 3, 3]


# --- what followers learn ---------------------------------------------------------------------------------------------


def test_followers_learn_of_commits_from_the_next_accept() -> None:
    acceptor = follower()
    step(acceptor, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    effects = step(acceptor, Deliver(0, Accept((1, 0), 2, (B,), 2)))
    assert committed(effects) == [(1, A)]
    assert not [effect for effect in effects if effect[0] == ANSWER]


def test_a_leader_sends_heartbeats_also_just_after_a_proposal() -> None:
    """Else it is silent for nearly two heartbeats, and with short time-outs others campaign."""
    paxos = leader()
    step(paxos, Request(A))
    for _ in range(2):
        assert sent(step(paxos, Timer("heartbeat")), Heartbeat) == [((1, 2), Heartbeat((1, 0), 1))]


def test_a_value_from_an_older_ballot_is_not_taken_for_the_chosen_one() -> None:
    """That slot 1 is chosen does not say that the value accepted there from an earlier leader is: ask."""
    acceptor = follower()
    step(acceptor, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    effects = step(acceptor, Deliver(2, Heartbeat((2, 2), 2)))
    assert committed(effects) == []
    assert sent(effects, Fetch) == [(2, Fetch(1))]
    assert committed(step(acceptor, Deliver(2, Chosen((2, 2), 1, (B,), 2)))) == [(1, B)]


def test_a_follower_does_not_execute_past_a_gap_and_asks_once_for_what_it_lacks() -> None:
    acceptor = follower()
    step(acceptor, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    effects = step(acceptor, Deliver(0, Accept((1, 0), 3, (C,), 3)))
    assert committed(effects) == [(1, A)]
    assert sent(effects, Fetch) == [(0, Fetch(2))]
    assert sent(step(acceptor, Deliver(0, Heartbeat((1, 0), 3))), Fetch) == []
    step(acceptor, Timer("retry"))
    assert sent(step(acceptor, Deliver(0, Heartbeat((1, 0), 3))), Fetch) == [(0, Fetch(2))]


def test_a_lagging_replica_catches_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_paxos_learner, "PART", 100)
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    for sequence in range(1, 250):
        network.ask(0, put(sequence))
    network.exchange(among={0, 1})
    network.fire(0, "heartbeat")
    network.fire(0, "heartbeat")
    network.deliver(0, 2, Heartbeat)
    parts = []
    while network.under_way(Fetch):
        network.deliver(2, 0, Fetch)
        parts.append(len(network.under_way(Chosen)[0][2].commands))
        network.deliver(0, 2, Chosen)
    assert parts == [100, 100, 49]
    assert network.world.servers[2].executed == 249


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_follower_passes_a_request_on_at_once() -> None:
    assert step(follower(), Request(A)) == [(SEND_UNSYNCED, 0, Forward(A, (1, 0)))]


def test_a_request_without_a_leader_waits_until_one_is_heard_of() -> None:
    paxos = replica(1, queue_limit=2)
    for command in (A, B, A, C):
        assert step(paxos, Request(command)) == []
    effects = step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    assert sent(effects, Forward) == [(0, Forward(A, (1, 0))), (0, Forward(B, (1, 0)))], "C is beyond the limit"


def test_a_forwarded_request_goes_only_to_a_leader_of_a_higher_ballot() -> None:
    """Otherwise two replicas that take each other for the leader would send it to and fro."""
    paxos = follower((2, 0))
    assert sent(step(paxos, Deliver(2, Forward(A, (1, 1)))), Forward) == [(0, Forward(A, (2, 0)))]
    assert step(paxos, Deliver(2, Forward(A, (2, 0)))) == []


def test_what_a_leader_may_have_taken_with_it_is_passed_on_to_the_next() -> None:
    """What was passed on and is not executed here; as much of it as is kept (clients ask again for the rest)."""
    paxos = replica(1, queue_limit=2)
    step(paxos, Deliver(0, Heartbeat((1, 0), 1)))
    for command in (A, B, C):
        assert sent(step(paxos, Request(command)), Forward) == [(0, Forward(command, (1, 0)))]
    step(paxos, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    step(paxos, Deliver(0, Heartbeat((1, 0), 2)))
    assert sent(step(paxos, Deliver(2, Prepare((2, 2), 2))), Forward) == [], "2 does not lead yet"
    assert sent(step(paxos, Deliver(2, Heartbeat((2, 2), 2))), Forward) == [(2, Forward(B, (2, 2)))]
    assert sent(step(paxos, Deliver(2, Heartbeat((2, 2), 2))), Forward) == []


def test_a_retry_is_not_proposed_again_and_after_execution_answered_by_any_replica() -> None:
    network = Network(MultiPaxos, first_leader=0)
    network.exchange()
    network.ask(0, A, A)
    network.ask(1, A)
    network.exchange()
    assert network.replica(0).next == 2
    assert network.answers == [(0, A)]
    network.ask(0, A)
    network.ask(2, B)
    network.exchange()
    network.ask(1, A)
    assert network.answers == [(0, A), (0, A), (0, B), (1, A)]


def test_the_window_bounds_what_is_proposed_and_the_rest_queues() -> None:
    """PMMC 4.1."""
    paxos = leader(window=2)
    accepts = [sent(step(paxos, Request(command)), Accept) for command in (A, B, C, D)]
    assert [len(messages) for messages in accepts] == [1, 1, 0, 0]
    step(paxos, Deliver(1, Accepted((1, 0), 1)))
    effects = step(paxos, Deliver(2, Accepted((1, 0), 1)))
    assert sent(effects, Accept) == [((1, 2), Accept((1, 0), 3, (C,), 2))]


def test_a_batch_leaves_when_it_is_full_or_has_waited_long_enough() -> None:
    paxos = leader(batch_size=2, batch_ms=5.0)
    assert sent(step(paxos, Request(A)), Accept) == []
    assert sent(step(paxos, Request(B)), Accept) == [((1, 2), Accept((1, 0), 1, (A, B), 1))]
    assert sent(step(paxos, Request(C)), Accept) == []
    assert sent(step(paxos, Timer("batch")), Accept) == [((1, 2), Accept((1, 0), 3, (C,), 1))]
    step(paxos, Deliver(1, Accepted((1, 0), 1)))
    assert committed(step(paxos, Deliver(2, Accepted((1, 0), 1)))) == [(1, A), (2, B)]


def test_without_a_wait_only_what_the_window_held_up_is_batched() -> None:
    paxos = leader(batch_size=3, window=3)
    accepts = [message for command in (A, B, C, D) for _, message in sent(step(paxos, Request(command)), Accept)]
    assert [message.commands for message in accepts] == [(A,), (B,), (C,)]
    step(paxos, Request(put(2)))
    for slot in (2, 3, 1):
        for source in (1, 2):
            effects = step(paxos, Deliver(source, Accepted((1, 0), slot)))
    assert sent(effects, Accept) == [((1, 2), Accept((1, 0), 4, (D, put(2)), 4))]


# --- quorums and options ----------------------------------------------------------------------------------------------


def test_flexible_quorums() -> None:
    """Flexible Paxos: with four promises of five, two votes choose."""
    network = Network(MultiPaxos, size=5, first_leader=0, phase1_quorum=4, phase2_quorum=2)
    network.exchange(among={0, 1, 2})
    assert network.replica(0).role == "candidate"
    network.fire(0, "retry")
    network.exchange(among={0, 1, 2, 3})
    assert network.replica(0).role == "leader"
    network.ask(0, A)
    network.exchange(among={0, 4})
    assert network.answers == [(0, A)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"phase1_quorum": 2, "phase2_quorum": 3}, "need not intersect among 5 replicas"),
        ({"phase2_quorum": 6}, "phase-2 quorum of 6 cannot be formed from 5 replicas"),
        ({"batch_size": 0}, "batch_size = 0: must be at least 1"),
        ({"batch_ms": -1.0}, "batch_ms = -1.0: must not be negative"),
        ({"window": 3, "batch_size": 4}, "must hold at least one batch"),
        ({"queue_limit": 0}, "queue_limit = 0"),
        ({"quorum": 3}, "option 'multi-paxos.quorum' is unknown"),
    ],
)
def test_options_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_options(MultiPaxos, settings, 5)


def test_quorums_that_miss_each_other_need_to_be_called_unsafe() -> None:
    make_options(MultiPaxos, {"phase1_quorum": 1, "phase2_quorum": 1, "unsafe_quorums": True}, 5)


# --- restart ----------------------------------------------------------------------------------------------------------


def test_a_restarted_replica_has_its_promise_and_acceptances_and_executes_what_it_knows_chosen() -> None:
    disk = {"promised": (3, 2), "committed": 3, 1: ((1, 0), A), 2: (CHOSEN, B), 3: ((2, 1), C), 5: (CHOSEN, D)}
    paxos = replica()
    effects = step(paxos, Recover(disk))
    assert committed(effects) == [(1, A), (2, B), (5, D)]
    assert [a for tag, a, _ in effects if tag == EXECUTE] == [A, B]
    assert (paxos.promised, paxos.committed) == ((3, 2), 3)
    assert held(paxos) == {1: A, 2: B, 3: C, 5: D}
    assert step(paxos, Deliver(1, Prepare((3, 1), 3))) == [(SEND_UNSYNCED, 1, Nack((3, 2)))]


def test_a_restarted_leader_takes_a_new_ballot() -> None:
    network = Network(MultiPaxos, first_leader=0)
    network.crash(0)
    network.fire(0, "election")
    assert network.replica(0).promised == (2, 0)


def test_how_far_the_log_is_chosen_is_written_now_and_then() -> None:
    paxos = follower()
    step(paxos, Deliver(0, Accept((1, 0), 1, (A,), 1)))
    step(paxos, Deliver(0, Heartbeat((1, 0), 2)))
    assert (PERSIST, "committed", 2) in step(paxos, Timer("retry"))
    assert not [effect for effect in step(paxos, Timer("retry")) if effect[0] == PERSIST]


# --- schedules that break the rule when it is missing, and hold when it is there --------------------------------------


def two_candidates(protocol: type[Replica], crash: bool) -> Network:
    """Acceptor 2 promises candidate 0's ballot, then candidate 1's, and perhaps crashes. 0 goes on with {0, 2}, 1 with
    {1, 2}; each proposes in slot 1."""
    network = Network(protocol)
    network.fire(0, "election")
    network.fire(1, "election")
    for source, to in ((0, 0), (0, 2), (1, 1), (1, 2)):
        network.deliver(source, to, Prepare)
    if crash:
        network.crash(2)
    for source, to in ((0, 0), (2, 0), (1, 1), (2, 1)):
        network.deliver(source, to, Promise)
    network.ask(0, A)
    network.ask(1, B)
    for source in (0, 1):
        network.deliver(source, 2, Accept)
    network.world.in_flight = network.under_way(Accepted)
    network.exchange()
    return network


def promise_forgotten(protocol: type[Replica]) -> Network:
    """The second promise does not survive the crash."""
    return two_candidates(protocol, crash=True)


def ballot_shared(protocol: type[Replica]) -> Network:
    """Both candidates have the same ballot."""
    return two_candidates(protocol, crash=False)


def ballot_used_again(protocol: type[Replica]) -> Network:
    """Leader 0 proposes A in slot 1, crashes before that is on its disk, is elected again and proposes B there. Then
    come the old proposals."""
    network = Network(protocol)
    network.fire(0, "election")
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.crash(0)
    network.fire(0, "election")
    network.exchange(keep=Accept)
    network.ask(0, B)
    for me in (1, 2):
        network.deliver(0, me, Accept)
    network.exchange(among={0, 1, 2}, keep=Accept)
    network.world.in_flight.clear()
    network.fire(1, "election")
    network.exchange(among={1, 2})
    return network


def vote_from_an_older_ballot(protocol: type[Replica]) -> Network:
    """1 accepts A from leader 0 in slot 1. 0 crashes before that is on its disk and is elected again by {0, 2}, which
    know nothing of A; it proposes B in slot 1 and has only its own vote when 1's old one arrives."""
    network = Network(protocol)
    network.fire(0, "election")
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    old_vote = network.under_way(Accepted)
    network.crash(0)
    network.world.in_flight.clear()
    network.fire(0, "election")
    network.exchange(among={0, 2})
    network.ask(0, B)
    network.deliver(0, 0, Accepted)
    network.world.in_flight = old_vote
    network.deliver(1, 0, Accepted)
    network.world.in_flight.clear()
    network.fire(1, "election")
    network.exchange(among={1, 2})
    return network


def command_chosen_twice(protocol: type[Replica]) -> Network:
    """The old leader 0, cut off, has accepted B in slot 1 and A in slot 2; A's client asks again at 1, where A gets
    slot 1. When 0 leads again it must propose A again in slot 2."""
    network = Network(protocol)
    network.fire(0, "election")
    network.exchange()
    network.ask(0, B, A)
    network.exchange(among={0})
    network.fire(1, "election")
    network.exchange(among={1, 2})
    network.ask(1, A)
    network.exchange(among={1, 2})
    for _ in range(2):
        network.fire(1, "heartbeat")
    network.deliver(1, 0, Heartbeat)
    network.world.in_flight.clear()
    network.fire(0, "election")
    network.exchange(among={0, 2})
    assert held(network.replica(0)) == {1: A, 2: A, 3: B}, "and what its own client asked for is not lost"
    return network


def accepted_without_a_promise(protocol: type[Replica]) -> Network:
    """Acceptor 2 hears of leader 1 only by its Accept, C in slot 1, which so is chosen. Then comes what the old leader
    0, which crashed and lost it, had proposed there."""
    network = Network(protocol)
    network.fire(0, "election")
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.crash(0)
    network.drop(0, 1, Accept)
    network.fire(1, "election")
    network.exchange(among={0, 1}, keep=Accept)
    network.ask(1, C)
    network.deliver(1, 2, Accept)
    network.exchange(among={1, 2}, keep=Accept)
    assert network.answers == [(1, C)]
    network.deliver(0, 2, Accept)
    network.world.in_flight.clear()
    network.fire(0, "election")
    network.exchange(among={0, 2})
    return network


def vote_not_on_disk(protocol: type[Replica]) -> Network:
    """1 accepts A from leader 0, and hears that all so far is chosen; A is not on 0's disk when 0 crashes. Then 0 and 2
    decide without 1."""
    network = Network(protocol)
    network.fire(0, "election")
    network.exchange()
    network.frozen.add(0)
    network.ask(0, A)
    network.deliver(0, 1, Accept)
    network.deliver(1, 0, Accepted)
    network.fire(0, "heartbeat")
    network.deliver(0, 1, Heartbeat)
    network.crash(0)
    network.world.in_flight.clear()
    network.fire(0, "election")
    network.exchange(among={0, 2})
    network.ask(0, B)
    network.exchange(among={0, 2})
    assert network.answers == [(0, B)]
    return network


def learnt_from_a_higher_ballot(protocol: type[Replica]) -> Network:
    """0 asks leader 4 for slot 1 and is then leader itself, by {0, 1, 2}; only 1 accepts its B in slot 2. 3 is elected
    by {2, 3, 4}, and C is chosen in slot 2. Now 4 answers 0's old question: 0 must not go on telling 1 what is chosen
    below, as the leader of the old ballot."""
    network = Network(protocol, size=5)
    network.fire(4, "election")
    network.exchange()
    network.ask(4, A)
    network.exchange(among={2, 3, 4})
    network.fire(4, "heartbeat")
    network.deliver(4, 0, Heartbeat)
    network.fire(0, "election")
    network.exchange(among={0, 1, 2}, keep=Fetch)
    network.ask(0, B)
    network.exchange(among={0, 1}, keep=Fetch)
    network.fire(3, "election")
    network.exchange(among={2, 3, 4}, keep=Fetch)
    network.ask(3, C)
    network.exchange(among={2, 3, 4}, keep=Fetch)
    network.fire(3, "heartbeat")
    network.exchange(among={3, 4}, keep=Fetch)
    network.deliver(0, 4, Fetch)
    network.deliver(4, 0, Chosen)
    assert held(network.replica(0)) == {1: A, 2: C}
    network.ask(0, D)
    network.exchange(among={0, 1})
    return network


SCHEDULES: list[tuple[Any, type[Replica], str]] = [
    (promise_forgotten, mutants.ForgetsPromises, "agreement"),
    (ballot_shared, mutants.ComparesRounds, "agreement"),
    (ballot_used_again, mutants.ReusesBallots, "agreement"),
    (vote_from_an_older_ballot, mutants.CountsOldVotes, "agreement"),
    (command_chosen_twice, mutants.ExecutesRetries, "exactly once"),
    (accepted_without_a_promise, mutants.AcceptsWithoutPromising, "agreement"),
    (vote_not_on_disk, mutants.CountsItsVoteAtOnce, "agreement"),
    (learnt_from_a_higher_ballot, mutants.LearnsNoBallots, "agreement"),
]


@pytest.mark.parametrize(
    ("schedule", "mutant", "falls"), SCHEDULES, ids=[mutant.__name__ for _, mutant, _ in SCHEDULES]
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Any, mutant: type[Replica], falls: str) -> None:
    assert violated(schedule, MultiPaxos) is None
    assert violated(schedule, mutant) == falls
