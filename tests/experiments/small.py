"""A comparison that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consensus_bench.experiments.scenario import Scenario, make_scenario

HERE = Path(__file__).parent
PRIMARY = f"{HERE.parents[1] / 'docs' / 'examples' / 'fixed_primary.py'}:FixedPrimary"
BROKEN = HERE / "broken_protocols.py"
SITES = ["us-east-1", "us-west-2", "eu-west-1"]


def small(**changes: Any) -> Scenario:
    """Three sites, two clients each, two simulated seconds, no sweeps."""
    data: dict[str, Any] = {
        "name": "small",
        "sites": SITES,
        "protocols": [PRIMARY],
        "seeds": 1,
        "duration": 2.0,
        "warmup": 0.5,
        "workload": {"clients": 2, "conflict": 20.0},
        "load_rates": [],
        "conflict_levels": [],
        "jobs": 1,
    }
    return make_scenario({**data, **changes})
