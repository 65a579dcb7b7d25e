"""``consensus-bench liveness PROTOCOL``: can it go on for ever without reaching its goal, and under which fairness?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from consensus_bench.cli.explore import parse_settings
from consensus_bench.cli.folders import make_folder
from consensus_bench.contract.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consensus_bench.exploration.exhaustive.fairness import Lasso
    from consensus_bench.exploration.exhaustive.liveness import Edge, Graph
    from consensus_bench.exploration.exhaustive.repetition import Repetition

NEVER = {"chosen": "nothing may ever be chosen", "elected": "nobody may ever be elected"}
AT_LAST = {"chosen": "something is chosen", "elected": "somebody is elected"}


@click.command("liveness")
@click.argument("protocol", default="basic-paxos")
@click.option("--replicas", type=int, default=3, show_default=True)
@click.option(
    "--proposers", type=int, default=2, show_default=True, help="Replicas that clients ask and whose time-outs fire."
)
@click.option(
    "--timers",
    type=click.Choice(["patient", "any"]),
    default="patient",
    show_default=True,
    help="A time-out exceeds a round trip, or fires at any moment.",
)
@click.option(
    "--network",
    type=click.Choice(["any", "fifo"]),
    default="any",
    show_default=True,
    help="The order in which the messages of a link arrive.",
)
@click.option("--window", type=int, default=2, show_default=True, help="How many successive rounds may be in use.")
@click.option("--ballots", type=int, help="The last round there is.  [default: unbounded, equal up to a shift]")
@click.option("--fairness", "names", multiple=True, metavar="NAME", help="Only this assumption; may be repeated.")
@click.option("--states", type=int, default=200_000, show_default=True, help="Distinct states, at most.")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="An option of the protocol.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write verdicts.txt, verdicts.json, and the cycle: lasso.json (a trace), lasso.svg, lasso.png.",
)
@click.option("--json", "as_json", is_flag=True, help="Print verdicts and lassos as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    protocol: str,
    names: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Find, for each fairness assumption, a fair execution of PROTOCOL that goes on for ever and chooses nothing
    (basic-paxos), or elects nobody (raft, multi-paxos). Of epaxos, a schedule shows how committed commands are never
    executed.

    What is found is a fair execution, and is run twice around with the real classes before it is told. What is not
    found does not exist within the window, if the graph closed.
    """
    from consensus_bench.contract.registry import find_protocol, make_options
    from consensus_bench.exploration.exhaustive.chain import SCHEDULES
    from consensus_bench.exploration.exhaustive.fairness import FAIRNESS, fair_lasso
    from consensus_bench.exploration.exhaustive.liveness import Undecided
    from consensus_bench.exploration.exhaustive.repetition import repeat
    from consensus_bench.exploration.exhaustive.subjects import subject_of

    for name in names:
        if name not in FAIRNESS:
            raise ConfigError(f"--fairness {name}: choose from {', '.join(FAIRNESS)}")
    found = find_protocol(protocol)
    if out is not None:
        make_folder("--out", out)
    if found.name in SCHEDULES:
        _play(ctx, found.name, out, as_json)
        return
    given = {**subject_of(found.name).settings, **parse_settings(settings)}
    options = make_options(found, given, flags["replicas"])
    search = Undecided(found, options, **flags)
    graph = search.graph()
    lassos = {name: fair_lasso(graph, FAIRNESS[name]) for name in names or FAIRNESS}
    repetitions = {
        name: repeat(search, lasso, found, options, protocol, given)
        for name, lasso in lassos.items()
        if lasso is not None
    }
    lines = _lines(search.subject.goal, graph, lassos)
    facts = {"states": len(graph.edges), "closed": graph.closed, "blocked": graph.blocked, "lassos": lassos}
    encoded = msgspec.json.encode(facts, enc_hook=str)
    if out is not None:
        _write(out, lines, encoded, list(repetitions.values()))
    click.echo(encoded if as_json else "\n".join(lines))


def _lines(goal: str, graph: Graph, lassos: Mapping[str, Lasso | None]) -> list[str]:
    extent = "all of them" if graph.closed else "NOT all: the bound on states was reached"
    counts = f"{len(graph.edges):,} states before anything is {goal}, {extent}"
    lines = [f"{counts}; {graph.blocked:,} steps lead out of the bounds"]
    for name, lasso in lassos.items():
        lines.append(f"{name}: {_verdict(goal, name, lasso, graph.is_whole)}")
    found = [lasso for lasso in lassos.values() if lasso is not None]
    if found:
        shown = found[-1]
        higher = sum(edge.lowered for edge in shown.cycle)
        lines.append(
            f"repeated for ever, after {len(shown.stem)} steps, each time with rounds higher by {higher} "
            "(here counted from the lowest in use):"
        )
        lines += [f"{number:>4}. {_step(edge)}" for number, edge in enumerate(shown.cycle, 1)]
    return lines


def _verdict(goal: str, name: str, lasso: Lasso | None, whole: bool) -> str:
    if lasso is not None:
        return f"{NEVER[goal]}: a cycle of {len(lasso.cycle)} steps"
    if not whole:
        return "no cycle found within the bounds"
    sure = ", with probability one" if name == "every-choice" else ""
    return f"{AT_LAST[goal]}{sure}, unless no step is taken at all"


def _step(edge: Edge) -> str:
    kind, source, to, name = edge.action
    if kind == "time-out":
        return f"replica {to}: {name} fires"
    ballot = getattr(edge.message, "ballot", None)
    term = getattr(edge.message, "term", None)
    granted = getattr(edge.message, "granted", None)
    vote = "" if granted is None else ", granted" if granted else ", refused"
    shown = f" {ballot[0]}.{ballot[1]}" if ballot else f" {term}" if term else ""
    return f"replica {to} receives {name}{shown}{vote} from replica {source}"


def _play(ctx: click.Context, name: str, out: Path | None, as_json: bool) -> None:
    """A protocol for which a schedule takes the place of the search."""
    from click.core import ParameterSource

    from consensus_bench.exploration.exhaustive.chain import SCHEDULES

    for option in ctx.params:
        given = ctx.get_parameter_source(option) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        if given and option not in ("protocol", "out", "as_json"):
            flag = {"names": "fairness", "settings": "set"}.get(option, option)
            raise ConfigError(f"--{flag}: liveness {name} is a schedule, not a search; only --out and --json apply")
    run, draw = SCHEDULES[name]
    chain = run()
    lines = [
        f"a schedule of {chain.turns} turns; in each, a command is asked for and the last one is committed, every",
        "message but the new command's arrives, and every timer of every replica fires",
        f"committed at all replicas: {chain.committed}; executed at any: {chain.executed}",
        "what a turn depends on (instances not committed, messages under way, timers) "
        + ("comes back" if chain.comes_back else "does NOT come back")
        + ", with instances one number higher, after every second turn",
        f"once the clients pause: executed at all replicas: {chain.executed_after_pause}",
    ]
    encoded = msgspec.json.encode(chain)
    if out is not None:
        _write(out, lines, encoded, [draw()])
    click.echo(encoded if as_json else "\n".join(lines))


def _write(folder: Path, lines: list[str], encoded: bytes, repetitions: list[Repetition]) -> None:
    """All that is shown, and the cycle under the strongest assumption that leaves one."""
    from consensus_bench.exploration.trace import write_trace
    from consensus_bench.report.repetition import write_repetition

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "verdicts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "verdicts.json").write_bytes(encoded + b"\n")
    if repetitions:
        write_trace(folder / "lasso.json", repetitions[-1].trace)
        write_repetition(repetitions[-1], folder, "lasso")
