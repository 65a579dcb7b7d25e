"""Soak the three protocols and keep the summaries: `make soak` (2,000 seeds each).

The runs themselves go to results/runs/soak/PROTOCOL/ and are not repeated. Exit status 1: something was lost.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from consensus_bench.experiments.soak import Outcome, Soak, run_soak

HERE: Final = Path(__file__).parent
RUNS: Final = HERE.parent / "runs" / "soak"
PROTOCOLS: Final = ("multi-paxos", "raft", "epaxos")
KEPT: Final = ("summary.md", "summary.csv")
SEEDS: Final = 2000


def make(protocol: str, seeds: int) -> Outcome:
    """One protocol; its summary is beside this file."""
    outcome = run_soak(Soak(protocol=protocol, runs=seeds), RUNS / f"{protocol}-{seeds}")
    (HERE / protocol).mkdir(exist_ok=True)
    for name in KEPT:
        shutil.copyfile(outcome.folder / name, HERE / protocol / name)
    return outcome


def main() -> int:
    """`make.py [SEEDS [PROTOCOL ...]]`"""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    lost = 0
    for protocol in sys.argv[2:] or PROTOCOLS:
        outcome = make(protocol, seeds)
        print(f"{protocol}: {outcome.runs:,} runs, {len(outcome.failures)} with a violation")
        for failure in outcome.failures:
            print(f"  seed {failure.seed}: {failure.property}: {failure.detail}; again: {failure.replay}")
        lost += len(outcome.failures)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
