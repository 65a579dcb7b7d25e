"""``consensus-bench report DIR…``: the report of finished runs, again or together."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("report")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@click.option("--out", metavar="DIR", help="Where to write; needed for several runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but the report's path.")
def command(folders: tuple[str, ...], out: str | None, as_json: bool, quiet: bool) -> None:
    """Make the report of a finished run again, or of several runs side by side.

    \b
    consensus-bench report results/reference
    consensus-bench report results/runs/a results/runs/b --out results/runs/a-and-b
    """
    from consensus_bench.contract import ConfigError
    from consensus_bench.report import load, print_summary, write_comparison, write_report

    for folder in folders:
        load(folder)
    if len(folders) == 1 and out is None:
        path = write_report(folders[0])
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

        print_summary(folders[0], Console(soft_wrap=True))
    click.echo(str(path))
