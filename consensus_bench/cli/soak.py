"""``consensus-bench soak``: seeded random scenarios full of faults, and nothing may be lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consensus_bench.experiments.soak import Outcome


@click.command("soak")
@click.argument("protocol", metavar="PROTOCOL|FILE")
@click.option("--runs", type=int, default=200, show_default=True, help="Scenarios, each drawn from a seed of its own.")
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed; the others follow it.")
@click.option("--replicas", type=int, help="In all runs, instead of drawn.")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="The same for a protocol's option.")
@click.option("--shrink", type=int, default=2, show_default=True, help="Make so many failures small.")
@click.option("--jobs", type=int, default=0, help="Processes.  [default: one for each core]")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.  [default: results/runs/<time>-soak-PROTOCOL]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the folder, or what is violated.")
def command(
    protocol: str,
    runs: int,
    seed: int,
    replicas: int | None,
    settings: tuple[str, ...],
    shrink: int,
    jobs: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run PROTOCOL (a name or FILE.py:CLASS) through random scenarios: place, size, load, options, rates of faults and
    the faults themselves are drawn from the seed. Then the faults end, for a majority at least, which must converge and
    serve. Each seed also has random schedules of the protocol alone. A failure is shrunk to a scenario file or to the
    steps that suffice; give such a FILE.toml or FILE.json instead to judge it again. docs/soak.md says what is drawn.
    Exit status 1: something was lost.

    \b
    consensus-bench soak raft --runs 2000
    consensus-bench soak epaxos --seed 17 --runs 1
    consensus-bench soak mine.py:MyProtocol --replicas 3 --set window=1
    """  # fmt: skip
    from consensus_bench.cli.elections import _settings
    from consensus_bench.cli.running import _progress
    from consensus_bench.contract.errors import ConfigError
    from consensus_bench.experiments.comparison import Interrupted
    from consensus_bench.experiments.soak import Soak, run_soak
    from consensus_bench.report.soak import draw_failure

    if protocol.endswith((".toml", ".json")):
        _refuse_what_a_file_says()
        return _replay(Path(protocol), quiet) if protocol.endswith(".toml") else _replay_trace(Path(protocol), quiet)
    if protocol.endswith(".txt"):
        raise ConfigError(f"{protocol}: a transcript is to be read; its third line says how to repeat the run")
    if jobs < 0:
        raise ConfigError(f"--jobs {jobs}: must not be negative")
    soak = Soak(protocol=protocol, runs=runs, seed=seed, replicas=replicas, options=_settings(settings), shrink=shrink)
    try:
        with _progress(quiet or as_json) as progress:
            outcome = run_soak(soak, out, jobs, progress)
    except Interrupted as stop:
        click.echo(f"interrupted: {stop}; the same command goes on from there", err=True)
        return 130
    for failure in outcome.failures:
        if failure.file and not outcome.reused:
            draw_failure(outcome.folder / failure.file)
    _tell(soak.command(), outcome, as_json, quiet)
    return 1 if outcome.failures else 3 if outcome.undecided else 0


def _tell(command: str, outcome: Outcome, as_json: bool, quiet: bool) -> None:
    import json

    import msgspec

    if as_json:
        said = {
            "folder": str(outcome.folder), "ok": not outcome.failures, "command": command, "runs": outcome.runs,
            "summary": outcome.summary, "violations": msgspec.to_builtins(outcome.failures),
            "not_decided": outcome.undecided,
        }  # fmt: skip
        click.echo(json.dumps(said, indent=1))
    elif quiet:
        click.echo(str(outcome.folder))
    else:
        names = (
            "runs",
            "violations",
            "not_decided",
            "operations",
            "faults",
            "elections",
            "schedules",
            "longest_wait_ms",
        )
        for name in names:
            click.echo(f"{name.replace('_', ' '):<16}{outcome.summary[name]:>14,}")
        again = " (finished before: nothing was run)" if outcome.reused else ""
        click.echo(f"{outcome.folder / 'summary.md'}{again}")
    for failure in outcome.failures:
        line = f"violated: {failure.property}: seed {failure.seed}: {failure.detail}; again: {failure.replay}"
        if failure.file:
            line += f"; {failure.suffices()}: {outcome.folder / failure.file}"
        click.echo(line, err=True)
    for line in outcome.undecided:
        click.echo(f"not decided: {line}", err=True)


def _refuse_what_a_file_says() -> None:
    """A FILE is judged as it is: what asks for something else is not passed over in silence."""
    from consensus_bench.cli.options import given
    from consensus_bench.contract.errors import ConfigError

    context = click.get_current_context()
    name = given(context, context.params.keys() - {"protocol", "quiet"})
    if name is not None:
        raise ConfigError(f"{name}: goes with a PROTOCOL; a FILE is judged as it is")


def _replay_trace(path: Path, quiet: bool) -> int:
    from consensus_bench.cli.explore import _replay

    _replay(path, simulator=False, draw=False, quiet=quiet)  # raises what is violated
    if not quiet:
        click.echo("nothing is violated")
    return 0


def _replay(path: Path, quiet: bool) -> int:
    from consensus_bench.experiments.soak import replay, schedule

    scenario, verdicts = replay(path)
    if not quiet:
        for line in schedule(scenario):
            click.echo(line)
    for verdict in verdicts:
        if verdict.property:
            click.echo(f"violated: {verdict.property}: seed {verdict.seed}: {verdict.detail}", err=True)
        elif verdict.undecided:
            click.echo(f"not decided: seed {verdict.seed}: {verdict.undecided}", err=True)
        elif not quiet:
            click.echo(f"seed {verdict.seed}: nothing lost among {verdict.operations} operations")
    if any(verdict.property for verdict in verdicts):
        return 1
    return 3 if any(verdict.undecided for verdict in verdicts) else 0
