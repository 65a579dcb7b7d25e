"""Which known mistakes the explorer finds, in which small configuration, in how many steps: `make explored`.

Every mutant of tests/mutants/ is explored in the configurations below that are meant for its protocol, the smaller ones
first, until one shows a violation. Writes mutants.csv and mutants.md here; what is finished in results/runs/explored/
is not done again.
"""

from __future__ import annotations

import importlib
import inspect
import shlex
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.runner import execute, load_results
from consensus_bench.experiments.tables import write_csv
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import explore

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
MUTANTS: Final = Path("tests/mutants")
RUNS: Final = HERE.parent / "runs" / "explored"
PROTOCOLS: Final = ("basic_paxos", "multi_paxos", "raft", "epaxos")
STATES: Final = 200_000
"""Where a search stops."""
MORE_STATES: Final = {"basic_paxos": 400_000}
"""Where it does for these: three ballots of it take more."""
COLUMNS: Final = ("protocol", "mutant", "found", "property", "steps", "states", "seconds", "command", "rule")
LEADER: Final[dict[str, Any]] = {"first_leader": 0, "timeouts": 0}
CHANGE: Final[dict[str, Any]] = {"first_leader": 0, "timeouts": 1, "timers": ("election",)}
CHANGES: Final[dict[str, Any]] = {**CHANGE, "timeouts": 2, "ballots": 3, "commands": 1}
CONFIGURATIONS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "basic_paxos": (
        {},
        {"replicas": 4},
        {"crashes": 1},
        {"ballots": 3, "timeouts": 1, "lost": ("Nack", "Decided", "Query")},
    ),
    "multi_paxos": (
        {**LEADER, "reads": 1},
        CHANGE,
        {**CHANGE, "requests": "anywhere", "commands": 1},
        {**CHANGE, "crashes": 1, "commands": 1, "lost": ("Forward", "Nack", "Fetch", "Chosen")},
        {**CHANGES, "lost": ("Forward", "Nack", "Fetch", "Chosen", "Heartbeat")},
        {**CHANGE, "crashes": 1, "lost": ("Forward", "Nack", "Fetch", "Chosen", "Heartbeat")},
    ),
    "raft": (
        {**LEADER, "ballots": 1, "commands": 1, "requests": "anywhere", "lost": ("Refused", "Conflict")},
        CHANGE,
        {**CHANGE, "crashes": 1, "commands": 1, "lost": ("Forward", "Refused", "Conflict")},
        {**CHANGES, "lost": ("Forward",)},
    ),
    "epaxos": (
        {"ballots": 1, "timeouts": 0},
        {"ballots": 1, "timeouts": 0, "reads": 1},
        {"ballots": 1, "timeouts": 0, "crashes": 1},
    ),
}
"""What ``Bounds`` says beyond its defaults."""


class Record(msgspec.Struct, frozen=True):
    """``place``: of the configuration in which it falls (-1: in none). ``steps``: of the shortest trace."""

    place: int
    property: str = ""
    steps: int = 0
    states: int = 0
    seconds: float = 0.0


class Hunt(msgspec.Struct, frozen=True):
    """One mutant to be explored."""

    file: str
    name: str
    rule: str
    replicas: int
    settings: dict[str, Any]
    weight: float = 1.0
    urgent: bool = False

    @property
    def key(self) -> str:
        return f"{self.file}-{self.name}"

    @property
    def spec(self) -> str:
        return f"{MUTANTS}/{self.file}_mutants.py:{self.name}"

    def bounds(self, place: int) -> dict[str, Any]:
        """A configuration, of the size that this mutant needs."""
        bounds = CONFIGURATIONS[self.file][place]
        return bounds if self.replicas == 3 or "replicas" in bounds else {**bounds, "replicas": self.replicas}


def hunts() -> list[Hunt]:
    """All mutants but those of leases: the explorer's clock stands still, so that a lease never ends."""
    sys.path.insert(0, str(ROOT / MUTANTS))
    return [
        Hunt(
            file=file,
            name=mutant.__name__,
            rule=" ".join((inspect.getdoc(mutant) or "").split()),
            replicas=getattr(mutant, "replicas", 3),
            settings={k: v for k, v in getattr(mutant, "settings", {}).items() if k != "snapshot_every"},
        )
        for file in PROTOCOLS
        for mutant in importlib.import_module(f"{file}_mutants").MUTANTS
        if getattr(mutant, "settings", {}).get("reads") != "lease"
    ]


def hunt(task: Hunt, parts: Parts[Record], _stop: Callable[[], bool]) -> None:
    """Explore one of them: a ``runner.Work``."""
    record = Record(-1)
    for place in range(len(CONFIGURATIONS[task.file])):
        if task.settings.get("reads") == "quorum" and "crashes" in task.bounds(place):
            continue  # not explored: its lives are told by the clock
        bounds = Bounds(**task.bounds(place), states=MORE_STATES.get(task.file, STATES))
        report = explore(task.spec, bounds, task.settings)
        trace = report.trace
        if trace is not None and trace.violation is not None:
            record = Record(place, trace.violation.property, trace.length, report.states, round(report.seconds, 1))
            break
    parts.save(task.key, record)


def command_of(task: Hunt, place: int) -> str:
    """How a user repeats it."""
    words = ["consensus-bench", "explore", task.spec]
    flags = {"timers": "timer", "first_leader": "first-leader"}
    for name, value in task.bounds(place).items():
        for one in value if isinstance(value, tuple) else (value,):
            words += [f"--{flags.get(name, name)}", str(one)]
    for name, value in task.settings.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join(words)


def write(tasks: list[Hunt], records: dict[str, Record]) -> None:
    """The two tables."""
    found = [task for task in tasks if records[task.key].place >= 0]
    rows = []
    lines = [
        "# What the explorer finds",
        "",
        f"`make explored`: each of the {len(tasks)} mutants of tests/mutants, each without one rule of its protocol, "
        f"in small configurations, the smaller ones first, each until {STATES:,} states were seen (Basic Paxos: "
        f"{MORE_STATES['basic_paxos']:,}; a depth that was begun is finished). {len(found)} show a "
        "violation. The others need more than that (more states, three ballots and a crash, a damaged disk, snapshots) "
        "or break nothing that is ever false in a state (an office that is never handed over). Mutants of leases are "
        "left out: the explorer's clock stands still.",
        "",
        "| protocol | mutant | the rule that is missing | what falls | steps | states | command |",
        "|---|---|---|---|--:|--:|---|",
    ]
    for task in tasks:
        record, protocol = records[task.key], task.file.replace("_", "-")
        command = command_of(task, record.place) if record.place >= 0 else ""
        rows.append(
            (protocol, task.name, record.place >= 0, record.property, record.steps or None, record.states or None,
             record.seconds or None, command, task.rule)
        )  # fmt: skip
        steps = f"{record.steps} | {record.states:,} | `{command}`" if command else "| |"
        lines.append(f"| {protocol} | {task.name} | {task.rule} | {record.property or 'not found'} | {steps} |")
    write_csv(HERE / "mutants.csv", COLUMNS, rows)
    (HERE / "mutants.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """`make.py`"""
    tasks = hunts()
    code = sha256(repr(CONFIGURATIONS).encode())
    for file in sorted([*(ROOT / "protocols").glob("*.py"), *(ROOT / MUTANTS).glob("[!t]*_mutants.py")]):
        code.update(file.read_bytes())
    for file in sorted((ROOT / "consensus_bench" / "exploration").rglob("*.py")):
        code.update(file.read_bytes())
    with Parts(RUNS, {"kind": "explored mutants", "states": STATES}, code.hexdigest(), Record) as parts:
        execute(tasks, parts, hunt, 0, lambda done, planned, _share: print(f"{done} of {planned}", flush=True))
        write(tasks, load_results(tasks, parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
