"""What a soak keeps of a run in which something fell: the command that repeats it, and a file that is small.

Of a scenario that fails the smallest that still does (``seed-N.toml``); of a schedule the steps that suffice, as a
trace (``seed-N.json``), or, where an execution does not show it (that nobody goes on has no last step), all that
happened, in words (``seed-N.txt``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from consensus_bench.experiments.scenario import Scenario
from consensus_bench.experiments.shrink import shrink
from consensus_bench.experiments.soak_run import Verdict, do
from consensus_bench.experiments.soak_scenarios import Fixed, draw, keeps_promise
from consensus_bench.experiments.soak_schedules import schedule_violated
from consensus_bench.experiments.toml import to_toml
from consensus_bench.exploration.journal import execution_of
from consensus_bench.exploration.trace import write_trace

SHRINK_RUNS: Final = 400
FAILURES: Final = "failures"
FIRST_LINES: Final = 5_000
LAST_LINES: Final = 200
"""Of a transcript: who waits in vain does the same again and again."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run in which something fell. ``replay``: the command that repeats it; ``schedule``: in which of its schedules
    it fell (0: in its scenario); ``file``: the small one, in the folder. ``faults`` of the ``drawn`` ones suffice, or
    ``steps`` of ``taken``."""

    seed: int
    property: str
    detail: str
    replay: str
    drawn: int = 0
    schedule: int = 0
    file: str = ""
    faults: int = 0
    steps: int = 0
    taken: int = 0

    def suffices(self) -> str:
        """What of the run is in the file, in words."""
        if not self.schedule:
            return f"{self.faults} of {self.drawn} faults suffice"
        return f"{self.steps} of {self.taken} steps suffice" if self.steps else "all that happened"


def describe(
    verdicts: Sequence[Verdict],
    protocol: str,
    fixed: Fixed,
    command: Callable[[int], str],
    folder: Path,
    small: int,
) -> list[Failure]:
    """What fell, of which ``small`` ones are made small: the first of each property first."""
    fallen = [verdict for verdict in verdicts if verdict.property]
    firsts = {verdict.property: verdict for verdict in reversed(fallen)}.values()
    chosen = sorted(fallen, key=lambda v: (v not in firsts, v.seed))[:small]
    failures = []
    for verdict in fallen:
        scenario = draw(protocol, verdict.seed, fixed)
        failure = Failure(
            verdict.seed, verdict.property, verdict.detail, command(verdict.seed), len(scenario.faults),
            verdict.schedule,
        )  # fmt: skip
        if verdict in chosen:
            (folder / FAILURES).mkdir(exist_ok=True)
            if verdict.schedule:
                failure = _small_schedule(failure, scenario, fixed, folder)
            else:
                failure = _small_scenario(failure, scenario, folder)
        failures.append(failure)
    return failures


def _small_scenario(failure: Failure, scenario: Scenario, folder: Path) -> Failure:
    small = shrink(
        scenario, lambda attempt: keeps_promise(attempt) and do(attempt).property == failure.property, SHRINK_RUNS
    )
    file = folder / FAILURES / f"seed-{failure.seed}.toml"
    why = f"{failure.property}: {do(small).detail}".replace("\n", " ")
    text = f"# {why}\n# Shrunk from `{failure.replay}`; again: consensus-bench soak FILE\n"
    file.write_text(text + to_toml(small.identity()), encoding="utf-8")
    return msgspec.structs.replace(failure, file=str(file.relative_to(folder)), faults=len(small.faults))


def _small_schedule(failure: Failure, scenario: Scenario, fixed: Fixed, folder: Path) -> Failure:
    violated = schedule_violated(scenario, fixed, failure.schedule)
    found = execution_of(violated)
    file = folder / FAILURES / f"seed-{failure.seed}{'.txt' if found is None else '.json'}"
    kept = msgspec.structs.replace(failure, file=str(file.relative_to(folder)))
    if found is None:
        lines = violated.transcript()
        if len(lines) > FIRST_LINES + LAST_LINES:
            left_out = len(lines) - FIRST_LINES - LAST_LINES
            lines[FIRST_LINES:-LAST_LINES] = [f"({left_out:,} lines are left out)"]
        file.write_text("\n".join([str(violated), "", *lines]) + "\n", encoding="utf-8")
        return kept
    trace = found.trace(scenario.protocols[0])
    write_trace(file, trace)
    return msgspec.structs.replace(kept, steps=trace.length, taken=found.taken)
