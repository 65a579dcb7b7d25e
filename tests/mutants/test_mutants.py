"""Known ways to get a protocol wrong, each of which must be noticed.

A file ``<protocol>_mutants.py`` beside this one has a tuple ``MUTANTS``: subclasses of the protocol, each without one
of its rules. Random runs, step by step or in rounds, must find a violation in each; the correct protocol, as a control,
passes the very run in which the mutant fails. A mutant may carry these attributes:

- ``settings``: the options under which its rule matters (default: none), ``replicas``: the size of the cluster (3);
- ``guards``: what the rule is for, if not safety: "liveness", or what the option "epochs" promises;
- ``hunt``: which of ``HUNTS`` finds it (default: they are tried in turn);
- ``killed_by``: a test of its own, as ``tests/folder/test_file.py::test_name``, for what random schedules hardly find.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

from consensus_bench.contract import Replica
from consensus_bench.exploration import Faults, Load, RandomRun, Rounds, Scheduler, ScheduleViolated, run_seeds
from consensus_bench.exploration.faults import AnyFaults

ROOT = Path(__file__).parents[2]
FILES = sorted(Path(__file__).parent.glob("*_mutants.py"))
MODULES = [importlib.import_module(file.stem) for file in FILES if file.stem != Path(__file__).stem]
MUTANTS: list[type[Replica]] = [mutant for module in MODULES for mutant in module.MUTANTS]

HUNTS: dict[str, tuple[type[RandomRun[Any]], AnyFaults | None, Load | None]] = {
    "drawn": (Scheduler, None, None),
    "rounds": (Rounds, None, None),
    "elections": (
        Scheduler,
        Faults(
            timer=0.03,
            early=1.0,
            late=0.02,
            crash=0.015,
            restart=0.1,
            sync=0.2,
            request=0.1,
            drop=0.0,
            duplicate=0.02,
            partition=0.01,
            steps=800,
        ),
        Load(commands=30, clients=4),
    ),
    "duels": (
        Scheduler,
        Faults(
            timer=0.1,
            early=0.8,
            late=0.15,
            crash=0.03,
            restart=0.1,
            crashed_at_most=3,
            sync=0.25,
            request=0.1,
            drop=0.0,
            duplicate=0.05,
            partition=0.01,
            heal=0.05,
            steps=600,
        ),
        Load(commands=30, clients=4),
    ),
    "recoveries": (Scheduler, Faults(timer=0.2, early=1.0, late=0.1, crash=0.01, sync=0.2, steps=600), Load()),
    "blackouts": (
        Scheduler,
        Faults(timer=0.15, early=0.7, late=0.1, crash=0.04, restart=0.04, crashed_at_most=3, sync=0.06, steps=400),
        Load(commands=8, keys=1, reads=0.1),
    ),
    "latecomers": (
        Scheduler,
        Faults(timer=0.2, early=1.0, late=0.15, crash=0.0, drop=0.03, duplicate=0.05, sync=0.2, steps=600),
        Load(),
    ),
    "changes": (
        Scheduler,
        Faults(
            order=0.03,
            timer=0.04,
            early=0.3,
            crash=0.0,
            sync=0.2,
            request=0.08,
            drop=0.0,
            partition=0.0,
            heal=0.01,
        ),
        Load(commands=40, clients=4),
    ),
}
SEEDS = 150
"""Runs of each hunt."""


def name_of(mutant: type[Replica]) -> str:
    return f"{mutant.__module__}.{mutant.__name__}"


HUNTED = [mutant for mutant in MUTANTS if not hasattr(mutant, "killed_by")]
DIRECTED = [mutant for mutant in MUTANTS if hasattr(mutant, "killed_by")]


def correct(mutant: type[Replica]) -> type[Replica]:
    """The protocol that the mutant is a mutant of."""
    return next(base for base in mutant.__mro__ if base.__module__.startswith("protocols."))  # type: ignore[no-any-return]


def test_there_are_mutants_enough() -> None:
    assert len(HUNTED) >= 10
    assert len({name_of(mutant) for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.__doc__ for mutant in MUTANTS), "the docstring names the rule that was removed"


@pytest.mark.parametrize("mutant", HUNTED, ids=name_of)
def test_a_mutant_is_caught_and_the_protocol_is_not(mutant: Any) -> None:
    size, settings = getattr(mutant, "replicas", 3), getattr(mutant, "settings", {})
    safe = {} if any(key.startswith("unsafe_") for key in settings) else settings
    for hunt in [mutant.hunt] if hasattr(mutant, "hunt") else HUNTS:
        style, faults, load = HUNTS[hunt]
        for seed in range(SEEDS):
            try:
                run_seeds(mutant, [seed], size=size, settings=settings, style=style, faults=faults, load=load)
            except ScheduleViolated as caught:
                assert "TypeError" not in str(caught), "it does not fit the protocol any more: nothing is caught"
                run_seeds(correct(mutant), [seed], size=size, settings=safe, style=style, faults=faults, load=load)
                return
    raise AssertionError(f"{mutant.__name__} was not caught: {mutant.__doc__}")


@pytest.mark.parametrize("mutant", DIRECTED, ids=name_of)
def test_a_mutant_has_the_test_that_kills_it(mutant: Any) -> None:
    file, _, test = mutant.killed_by.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    assert mutant.__name__ in source
    assert test in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
