"""Which known mistakes the soak notices, and after how many runs: `make track-record`.

Every mutant of tests/mutants/ is soaked until it falls, with the seeds 1, 2, ... in this order, in a seed's scenario or
in one of its schedules, and the protocol it was made from over the same seeds, under the same fixed options. Writes
track_record.csv and track_record.md here; what is finished in results/runs/track-record/ is not done again.

    track_record.py [SEEDS [MUTANT ...]]      with MUTANTs: only these, and nothing is written
"""

from __future__ import annotations

import csv
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
from consensus_bench.experiments.soak_schedules import SCHEDULES
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
    "in",
    "control",
    "killed_by",
    "rule",
)


class Record(msgspec.Struct, frozen=True):
    """``seed``: the first that it falls with (None: with none); ``property``: what falls; ``schedule``: in which of the
    seed's schedules (0: in its scenario)."""

    seed: int | None
    property: str = ""
    schedule: int = 0

    def place(self) -> str:
        """Where it falls."""
        if self.seed is None:
            return ""
        return f"schedule {self.schedule}" if self.schedule else "scenario"


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
    parts.save(task.key, Record(fallen.seed, fallen.property, fallen.schedule) if fallen else Record(None))


def passes(task: Hunt, records: dict[str, Record]) -> bool:
    """Whether the correct protocol passes the seeds that the mutant had."""
    seed, control = records[task.key].seed, records[task.control().key].seed
    return control is None or (seed is not None and seed < control)


def explorer_steps() -> dict[tuple[str, str], str]:
    """By protocol and mutant, in how many steps the explorer finds it."""
    with (HERE.parent / "explored" / "mutants.csv").open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["steps"]]
    return {
        (row["protocol"], row["mutant"]): f"{row['after']} + {row['steps']}" if row["after"] != "0" else row["steps"]
        for row in found
    }


def write(tasks: Sequence[Hunt], records: dict[str, Record], budget: int) -> None:
    """The two tables."""
    explored = explorer_steps()
    rows = []
    for task in tasks:
        record = records[task.key]
        rows.append(
            (task.protocol, task.name, record.seed is not None, record.seed, record.seed, record.property,
             record.place(),
             "passes" if passes(task, records) else "FAILS", task.killed_by, task.rule)
        )  # fmt: skip
    write_csv(HERE / "track_record.csv", COLUMNS, rows)
    needed = sorted(seed for task in tasks if (seed := records[task.key].seed) is not None)
    scenarios = sum(records[task.key].place() == "scenario" for task in tasks)
    lines = [
        "# Track record of the soak",
        "",
        f"`make track-record`: {len(tasks)} mutants, each without one rule of its protocol, soaked with the seeds 1 "
        f"to {budget}. {len(needed)} are caught, half of these within {needed[(len(needed) - 1) // 2]} runs and the "
        f"last after {needed[-1]}: {scenarios} in a seed's scenario, {len(needed) - scenarios} in one of its schedules "
        f"({SCHEDULES} each). The correct protocol passes the same seeds under the same fixed options in "
        f"{sum(passes(task, records) for task in tasks)} of {len(tasks)} cases. What is not caught needs a schedule "
        "that chance hardly makes, or breaks no check but that of its own test (an office that is never handed over, "
        f"say). Of those {len(tasks) - len(needed)} the explorer finds "
        f"{sum(records[t.key].seed is None and (t.protocol, t.name) in explored for t in tasks)} "
        "([results/explored](../explored/mutants.md); column *explorer*: after so many steps of an execution, if not "
        "from the start, plus so many that it finds itself); the last column names the test that kills each.",
        "",
        "| protocol | mutant | the rule that is missing | soak runs | what fell | in | correct protocol | explorer "
        "| its own test |",
        "|---|---|---|--:|---|---|---|---|---|",
    ]
    for task in tasks:
        record = records[task.key]
        after = f"not in {budget}" if record.seed is None else f"{record.seed}"
        own = task.killed_by.partition("::")[2].replace("_", " ")
        control = "passes" if passes(task, records) else "**fails**"
        lines.append(
            f"| {task.protocol} | {task.name} | {task.rule} | {after} | {record.property} | {record.place()} "
            f"| {control} | {explored.get((task.protocol, task.name), '')} | {own} |"
        )
    (HERE / "track_record.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Status 1 if a correct protocol fell."""
    budget = int(sys.argv[1]) if len(sys.argv) > 1 else BUDGET
    everything_asked = len(sys.argv) <= 2
    tasks = [task for task in hunts(budget) if everything_asked or task.name in sys.argv[2:]]
    code = sha256(code_hash(prepare(draw("raft", 1))).encode())
    for file in sorted((ROOT / MUTANTS).glob("*_mutants.py")):
        code.update(file.read_bytes())
    controls = {task.control().key: task.control() for task in tasks}
    everything = [*tasks, *controls.values()]
    with Parts(RUNS, {"kind": "track record", "seeds": budget}, code.hexdigest(), Record) as parts:
        execute(everything, parts, hunt, 0, lambda done, planned, _share: print(f"{done} of {planned}", flush=True))
        records = load_results(everything, parts)
    if everything_asked:
        write(tasks, records, budget)
    else:
        for task in tasks:
            control = "passes" if passes(task, records) else "FAILS"
            print(task.protocol, task.name, records[task.key], f"correct protocol: {control}")
    return 0 if all(passes(task, records) for task in tasks) else 1


if __name__ == "__main__":
    sys.exit(main())
