"""Memory of one long run: ``python -m benchmarks.memory CASE [OPERATIONS]`` (default: a million)."""

from __future__ import annotations

import resource
import sys

from benchmarks.cases import CASES, world_of


def main() -> None:
    case = sys.argv[1] if len(sys.argv) > 1 else "raft"
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    world = world_of(CASES[case], round(wanted * 0.8))  # a client needs less than the 0.18 s that world_of assumes
    world.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{case}: {len(world.operations):,} operations, {peak:,.0f} MiB at most")


if __name__ == "__main__":
    main()
