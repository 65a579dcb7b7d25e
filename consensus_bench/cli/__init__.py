"""The command line: ``consensus-bench COMMAND``.

One module a command, loaded only when it is called, so that ``--help`` and completion stay fast. Exit status 0, 1 (a
guarantee was violated), 2 (bad input, one line on standard error), 3 (a checker could not decide).
"""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword

import click

from consensus_bench.contract.errors import ConfigError, PropertyViolated

COMMANDS = {
    "compare": "Run protocols through the same workload, verify every run, write a report.",
    "run": "Run a scenario file (TOML).",
    "report": "Make the report of finished runs again, or of several together.",
    "failover": "Try a fault many times under every protocol: who waits how long?",
    "elections": "Measure leader election alone: how long until a candidate has its majority.",
    "soak": "Run a protocol through random scenarios full of faults: is anything lost?",
    "topology": "Print and draw a latency matrix: heat map, world map, speed of light.",
    "explore": "Visit every reachable state of a small configuration of a protocol.",
    "liveness": "Can Basic Paxos go on for ever and choose nothing? Under which fairness?",
    "break": "Take one assumption away: which guarantee falls?",
    "check-history": "Judge a recorded history: is it linearizable?",
    "list": "List protocols, topologies, workloads and profiles.",
    "completion": "Print the shell completion script for bash, zsh or fish.",
}


class _LazyGroup(click.Group):
    """Finds ``consensus_bench.cli.<command>.command`` on demand; help lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # not list(): that is a module of this package

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"consensus_bench.cli.{name}{'_' if iskeyword(name) else ''}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(cls=_LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consensus-bench")
def group() -> None:
    """A laptop-sized laboratory for consensus: Multi-Paxos, Raft and EPaxos on a measured planet."""


def main() -> None:
    """Entry point: turns errors into one line and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to lose the rest
    try:
        status = group.main(prog_name="consensus-bench", standalone_mode=False)
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except click.UsageError as error:
        about = error.ctx.command_path if error.ctx else "consensus-bench"
        message = " ".join(error.format_message().split())  # one line: click lists choices below each other
        click.echo(f"error: {message.rstrip('.')}; see `{about} --help`", err=True)
        status = 2
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        status = 2
    except PropertyViolated as violation:
        click.echo(f"violated: {violation}", err=True)
        status = 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: finished runs are kept; the same command goes on from there", err=True)
        status = 130
    sys.exit(status if isinstance(status, int) else 0)
