"""Instructions per commit and per message, by valgrind: they compare two versions where the clock is noisy.

``python -m benchmarks.instructions [CASE...]`` runs each case at two lengths under ``valgrind --tool=callgrind`` and
takes the difference, so that start-up does not count. The ratio is that of the ceiling's instructions per event to
the case's per message: what messages/ceiling would be if every instruction took the same time.
"""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.__main__ import ceiling
from benchmarks.cases import CASES, world_of

SIZES = (1500, 4500)
CEILING = "the ceiling"


def count(case: str, size: int) -> tuple[int, int, int]:
    """(instructions, commits, messages) of one process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m"]
    done = subprocess.run(
        [*command, "benchmarks.instructions", "--child", case, str(size)], capture_output=True, text=True, check=True
    )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected is not None, done.stderr
    commits, messages = map(int, done.stdout.split())
    return int(collected[1]), commits, messages


def child(case: str, size: int) -> None:
    """What runs under valgrind: prints commits and messages."""
    if case == CEILING:
        ceiling(size * 10)
        print(size * 10, size * 10)
        return
    world = world_of(CASES[case], size)
    world.run()
    commits = len(world.operations)
    print(commits, sum(m.counters().sent for m in world.machines) + commits)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
        return
    cases = sys.argv[1:] or ["multi-paxos", "raft", "epaxos, 0 % conflicts", "epaxos, 2 % conflicts"]
    per_event = 0.0
    for case in [CEILING, *cases]:
        low, high = (count(case, size) for size in SIZES)
        instructions, commits, messages = (b - a for a, b in zip(low, high, strict=True))
        per_event = per_event or instructions / messages
        print(
            f"{case:28} {instructions / commits:10,.0f} per commit {instructions / messages:8,.0f} per message"
            f"   ceiling/message {per_event / (instructions / messages):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
