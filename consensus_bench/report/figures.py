"""The figures of a report, each a function of a run. They take their size from the data and label their axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from consensus_bench.report.faults import lanes, shade
from consensus_bench.report.load import Run
from consensus_bench.report.sections import LEAST_SAMPLES
from consensus_bench.report.style import BOUND, line, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN: Final = 10.0


def _axes(height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(WIDTH_IN, height), layout="constrained", **options)


def latency_by_site(run: Run) -> Figure:
    """Per client site and protocol: median (marker) and 99th percentile (end of the line), over the lower bound."""
    s = run.summary
    s = s[(s["seed"] == "ALL") & (s["metric"] == "execute")].set_index(["protocol", "site"])
    sites, protocols = run.client_sites, run.protocols
    step = 0.8 / len(protocols)
    figure, axes = _axes(1.2 + len(sites) * max(0.6, 0.22 * len(protocols)))
    for number, protocol in enumerate(protocols):
        rows = [(i, s.loc[protocol, site]) for i, site in enumerate(sites) if (protocol, site) in s.index]
        y = [i - 0.4 + (number + 0.5) * step for i, _ in rows]
        style = look(number)
        # Like the table: no 99th percentile where it would rest on fewer than ten operations.
        ends = [r["p99_ms"] if r["count"] >= LEAST_SAMPLES["p99_ms"] else r["p50_ms"] for _, r in rows]
        axes.hlines(y, [r["p50_ms"] for _, r in rows], ends, color=style["color"], lw=2.5)
        axes.plot([r["p50_ms"] for _, r in rows], y, ls="", ms=8, label=protocol, **style)
    floors: Any = run.bounds.groupby("site")["floor_ms"].min() if len(run.bounds) else {}
    for i, site in enumerate(sites):
        if site in floors:
            label = "lower bound (physics, majority)" if i == 0 else None
            axes.vlines(floors[site], i - 0.42, i + 0.42, color=BOUND, ls=":", lw=2, label=label)
    axes.set_yticks(range(len(sites)), sites)
    axes.set_ylim(len(sites) - 0.45, -0.55)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("execution latency, ms: marker = median, end of the line = 99th percentile")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4)
    return figure


def distribution(run: Run) -> Figure:
    """All measured operations: the cumulative distribution, and the tail on a log axis."""
    import numpy as np

    figure, (left, right) = _axes(4.2, 2)
    for number, protocol in enumerate(run.protocols):
        values = np.sort(run.latencies_ms(protocol).to_numpy())
        if not len(values):
            continue
        share = np.arange(1, len(values) + 1) / len(values)
        every = np.linspace(0, len(values) - 1, 800)
        last = len(values) - np.geomspace(1, len(values), 400)
        keep = np.unique(np.concatenate([every, last]).astype(int))
        left.step(values[keep], share[keep], where="post", label=protocol, **line(number))
        right.step(values[keep], 1 - share[keep] + 1 / len(values), where="post", label=protocol, **line(number))
    left.set_ylabel("share of operations answered within")
    left.set_ylim(0, 1.01)
    right.set_yscale("log")
    right.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    right.set_ylabel("share of operations slower than")
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.set_xlabel("execution latency, ms")
    left.legend(loc="lower right")
    return figure


def load_curve(run: Run) -> Figure:
    """Latency against the throughput that was reached, level by level of the offered load, a line a seed."""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, (left, right) = _axes(4.2, 2, sharex=True)
    for number, protocol in enumerate(run.protocols):
        style = look(number)
        rows = run.load[run.load["protocol"] == protocol].sort_values("offered_ops", kind="stable")
        for i, (_, of_seed) in enumerate(rows.groupby("seed", sort=False)):  # percentiles are never averaged
            label = "_" if i else protocol  # one entry of the legend for all
            left.plot(of_seed["throughput_ops"], of_seed["p50_ms"], label=label, **style)
            right.plot(of_seed["throughput_ops"], of_seed["p99_ms"], label=label, **style)
    for axes, what in ((left, "median"), (right, "99th percentile")):
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_xlabel("throughput reached, operations/s")
        axes.set_ylabel(f"{what} of execution latency, ms")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    left.legend(loc="upper left")
    return figure


def conflict_curve(run: Run) -> Figure:
    """Mean latency and fast-path share against the share of operations on the hot key."""
    figure, (left, right) = _axes(4.2, 2)
    data = run.conflict
    for number, protocol in enumerate(run.protocols):
        rows = data[data["protocol"] == protocol]
        for metric, dash in (("execute", "-"), ("commit", ":")):
            mean = rows[rows["metric"] == metric].groupby("conflict_percent")["mean_ms"].mean()
            size = 9 - 2 * number if number < 3 else 5  # what coincides is seen behind the next
            left.plot(mean.index, mean, ls=dash, ms=size, label=f"{protocol}, {metric}", **look(number))
        fast = rows[rows["metric"] == "commit"].groupby("conflict_percent")["fast_share"].mean().dropna()
        if len(fast):
            right.plot(fast.index, fast * 100, label=protocol, **look(number))
    left.set_ylabel("mean latency over operations, ms")
    left.set_ylim(bottom=0)
    left.legend(loc="upper left", fontsize=9)
    right.set_ylabel("commands on the fast path, %")
    right.set_ylim(-3, 103)
    for axes in (left, right):
        axes.set_xlabel("operations on the hot key, %")
    if right.get_legend_handles_labels()[0]:
        right.legend(loc="lower left")
    else:
        right.text(0.5, 0.5, "no protocol here has a fast path", ha="center", transform=right.transAxes)
    return figure


def _with_faults(run: Run) -> tuple[Figure, Any, Any]:
    """A figure of time with lanes for faults below it, where the run has any (else the lanes are None)."""
    import matplotlib.pyplot as plt

    if not len(run.faults):
        figure, axes = _axes(3.2)
        return figure, axes, None
    heights = (3.2, 0.35 + 0.28 * run.faults["kind"].nunique())
    figure, (axes, below) = plt.subplots(
        2, 1, figsize=(WIDTH_IN, sum(heights)), layout="constrained", sharex=True, height_ratios=heights
    )
    return figure, axes, below


def timeline(run: Run) -> Figure:
    """Completed operations per simulated second, all sites, mean over seeds; below, what was injected when."""
    figure, axes, below = _with_faults(run)
    data = run.timeline
    # Only whole seconds under load: what is answered after the end is no fall of the throughput.
    data = data[data["second"] < max(1, int(run.manifest["scenario"].get("duration", 86_400)))]
    for number, protocol in enumerate(run.protocols):
        rows = data[data["protocol"] == protocol]
        total = rows.groupby(["seed", "second"], observed=True)["completed_ops"].sum().groupby("second").mean()
        if not len(total):
            continue
        total = total.reindex(range(int(total.index.max()) + 1), fill_value=0)  # a second without answers is a zero
        axes.stairs(total, range(len(total) + 1), baseline=None, label=protocol, **line(number))
    axes.set_ylim(bottom=0)
    if len(data):
        axes.set_xlim(0, int(data["second"].max()) + 1)
    if below is not None:
        shade(axes, run.faults)
        lanes(below, run.faults)
    (axes if below is None else below).set_xlabel("simulated time, s")
    axes.set_ylabel("operations/s, all sites")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=7)
    return figure


def world(run: Run) -> Figure:
    """Where replicas and clients are, and the round trips between them."""
    from consensus_bench.report.maps import world_map
    from consensus_bench.topology import Location, Topology

    t = run.manifest["topology"]
    names = tuple(t["rtt_ms"]["sites"])
    places = tuple(
        Location(p["place"], p["latitude"], p["longitude"]) if p["latitude"] is not None else None
        for p in (t["sites"][name] for name in names)
    )
    topology = Topology(
        name=t["name"], sites=names, columns=("rtt",), values=(tuple(map(tuple, t["rtt_ms"]["matrix"])),),
        source=t["source"], date=t["date"], licence=t["licence"], statistic=t["statistic"], locations=places,
    )  # fmt: skip
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH_IN, 4.1))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
    leader = next((site for site in run.manifest["leaders"].values() if site), None)
    world_map(axes, topology, run.manifest["sites"], run.manifest["client_sites"], leader)
    return figure


def has_places(run: Run) -> bool:
    """Whether the sites of ``run`` can be put on a map."""
    return any(place["latitude"] is not None for place in run.manifest["topology"]["sites"].values())


FIGURES: Final[dict[str, tuple[Callable[[Run], Figure], Callable[[Run], bool]]]] = {
    "latency_by_site": (latency_by_site, lambda run: len(run.summary) > 0),
    "world": (world, has_places),
    "distribution": (distribution, lambda run: len(run.operations) > 0),
    "load": (load_curve, lambda run: len(run.load) > 0),
    "conflict": (conflict_curve, lambda run: len(run.conflict) > 0),
    "timeline": (timeline, lambda run: len(run.timeline) > 0),
}
"""Name -> (how to draw it, whether the run has the data)."""
