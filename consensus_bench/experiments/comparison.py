"""From a scenario to a finished folder: plan, run, judge, write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.experiments.catalogue import about
from consensus_bench.experiments.command import command_line, replay_command
from consensus_bench.experiments.measure import Result, keep
from consensus_bench.experiments.parts import Parts, finished, new_folder, unfinished, write_manifest
from consensus_bench.experiments.plan import Run, conflict_levels, load_levels, plan
from consensus_bench.experiments.provenance import code_state, versions
from consensus_bench.experiments.runner import Progress, execute, load_results
from consensus_bench.experiments.scenario import Scenario, make_scenario, merged, read_toml
from consensus_bench.experiments.setup import Setup, prepare
from consensus_bench.experiments.tables import write_tables
from consensus_bench.experiments.toml import to_toml

FORMAT: Final = 1
SCENARIO_FILE: Final = "scenario.toml"
FAILURES: Final = "failures"


class Violation(msgspec.Struct, frozen=True):
    """A guarantee that fell, and the command that does the run again."""

    protocol: str
    seed: int
    purpose: str
    property: str
    detail: str
    replay: str


class Outcome(msgspec.Struct, frozen=True):
    """A comparison that has ended: its folder, what fell, what no checker could decide, whether anything had to run."""

    folder: Path
    violations: list[Violation] = []
    undecided: list[str] = []
    runs: int = 0
    reused: bool = False

    @property
    def ok(self) -> bool:
        """Whether no guarantee was violated."""
        return not self.violations


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: ``folder`` keeps the ``finished`` of ``planned`` runs, and the same command goes on from there."""

    def __init__(self, folder: Path, finished: int, planned: int) -> None:
        super().__init__(f"{finished} of {planned} runs are finished and kept in {folder}")
        self.folder = folder
        self.finished = finished
        self.planned = planned


def _silent(finished: int, planned: int, share: float) -> None:
    """No progress display."""


def compare(scenario: Scenario | Path | str | None = None, *, progress: Progress = _silent, **changes: Any) -> Outcome:
    """Run protocols through the same workload and verify every run.

    ``scenario``: a ``Scenario``, the path of a TOML file, or None for the default comparison. ``changes`` are keys of
    a scenario (``duration=5``, ``workload={"clients": 3}``, ``options={"raft": {"pre_vote": True}}``, ``out=...``)
    and go over it. Raises ``ConfigError`` before anything runs if the scenario cannot be. A violated guarantee is no
    exception: look at ``violations``.

    >>> outcome = consensus_bench.compare(duration=5, seeds=1, out="results/runs/mine")  # doctest: +SKIP
    >>> consensus_bench.load(outcome.folder)  # doctest: +SKIP
    """
    where = "" if scenario is None or isinstance(scenario, Scenario) else f"scenario {scenario}"
    return run_prepared(prepare(_scenario(scenario, changes, where), where), progress)


def _scenario(scenario: Scenario | Path | str | None, changes: dict[str, Any], where: str) -> Scenario:
    base: dict[str, Any] = {}
    if isinstance(scenario, Scenario):
        base = {**scenario.identity(), "jobs": scenario.jobs, "out": scenario.out}
    elif scenario is not None:
        base = read_toml(Path(scenario))
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in changes.items()}
    return make_scenario(merged(base, msgspec.to_builtins(plain)), where)


def run_prepared(setup: Setup, progress: Progress = _silent) -> Outcome:
    """Run a scenario and write its folder; what is finished there already is not run again. After Ctrl-C the tables of
    the finished runs are written, then ``Interrupted`` is raised."""
    scenario = setup.scenario
    began = time.monotonic()
    identity, code = scenario.identity(), code_state(setup)
    folder = Path(scenario.out) if scenario.out else None
    folder = folder or unfinished(scenario.name, identity, code["sha256"]) or new_folder(scenario.name)
    runs = plan(setup)
    before = finished(folder)
    if before is not None and is_this_run(before, identity, code["sha256"]):
        return _read_outcome(folder, before)
    with Parts(folder, identity, code["sha256"], Result) as parts:
        (folder / SCENARIO_FILE).write_text(to_toml(identity), encoding="utf-8")
        interrupted = False
        try:
            execute(runs, parts, keep, scenario.jobs, progress)
        except KeyboardInterrupt:
            interrupted = True
        results = load_results(runs, parts)
        outcome = _outcome(setup, folder, runs, results)
        if any(run.key in results for run in runs if run.purpose == "main"):
            _write(setup, runs, results, parts, code, outcome, time.monotonic() - began)
        if interrupted:
            raise Interrupted(folder, len(results), len(runs))
        parts.drop()
        return outcome


def is_this_run(manifest: dict[str, Any], identity: dict[str, Any], code: str) -> bool:
    """Whether a finished folder's ``manifest`` is of precisely this scenario and code."""
    return bool(
        manifest.get("complete") and manifest.get("scenario") == identity and manifest["code"]["sha256"] == code
    )


def _read_outcome(folder: Path, manifest: dict[str, Any]) -> Outcome:
    violations = msgspec.convert(manifest["violations"], list[Violation])
    return Outcome(folder, violations, manifest["undecided"], manifest["runs"], reused=True)


def _outcome(setup: Setup, folder: Path, runs: list[Run], results: dict[str, Result]) -> Outcome:
    violations, undecided = [], []
    entries = dict(zip((c.label for c in setup.contestants), setup.scenario.protocols, strict=True))
    for run in runs:
        result = results.get(run.key)
        for check in result.checks if result else ():
            what = run.purpose if run.level is None else f"{run.purpose} {run.level:g}"
            if check.verdict == "violated":
                replay = replay_command(setup.scenario, entries[run.protocol], run)
                violations.append(Violation(run.protocol, run.seed, what, check.property, check.detail, replay))
            elif check.verdict == "not decided":
                undecided.append(f"{run.protocol}, seed {run.seed}, {what}: {check.property}: {check.detail}")
    return Outcome(folder, violations, undecided, len(results))


def _write(
    setup: Setup,
    runs: list[Run],
    results: dict[str, Result],
    parts: Parts[Result],
    code: dict[str, Any],
    outcome: Outcome,
    seconds: float,
) -> None:
    """Everything that the report reads. The manifest comes last: where it says complete, the folder is."""
    write_tables(setup, runs, results, parts)
    for key, result in results.items():
        if result.error:
            (parts.folder / FAILURES).mkdir(exist_ok=True)
            (parts.folder / FAILURES / f"{key}.txt").write_text(result.error, encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "name": setup.scenario.name,
        "created": parts.created,
        "wall_seconds": round(seconds, 3),
        "command": command_line(setup.scenario),
        "complete": len(results) == len(runs),
        "runs": len(results),
        "planned_runs": len(runs),
        "violations": outcome.violations,
        "undecided": outcome.undecided,
        "code": code,
        "versions": versions(),
        "leaders": _leaders(setup, runs, results),
        **described(setup),
    }
    write_manifest(parts.folder, manifest)


def _leaders(setup: Setup, runs: list[Run], results: dict[str, Result]) -> dict[str, str | None]:
    """Who led, by protocol, in the main runs: None where nobody said so, or not always the same."""
    seen: dict[str, set[int]] = {contestant.label: set() for contestant in setup.contestants}
    for run in runs:
        numbers = results[run.key].numbers if run.key in results else None
        if run.purpose == "main" and numbers is not None:
            seen[run.protocol] |= {replica for _, replica in numbers.elections}
    return {label: setup.sites[next(iter(who))] if len(who) == 1 else None for label, who in seen.items()}


def described(setup: Setup) -> dict[str, Any]:
    """The settings for a manifest, with what was chosen automatically spelt out."""
    scenario, topology = setup.scenario, setup.topology
    places = {
        site: {
            "place": location.name if location else site,
            "latitude": location.latitude if location else None,
            "longitude": location.longitude if location else None,
        }
        for site, location in zip(topology.sites, topology.locations, strict=True)
    }
    return {
        "scenario": scenario.identity(),
        "seeds": scenario.seeds,
        "protocols": [contestant.label for contestant in setup.contestants],
        "about": {contestant.label: about(contestant.protocol) for contestant in setup.contestants},
        "options": {
            contestant.label: msgspec.to_builtins(contestant.all_options(len(setup.sites)))
            for contestant in setup.contestants
        },
        "sites": setup.sites,
        "client_sites": setup.client_sites,
        "leader_choice": setup.leader_choice,
        "topology": {
            "name": topology.name,
            "source": topology.source,
            "date": topology.date,
            "licence": topology.licence,
            "statistic": topology.statistic,
            "note": topology.note,
            "sites": places,
            "rtt_ms": {"sites": topology.sites, "matrix": topology.rtt_ms},
        },
        "profile": msgspec.to_builtins(setup.profile),
        "jitter": scenario.jitter,
        "workload": msgspec.to_builtins(scenario.workload),
        "load_levels": load_levels(setup) or None,
        "conflict_levels": conflict_levels(setup) or None,
    }
