"""An execution as a picture: replicas are horizontal lines, time runs to the right, a message is a slanted arrow.

From a trace alone (exploration/trace.py). A column is one step of the world. On a line: what the replica writes to its
disk (below), what it learns to be chosen (above), where it crashes and what it loses with that. A message that is never
delivered ends in a cross; one that arrives twice has two arrows.
"""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from consensus_bench.exploration.wording import show_detail
from consensus_bench.report.spacetime_words import (
    compact,
    label_of,
    news,
    order_of,
    record_of,
    unreadable,
    value_of,
    wrapped,
)
from consensus_bench.report.style import PALETTE, RC, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from consensus_bench.exploration.trace import Envelope, Trace, TraceStep

DPI: Final = 110
COLUMN: Final = 0.92  # inches
LANE: Final = 1.35
CLIENTS: Final = 0.75
LEFT: Final = 1.0
TOP: Final = 0.62
"""Over the first line: the columns' numbers, and what happens there."""
BELOW: Final = 0.95
"""Under the last replica."""
FONT: Final = 8.0
CHARACTER: Final = 0.58 * FONT / 72
LINE: Final = 1.35 * FONT / 72
STORY: Final = 1.55 * FONT / 72

TOUCH: Final = 1e-6
LEGEND: Final = (
    "dot: a step   star: knows a value to be chosen   cross on a line: crash, dotted while down   "
    "small cross: a message that never arrives   brown: written to the replica's disk"
)
INK, FAINT, DISK, LOST, CHOSEN = "#222222", "#9a9a9a", "#6b5b00", "#c0392b", "#1e8449"


class _Box(msgspec.Struct, frozen=True):
    """A rectangle in inches."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: _Box) -> float:
        """The area that the two share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)


def space_time(trace: Trace, story: Sequence[str] = ()) -> Figure:
    """Draw ``trace``, and below it what happens in words; at most some 15 columns can be read at 1200 pixels."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    with context(["default", RC]):
        picture = Picture(trace, story)
        figure = Figure(figsize=(picture.width, picture.height))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, picture.width), ylim=(0, picture.height))
        axes.axis("off")
        picture.draw(axes)
        return figure


def write_space_time(trace: Trace, folder: Path, name: str, story: Sequence[str] = ()) -> str:
    """Write ``name.png`` and ``name.svg``; returns the SVG's text."""
    from matplotlib.style import context

    with context(["default", RC]):
        return save(space_time(trace, story), folder, name, DPI)


class Picture:
    """Where everything stands, in inches, and what has been drawn so far."""

    def __init__(self, trace: Trace, story: Sequence[str] = ()) -> None:
        self.trace = trace
        self.first = 1
        """What the first column is called."""
        self.clients = any(step.kind == "request" for step in trace.steps)
        self.columns: dict[int, int] = {}
        column = 0
        for step in trace.steps:
            if step.kind == "start":
                column = 0
            elif not step.own:
                column += 1
            self.columns[step.number] = column
        self.last = column
        self.width = LEFT + (column + 1.2) * COLUMN
        self.foot = self._foot(story)
        self.height = TOP + CLIENTS * self.clients + (trace.replicas - 1) * LANE + BELOW + self.foot_height
        self.taken: list[_Box] = []

    def _foot(self, story: Sequence[str]) -> list[tuple[str, str]]:
        """The lines below the replicas, each with its colour: what is violated, the story, what the signs mean."""
        room = self.width - LEFT
        lines: list[tuple[str, str]] = []
        if self.trace.violation is not None:
            said = show_detail(f"{self.trace.violation.property}: {self.trace.violation.detail}")
            most = int(room / (1.25 * CHARACTER))
            lines += [(line, LOST) for line in textwrap.wrap(said, most, max_lines=2, placeholder=" ...")]
        for paragraph in story:
            lines += [(line, INK) for line in textwrap.wrap(paragraph, int(room / CHARACTER), subsequent_indent="    ")]
        return [*lines, *((line, FAINT) for line in textwrap.wrap(LEGEND, int(room / CHARACTER)))]

    @property
    def foot_height(self) -> float:
        """Inches of the lines below the replicas."""
        return 0.15 + len(self.foot) * STORY

    def x(self, step: int) -> float:
        """A step's place: its column's middle."""
        return LEFT + (self.columns[step] + 0.3) * COLUMN

    def y(self, replica: int) -> float:
        """A replica's line; -1 is the clients'."""
        first = self.height - TOP - CLIENTS * self.clients
        return first + CLIENTS if replica < 0 else first - replica * LANE

    def shown(self) -> list[TraceStep]:
        """The steps that the picture is of."""
        return list(self.trace.steps)

    def draw(self, axes: Axes) -> None:
        """Everything."""
        self._lanes(axes)
        for step in self.shown():
            self._mark(axes, step)
        for step in self.shown():
            if step.kind == "request":
                self._request(axes, step)
        arrivals: dict[int, list[TraceStep]] = {}
        for step in self.trace.steps:
            if step.kind == "deliver" and not step.own:
                arrivals.setdefault(step.message or 0, []).append(step)
        for envelope in self.trace.messages:
            if envelope.source != envelope.to:
                self._message(axes, envelope, arrivals.get(envelope.number, []))
        self._end(axes)

    def _end(self, axes: Axes) -> None:
        """Where something is violated, and the lines below."""
        if self.trace.violation is not None:
            x = self.x(self.trace.steps[-1].number)
            axes.plot([x, x], [self.foot_height, self.height - 0.25], color=LOST, lw=1.2, ls=(0, (4, 3)), zorder=0.5)
        y = self.foot_height - STORY / 2
        for line, colour in self.foot:
            weight = "bold" if colour == LOST else "normal"
            axes.text(LEFT, y, line, color=colour, fontsize=FONT + (colour != FAINT), fontweight=weight, va="center")
            y -= STORY

    def _lanes(self, axes: Axes) -> None:
        """Solid while the process lives, dotted while it is down; columns numbered on top."""
        end = self.width - 0.1
        if self.clients:
            axes.plot([LEFT, end], [self.y(-1)] * 2, color=FAINT, lw=1, ls=(0, (6, 4)))
            axes.text(LEFT - 0.15, self.y(-1), "clients", ha="right", va="center", fontsize=FONT + 1, color=FAINT)
        for replica in range(self.trace.replicas):
            y = self.y(replica)
            turns = [
                (self.x(step.number), step.kind == "restart")
                for step in self.trace.steps
                if step.replica == replica and step.kind in ("crash", "restart")
            ]
            for (start, alive), (stop, _) in pairwise([(LEFT, True), *turns, (end, True)]):
                axes.plot(
                    [start, stop], [y, y], color=INK if alive else LOST, lw=1.6 if alive else 1.0,
                    ls="-" if alive else (0, (1, 3)), zorder=1,
                )  # fmt: skip
            axes.text(
                LEFT - 0.15, y, f"replica {replica}", ha="right", va="center", fontsize=FONT + 2, fontweight="bold",
                color=INK,
            )  # fmt: skip
        for column in range(1, self.last + 1):
            x = LEFT + (column + 0.3) * COLUMN
            axes.text(
                x,
                self.height - 0.14,
                str(column + self.first - 1),
                ha="center",
                va="center",
                fontsize=FONT - 1,
                color=FAINT,
            )
            axes.plot([x, x], [self.foot_height, self.height - 0.25], color="#f0f0f0", lw=1, zorder=0)

    def _mark(self, axes: Axes, step: TraceStep) -> None:
        """What a step does to its replica: disk below the line, decisions above it."""
        x, y = self.x(step.number), self.y(step.replica)
        below: list[tuple[str, str]] = []
        above: list[tuple[str, str]] = []
        if step.kind == "crash":
            axes.plot(x, y, marker="X", color=LOST, ms=10, zorder=4)
            above.append(("crash", LOST))
            below += [(f"lost: {compact(text)}", LOST) for text in self._lost(step)]
        elif step.kind == "restart":
            axes.plot(x, y, marker=">", color=INK, ms=8, zorder=4)
            above.append(("restart", INK))
            above += [(text, LOST) for text in unreadable(step.damage)]
            on_disk = ", ".join(f"{key} = {text}" for key, text in step.disk.items())
            below.append((f"disk: {compact(on_disk) or 'empty'}", DISK))
            if not self._lost(self.trace.steps[step.number - 2]):
                below += [(f"forgotten: {text}", LOST) for text in self._news(step.holds, self._held_before(step))]
        elif step.kind != "start":
            axes.plot(x, y, marker="o", color=INK, ms=4, zorder=4)
            if step.kind == "order":
                assert step.order is not None
                above += [(text, INK) for text in reversed(["operator:", *order_of(step.order)])]
            if step.kind == "timer":
                above += [("time-out", INK), (value_of(step.timer), INK)]
            if not step.written:
                colour = LOST if self._crashes_after(step) else INK
                below += [(f"{text} (in memory)", colour) for text in self._news(self._held_before(step), step.holds)]
        if step.kind != "start":
            self.taken.append(_Box(x - 0.1, y - 0.1, x + 0.1, y + 0.1))
        for text in map(record_of, step.written):
            below.append((text, DISK) if step.durable else (f"{text}: not yet on disk", LOST))
        for decision in step.committed:
            value = value_of(msgspec.to_builtins(decision.command))
            two = any(
                other.place == decision.place and other.command != decision.command
                for earlier in self.trace.steps[: step.number]
                for other in earlier.committed
            )
            axes.plot(x, y, marker="*", color=LOST if two else CHOSEN, ms=15, zorder=5)
            above.append((f"{value} chosen" + (" as well!" if two else ""), LOST if two else CHOSEN))
        self._stack(axes, x, y - 0.11, below, -1)
        self._stack(axes, x, y + 0.13, above, 1)

    def _news(self, before: str, after: str) -> list[str]:
        return news(before, after, any("term" in envelope.fields for envelope in self.trace.messages))

    def _crashes_after(self, step: TraceStep) -> bool:
        return any(o.kind == "crash" and o.replica == step.replica for o in self.trace.steps[step.number :])

    def _held_before(self, step: TraceStep) -> str:
        """What its replica held before, if need be in its last life."""
        earlier = (other for other in reversed(self.trace.steps[: step.number - 1]) if other.replica == step.replica)
        return next((other.holds for other in earlier if other.holds), "")

    def _lost(self, crash: TraceStep) -> list[str]:
        """What the replica had written and the crash takes."""
        lost: list[str] = []
        for step in self.trace.steps[: crash.number - 1]:
            if step.replica == crash.replica:
                lost = [] if step.kind in ("crash", "restart") else lost
                lost += () if step.durable else step.written
        return lost

    def _stack(self, axes: Axes, x: float, y: float, texts: list[tuple[str, str]], direction: int) -> None:
        """Lines of text under (-1) or over (1) a point of a replica's line, lower or higher where there is one."""
        for text, colour in texts:
            for line in wrapped(text):
                box = self._box(line, x, y + direction * LINE / 2)
                while any(box.overlap(other) > TOUCH for other in self.taken):
                    y += direction * LINE
                    box = self._box(line, x, y + direction * LINE / 2)
                self._text(axes, line, box, colour, bold=colour in (LOST, CHOSEN))
                y += direction * LINE

    def _request(self, axes: Axes, step: TraceStep) -> None:
        x = self.x(step.number)
        start = (x - 0.35, self.y(-1))
        self._arrow(axes, start, (x, self.y(step.replica)), FAINT)
        self._label(axes, value_of(msgspec.to_builtins(step.command)), start, (x, self.y(step.replica)), INK, near=0.2)

    def _message(self, axes: Axes, envelope: Envelope, arrivals: list[TraceStep]) -> None:
        start = (self.x(envelope.step), self.y(envelope.source))
        text = label_of(envelope)
        colour = PALETTE[envelope.source % len(PALETTE)]
        if not arrivals:
            down = 1 if envelope.to > envelope.source else -1
            end = (start[0] + 0.3, start[1] - down * 0.3)
            axes.plot([start[0], end[0]], [start[1], end[1]], color=FAINT, lw=0.9, zorder=2)
            axes.plot(*end, marker="x", color=FAINT, ms=5, zorder=2)
        for number, step in enumerate(arrivals):
            end = (self.x(step.number), self.y(step.replica))
            self._arrow(axes, start, end, colour)
            self._label(axes, text if number == 0 else f"{envelope.kind} again", start, end, colour, near=0.5)

    def _arrow(self, axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 2, "shrinkB": 4}
        axes.annotate("", xy=end, xytext=start, arrowprops=style, zorder=3)

    def _label(
        self, axes: Axes, text: str, start: tuple[float, float], end: tuple[float, float], colour: str, near: float
    ) -> None:
        """Along an arrow, where there is most room."""
        lines = wrapped(text)
        best: tuple[float, list[_Box]] | None = None
        heights = [self.y(replica) for replica in range(self.trace.replicas)]
        lines_of_replicas = [_Box(0, height - 0.07, self.width, height + 0.07) for height in heights]
        for share in sorted((0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78), key=lambda s: abs(s - near)):
            x = start[0] + share * (end[0] - start[0])
            y = start[1] + share * (end[1] - start[1]) + (len(lines) - 1) * LINE / 2
            boxes = [self._box(line, x, y - number * LINE) for number, line in enumerate(lines)]
            clash = sum(box.overlap(other) for box in boxes for other in (*self.taken, *lines_of_replicas))
            if best is None or clash < best[0] - 1e-9:
                best = clash, boxes
        assert best is not None
        for line, box in zip(lines, best[1], strict=True):
            self._text(axes, line, box, colour)

    def _box(self, text: str, x: float, y: float) -> _Box:
        half = len(text) * CHARACTER / 2
        x = min(max(x, half + 0.05), self.width - half - 0.05)
        return _Box(x - half, y - LINE / 2, x + half, y + LINE / 2)

    def _text(self, axes: Axes, text: str, box: _Box, colour: str, bold: bool = False) -> None:
        self.taken.append(box)
        axes.text(
            (box.left + box.right) / 2, (box.bottom + box.top) / 2, text, ha="center", va="center", fontsize=FONT,
            color=colour, fontweight="bold" if bold else "normal", zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
        )  # fmt: skip
