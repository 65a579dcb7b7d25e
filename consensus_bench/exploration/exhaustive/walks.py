"""Seeded random walks over the same states, with the same properties: for what is too large to be searched."""

from __future__ import annotations

from random import Random

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.exploration.exhaustive.nodes import Choice
from consensus_bench.exploration.exhaustive.search import Search


class Walks(msgspec.Struct, kw_only=True):
    """``steps`` in all; ``distinct`` states met; the steps that led to a violation, if one was found in walk number
    ``walk``."""

    walks: int = 0
    steps: int = 0
    distinct: int = 0
    walk: int | None = None
    choices: list[Choice] = []


def random_walks(search: Search, walks: int, steps: int, seed: int) -> Walks:
    """``walks`` walks of at most ``steps`` steps, each step drawn from those that change something. Facts and a
    violation are noted in ``search.result``."""
    for name, value in (("walks", walks), ("steps", steps)):
        if value < 1:
            raise ConfigError(f"--{name} {value}: must be at least 1")
    done = Walks()
    met: set[tuple[int, ...]] = set()
    start = tuple(search.nodes.starts())
    world = search.first_world()
    while done.walks < walks and search.result.violation is None:
        walk = _walk(search, start, world, steps, Random(f"{seed} {done.walks}"), met)
        if search.disks_must_lag():
            search.nodes.lagging = True
            search.forget()
            search.result.violation = None
            done, met = Walks(), set()
            continue
        done.steps += len(walk)
        if search.result.violation is not None:
            done.walk, done.choices = done.walks, walk
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
        if _broken(search, nodes, world, me):
            break
    return taken


def _broken(search: Search, nodes: tuple[int, ...], world: int, changed: int) -> bool:
    """Whether something is violated between the replica that changed and any other."""
    for other in range(len(nodes)):
        at = {changed: nodes[changed], other: nodes[other]}
        search.result.violation = search.judge(at, world)
        if search.result.violation is not None:
            return True
    return False
