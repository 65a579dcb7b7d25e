"""What protection costs, beside the temptation: `make protection`. Writes protection.csv and protection.md here.

Each pair is the same protocol with a rule and without it (the rules that `consensus-bench break` removes), under the
same load: latency at low load, and the most that is completed when ever more is offered, on five continents and at
three sites near to one another. PreVote and CheckQuorum cost something when a leader dies, so their price is an outage.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import consensus_bench
from consensus_bench.experiments.failover import prepare_failover
from consensus_bench.experiments.failover_folder import run_failover
from consensus_bench.experiments.tables import write_csv

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parents[1] / "consensus_bench" / "attacks" / "rules"
PLACES: Final = {
    "five regions": ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-1"),
    "three near ones": ("us-east-1", "us-east-2", "ca-central-1"),
}
PAIRS: Final = (
    ("entries on disk before they are acknowledged", "raft", "", "UnsafeEarlyAcknowledgement", ""),
    ("a vote on disk before it is given", "raft", "", "UnsafeVoteNotOnDisk", ""),
    ("a promise on disk before it is heard of", "multi-paxos", "", "UnsafePromiseNotOnDisk", ""),
    ("a pre-acceptance on disk before it is heard of", "epaxos", "", "UnsafePreAcceptanceNotOnDisk", ""),
    ("a leader asks before it answers reads", "raft", "index", "UnsafeUnaskedReads", "index"),
    ("... or holds a lease", "raft", "lease", "UnsafeUnaskedReads", "index"),
)
"""(rule, protocol, its way to read, class without the rule, its way to read)."""
RATES: Final = (5_000.0, 8_000.0, 12_000.0)
COLUMNS: Final = (
    "place", "protocol", "rule", "latency_ms_with", "latency_ms_without", "most_ops_with", "most_ops_without",
)  # fmt: skip
TRIALS: Final = 40


def main() -> None:
    """Everything in this folder but this file."""
    scratch = Path(tempfile.mkdtemp())
    rows = [row for place, sites in PLACES.items() for row in measured(place, sites, scratch)]
    write_csv(HERE / "protection.csv", COLUMNS, rows)
    (HERE / "protection.md").write_text(page(rows, outages(scratch)), encoding="utf-8")
    shutil.rmtree(scratch)


def measured(place: str, sites: tuple[str, ...], scratch: Path) -> list[tuple[Any, ...]]:
    """A row per pair."""
    protocols, options = [], {}
    for number, (_, protocol, reads, unsafe, unsafe_reads) in enumerate(PAIRS):
        protocols += [f"with-{number}={protocol}"]
        protocols += [f"without-{number}={RULES / protocol.replace('-', '_')}.py:{unsafe}"]
        options |= {f"with-{number}": {"reads": reads}} if reads else {}
        options |= {f"without-{number}": {"reads": unsafe_reads}} if unsafe_reads else {}
    outcome = consensus_bench.compare(
        name="protection", sites=sites, leader=sites[0], protocols=protocols, options=options, seeds=[1],
        duration=11.0, load_rates=RATES, load_duration=1.5, conflict_levels=[],
        workload={"preset": "conflict", "clients": 5, "reads": 0.5, "swaps": 0.25}, out=str(scratch / place),
    )  # fmt: skip
    run = consensus_bench.load(outcome.folder)
    s = run.summary
    s = s[(s["seed"] == "ALL") & (s["metric"] == "execute") & (s["site"] != "ALL")]
    latency = s.groupby("protocol")["mean_ms"].mean()
    most = run.load.groupby("protocol")["throughput_ops"].max()
    return [
        (place, protocol, rule, *(round(float(latency[f"{kind}-{n}"]), 2) for kind in ("with", "without")),
         *(int(round(most[f"{kind}-{n}"], -1)) for kind in ("with", "without")))
        for n, (rule, protocol, *_) in enumerate(PAIRS)
    ]  # fmt: skip


def outages(scratch: Path) -> list[tuple[str, float, float]]:
    """(what, median and longest outage in ms) when Raft's leader dies."""
    outcome = run_failover(
        prepare_failover(
            {
                "protocols": ["both=raft", "neither=raft"],
                "options": {"neither": {"pre_vote": False, "check_quorum": False}},
                "seeds": TRIALS,
                "out": str(scratch / "outage"),
            }
        )
    )
    assert outcome.ok, outcome.violations
    with (outcome.folder / "failover.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == "ALL"]
    found = []
    for label in ("both", "neither"):
        waits = sorted(float(row["unavailable_ms"]) for row in rows if row["protocol"] == label)
        found.append((label, waits[len(waits) // 2], waits[-1]))
    return found


def page(rows: list[tuple[Any, ...]], outage: list[tuple[str, float, float]]) -> str:
    """The table in words."""
    lines = [
        "# What protection costs",
        "",
        "`make protection`: the same protocol with a rule and without it, half of the operations reads. Latency: mean "
        "over sites of the mean execution latency, 5 clients a site in a closed loop. Throughput: the most that was "
        f"completed when {RATES[0]:,.0f} to {RATES[-1]:,.0f} operations/s were offered. An fsync takes 1 ms in the "
        "mean (profile m5-large). What falls without each rule: [attacks](../../docs/attacks.md).",
        "",
        "| place | protocol | the rule | latency with, ms | without | ops/s with | without |",
        "|---|---|---|--:|--:|--:|--:|",
        *(f"| {a} | {b} | {c} | {d:,} | {e:,} | {f:,} | {g:,} |" for a, b, c, d, e, f, g in rows),
        "",
        "PreVote and CheckQuorum cost nothing while the leader lives. When it dies, the longest time in which nobody "
        f"was served ({TRIALS} trials, five regions, median / worst): "
        + "; ".join(f"{label} of them {p50:,.0f} / {worst:,.0f} ms" for label, p50, worst in outage)
        + ".",
        "",
        "Fsyncs are shared by all that waits for them, so that the disk costs latency and no throughput here: what is "
        "gained by breaking the promise is about an fsync a command. Checksums are not modelled.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
