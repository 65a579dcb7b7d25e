"""Plans: which runs, in which order, at which load."""

from __future__ import annotations

import pickle

import pytest
from small import PRIMARY, small

from consensus_bench.experiments.plan import conflict_levels, leader_capacity, load_levels, plan
from consensus_bench.experiments.setup import prepare
from consensus_bench.simulation.profiles import find_profile


def test_every_protocol_meets_every_seed_and_level_under_a_key_of_its_own() -> None:
    setup = prepare(small(protocols=["epaxos", PRIMARY], seeds=3, load_rates=[10, 20.5], conflict_levels=[0, 50]))
    runs = plan(setup)
    kinds = [run.purpose for run in runs]
    assert kinds == ["main"] * 6 + ["load"] * 4 + ["conflict"] * 4
    assert len({run.key for run in runs}) == len(runs)
    load = next(run for run in runs if run.level == 20.5)
    assert load.key == "load-20.5-epaxos-seed1"
    assert load.settings.workload.rate == 20.5
    conflict = next(run for run in runs if run.level == 50)
    assert conflict.settings.workload.conflict == 50.0
    assert conflict.settings.workload.rate == 0


def test_runs_travel_to_other_processes() -> None:
    runs = plan(prepare(small()))
    assert pickle.loads(pickle.dumps(runs)) == runs


def test_the_automatic_sweep_goes_past_what_a_leader_can_do() -> None:
    setup = prepare(small(load_rates="auto"))
    capacity = leader_capacity(setup.profile, 3, 16)
    assert capacity == pytest.approx(1e6 / (3 * 26))  # per operation 3 in at 25 us, 3 out at 1 us
    levels = load_levels(setup)
    assert levels[0] < 0.2 * capacity
    assert levels[-1] > 1.5 * capacity
    assert levels == sorted(set(levels))


def test_large_values_saturate_the_network_card_first() -> None:
    profile = find_profile("m5-large")
    small_values, large_values = leader_capacity(profile, 5, 16), leader_capacity(profile, 5, 100_000)
    assert small_values is not None
    assert large_values is not None
    assert large_values == pytest.approx(980e6 / 8 / 4 / (100_000 + 116))
    assert large_values < small_values


def test_machines_that_cost_nothing_do_not_saturate() -> None:
    assert load_levels(prepare(small(load_rates="auto", profile="zero"))) == []


def test_conflicts_are_swept_only_where_there_is_a_hot_key() -> None:
    assert conflict_levels(prepare(small(conflict_levels="auto")))[0] == 0
    assert conflict_levels(prepare(small(conflict_levels="auto", workload="zipf"))) == []
