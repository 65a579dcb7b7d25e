"""The report of a measurement of elections: a CDF, quantiles, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.elections import read_elections, summary
from consensus_bench.report.page import Section, Table
from consensus_bench.report.style import BOUND, RC, line, save
from consensus_bench.report.writing import write_page

LOG_SPREAD: Final = 15
"""From this ratio of the longest to the shortest time on, the axis is logarithmic."""
_MEANING: Final = {
    "last-heartbeat": "Time counts from the last heartbeat that the survivors heard",
    "crash": "Time counts from the leader's crash, uniform within a heartbeat interval after its last heartbeat",
}


def write_election_report(folder: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/`` of a finished measurement; returns the HTML's path."""
    try:
        manifest: dict[str, Any] = msgspec.json.decode((folder / "manifest.json").read_bytes())
        elect_ms = read_elections(folder)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{folder}: holds no finished measurement of elections") from error
    scenario = manifest["scenario"]
    label = f"{scenario['protocol']}, {scenario['servers']} servers, {scenario['down']} down"
    svg = draw_elections({label: elect_ms}, {}, folder / "figures", "elections", label)
    numbers = summary(elect_ms)
    rows = [[name.replace("_", " "), _shown(value)] for name, value in numbers.items()]
    settings = [[name.replace("_", " "), str(value)] for name, value in scenario.items() if value not in (None, [], "")]
    part = Section(
        "elections",
        "Leader election",
        [f"{_MEANING[scenario['since']]}, until a candidate has its majority. Made by `{manifest['command']}`."],
        [Table("Milliseconds, over trials.", ["statistic", "value"], rows), Table("", ["setting", "value"], settings)],
        [("elections", "Share of elections that have ended")],
    )
    return write_page(folder, f"Leader election: {label}", [part], {"elections": svg})


def _shown(value: float | None) -> str:
    return "no leader" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def draw_elections(
    series: Mapping[str, Sequence[float | None]],
    published: Mapping[str, Mapping[float, float]],
    folder: Path,
    name: str,
    title: str,
) -> str:
    """Draw a cumulative distribution for each of ``series`` (ms; None: no leader in time), and ``published`` quantiles
    (share -> ms) of the series of that name as crosses; returns the SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context(RC):  # type: ignore[arg-type]  # stubs list every name
        figure, axes = plt.subplots(figsize=(10, 5.2), layout="constrained")
        everything = []
        for number, (label, times) in enumerate(series.items()):
            ended = sorted(t for t in times if t is not None)
            everything += [*ended, *published.get(label, {}).values()]
            shares = [(i + 1) / len(times) for i in range(len(ended))]
            style = line(number)
            axes.step(ended, shares, where="post", label=label, **style)
            known = published.get(label, {})
            axes.plot(list(known.values()), list(known), ls="", marker="x", ms=9, mew=2.2, color=style["color"])
        if any(published.values()):
            axes.plot([], [], ls="", marker="x", ms=9, mew=2.2, color=BOUND, label="published quantiles")
        if everything and max(everything) > LOG_SPREAD * min(everything):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.set(xlabel="time to elect a leader (ms)", ylabel="share of elections", ylim=(0, 1.02), title=title)
        axes.legend(loc="lower right")
        return save(figure, folder, name)
