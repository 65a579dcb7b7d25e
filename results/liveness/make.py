"""How long proposers of Basic Paxos outbid each other, by their back-off: `make liveness`.

Writes backoff.csv, tail.csv, without_backoff.csv and figures/backoff.* here. What they show is in docs/liveness.md.
"""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from consensus_bench.contract.registry import find_protocol
from consensus_bench.experiments.backoff import (
    PROTOCOL,
    Backoff,
    Decision,
    decide,
    needing_more,
    phase_ns,
    summary,
    tail_bound,
)
from consensus_bench.experiments.tables import write_csv
from consensus_bench.report.backoff import MOST_BALLOTS, draw_backoff
from consensus_bench.simulation.network import parse_jitter
from consensus_bench.topology import load_topology

HERE: Final = Path(__file__).parent
SITES: Final = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-1")
DUELS: Final = {"two proposers": (0, 1), "three proposers": (0, 1, 2), "five proposers": (0, 1, 2, 3, 4)}
ROUND_TRIPS: Final = (0.5, 1.0, 2.0, 4.0)
SEEDS: Final = range(1, 1001)
TAIL: Final = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40)
"""Numbers of ballots in tail.csv."""
NOISY_SEEDS: Final = range(1, 101)
NOISE: Final[dict[str, Any]] = {"profile": "m5-large", "jitter": parse_jitter("lognormal:0.02"), "limit_s": 5.0}
"""The machines and the jitter of the default comparison: does their randomness do what a back-off does?"""


def settings(delay_ns: tuple[tuple[int, ...], ...]) -> dict[str, dict[str, tuple[Backoff, range]]]:
    """Duel -> back-off -> what is run, and its seeds. A round trip here is that of the slowest site to a majority."""
    round_trip_ms = max(phase_ns(delay_ns, site) for site in range(len(SITES))) / 1e6
    default = find_protocol(PROTOCOL).options_type().backoff_ms  # type: ignore[attr-defined]
    ranges = {f"0 to {times:g} RTT": (0.0, times * round_trip_ms) for times in ROUND_TRIPS}
    ranges[f"{default[0]:g} to {default[1]:g} ms, the default"] = default
    found = {}
    for duel, proposers in DUELS.items():
        shared: dict[str, Any] = {"delay_ns": delay_ns, "proposers": proposers}
        none = Backoff(**shared, backoff_ms=(0.0, 0.0))
        found[duel] = {
            "none": (none, range(1, 2)),  # nothing is drawn: all seeds are equal
            "none, noisy": (Backoff(**shared, backoff_ms=(0.0, 0.0), **NOISE), NOISY_SEEDS),
            **{name: (Backoff(**shared, backoff_ms=bounds), SEEDS) for name, bounds in ranges.items()},
        }
    return found


def main() -> None:
    """Everything in this folder that this file names."""
    delay_ns = load_topology("aws-2025").delays_ns(SITES)
    jobs = os.cpu_count() or 1
    rows: list[tuple[Any, ...]] = []
    tails: list[tuple[Any, ...]] = []
    panels: dict[str, dict[str, list[Decision]]] = {}
    bounds: dict[str, dict[str, list[float]]] = {}
    for duel, series in settings(delay_ns).items():
        panels[duel] = {}
        for name, (backoff, seeds) in series.items():
            decisions = decide(backoff, seeds, jobs)
            low, high = backoff.backoff_ms
            rows.append((duel, name, low, high, backoff.limit_s, *summary(decisions).values()))
            if len(seeds) < len(SEEDS):
                continue
            panels[duel][name] = decisions
            bound = tail_bound(backoff, MOST_BALLOTS) if len(backoff.proposers) == 2 else None
            if bound is not None:
                bounds.setdefault(duel, {})[name] = bound
            tails += [(duel, name, k, needing_more(decisions, k), bound and bound[k - 1]) for k in TAIL]
    names = tuple(summary([Decision(1, 1)]))
    write_csv(HERE / "backoff.csv", ("duel", "backoff", "low_ms", "high_ms", "limit_s", *names), rows)
    write_csv(HERE / "tail.csv", ("duel", "backoff", "ballots", "share_needing_more", "upper_bound"), tails)
    draw_backoff(panels, bounds, HERE / "figures", "backoff")
    write_without(delay_ns)


def write_without(delay_ns: tuple[tuple[int, ...], ...]) -> None:
    """Every choice of two or more proposers, without back-off: nothing is random, so that one run says all."""
    rows = []
    for count in range(2, len(SITES) + 1):
        for proposers in combinations(range(len(SITES)), count):
            backoff = Backoff(delay_ns=delay_ns, proposers=proposers, backoff_ms=(0.0, 0.0))
            (decision,) = decide(backoff, [1])
            sites = " ".join(SITES[proposer] for proposer in proposers)
            chosen_ms = None if decision.chosen_ns is None else decision.chosen_ns / 1e6
            rows.append((count, sites, backoff.limit_s, chosen_ms, decision.ballots))
    write_csv(HERE / "without_backoff.csv", ("proposers", "sites", "limit_s", "chosen_ms", "ballots"), rows)


if __name__ == "__main__":
    main()
