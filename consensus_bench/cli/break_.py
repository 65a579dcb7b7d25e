"""``consensus-bench break``: take one assumption away and see what falls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consensus_bench.cli.folders import make_folder
from consensus_bench.contract.errors import ConfigError, PropertyViolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consensus_bench.attacks.attack import Outcome


@click.command("break")
@click.argument("name", required=False)
@click.option("--list", "as_list", is_flag=True, help="List the attacks.")
@click.option("--all", "everything", is_flag=True, help="Run all of them.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report, the diagrams and the traces.",
)
def command(name: str | None, as_list: bool, everything: bool, out: Path | None) -> None:
    """Take one assumption away and see which guarantee falls; then the control: the same with the assumption in place.

    Exit status: 0 every verdict is the expected one and every control is green, 1 not so, 2 bad input.

    \b
    consensus-bench break --list
    consensus-bench break promise-not-on-disk
    consensus-bench break --all --out results/break
    """  # fmt: skip
    from consensus_bench.attacks.registry import ATTACKS, find_attack, run_attacks

    if sum((as_list, everything, name is not None)) != 1:
        raise ConfigError("break: give the NAME of an attack, or --all, or --list")
    if as_list:
        if out is not None:
            raise ConfigError("--out: --list writes nothing")
        width = max(map(len, ATTACKS))
        for attack in ATTACKS.values():
            click.echo(f"{attack.name:<{width}}  {attack.protocol:<11}  {attack.expected:<15}  {attack.assumption}")
        return
    if out is not None and (out / "manifest.json").exists():
        raise ConfigError(f"--out {out}: holds a different run; choose another folder or remove this one")
    chosen = list(ATTACKS.values()) if name is None else [find_attack(name)]
    if out is not None:
        make_folder("--out", out)
    jobs = min(len(chosen), os.cpu_count() or 1)
    outcomes = run_attacks(chosen, _tell if everything else _tell_all, jobs)
    if everything:
        _table(outcomes)
    if out is not None:
        from consensus_bench.report.attacks import write_attack_report

        click.echo(write_attack_report(outcomes, out))
    wrong = [outcome.attack.name for outcome in outcomes if not outcome.as_expected]
    if wrong:
        raise PropertyViolated("attack", f"not as expected, or the control is not green: {', '.join(wrong)}")


def _tell(outcome: Outcome) -> None:
    mark = "as expected" if outcome.as_expected else "NOT AS EXPECTED"
    click.echo(f"{outcome.attack.name:<42} {outcome.found.verdict:<16} {mark}, {outcome.seconds:.1f} s")


def _tell_all(outcome: Outcome) -> None:
    from consensus_bench.exploration.wording import show_detail
    from consensus_bench.report.attacks import what_falls, words

    attack, found, control = outcome.attack, outcome.found, outcome.control
    click.echo(f"{attack.name} ({attack.protocol})")
    click.echo(f"assumption: {attack.assumption}\nguarantee:  {attack.guarantee}\nremoved by: {attack.change}")
    if found.trace is not None:
        for number, line in enumerate(words(found.trace), 1):
            click.echo(f"{number:>4}. {line}")
    click.echo(f"verdict:    {what_falls(found)}" + (f" in {found.steps} steps" if found.steps else ""))
    click.echo(f"            {show_detail(found.detail)}")
    click.echo(f"control:    {control.verdict}: {control.detail}")
    if not outcome.as_expected:
        click.echo(f"expected:   {attack.expected}, and a control where both hold")


def _table(outcomes: Sequence[Outcome]) -> None:
    from consensus_bench.report.attacks import COLUMNS, table_rows

    rows = [list(COLUMNS), *table_rows(outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    click.echo("")
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
