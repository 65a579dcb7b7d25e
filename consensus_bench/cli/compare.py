"""``consensus-bench compare``: protocols through the same workload on the same planet."""

from __future__ import annotations

from typing import Any

import click

from consensus_bench.cli.options import changes_from_flags, scenario_options
from consensus_bench.cli.running import run_and_report


@click.command("compare")
@scenario_options
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Run protocols through the same workload, verify every run, write a report.

    Without flags: Multi-Paxos, Raft and EPaxos at five AWS regions with measured latencies.

    \b
    consensus-bench compare --sites us-east-1,us-west-2,eu-west-1 --conflict 10
    consensus-bench compare --protocols raft,my/protocol.py:MyProtocol
    consensus-bench compare --protocols epaxos,old=epaxos --set old.rules=sosp13

    Exit status: 0; 1 a guarantee was violated; 2 bad input; 130 interrupted (the same command goes on from there).
    """
    ctx.exit(run_and_report(changes_from_flags(flags), "", as_json, quiet))
