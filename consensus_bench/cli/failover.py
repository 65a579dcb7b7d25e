"""``consensus-bench failover``: when the leader (or any replica, site or cable) dies, who waits how long?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consensus_bench.cli.options import SWEEPS, adapt, changes_from_flags, scenario_options
from consensus_bench.cli.running import tell
from consensus_bench.contract.errors import ConfigError

if TYPE_CHECKING:
    from consensus_bench.experiments.comparison import Outcome
    from consensus_bench.experiments.runner import Progress

_RENAMED = {"election_timeout": "election_timeout_ms", "heartbeat": "heartbeat_ms"}


@click.command("failover")
@click.argument("scenario", required=False, type=click.Path(path_type=Path))
@click.option("--at", type=float, help="When the fault begins, simulated seconds.  [default: 5]")
@click.option("--restart-after", type=float, help="When it is over again, seconds later.  [default: never]")
@click.option("--trials", type=int, help="Of each fault under each protocol.  [default: 100]")
@click.option("--election-timeout", metavar="LOW,HIGH", help="Of every protocol, ms.  [default: 1000,2000]")
@click.option("--heartbeat", type=float, help="Of every protocol, ms.  [default: 100]")
@click.option(
    "--background",
    metavar="KIND:TARGET",
    multiple=True,
    help="What is wrong all the time, as lossy-link:all,rate=0.01; may be repeated.",
)
@click.option(
    "--reroute",
    "reroutes",
    metavar="SITE=SITE",
    multiple=True,
    help="Where a site's clients turn to when their replica is silent.  [default: the nearest other]",
)
@scenario_options
@click.pass_context
def command(ctx: click.Context, /, scenario: Path | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Try a fault under load, many times, under every protocol: who waits how long, and is anything lost?

    The fault (--fault, may be repeated) is crash-leader, crash-site:SITE, pause:leader, partition:leader|*, ... as in
    docs/faults.md; without a time it comes at --at. A protocol without a leader loses the replica at the place where
    the others' leader is.

    SCENARIO: a file (TOML) with kind = "failover" and the flags' names as keys; every study leaves one in its folder.
    Flags go over what it says.

    \b
    consensus-bench failover
    consensus-bench failover --fault crash-leader --fault pause:leader --restart-after 5 --trials 20
    consensus-bench failover --fault crash-site:eu-west-1 --election-timeout 500,1000 --heartbeat 50

    Exit status: 0; 1 a guarantee was violated; 2 bad input; 130 interrupted (the same command goes on from there).
    """  # fmt: skip
    from consensus_bench.experiments.scenario import merged, read_toml

    given = {} if scenario is None else read_toml(scenario)
    where = "" if scenario is None else f"scenario {scenario}"
    ctx.exit(run_and_report(merged(given, _changes(flags)), where, as_json, quiet))


def run_and_report(data: dict[str, Any], where: str, as_json: bool, quiet: bool) -> int:
    """Run the study that ``data`` describes (``where``: the file it is from), write the report, tell the user; the exit
    status."""
    from consensus_bench.experiments.failover import prepare_failover
    from consensus_bench.experiments.failover_folder import run_failover
    from consensus_bench.report.failover import print_failover, write_failover_report

    setup = prepare_failover(data, where)

    def run(progress: Progress) -> Outcome:
        return run_failover(setup, progress)

    return tell(run, write_failover_report, print_failover, as_json, quiet)


adapt(
    command,
    hidden=(*SWEEPS, "nemesis"),
    defaults={"clients": "4", "seeds": "--trials", "duration": "20", "client_timeout": "3000"},
)


def _changes(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as keys of a scenario."""
    flags = dict(flags)
    for name in SWEEPS:
        given = flags.pop(name)
        if given is not None and given is not False:
            raise ConfigError(f"--{name.replace('_', '-')}: failover has no sweeps; leave it out")
    trials, reroutes, timeout = (flags.pop(name) for name in ("trials", "reroutes", "election_timeout"))
    changes = changes_from_flags({_RENAMED.get(name, name): value for name, value in flags.items()})
    if trials is not None:
        if "seeds" in changes:
            raise ConfigError(f"--trials {trials} and --seeds: give one of the two")
        changes["seeds"] = trials
    if timeout is not None:
        changes["election_timeout_ms"] = _range(timeout)
    if reroutes:
        changes["reroute"] = dict(_pair(text) for text in reroutes)
    return changes


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--election-timeout {text}: write LOW,HIGH in ms, as in 1000,2000") from None
    return low, high


def _pair(text: str) -> tuple[str, str]:
    site, equals, other = (part.strip() for part in text.partition("="))
    if not (site and equals and other):
        raise ConfigError(f"--reroute {text}: write SITE=SITE, as in us-east-1=eu-west-1")
    return site, other
