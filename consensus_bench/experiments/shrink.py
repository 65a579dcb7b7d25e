"""Makes a scenario that fails smaller, as long as the same property falls: what can be left out explains nothing.

First the faults: large parts of the list at once, then one by one, again and again until none can be left out (Zeller,
Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002). Then everything else that has a plainer
value, and the faults once more. Each attempt is a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.scenario import Scenario

MOST_RUNS: Final = 600
"""Attempts, at most; what has been reached then is good enough."""
_SHORTEST_S: Final = 0.5
T = TypeVar("T")


class _Budget:
    """Counts attempts. A scenario that cannot be (a fault after the end, a site that is gone) does not fail."""

    def __init__(self, fails: Callable[[Scenario], bool], most: int) -> None:
        self._fails = fails
        self.left = most

    def fails(self, scenario: Scenario) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        try:
            scenario.validate()
            return self._fails(scenario)
        except ConfigError:
            return False


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], most_runs: int = MOST_RUNS) -> Scenario:
    """The smallest scenario that was found for which ``fails`` is still true, as it is for ``scenario``."""
    budget = _Budget(fails, most_runs)
    before = None
    while before != scenario and budget.left > 0:
        before = scenario
        scenario = _fewer_faults(scenario, budget)
        for simpler in (_shorter, _fewer_clients, _fewer_sites, _plainer):
            scenario = simpler(scenario, budget)
    return scenario


def fewer(items: tuple[T, ...], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """``items`` without all that can be left out: no single one of the rest can, while ``fails`` is to stay true."""
    size = max(1, len(items) // 2)
    while items:
        position, removed = 0, False
        while position < len(items):
            rest = items[:position] + items[position + size :]
            if fails(rest):
                items, removed = rest, True
            else:
                position += size
        if size == 1 and not removed:
            break
        size = max(1, min(size // 2, len(items)))
    return items


def _fewer_faults(scenario: Scenario, budget: _Budget) -> Scenario:
    def with_faults(faults: tuple[Any, ...]) -> Scenario:
        return msgspec.structs.replace(scenario, faults=faults)

    return with_faults(fewer(scenario.faults, lambda faults: budget.fails(with_faults(faults))))


def _shorter(scenario: Scenario, budget: _Budget) -> Scenario:
    """Half as long, or less shorter, as often as it goes."""
    for share in (0.5, 0.75, 0.9):
        while scenario.duration * share >= _SHORTEST_S:
            attempt = msgspec.structs.replace(scenario, duration=round(scenario.duration * share, 2))
            if not budget.fails(attempt):
                break
            scenario = attempt
    return scenario


def _fewer_clients(scenario: Scenario, budget: _Budget) -> Scenario:
    def at(sites: tuple[str, ...]) -> Scenario:
        return msgspec.structs.replace(scenario, client_sites=sites)

    scenario = at(fewer(scenario.client_sites, lambda some: bool(some) and budget.fails(at(some))))
    for changes in ({"rate": 0.0}, {"clients": 2}, {"clients": 1}, {"size": 16}, {"reads": 0.0}):
        if changes.get("clients", 0) <= scenario.workload.clients:
            workload = msgspec.structs.replace(scenario.workload, **changes)
            scenario = _first(scenario, [msgspec.structs.replace(scenario, workload=workload)], budget)
    return scenario


def _fewer_sites(scenario: Scenario, budget: _Budget) -> Scenario:
    """Two replicas less, where no fault nor client needs them."""
    return _first(
        scenario,
        (
            msgspec.structs.replace(scenario, sites=tuple(s for s in scenario.sites if s not in (a, b)))
            for number, a in enumerate(scenario.sites)
            for b in scenario.sites[number + 1 :]
            if len(scenario.sites) >= 5
        ),
        budget,
    )


def _plainer(scenario: Scenario, budget: _Budget) -> Scenario:
    """Without jitter, with the usual machine, and without each option that does not matter."""
    plain: dict[str, Any] = {"jitter": "none", "profile": "m5-large", "leader": "best", "local_rtt_ms": 0.0}
    for name, value in plain.items():
        scenario = _first(scenario, [msgspec.structs.replace(scenario, **{name: value})], budget)
    for label, options in scenario.options.items():
        for name in options:
            rest = {key: value for key, value in scenario.options[label].items() if key != name}
            attempt = msgspec.structs.replace(scenario, options={label: rest} if rest else {})
            scenario = _first(scenario, [attempt], budget)
            if not scenario.options:
                break
    return scenario


def _first(scenario: Scenario, attempts: Iterable[Scenario], budget: _Budget) -> Scenario:
    """The first of ``attempts`` that is another scenario and fails too; else ``scenario``."""
    return next((attempt for attempt in attempts if attempt != scenario and budget.fails(attempt)), scenario)
