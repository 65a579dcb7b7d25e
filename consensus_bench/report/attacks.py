"""The report of attacks that were run: each with its diagram, its trace in words, its verdict and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consensus_bench.exploration.site import OWN_INVARIANTS
from consensus_bench.exploration.wording import show_command, show_detail
from consensus_bench.report.page import Section, Table
from consensus_bench.report.spacetime import write_space_time
from consensus_bench.report.writing import write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consensus_bench.attacks.attack import Finding, Outcome
    from consensus_bench.exploration.trace import Trace

COLUMNS: Final = ("assumption", "protocol", "what falls", "steps", "control")
WIDEST: Final = 16
"""Steps that a diagram can show at 1200 pixels and still be read."""


def table_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """One row an attack, for a terminal and for the report."""
    return [
        [
            outcome.attack.assumption,
            outcome.attack.protocol,
            what_falls(outcome.found) + ("" if _expected(outcome) else f" (expected: {outcome.attack.expected})"),
            "" if outcome.found.steps is None else str(outcome.found.steps),
            outcome.control.verdict,
        ]
        for outcome in outcomes
    ]


def _expected(outcome: Outcome) -> bool:
    return outcome.found.verdict == outcome.attack.expected


def what_falls(found: Finding) -> str:
    """The verdict, and the property; of a protocol's own invariants the one that is broken."""
    if found.falls == OWN_INVARIANTS:
        return f"{found.verdict}: {found.detail}"
    return f"{found.verdict}: {found.falls}" if found.falls else found.verdict


def words(trace: Trace) -> list[str]:
    """The steps of a trace, one sentence each, without starts and messages of a replica to itself."""
    lines = []
    for step in trace.steps:
        if step.kind == "start" or step.own:
            continue
        did = [f"it now takes {show_command(c.command)} to be chosen" for c in step.committed]
        if step.kind == "crash":
            kept = ", ".join(f"{key} = {value}" for key, value in step.disk.items())
            did.append(f"on its disk: {kept or 'nothing'}")
        lines.append(step.text + (f"; {'; '.join(did)}" if did else ""))
    return lines


def write_attack_report(outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write ``report.html``, ``report.md``, ``figures/`` and ``traces/``; returns the HTML's path."""
    import matplotlib as mpl

    from consensus_bench.exploration.trace import write_trace

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    for outcome in outcomes:
        picture = picture_of(outcome.found)
        if picture is not None:
            name = outcome.attack.name
            drawn[name] = write_space_time(picture, folder / "figures", name, outcome.attack.story)
        if outcome.found.trace is not None:
            write_trace(folder / "traces" / f"{outcome.attack.name}.json", outcome.found.trace)
    parts = [_summary(outcomes), *map(_section, outcomes)]
    return write_page(folder, "Attacks: what each assumption is for", parts, drawn)


def picture_of(found: Finding) -> Trace | None:
    """What is drawn of an attack: nothing, where it has too many steps to be read."""
    if found.picture is not None:
        return found.picture
    return found.trace if found.trace is not None and found.trace.length <= WIDEST else None


def _summary(outcomes: Sequence[Outcome]) -> Section:
    good = sum(outcome.as_expected for outcome in outcomes)
    text = [
        f"{good} of {len(outcomes)} attacks end as expected, with a green control.",
        "Each attack takes one assumption away by the smallest change to the code that is benchmarked, or by a switch "
        "of the simulated world. The verdicts are those of the verification that judges every benchmark. The control "
        "is the same schedule, and the same exploration as deep as the attack went, with the assumption in place.",
    ]
    return Section("summary", "The table", text, [Table("", list(COLUMNS), table_rows(outcomes), texts=3)])


def _section(outcome: Outcome) -> Section:
    attack, found, control = outcome.attack, outcome.found, outcome.control
    text = [
        f"Assumption: {attack.assumption}. It carries: {attack.guarantee}.",
        f"Removed by: {attack.change}.",
        f"Verdict: {what_falls(found)}" + (f", in {found.steps} steps." if found.steps else "."),
        f"{show_detail(found.detail)}." if found.detail else "",
        f"Control: {control.verdict}; {control.detail}.",
        f"Source: {attack.source}.",
        f"In production: {attack.incident}." if attack.incident else "",
    ]
    tables = []
    if found.trace is not None:
        rows = [[str(number), line] for number, line in enumerate(words(found.trace), 1)]
        tables.append(Table("The execution, step by step", ["", "what happens"], rows, texts=2))
    figures = [(attack.name, f"{attack.name}, as a space-time diagram")]
    return Section(attack.name, attack.name, [line for line in text if line], tables, figures)
