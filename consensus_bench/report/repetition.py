"""A lasso as a picture: rows of a space-time diagram, first what leads to the cycle, then the cycle, shaded.

A message that is under way from one row to another leaves the first at its right edge and enters the second at its left
one. What is under way at the end of the cycle was so at its beginning, with lower rounds.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import msgspec

from consensus_bench.report.spacetime import CLIENTS, COLUMN, FONT, INK, LEFT, Picture
from consensus_bench.report.spacetime_words import label_of
from consensus_bench.report.style import PALETTE, RC, save

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from consensus_bench.exploration.exhaustive.repetition import Repetition
    from consensus_bench.exploration.trace import Envelope, Trace, TraceStep

MOST_COLUMNS: Final = 13
"""In a row: more cannot be read at 1200 pixels."""
TITLE: Final = 0.4
"""Inches above each row."""
TOLD: Final = ("ballot", "term", "command")
LONGEST_RECORD: Final = 40
SHADE: Final = "#fdf3dd"


def write_repetition(repetition: Repetition, folder: Path, name: str) -> str:
    """Write ``name.png`` and ``name.svg``; returns the SVG's text."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    with context(["default", RC]):
        rows = _rows(repetition)
        width, height = max(row.width for row in rows), sum(row.height + TITLE for row in rows)
        figure = Figure(figsize=(width, height))
        top = height
        for row in rows:
            top -= row.height + TITLE
            place = (0, top / height, row.width / width, row.height / height)
            axes = figure.add_axes(place, xlim=(0, row.width), ylim=(0, row.height))
            axes.axis("off")
            if row.in_cycle:
                axes.axvspan(LEFT, row.width - 0.05, color=SHADE, zorder=-1)
            axes.text(
                LEFT, row.height + 0.12, row.title, fontsize=FONT + 3, fontweight="bold", color=INK, clip_on=False
            )
            row.draw(axes)
        return save(figure, folder, name)


def _rows(repetition: Repetition) -> list[_Row]:
    """As many rows as are needed, the cycle apart from what comes before."""
    whole = Picture(repetition.trace)
    begins, ends = whole.columns[repetition.begins], whole.columns[repetition.ends]
    changed = repetition.changed
    again = f"after column {ends} all is as after column {begins - 1}, with {changed}: again from column {begins} on"
    titles = {False: "what leads to the cycle", True: f"the cycle: {again}"}
    rows = []
    for in_cycle, first, last in ((False, max(1, whole.columns[repetition.shown]), begins - 1), (True, begins, ends)):
        count = ceil((last - first + 1) / MOST_COLUMNS)
        for part in range(count):
            size = ceil((last - first + 1) / count)
            start = first + part * size
            title = titles[in_cycle] if part == 0 else f"{'the cycle' if in_cycle else 'what leads to it'}, continued"
            rows.append(_Row(repetition.trace, start, min(start + size - 1, last), title, in_cycle))
    return rows


def _short(envelope: Envelope) -> str:
    """Kind, round and verdict, or the instance and what it comes after; the trace has the rest."""
    fields = envelope.fields
    if "instance" in fields:
        row, number = fields["instance"]
        before = ", ".join(f"{r}.{n}" for r, n in enumerate(fields.get("deps", ())) if n >= 0)
        return f"{envelope.kind} {row}.{number}" + (f" after {before}" if before else "")
    told = {name: value for name, value in fields.items() if name in TOLD}
    granted = {True: " yes", False: " no"}.get(fields.get("granted", ""), "")
    return label_of(msgspec.structs.replace(envelope, fields=told)) + granted


class _Row(Picture):
    """The columns ``first`` to ``last``. Of disks only short records are shown."""

    def __init__(self, trace: Trace, first: int, last: int, title: str, in_cycle: bool) -> None:
        super().__init__(trace)
        self.title, self.in_cycle = title, in_cycle
        self.first = first
        self.columns = {step: column - first + 1 for step, column in self.columns.items()}
        self.last = last - first + 1
        self.clients = any(step.kind == "request" for step in self.shown())
        self.width = LEFT + (self.last + 2) * COLUMN
        asked = any(step.kind == "request" for step in trace.steps)
        self.height -= self.foot_height + (CLIENTS if asked and not self.clients else 0)
        self.foot = []

    def shown(self) -> list[TraceStep]:
        return [
            msgspec.structs.replace(step, written=tuple(text for text in step.written if len(text) <= LONGEST_RECORD))
            for step in self.trace.steps
            if 1 <= self.columns[step.number] <= self.last
        ]

    def _message(self, axes: Axes, envelope: Envelope, arrivals: list[TraceStep]) -> None:
        if not arrivals:
            return
        sent, arrives = self.columns[envelope.step], self.columns[arrivals[0].number]
        if sent > self.last or arrives < 1:
            return
        start = (self.x(envelope.step), self.y(envelope.source))
        end = (self.x(arrivals[0].number), self.y(envelope.to))
        left, right = LEFT, min(self.width - 0.1, end[0] - 0.2 * COLUMN)
        slope = (end[1] - start[1]) / (end[0] - start[0])
        colour = PALETTE[envelope.source % len(PALETTE)]
        whole = arrives <= self.last
        if sent < 1:
            start = (left, end[1] - slope * (end[0] - left))
        if not whole:
            end = (right, start[1] + slope * (right - start[0]))
        if whole:
            self._arrow(axes, start, end, colour)
        else:
            axes.plot([start[0], end[0]], [start[1], end[1]], color=colour, lw=1.2, ls=(0, (4, 2)), zorder=3)
        self._label(axes, _short(envelope), start, end, colour, near=0.5)
