"""Run Raft's published election experiments again and set their quantiles beside the published ones: `make elections`.

Writes report.md, quantiles.csv and figures/ here; single runs go to results/runs/elections/, and are not repeated.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from consensus_bench.experiments.elections import Elections, prepare, run_elections, summary
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.elections import draw_elections

HERE: Final = Path(__file__).parent
RUNS: Final = HERE.parent / "runs" / "elections"
FITTED: Final[dict[str, Any]] = {
    "one_way": "uniform:0.25,0.75",
    "candidate_write": (1.6, 3.0),
    "vote_write": (4.2, 7.8),
}
"""The published experiment says only that broadcasting takes about 15 ms. These were chosen once, for all curves."""
CLUSTER: Final = ("12-24", "25-50", "50-100", "100-200", "150-151", "150-155", "150-175", "150-200", "150-300")
GATES: Final = {"wan": {"mean": 0.03, "p50": 0.03, "p99": 0.08}, "cluster": {"p10": 0.08, "p50": 0.08, "mean": 0.15}}
NOT_GATED: Final = ("150-151",)
TITLES: Final = {
    "wan": "Simulated wide area, equal logs (thesis, chapter 9)",
    "cluster": "Cluster, staggered logs (ATC 2014, Figure 16; thesis, chapter 9)",
}


def experiments() -> dict[str, dict[str, Elections]]:
    """By figure and series."""
    wan = {f"{down} down": Elections(down=down, trials=10_000) for down in (0, 1, 2)}
    cluster = {}
    for name in CLUSTER:
        low, high = map(float, name.split("-"))
        cluster[name] = Elections(down=1, logs="staggered", election_timeout=(low, high), trials=1000, **FITTED)
    return {"wan": wan, "cluster": cluster}


def published() -> dict[str, dict[str, dict[str, float]]]:
    """Figure -> series -> statistic -> ms."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with (HERE / "published.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["figure"], {}).setdefault(row["series"], {})[row["statistic"]] = float(row["ms"])
    return found


def main() -> None:
    """Everything in this folder but what is published."""
    known, rows = published(), []
    lines = [(HERE / "introduction.md").read_text(encoding="utf-8").rstrip(), ""]
    for figure, series in experiments().items():
        times = {
            name: run_elections(prepare(e), RUNS / f"{figure}-{name.replace(' ', '-')}").elect_ms
            for name, e in series.items()
        }
        crosses = {
            name: {float(s[1:]) / 100: ms for s, ms in known[figure][name].items() if s != "mean"} for name in series
        }
        draw_elections(times, crosses, HERE / "figures", figure, TITLES[figure])
        lines += [f"## {TITLES[figure]}", "", f"![{TITLES[figure]}](figures/{figure}.png)", ""]
        lines += ["| series | statistic | published ms | simulated ms | error | gate |", "|---|---|---:|---:|---:|---|"]
        for name, elect_ms in times.items():
            numbers = summary(elect_ms)
            for statistic, ms in known[figure][name].items():
                value = numbers[statistic]
                assert value is not None
                error, gate = value / ms - 1, GATES[figure].get(statistic)
                verdict = _verdict(error, None if name in NOT_GATED else gate)
                lines.append(f"| {name} | {statistic} | {ms:,g} | {value:,.1f} | {error:+.1%} | {verdict} |")
                rows.append((figure, name, statistic, ms, float(value), error, verdict))
        lines.append("")
    lines += [(HERE / "misses.md").read_text(encoding="utf-8").rstrip(), ""]
    write_csv(
        HERE / "quantiles.csv",
        ("figure", "series", "statistic", "published_ms", "simulated_ms", "error", "gate"),
        rows,
    )
    (HERE / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _verdict(error: float, gate: float | None) -> str:
    return "" if gate is None else f"{'met' if abs(error) <= gate else 'MISSED'} ({gate:.0%})"


if __name__ == "__main__":
    main()
