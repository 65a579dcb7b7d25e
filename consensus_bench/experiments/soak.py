"""The soak: many seeded random scenarios and schedules on all cores, nothing lost; what fails is made small.

``runs.csv``: a row per run; ``summary.csv`` and ``summary.md``: all runs together; ``failures/``: per shrunk failure
the scenario, or the execution, that still fails. ``manifest.json`` as that of ``compare``. docs/soak.md says what is
drawn and judged.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import display_name
from consensus_bench.experiments.comparison import FORMAT, Interrupted, is_this_run
from consensus_bench.experiments.parts import Parts, finished, new_folder, unfinished, write_manifest
from consensus_bench.experiments.provenance import code_state, versions
from consensus_bench.experiments.runner import Progress, execute, load_results
from consensus_bench.experiments.scenario import LARGEST_SEED, Scenario, load_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.soak_failures import Failure, describe
from consensus_bench.experiments.soak_run import BOUND_S, Verdict, do
from consensus_bench.experiments.soak_scenarios import Fixed, check_fixed, draw
from consensus_bench.experiments.soak_schedules import with_schedules
from consensus_bench.experiments.tables import write_csv
from consensus_bench.simulation.faults.parsing import fault_line

DEFAULT_RUNS: Final = 200
MOST_RUNS: Final = 1_000_000
RUNS_CSV: Final = (
    "protocol", "seed", "property", "replicas", "down", "operations", "elections", "faults", "longest_wait_ms",
    "converged_ms", "simulated_s", "schedules", "schedule",
)  # fmt: skip


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: ``runs`` runs of ``protocol`` with the seeds from ``seed`` on. ``replicas`` and ``options``
    are the same in all of them instead of drawn. ``shrink``: so many failures, the first of each property first."""

    protocol: str
    runs: int = DEFAULT_RUNS
    seed: int = 1
    replicas: int | None = None
    options: dict[str, Any] = {}
    shrink: int = 2

    @property
    def fixed(self) -> Fixed:
        """What is not drawn."""
        return Fixed(self.replicas, self.options)

    def identity(self) -> dict[str, Any]:
        """What two soaks must have in common to be the same one, as plain data."""
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        del data["shrink"]
        return {name: value for name, value in data.items() if value is not None}

    def command(self, seed: int | None = None) -> str:
        """The command that does this again, or the run ``seed`` of it alone."""
        first, runs = (self.seed, self.runs) if seed is None else (seed, 1)
        words = ["consensus-bench", "soak", self.protocol, "--runs", str(runs), "--seed", str(first)]
        words += [] if self.replicas is None else ["--replicas", str(self.replicas)]
        for name, value in self.options.items():
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += ["--set", f"{name}={text}"]
        return shlex.join(words)


class Outcome(msgspec.Struct, frozen=True):
    """A finished soak."""

    folder: Path
    runs: int
    failures: list[Failure]
    undecided: list[str]
    summary: dict[str, Any]
    reused: bool = False


class Task(msgspec.Struct, frozen=True):
    """One run."""

    protocol: str
    seed: int
    fixed: Fixed
    weight: float = 1.0
    urgent: bool = False

    @property
    def key(self) -> str:
        """Names its result."""
        return f"seed-{self.seed}"


def work(task: Task, parts: Parts[Verdict], stop: Callable[[], bool]) -> None:
    """Do ``task`` and save its verdict: a ``runner.Work``."""
    scenario = draw(task.protocol, task.seed, task.fixed)
    parts.save(task.key, with_schedules(do(scenario, stop), scenario, task.fixed, stop))


def check(soak: Soak) -> None:
    """Refuse what cannot be done, in one line (``ConfigError``), before anything runs."""
    if not 1 <= soak.runs <= MOST_RUNS:
        raise ConfigError(f"--runs {soak.runs}: must lie between 1 and {MOST_RUNS:,}")
    if not 0 <= soak.seed <= LARGEST_SEED - soak.runs + 1:
        raise ConfigError(f"--seed {soak.seed}: seeds lie between 0 and {LARGEST_SEED}")
    if soak.shrink < 0:
        raise ConfigError(f"--shrink {soak.shrink}: must not be negative")
    check_fixed(soak.protocol, soak.fixed)
    prepare(draw(soak.protocol, soak.seed, soak.fixed))


def _silent(_finished: int, _planned: int, _share: float) -> None:
    """No progress display."""


def run_soak(soak: Soak, out: Path | None = None, jobs: int = 0, progress: Progress = _silent) -> Outcome:
    """Do the runs, shrink what failed, write the folder. Runs that are finished there are not done again; Ctrl-C keeps
    them and raises ``Interrupted``. ``jobs`` 0: one process for each core."""
    check(soak)
    began = time.monotonic()
    name = f"soak-{display_name(soak.protocol)}"
    identity = soak.identity()
    code = code_state(prepare(draw(soak.protocol, soak.seed, soak.fixed)))
    folder = out or unfinished(name, identity, code["sha256"]) or new_folder(name)
    before = finished(folder)
    if before is not None and is_this_run(before, identity, code["sha256"]):
        known = msgspec.convert(before["violations"], list[Failure])
        return Outcome(folder, before["runs"], known, before["undecided"], before["summary"], reused=True)
    with Parts(folder, identity, code["sha256"], Verdict) as parts:
        seeds = range(soak.seed, soak.seed + soak.runs)
        tasks = [Task(soak.protocol, seed, soak.fixed) for seed in seeds]
        try:
            execute(tasks, parts, work, jobs, progress)
            verdicts = list(load_results(tasks, parts).values())
            failures = describe(verdicts, soak.protocol, soak.fixed, soak.command, folder, soak.shrink)
        except KeyboardInterrupt:
            raise Interrupted(folder, len(load_results(tasks, parts)), len(tasks)) from None
        undecided = [f"seed {v.seed}: {v.undecided}" for v in verdicts if v.undecided]
        summary = summarised(soak.protocol, verdicts)
        _write_tables(folder, soak, verdicts, failures, summary)
        write_manifest(
            folder,
            {
                "format": FORMAT, "kind": "soak", "name": name, "complete": True, "created": parts.created,
                "wall_seconds": round(time.monotonic() - began, 3), "command": soak.command(), "scenario": identity,
                "runs": len(verdicts), "violations": failures, "undecided": undecided, "summary": summary,
                "code": code, "versions": versions(),
            },
        )  # fmt: skip
        parts.drop()
        return Outcome(folder, len(verdicts), failures, undecided, summary)


def first_violation(soak: Soak) -> Verdict | None:
    """The first run that fails, in the order of seeds; None if all hold. Nothing is written."""
    check(soak)
    for seed in range(soak.seed, soak.seed + soak.runs):
        scenario = draw(soak.protocol, seed, soak.fixed)
        verdict = with_schedules(do(scenario), scenario, soak.fixed)
        if verdict.property:
            return verdict
    return None


def replay(path: Path) -> tuple[Scenario, list[Verdict]]:
    """Judge a scenario file of one protocol as a soak does, once for each of its seeds."""
    scenario = load_scenario(path)
    if len(scenario.protocols) != 1:
        raise ConfigError(f"scenario {path}: protocols: a soak is of one protocol, it names {len(scenario.protocols)}")
    prepare(scenario, f"scenario {path}")
    return scenario, [do(msgspec.structs.replace(scenario, seeds=(seed,))) for seed in scenario.seeds]


# Tables.


def summarised(protocol: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All runs together."""
    faults: Counter[str] = Counter()
    for verdict in verdicts:
        faults.update(verdict.faults)
    sizes = Counter(verdict.replicas for verdict in verdicts)
    return {
        "protocol": protocol,
        "runs": len(verdicts),
        "violations": sum(bool(verdict.property) for verdict in verdicts),
        "violations_in_schedules": sum(bool(verdict.schedule) for verdict in verdicts),
        "not_decided": sum(bool(verdict.undecided) for verdict in verdicts),
        "operations": sum(verdict.operations for verdict in verdicts),
        "elections": sum(verdict.elections for verdict in verdicts),
        "faults": faults.total(),
        "schedules": sum(verdict.schedules for verdict in verdicts),
        "runs_with_replicas_down_for_good": sum(verdict.down > 0 for verdict in verdicts),
        "longest_wait_ms": max((verdict.longest_wait_ms for verdict in verdicts), default=0.0),
        "simulated_s": round(sum(verdict.simulated_s for verdict in verdicts), 1),
        "replicas": {str(size): sizes[size] for size in sorted(sizes)},
        "faults_by_kind": dict(sorted(faults.items())),
    }


def _write_tables(
    folder: Path, soak: Soak, verdicts: Sequence[Verdict], failures: Sequence[Failure], summary: dict[str, Any]
) -> None:
    rows = [
        (soak.protocol, v.seed, v.property, v.replicas, v.down, v.operations, v.elections, sum(v.faults.values()),
         v.longest_wait_ms, v.converged_ms, v.simulated_s, v.schedules, v.schedule or None)
        for v in verdicts
    ]  # fmt: skip
    write_csv(folder / "runs.csv", RUNS_CSV, rows)
    flat = {name: value for name, value in summary.items() if not isinstance(value, dict)}
    flat |= {f"runs_with_{size}_replicas": count for size, count in summary["replicas"].items()}
    flat |= {f"faults_{kind}": count for kind, count in summary["faults_by_kind"].items()}
    write_csv(folder / "summary.csv", ("statistic", "value"), list(flat.items()))
    (folder / "summary.md").write_text(_markdown(soak, flat, failures), encoding="utf-8")


def _markdown(soak: Soak, flat: dict[str, Any], failures: Sequence[Failure]) -> str:
    lines = [
        f"# Soak of {soak.protocol}",
        "",
        f"`{soak.command()}`. After the faults every operation must be answered, and every live replica make progress "
        f"until all agree, within {BOUND_S:g} simulated seconds each; then come the seed's schedules (docs/soak.md).",
        "",
        "| | |",
        "|---|--:|",
    ]
    lines += [f"| {name.replace('_', ' ')} | {value:,} |" for name, value in flat.items() if name != "protocol"]
    for failure in failures:
        lines += ["", f"## Seed {failure.seed}: {failure.property}", "", f"    {failure.detail}", ""]
        lines += [f"Again: `{failure.replay}`."]
        if failure.file:
            lines += [f"{failure.suffices().capitalize()}: `{failure.file}`."]
    return "\n".join(lines) + "\n"


def schedule(scenario: Scenario) -> list[str]:
    """Its faults as lines, for people."""
    return [fault_line(fault) for fault in scenario.faults]
