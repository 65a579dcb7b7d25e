"""Time-outs that are all equal, in the simulator: what the search for cycles (tests/exploration/test_liveness.py) says
of elections in which all candidates act together."""

from __future__ import annotations

import pytest

from consensus_bench.experiments.elections import Elections, elect_ns, prepare

ROUND_TRIP_MS = 70.0
TIME_OUT_MS = 300.0


@pytest.mark.parametrize(("protocol", "elect_ms"), [("raft", None), ("multi-paxos", TIME_OUT_MS + ROUND_TRIP_MS)])
def test_votes_are_split_for_ever_and_ballots_are_not(protocol: str, elect_ms: float | None) -> None:
    together = Elections(
        protocol=protocol,
        servers=3,
        down=0,
        one_way=f"constant:{ROUND_TRIP_MS / 2}",
        election_timeout=(TIME_OUT_MS, TIME_OUT_MS),
    )
    elected = elect_ns(prepare(together), 0)
    assert (None if elected is None else elected / 1e6) == elect_ms
