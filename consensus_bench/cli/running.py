"""Runs a scenario from the command line: progress, the report, what is printed, the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from consensus_bench.experiments.comparison import Outcome
    from consensus_bench.experiments.runner import Progress


def run_and_report(data: dict[str, Any], where: str, as_json: bool, quiet: bool) -> int:
    """Run the scenario that ``data`` describes (``where``: the file it is from), write the report, tell the user; the
    exit status."""
    from consensus_bench.experiments.comparison import run_prepared
    from consensus_bench.experiments.scenario import make_scenario
    from consensus_bench.experiments.setup import prepare
    from consensus_bench.report import print_summary, write_report

    setup = prepare(make_scenario(data, where), where)
    return tell(lambda progress: run_prepared(setup, progress), write_report, print_summary, as_json, quiet)


def tell(
    run: Callable[[Progress], Outcome],
    write_report: Callable[[Path], Path],
    print_summary: Callable[[Path, Console], None],
    as_json: bool,
    quiet: bool,
) -> int:
    """Run something, write its report, tell the user; the exit status."""
    from consensus_bench.experiments.comparison import Interrupted

    try:
        with _progress(quiet or as_json) as progress:
            outcome = run(progress)
    except Interrupted as stop:
        shown = (stop.folder / "manifest.json").exists()
        hint = f"; `consensus-bench report {stop.folder}` shows what there is" if shown else ""
        click.echo(f"interrupted: {stop}; the same command goes on from there{hint}", err=True)
        return 130
    write_report(outcome.folder)
    report = outcome.folder / "report.html"
    if as_json:
        click.echo(_as_json(outcome, report))
    elif quiet:
        click.echo(str(report))
    else:
        _print_summary(outcome, report, print_summary)
    for violation in outcome.violations:
        where = f"{violation.protocol}, seed {violation.seed}, {violation.purpose}"
        click.echo(f"violated: {violation.property}: {where}: {violation.detail}; again: {violation.replay}", err=True)
    for line in outcome.undecided:
        click.echo(f"not decided: {line}", err=True)
    return 0 if outcome.ok else 1


def _print_summary(outcome: Outcome, report: Path, print_summary: Callable[[Path, Console], None]) -> None:
    from rich.console import Console

    print_summary(outcome.folder, Console(soft_wrap=True))
    again = " (finished before: nothing was run)" if outcome.reused else ""
    click.echo(f"{report}{again}")


def _as_json(outcome: Outcome, report: Path) -> str:
    import csv
    import json

    with (outcome.folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]
    manifest = json.loads((outcome.folder / "manifest.json").read_text(encoding="utf-8"))
    summary = {
        "folder": str(outcome.folder),
        "report": str(report),
        "ok": outcome.ok,
        "command": manifest["command"],
        "seeds": manifest["seeds"],
        "leaders": manifest.get("leaders"),
        "runs": outcome.runs,
        "violations": [{name: getattr(v, name) for name in v.__struct_fields__} for v in outcome.violations],
        "not_decided": outcome.undecided,
        "summary": [row for row in rows if row["seed"] == "ALL"],
    }
    return json.dumps(summary, indent=1)


def _number(text: str) -> str | int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _silent(_finished: int, _planned: int, _share: float) -> None:
    """No bar."""


@contextmanager
def _progress(hidden: bool) -> Iterator[Progress]:
    """A bar with the time left on a terminal's standard error; nothing in a pipe."""
    if hidden or not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[runs]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating", total=1.0, runs="")

        def update(finished: int, planned: int, share: float) -> None:
            bar.update(task, completed=share, runs=f"{finished} of {planned} runs")

        yield update
