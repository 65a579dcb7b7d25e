"""``consensus-bench run SCENARIO.toml``: the comparison that a file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from consensus_bench.cli.options import changes_from_flags, scenario_options
from consensus_bench.cli.running import run_and_report


@click.command("run")
@click.argument("scenario", type=click.Path(path_type=Path))
@scenario_options
@click.pass_context
def command(ctx: click.Context, /, scenario: Path, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Run the comparison that the file SCENARIO (TOML) describes; flags go over what it says.

    Its keys are the flags' names with '_' for '-' (durations in simulated seconds, client_timeout_ms, local_rtt_ms),
    a table [workload] with preset, clients, rate, conflict, reads, size and the rest of a workload's settings, and a
    table [options.PROTOCOL] each. Every run leaves such a file, scenario.toml, in its folder. If it says
    kind = "failover" it is a study of `consensus-bench failover`, with more keys: at, restart_after, background,
    reroute (a table), election_timeout_ms, heartbeat_ms.
    """
    from consensus_bench.cli import failover
    from consensus_bench.experiments.failover import is_failover
    from consensus_bench.experiments.scenario import merged, read_toml

    given = read_toml(scenario)
    run = failover.run_and_report if is_failover(given) else run_and_report
    ctx.exit(run(merged(given, changes_from_flags(flags)), f"scenario {scenario}", as_json, quiet))
