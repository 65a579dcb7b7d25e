"""Many random runs, of either style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from consensus_bench.contract import Replica
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.faults import AnyFaults, Load
from consensus_bench.exploration.random_run import RandomRun
from consensus_bench.exploration.scheduler import Scheduler
from consensus_bench.exploration.world import Summary


def run_seeds(
    protocol: str | type[Replica],
    seeds: Iterable[int],
    *,
    size: int = 3,
    settings: Mapping[str, Any] | None = None,
    style: type[RandomRun[Any]] = Scheduler,
    faults: AnyFaults | None = None,
    load: Load | None = None,
) -> Summary:
    """Run every seed; returns what happened in all of them, or raises ``ScheduleViolated`` at the first violation.

    ``protocol`` is a class, a registered name or ``path/to/file.py:ClassName``; ``settings`` are its options; ``style``
    is ``Scheduler`` or ``Rounds``; without ``faults`` (which are the style's) each seed draws its own mixture.
    """
    found = find_protocol(protocol) if isinstance(protocol, str) else protocol
    options = make_options(found, dict(settings or {}), size)
    total = Summary()
    for seed in seeds:
        total.add(style(found, options, size, seed, faults=faults, load=load).run())
    return total
