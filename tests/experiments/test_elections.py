"""Elections alone: hand-computed times, the published distributions, determinism."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments.election_world import disks_before
from consensus_bench.experiments.elections import (
    Elections,
    Prepared,
    elect_ns,
    prepare,
    quantile,
    run_elections,
    summary,
)
from consensus_bench.simulation.randomness import plain_stream

MS = 1_000_000
PROTOCOLS = ("raft", "multi-paxos")


def prepared(**settings: Any) -> Prepared:
    return prepare(Elections(**settings))


def first_deadlines(p: Prepared, number: int) -> list[int]:
    """When each survivor's election timer fires first, ns: the first draw of its timers' stream. (Multi-Paxos' timer
    for retries draws from the same: tests put it off.)"""
    seed = plain_stream(p.seed, "trial", number).getrandbits(63)
    low, high = (round(bound * MS) for bound in p.trial.options["election_timeout_ms"])
    return [low + round(plain_stream(seed, "timers", r).random() * (high - low)) for r in range(p.trial.survivors)]


def undisturbed(p: Prepared, within_ns: int) -> list[int]:
    """Trials whose two earliest time-outs are further apart than an election takes: nobody splits the votes."""
    ordered = [(sorted(first_deadlines(p, number)), number) for number in range(12)]
    chosen = [number for times, number in ordered if len(times) < 2 or times[1] - times[0] > within_ns]
    assert len(chosen) >= 4
    return chosen


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_first_time_out_and_a_round_trip_elect_a_leader(protocol: str) -> None:
    p = prepared(
        protocol=protocol, down=1, one_way="constant:10", election_timeout=(1000, 2000), options={"retry_ms": 9000}
    )
    for number in undisturbed(p, 20 * MS):
        assert elect_ns(p, number) == min(first_deadlines(p, number)) + 20 * MS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_candidate_writes_then_the_voters_do(protocol: str) -> None:
    p = prepared(
        protocol=protocol, down=0, one_way="constant:10", election_timeout=(1000, 2000), candidate_write=(3, 3),
        vote_write=(7, 7), options={"retry_ms": 9000},
    )  # fmt: skip
    for number in undisturbed(p, 30 * MS):
        assert elect_ns(p, number) == min(first_deadlines(p, number)) + (3 + 10 + 7 + 10) * MS


def test_a_server_alone_elects_itself_when_its_vote_is_on_disk() -> None:
    p = prepared(servers=1, down=0, election_timeout=(50, 50), candidate_write=(5, 5))
    assert elect_ns(p, 0) == 55 * MS


def test_pre_votes_take_one_more_round_trip() -> None:
    p = prepared(down=1, one_way="constant:10", election_timeout=(1000, 2000), options={"pre_vote": True})
    for number in undisturbed(p, 40 * MS):
        assert elect_ns(p, number) == min(first_deadlines(p, number)) + 40 * MS


def test_with_staggered_logs_only_the_longer_log_wins() -> None:
    p = prepared(
        servers=3, down=1, one_way="constant:10", election_timeout=(1000, 2000), logs="staggered",
        since="last-heartbeat",
    )  # fmt: skip
    for number in undisturbed(p, 20 * MS):
        assert elect_ns(p, number) == first_deadlines(p, number)[1] + 20 * MS


def test_staggered_logs_make_no_difference_to_multi_paxos() -> None:
    """Promises tell a candidate what its own log lacks, so that anybody can win."""
    both = [
        prepared(protocol="multi-paxos", logs=logs, since="last-heartbeat", options={"heartbeat_ms": 100})
        for logs in ("equal", "staggered")
    ]
    for number in range(5):
        assert elect_ns(both[0], number) == elect_ns(both[1], number)


def test_from_the_crash_on_takes_up_to_a_heartbeat_interval_less() -> None:
    since = {s: prepared(logs="staggered", since=s) for s in ("last-heartbeat", "crash")}
    differences = []
    for number in range(40):
        whole, rest = (elect_ns(p, number) for p in since.values())
        assert whole is not None and rest is not None
        differences.append((whole - rest) / MS)
    assert 0 <= min(differences) < 20 and 130 < max(differences) <= 150


@pytest.mark.parametrize(("protocol", "entries"), [("raft", (1, 2, 3, 4, 4)), ("multi-paxos", (0, 1, 2, 3, 3))])
def test_each_survivors_log_is_one_entry_longer(protocol: str, entries: tuple[int, ...]) -> None:
    found = find_protocol(protocol)
    disks = disks_before(found, make_options(found, {}, 5), 5, 4, True)
    assert tuple(sum(isinstance(key, int) for key in disk) for disk in disks) == entries
    equal = disks_before(found, make_options(found, {}, 5), 5, 4, False)
    assert len({sum(isinstance(key, int) for key in disk) for disk in equal}) == 1


def test_time_outs_that_are_all_alike_elect_nobody() -> None:
    p = prepared(servers=3, down=1, one_way="constant:10", election_timeout=(100, 100))
    assert elect_ns(p, 0) is None
    assert summary([None, 3.0])["p50"] == 3.0
    assert summary([None, 3.0])["mean"] is None
    assert summary([None, 3.0])["without_leader"] == 1


def test_quantiles_are_observed_values() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.25, 0.5, 0.51, 0.999)] == [1, 2, 3, 4]


def test_delays_of_a_matrix() -> None:
    p = prepared(topology="aws-2025", sites=("us-east-1", "eu-west-1"), down=0, election_timeout=(1000, 2000))
    assert p.trial.one_way is None
    there, back = p.trial.delay_ns[0][1], p.trial.delay_ns[1][0]
    for number in undisturbed(p, there + back):
        assert elect_ns(p, number) == min(first_deadlines(p, number)) + there + back


@pytest.mark.parametrize(
    ("down", "mean", "p50", "tolerance"),
    [(0, 430, 410, 0.04), (1, 469, 423, 0.06), (2, 626, 469, 0.10)],
)
def test_the_thesis_simulated_elections(down: int, mean: float, p50: float, tolerance: float) -> None:
    """Ongaro's thesis, chapter 9, simulated wide-area elections with equal logs, without a free parameter. 300 trials:
    the tolerance is about three standard errors of the mean."""
    p = prepared(down=down)
    numbers = summary([None if t is None else t / MS for t in (elect_ns(p, n) for n in range(300))])
    assert numbers["mean"] == pytest.approx(mean, rel=tolerance)
    assert numbers["p50"] == pytest.approx(p50, rel=0.04)


def test_results_do_not_depend_on_processes(tmp_path: Path) -> None:
    p = prepared(trials=120, one_way="constant:10")
    folders = [run_elections(p, tmp_path / str(jobs), jobs).folder for jobs in (1, 2)]
    texts = [(folder / "elections.csv").read_text() for folder in folders]
    assert texts[0] == texts[1]
    assert texts[0].count("\n") == 121
    assert run_elections(p, folders[0], 1).reused
    with pytest.raises(ConfigError, match="differs in seed"):
        run_elections(prepared(trials=120, one_way="constant:10", seed=2), folders[0], 1)


def test_results_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "from consensus_bench.experiments.elections import *; "
        "p = prepare(Elections(down=2, logs='staggered', vote_write=(1, 9))); "
        "print([elect_ns(p, n) for n in range(20)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
