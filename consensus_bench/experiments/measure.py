"""Does one run and judges it. A run that violates a guarantee has no numbers, only its verdict."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consensus_bench.contract import Command, PropertyViolated
from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.plan import Run
from consensus_bench.experiments.runner import Stopped
from consensus_bench.experiments.statistics import (
    Latencies,
    Window,
    column,
    fast_share,
    latencies_ns,
    measured,
    summarise,
    throughput,
)
from consensus_bench.simulation.operations import KIND_CODES, KINDS, NEVER
from consensus_bench.simulation.world import SECOND_NS, Settings, Usage, World
from consensus_bench.verification import Check, History
from consensus_bench.verification.online import NON_TRIVIALITY

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

LINEARIZABILITY: Final = "linearizability"
ANSWERED: Final = "every operation answered"
PUT: Final = KIND_CODES["put"]
CHUNK: Final = 1 << 16
"""Operations that exist as Python objects at a time."""
NO_ERROR: Final = "the protocol runs without an error"


class Numbers(msgspec.Struct, frozen=True):
    """What one run measured, all sites together. ``commits``: operations answered in the measured interval."""

    commits: int
    throughput_ops: float
    commit: Latencies
    execute: Latencies
    fast_share: float | None
    usage: list[Usage]
    facts: dict[str, int]
    elections: list[tuple[int, int]]
    faults: list[tuple[int, int, str, str]] = []
    """(start in ns, end in ns, kind, target) of what was injected."""


class Result(msgspec.Struct, frozen=True):
    """The outcome of one run. ``numbers`` is None if a check failed; ``error`` is then the trace-back, if any."""

    key: str
    checks: list[Check]
    numbers: Numbers | None
    error: str = ""

    @property
    def violated(self) -> bool:
        """Whether a guarantee fell."""
        return any(check.verdict == "violated" for check in self.checks)


def window_of(settings: Settings) -> Window:
    """The measured interval of a run with these settings."""
    return Window(round(settings.warmup_s * SECOND_NS), round(settings.duration_s * SECOND_NS))


def keep(run: Run, parts: Parts[Result], stop: Callable[[], bool]) -> None:
    """Do ``run`` and save it: a ``runner.Work``."""
    result, table = measure(run, stop)
    wanted = run.purpose == "main" and result.numbers is not None
    parts.save(run.key, result, table if wanted else None)


def measure(run: Run, stop: Callable[[], bool] = lambda: False) -> tuple[Result, Table]:
    """Do ``run``; its result and all its operations. ``stop`` is asked now and then; if true, ``Stopped`` is raised."""
    return judged(run.key, World(run.settings), stop)


def judged(key: str, world: World, stop: Callable[[], bool]) -> tuple[Result, Table]:
    """The same for a world that has not run yet, and does not run again."""
    try:
        return _judged(key, world, stop)
    finally:
        world.close()


def _judged(key: str, world: World, stop: Callable[[], bool]) -> tuple[Result, Table]:
    def progress(_done: float) -> None:
        if stop():
            raise Stopped

    try:
        world.run(progress)
    except PropertyViolated as violation:
        failed = [Check(violation.name, "violated", len(world.operations), violation.detail)]
        return Result(key, failed, None), _sorted(world)
    except Exception as error:  # whatever a protocol raises: the other runs go on, and this one is reported
        if isinstance(error, Stopped):
            raise
        failed = [Check(NO_ERROR, "violated", len(world.operations), f"{type(error).__name__}: {error}")]
        return Result(key, failed, None, traceback.format_exc()), _sorted(world)
    table = _sorted(world)
    checks = [
        *world.verifier.finish(),
        _asked(world.verifier.chosen(), table),
        _linearizable(table),
        _answered(table, world),
    ]
    if any(check.verdict == "violated" for check in checks):
        return Result(key, checks, None), table
    return Result(key, checks, _numbers(world, table)), table


def _sorted(world: World) -> Table:
    """Operations by due time: an order that says nothing about who was answered first."""
    import numpy as np

    table = world.operations.table()
    order = np.lexsort((column(table, "sequence"), column(table, "client"), column(table, "due_ns")))
    ordered: Table = table[order]
    return ordered


def _asked(chosen: Iterator[Command], table: Table) -> Check:
    """Whatever was chosen is precisely what a client asked for: same client and number, kind, key and value."""
    import numpy as np

    client, sequence = column(table, "client"), column(table, "sequence")
    ordered = table[np.lexsort((sequence, client))]
    counts = np.bincount(client)  # a client's numbers are 1, 2, ...: every one of them has a row
    first_row = np.cumsum(counts) - counts
    asked = np.stack([column(ordered, name) for name in ("kind", "key", "value")], axis=1)
    compared = 0
    while commands := list(islice(chosen, CHUNK)):
        wrong = next((c for c in commands if not _is_plain(c, counts)), None)
        if wrong is None:
            rows = np.array([first_row[c.client] + c.sequence - 1 for c in commands])
            found = np.array([(KIND_CODES[c.kind], c.key, c.value or NEVER) for c in commands], dtype=np.int64)
            differs = np.flatnonzero((asked[rows] != found).any(axis=1))
            wrong = commands[differs[0]] if len(differs) else None
        compared += len(commands)
        if wrong is not None:
            return Check(NON_TRIVIALITY, "violated", compared, f"{wrong} is chosen, but no client asked for it")
    return Check(NON_TRIVIALITY, "holds", compared, "chosen commands, each as a client asked for it")


def _is_plain(command: Command, counts: Table) -> bool:
    """Whether some client has issued an operation of that number, and the rest can be compared as numbers."""
    known = 0 <= command.client < len(counts) and 1 <= command.sequence <= counts[command.client]
    return bool(known) and command.kind in KIND_CODES and type(command.key) is int


def _linearizable(table: Table) -> Check:
    """The clients' history, key by key, as registers that begin empty."""
    history = History()
    names = ("client", "key", "kind", "value", "result", "sent_ns", "answered_ns")
    for start in range(0, len(table), CHUNK):
        chunk = table[start : start + CHUNK]
        for client, key, kind, value, result, sent, answered in zip(
            *(column(chunk, name).tolist() for name in names), strict=True
        ):
            history.append(
                client, key, KINDS[kind], value, None if result == NEVER else result, sent,
                None if answered == NEVER else answered,
            )  # fmt: skip
    verdict = history.check()
    detail = verdict.detail or f"operations on {verdict.keys} keys"
    seen = int(((column(table, "kind") != PUT) & (column(table, "answered_ns") != NEVER)).sum())
    if not seen and verdict.verdict == "holds":
        detail += "; none of them observes anything, so that nothing could have contradicted"
    return Check(LINEARIZABILITY, verdict.verdict, verdict.checked, detail)


def _answered(table: Table, world: World) -> Check:
    """Not a guarantee: but where operations have no answer, the latencies are those of the lucky ones. Those whose
    clients died with their site are not waited for."""
    drain_s, abandoned = world.settings.drain_s, world.population.abandoned()
    missing = int((column(table, "answered_ns") == NEVER).sum()) - abandoned
    but = f", but for {abandoned} whose clients died" if abandoned else ""
    if not missing:
        return Check(ANSWERED, "holds", len(table), f"operations, all within {drain_s:g} s of the last one{but}")
    detail = f"{missing} of {len(table)} operations had no answer {drain_s:g} s after the last one was due{but}"
    return Check(ANSWERED, "not decided", len(table), detail)


def _numbers(world: World, table: Table) -> Numbers:
    window = window_of(world.settings)
    seen = measured(table, window)
    ops = throughput(table, window)
    facts: dict[str, Any] = dict(sorted(world.facts.items()))
    return Numbers(
        commits=round(ops * window.seconds),
        throughput_ops=ops,
        commit=summarise(latencies_ns(seen, "commit")),
        execute=summarise(latencies_ns(seen, "execute")),
        fast_share=fast_share(seen),
        usage=world.usage(),
        facts=facts,
        elections=world.elections,
        faults=[(f.start_ns, f.end_ns, f.kind, f.target) for f in world.fault_log],
    )
