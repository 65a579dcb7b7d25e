"""Simulated commits and messages per wall second, beside the ceiling that bare SimPy sets on the same machine.

One process on one core; five AWS regions, jitter, processor, card and disk model and online verification on; closed
loop, 100 clients in all. The ceiling is measured before and after each case, so that a ratio is of one moment: on a
shared machine only ratios compare. ``python -m benchmarks [--quick] [--json FILE] [CASE...]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
import simpy

from benchmarks.cases import CASES, world_of
from consensus_bench.simulation.events import Alarm
from consensus_bench.simulation.randomness import plain_stream


def ceiling(events: int) -> float:
    """Slim events per second that SimPy carries: 500 pending, each schedules one successor, delays drawn before."""
    env: Any = simpy.Environment()
    rng = plain_stream(1, "ceiling")
    delays = islice(cycle([rng.randrange(1, 1_000_000) for _ in range(1009)]), events + 500)
    schedule = env.schedule

    def fire(_event: Any) -> None:
        for delay in islice(delays, 1):
            schedule(Alarm(callbacks), 1, delay)

    callbacks = (fire,)
    for delay in islice(delays, 500):
        schedule(Alarm(callbacks), 1, delay)
    start = time.process_time()
    env.run()
    return events / (time.process_time() - start)


def measure(name: str, commits: int) -> dict[str, float]:
    """Run one case for about ``commits`` operations; processor time, so that other processes disturb less."""
    world = world_of(CASES[name], commits)
    start = time.process_time()
    world.run()
    seconds = time.process_time() - start
    done = len(world.operations)
    messages = sum(m.counters().sent for m in world.machines) + done  # and each client's request
    world.close()
    return {"commits": done, "messages": messages, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="a quarter of the operations, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    arguments = parser.parse_args()
    names = arguments.cases or list(CASES)
    unknown = [n for n in names if n not in CASES]
    if unknown:
        sys.exit(f"unknown case {unknown[0]}: choose from {', '.join(CASES)}")
    rounds = 1 if arguments.quick else arguments.rounds
    rows = []
    print(f"{'case':34} {'commits/s':>10} {'messages/s':>11} {'ceiling/s':>10} {'messages/ceiling':>17}")
    for name in names:
        results = []
        for _ in range(rounds):
            before = ceiling(300_000)
            result = measure(name, CASES[name].commits // (4 if arguments.quick else 1))
            result["ceiling"] = (before + ceiling(300_000)) / 2
            result["ratio"] = result["messages"] / result["seconds"] / result["ceiling"]
            results.append(result)
        best = sorted(results, key=lambda r: r["ratio"])[len(results) // 2]
        row = {
            "case": name,
            "commits_per_s": best["commits"] / best["seconds"],
            "messages_per_s": best["messages"] / best["seconds"],
            "ceiling_per_s": best["ceiling"],
            "ratio": statistics.median(r["ratio"] for r in results),
            "commits_per_s_at_1.14M": best["commits"] / best["seconds"] / best["ceiling"] * 1.14e6,
        }
        rows.append(row)
        print(
            f"{name:34} {row['commits_per_s']:10,.0f} {row['messages_per_s']:11,.0f} {row['ceiling_per_s']:10,.0f}"
            f" {row['ratio']:17.3f}   {row['commits_per_s_at_1.14M']:,.0f} commits/s at a ceiling of 1.14 M",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(json.dumps(rows).encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
