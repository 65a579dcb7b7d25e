"""Which known mistakes the soak notices, and after how many runs: `make track-record`.

Every mutant of tests/mutants/ is soaked until it falls, with the seeds 1, 2, ... in this order, and the protocol it was
made from over the same seeds, under the same fixed options. Of one that does not fall: after how many schedules of the
random scheduler it does (those of tests/mutants/test_mutants.py, where the protocol passes the schedule that fells it).
Writes track_record.csv and track_record.md here; what is finished in results/runs/track-record/ is not done again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.contract import Replica
from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.provenance import code_hash
from consensus_bench.experiments.runner import execute, load_results
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.soak import Soak, first_violation
from consensus_bench.experiments.soak_scenarios import draw
from consensus_bench.experiments.tables import write_csv
from consensus_bench.exploration import ScheduleViolated, run_seeds

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
MUTANTS: Final = Path("tests/mutants")
RUNS: Final = HERE.parent / "runs" / "track-record"
PROTOCOLS: Final = ("multi_paxos", "raft", "epaxos")
BUDGET: Final = 200
COLUMNS: Final = (
    "protocol",
    "mutant",
    "caught",
    "runs_needed",
    "first_seed",
    "property",
    "schedules_needed",
    "control",
    "killed_by",
    "rule",
)


class Record(msgspec.Struct, frozen=True):
    """``seed``: the first that it falls with (None: with none); ``property``: what falls; ``schedules``: if none, how
    many of the random scheduler's it takes (None: more than are tried)."""

    seed: int | None
    property: str
    schedules: int | None = None


class Hunt(msgspec.Struct, frozen=True):
    """One mutant to be soaked, or, as its ``control``, the protocol (``name`` is empty)."""

    spec: str
    protocol: str
    name: str
    killed_by: str
    rule: str
    replicas: int
    settings: dict[str, Any]
    budget: int
    weight: float = 1.0
    urgent: bool = False

    @property
    def key(self) -> str:
        if self.name:
            return f"{self.protocol}-{self.name}"
        settings = "".join(f"-{name}-{value}" for name, value in self.settings.items())
        return f"control-{self.protocol}-{self.replicas}{settings}"

    def control(self) -> Hunt:
        """The correct protocol with the same options, but those that are no protocol's (``unsafe_``)."""
        safe = not any(name.startswith("unsafe_") for name in self.settings)
        return Hunt(self.protocol, self.protocol, "", "", "", self.replicas, self.settings if safe else {}, self.budget)


def hunts(budget: int) -> list[Hunt]:
    """All mutants that can serve a workload, but those of leases: clocks are wrong in a soak, and leases trust them."""
    sys.path.insert(0, str(ROOT / MUTANTS))
    return [
        Hunt(
            spec=f"{MUTANTS}/{file}_mutants.py:{mutant.__name__}",
            protocol=file.replace("_", "-"),
            name=mutant.__name__,
            killed_by=getattr(mutant, "killed_by", ""),
            rule=" ".join((inspect.getdoc(mutant) or "").split()),
            replicas=getattr(mutant, "replicas", 3),
            settings=getattr(mutant, "settings", {}),
            budget=budget,
        )
        for file in PROTOCOLS
        for mutant in _mutants(file)
        if getattr(mutant, "settings", {}).get("reads") != "lease"
    ]


def _mutants(file: str) -> Sequence[type[Replica]]:
    found: Sequence[type[Replica]] = importlib.import_module(f"{file}_mutants").MUTANTS
    return found


def hunt(task: Hunt, parts: Parts[Record], _stop: Callable[[], bool]) -> None:
    """Soak one of them: a ``runner.Work``."""
    soak = Soak(protocol=task.spec, runs=task.budget, replicas=task.replicas, options=task.settings)
    fallen = first_violation(soak)
    schedules = schedules_needed(task) if task.name and fallen is None else None
    parts.save(task.key, Record(fallen and fallen.seed, fallen.property if fallen else "", schedules))


def schedules_needed(task: Hunt) -> int | None:
    """Of the hunts one after the other, how many schedules until the mutant falls."""
    sys.path.insert(0, str(ROOT / MUTANTS))
    hunts = importlib.import_module("test_mutants")
    mutant = getattr(importlib.import_module(f"{task.protocol.replace('-', '_')}_mutants"), task.name)
    for number, (faults, load) in enumerate(hunts.HUNTS.values()):
        for seed in range(hunts.SEEDS):
            try:
                run_seeds(mutant, [seed], size=task.replicas, settings=task.settings, faults=faults, load=load)
            except ScheduleViolated:
                return int(number * hunts.SEEDS + seed + 1)
    return None


def passes(task: Hunt, records: dict[str, Record]) -> bool:
    """Whether the correct protocol passes the seeds that the mutant had."""
    seed, control = records[task.key].seed, records[task.control().key].seed
    return control is None or (seed is not None and seed < control)


def write(tasks: Sequence[Hunt], records: dict[str, Record], budget: int) -> None:
    """The two tables."""
    rows = []
    for task in tasks:
        record = records[task.key]
        rows.append(
            (task.protocol, task.name, record.seed is not None, record.seed, record.seed, record.property,
             record.schedules,
             "passes" if passes(task, records) else "FAILS", task.killed_by, task.rule)
        )  # fmt: skip
    write_csv(HERE / "track_record.csv", COLUMNS, rows)
    needed = sorted(seed for task in tasks if (seed := records[task.key].seed) is not None)
    alone = sum(records[t.key].seed is None and records[t.key].schedules is not None for t in tasks)
    lines = [
        "# Track record of the soak",
        "",
        f"`make track-record`: {len(tasks)} mutants, each without one rule of its protocol, soaked with the seeds 1 "
        f"to {budget}. {len(needed)} are caught, half of these within {needed[(len(needed) - 1) // 2]} runs and the "
        f"last after {needed[-1]}. The correct protocol passes the same seeds under the same fixed options in "
        f"{sum(passes(task, records) for task in tasks)} of {len(tasks)} cases. Of the others {alone} fall under the "
        "random scheduler (column *schedules*: how many it took). What falls under neither needs a schedule that "
        "chance hardly makes, or breaks no check but that of its own test (an office that is never handed over, say): "
        "the last column names the test that kills it.",
        "",
        "| protocol | mutant | the rule that is missing | soak runs | what fell | schedules | correct protocol "
        "| its own test |",
        "|---|---|---|--:|---|--:|---|---|",
    ]
    for task in tasks:
        record = records[task.key]
        after = f"not in {budget}" if record.seed is None else f"{record.seed}"
        schedules = "" if record.schedules is None else f"{record.schedules}"
        own = task.killed_by.partition("::")[2].replace("_", " ")
        control = "passes" if passes(task, records) else "**fails**"
        lines.append(
            f"| {task.protocol} | {task.name} | {task.rule} | {after} | {record.property} | {schedules} | {control} "
            f"| {own} |"
        )
    (HERE / "track_record.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """`track_record.py [SEEDS]`; status 1 if a correct protocol fell."""
    budget = int(sys.argv[1]) if len(sys.argv) > 1 else BUDGET
    tasks = hunts(budget)
    code = sha256(code_hash(prepare(draw("raft", 1))).encode())
    for file in sorted((ROOT / MUTANTS).glob("*_mutants.py")):
        code.update(file.read_bytes())
    controls = {task.control().key: task.control() for task in tasks}
    everything = [*tasks, *controls.values()]
    with Parts(RUNS, {"kind": "track record", "seeds": budget}, code.hexdigest(), Record) as parts:
        execute(everything, parts, hunt, 0, lambda done, planned, _share: print(f"{done} of {planned}", flush=True))
        records = load_results(everything, parts)
    write(tasks, records, budget)
    return 0 if all(passes(task, records) for task in tasks) else 1


if __name__ == "__main__":
    sys.exit(main())
