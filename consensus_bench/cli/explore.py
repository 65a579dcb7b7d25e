"""``consensus-bench explore PROTOCOL``: every reachable state of a small configuration of the real protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from consensus_bench.cli.folders import make_folder
from consensus_bench.cli.options import given
from consensus_bench.contract.errors import ConfigError, PropertyViolated

if TYPE_CHECKING:
    from consensus_bench.exploration.exhaustive.bounds import Bounds
    from consensus_bench.exploration.exhaustive.campaign import Report
    from consensus_bench.exploration.trace import Trace, Violation

_MODES = (
    "walks",
    "steps",
    "seed",
    "jobs",
    "properties",
    "settings",
    "trace_file",
    "replay_file",
    "after",
    "as_json",
    "protocol",
)


@click.command("explore")
@click.argument("protocol", required=False)
@click.option("--replicas", type=int, default=3, show_default=True)
@click.option(
    "--proposers", type=int, default=2, show_default=True, help="Replicas that clients ask and whose timers fire."
)
@click.option("--commands", type=int, default=2, show_default=True, help="Each of a client of its own, all on one key.")
@click.option("--reads", type=int, default=0, show_default=True, help="How many of the commands only read.")
@click.option(
    "--requests",
    type=click.Choice(["spread", "anywhere"]),
    default="spread",
    show_default=True,
    help="Command i is asked of proposer i modulo proposers, or of any and several.",
)
@click.option("--ballots", type=int, default=2, show_default=True, help="Ballots begun in all; Raft: the last term.")
@click.option("--rounds", type=int, help="The highest round of a ballot.  [default: as high as they come]")
@click.option("--crashes", type=int, default=0, show_default=True, help="In all, each followed by a restart.")
@click.option("--damages", type=int, default=0, show_default=True, help="Crashes that damage the disk, of these.")
@click.option(
    "--order",
    "orders",
    multiple=True,
    metavar="ORDER",
    help="An operator's, once, at any replica: hand-over:REPLICA or members:REPLICA,...; may be repeated.",
)
@click.option("--timeouts", type=int, help="Timers that fire, in all.  [default: any number]")
@click.option("--timer", "timers", multiple=True, metavar="NAME", help="Only this timer fires; may be repeated.")
@click.option("--first-leader", type=int, help="The replica that leads first.  [default: time-outs decide]")
@click.option(
    "--own-messages",
    type=click.Choice(["at-once", "network"]),
    default="at-once",
    show_default=True,
    help="How messages of a replica to itself arrive.",
)
@click.option("--lost", multiple=True, metavar="MESSAGE", help="None of this type arrives; may be repeated.")
@click.option("--depth", type=int, help="Steps of an execution, at most.")
@click.option("--states", type=int, default=5_000_000, show_default=True, help="Distinct states, at most.")
@click.option("--after", metavar="FILE[:STEPS]", help="Begin where a trace ends, or after so many of its steps.")
@click.option("--walks", type=int, help="Instead: this many random walks.")
@click.option("--steps", type=int, default=200, show_default=True, help="Steps of a random walk.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random walks.")
@click.option("--jobs", type=int, default=0, help="Processes for random walks.  [default: one a core]")
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Only this one of its mood.")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the protocol.")
@click.option(
    "--trace",
    "trace_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where a violation's trace goes.  [default: results/runs/traces/PROTOCOL-PROPERTY.json]",
)
@click.option(
    "--replay", "replay_file", type=click.Path(path_type=Path), metavar="FILE", help="Run a trace again instead."
)
@click.option(
    "--world",
    type=click.Choice(["explorer", "simulator"]),
    default="explorer",
    show_default=True,
    help="With --replay: in the simulator too, which must end in the same state.",
)
@click.option("--draw", is_flag=True, help="Draw the trace too: a space-time diagram, SVG and PNG, beside the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def command(ctx: click.Context, /, **flags: Any) -> None:
    """Visit every reachable state of PROTOCOL (a name, or FILE.py:CLASS) in a bounded configuration: messages are lost,
    duplicated and reordered, timers fire at any moment, replicas crash and restart from their disks.

    Exit status: 0 all properties hold, 1 one is violated or was never reached, 2 bad input, 3 the bound on states was
    reached, or the search interrupted.
    """  # fmt: skip
    simulator, draw = flags.pop("world") == "simulator", flags.pop("draw")
    if flags["replay_file"] is not None:
        _refuse(ctx, [name for name in flags if name != "replay_file"], "--replay: nothing is explored then")
        _replay(flags["replay_file"], simulator, draw)
        return
    if simulator:
        raise ConfigError("--world simulator: goes with --replay FILE; the search is the explorer's")
    if flags["protocol"] is None:
        raise ConfigError("explore: name a PROTOCOL (see `consensus-bench list`), or give --replay FILE")
    from consensus_bench.exploration.exhaustive.bounds import Bounds
    from consensus_bench.exploration.exhaustive.campaign import explore
    from consensus_bench.exploration.exhaustive.walks import Plan

    bounds = Bounds(**{name: value for name, value in flags.items() if name not in _MODES})
    if flags["trace_file"] is not None:
        make_folder("--trace", flags["trace_file"].parent)
    walks = None if flags["walks"] is None else Plan(flags["walks"], flags["steps"], flags["seed"], flags["jobs"])
    after = None if flags["after"] is None else _opening(ctx, flags["after"])
    settings = parse_settings(flags["settings"])
    report = explore(flags["protocol"], bounds, settings, flags["properties"], walks, after)
    path = _save(report, flags["trace_file"])
    if draw and report.trace is not None and path is not None:
        _draw(report.trace, path)
    if flags["as_json"]:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(_lines(report, bounds, path, after)))
    _finish(ctx, report)


def _opening(ctx: click.Context, where: str) -> tuple[Trace, int]:
    """What ``--after`` names; it says itself what other options say of an exploration from the start."""
    from consensus_bench.exploration.exhaustive.opening import read_opening

    _refuse(ctx, ["replicas", "commands", "reads", "first_leader"], "--after: the trace says which")
    return read_opening(where)


def _refuse(ctx: click.Context, names: list[str], why: str) -> None:
    """``ConfigError`` if one of the parameters ``names`` was given beside another; ``why`` not."""
    name = given(ctx, names)
    if name is not None:
        raise ConfigError(f"{name} and {why}; leave one of the two out")


def parse_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """``option=value`` pairs as a dictionary; ``ConfigError`` for what is none."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {pair}: write option=value, as in pre_vote=false")
        settings[name] = value
    return settings


def _save(report: Report, path: Path | None) -> Path | None:
    if report.trace is None:
        return None
    from consensus_bench.exploration.trace import write_trace

    violation = report.trace.violation
    property_ = "violation" if violation is None else violation.property.replace(" ", "-")
    name = report.protocol.rpartition(":")[2]
    path = path or Path("results/runs/traces") / f"{name}-{property_}.json"
    write_trace(path, report.trace)
    return path


def _draw(trace: Trace, path: Path) -> None:
    """Beside the trace's file, with its name."""
    import matplotlib as mpl

    from consensus_bench.report.spacetime import write_space_time

    mpl.use("Agg")
    write_space_time(trace, path.parent, path.stem)


def _finish(ctx: click.Context, report: Report) -> None:
    if report.trace is not None and report.trace.violation is not None:
        raise PropertyViolated(report.trace.violation.property, report.trace.violation.detail)
    if report.extent in ("state bound", "64 bits are full", "interrupted"):
        ctx.exit(3)
    if report.missing:
        raise PropertyViolated("reachable", f"{', '.join(report.missing)}: never happened, so nothing was tested by it")


def _lines(report: Report, bounds: Bounds, path: Path | None, after: tuple[Trace, int] | None) -> list[str]:
    begun = "" if after is None else f", after {_several(after[1], 'step')}"
    limits = [
        _several(bounds.replicas if after is None else after[0].replicas, "replica"),
        _several(bounds.proposers, "proposer"),
        _several(bounds.commands if after is None else len(after[0].commands), "command"),
        _several(bounds.ballots, "ballot"),
        _several(bounds.crashes, "crash", "crashes"),
    ]
    if bounds.damages:
        limits.append(_several(bounds.damages, "damaged disk"))
    if bounds.orders:
        limits.append(_several(len(bounds.orders), "order"))
    if bounds.timeouts is not None:
        limits.append(_several(bounds.timeouts, "time-out"))
    lines = [f"{report.protocol}{begun}: {', '.join(limits)}", _extent(report)]
    lines.append(
        f"{report.handler_steps:,} distinct steps ran the protocol's code, {report.left_out:,} of them beyond "
        f"the ballots; {report.transitions_per_s:,.0f} transitions/s"
    )
    if report.lagging_disks:
        lines.append("disks lag: a crash may lose a write although messages that do not wait for it have left")
    if report.trace is None:
        lines.append(f"always: {', '.join(report.always)}: hold in every state")
        lines += [f"reachable: {name}: yes" for name in report.reached]
        lines += [f"reachable: {name}: NEVER" for name in report.missing]
    else:
        given = "" if after is None else f" ({after[1]} of them given)"
        kind = "a shortest execution" if report.depth else "an execution in which every step is needed"
        lines.append(f"{kind}, {report.trace.length} steps{given}, in {path}:")
        lines += _steps(report.trace)
    return lines


def _several(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _extent(report: Report) -> str:
    counts = f"{report.states:,} distinct states, {report.transitions:,} transitions"
    if report.extent == "random walks" or (report.extent == "interrupted" and not report.levels):
        how = "interrupted, " if report.extent == "interrupted" else ""
        return (
            f"random walks, {how}not exhaustive: {report.transitions:,} steps, {report.states:,} states, distinct "
            "within a batch of walks"
        )
    if report.extent == "closed":
        return f"closed: {counts}, depth {report.depth}: every state that can be reached within the bounds"
    if report.extent == "violated":
        return f"violated after {counts}, at depth {report.depth}"
    return (
        f"NOT closed ({report.extent}): {counts}, all states up to depth {report.depth}, "
        f"{report.frontier:,} of them not expanded"
    )


def _steps(trace: Trace) -> list[str]:
    from consensus_bench.exploration.wording import show_command

    lines = []
    number = 0
    for step in trace.steps:
        if step.kind == "start":
            continue
        if step.kind != "restart" and not step.own:
            number += 1
        label = f"{number:>4}. " if step.kind != "restart" and not step.own else " " * 6
        did = [f"commits {show_command(c.command)} at {c.place}" for c in step.committed]
        if not step.durable and step.written:
            did.append("the write is lost")
        lines.append(label + step.text + (f": {'; '.join(did)}" if did else ""))
    return lines


def _replay(path: Path, simulator: bool, draw: bool, quiet: bool = False) -> None:
    """Run the trace again and say its steps; ``quiet``: nothing but what is violated, which is raised."""
    from consensus_bench.attacks.registry import judged
    from consensus_bench.contract.registry import find_protocol, make_options
    from consensus_bench.exploration.replay import replay
    from consensus_bench.exploration.trace import read_trace

    trace = read_trace(path)
    protocol = find_protocol(trace.protocol)
    execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
    if not quiet:
        click.echo(f"{path}: {len(trace.steps)} steps of {trace.protocol}, each as recorded")
    if draw:
        _draw(trace, path)
    if not quiet:
        click.echo("\n".join(_steps(trace)))
    if simulator:
        _replay_in_simulator(path, trace, execution.violation)
    violation = execution.violation or judged(trace, execution)
    if violation != trace.violation and (violation is None or trace.violation is None):
        found, recorded = (v.property if v else "nothing" for v in (violation, trace.violation))
        raise ConfigError(f"{path}: {found} is violated, but the trace says {recorded}")
    if violation is not None:
        raise PropertyViolated(violation.property, violation.detail)


def _replay_in_simulator(path: Path, trace: Trace, found: Violation | None) -> None:
    from consensus_bench.experiments.trace_replay import replay_in_simulator

    replayed = replay_in_simulator(trace)
    names = [violation.property if violation else "nothing" for violation in (replayed.violation, found)]
    differences = [*replayed.differences]
    if names[0] != names[1]:
        differences.append(f"the simulator finds {names[0]} violated, the explorer {names[1]}")
    if differences:
        raise PropertyViolated("same state in both worlds", f"{path}: {'; '.join(differences)}")
    click.echo("in the simulator: the same steps, and the same replicas, disks and timers in the end")
