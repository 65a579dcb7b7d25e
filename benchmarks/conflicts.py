"""EPaxos' fast-path share and execution latency against the conflict rate, beside published numbers.

``python -m benchmarks.conflicts`` prints the tables of docs/epaxos-conflicts.md (some minutes). The published rows are
those of the fantoch simulator (repository vitorenesduarte/fantoch) on its ping matrix of June 2020, 500 commands a
client; here the same matrix, each client's first ``COMMANDS`` commands, no jitter, no machine costs, and all sites
weigh the same, as they do when every client stops after as many commands.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import Any, Final

import numpy as np

from consensus_bench.simulation.network import Geography
from consensus_bench.simulation.operations import PATHS
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World
from consensus_bench.topology import load_topology

FIVE: Final = ("eu-west-1", "us-west-1", "ap-southeast-1", "ca-central-1", "sa-east-1")
SEVEN: Final = (*FIVE, "us-east-1", "ap-east-1")
COMMANDS: Final = 200
LEVELS: Final = (0, 5, 10, 20, 40, 60, 80, 100)
RULES: Final[dict[str, dict[str, Any]]] = {"star": {}, "sosp13": {"rules": "sosp13"}}
# (replicas, clients a site) -> conflict per cent -> fast %, mean ms, p99 ms
PUBLISHED: Final[dict[tuple[int, int], dict[int, tuple[float, int, int]]]] = {
    (5, 1): {
        0: (100, 145, 186), 5: (98.5, 148, 280), 10: (96.3, 153, 372), 20: (91.9, 165, 427), 40: (80.6, 198, 466),
        60: (65.9, 246, 517), 80: (50.4, 299, 521), 100: (33.9, 371, 372),
    },
    (5, 8): {
        0: (100, 145, 186), 5: (97.6, 153, 389), 10: (94.0, 166, 474), 20: (86.8, 197, 549), 40: (71.9, 262, 621),
        60: (56.9, 317, 615), 80: (40.8, 358, 578), 100: (23.8, 397, 439),
    },
    (7, 1): {
        0: (100, 170, 220), 5: (97.2, 175, 394), 10: (93.5, 184, 430), 20: (84.8, 205, 524), 40: (66.4, 259, 579),
        60: (46.4, 326, 653), 80: (23.4, 406, 679), 100: (0.0, 558, 575),
    },
    (7, 8): {
        0: (100, 170, 220), 5: (96.1, 182, 487), 10: (91.5, 201, 625), 20: (82.2, 251, 871), 40: (63.5, 362, 1033),
        60: (44.8, 458, 969), 80: (26.1, 531, 863), 100: (4.5, 558, 575),
    },
}  # fmt: skip


def measure(case: tuple[int, int, int, str]) -> tuple[float, float, float]:
    """(fast-path share in per cent, mean ms over sites, p99 ms) of (replicas, clients a site, conflict, rules)."""
    size, clients, conflict, rules = case
    sites = FIVE if size == 5 else SEVEN
    everybody = tuple(range(size))
    world = World(
        Settings(
            protocol="epaxos", options=RULES[rules], seed=1, profile=find_profile("zero"), warmup_s=0.0,
            geography=Geography(sites, load_topology("aws-2020").delays_ns(sites), everybody, everybody),
            workload=Workload(clients=clients, conflict=float(conflict)), duration_s=COMMANDS * 0.6,
        )
    )  # fmt: skip
    world.run()
    column = world.operations.column
    first = column("sequence") <= COMMANDS
    assert first.sum() == size * clients * COMMANDS
    latency_ms = (column("answered_ns") - column("due_ns"))[first] / 1e6
    fast = (column("path")[first] == PATHS.index("fast")).mean() * 100
    return float(fast), float(latency_ms.mean()), float(np.quantile(latency_ms, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    jobs = parser.parse_args().jobs
    cases = [(*where, level, rules) for where, level, rules in product(PUBLISHED, LEVELS, RULES)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = dict(zip(cases, pool.map(measure, cases), strict=True))
    for size, clients in PUBLISHED:
        print(f"\n### {size} replicas, {clients} client{'s' if clients > 1 else ''} a site\n")
        print("| conflicts | published: fast % / mean / p99 ms | `star` | `sosp13` |\n|---:|---:|---:|---:|")
        for level in LEVELS:
            shown = [PUBLISHED[size, clients][level], *(results[size, clients, level, rules] for rules in RULES)]
            print(
                f"| {level} % | "
                + " | ".join(f"{fast:.1f} / {mean:.0f} / {p99:.0f}" for fast, mean, p99 in shown)
                + " |"
            )


if __name__ == "__main__":
    main()
