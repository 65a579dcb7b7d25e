"""Sets QuePaxa's published rule for the time-outs of leaders beside ours: `make quepaxa`. Writes here report.md,
timeouts.csv and figures/.

Tennage et al., "QuePaxa: Escaping the Tyranny of Timeouts in Consensus", SOSP 2023: Multi-Paxos and Raft in Tokyo,
Mumbai, Singapore, Ireland and Sao Paulo, the leader crashes under an open loop.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from consensus_bench.experiments.failover import Cost, Trial, cost, prepare_failover, trials
from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.statistics import NS_PER_MS
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.style import BOUND, RC, look, save
from consensus_bench.simulation.world import World

HERE: Final = Path(__file__).parent
RTT_MS: Final = 187.5
"""The mean over the ten pairs, aws-2020; the paper says 180."""
TIMEOUTS_MS: Final = (100, 125, 150, 200, 250, 330, 400, 500, 750, 1000, 1500)
SPREAD: Final = 1.2
PROTOCOLS: Final = ("multi-paxos", "raft")
RATE: Final = 100
TRIALS: Final = 20
GATE, FROM_MS = 0.15, 500
STUDY: Final[dict[str, Any]] = {
    "topology": "aws-2020",
    "sites": ["ap-northeast-1", "ap-south-1", "ap-southeast-1", "eu-west-1", "sa-east-1"],
    "protocols": list(PROTOCOLS),
    "seeds": TRIALS,
    "workload": {"rate": RATE},
    "options": {"raft": {"pre_vote": False, "check_quorum": False}},
}
COLUMNS: Final = (
    "protocol", "timeout_ms", "trials", "throughput_before", "throughput_after", "elected_p50_ms", "served_p50_ms",
    "rule_ms", "elected_error", "served_error",
)  # fmt: skip


def main() -> None:
    """Everything in this folder but this file and the text around the table."""
    mpl.use("Agg")
    rows = [row for timeout_ms in TIMEOUTS_MS for row in _level(timeout_ms)]
    write_csv(HERE / "timeouts.csv", COLUMNS, rows)
    text = (HERE / "text.md").read_text(encoding="utf-8")
    (HERE / "report.md").write_text(text.replace("TABLE", "\n".join(_table(rows))), encoding="utf-8")
    with mpl.rc_context(RC):  # type: ignore[arg-type]
        save(_draw(rows), HERE / "figures", "timeouts")


def _level(timeout_ms: int) -> list[tuple[Any, ...]]:
    """Both protocols with time-outs from ``timeout_ms`` to ``SPREAD`` times that."""
    data = {**STUDY, "election_timeout_ms": [timeout_ms, SPREAD * timeout_ms], "heartbeat_ms": min(50, timeout_ms / 4)}
    measured: dict[str, list[tuple[Cost, float | None]]] = {name: [] for name in PROTOCOLS}
    for trial in trials(prepare_failover(data)):
        measured[trial.protocol].append(_trial(trial))
    rows = []
    for protocol, trial_costs in measured.items():
        everybody = [c.outages["ALL"] for c, _ in trial_costs]
        elected = _median(at for _, at in trial_costs)
        served = _median(c.elect_ms for c, _ in trial_costs)
        before = statistics.mean(o.before_ops for o in everybody) / RATE
        after = statistics.mean(o.after_ops for o in everybody) / RATE
        rule = timeout_ms + RTT_MS
        errors = [None if ms is None else ms / rule - 1 for ms in (elected, served)]
        rows.append((protocol, timeout_ms, len(trial_costs), before, after, elected, served, rule, *errors))
    print(*rows, sep="\n", flush=True)
    return rows


def _trial(trial: Trial) -> tuple[Cost, float | None]:
    """What the crash cost, and after how long there was a new leader."""
    world = World(trial.settings)
    verdict, table = judged(trial.key, world, lambda: False)
    assert not verdict.violated, verdict.checks
    found = cost(world, table, trial.sites)
    assert found is not None
    later = [at for at, _ in world.elections if at >= found.fault_ns]
    return found, (later[0] - found.fault_ns) / NS_PER_MS if later else None


def _median(times_ms: Any) -> float | None:
    """The lower median; None: in most trials it never came to that."""
    ordered = sorted(float("inf") if ms is None else ms for ms in times_ms)
    middle = ordered[(len(ordered) - 1) // 2]
    return None if middle == float("inf") else middle


def _table(rows: list[tuple[Any, ...]]) -> list[str]:
    head = ["time-out ms", "protocol", "served of the load before", "after", "new leader ms", "serves ms", "rule ms",
            "new leader / rule", "serves / rule", "gate"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|--:|---|" + "--:|" * 7 + "---|"]
    for protocol, timeout, _, before, after, elected, served, rule, *errors in rows:
        times = ["never" if ms is None else f"{ms:,.0f}" for ms in (elected, served)]
        said = ["" if error is None else f"{error:+.0%}" for error in errors]
        gate = "" if timeout < FROM_MS else "met" if errors[0] is not None and abs(errors[0]) <= GATE else "MISSED"
        cells = [f"{timeout:,}", protocol, f"{before:.0%}", f"{after:.0%}", *times, f"{rule:,.0f}", *said, gate]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _draw(rows: list[tuple[Any, ...]]) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for number, protocol in enumerate(PROTOCOLS):
        mine = [row for row in rows if row[0] == protocol]
        timeouts = [row[1] for row in mine]
        left.plot(timeouts, [100 * row[3] for row in mine], label=protocol, **look(number))
        right.plot(timeouts, [row[5] for row in mine], label=f"{protocol}, new leader", **look(number))
        right.plot(timeouts, [row[6] for row in mine], label=f"{protocol}, serves", **look(number), ls=":", mfc="white")
    right.plot(TIMEOUTS_MS, [t + RTT_MS for t in TIMEOUTS_MS], color=BOUND, ls="--", label="time-out + round trip")
    left.axvline(1.8 * RTT_MS, color=BOUND, ls="--", lw=1)
    left.annotate("published: full from here", (350, 50), color=BOUND)
    left.set_ylabel("served of the load while nobody has died, %")
    right.set_ylabel("after the leader's crash, ms (median)")
    right.set_yscale("log")
    right.set_yticks((300, 1000, 3000, 10_000), ("300", "1,000", "3,000", "10,000"))
    right.set_ylim(250, 25_000)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks((100, 200, 330, 500, 1000), ("100", "200", "330", "500", "1,000"))
        axes.minorticks_off()
        axes.set_xlabel("time-out, ms")
    left.legend(loc="lower right")
    right.legend(loc="upper right", fontsize=8)
    return figure


if __name__ == "__main__":
    main()
