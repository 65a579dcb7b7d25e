"""A small run's folder, made up but in the format that ``compare`` writes, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from consensus_bench.experiments.scenario import Scenario
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import preset

SITES = ("us-east-1", "eu-west-1")
FLOOR_MS = {"us-east-1": 60.0, "eu-west-1": 80.0}


def write(folder: Path, protocols: tuple[str, ...] = ("raft", "epaxos"), seeds: int = 2, **changes: Any) -> Path:
    """Write it: 1,200 operations per protocol, seed and site. ``changes`` go over the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    operations, summary, bounds, timeline = [], [], [], []
    for number, protocol in enumerate(protocols):
        for site in SITES:
            base = FLOOR_MS[site] + 20 * number
            for metric in ("commit", "execute"):
                bounds.append((protocol, site, metric, base, FLOOR_MS[site]))
        for seed in range(1, seeds + 1):
            for site in SITES:
                latency = rng.lognormal(np.log(FLOOR_MS[site] + 20 * number + 1), 0.1, 1200)
                due = np.sort(rng.integers(0, 10_000_000_000, 1200))
                answered = due + (latency * 1e6).astype("int64")
                operations.append(
                    pd.DataFrame(
                        {
                            "protocol": protocol, "seed": seed, "site": site, "client": 0, "sequence": range(1, 1201),
                            "key": 0, "kind": "put", "due_ns": due, "sent_ns": due,
                            "committed_ns": answered - 3_000_000, "executed_ns": answered - 2_000_000,
                            "answered_ns": answered,
                            "path": "fast" if protocol == "epaxos" else "", "attempts": 1, "value": 1, "result": None,
                            "measured": due > 1_000_000_000,
                        }
                    )
                )  # fmt: skip
                timeline += [(protocol, seed, site, second, 120, 80.0, 120.0) for second in range(10)]
    table = pd.concat(operations, ignore_index=True)
    table["result"] = table["result"].astype("Int64")
    measured = table[table["measured"]]
    for protocol in protocols:
        for seed in [*range(1, seeds + 1), "ALL"]:
            for site in [*SITES, "ALL"]:
                rows = measured[measured["protocol"] == protocol]
                rows = rows if seed == "ALL" else rows[rows["seed"] == seed]
                rows = rows if site == "ALL" else rows[rows["site"] == site]
                ms = (rows["answered_ns"] - rows["due_ns"]) / 1e6
                q = [ms.quantile(x) for x in (0.5, 0.9, 0.95, 0.99, 0.999)]
                for metric in ("commit", "execute"):
                    summary.append((protocol, seed, site, metric, len(ms), len(ms) / 9, ms.mean(), *q, ms.max()))
    columns = "protocol,seed,site,metric,count,throughput_ops,mean_ms,p50_ms,p90_ms,p95_ms,p99_ms,p999_ms,max_ms".split(
        ","
    )
    pd.DataFrame(summary, columns=columns).to_csv(folder / "summary.csv", index=False)
    columns = "protocol,site,metric,bound_ms,floor_ms".split(",")
    pd.DataFrame(bounds, columns=columns).to_csv(folder / "bounds.csv", index=False)
    table.to_parquet(folder / "operations.parquet")
    columns = "protocol,seed,site,second,completed_ops,mean_ms,max_ms".split(",")
    pd.DataFrame(timeline, columns=columns).to_parquet(folder / "timeline.parquet")
    _write_sweeps(folder, protocols)
    (folder / "checks.json").write_text(json.dumps(checks(protocols)))
    (folder / "manifest.json").write_text(json.dumps({**manifest(protocols, seeds), **changes}))
    return folder


def _write_sweeps(folder: Path, protocols: tuple[str, ...]) -> None:
    load = [
        (p, 1, r, int(1.5 * r), min(r, 4000.0), 90.0, 80.0, 150.0, "us-east-1", "cpu", r / 4000)
        for p in protocols
        for r in (1e3, 5e3)
    ]
    columns = (
        "protocol,seed,offered_ops,count,throughput_ops,mean_ms,p50_ms,p99_ms,busiest_site,busiest_resource,utilisation"
    )
    pd.DataFrame(load, columns=columns.split(",")).to_csv(folder / "load.csv", index=False)
    conflict = [
        (p, 1, c, metric, 2400, 1 - c / 100 if p == "epaxos" else None, 90.0 + c, 80.0, 200.0)
        for p in protocols for c in (0.0, 50.0) for metric in ("commit", "execute")
    ]  # fmt: skip
    columns = "protocol,seed,conflict_percent,metric,count,fast_share,mean_ms,p50_ms,p99_ms"
    pd.DataFrame(conflict, columns=columns.split(",")).to_csv(folder / "conflict.csv", index=False)
    columns = "protocol,seed,commits,messages_per_commit,bytes_per_commit,fsyncs_per_commit,leader_messages_per_commit"
    costs = [(p, 1, 2400, 9.5, 1200.0, 4.5, 10.0) for p in protocols]
    pd.DataFrame(costs, columns=columns.split(",")).to_csv(folder / "costs.csv", index=False)
    resources = [(p, 1, i, site, 0.1, 0.01, 0.3) for p in protocols for i, site in enumerate(SITES)]
    columns = "protocol,seed,replica,site,cpu,network_card,disk"
    pd.DataFrame(resources, columns=columns.split(",")).to_csv(folder / "resources.csv", index=False)


def checks(protocols: tuple[str, ...]) -> list[dict[str, Any]]:
    """Two properties per protocol, both hold."""
    return [
        {"protocol": p, "seed": 1, "purpose": "main", "level": None, "property": name, "verdict": "holds",
         "checked": 2400, "detail": f"{name} detail"}
        for p in protocols for name in ("agreement", "linearizability")
    ]  # fmt: skip


def manifest(protocols: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """The settings."""
    places = {"us-east-1": (39.04, -77.49), "eu-west-1": (53.35, -6.26)}
    return {
        "format": 1, "name": "made-up", "created": "2026-01-01T00:00:00Z", "wall_seconds": 1.0,
        "command": "consensus-bench compare --name made-up", "complete": True,
        "code": {"version": "0", "commit": None, "dirty": None, "sha256": "0" * 64}, "versions": {"python": "3"},
        "scenario": msgspec.to_builtins(Scenario(name="made-up")), "seeds": list(range(1, seeds + 1)),
        "protocols": list(protocols), "sites": list(SITES), "client_sites": list(SITES),
        "leader_choice": "It was asked for.",
        "leaders": {p: None if p == "epaxos" else "us-east-1" for p in protocols},
        "topology": {
            "name": "t", "source": "s", "date": "d", "licence": "l", "statistic": "p50",
            "sites": {s: {"place": s, "latitude": at[0], "longitude": at[1]} for s, at in places.items()},
            "rtt_ms": {"sites": list(SITES), "matrix": [[0.0, 70.0], [70.0, 0.0]]},
        },
        "profile": msgspec.to_builtins(find_profile("zero")),
        "jitter": "none", "workload": msgspec.to_builtins(preset("conflict")), "options": {},
    }  # fmt: skip
