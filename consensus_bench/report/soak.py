"""The last messages before something fell, as a space-time diagram: replicas are lines, simulated time runs right.

An arrow leaves when the message left and ends when it arrived; one that was lost, or came to a replica that was down,
ends in a cross. Faults that strike replicas are bars on their lines, those of links are bars below.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consensus_bench.experiments.scenario import load_scenario
from consensus_bench.experiments.soak_run import Recording, record
from consensus_bench.exploration.trace import read_trace
from consensus_bench.report.faults import FAULT
from consensus_bench.report.spacetime import write_space_time
from consensus_bench.report.style import BOUND, PALETTE, RC, save
from consensus_bench.simulation.faults.kinds import KINDS, LinkFault
from consensus_bench.simulation.recorder import Recorded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MESSAGES: Final = 48
"""More than this on one figure cannot be told apart."""
MOST_STEPS: Final = 60
"""Of a trace that is drawn: that is 6,000 pixels wide."""
NS_PER_MS: Final = 1e6


def draw_failure(file: Path) -> Path | None:
    """Draw what a soak kept of a failure, beside it: ``.png`` and ``.svg``; the path of the former. A scenario is run
    again, and its end is drawn; a trace is drawn as it is (``spacetime``) if its steps can be made out; a transcript is
    not."""
    from matplotlib.style import context

    if file.suffix == ".json":
        trace = read_trace(file)
        if trace.length > MOST_STEPS:
            return None
        write_space_time(trace, file.parent, file.stem)
    elif file.suffix == ".toml":
        recording = record(load_scenario(file))
        with context(["default", RC]):
            save(space_time(recording), file.parent, file.stem)
    else:
        return None
    return file.with_suffix(".png")


def space_time(recording: Recording) -> Figure:
    """The last ``MESSAGES`` messages of a run."""
    from matplotlib.figure import Figure

    last = sorted(recording.messages, key=lambda message: message.leave_ns)[-MESSAGES:]
    start = min((message.leave_ns for message in last), default=0) / NS_PER_MS
    end = max([recording.end_ns, *(m.end_ns for m in last if m.lost)]) / NS_PER_MS
    margin = 0.02 * max(1.0, end - start)
    lanes = _link_faults(recording, start, end)
    height = 1.4 + 0.75 * len(recording.sites) + 0.22 * len(lanes)
    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.add_subplot(xlim=(start - margin, end + margin))
    _lines(axes, recording)
    _messages(axes, last)
    for row, (begin, finish, text) in enumerate(lanes):
        y = len(recording.sites) - 0.25 + 0.32 * row
        left = max(begin, start - margin)
        axes.barh(y, min(finish, end + margin) - left, left=left, height=0.24, color=FAULT, alpha=0.25)
        axes.text(left, y, f" {text}", va="center", fontsize=7.5, clip_on=True)
    for at_ns, replica in recording.elections:
        if start <= at_ns / NS_PER_MS <= end:
            axes.plot(at_ns / NS_PER_MS, replica, marker="^", color=BOUND, ms=9, zorder=4)
            axes.annotate("leads", (at_ns / NS_PER_MS, replica), (0, 7), textcoords="offset points",
                          ha="center", fontsize=8)  # fmt: skip
    verdict = recording.verdict
    if verdict.property:
        axes.axvline(recording.end_ns / NS_PER_MS, color=FAULT, lw=1.2, ls=(0, (4, 2)))
    said = f"{verdict.property}: {verdict.detail}" if verdict.property else "nothing was lost"
    axes.set_title("\n".join(textwrap.wrap(said, 125)[:3]), fontsize=9, loc="left", color=FAULT)
    axes.set_ylim(len(recording.sites) - 0.45 + 0.32 * len(lanes), -0.6)
    axes.set_yticks(range(len(recording.sites)), [f"{n}: {site}" for n, site in enumerate(recording.sites)])
    axes.set_xlabel("simulated time (ms)")
    axes.grid(axis="y", visible=False)
    return figure


def _lines(axes: Axes, recording: Recording) -> None:
    """A line for each replica; thick and red where a fault strikes it."""
    for replica in range(len(recording.sites)):
        axes.axhline(replica, color=BOUND, lw=1, zorder=1)
    for start_ns, end_ns, kind, target in recording.faults:
        if not issubclass(KINDS[kind], LinkFault):
            for site in target.split(","):
                replica = recording.sites.index(site)
                axes.plot(
                    [start_ns / NS_PER_MS, end_ns / NS_PER_MS], [replica] * 2, color=FAULT, lw=6, alpha=0.3,
                    solid_capstyle="butt", zorder=1,
                )  # fmt: skip
                axes.annotate(kind, (start_ns / NS_PER_MS, replica), (2, -11), textcoords="offset points",
                              fontsize=7.5, color=FAULT, annotation_clip=True)  # fmt: skip


def _messages(axes: Axes, messages: list[Recorded]) -> None:
    """Arrows, a colour for each kind; grey crosses for what was lost."""
    from matplotlib.lines import Line2D

    kinds = list(dict.fromkeys(message.kind for message in messages))
    colours = {kind: PALETTE[number % len(PALETTE)] for number, kind in enumerate(kinds)}
    for message in messages:
        colour = colours[message.kind]
        x, y = message.end_ns / NS_PER_MS, message.to
        style: dict[str, Any] = {"arrowstyle": "-" if message.lost else "-|>", "color": colour, "lw": 1.1,
                                 "shrinkA": 0, "shrinkB": 0, "ls": ":" if message.lost else "-"}  # fmt: skip
        axes.annotate("", (x, y), (message.leave_ns / NS_PER_MS, message.source), arrowprops=style)
        if message.lost:
            axes.plot(x, y, marker="x", color=colour, ms=6, mew=1.6, zorder=3)
    handles = [Line2D([], [], color=colours[kind], lw=1.5, label=kind) for kind in kinds]
    if handles:
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=6, fontsize=8)


def _link_faults(recording: Recording, start: float, end: float) -> list[tuple[float, float, str]]:
    """(from, to in ms, words) of the faults of links in view."""
    return [
        (start_ns / NS_PER_MS, end_ns / NS_PER_MS, f"{kind} {target}")
        for start_ns, end_ns, kind, target in recording.faults
        if issubclass(KINDS[kind], LinkFault) and start_ns / NS_PER_MS <= end and end_ns / NS_PER_MS >= start
    ]
