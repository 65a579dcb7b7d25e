"""Known ways to get a protocol wrong, each of which must be noticed.

A file ``<protocol>_mutants.py`` beside this one has a tuple ``MUTANTS``: subclasses of the protocol, each without one
of its rules. The random scheduler must find a violation in each, while the correct protocol passes the same seeds. A
mutant may carry these attributes:

- ``settings``: the options under which its rule matters (default: none), ``replicas``: the size of the cluster (3);
- ``hunt``: which of ``HUNTS`` finds it ("drawn"), ``seeds``: within how many seeds (100);
- ``killed_by``: a test of its own, as ``tests/folder/test_file.py::test_name``, for what random schedules do not find.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consensus_bench.contract import Replica
from consensus_bench.exploration import Faults, Load, ScheduleViolated, run_seeds

ROOT = Path(__file__).parents[2]
FILES = sorted(Path(__file__).parent.glob("*_mutants.py"))
MODULES = [importlib.import_module(file.stem) for file in FILES if file.stem != Path(__file__).stem]
MUTANTS: list[type[Replica]] = [mutant for module in MODULES for mutant in module.MUTANTS]

HUNTS: dict[str, tuple[Faults | None, Load]] = {
    "drawn": (None, Load()),
    "recoveries": (
        Faults(timer=0.2, early=1.0, late=0.1, crash=0.01, sync=0.2, steps=600),
        Load(),
    ),
    "latecomers": (
        Faults(timer=0.2, early=1.0, late=0.15, crash=0.0, drop=0.03, duplicate=0.05, sync=0.2, steps=600),
        Load(),
    ),
    "blackouts": (
        Faults(timer=0.15, early=0.7, late=0.1, crash=0.04, restart=0.04, crashed_at_most=3, sync=0.06, steps=400),
        Load(commands=8, keys=1, reads=0.1),
    ),
}


class Hunt(NamedTuple):
    """Where a mutant is looked for."""

    name: str
    seeds: range
    size: int
    settings: dict[str, Any]

    def run(self, protocol: type[Replica]) -> None:
        """All seeds, up to the first violation."""
        faults, load = HUNTS[self.name]
        run_seeds(protocol, self.seeds, size=self.size, settings=self.settings, faults=faults, load=load)


def hunt_of(mutant: type[Replica]) -> Hunt:
    return Hunt(
        getattr(mutant, "hunt", "drawn"),
        range(getattr(mutant, "seeds", 100)),
        getattr(mutant, "replicas", 3),
        getattr(mutant, "settings", {}),
    )


def correct(mutant: type[Replica]) -> type[Replica]:
    """The protocol that the mutant is a mutant of."""
    return next(base for base in mutant.__mro__ if base.__module__.startswith("protocols."))  # type: ignore[no-any-return]


HUNTED = [mutant for mutant in MUTANTS if not hasattr(mutant, "killed_by")]
DIRECTED = [mutant for mutant in MUTANTS if hasattr(mutant, "killed_by")]


def controls() -> list[tuple[type[Replica], Hunt]]:
    """Each correct protocol with the longest hunt of every kind."""
    longest: dict[str, tuple[type[Replica], Hunt]] = {}
    for mutant in HUNTED:
        hunt = hunt_of(mutant)
        kind = repr((correct(mutant).name, hunt._replace(seeds=range(0))))
        if kind not in longest or len(longest[kind][1].seeds) < len(hunt.seeds):
            longest[kind] = (correct(mutant), hunt)
    return list(longest.values())


CONTROLS = controls()


def name_of(value: Any) -> str:
    if isinstance(value, Hunt):
        settings = " ".join(f"{key}={setting}" for key, setting in value.settings.items())
        return f"{value.name}-{len(value.seeds)}-{value.size} {settings}".strip()
    return f"{value.__module__}-{value.__name__}"


def test_there_are_mutants_enough() -> None:
    assert len(HUNTED) >= 10
    assert len({name_of(mutant) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", HUNTED, ids=name_of)
def test_a_mutant_is_caught(mutant: type[Replica]) -> None:
    assert mutant.__doc__
    with pytest.raises(ScheduleViolated):
        hunt_of(mutant).run(mutant)


@pytest.mark.parametrize(("protocol", "hunt"), CONTROLS, ids=name_of)
def test_the_correct_protocol_passes_the_same_seeds(protocol: type[Replica], hunt: Hunt) -> None:
    hunt.run(protocol)


@pytest.mark.parametrize("mutant", DIRECTED, ids=name_of)
def test_a_mutant_has_the_test_that_kills_it(mutant: Any) -> None:
    file, _, test = mutant.killed_by.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test.partition("[")[0] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
