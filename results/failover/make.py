"""Makes the committed failover study again: ``make failover``, or one part of it: ``make.py leader|load|timeouts``.

The leader's death under the three protocols (``consensus-bench failover``); the same while the load keeps coming, and
while commands interfere; the trade between a short outage and false elections as the time-out varies, on a WAN that
loses and delays messages.
"""

from __future__ import annotations

import csv
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl

from consensus_bench.experiments.failover import prepare_failover
from consensus_bench.experiments.failover_folder import run_failover
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.failover import AFTER, METRICS, Study, rows_of, write_failover_report
from consensus_bench.report.page import number
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
    "options": {
        "multi-paxos": {"retry_ms": 300},
        "raft": {"retry_ms": 300, "pre_vote": False, "check_quorum": False},
    },
    "client_timeout_ms": 20_000.0,
}
"""30 s without a fault, then the leader dies: both numbers are of the same runs. Basic Raft, since PreVote exists to
prevent what is counted here. What is lost is sent again after 300 ms, about the longest round trip: with four of five
replicas left, a lost Accept holds up a log for as long, and after the default 800 ms the longest silence would be that
of Multi-Paxos' log and not of its election."""
QUIET_S = 30.0
COLUMNS = (
    "protocol", "election_timeout_low_ms", "election_timeout_high_ms", "trials", "outage_p50_ms", "outage_p90_ms",
    "false_elections_per_minute",
)  # fmt: skip


RATE, CONFLICTS, TRIALS = 300, (0, 2, 10, 25, 50, 100), 30
LOAD_PAGE = """# The leader's death while the load keeps coming, and while commands interfere

Made by `make failover`; the columns are those of [the report](leader/report.md), which has the closed loop.

## Open loop

`{command}`

{open}

In an open loop throughput comes back with the service: when a leader is elected, which then answers at once what had
been waiting. Under EPaxos the four other sites are served all the time, which is 80 % of the load; the dead replica's
clients turn to another one after their time-out (3 s), and a second that begins 0.7 s before that has 90 %.

## EPaxos and what depends on a dead replica's commands

A replica dies (the one where the others' leader is) and leaves commands unfinished. A command that interferes with one
of them is committed, but executed only after somebody has finished that one, a time-out (1 to 2 s) after it was heard
of. Outage: the longest time in which nobody anywhere was answered. Held: committed, and executed more than a second
later. {trials} trials each, closed loop of 4 clients a site.

{conflicts}

"EPaxos has no leader to lose" is so for commands that do not interfere. Where half of them do, a replica's death holds
up every site, for as long as an election takes. (At 100 % all clients move in step, 380 ms a round, of which commands
are unfinished for 150 ms; in most trials the crash comes later in the round, and finds nothing unfinished.)
"""


def main() -> None:
    """Write everything in this folder but this file, or the parts that are named."""
    mpl.use("Agg")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()


def leader() -> None:
    """The leader's death, and the hand-over beside it."""
    shutil.rmtree(HERE / "leader", ignore_errors=True)
    faults = ["crash-leader", "hand-over:leader"]
    outcome = run_failover(prepare_failover({"faults": faults, "out": str(HERE / "leader")}))
    write_failover_report(outcome.folder)
    assert outcome.ok, outcome.violations
    for large in (
        "checks.json",
        "timeline.csv",
        "outages.csv",
        "faults.csv",
        "operations.parquet",
    ):  # what the report shows of them is enough here
        (outcome.folder / large).unlink()


def load() -> None:
    """``load.md``: in open loop, and with interfering commands."""
    with tempfile.TemporaryDirectory() as place:
        data: dict[str, Any] = {"seeds": TRIALS, "workload": {"rate": RATE}, "out": f"{place}/open"}
        outcome = run_failover(prepare_failover(data))
        assert outcome.ok, outcome.violations
        study = Study(outcome.folder)
        rows = rows_of(study, "crash-leader", ("median_ms", "worst_ms"))
        levels = [_interfering(conflict, Path(place)) for conflict in CONFLICTS]
    page = LOAD_PAGE.format(
        command=f"consensus-bench failover --rate {RATE} --trials {TRIALS}",
        open=_markdown(["protocol", *METRICS, AFTER], rows),
        trials=TRIALS,
        conflicts=_markdown(["conflict", "outage p50 / worst ms", "trials with any held", "held a trial, mean / most",
                             "longest held p50 / worst ms"], levels),
    )  # fmt: skip
    (HERE / "load.md").write_text(page, encoding="utf-8")


def _interfering(conflict: int, place: Path) -> list[str]:
    """A replica of EPaxos dies while so many per cent of the commands are on one key."""
    folder = place / str(conflict)
    data = {"protocols": ["epaxos"], "seeds": TRIALS, "workload": {"conflict": conflict}, "out": str(folder)}
    outcome = run_failover(prepare_failover(data))
    assert outcome.ok, outcome.violations
    waits = [float(row["unavailable_ms"]) for row in _rows(folder, "failover.csv", "epaxos")]
    outages = _rows(folder, "outages.csv", "epaxos")
    held, longest = [int(row["held"]) for row in outages], [float(row["held_ms"]) for row in outages]
    return [
        f"{conflict} %",
        _median_and_worst(waits),
        f"{sum(n > 0 for n in held) / len(held):.0%}",
        f"{number(statistics.mean(held))} / {max(held)}",
        _median_and_worst(longest),
    ]


def _median_and_worst(times_ms: list[float]) -> str:
    return f"{number(statistics.median_low(times_ms), 0)} / {number(max(times_ms), 0)}"


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    cells = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def timeouts() -> None:
    """``timeouts.csv`` and its figure."""
    rows = [row for low in TIMEOUTS_MS for row in _level(low)]
    write_csv(HERE / "timeouts.csv", COLUMNS, rows)
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
    for place, protocol in enumerate(NERVOUS["protocols"]):
        mine = [row for row in rows if row[0] == protocol]
        lows = [row[1] for row in mine]
        left.plot(lows, [row[4] / 1000 for row in mine], label=protocol, **look(place))
        left.fill_between(lows, [row[4] / 1000 for row in mine], [row[5] / 1000 for row in mine], alpha=0.15,
                          color=look(place)["color"], lw=0)  # fmt: skip
        right.plot(lows, [row[6] for row in mine], label=protocol, **look(place))
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


PARTS = {"leader": leader, "load": load, "timeouts": timeouts}

if __name__ == "__main__":
    main()
