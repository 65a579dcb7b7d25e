"""What ``compare`` prints when it is done: a table and a picture that fit a terminal of 100 columns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consensus_bench.report.faults import never_struck
from consensus_bench.report.load import Run, load
from consensus_bench.report.page import number
from consensus_bench.report.sections import LEAST_SAMPLES, NO_NUMBERS, overall, partial

if TYPE_CHECKING:
    from rich.console import Console

BAR: Final = 44
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def print_summary(folder: str | Path, console: Console) -> None:
    """Print the overall table and a bar per site and protocol (medians) of the run in ``folder``."""
    from rich.table import Table

    run = load(folder)
    if not len(run.summary):
        console.print(NO_NUMBERS)
        return
    table = Table(title="execution latency, ms", title_justify="left", box=None, pad_edge=False)
    table.add_column("protocol")
    for column in ("mean over sites", "mean over ops", "p50", "p99", "ops/s", "fast path"):
        table.add_column(column, justify="right")
    for protocol, r in overall(run).iterrows():
        table.add_row(
            str(protocol), *map(number, (r["sites_mean_ms"], r["mean_ms"], r["p50_ms"])),
            number(r["p99_ms"]) if r["count"] >= LEAST_SAMPLES["p99_ms"] else "",
            number(r["throughput_ops"], 0), fast_share(run, str(protocol)),
        )  # fmt: skip
    console.print(table)
    console.print()
    console.print(picture(run), markup=False, highlight=False)
    counts = run.checks["verdict"].value_counts() if len(run.checks) else {}
    violated, undecided = (int(counts.get(verdict, 0)) for verdict in ("violated", "not decided"))
    wrong = [f"{violated} violated"] if violated else []
    wrong += [f"{undecided} not decided"] if undecided else []
    console.print(f"verification: {len(run.checks)} checks, {', '.join(wrong) or 'all hold'}")
    for line in never_struck(run):
        console.print(line)
    if partial(run):
        console.print(partial(run))


def fast_share(run: Run, protocol: str) -> str:
    """The share of measured operations on the fast path, or nothing where the protocol has none."""
    o = run.operations
    paths = o[(o["protocol"] == protocol) & o["measured"]]["path"].astype(str)
    known = paths[paths != ""]
    return f"{(known == 'fast').mean():.1%}" if len(known) else ""


def picture(run: Run) -> str:
    """Bars: median execution latency by site and protocol; ``|`` marks the lower bound."""
    s = run.summary
    s = s[(s["seed"] == "ALL") & (s["metric"] == "execute") & (s["site"] != "ALL")].set_index(["site", "protocol"])
    floors: Any = run.bounds.groupby("site")["floor_ms"].min() if len(run.bounds) else {}
    most = s["p50_ms"].max()
    site_width = max(map(len, run.client_sites))
    protocol_width = max(map(len, run.protocols))
    lines = ["median by site, ms (| = lower bound: physics and a majority)"]
    for site in run.client_sites:
        for i, protocol in enumerate(run.protocols):
            if (site, protocol) not in s.index:
                continue
            value = float(s.loc[(site, protocol), "p50_ms"])
            label = f"{site if i == 0 else '':{site_width}} {protocol:{protocol_width}}"
            if math.isnan(value):
                lines.append(f"{label} no measured operation")
                continue
            bar = _bar(value / most * BAR, floors[site] / most * BAR if site in floors else None)
            lines.append(f"{label} {bar} {value:6.1f}")
    return "\n".join(lines)


def _bar(length: float, mark: float | None) -> str:
    whole, rest = divmod(round(length * 8), 8)
    cells = list(("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(BAR))
    if mark is not None:
        cells[min(BAR - 1, int(mark))] = "|"
    return "".join(cells)
