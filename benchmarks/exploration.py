"""How fast the explorer is, and how much memory a state takes: single-decree Paxos, one process, one core.

Two times: ``search`` from nothing, the protocol's code included; ``expand`` only the part that is done for every state,
once all steps are worked out. Memory is the most that the process held above what it began with, by state. ``python -m
benchmarks.exploration``.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.properties import find_properties
from consensus_bench.exploration.exhaustive.search import Search

CASES: dict[str, dict[str, Any]] = {
    "2 ballots": {},
    "2 ballots, 1 crash": {"crashes": 1},
    "3 ballots, 1 time-out": {"ballots": 3, "timeouts": 1, "lost": ("Nack", "Decided", "Query"), "states": 10_000_000},
}


def make(bounds: Bounds) -> Search:
    protocol = find_protocol("basic-paxos")
    properties = find_properties([], bounds.crashes, protocol.decides)
    return Search(protocol, make_options(protocol, {}, bounds.replicas), bounds, properties)


def megabytes() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    columns = ("states", "transitions", "steps", "search/s", "expand/s", "B/state")
    print(f"{'basic-paxos':24}" + "".join(f"{column:>13}" for column in columns))
    before = megabytes()
    for name, settings in CASES.items():
        search = make(Bounds(**settings))
        start = time.process_time()
        result = search.run()
        seconds = time.process_time() - start
        held = (megabytes() - before) * 2**20 / result.states
        transitions = result.transitions
        start = time.process_time()
        for level in search.levels:
            search.expand(level)
        again = time.process_time() - start
        print(
            f"{name:24}{result.states:13,}{transitions:13,}{search.nodes.handlers.calls:13,}"
            f"{transitions / seconds:13,.0f}{transitions / again:13,.0f}{held:13.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
