"""``consensus-bench liveness PROTOCOL``: can it go on for ever without choosing anything, and under which fairness?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from consensus_bench.contract.errors import ConfigError

if TYPE_CHECKING:
    from consensus_bench.exploration.exhaustive.fairness import Lasso
    from consensus_bench.exploration.exhaustive.liveness import Edge


@click.command("liveness")
@click.argument("protocol", default="basic-paxos")
@click.option("--proposers", type=int, default=2, show_default=True, help="Replicas, of three, that clients ask.")
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
@click.option("--states", type=int, default=200_000, show_default=True, help="Distinct undecided states, at most.")
@click.option("--json", "as_json", is_flag=True, help="Print verdicts and lassos as JSON.")
def command(protocol: str, names: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Find, for each fairness assumption, a fair execution of PROTOCOL that chooses nothing for ever.

    What is found is a fair execution. What is not found does not exist within the window, if the graph closed.
    """
    from consensus_bench.contract.registry import find_protocol, make_options
    from consensus_bench.exploration.exhaustive.fairness import FAIRNESS, fair_lasso
    from consensus_bench.exploration.exhaustive.liveness import Undecided

    for name in names:
        if name not in FAIRNESS:
            raise ConfigError(f"--fairness {name}: choose from {', '.join(FAIRNESS)}")
    found = find_protocol(protocol)
    graph = Undecided(found, make_options(found, {}, 3), **flags).graph()
    lassos = {name: fair_lasso(graph, FAIRNESS[name]) for name in names or FAIRNESS}
    if as_json:
        facts = {"states": len(graph.edges), "closed": graph.closed, "blocked": graph.blocked, "lassos": lassos}
        click.echo(msgspec.json.encode(facts, enc_hook=str))
        return
    extent = "all of them" if graph.closed else "NOT all: the bound on states was reached"
    click.echo(f"{len(graph.edges):,} undecided states, {extent}; {graph.blocked:,} steps lead out of the bounds")
    for name, lasso in lassos.items():
        click.echo(f"{name}: {_verdict(lasso, graph.closed and not graph.blocked)}")
    longest = next((lasso for lasso in reversed(lassos.values()) if lasso is not None), None)
    if longest is not None:
        click.echo(f"repeated for ever, after {len(longest.stem)} steps, rounds counted from the lowest in use:")
        click.echo("\n".join(f"{number:>4}. {_step(edge)}" for number, edge in enumerate(longest.cycle, 1)))


def _verdict(lasso: Lasso | None, whole: bool) -> str:
    if lasso is not None:
        return f"nothing may ever be chosen: a cycle of {len(lasso.cycle)} steps"
    return "something is chosen, unless no step is taken at all" if whole else "no cycle found within the bounds"


def _step(edge: Edge) -> str:
    kind, source, to, name = edge.action
    if kind == "time-out":
        return f"replica {to}: {name} fires"
    ballot = getattr(edge.message, "ballot", None)
    return f"replica {to} receives {name}{f' {ballot[0]}.{ballot[1]}' if ballot else ''} from replica {source}"
