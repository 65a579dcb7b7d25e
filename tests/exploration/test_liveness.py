"""Fair cycles among the undecided states of Basic Paxos."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from consensus_bench.cli.liveness import command
from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.fairness import FAIRNESS, fair_lasso
from consensus_bench.exploration.exhaustive.liveness import Edge, Graph, Undecided

LINK = ("deliver", 0, 1, "Prepare")
OTHER = ("deliver", 1, 0, "Prepare")
RETRY = ("time-out", 0, 0, "retry")


def undecided(**settings: Any) -> Graph:
    protocol = find_protocol("basic-paxos")
    arguments = {"proposers": 1, "timers": "patient", "window": 2, **settings}
    return Undecided(protocol, make_options(protocol, {}, 3), **arguments).graph()


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
    for arguments in (["raft"], ["basic-paxos", "--fairness", "some"]):
        assert isinstance(CliRunner().invoke(command, arguments).exception, ConfigError)


def test_the_command_prints_a_verdict_for_each_assumption() -> None:
    result = CliRunner().invoke(command, ["--proposers", "1", "--timers", "any"])
    assert result.exit_code == 0, result.output
    assert "strong: nothing may ever be chosen" in result.output
    assert "every-choice: no cycle found" in result.output


def test_links_in_order_take_states_away_and_the_patient_proposers_of_two_rounds_do_not_duel() -> None:
    graph = undecided(proposers=2, network="fifo")
    assert (len(graph.edges), graph.closed) == (4_549, True)
    assert survives(graph) == set()
