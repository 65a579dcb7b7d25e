"""Proposers that outbid each other, with and without random back-off."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.backoff import (
    Backoff,
    Decision,
    decide,
    exposure,
    needing_more,
    phase_ns,
    summary,
    tail_bound,
)
from consensus_bench.topology import load_topology

ALL = (0, 1, 2, 3, 4)
EQUAL_NS = tuple(tuple(0 if a == b else 35_000_000 for b in ALL) for a in ALL)
SITES = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-1")


def delays() -> tuple[tuple[int, ...], ...]:
    return load_topology("aws-2025").delays_ns(SITES)


def test_without_back_off_and_with_equal_delays_five_proposers_outbid_each_other_until_the_limit() -> None:
    (decision,) = decide(Backoff(delay_ns=EQUAL_NS, proposers=ALL, backoff_ms=(0.0, 0.0), limit_s=20.0), [1])
    assert decision.chosen_ns is None
    assert decision.ballots > 20_000 / 70 * len(ALL) / 2  # and not because nobody tried any more


def test_with_back_off_the_same_proposers_all_decide_when_delays_are_equal() -> None:
    runs = decide(Backoff(delay_ns=EQUAL_NS, proposers=ALL, backoff_ms=(0.0, 100.0)), range(40))
    assert all(run.chosen_ns is not None for run in runs)


def test_a_run_is_a_function_of_its_seed() -> None:
    backoff = Backoff(delay_ns=delays(), proposers=ALL, backoff_ms=(0.0, 300.0))
    runs = decide(backoff, range(40))
    assert all(run.chosen_ns is not None for run in runs)
    assert len({run.chosen_ns for run in runs}) > 10
    assert decide(backoff, [7, 3]) == [runs[7], runs[3]]


def test_runs_are_the_same_in_several_processes() -> None:
    backoff = Backoff(delay_ns=EQUAL_NS, proposers=(0, 1, 2), backoff_ms=(0.0, 100.0))
    assert decide(backoff, range(60), jobs=2) == decide(backoff, range(60))


def test_nothing_is_faster_than_a_phase_and_half_of_one() -> None:
    delay_ns = delays()
    (alone,) = decide(Backoff(delay_ns=delay_ns, proposers=(1,), backoff_ms=(0.0, 0.0)), [1])
    assert alone.ballots == 1
    assert alone.chosen_ns == phase_ns(delay_ns, 1) + sorted(delay_ns[1])[2]


def test_two_proposers_never_need_more_ballots_than_the_bound_says() -> None:
    """Where the bound says that a ballot cannot be outbid, no run may contradict it."""
    delay_ns = delays()
    for pair in combinations(ALL, 2):
        for high_ms in (0.0, 50.0, 200.0):
            backoff = Backoff(delay_ns=delay_ns, proposers=pair, backoff_ms=(0.0, high_ms))
            runs, bounds = decide(backoff, range(30 if high_ms else 1)), tail_bound(backoff, 30)
            assert all(before >= after for before, after in pairwise(bounds))
            for ballots, bound in enumerate(bounds, 1):
                share = needing_more(runs, ballots)
                assert share == 0 or bound > 0, f"{pair}, {high_ms} ms: {share:.0%} need more than {ballots} ballots"
                assert share <= bound + 0.25, f"{pair}, {high_ms} ms: {share} > {bound} at {ballots}"


def test_the_window_of_equal_delays() -> None:
    """The Accepts arrive after three delays. A ballot begun after two is too late; another proposer hears after one, if
    it sends to itself what it has promised to ignore."""
    exposed = exposure(EQUAL_NS, 0, 1)
    assert (exposed.heard_ns, exposed.open_ns) == (35_000_000, 70_000_000)


def test_a_run_without_a_decision_counts_as_endless() -> None:
    numbers = summary([Decision(2_000_000, 2), Decision(None, 9)])
    assert numbers["undecided"] == 1
    assert (numbers["p50_ms"], numbers["p99_ms"], numbers["mean_ballots"]) == (2.0, None, 5.5)
    assert needing_more([Decision(2_000_000, 2), Decision(None, 9)], 9) == 0.5


@pytest.mark.parametrize("settings", [{"proposers": ()}, {"proposers": (5,)}, {"limit_s": 0.0}])
def test_what_cannot_be_run_is_refused(settings: dict[str, object]) -> None:
    arguments = {"delay_ns": EQUAL_NS, "proposers": (0, 1), "backoff_ms": (0.0, 0.0), **settings}
    with pytest.raises(ConfigError, match=next(iter(settings))):
        decide(Backoff(**arguments), [1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="two"):
        tail_bound(Backoff(delay_ns=EQUAL_NS, proposers=ALL, backoff_ms=(0.0, 0.0)), 3)
