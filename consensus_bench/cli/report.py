"""``consensus-bench report DIR…``: the report of finished runs, again or together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    from rich.console import Console

    Write: TypeAlias = Callable[[Path], Path]
    Print: TypeAlias = Callable[[Path, Console], None]


@click.command("report")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", metavar="DIR", help="Where to write; needed for several runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but the report's path.")
def command(folders: tuple[str, ...], out: str | None, as_json: bool, quiet: bool) -> None:
    """Make the report of a finished run again, or of several comparisons side by side.

    \b
    consensus-bench report results/reference
    consensus-bench report results/runs/a results/runs/b --out results/runs/a-and-b
    """
    from consensus_bench.contract import ConfigError
    from consensus_bench.report import load, write_comparison

    write_report, print_summary = _reporter(Path(folders[0])) if len(folders) == 1 else _comparison()
    if len(folders) > 1 or out is not None:
        for folder in folders:
            load(folder)
    if len(folders) == 1 and out is None:
        path = write_report(Path(folders[0]))
    elif out is not None and Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    elif out is None:
        raise ConfigError("report: several runs need a folder for their common report: give --out DIR")
    elif (Path(out) / "manifest.json").exists():
        raise ConfigError(f"--out {out}: holds a run of its own; give another folder")
    else:
        path = write_comparison(folders, out)
    if as_json:
        click.echo(json.dumps({"report": str(path), "runs": [str(Path(folder)) for folder in folders]}))
        return
    if not quiet and len(folders) == 1:
        from rich.console import Console

        print_summary(Path(folders[0]), Console(soft_wrap=True))
    click.echo(str(path))


def _reporter(folder: Path) -> tuple[Write, Print]:
    """What writes and prints the report of the kind of run in ``folder``."""
    from consensus_bench.experiments.parts import finished

    kind = (finished(folder) or {}).get("kind")
    if kind == "failover":
        from consensus_bench.report.failover import print_failover, write_failover_report

        return write_failover_report, print_failover
    if kind == "elections":
        from consensus_bench.report.elections import write_election_report

        return write_election_report, lambda _folder, _console: None
    return _comparison()


def _comparison() -> tuple[Write, Print]:
    from consensus_bench.report import print_summary, write_report

    return write_report, print_summary
