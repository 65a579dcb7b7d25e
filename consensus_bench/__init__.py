"""A laptop-sized laboratory for consensus protocols.

The names below are loaded when they are first used, so that ``import consensus_bench`` costs nothing:

>>> import consensus_bench
>>> outcome = consensus_bench.compare(duration=5, seeds=1, out="results/runs/mine")  # doctest: +SKIP
>>> consensus_bench.load(outcome.folder)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "ConfigError": "consensus_bench.contract",
    "Outcome": "consensus_bench.experiments.comparison",
    "Scenario": "consensus_bench.experiments.scenario",
    "compare": "consensus_bench.experiments.comparison",
    "load": "consensus_bench.report",
    "load_topology": "consensus_bench.topology",
    "write_report": "consensus_bench.report",
}
"""Public name -> the module it lives in."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'consensus_bench' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
