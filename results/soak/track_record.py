"""Which known mistakes the soak notices, and after how many runs: `make track-record`.

Every mutant of tests/mutants/ is soaked until it falls, with the seeds 1, 2, ... in this order, and the protocol it was
made from over the same seeds, under the same fixed options. Writes track_record.csv and track_record.md here; what is
finished in results/runs/track-record/ is not done again.
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
    "control",
    "killed_by",
    "rule",
)


class Record(msgspec.Struct, frozen=True):
    """One mutant. ``seed``: the first that it falls with (None: with none); ``control``: whether the protocol passes
    these seeds."""

    seed: int | None
    property: str
    control: bool


class Hunt(msgspec.Struct, frozen=True):
    """One mutant to be soaked."""

    mutant: str
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
        return f"{self.protocol}-{self.name}"

    def soak(self, spec: str, runs: int, settings: dict[str, Any]) -> Soak:
        return Soak(protocol=spec, runs=runs, replicas=self.replicas, options=settings)


def hunts(budget: int) -> list[Hunt]:
    """All mutants that can serve a workload."""
    sys.path.insert(0, str(ROOT / MUTANTS))
    return [
        Hunt(
            mutant=f"{MUTANTS}/{file}_mutants.py:{mutant.__name__}",
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
    ]


def _mutants(file: str) -> Sequence[type[Replica]]:
    found: Sequence[type[Replica]] = importlib.import_module(f"{file}_mutants").MUTANTS
    return found


def hunt(task: Hunt, parts: Parts[Record], _stop: Callable[[], bool]) -> None:
    """Soak one mutant: a ``runner.Work``."""
    fallen = first_violation(task.soak(task.mutant, task.budget, task.settings))
    runs = task.budget if fallen is None else fallen.seed
    safe = {name: value for name, value in task.settings.items() if not name.startswith("unsafe_")}
    control = first_violation(task.soak(task.protocol, runs, safe if len(safe) == len(task.settings) else {}))
    seed = None if fallen is None else fallen.seed
    parts.save(task.key, Record(seed, "" if fallen is None else fallen.property, control is None))


def write(tasks: Sequence[Hunt], records: dict[str, Record], budget: int) -> None:
    """The two tables."""
    rows = []
    for task in tasks:
        record = records[task.key]
        rows.append(
            (task.protocol, task.name, record.seed is not None, record.seed, record.seed, record.property,
             "passes" if record.control else "FAILS", task.killed_by, task.rule)
        )  # fmt: skip
    write_csv(HERE / "track_record.csv", COLUMNS, rows)
    caught = [record for record in records.values() if record.seed is not None]
    needed = sorted(record.seed for record in caught if record.seed is not None)
    lines = [
        "# Track record of the soak",
        "",
        f"`make track-record`: {len(records)} mutants, each without one rule of its protocol, soaked with the seeds 1 "
        f"to {budget}. {len(caught)} are caught, half of these within {needed[(len(needed) - 1) // 2]} runs and the "
        f"last after {needed[-1]}. The correct protocol passes the same seeds under the same fixed options in "
        f"{sum(record.control for record in records.values())} of {len(records)} cases. What is not caught needs a "
        "schedule that random faults hardly make; the last column names the test that kills it (those without one are "
        "found by the random scheduler of tests/mutants/test_mutants.py).",
        "",
        "| protocol | mutant | the rule that is missing | caught after | what fell | correct protocol | its own test |",
        "|---|---|---|--:|---|---|---|",
    ]
    for task in tasks:
        record = records[task.key]
        after = f"not in {budget}" if record.seed is None else f"{record.seed}"
        own = task.killed_by.partition("::")[2].replace("_", " ") or "random scheduler"
        control = "passes" if record.control else "**fails**"
        lines.append(
            f"| {task.protocol} | {task.name} | {task.rule} | {after} | {record.property} | {control} | {own} |"
        )
    (HERE / "track_record.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """`track_record.py [SEEDS]`; status 1 if a correct protocol fell."""
    budget = int(sys.argv[1]) if len(sys.argv) > 1 else BUDGET
    tasks = hunts(budget)
    code = sha256(code_hash(prepare(draw("raft", 1))).encode())
    for file in sorted((ROOT / MUTANTS).glob("*_mutants.py")):
        code.update(file.read_bytes())
    parts = Parts(RUNS, {"kind": "track record", "seeds": budget}, code.hexdigest(), Record)
    execute(tasks, parts, hunt, 0, lambda done, planned, _share: print(f"{done} of {planned}", flush=True))
    records = load_results(tasks, parts)
    write(tasks, records, budget)
    return 0 if all(record.control for record in records.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
