"""Reads beside the log (thesis section 6.4): leadership is certain by a majority's word, or by the clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fault_worlds import loaded
from raft_network import MS

from consensus_bench.contract import Cluster, Command, ConfigError, Context, Effect
from consensus_bench.contract.context import ANSWER, READ
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Recover, Request, Start, Timer, step
from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.statistics import column
from consensus_bench.exploration import run_seeds
from consensus_bench.exploration.scheduler import ScheduleViolated
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


# Mutants.


class AnswersUnasked(Raft):
    """Nobody is asked whether the leader still leads."""

    __slots__ = ()

    def _serve_read(self, ctx: Context, command: Command) -> None:
        self._read(ctx, command)


class ReadsBeforeItsTerm(Raft):
    """A new leader answers before an entry of its own term is committed."""

    __slots__ = ()

    def _knows_all_committed(self) -> bool:
        return True


@pytest.mark.parametrize("mutant", [AnswersUnasked, ReadsBeforeItsTerm])
def test_a_careless_reader_is_found_out_by_random_schedules(mutant: type[Raft]) -> None:
    with pytest.raises(ScheduleViolated, match="linearizab"):
        run_seeds(mutant, range(400), settings={"reads": "index"})


class LeasesFromTheAnswer(Raft):
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
    fallen = [verdicts(world("lease", [cut], f"{__file__}:LeasesFromTheAnswer")) for cut in cuts]
    assert {"linearizability"} in fallen
    assert all(not verdicts(world("lease", [cut])) for cut in cuts)
