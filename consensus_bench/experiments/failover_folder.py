"""The folder of a failover study: trials done or resumed, tables written.

``failover.csv``: a row per trial and client site, and ``ALL``; ``outages.csv``: what else was measured of each;
``summary.csv``: quantiles over the trials, a trial in which it never came to that counting as endless (empty);
``timeline.csv``: operations completed in each second; ``faults.csv``: what was injected when; ``operations.parquet``:
as that of ``compare``, with the fault of each trial.
``checks.json`` and ``manifest.json`` as those of ``compare``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from consensus_bench.experiments.command import command_line
from consensus_bench.experiments.comparison import (
    FORMAT,
    SCENARIO_FILE,
    Interrupted,
    Outcome,
    Violation,
    described,
    is_this_run,
)
from consensus_bench.experiments.elections import quantile
from consensus_bench.experiments.failover import ALL, KIND, Cost, Failover, Trial, TrialResult, do_trial, trials
from consensus_bench.experiments.operation_files import TrialsFile
from consensus_bench.experiments.outage import Outage
from consensus_bench.experiments.parts import Parts, finished, new_folder, unfinished, write_manifest
from consensus_bench.experiments.provenance import code_state, versions
from consensus_bench.experiments.runner import Progress, execute, load_results
from consensus_bench.experiments.setup import Setup
from consensus_bench.experiments.statistics import NS_PER_MS
from consensus_bench.experiments.tables import Row, write_csv
from consensus_bench.experiments.toml import to_toml

FAILOVER: Final = (
    "protocol", "seed", "fault", "site", "detect_ms", "elect_ms", "unavailable_ms", "recovered90_ms", "failed",
    "retried", "duplicates",
)  # fmt: skip
_MORE: Final = tuple(name for name in Outage.__struct_fields__ if name not in FAILOVER)
OUTAGES: Final = ("protocol", "seed", "fault", "site", "new_leader", "false_alarms", "false_elections", *_MORE)
SUMMARY: Final = ("protocol", "fault", "seed", "site", "metric", "trials", "median_ms", "p99_ms", "worst_ms")
FAULTS: Final = ("protocol", "seed", "fault", "kind", "target", "start_ms", "end_ms")
METRICS: Final = ("detect", "elect", "unavailable", "recovered90")
TIMELINE: Final = ("protocol", "seed", "site", "second", "completed_ops")


def _silent(_finished: int, _planned: int, _share: float) -> None:
    """No progress display."""


def run_failover(setup: Setup, progress: Progress = _silent) -> Outcome:
    """Do the trials and write the folder; what is finished there is not done again. After Ctrl-C the tables of the
    finished trials are written, then ``Interrupted`` is raised."""
    scenario = setup.scenario
    assert isinstance(scenario, Failover)
    began = time.monotonic()
    identity, code = scenario.identity(), code_state(setup)
    folder = Path(scenario.out) if scenario.out else None
    folder = folder or unfinished(scenario.name, identity, code["sha256"]) or new_folder(scenario.name)
    planned = trials(setup)
    before = finished(folder)
    if before is not None and is_this_run(before, identity, code["sha256"]):
        violations = msgspec.convert(before["violations"], list[Violation])
        return Outcome(folder, violations, before["undecided"], before["runs"], reused=True)
    with Parts(folder, identity, code["sha256"], TrialResult) as parts:
        (folder / SCENARIO_FILE).write_text(to_toml({"kind": KIND, **identity}), encoding="utf-8")
        interrupted = False
        try:
            execute(planned, parts, do_trial, scenario.jobs, progress)
        except KeyboardInterrupt:
            interrupted = True
        results = load_results(planned, parts)
        outcome = Outcome(folder, _violations(scenario, planned, results), _undecided(planned, results), len(results))
        if results:
            write_failover(folder, planned, results)
            _write_operations(setup, planned, results, parts)
            manifest = {
                "format": FORMAT,
                "kind": KIND,
                "name": scenario.name,
                "created": parts.created,
                "wall_seconds": round(time.monotonic() - began, 3),
                "command": command_line(scenario, "failover", Failover()),
                "complete": not interrupted,
                "runs": len(results),
                "planned_runs": len(planned),
                "violations": outcome.violations,
                "undecided": outcome.undecided,
                "code": code,
                "versions": versions(),
                "leaderless": _leaderless(planned, results),
                "struck_nobody": _struck_nobody(planned, results),
                **described(setup),
            }
            write_manifest(folder, manifest)
        if interrupted:
            raise Interrupted(folder, len(results), len(planned))
        parts.drop()
        return outcome


def _violations(scenario: Failover, planned: list[Trial], results: dict[str, TrialResult]) -> list[Violation]:
    found = []
    for trial in planned:
        for check in results[trial.key].verdict.checks if trial.key in results else ():
            if check.verdict == "violated":
                alone = msgspec.structs.replace(scenario, seeds=(trial.seed,))
                replay = command_line(alone, "failover", Failover())
                found.append(Violation(trial.protocol, trial.seed, trial.fault, check.property, check.detail, replay))
    return found


def _undecided(planned: list[Trial], results: dict[str, TrialResult]) -> list[str]:
    return [
        f"{trial.protocol}, seed {trial.seed}, {trial.fault}: {check.property}: {check.detail}"
        for trial in planned
        if trial.key in results
        for check in results[trial.key].verdict.checks
        if check.verdict == "not decided"
    ]


def _write_operations(
    setup: Setup, planned: list[Trial], results: dict[str, TrialResult], parts: Parts[TrialResult]
) -> None:
    labels = [contestant.label for contestant in setup.contestants]
    faults = list(dict.fromkeys(trial.fault for trial in planned))
    with TrialsFile(parts.folder / "operations.parquet", labels, setup.client_sites, faults) as file:
        for trial in planned:
            if trial.key in results and not results[trial.key].verdict.violated:
                file.add(trial, parts.table(trial.key))


def write_failover(folder: Path, planned: list[Trial], results: dict[str, TrialResult]) -> None:
    """The tables of the finished trials; those in which a guarantee fell have rows in ``checks.json`` alone. The
    timeline names the fault where there is more than one."""
    several = len({trial.fault for trial in planned}) > 1
    write_csv(folder / "failover.csv", FAILOVER, _failover(planned, results))
    write_csv(folder / "outages.csv", OUTAGES, _outages(planned, results))
    write_csv(folder / "summary.csv", SUMMARY, _summary(planned, results))
    write_csv(folder / "faults.csv", FAULTS, _faults(planned, results))
    columns = (*TIMELINE, "fault") if several else TIMELINE
    write_csv(folder / "timeline.csv", columns, _timeline(planned, results, several))
    rows = [
        {"protocol": trial.protocol, "seed": trial.seed, "fault": trial.fault, **msgspec.to_builtins(check)}
        for trial in planned
        if trial.key in results
        for check in results[trial.key].verdict.checks
    ]
    (folder / "checks.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")


def _done(planned: list[Trial], results: dict[str, TrialResult]) -> Iterator[tuple[Trial, Cost]]:
    for trial in planned:
        result = results.get(trial.key)
        if result is not None and result.cost is not None:
            yield trial, result.cost


def _failover(planned: list[Trial], results: dict[str, TrialResult]) -> Iterator[Row]:
    for trial, cost in _done(planned, results):
        for site, o in cost.outages.items():
            yield (
                trial.protocol, trial.seed, trial.fault, site, cost.detect_ms, cost.elect_ms, o.unavailable_ms,
                o.recovered90_ms, o.failed, o.retried, cost.duplicates,
            )  # fmt: skip


def _outages(planned: list[Trial], results: dict[str, TrialResult]) -> Iterator[Row]:
    for trial, cost in _done(planned, results):
        leader = None if cost.new_leader is None else trial.replicas[cost.new_leader]
        for site, o in cost.outages.items():
            yield (
                trial.protocol, trial.seed, trial.fault, site, leader, cost.false_alarms, cost.false_elections,
                *(getattr(o, name) for name in _MORE),
            )  # fmt: skip


def _summary(planned: list[Trial], results: dict[str, TrialResult]) -> Iterator[Row]:
    groups: dict[tuple[str, str], list[Cost]] = {}
    for trial, cost in _done(planned, results):
        groups.setdefault((trial.protocol, trial.fault), []).append(cost)
    for (protocol, fault), costs in groups.items():
        for site in costs[0].outages:
            for metric in METRICS:
                name = f"{metric}_ms"
                whole = hasattr(costs[0], name)  # of the trial, not of one site
                if whole and site != ALL:
                    continue
                times = [getattr(cost if whole else cost.outages[site], name) for cost in costs]
                ordered = sorted(math.inf if t is None else t for t in times)
                shares = [quantile(ordered, share) for share in (0.5, 0.99, 1.0)]
                shown = [t if math.isfinite(t) else None for t in shares]
                yield (protocol, fault, ALL, site, metric, len(times), *shown)


def _faults(planned: list[Trial], results: dict[str, TrialResult]) -> Iterator[Row]:
    for trial in planned:
        numbers = results[trial.key].verdict.numbers if trial.key in results else None
        for start_ns, end_ns, kind, target in numbers.faults if numbers else ():
            times = (start_ns / NS_PER_MS, end_ns / NS_PER_MS)
            yield (trial.protocol, trial.seed, trial.fault, kind, target, *times)


def _leaderless(planned: list[Trial], results: dict[str, TrialResult]) -> list[str]:
    """The protocols under which nobody ever said that it leads."""
    led: dict[str, bool] = {}
    for trial in planned:
        numbers = results[trial.key].verdict.numbers if trial.key in results else None
        if numbers is not None:
            led[trial.protocol] = led.get(trial.protocol, False) or bool(numbers.elections)
    return [protocol for protocol, seen in led.items() if not seen]


def _struck_nobody(planned: list[Trial], results: dict[str, TrialResult]) -> list[str]:
    """The faults that took place in no trial: no table but that of the operations has a row of them."""
    tried = (t.fault for t in planned if t.key in results and not results[t.key].verdict.violated)
    struck = {trial.fault for trial, _ in _done(planned, results)}
    return [fault for fault in dict.fromkeys(tried) if fault not in struck]


def _timeline(planned: list[Trial], results: dict[str, TrialResult], several: bool) -> Iterator[Row]:
    for trial, cost in _done(planned, results):
        for site, counts in cost.timeline.items():
            for second, count in enumerate(counts):
                yield (trial.protocol, trial.seed, site, second, count, *((trial.fault,) if several else ()))
