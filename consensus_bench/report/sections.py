"""What a report says, in order: sections of paragraphs, tables and figures, from the data alone.

Every table says whether its means are over operations or over sites: closed loops that run for a fixed time complete
more operations at fast sites, so that a mean over operations favours them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from consensus_bench.report.faults import never_struck, rows_of
from consensus_bench.report.load import Frame, Run
from consensus_bench.report.page import Section, Table, number
from consensus_bench.report.settings import settings

LEAST_SAMPLES: Final = {"p99_ms": 1_000, "p999_ms": 10_000}
"""Below so many operations a percentile rests on fewer than ten of them and is left blank."""
T_975: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""97.5 % quantiles of Student's t, 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, section 1.3.6.7.2)."""
FULL: Final = 0.985
"""A resource used so much of the time has no more to give."""
RESOURCES: Final = {"cpu": "processor", "network_card": "network card"}
NO_NUMBERS: Final = "There are no numbers: no main run both finished and passed its checks."


def overall(run: Run, metric: str = "execute") -> Frame:
    """By protocol: mean over operations, mean over sites (none where a site has no operations: a mean over the others
    says something else), percentiles over operations, throughput; all seeds."""
    s = run.summary[(run.summary["seed"] == "ALL") & (run.summary["metric"] == metric)]
    everywhere = s[s["site"] == "ALL"].set_index("protocol")
    sites = s[s["site"] != "ALL"].groupby("protocol")["mean_ms"].agg(_mean_of_all)
    return everywhere.assign(sites_mean_ms=sites).reindex(run.protocols)


def _mean_of_all(values: Frame) -> float:
    return float(values.mean(skipna=False))


def _bears(row: Frame, percentile: str) -> bool:
    """Whether a row of a table has enough operations for a percentile (tables of earlier versions do not say)."""
    return bool(row.get("count", math.inf) >= LEAST_SAMPLES.get(percentile, 0))


def sections(run: Run) -> list[Section]:
    """The report of one run. Where no run of the comparison passed its checks, there are no numbers to report."""
    if not len(run.summary):
        return [Section("answer", "The answer in short", [_verdict(run), NO_NUMBERS]), _checks(run), settings(run)]
    return [
        _answer(run), _sites(run), _distribution(), _load(run), _conflict(run), _costs(run), _resources(run),
        _seeds(run), _checks(run), settings(run),
    ]  # fmt: skip


def _answer(run: Run) -> Section:
    table = overall(run)
    by_site = table["sites_mean_ms"].dropna().sort_values()
    violated = len(run.checks) > 0 and (run.checks["verdict"] == "violated").any()
    text = [_verdict(run)] if violated else []
    if len(by_site) > 1:
        text.append(
            f"Averaged over the {len(run.client_sites)} client sites, {by_site.index[0]} answered fastest: "
            + ", ".join(f"{p} {by_site[p]:.0f} ms" for p in by_site.index)
            + "."
        )
    absent = [p for p in run.protocols if math.isnan(table.loc[p, "count"])]
    if absent:
        text.append(f"No numbers for {', '.join(absent)}: no main run both finished and passed its checks.")
    partly = [p for p in run.protocols if p not in by_site.index and p not in absent]
    if partly:
        text.append(f"No mean over sites for {', '.join(partly)}: at some site there is no measured operation.")
    s = run.summary[
        (run.summary["seed"] == "ALL") & (run.summary["metric"] == "execute") & (run.summary["site"] != "ALL")
    ]
    s = s.dropna(subset=["p50_ms"])
    winners: dict[str, list[str]] = {}
    for site in run.client_sites:
        here = s[s["site"] == site].sort_values("p50_ms")
        if len(here) > 1 and here["p50_ms"].iloc[1] - here["p50_ms"].iloc[0] < 0.01 * here["p50_ms"].iloc[0]:
            winners.setdefault("no protocol alone (less than 1 % apart)", []).append(site)
        elif len(here):
            winners.setdefault(str(here["protocol"].iloc[0]), []).append(site)
    if len(run.protocols) > 1:
        text.append("Lowest median: " + "; ".join(f"{who} at {', '.join(at)}" for who, at in winners.items()) + ".")
    for protocol, leader in run.manifest["leaders"].items():
        here = s[s["protocol"] == protocol].set_index("site")["p50_ms"]
        if leader in here.index and len(here) > 1:
            far = here.drop(leader).idxmax()
            text.append(
                f"{protocol} is led from {leader}: a client there waits {here[leader]:.0f} ms (median), one at {far} "
                f"{here[far]:.0f} ms."
            )
    if len(run.load):
        peak = run.load.groupby("protocol")["throughput_ops"].max().reindex(run.protocols)
        reached = ", ".join(f"{p} {peak[p]:,.0f}" for p in run.protocols if p in peak.dropna().index)
        text.append(f"Highest throughput reached under the load sweep, operations/s: {reached}. {_saturation(run)}")
    if not violated:
        text.append(_verdict(run))
    if partial(run):
        text.append(partial(run))
    return Section("answer", "The answer in short", text)


def partial(run: Run) -> str:
    """What to say of a comparison that was interrupted; nothing of a whole one."""
    done, planned = run.manifest.get("runs"), run.manifest.get("planned_runs")
    if run.manifest.get("complete", True):
        return ""
    return f"Interrupted: only {done} of {planned} runs are in these numbers; the same command goes on from there."


def _verdict(run: Run) -> str:
    checks = run.checks
    if not len(checks):
        return "Nothing was checked: no run finished."
    violated = checks[checks["verdict"] == "violated"]
    undecided = checks[checks["verdict"] == "not decided"]
    if len(violated):
        return (
            f"VIOLATED: {len(violated)} checks found a guarantee broken; see below. Numbers of those runs are left out."
        )
    if len(undecided):
        return f"No guarantee was violated; {len(undecided)} checks could not be decided, see below."
    return f"Every one of {len(checks)} checks of the runs held: what the clients saw was linearizable."


def _sites(run: Run) -> Section:
    s = run.summary[(run.summary["seed"] == "ALL") & (run.summary["metric"] == "execute")]
    s = s[s["site"] != "ALL"].set_index(["protocol", "site"])
    bounds = run.bounds[run.bounds["metric"] == "execute"].set_index(["protocol", "site"])
    rows = []
    for site in run.client_sites:
        for protocol in run.protocols:
            if (protocol, site) in s.index:
                r, b = s.loc[protocol, site], bounds.loc[protocol, site]
                p99 = r["p99_ms"] if _bears(r, "p99_ms") else None
                rows.append(
                    [site, protocol, *map(number, (r["mean_ms"], r["p50_ms"], p99, b["bound_ms"], b["floor_ms"]))]
                    + [number(r["throughput_ops"])]
                )
    whole = [
        [p, *map(number, (r["sites_mean_ms"], r["mean_ms"], r["p50_ms"]))]
        + [number(r[q]) if _bears(r, q) else "" for q in ("p90_ms", "p99_ms", "p999_ms")]
        + [number(r["throughput_ops"], 0)]
        for p, r in overall(run).iterrows()
    ]
    text = [
        "Execution latency: from the moment an operation was due until its result was back at the client. The lower "
        "bound is what the speed of the links and a majority of replicas allow any protocol that trusts no clock "
        "(reads under a lease may be below it); the closed form is this protocol's own latency for a command that it "
        "decides, for its leader, without jitter and without costs of the machines.",
    ]
    if run.manifest.get("leader_choice"):
        text.append(f"Leader: {run.manifest['leader_choice']}")
    per_site = Table(
        "Per site; means over that site's operations, all seeds.",
        ["site", "protocol", "mean ms", "p50 ms", "p99 ms", "closed form ms", "lower bound ms", "operations/s"],
        rows,
        texts=2,
    )
    total = Table(
        "All sites. The first mean is over sites (each weighs the same); the other columns are over operations, of "
        "which closed loops complete more at fast sites. Blank: too few operations for that percentile.",
        [
            "protocol",
            "mean over sites ms",
            "mean over operations ms",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "ops/s",
        ],
        whole,
    )
    figures = [("latency_by_site", "Median and 99th percentile per site, with the lower bound.")]
    figures.append(("world", "The sites; colours of links are measured round trips."))
    return Section("sites", "Who is served how fast", text, [per_site, total], figures)


def _distribution() -> Section:
    text = [
        "All measured operations of all sites and seeds, so over operations. Left: how many were answered within "
        "a time. "
        "Right: how many took longer, each line of the grid a tenth of the one above, to show the rare slow ones."
    ]
    return Section("distribution", "The whole distribution", text, [], [("distribution", "Distribution and tail.")])


def _load(run: Run) -> Section:
    section = Section("load", "How latency grows with load")
    if not len(run.load):
        section.text.append("This run had no load sweep (--load-rates off, or a profile whose machines cost nothing).")
        return section
    section.text.append(
        "Open loop: operations arrive at random at the offered rate, spread evenly over the sites, and latency counts "
        "from when each was due. Where throughput falls behind the offer, the system is saturated, and latency grows "
        "for as long as the test lasts. The last columns name the busiest resource of any replica."
    )
    seeds = _seeds_of(run.load)
    rows = [
        [str(r["protocol"]), *([r["seed"]] if len(seeds) > 1 else []), _offer(r)]
        + [number(r["throughput_ops"], 0), number(r["p50_ms"]), number(r["p99_ms"]) if _bears(r, "p99_ms") else ""]
        + [f"{r['busiest_resource'].replace('_', ' ')} at {r['busiest_site']}", f"{r['utilisation']:.0%}"]
        for _, r in _in_order(run, run.load).iterrows()
    ]
    columns = ["protocol", *(["seed"] if len(seeds) > 1 else []), "offered ops/s", "reached ops/s", "p50 ms", "p99 ms"]
    caption = f"Execution latency over operations, all sites, {_of_seeds(seeds)}."
    section.tables.append(Table(caption, [*columns, "busiest", "used"], rows))
    section.figures.append(("load", "Latency against the throughput that was reached."))
    return section


def _offer(row: Frame) -> str:
    return f"{row['offered_ops']:,.9g}"


def _seeds_of(table: Frame) -> list[str]:
    return [str(seed) for seed in table["seed"].unique()]


def _of_seeds(seeds: Sequence[str]) -> str:
    """Percentiles of several runs are never averaged."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else "each seed by itself"


def _saturation(run: Run) -> str:
    """Who could take no more, and for want of what: a peak that nothing limited is only the highest offer."""
    parts = []
    for protocol, rows in _in_order(run, run.load).groupby("protocol", sort=False):
        full = rows[rows["utilisation"] >= FULL].sort_values("offered_ops", kind="stable")
        if len(full):
            first = full.iloc[0]
            what = (
                f"the {RESOURCES.get(first['busiest_resource'], first['busiest_resource'])} at {first['busiest_site']}"
            )
            parts.append(f"{protocol} is saturated at an offer of {_offer(first)}, {what} is fully used")
        else:
            top = rows.sort_values("offered_ops").iloc[-1]
            parts.append(
                f"{protocol} was not saturated: at an offer of {_offer(top)}, its busiest resource is "
                f"{top['utilisation']:.0%} used, so it can take more"
            )
    return "; ".join(parts) + "."


def _in_order(run: Run, table: Frame) -> Frame:
    """Rows by protocol in the order of the command, as they stand within one."""
    order = {protocol: i for i, protocol in enumerate(run.protocols)}
    return table.sort_values("protocol", key=lambda column: column.map(order), kind="stable")


def _conflict(run: Run) -> Section:
    section = Section("conflict", "What conflicts cost")
    if not len(run.conflict):
        section.text.append("This run had no conflict sweep (--conflict-levels off, or other keys than 'conflict').")
        return section
    section.text.append(
        "Closed loop: each client sends its next operation when the last one is answered. So many per cent of the "
        "operations go to one hot key, the others to a key of the client's own. "
        "Protocols with a leader order everything anyway. EPaxos orders only what interferes: then it needs a second "
        "round trip (the fast-path share falls), and a committed command may have to wait for others before it is "
        "executed."
    )
    wide: dict[tuple[str, str, float], dict[str, Any]] = {}
    for _, r in _in_order(run, run.conflict).iterrows():
        cell = wide.setdefault((str(r["protocol"]), str(r["seed"]), float(r["conflict_percent"])), {})
        cell[str(r["metric"])] = r
    seeds = _seeds_of(run.conflict)
    rows = []
    for (protocol, seed, level), cell in wide.items():
        fast = cell["commit"]["fast_share"]
        rows.append(
            [protocol, *([seed] if len(seeds) > 1 else []), f"{level:g}", "" if math.isnan(fast) else f"{fast:.1%}"]
            + [
                number(cell[m][q]) if _bears(cell[m], q) else ""
                for m in ("commit", "execute")
                for q in ("mean_ms", "p99_ms")
            ]
        )
    columns = ["protocol", *(["seed"] if len(seeds) > 1 else []), "hot key %", "fast path"]
    columns += ["commit mean ms", "commit p99", "execute mean ms", "execute p99"]
    section.tables.append(Table(f"Means over operations, all sites, {_of_seeds(seeds)}.", columns, rows))
    means = "" if len(seeds) == 1 else " Means over seeds."
    section.figures.append(
        ("conflict", f"Solid: until executed; dotted: until committed. Right: the fast path.{means}")
    )
    return section


def _costs(run: Run) -> Section:
    section = Section("costs", "What a command costs")
    if not len(run.costs):
        section.text.append("No cost table was written.")
        return section
    c = run.costs.groupby("protocol").mean(numeric_only=True).reindex(run.protocols)
    busiest = "leader_messages_per_commit"
    section.text.append(
        "Per committed command, main runs: what all replicas together sent (answers to clients included), wrote and "
        "fsynced, heartbeats and all. The last column is what the busiest replica sent and received."
    )
    rows = [
        [p, number(r["messages_per_commit"], 2), number(r["bytes_per_commit"], 0), number(r["fsyncs_per_commit"], 2)]
        + [number(r[busiest], 2)]
        for p, r in c.iterrows()
    ]
    columns = ["protocol", "messages", "bytes", "fsyncs", "messages at the busiest replica"]
    section.tables.append(Table("Means over seeds.", columns, rows))
    return section


def _resources(run: Run) -> Section:
    section = Section("resources", "What was busy, and when")
    if len(run.resources):
        u = run.resources.groupby(["protocol", "site"], sort=False).mean(numeric_only=True)
        rows = [
            [p, site, *(f"{r[name]:.1%}" for name in ("cpu", "network_card", "disk"))]
            for (p, site), r in u.iterrows()
            if p in run.protocols
        ]
        columns = ["protocol", "replica at", "processor", "network card", "disk"]
        section.tables.append(Table("Share of the measured time, main runs, mean over seeds.", columns, rows, texts=2))
    caption = "Completed operations per simulated second, mean over seeds."
    if len(run.faults):
        columns = ["fault", "struck", "from s", "to s", "runs"]
        section.tables.append(Table("What was injected, in simulated time.", columns, rows_of(run.faults), texts=2))
        caption += " Shaded, and below: what was injected."
    section.text += [f"{line}." for line in never_struck(run)]
    section.figures.append(("timeline", caption))
    return section


def _seeds(run: Run) -> Section:
    """Differences between protocols, paired by seed: every protocol was asked the same operations under each seed."""
    section = Section("differences", "Are the differences real?")
    s = run.summary
    s = s[(s["seed"] != "ALL") & (s["metric"] == "execute") & (s["site"] != "ALL")]
    means = (
        s.groupby(["protocol", "seed"])["mean_ms"]
        .agg(_mean_of_all)
        .unstack("protocol")
        .reindex(columns=run.protocols)
        .dropna()
    )
    if len(means) < 2 or len(run.protocols) < 2:
        section.text.append("This takes at least two protocols and two seeds (--seeds).")
        return section
    section.text.append(
        f"Mean over sites of the execution latency, paired by seed ({len(means)} seeds; the protocols were asked the "
        "same operations under each). The interval is Student's 95 % interval of the mean difference over the "
        "seeds; where it holds zero, these seeds cannot tell the two apart."
    )
    rows = []
    for i, a in enumerate(run.protocols):
        for b in run.protocols[i + 1 :]:
            low, high = paired_interval((means[a] - means[b]).tolist())
            verdict = "not told apart" if low <= 0 <= high else f"{b if low > 0 else a} is faster"
            mean = float((means[a] - means[b]).mean())
            rows.append([f"{a} − {b}", f"{mean:+.1f}", f"{low:+.1f} … {high:+.1f}", verdict])
    columns = ["difference", "ms", "95 % interval", "verdict"]
    section.tables.append(Table("Over sites.", columns, rows))
    return section


def paired_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of paired differences (Student 1908): mean ± t s / sqrt(n). A bootstrap
    of so few seeds would be far too sure: with three it calls every fourth difference of nothing one."""
    count = len(differences)
    mean = math.fsum(differences) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (count - 1))
    degrees = count - 1
    t = T_975[degrees - 1] if degrees <= len(T_975) else T_975[-1]  # beyond the table: a little too wide
    half = t * deviation / math.sqrt(count)
    return mean - half, mean + half


def _checks(run: Run) -> Section:
    section = Section("checks", "Was it right?", [_verdict(run)])
    checks = run.checks
    if not len(checks):
        return section
    rows = []
    for (protocol, prop), group in _in_order(run, checks).groupby(["protocol", "property"], sort=False):
        verdicts = sorted(set(group["verdict"]))
        example = group.sort_values("verdict", key=lambda v: v.map({"violated": 0, "not decided": 1, "holds": 2})).iloc[
            0
        ]
        rows.append(
            [protocol, prop, " / ".join(verdicts), str(example["detail"]), str(len(group))]
            + [f"{int(group['checked'].sum()):,}"]
        )
    columns = ["protocol", "property", "verdict", "what was checked", "runs", "checked"]
    section.tables.append(Table("All runs, the sweeps' included.", columns, rows, texts=4))
    return section
