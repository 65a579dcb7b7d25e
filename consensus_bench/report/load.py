"""A run's folder as data frames. The report and the notebooks read nothing else."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

from consensus_bench.contract import ConfigError

Frame: TypeAlias = Any
"""A pandas data frame; pandas' own type of a cell is a union of twenty, which helps nobody here."""


NEEDED: Final = ("name", "command", "protocols", "sites", "client_sites", "topology", "leaders", "scenario")
"""Keys of a manifest without which there is no report."""


class Run:
    """One finished comparison. Each table is a pandas data frame, read when it is first used.

    ``summary``, ``load``, ``conflict``, ``costs``, ``resources``, ``bounds``, ``faults``: the CSV files;
    ``operations``, ``timeline``: the Parquet files; ``checks``: a row per checked property; ``manifest``: the settings
    as a dict. Times are in ms in the CSV files and in ns in ``operations``.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    def _csv(self, name: str) -> Frame:
        import pandas as pd

        path = self.folder / name
        return pd.read_csv(path, dtype={"seed": str}) if path.is_file() else pd.DataFrame()

    def _parquet(self, name: str) -> Frame:
        import pandas as pd

        path = self.folder / name
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame()

    @property
    def name(self) -> str:
        """The comparison's name."""
        return str(self.manifest["name"])

    @property
    def protocols(self) -> list[str]:
        """Display names, in the order of the command."""
        return list(self.manifest["protocols"])

    @property
    def client_sites(self) -> list[str]:
        """Where the clients are."""
        return list(self.manifest["client_sites"])

    @cached_property
    def summary(self) -> Frame:
        """Latency and throughput by protocol, seed (also "ALL"), site (also "ALL") and metric."""
        return self._csv("summary.csv")

    @cached_property
    def load(self) -> Frame:
        """Latency and throughput by offered load."""
        return self._csv("load.csv")

    @cached_property
    def conflict(self) -> Frame:
        """Latency and fast-path share by conflict rate."""
        return self._csv("conflict.csv")

    @cached_property
    def costs(self) -> Frame:
        """Messages, bytes and fsyncs per committed command."""
        return self._csv("costs.csv")

    @cached_property
    def resources(self) -> Frame:
        """Utilisation of each replica's processor, card and disk."""
        return self._csv("resources.csv")

    @cached_property
    def bounds(self) -> Frame:
        """Closed form and lower bound by protocol and site."""
        return self._csv("bounds.csv")

    @cached_property
    def faults(self) -> Frame:
        """What was injected, by protocol and seed: kind, target, start and end; empty where nothing was."""
        return self._csv("faults.csv")

    @cached_property
    def operations(self) -> Frame:
        """A row per client operation."""
        return self._parquet("operations.parquet")

    @cached_property
    def timeline(self) -> Frame:
        """Completed operations by protocol, seed, site and simulated second."""
        return self._parquet("timeline.parquet")

    @cached_property
    def checks(self) -> Frame:
        """Verdicts by protocol, seed, purpose of the run and property."""
        import pandas as pd

        path = self.folder / "checks.json"
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else [])

    def latencies_ms(self, protocol: str, metric: str = "execute") -> Any:
        """Latency of every measured operation of ``protocol``, all seeds and sites, in ms."""
        o = self.operations
        o = o[(o["protocol"] == protocol) & o["measured"] & o["answered_ns"].notna()]
        latency = o["answered_ns"] - o["due_ns"]
        if metric == "commit":
            latency = latency - (o["executed_ns"] - o["committed_ns"])
        return latency.astype("float64") / 1e6


def load(folder: str | Path) -> Run:
    """The run in ``folder``; ``ConfigError`` if there is none.

    >>> run = consensus_bench.load("results/reference")  # doctest: +SKIP
    >>> run.summary.query("seed == 'ALL' and metric == 'execute'")  # doctest: +SKIP
    """
    path = Path(folder)
    manifest = path / "manifest.json"
    if not manifest.is_file():
        raise ConfigError(f"{path}: no run is here (there is no manifest.json); give the folder that compare wrote")
    try:
        data = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{manifest}: is not JSON ({error}); repeat the run") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != 1:
        raise ConfigError(f"{manifest}: format {found} is unknown to this version (it reads format 1); repeat the run")
    missing = [key for key in NEEDED if key not in data]
    if missing:
        raise ConfigError(f"{manifest}: has no {', '.join(missing)}: it is no manifest of compare; repeat the run")
    return Run(path, data)
