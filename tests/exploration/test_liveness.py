"""Fair cycles among the undecided states of Basic Paxos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consensus_bench.cli.liveness import command
from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.chain import Chain, endless_chain
from consensus_bench.exploration.exhaustive.fairness import FAIRNESS, Lasso, fair_lasso
from consensus_bench.exploration.exhaustive.liveness import Edge, Graph, Undecided
from consensus_bench.exploration.exhaustive.repetition import Reached, Repetition, repeat
from consensus_bench.exploration.exhaustive.subjects import raised, rounds_in, subject_of
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.trace import read_trace

LINK = ("deliver", 0, 1, "Prepare")
OTHER = ("deliver", 1, 0, "Prepare")
RETRY = ("time-out", 0, 0, "retry")


PATIENT: dict[str, Any] = {"timers": "patient", "window": 2}
FAIR = {"none", "weak-delivery", "weak", "strong-delivery", "strong"}


def undecided(**settings: Any) -> Graph:
    protocol = find_protocol("basic-paxos")
    arguments = {"proposers": 1, "timers": "patient", "window": 2, **settings}
    return Undecided(protocol, make_options(protocol, {}, 3), **arguments).graph()


def searched(name: str, **settings: Any) -> tuple[Undecided, Graph]:
    protocol = find_protocol(name)
    options = make_options(protocol, subject_of(name).settings, settings.get("replicas", 3))
    search = Undecided(protocol, options, **{**PATIENT, **settings})
    return search, search.graph()


def repeated(name: str, search: Undecided, lasso: Lasso) -> Repetition:
    protocol = find_protocol(name)
    settings = subject_of(name).settings
    return repeat(search, lasso, protocol, make_options(protocol, settings, search.replicas), name, settings)


def survives(graph: Graph) -> set[str]:
    return {name for name, fairness in FAIRNESS.items() if fair_lasso(graph, fairness) is not None}


def test_a_distinguished_proposer_that_is_patient_chooses_something() -> None:
    graph = undecided()
    assert graph.closed
    assert graph.blocked == 0
    assert graph.decisions
    assert survives(graph) == set()


def test_a_distinguished_proposer_that_is_impatient_outbids_itself_however_fair_the_world() -> None:
    graph = undecided(timers="any")
    assert survives(graph) == {"none", "weak-delivery", "weak", "strong-delivery", "strong"}


def test_bounded_ballots_run_out_without_a_cycle() -> None:
    assert survives(undecided(timers="any", ballots=2)) == set()


def test_a_lasso_is_a_path_back_to_its_first_state_that_delivers_and_fires() -> None:
    graph = undecided(timers="any")
    lasso = fair_lasso(graph, FAIRNESS["strong"])
    assert lasso is not None
    state = 0
    for edge in (*lasso.stem, *lasso.cycle):
        assert edge in graph.edges[state]
        assert edge.to is not None
        state = edge.to
    assert state == (lasso.stem[-1].to if lasso.stem else 0)
    assert {edge.action[0] for edge in lasso.cycle} == {"deliver", "time-out"}


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        # A step that is always possible and never taken: only without fairness.
        ([[Edge(RETRY, None, 0), Edge(LINK, None, None)]], {"none"}),
        # Possible now and then, and never taken: strong fairness forbids it, weak fairness does not.
        (
            [[Edge(RETRY, None, 1), Edge(LINK, None, None)], [Edge(RETRY, None, 0)]],
            {"none", "weak-delivery", "weak"},
        ),
        # The same kind of step is taken in another state: only "every choice" forbids it.
        (
            [[Edge(LINK, None, 1), Edge(OTHER, None, None)], [Edge(OTHER, None, 0)]],
            {"none", "weak-delivery", "weak", "strong-delivery", "strong"},
        ),
        ([[Edge(LINK, None, 1)], [Edge(RETRY, None, 0)]], set(FAIRNESS)),
        ([[Edge(LINK, None, 1)], [Edge(RETRY, None, None)]], set()),
        # A step out of the bounds counts as possible.
        ([[Edge(RETRY, None, 0), Edge(LINK, None, -1)]], {"none"}),
    ],
)
def test_each_assumption_forbids_what_it_says(edges: list[list[Edge]], expected: set[str]) -> None:
    assert survives(Graph(edges)) == expected


@pytest.mark.parametrize("settings", [{"proposers": 4}, {"proposers": 0}, {"window": 0}, {"states": 0}, {"ballots": 0}])
def test_a_bound_that_makes_no_sense_is_named(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(settings))}"):
        undecided(**settings)


def test_other_protocols_and_assumptions_are_refused() -> None:
    for arguments in (
        ["epaxos", "--window", "3"],
        ["epaxos", "--set", "rules=star"],
        ["basic-paxos", "--fairness", "some"],
        ["raft", "--proposers", "4"],
    ):
        assert isinstance(CliRunner().invoke(command, arguments).exception, ConfigError)


def test_the_command_prints_a_verdict_for_each_assumption() -> None:
    result = CliRunner().invoke(command, ["--proposers", "1", "--timers", "any"])
    assert result.exit_code == 0, result.output
    assert "strong: nothing may ever be chosen: a cycle of 5 steps" in result.output
    assert "every-choice: no cycle found" in result.output


def test_links_in_order_take_states_away_and_the_patient_proposers_of_two_rounds_do_not_duel() -> None:
    graph = undecided(proposers=2, network="fifo")
    assert (len(graph.edges), graph.closed) == (4_549, True)
    assert survives(graph) == set()


# Elections.


@pytest.mark.parametrize(
    ("name", "settings", "states", "expected"),
    [
        # One vote decides between two candidates of three servers, and the higher ballot between any.
        ("raft", {"proposers": 2}, 239, set()),
        ("raft", {"proposers": 3, "network": "fifo"}, 12_191, FAIR),
        ("multi-paxos", {"proposers": 2}, 195, set()),
        ("multi-paxos", {"proposers": 3, "network": "fifo"}, 7_310, set()),
    ],
)
def test_split_votes_need_chance_and_ballots_only_time(
    name: str, settings: dict[str, Any], states: int, expected: set[str]
) -> None:
    _, graph = searched(name, **settings)
    assert graph.is_whole
    assert len(graph.edges) == states
    assert survives(graph) == expected


@pytest.mark.parametrize("name", ["raft", "multi-paxos"])
def test_a_candidate_whose_time_outs_fire_at_any_moment_outbids_itself(name: str) -> None:
    search, graph = searched(name, proposers=1, timers="any")
    assert survives(graph) == FAIR
    lasso = fair_lasso(graph, FAIRNESS["strong"])
    assert lasso is not None
    assert len(lasso.cycle) == 5
    assert repeated(name, search, lasso).changed == "rounds 1 higher"


def test_the_split_vote_of_two_candidates_among_four_servers_runs_as_found(tmp_path: Path) -> None:
    """The trace is that of the real classes, with real terms, and is run again from its file."""
    result = CliRunner().invoke(command, ["raft", "--replicas", "4", "--network", "fifo", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "strong: nobody may ever be elected: a cycle of 14 steps" in result.output
    assert "every-choice: somebody is elected, with probability one" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "verdicts.txt", "verdicts.json", "lasso.json", "lasso.svg", "lasso.png",
    }  # fmt: skip
    trace = read_trace(tmp_path / "lasso.json")
    protocol = find_protocol(trace.protocol)
    execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
    terms = {site.replica.current_term for site in execution.sites}  # type: ignore[union-attr]
    assert max(terms) >= 3  # twice around
    assert "rounds 1 higher: again from column" in (tmp_path / "lasso.svg").read_text()


def test_a_lasso_that_reaches_the_goal_is_not_told() -> None:
    search, graph = searched("raft", proposers=1)
    path, state = [], 0
    while True:
        edge = graph.edges[state][0]
        path.append(edge)
        if edge.to is None:
            break
        state = edge.to
    with pytest.raises(Reached, match="reaches the goal"):
        repeated("raft", search, Lasso(tuple(path), (), 1))


def test_raising_rounds_leaves_all_else_alone() -> None:
    subject = subject_of("raft")
    (message,) = [m for m in find_protocol("raft").messages if m.__name__ == "RequestVote"]
    request = message(3, 0, 0)  # type: ignore[call-arg]
    assert list(rounds_in(subject, request)) == [3]
    assert raised(subject, request, 2) == message(5, 0, 0)  # type: ignore[call-arg]
    assert raised(subject, raised(subject, request, 2), -2) == request


# Execution.


def test_a_chain_of_interfering_commands_commits_and_is_not_executed_while_clients_go_on() -> None:
    chain = endless_chain(12)
    assert chain == Chain(turns=12, committed=12, executed=0, executed_after_pause=13, comes_back=True)


def test_the_chain_is_written_as_a_trace_and_a_picture(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["epaxos", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "executed at any: 0" in result.output
    trace = read_trace(tmp_path / "lasso.json")
    protocol = find_protocol(trace.protocol)
    execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
    assert execution.violation is None
    assert not any(step.executed for step in trace.steps)
    assert "instances one number higher: again from column" in (tmp_path / "lasso.svg").read_text()
