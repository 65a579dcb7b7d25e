"""Which known mistakes the explorer finds, in which small configuration, in how many steps: `make explored`.

Every mutant of tests/mutants/ is explored in the configurations below that are meant for its protocol, the smaller ones
first, until one shows a violation. For what is too deep to be found from the start, tests/mutants/executions/ has an
execution in which the mutant breaks something: it is explored after the first steps of that, as few as suffice, and so
is the correct protocol, which must hold. Writes mutants.csv and mutants.md here; what is finished in
results/runs/explored/ is not done again.
"""

from __future__ import annotations

import importlib
import inspect
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus_bench.contract import ChangeMembers, ConfigError, HandOver, Message
from consensus_bench.contract.registry import find_protocol
from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.runner import execute, load_results
from consensus_bench.experiments.tables import write_csv
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import Report, explore
from consensus_bench.exploration.exhaustive.opening import opening_of, own_at_once
from consensus_bench.exploration.trace import Trace, read_trace

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
MUTANTS: Final = Path("tests/mutants")
RUNS: Final = HERE.parent / "runs" / "explored"
PROTOCOLS: Final = ("basic_paxos", "multi_paxos", "raft", "epaxos")
STATES: Final = 200_000
"""Where a search stops."""
MORE_STATES: Final = {"basic_paxos": 400_000}
"""Where it does for these: three ballots of it take more."""
NEAR_STATES: Final = {"basic_paxos": 30_000, "multi_paxos": 30_000, "raft": 30_000, "epaxos": 5_000}
"""Where a search stops that begins after an execution. A step of EPaxos takes longest."""
COLUMNS: Final = (
    "protocol", "mutant", "found", "property", "after", "steps", "states", "seconds", "control", "guards",
    "command", "rule",
)  # fmt: skip
DEFAULTS: Final = Bounds()
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
    """``bounds``: of the configuration in which it falls, but defaults (None: in none). ``steps``: of the shortest
    trace, ``after`` so many of the execution (0: from the start). ``control``: what the correct protocol does there."""

    bounds: dict[str, Any] | None = None
    property: str = ""
    after: int = 0
    steps: int = 0
    states: int = 0
    seconds: float = 0.0
    control: str = ""


class Hunt(msgspec.Struct, frozen=True):
    """One mutant to be explored."""

    file: str
    name: str
    rule: str
    replicas: int
    settings: dict[str, Any]
    guards: str = "safety"
    weight: float = 1.0
    urgent: bool = False

    @property
    def key(self) -> str:
        return f"{self.file}-{self.name}"

    @property
    def spec(self) -> str:
        return f"{MUTANTS}/{self.file}_mutants.py:{self.name}"

    @property
    def protocol(self) -> str:
        return self.file.replace("_", "-")

    @property
    def execution(self) -> Path:
        """In which it breaks something, if there is one."""
        return MUTANTS / "executions" / f"{self.protocol}-{self.name}.json"

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
            settings=in_small(getattr(mutant, "settings", {})),
            guards=mutant.guards,
        )
        for file in PROTOCOLS
        for mutant in importlib.import_module(f"{file}_mutants").MUTANTS
        if getattr(mutant, "settings", {}).get("reads") != "lease"
    ]


def in_small(settings: dict[str, Any]) -> dict[str, Any]:
    """With a snapshot of every entry, if there are any: the configurations have few."""
    return {name: 1 if name == "snapshot_every" else value for name, value in settings.items()}


def hunt(task: Hunt, parts: Parts[Record], _stop: Callable[[], bool]) -> None:
    """Explore one of them: a ``runner.Work``."""
    parts.save(task.key, from_the_start(task) or nearby(task) or Record())


def from_the_start(task: Hunt) -> Record | None:
    """The first configuration in which it falls."""
    for place in range(len(CONFIGURATIONS[task.file])):
        bounds = task.bounds(place)
        report = explore(task.spec, Bounds(**bounds, states=MORE_STATES.get(task.file, STATES)), task.settings)
        if report.trace is not None:
            return record_of(report, bounds, 0)
    return None


def nearby(task: Hunt) -> Record | None:
    """After as few steps of its execution as suffice: one fewer, and ``NEAR_STATES`` do not show it."""
    if not task.execution.exists():
        return None
    trace, found = read_trace(task.execution), None
    for after in range(trace.length - 2, 0, -1):
        bounds = rest_of(trace, after)
        report = explore(task.spec, Bounds(**bounds, states=NEAR_STATES[task.file]), after=(trace, after))
        if report.trace is None or (found is not None and report.states > NEAR_STATES[task.file]):
            break
        found = record_of(report, bounds, after)
    return found and msgspec.structs.replace(found, control=control(task, trace, found))


def record_of(report: Report, bounds: dict[str, Any], after: int) -> Record:
    """What was found."""
    trace = report.trace
    assert trace is not None and trace.violation is not None
    states, seconds = report.states, round(report.seconds, 1)
    return Record(bounds, trace.violation.property, after, trace.length - after, states, seconds)


def rest_of(trace: Trace, after: int) -> dict[str, Any]:
    """Bounds that allow what happens in ``trace`` after so many steps, and little more."""
    opening = len(opening_of(trace, find_protocol(trace.protocol), after, own_messages=True).events)
    rest = opening_of(trace, find_protocol(trace.protocol), own_messages=True).events[opening:]
    kinds = Counter(event.kind for event in rest)
    timers = tuple(sorted({str(event.argument) for event in rest if event.kind == "timer"}))
    orders = tuple(sorted({written(event.argument) for event in rest if event.kind == "order"}))
    damages = sum(event.kind == "crash" and event.argument is not None for event in rest)
    bounds = {
        "proposers": trace.replicas, "requests": "anywhere", "ballots": max(1, kinds["timer"]),
        "crashes": kinds["crash"], "damages": damages, "orders": orders, "timeouts": kinds["timer"], "timers": timers,
        "own_messages": "at-once" if own_at_once(trace) else "network",
    }  # fmt: skip
    return {name: value for name, value in bounds.items() if value != getattr(DEFAULTS, name)}


def written(order: Message) -> str:
    """``order`` as ``--order`` has it."""
    if isinstance(order, HandOver):
        return f"hand-over:{order.to}"
    assert isinstance(order, ChangeMembers)
    return "members:" + ",".join(map(str, order.members))


def control(task: Hunt, trace: Trace, found: Record) -> str:
    """What the correct protocol does after the same steps, within the same bounds."""
    settings = {name: value for name, value in trace.options.items() if not name.startswith("unsafe_")}
    bounds = Bounds(**found.bounds or {}, states=NEAR_STATES[task.file])
    try:
        report = explore(task.protocol, bounds, after=(msgspec.structs.replace(trace, options=settings), found.after))
    except ConfigError:
        return "does other things before"
    return "FALLS" if report.trace else f"holds in {report.states:,} states"


def command_of(task: Hunt, record: Record) -> str:
    """How a user repeats it."""
    words = ["consensus-bench", "explore", task.spec]
    if record.after:
        words += ["--after", f"{task.execution}:{record.after}"]
    flags = {"timers": "timer", "orders": "order"}
    for name, value in (record.bounds or {}).items():
        for one in value if isinstance(value, list | tuple) else (value,):
            words += [f"--{flags.get(name, name).replace('_', '-')}", str(one)]
    for name, value in {} if record.after else task.settings.items():
        words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join(words)


def write(tasks: list[Hunt], records: dict[str, Record]) -> None:
    """The two tables."""
    found = [records[task.key] for task in tasks if records[task.key].bounds is not None]
    near = sum(record.after > 0 for record in found)
    missing = [task for task in tasks if records[task.key].bounds is None]
    no_safety = sum(task.guards != "safety" for task in missing)
    rows = []
    lines = [
        "# What the explorer finds",
        "",
        f"`make explored`: each of the {len(tasks)} mutants of tests/mutants, each without one rule of its protocol, "
        f"in small configurations, the smaller ones first, each until {STATES:,} states were seen (Basic Paxos: "
        f"{MORE_STATES['basic_paxos']:,}; a depth that was begun is finished): {len(found) - near} show a violation. "
        f"What is deeper is explored after the first steps of an execution in which the mutant falls (column *after*), "
        f"each step earlier until {NEAR_STATES['raft']:,} states (EPaxos: {NEAR_STATES['epaxos']:,}) no longer show a "
        f"violation: {near} more. The correct protocol, explored after the same steps within the same bounds, is the "
        f"control. Of the other {len(missing)}, {no_safety} guard no safety, so that nothing is ever false in a state "
        "(an office that is never handed over; what epochs promise): their own tests kill them. "
        f"{len(missing) - no_safety} rules of safety are not found: they need distances and clocks, or a recovery from "
        "a state that these bounds do not reach. Mutants of leases are left out: the explorer's clock stands still.",
        "",
        "| protocol | mutant | the rule that is missing | what falls | after | steps | states | the correct protocol "
        "| command |",
        "|---|---|---|---|--:|--:|--:|---|---|",
    ]
    for task in tasks:
        record, protocol = records[task.key], task.protocol
        command = "" if record.bounds is None else command_of(task, record)
        rows.append(
            (protocol, task.name, bool(command), record.property, record.after if command else None,
             record.steps or None, record.states or None, record.seconds or None, record.control, task.guards, command,
             task.rule)
        )  # fmt: skip
        steps = f"{record.after or ''} | {record.steps} | {record.states:,} | {record.control} | `{command}`"
        fallen = record.property or ("not found" if task.guards == "safety" else f"nothing: it guards {task.guards}")
        lines.append(f"| {protocol} | {task.name} | {task.rule} | {fallen} | {steps if command else '| | | |'} |")
    write_csv(HERE / "mutants.csv", COLUMNS, rows)
    (HERE / "mutants.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """`make.py`"""
    tasks = hunts()
    code = sha256(repr(CONFIGURATIONS).encode())
    executions = (ROOT / MUTANTS / "executions").glob("*.json")
    for file in sorted([*(ROOT / "protocols").glob("*.py"), *(ROOT / MUTANTS).glob("[!t]*_mutants.py"), *executions]):
        code.update(file.read_bytes())
    for file in sorted((ROOT / "consensus_bench" / "exploration").rglob("*.py")):
        code.update(file.read_bytes())
    identity = {"kind": "explored mutants", "states": STATES, "near": NEAR_STATES}
    with Parts(RUNS, identity, code.hexdigest(), Record) as parts:
        execute(tasks, parts, hunt, 0, lambda done, planned, _share: print(f"{done} of {planned}", flush=True))
        write(tasks, load_results(tasks, parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
