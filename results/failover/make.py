"""Makes the committed failover study again: ``make failover``.

The leader's death under the three protocols (``consensus-bench failover``), and the trade between a short outage and
false elections as the time-out varies, on a WAN that loses and delays messages.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl

from consensus_bench.experiments.failover import prepare_failover
from consensus_bench.experiments.failover_folder import run_failover
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.failover import write_failover_report
from consensus_bench.report.style import RC, look, save

HERE = Path(__file__).parent
TIMEOUTS_MS = (120, 150, 180, 220, 260, 300, 400, 600, 1000, 2000)
LABELLED_MS = (120, 180, 300, 600, 1000, 2000)
NERVOUS: dict[str, Any] = {
    "protocols": ["multi-paxos", "raft"],
    "seeds": 30,
    "at": 31.0,
    "duration": 45.0,
    "jitter": "lognormal:0.2",
    "background": ["lossy-link:all,rate=0.02"],
    "heartbeat_ms": 100,
    "options": {"raft": {"pre_vote": False, "check_quorum": False}},
    "client_timeout_ms": 20_000.0,
}
"""30 s without a fault, then the leader dies: both numbers are of the same runs. Basic Raft, since PreVote exists to
prevent what is counted here."""
QUIET_S = 30.0
COLUMNS = (
    "protocol", "election_timeout_low_ms", "election_timeout_high_ms", "trials", "outage_p50_ms", "outage_p90_ms",
    "false_elections_per_minute",
)  # fmt: skip


def main() -> None:
    """Write everything in this folder but this file."""
    shutil.rmtree(HERE / "leader", ignore_errors=True)
    faults = ["crash-leader", "hand-over:leader"]
    outcome = run_failover(prepare_failover({"faults": faults, "out": str(HERE / "leader")}))
    write_failover_report(outcome.folder)
    assert outcome.ok, outcome.violations
    for large in ("checks.json", "timeline.csv", "outages.csv"):  # what the report shows of them is enough here
        (outcome.folder / large).unlink()
    rows = [row for low in TIMEOUTS_MS for row in _level(low)]
    write_csv(HERE / "timeouts.csv", COLUMNS, rows)
    mpl.use("Agg")
    with mpl.rc_context(RC):  # type: ignore[arg-type]
        save(_draw(rows), HERE / "figures", "timeouts")


def _level(low_ms: int) -> list[tuple[Any, ...]]:
    """Both protocols with time-outs from ``low_ms`` to twice that."""
    folder = Path(tempfile.mkdtemp()) / "run"
    outcome = run_failover(
        prepare_failover({**NERVOUS, "election_timeout_ms": [low_ms, 2 * low_ms], "out": str(folder)})
    )
    assert outcome.ok, outcome.violations
    rows = []
    for protocol in NERVOUS["protocols"]:
        waits = sorted(float(row["unavailable_ms"]) for row in _rows(folder, "failover.csv", protocol))
        alarms = [int(row["false_elections"]) for row in _rows(folder, "outages.csv", protocol)]
        per_minute = sum(alarms) / len(alarms) / QUIET_S * 60
        p50, p90 = (waits[-(-len(waits) * share // 100) - 1] for share in (50, 90))
        rows.append((protocol, low_ms, 2 * low_ms, len(waits), p50, p90, per_minute))
    shutil.rmtree(folder.parent)
    print(*rows, sep="\n", flush=True)
    return rows


def _rows(folder: Path, name: str, protocol: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["protocol"] == protocol and row["site"] == "ALL"]


def _draw(rows: list[tuple[Any, ...]]) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for number, protocol in enumerate(NERVOUS["protocols"]):
        mine = [row for row in rows if row[0] == protocol]
        lows = [row[1] for row in mine]
        left.plot(lows, [row[4] / 1000 for row in mine], label=protocol, **look(number))
        left.fill_between(lows, [row[4] / 1000 for row in mine], [row[5] / 1000 for row in mine], alpha=0.15,
                          color=look(number)["color"], lw=0)  # fmt: skip
        right.plot(lows, [row[6] for row in mine], label=protocol, **look(number))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(LABELLED_MS, [f"{t:,}" for t in LABELLED_MS])
        axes.minorticks_off()
        axes.set_xlabel("election time-out from ... to twice that, ms")
        axes.set_ylim(bottom=0)
    left.set_ylabel("nobody is served after the leader's death, s\n(median, shaded up to the 90th percentile)")
    right.set_ylabel("elections a minute while nobody has died")
    left.legend()
    return figure


if __name__ == "__main__":
    main()
