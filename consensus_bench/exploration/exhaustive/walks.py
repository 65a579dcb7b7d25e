"""Seeded random walks over the same states, with the same properties: for what is too large to be searched."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.exploration.exhaustive.nodes import Choice
from consensus_bench.exploration.exhaustive.search import Search

BATCH: Final = 500
"""More of them share what was learnt about steps, and need more memory."""


class Walks(msgspec.Struct, kw_only=True):
    """``steps`` in all; ``distinct`` states met; the steps that led to a violation, if one was found in walk number
    ``walk``."""

    walks: int = 0
    steps: int = 0
    distinct: int = 0
    walk: int | None = None
    choices: list[Choice] = []


class Plan(msgspec.Struct, frozen=True):
    """``walks`` walks of at most ``steps`` steps, on so many processes (``jobs``; 0: one a core)."""

    walks: int
    steps: int
    seed: int
    jobs: int = 0

    def validate(self) -> None:
        """Raise ``ConfigError`` if it makes no sense."""
        for name, value in (("walks", self.walks), ("steps", self.steps)):
            if value < 1:
                raise ConfigError(f"--{name} {value}: must be at least 1")
        if self.jobs < 0:
            raise ConfigError(f"--jobs {self.jobs}: must not be negative (0: one a core)")

    def batches(self) -> list[range]:
        """The numbers of the walks that share one search, so that what was learnt about steps is used again. Which step
        a walk takes depends on the seed, its number, and the walks before it in the batch, and on no process."""
        return [range(first, min(first + BATCH, self.walks)) for first in range(0, self.walks, BATCH)]


def random_walks(search: Search, numbers: range, steps: int, seed: int, stop: Callable[[], bool]) -> Walks:
    """The walks of these numbers, each step drawn from those that change something. Facts and a violation are noted in
    ``search.result``, and whether ``stop``, or Ctrl-C, ended them early."""
    done = Walks()
    met: set[tuple[int, ...]] = set()
    start, world = search.begin()
    while done.walks < len(numbers) and search.result.violation is None:
        number = numbers[done.walks]
        try:
            search.result.interrupted = stop()
            if search.result.interrupted:
                break
            walk = _walk(search, tuple(start), world, steps, Random(f"{seed} {number}"), met)
        except KeyboardInterrupt:
            search.result.interrupted = True
            break
        if search.disks_must_lag():
            search.nodes.lagging = True
            search.forget()
            search.result.violation = None
            done, met = Walks(), set()
            continue
        done.steps += len(walk)
        if search.result.violation is not None:
            done.walk, done.choices = number, walk
        done.walks += 1
    done.distinct = len(met)
    return done


def _walk(
    search: Search, nodes: tuple[int, ...], world: int, steps: int, random: Random, met: set[tuple[int, ...]]
) -> list[Choice]:
    """One walk; it ends early where nothing changes any more or something is violated."""
    taken: list[Choice] = []
    for _ in range(steps):
        met.add((*nodes, world))
        enabled = list(search.steps(nodes, world))
        if not enabled:
            break
        move, world = random.choice(enabled)
        me = move.choice.replica
        nodes = (*nodes[:me], move.node, *nodes[me + 1 :])
        taken.append(move.choice)
        search.result.facts.update(move.facts)
        search.result.violation = search.broken(nodes, world, me)
        if search.result.violation is not None:
            break
    return taken
