"""The simulator's clock behaves as SimPy's own environment does, with slim events and with SimPy's processes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import simpy

from consensus_bench.simulation.clock import Clock
from consensus_bench.simulation.events import NORMAL, Alarm


def _history(env: Any, seed: int, stops: list[int]) -> list[tuple[Any, ...]]:
    """What happens when slim events schedule others and processes wait, interrupt and fail beside them."""
    rng = random.Random(seed)
    seen: list[tuple[Any, ...]] = []

    def fire(event: Any) -> None:
        seen.append((env.now, "slim", event.what))
        if event.what < 200:
            env.schedule(Alarm((fire,), event.what + 10), NORMAL, rng.randrange(0, 5))

    def worker(name: str) -> Any:
        for _ in range(20):
            try:
                yield env.timeout(rng.randrange(0, 7)) | env.timeout(3)
                seen.append((env.now, name))
            except simpy.Interrupt as interrupt:
                seen.append((env.now, name, interrupt.cause))

    def nuisance(victim: Any) -> Any:
        for number in range(4):
            yield env.timeout(5)
            if victim.is_alive:
                victim.interrupt(number)

    for number in range(5):
        env.schedule(Alarm((fire,), number), NORMAL, number % 3)
    for name in ("a", "b"):
        env.process(nuisance(env.process(worker(name))))
    for stop in stops:
        env.run(until=stop)
        seen.append((env.now, "stopped"))
    return seen


@pytest.mark.parametrize("seed", range(10))
def test_as_simpy(seed: int) -> None:
    stops = [1, 2, 7, 8, 30, 1000]
    assert _history(Clock(), seed, stops) == _history(simpy.Environment(), seed, stops)


def test_a_time_that_has_passed() -> None:
    clock = Clock()
    clock.run(until=10)
    with pytest.raises(ValueError, match="10"):
        clock.run(until=10)


def test_a_failed_process_is_heard() -> None:
    clock = Clock()

    def failing() -> Any:
        yield clock.timeout(5)
        raise RuntimeError("a fault of the fault's")

    clock.process(failing())
    with pytest.raises(RuntimeError, match="fault's"):
        clock.run(until=10)


def test_until_an_event() -> None:
    clock = Clock()
    assert clock.run(until=clock.timeout(5, "there")) == "there"
    assert clock.now == 5
