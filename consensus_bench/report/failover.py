"""The report of a failover study: who waited how long, when throughput was back, and what it was like after."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consensus_bench.contract import ConfigError
from consensus_bench.report.faults import FAULT, lanes
from consensus_bench.report.load import Frame
from consensus_bench.report.page import Section, Table, number
from consensus_bench.report.style import RC, line, look, save
from consensus_bench.report.writing import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

ALL: Final = "ALL"
METRICS: Final = {
    "detect": "until another replica acted on the silence",
    "elect": "until a command was committed under a new leader",
    "unavailable": "longest time without a completed operation",
    "recovered90": "until a second with 90 % of the earlier throughput began",
}
AFTER: Final = "after"
"""The last column of the answer: throughput in the last half of what was left, as a share of that before (median)."""
DEAD_SITE: Final = "crash-site:"
COLUMNS: Final = ("median_ms", "p99_ms", "worst_ms")


class Study:
    """A finished failover study as data frames: ``failover``, ``outages``, ``summary``, ``timeline``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder}: holds no finished failover study") from error
        if self.manifest.get("kind") != "failover":
            raise ConfigError(f"{folder}: holds no failover study")

    def _csv(self, name: str) -> Frame:
        import pandas as pd

        path = self.folder / name
        if not path.is_file():
            raise ConfigError(f"{path}: is not there any more; the report cannot be made again without it")
        return pd.read_csv(path)

    @cached_property
    def failover(self) -> Frame:
        """A row per trial and site."""
        return self._csv("failover.csv")

    @cached_property
    def outages(self) -> Frame:
        """What else was measured."""
        return self._csv("outages.csv")

    @cached_property
    def summary(self) -> Frame:
        """Quantiles over the trials."""
        return self._csv("summary.csv")

    @cached_property
    def timeline(self) -> Frame:
        """Operations completed in each second."""
        frame = self._csv("timeline.csv")
        return frame if "fault" in frame else frame.assign(fault=self.faults[0] if self.faults else "")

    @cached_property
    def injected(self) -> Frame:
        """What was injected when, as it took place."""
        return self._csv("faults.csv")

    @property
    def protocols(self) -> list[str]:
        """In the order of the command."""
        return list(self.manifest["protocols"])

    @cached_property
    def faults(self) -> list[str]:
        """In the order of the command, as far as they took place."""
        return list(dict.fromkeys(self.failover["fault"]))

    @property
    def struck_nobody(self) -> list[str]:
        """The others: a line each."""
        return [f"{fault} struck nobody in any trial" for fault in self.manifest.get("struck_nobody", [])]

    @property
    def sites(self) -> list[str]:
        """Where the clients are."""
        return list(self.manifest["client_sites"])


def write_failover_report(folder: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/``; returns the HTML's path."""
    import matplotlib as mpl

    mpl.use("Agg")
    study = Study(folder)
    drawn = {}
    parts = [_answer(study)]
    with mpl.rc_context(RC):  # type: ignore[arg-type]  # stubs list every name
        for position, fault in enumerate(study.faults):
            names = {kind: f"{kind}-{position + 1}" for kind in ("outage", "timeline")}
            drawn[names["outage"]] = save(draw_outage(study, fault), folder / "figures", names["outage"])
            drawn[names["timeline"]] = save(draw_timeline(study, fault), folder / "figures", names["timeline"])
            parts.append(_fault(study, fault, names))
    parts += [_checks(study), _settings(study)]
    return write_page(folder, f"Failover: {study.manifest['name']}", parts, drawn)


def shown(value: float) -> str:
    """Milliseconds for a table; what never came is said so."""
    return "never" if value is None or math.isnan(value) else number(value, 0)


def rows_of(study: Study, fault: str, columns: Sequence[str] = COLUMNS) -> list[list[str]]:
    """A row per protocol: these quantiles of each metric, all sites together, and what is left of the throughput."""
    rows = []
    outages = study.outages[(study.outages["fault"] == fault) & (study.outages["site"] == ALL)]
    leaderless = study.manifest.get("leaderless", [])
    for protocol in study.protocols:
        mine = study.summary
        mine = mine[(mine["protocol"] == protocol) & (mine["fault"] == fault) & (mine["site"] == ALL)].set_index(
            "metric"
        )
        if not len(mine):
            rows.append([protocol, "not struck", *[""] * len(METRICS)])
            continue
        cells = []
        for metric in METRICS:
            nobody = metric == "elect" and protocol in leaderless
            said = [shown(mine.loc[metric, name]) for name in columns]
            cells.append("no leader" if nobody else " / ".join(said) if len(set(said)) > 1 else said[0])
        o = outages[outages["protocol"] == protocol]
        served = o[o["before_ops"] > 0]
        left = (served["after_ops"] / served["before_ops"]).median()
        rows.append([protocol, *cells, f"{left:.0%}" if len(served) else "nobody served"])
    return rows


def _answer(study: Study) -> Section:
    manifest = study.manifest
    done, planned = manifest["runs"], manifest["planned_runs"]
    text = [
        f"{len(manifest['seeds'])} trials of each fault under each protocol, at {len(study.sites)} client sites. "
        + (f"Leader: {manifest['leader_choice']}" if manifest.get("leader_choice") else "")
    ]
    if done < planned:
        text.append(f"Interrupted: only {done} of {planned} trials are in these numbers.")
    text += [f"{line}." for line in study.struck_nobody]
    tables = []
    for fault in study.faults:
        caption = f"{fault}: milliseconds after it began, median / 99th percentile / worst over the trials, all sites."
        tables.append(Table(caption, ["protocol", *METRICS, AFTER], rows_of(study, fault)))
    meanings = [f"{name}: {meaning}" for name, meaning in METRICS.items()]
    text.append(f"{'; '.join(meanings)}; {AFTER}: throughput at the end, as a share of that before.")
    if not manifest["workload"]["rate"]:
        text.append(
            "In a closed loop a client asks for nothing before its last answer: throughput is clients / latency. So "
            "where latencies are longer for good, because the new leader or the next replica is farther away, 90 % of "
            "the earlier throughput never comes back, although everybody is served. With --rate the same load keeps "
            "coming, and recovered90 says when it is served again."
        )
    return Section("answer", "The answer in short", text, tables)


def _fault(study: Study, fault: str, names: dict[str, str]) -> Section:
    outages, trials = study.outages[study.outages["fault"] == fault], study.failover[study.failover["fault"] == fault]
    per_site = []
    for site in (*study.sites, ALL):
        for protocol in study.protocols:
            o = outages[(outages["protocol"] == protocol) & (outages["site"] == site)]
            t = trials[(trials["protocol"] == protocol) & (trials["site"] == site)]
            if not len(o):
                continue
            waits = t["unavailable_ms"].sort_values()
            row = [number(o["usual_ms"].median(), 0), number(waits.median(), 0), number(waits.iloc[-1], 0)]
            row += [f"{o['waited'].sum() / max(1, o['concerned'].sum()):.1%}"]
            row.append(" / ".join(str(t[name].sum()) for name in ("failed", "retried", "duplicates")))
            for unit in ("ops", "ms"):
                row.append(" → ".join(number(o[f"{when}_{unit}"].mean()) for when in ("before", "after")))
            per_site.append([site, protocol, *row])
    columns = [
        "site", "protocol", "usual gap ms", "outage p50 ms", "worst ms", "waited > 1 s", "failed / retried / twice",
        "ops/s", "latency ms",
    ]  # fmt: skip
    text = [
        "Per client site; outage: the longest time without a completed operation that ended after the fault began. "
        "Waited: of the operations that were open then or due later. Failed, retried, executed twice: sums over the "
        "trials. Ops/s before → after, latency ms before → after: means over the trials; after: the last half of the "
        "time that was left.",
    ]
    figures = [
        (
            names["outage"],
            "Distributions over the trials: how long it took, and how long nothing was completed.",
        ),
        (
            names["timeline"],
            "Completed operations a second, all sites: median over the trials, and their range. Below: what was "
            "injected (its median time over the trials).",
        ),
    ]
    tables = [Table("", columns, per_site, texts=2), _held(study, outages[outages["site"] == ALL])]
    return Section(fault, f"Fault: {fault}", text, tables, figures)


def _held(study: Study, outages: Frame) -> Table:
    """What waits for others' unfinished commands."""
    rows = []
    for protocol in study.protocols:
        o = outages[outages["protocol"] == protocol]
        if len(o):
            longest = o["held_ms"].sort_values()
            row = [f"{(o['held'] > 0).mean():.0%}", number(o["held"].mean()), number(o["held"].max(), 0)]
            rows.append([protocol, *row, number(longest.median(), 0), number(longest.iloc[-1], 0)])
    columns = ["protocol", "trials with any", "a trial", "most", "longest p50 ms", "longest worst ms"]
    caption = (
        "Operations that were chosen and executed more than a second later, and the longest time from commit to "
        "execution: in EPaxos what depends on a dead replica's unfinished instances waits until somebody finishes them."
    )
    return Table(caption, columns, rows)


def _checks(study: Study) -> Section:
    checks = json.loads((study.folder / "checks.json").read_text(encoding="utf-8"))
    counted: dict[tuple[str, str], list[int]] = {}
    for check in checks:
        entry = counted.setdefault((check["property"], check["verdict"]), [0, 0])
        entry[0] += 1
        entry[1] += check["checked"]
    rows = [[name, verdict, f"{runs:,}", f"{seen:,}"] for (name, verdict), (runs, seen) in counted.items()]
    text = ["Every trial was verified like a run of compare; a trial in which a guarantee fell has no numbers."]
    return Section("checks", "Verification", text, [Table("", ["property", "verdict", "trials", "checked"], rows, 2)])


def _settings(study: Study) -> Section:
    scenario = study.manifest["scenario"]
    rows = [
        [key, json.dumps(value) if isinstance(value, dict | list) else str(value)] for key, value in scenario.items()
    ]
    for protocol, options in study.manifest["options"].items():
        said = {k: options[k] for k in ("heartbeat_ms", "election_timeout_ms", "retry_ms") if k in options}
        rows.append([f"{protocol}: detection", json.dumps(said)])
    text = [f"To repeat it: {study.manifest['command']}"]
    return Section("settings", "Settings", text, [Table("", ["setting", "value"], rows, 2)])


def draw_outage(study: Study, fault: str) -> Figure:
    """Distributions over the trials: of the outage of everybody together and at the site that waited most, and of what
    makes it up. A trial in which it never came to that keeps its curve below 1."""
    import matplotlib.pyplot as plt

    trials = study.failover[study.failover["fault"] == fault]
    dead = fault.removeprefix(DEAD_SITE).split(",") if fault.startswith(DEAD_SITE) else []  # nobody waits there
    together, sites = trials[trials["site"] == ALL], trials[~trials["site"].isin([ALL, *dead])]
    shown = {
        "until another replica acts on the silence": together.set_index("protocol")["detect_ms"],
        "until a command is committed under a new leader": together.set_index("protocol")["elect_ms"],
        "longest time in which nobody anywhere was answered": together.set_index("protocol")["unavailable_ms"],
        "the same at the site that waited most": sites.groupby(["protocol", "seed"])["unavailable_ms"]
        .max()
        .droplevel(1),
    }
    shown = {title: times for title, times in shown.items() if times.notna().any()}
    figure, grid = plt.subplots(
        -(-len(shown) // 2),
        2,
        figsize=(10, 3.4 * -(-len(shown) // 2)),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    panels = list(grid.flat)
    for axes, (title, times) in zip(panels, shown.items(), strict=False):
        for position, protocol in enumerate(study.protocols):
            mine = times[times.index == protocol]
            if mine.notna().any():
                values = [0.0, *sorted(mine.dropna() / 1000)]
                shares = [i / len(mine) for i in range(len(values))]
                axes.step(values, shares, where="post", label=protocol, **line(position))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("s")
        axes.set_xlim(0, times.max() / 1000 * 1.05 or 1)
    for axes in panels[len(shown) :]:
        axes.remove()
    for row in grid:
        row[0].set_ylabel("share of trials")
    panels[0].set_ylim(0, 1.02)
    handles, labels = panels[len(shown) - 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def draw_timeline(study: Study, fault: str) -> Figure:
    """Operations completed in each second, all sites together: the median over the trials, and their range; below, what
    was injected when."""
    import matplotlib.pyplot as plt

    faults = typical(study.injected[study.injected["fault"] == fault])
    lane_in = 0.35 + 0.28 * faults["kind"].nunique()
    frame = study.timeline[study.timeline["fault"] == fault]
    protocols = [protocol for protocol in study.protocols if (frame["protocol"] == protocol).any()]
    heights = [*[1.7] * len(protocols), lane_in]
    figure, (*panels, below) = plt.subplots(
        len(heights), 1, figsize=(10, 0.8 + sum(heights)), sharex=True, layout="constrained", height_ratios=heights
    )
    for position, protocol in enumerate(protocols):
        axes = panels[position]
        mine = frame[frame["protocol"] == protocol].groupby(["seed", "second"])["completed_ops"].sum().unstack("second")
        colour = look(position)["color"]
        edges = range(len(mine.columns) + 1)  # a step a second: a line between would fall before the fault
        axes.stairs(mine.max(), edges, baseline=mine.min(), fill=True, color=colour, alpha=0.2, lw=0)
        axes.stairs(mine.median(), edges, baseline=None, color=colour, lw=1.8)
        for at_ms in (*faults["start_ms"], *faults["end_ms"]):
            axes.axvline(at_ms / 1000, color=FAULT, ls=":", lw=1.2)
        axes.set_title(protocol, fontsize=11, loc="left")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("ops/s")
    below.set_xlim(0, study.manifest["scenario"]["duration"])
    lanes(below, faults)
    below.set_xlabel("simulated time, s")
    return figure


def typical(injected: Frame) -> Frame:
    """One run's faults that stand for those of all trials: the n-th of a kind at the median time of all n-th ones."""
    if not len(injected):
        return injected
    turn = injected.groupby(["protocol", "seed", "kind"]).cumcount()
    groups = injected.assign(turn=turn).groupby(["kind", "turn"], sort=False)
    rows = groups.agg(start_ms=("start_ms", "median"), end_ms=("end_ms", "median"), target=("target", _common))
    return rows.reset_index().assign(protocol="", seed=0)


def _common(targets: Frame) -> str:
    return str(targets.iloc[0]) if targets.nunique() == 1 else "one or another"


def print_failover(folder: Path, console: Console) -> None:
    """The table of the answer."""
    from rich.table import Table as Grid

    study = Study(folder)
    for fault in study.faults:
        title = f"{fault}: ms after it began, median / worst of {len(study.manifest['seeds'])} trials"
        grid = Grid(title=title, title_justify="left", box=None, pad_edge=False)
        for name in ("protocol", *METRICS, AFTER):
            grid.add_column(name, justify="left" if name == "protocol" else "right")
        for row in rows_of(study, fault, ("median_ms", "worst_ms")):
            grid.add_row(*row)
        console.print(grid)
        console.print()
    for said in study.struck_nobody:
        console.print(said)
    done, planned = study.manifest["runs"], study.manifest["planned_runs"]
    if done < planned:
        console.print(f"interrupted: only {done} of {planned} trials are in these numbers")
    failed, retried, twice = (int(study.failover[study.failover["site"] == ALL][n].sum()) for n in
                              ("failed", "retried", "duplicates"))  # fmt: skip
    console.print(f"operations never answered: {failed}, retried: {retried}, executed twice: {twice}")
