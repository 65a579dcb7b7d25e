"""Ways to read, side by side: `make reads`. Writes reads.csv, reads.md and a figure here.

Five AWS regions, nine operations in ten are reads. Latency at low load, from a closed loop of a few clients a site;
throughput as the most that was completed when ever more is offered.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

import consensus_bench
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.style import RC, look, save

HERE: Final = Path(__file__).parent
WAYS: Final = {
    "raft, log": ("raft", {"reads": "log"}, "none"),
    "raft, ReadIndex": ("raft", {"reads": "index"}, "none"),
    "raft, lease": ("raft", {"reads": "lease"}, "rates of clocks differ by at most clock_drift_bound (1 %)"),
    "multi-paxos, log": ("multi-paxos", {"reads": "log"}, "none"),
    "multi-paxos, quorum": ("multi-paxos", {"reads": "quorum"}, "none"),
    "multi-paxos, lease": (
        "multi-paxos", {"reads": "lease"}, "rates of clocks differ by at most clock_drift_bound (1 %)",
    ),
    "epaxos, log": ("epaxos", {}, "none"),
    "epaxos, quorum": ("epaxos", {"reads": "quorum"}, "none"),
}  # fmt: skip
"""Name -> (protocol, options, what it assumes of clocks)."""
SHADES: Final = {"log": 1.0, "index": 0.65, "quorum": 0.65, "lease": 0.35}
"""In the figure a protocol has a colour, and the way a shade of it."""
SITES: Final = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-1")
RATES: Final = (5_000.0, 8_000.0, 12_000.0, 18_000.0)
SCENARIO: Final[dict[str, Any]] = {
    "name": "reads",
    "sites": SITES,
    "leader": "us-east-1",
    "workload": {"preset": "conflict", "clients": 5, "reads": 0.9, "swaps": 0.05, "conflict": 5.0},
    "seeds": [1],
    "duration": 21.0,
    "load_duration": 1.5,
    "load_rates": RATES,
    "conflict_levels": [],
}
COLUMNS: Final = (
    "way", "read_leader_site_ms", "read_mean_over_sites_ms", "read_p99_ms", "write_mean_over_sites_ms",
    "messages_per_operation", "fsyncs_per_operation", "most_ops_per_s", "clock_assumption",
)  # fmt: skip


def main() -> None:
    """Everything in this folder but this file."""
    scratch = Path(tempfile.mkdtemp())
    protocols = [f"{label(way)}={protocol}" for way, (protocol, _, _) in WAYS.items()]
    options = {label(way): settings for way, (_, settings, _) in WAYS.items() if settings}
    outcome = consensus_bench.compare(protocols=protocols, options=options, out=str(scratch / "run"), **SCENARIO)
    assert outcome.ok, outcome.violations
    run = consensus_bench.load(outcome.folder)
    rows = [row(run, way) for way in WAYS]
    write_csv(HERE / "reads.csv", COLUMNS, rows)
    (HERE / "reads.md").write_text(page(rows), encoding="utf-8")
    mpl.use("Agg")
    with mpl.rc_context(RC):  # type: ignore[arg-type]
        save(draw(run), HERE / "figures", "reads")
    shutil.rmtree(scratch)


def label(way: str) -> str:
    """A name that a command line can hold."""
    return way.replace(", ", "-").lower()


def latencies(run: Any, way: str) -> Any:
    """Latency in ms of each measured operation, with its site and whether it reads."""
    o = run.operations
    o = o[(o["protocol"] == label(way)) & o["measured"] & o["answered_ns"].notna()]
    return o.assign(ms=(o["answered_ns"] - o["due_ns"]) / 1e6, reads=o["kind"] == "get")


def row(run: Any, way: str) -> tuple[Any, ...]:
    """One line of the table."""
    o = latencies(run, way)
    by_site = o.groupby(["reads", "site"], observed=True)["ms"].mean()
    costs = run.costs[run.costs["protocol"] == label(way)].iloc[0]
    share = costs["commits"] / len(o)  # reads beside the log are not committed
    peak = run.load[run.load["protocol"] == label(way)]["throughput_ops"].max()
    here, everywhere, p99 = by_site[True]["us-east-1"], by_site[True].mean(), o[o["reads"]]["ms"].quantile(0.99)
    latency = [round(float(ms), 1) for ms in (here, everywhere, p99, by_site[False].mean())]
    messages, fsyncs = float(costs["messages_per_commit"] * share), float(costs["fsyncs_per_commit"] * share)
    return (way, *latency, round(messages, 1), round(fsyncs, 2), round(float(peak), -2), WAYS[way][2])


def page(rows: list[tuple[Any, ...]]) -> str:
    """The table with what it means."""
    lines = [
        "# Ways to read",
        "",
        "`make reads`: five AWS regions, the leader in us-east-1, 90 % reads, 5 clients a site, 5 % of the operations "
        "on one key. Latencies are execution latencies in ms at this low load; throughput is the most that an open "
        f"loop completed, offered {RATES[0]:,.0f} to {RATES[-1]:,.0f} operations/s. Messages and fsyncs are those of "
        "all five replicas, per operation, reads and writes together. The way from a client to the replica of its own "
        "site counts as 0 ms. Every run was checked to be linearizable.",
        "",
        "| | read, leader's site | read, mean over sites | read, p99 over reads | write, mean over sites | messages/op "
        "| fsyncs/op | most ops/s | assumes of clocks |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, *numbers, clocks in rows:
        shown = [f"{n:,.0f}" if i == 6 else f"{n:,}" for i, n in enumerate(numbers)]
        lines.append(f"| {name} | " + " | ".join(shown) + f" | {clocks} |")
    lines += [
        "",
        "A lease takes the majority's round trip out of a read, not the way to the leader: only clients at its site "
        "read locally. ReadIndex costs a log read's latency and its messages, but no disk. A quorum read "
        "needs neither leader nor disk. Otherwise EPaxos' reads are commands; they do not interfere with one another.",
        "",
        "![Latency of reads by site](figures/reads.png)",
    ]
    return "\n".join(lines) + "\n"


def draw(run: Any) -> Any:
    """Median latency of reads by site and way."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(12, 4.6), layout="constrained")
    width = 0.86 / len(WAYS)
    protocols = list(dict.fromkeys(protocol for protocol, _, _ in WAYS.values()))
    for number, (way, (protocol, options, _)) in enumerate(WAYS.items()):
        o = latencies(run, way)
        medians = o[o["reads"]].groupby("site", observed=True)["ms"].median().reindex(SITES)
        at = np.arange(len(SITES)) + (number - (len(WAYS) - 1) / 2) * width
        color = look(protocols.index(protocol))["color"]
        axes.bar(
            at, medians, width * 0.9, color=color, alpha=SHADES[options.get("reads", "log")], label=way, linewidth=0
        )
        for x, value in zip(at, medians, strict=True):
            axes.text(x, value + 3, f"{value:.0f}", ha="center", va="bottom", fontsize=6.5)
    axes.set_xticks(range(len(SITES)), [f"{site}\n(leader)" if site == "us-east-1" else site for site in SITES])
    axes.set_ylabel("median latency of reads, ms")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left", ncols=3)
    return figure


if __name__ == "__main__":
    main()
