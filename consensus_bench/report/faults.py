"""What was injected when: lanes below a timeline, and the report's section."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.report.load import Frame, Run

FAULT: Final = "#B22222"
MOST_LABELS: Final = 10
SHORTEST_SHARE: Final = 0.004
"""A fault of a moment is drawn as wide as this share of the axis."""


def occurrences(faults: Frame) -> Frame:
    """A row per fault as it took place: kind, target, start_ms, end_ms, and ``runs``, in how many runs it did.
    ``faults``: as in ``faults.csv``."""
    columns = ["kind", "target", "start_ms", "end_ms"]
    if not len(faults):
        return faults
    return faults.groupby(columns, sort=False).size().rename("runs").reset_index().sort_values(["start_ms", "kind"])


def shade(axes: Any, faults: Frame) -> None:
    """Shade the time of each fault; the more runs it struck, the darker."""
    rows = occurrences(faults)
    runs = max(1, len(faults[["protocol", "seed"]].drop_duplicates())) if len(rows) else 1
    for row in rows.itertuples():
        axes.axvspan(row.start_ms / 1e3, row.end_ms / 1e3, color=FAULT, alpha=0.12 * row.runs / runs, lw=0)


def lanes(axes: Any, faults: Frame) -> None:
    """A lane per kind of fault, a bar per occurrence; labelled with its target where there are few."""
    rows = occurrences(faults)
    kinds = list(dict.fromkeys(rows["kind"]))
    low, high = axes.get_xlim()
    runs = max(1, len(faults[["protocol", "seed"]].drop_duplicates()))
    for row in rows.itertuples():
        width = max((row.end_ms - row.start_ms) / 1e3, SHORTEST_SHARE * (high - low))
        lane = kinds.index(row.kind)
        axes.barh(lane, width, left=row.start_ms / 1e3, height=0.6, color=FAULT, alpha=0.25 + 0.5 * row.runs / runs)
        if len(rows) <= MOST_LABELS:
            axes.text(
                row.start_ms / 1e3 + 0.004 * (high - low), lane, row.target, va="center", fontsize=8, clip_on=True
            )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def never_struck(run: Run) -> list[str]:
    """The scenario's faults of whose kind nobody was struck, and under which protocols: the trigger never came, or the
    protocol does not know the order."""
    said = []
    for fault in run.manifest["scenario"].get("faults", []):
        struck = set(run.faults[run.faults["kind"] == fault["kind"]]["protocol"]) if len(run.faults) else set()
        spared = [protocol for protocol in run.protocols if protocol not in struck]
        if spared:
            said.append(f"{fault['kind']}:{fault['target']} struck nobody under {', '.join(spared)}")
    return said


def rows_of(faults: Frame) -> list[list[str]]:
    """The rows of the report's table: kind, target, from, to, runs."""
    return [
        [row.kind, row.target, f"{row.start_ms / 1e3:.3f}", f"{row.end_ms / 1e3:.3f}", str(row.runs)]
        for row in occurrences(faults).itertuples()
    ]
