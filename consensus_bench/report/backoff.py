"""The figure of back-off against the duel of proposers: time until a value is chosen, and ballots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from consensus_bench.experiments.backoff import Decision, needing_more
from consensus_bench.report.style import BOUND, RC, line, save

MOST_BALLOTS: Final = 40
LEAST_SHARE: Final = 0.0008
"""Below the share of one run in a thousand."""


def draw_backoff(
    panels: Mapping[str, Mapping[str, Sequence[Decision]]],
    bounds: Mapping[str, Mapping[str, Sequence[float]]],
    folder: Path,
    name: str,
) -> str:
    """One row a panel (title -> label -> runs): on the left the cumulative distribution of the time to decide, on the
    right the share of runs that needed more than k ballots, with upper ``bounds`` of the same panel and label dotted
    (from k = 1 on). Returns the SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context(RC):  # type: ignore[arg-type]  # stubs list every name
        figure, rows = plt.subplots(len(panels), 2, figsize=(12, 3.5 * len(panels)), layout="constrained")
        for (left, right), (title, series) in zip(rows, panels.items(), strict=True):
            for number, (label, decisions) in enumerate(series.items()):
                ended = sorted(d.chosen_ns / 1e9 for d in decisions if d.chosen_ns is not None)
                shares = [(i + 1) / len(decisions) for i in range(len(ended))]
                left.step([*ended[:1], *ended], [0, *shares], where="post", label=label, **line(number))
                counts = range(1, MOST_BALLOTS + 1)
                more = [needing_more(decisions, k) for k in counts]
                right.step(counts, [share or None for share in more], where="mid", label=label, **line(number))
                bound = bounds.get(title, {}).get(label)
                if bound is not None:
                    style = {"color": line(number)["color"], "ls": "", "marker": ".", "ms": 5}
                    right.plot(counts, [share or None for share in bound[:MOST_BALLOTS]], **style)
            if title in bounds:
                right.plot([], [], ls="", marker=".", color=BOUND, label="upper bound, computed")
                right.legend(loc="upper right")
            left.set(xscale="log", xlim=(0.09, 12), ylim=(0, 1.03), title=title, ylabel="share of runs decided")
            left.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
            right.set(yscale="log", ylim=(LEAST_SHARE, 1.4), xlim=(0.5, MOST_BALLOTS), title=title)
            right.set(ylabel="share needing more ballots")
            left.legend(loc="lower right", title="back-off")
        rows[-1][0].set(xlabel="time until a value is chosen (s)")
        rows[-1][1].set(xlabel="ballots")
        return save(figure, folder, name)
