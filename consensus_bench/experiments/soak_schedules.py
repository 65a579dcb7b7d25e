"""The other half of a soak run: random schedules in rounds, without a network, disks or processors that take time.

A scenario is a world as it is, in which most things happen on time; a schedule (``exploration.rounds``) is the protocol
alone, and what decides between right and wrong happens in any order. Each seed has ``SCHEDULES`` of them, of its
scenario's size and options, from a random stream of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments.runner import Stopped
from consensus_bench.experiments.scenario import Scenario
from consensus_bench.experiments.soak_run import Verdict
from consensus_bench.experiments.soak_scenarios import Fixed
from consensus_bench.exploration.random_run import ScheduleViolated
from consensus_bench.exploration.rounds import Rounds
from consensus_bench.simulation.randomness import plain_stream

SCHEDULES: Final = 20
"""Of each seed: they take about as long as its scenario."""
MOST_REPLICAS: Final = 7
SEED_BITS: Final = 32
SNAPSHOTS: Final = (1, 2, 3)
"""Entries between two of them, where the scenario has any: a schedule has few commands."""


def schedules(scenario: Scenario, fixed: Fixed) -> Iterator[Rounds]:
    """Those of the scenario's seed, not begun. None for lease reads, which trust timers and clocks: here timers fire
    whenever they like."""
    [spec], [seed] = scenario.protocols, scenario.seeds
    protocol, size = find_protocol(spec), len(scenario.sites)
    given: dict[str, Any] = dict(next(iter(scenario.options.values()), {}))
    if size > MOST_REPLICAS or given.get("reads") == "lease":
        return
    stream = plain_stream(seed, "soak", "schedules")
    for _ in range(SCHEDULES):
        own = Random(stream.getrandbits(SEED_BITS))
        often = own.choice(SNAPSHOTS)
        options = {**given, "snapshot_every": often} if _snapshots(given, fixed) else given
        yield Rounds(protocol, make_options(protocol, options, size), size, own.getrandbits(SEED_BITS))


def with_schedules(verdict: Verdict, scenario: Scenario, fixed: Fixed, stop: Callable[[], bool] = bool) -> Verdict:
    """``verdict`` on the scenario, and on the schedules of its seed up to the first that falls: none if it fell."""
    if verdict.property:
        return verdict
    done = 0
    for done, run in enumerate(schedules(scenario, fixed), 1):
        if stop():
            raise Stopped
        try:
            run.run()
        except ScheduleViolated as violated:
            detail = violated.detail.splitlines()[0]
            return msgspec.structs.replace(
                verdict, property=violated.name, detail=f"schedule {done}, {detail}", schedules=done, schedule=done
            )
    return msgspec.structs.replace(verdict, schedules=done)


def schedule_violated(scenario: Scenario, fixed: Fixed, number: int) -> ScheduleViolated:
    """What happens in the schedule ``number`` of this seed, which falls."""
    run = next(run for position, run in enumerate(schedules(scenario, fixed), 1) if position == number)
    try:
        run.run()
    except ScheduleViolated as violated:
        return violated
    raise AssertionError(f"schedule {number} of seed {run.seed} fell, and now it does not")


def _snapshots(given: dict[str, Any], fixed: Fixed) -> bool:
    return bool(given.get("snapshot_every")) and "snapshot_every" not in fixed.options
