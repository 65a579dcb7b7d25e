"""Nobody is served for most of the run, clients ask again and again elsewhere, and what they saw is linearizable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_worlds import PROTOCOLS, loaded

from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.soak_run import SoakWorld
from consensus_bench.experiments.statistics import column
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS

OUTAGES = {
    "a majority is down": ["crash:majority@2+7"],
    "everybody lost power": ["crash:all@2+7"],
    "every link is cut": ["partition:all@2+7"],
    "nobody keeps an office": [
        "crash:leader,when=leader elected,after=300 ms,duration=4 s,times=6",
        "crash:leader@2+4",
    ],
    "the disks stall": ["stalling-disk:all@2+7"],
    "all processes are stopped": ["pause:all@2+7"],
}


def outage(protocol: str, faults: list[str]) -> tuple[dict[str, str], Any]:
    """What each check says, and the operations."""
    world = loaded(
        protocol,
        faults,
        workload=Workload(clients=2, conflict=40.0, reads=0.3, swaps=0.5),
        client_timeout_ms=600.0,
        drain_s=90.0,
    )
    result, table = judged("run", SoakWorld(world.settings), lambda: False)
    return {check.property: check.verdict for check in result.checks}, table


def longest_gap_s(table: Any) -> float:
    """The longest time in which nothing was completed."""
    return float(np.diff(np.sort(column(table, "answered_ns"))).max()) / SECOND_NS


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OUTAGES)
def test_the_history_of_a_long_outage_is_linearizable(name: str, protocol: str) -> None:
    verdicts, table = outage(protocol, OUTAGES[name])
    assert set(verdicts.values()) == {"holds"}, verdicts
    assert (column(table, "answered_ns") > 0).all()
    assert longest_gap_s(table) > (1.0 if name == "nobody keeps an office" else 6.5)
    assert column(table, "attempts").max() > 2, "nobody asked again"


def test_the_check_sees_what_a_retry_did_twice() -> None:
    spec = f"{Path(__file__).parents[1] / 'mutants' / 'raft_mutants.py'}:ExecutesRetries"
    verdicts, _ = outage(spec, OUTAGES["a majority is down"])
    assert "violated" in verdicts.values()
