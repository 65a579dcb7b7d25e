"""``consensus-bench elections``: how long it takes to elect a leader, and nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consensus_bench.contract.errors import ConfigError

if TYPE_CHECKING:
    from consensus_bench.experiments.elections import Outcome

_RANGES = ("election_timeout", "vote_write", "candidate_write")
_HOW = ("out", "jobs", "as_json", "quiet")


@click.command("elections")
@click.option("--protocol", default="raft", show_default=True, help="raft, multi-paxos, or FILE.py:CLASS.")
@click.option("--servers", type=int, help="How many there are, those that are down included.  [default: 5]")
@click.option("--down", type=int, default=1, show_default=True, help="Servers that are down, the old leader included.")
@click.option(
    "--one-way",
    metavar="constant:MS|uniform:LOW,HIGH",
    help="One-way delay of a message, ms.  [default: uniform:30,40]",
)
@click.option("--topology", metavar="NAME|FILE", help="Delays of a latency matrix instead.  [default: aws-2025]")
@click.option("--sites", metavar="SITE,...", help="One server each; the last ones are those that are down.")
@click.option("--election-timeout", metavar="LOW,HIGH", default="300,600", show_default=True, help="ms.")
@click.option(
    "--logs",
    metavar="equal|staggered",
    default="equal",
    show_default=True,
    help="Staggered: each survivor's log is longer than that of the one before.",
)
@click.option("--vote-write", metavar="LOW,HIGH", default="0,0", show_default=True, help="A voter's disk write, ms.")
@click.option(
    "--candidate-write", metavar="LOW,HIGH", default="0,0", show_default=True, help="A candidate's disk write, ms."
)
@click.option(
    "--since",
    metavar="last-heartbeat|crash",
    default="",
    help="When the time begins; a crash comes at random within a heartbeat interval after the last heartbeat.  "
    "[default: last-heartbeat with equal logs, crash with staggered ones]",
)
@click.option("--trials", type=int, default=1000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the protocol.")
@click.option("--jobs", type=int, default=0, help="Processes.  [default: one for each core]")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.  [default: results/runs/<time>-elections]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but the path of the report.")
def command(**flags: Any) -> None:
    """Measure leader election alone: from the last heartbeat, or the crash, of the old leader until a candidate has the
    votes (Multi-Paxos: the promises) of a majority. docs/elections.md defines it precisely.

    \b
    consensus-bench elections --down 2 --trials 10000
    consensus-bench elections --protocol multi-paxos --one-way constant:35
    consensus-bench elections --sites us-east-1,eu-west-1,ap-northeast-1 --election-timeout 1000,2000
    """  # fmt: skip
    from consensus_bench.cli.running import _progress
    from consensus_bench.experiments.elections import Elections, prepare, run_elections
    from consensus_bench.report.elections import write_election_report

    values = {name: value for name, value in flags.items() if name not in (*_HOW, "settings")}
    for name in _RANGES:
        values[name] = _range(name, values[name])
    if values["sites"] is not None:
        values["sites"] = tuple(word.strip() for word in values["sites"].split(",") if word.strip())
        if not values["sites"]:
            raise ConfigError("--sites: names nothing; give one site for each server")
    else:
        values["sites"] = ()
    if flags["jobs"] < 0:
        raise ConfigError(f"--jobs {flags['jobs']}: must not be negative")
    prepared = prepare(Elections(**values, options=_settings(flags["settings"])))
    with _progress(flags["quiet"] or flags["as_json"]) as progress:
        outcome = run_elections(prepared, flags["out"], flags["jobs"], _again(flags), progress)
    report = write_election_report(outcome.folder)
    _tell(outcome, report, flags["as_json"], flags["quiet"])


def _range(name: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name.replace('_', '-')} {text}: write LOW,HIGH in ms, as in 150,300") from None
    return low, high


def _settings(pairs: tuple[str, ...]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {pair}: write option=value, as in pre_vote=true")
        settings[name] = value
    return settings


def _again(flags: dict[str, Any]) -> str:
    """The command that does this again."""
    words = ["consensus-bench", "elections"]
    for name, value in flags.items():
        if name == "settings":
            words += [word for pair in value for word in ("--set", pair)]
        elif name not in _HOW and value not in (None, ""):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _tell(outcome: Outcome, report: Path, as_json: bool, quiet: bool) -> None:
    import json

    from consensus_bench.experiments.elections import summary

    numbers = summary(outcome.elect_ms)
    if as_json:
        manifest = json.loads((outcome.folder / "manifest.json").read_text(encoding="utf-8"))
        said = {"folder": str(outcome.folder), "report": str(report), "command": manifest["command"],
                "scenario": manifest["scenario"], "summary": numbers}  # fmt: skip
        click.echo(json.dumps(said, indent=1))
        return
    if not quiet:
        for name, value in numbers.items():
            shown = "none" if value is None else f"{value:,.1f} ms" if isinstance(value, float) else f"{value:,}"
            click.echo(f"{name.replace('_', ' '):<15}{shown:>14}")
    again = " (finished before: nothing was run)" if outcome.reused and not quiet else ""
    click.echo(f"{report}{again}")
