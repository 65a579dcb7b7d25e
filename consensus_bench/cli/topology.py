"""``consensus-bench topology NAME``: a latency matrix printed, judged and drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.shell_completion import CompletionItem

from consensus_bench.contract.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from consensus_bench.topology import Summary, Topology
    from consensus_bench.topology.summary import Latency, Link

WIDTH = 120
"""Columns that a table may take where the terminal does not say."""
MOST_PRINTED = 10
"""Sites up to which the whole matrix is printed; worst cases shown of a list."""
INFERRED = "~"


def _complete_name(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from consensus_bench.topology import topology_names

    return [CompletionItem(name) for name in topology_names() if name.startswith(incomplete)]


@click.command("topology")
@click.argument("name", required=False, shell_complete=_complete_name)
@click.option("--sites", metavar="A,B,C", help="Only these sites, in this order: the replicas.  [default: all]")
@click.option("--client-sites", metavar="A,B,C", help="Where clients are.  [default: at the replicas]")
@click.option("--leader", metavar="SITE", help="Marked on the world map.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the figures.  [default: results/runs/topology-NAME]",
)
@click.option("--figures/--no-figures", default=True, help="Draw the heat map and the world map.", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(
    name: str | None,
    sites: str | None,
    client_sites: str | None,
    leader: str | None,
    out: Path | None,
    figures: bool,
    as_json: bool,
) -> None:
    """Print and draw the latency matrix NAME; without NAME, list those that are shipped.

    NAME may also be the path of a CSV (source,destination,rtt_ms; each pair in both directions, or each once) or of a
    folder of raw pings (REGION.dat with lines min/avg/max/mdev:REGION).
    """
    from consensus_bench.topology import load_topology, summarise

    if name is None:
        _list(as_json)
        return
    for flag, value in (("--sites", sites), ("--client-sites", client_sites)):
        if value is not None and not _names(value):
            raise ConfigError(f"{flag} '{value}': names nothing; leave it out for the default")
    whole = load_topology(name)
    replicas = _names(sites) or whole.sites
    clients = _names(client_sites) or replicas
    topology = whole.select(replicas if set(clients) <= set(replicas) else [*replicas, *_new(clients, replicas)])
    if len(set(clients)) < len(clients):
        raise ConfigError(f"--client-sites {client_sites}: a site is named twice: name it once")
    if leader is not None and leader not in replicas:
        raise ConfigError(f"--leader {leader}: choose one of the replicas: {', '.join(replicas)}")
    summary = summarise(topology, replicas, clients)
    folder = out or Path("results/runs") / f"topology-{topology.name}"
    paths = _draw(topology, replicas, clients, leader, folder) if figures else []
    if as_json:
        click.echo(json.dumps(_as_json(topology, replicas, clients, summary, paths), indent=1))
    else:
        _print(_as_text(topology, replicas, summary))
        for path in paths:
            click.echo(f"drawn: {path}")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _new(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in known]


def _draw(
    topology: Topology, replicas: Sequence[str], clients: Sequence[str], leader: str | None, folder: Path
) -> list[Path]:
    from consensus_bench.report.maps import write_topology_figures

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_topology_figures(topology, folder, sites=replicas, client_sites=clients, leader=leader)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror}): choose another folder") from error


def _list(as_json: bool) -> None:
    from consensus_bench.topology import load_topology, topology_names

    shipped = [load_topology(name) for name in topology_names()]
    if as_json:
        click.echo(json.dumps([_provenance(topology) for topology in shipped], indent=1))
        return
    table = _table("topology", "sites", "date", "statistic", right=("sites",))
    for topology in shipped:
        table.add_row(topology.name, str(len(topology.sites)), topology.date, topology.statistic)
    _print([table])


# What is said, in words.


def _as_text(topology: Topology, replicas: Sequence[str], summary: Summary) -> Iterator[RenderableType]:
    yield _heading(f"{topology.name}: {len(topology.sites)} sites")
    about = _table("", "")
    about.show_header = False
    for key, value in _provenance(topology).items():
        if key in ("source", "date", "licence", "statistic", "note") and value:
            about.add_row(f"  {key}", value)
    yield about
    yield ""
    yield from _matrix(topology) if len(topology.sites) <= MOST_PRINTED else _neighbours(topology)
    yield from _light(topology, summary.links)
    yield from _oddities(topology, summary)
    yield from _latencies(replicas, summary)


def _matrix(topology: Topology) -> Iterator[RenderableType]:
    yield _heading("Round trips, ms (from the row's site to the column's)")
    marked = {frozenset(pair) for pair in topology.inferred}
    rows = [
        [f"{INFERRED if frozenset((a, b)) in marked else ''}{topology.rtt(a, b):.1f}" for b in topology.sites]
        for a in topology.sites
    ]
    yield from _by_site(topology.sites, list(zip(topology.sites, rows, strict=True)))
    if marked:
        yield f"{INFERRED} inferred, not the source's own number"
    yield ""


def _neighbours(topology: Topology) -> Iterator[RenderableType]:
    yield _heading("Round trips, ms: each site's nearest three and its farthest (the whole matrix: --json)")
    table = _table("site", "place", "nearest", "second", "third", "farthest")
    for a in topology.sites:
        others = sorted((b for b in topology.sites if b != a), key=lambda b: topology.rtt(a, b))
        place = topology.place(a)
        near_and_far = [f"{b} {topology.rtt(a, b):.1f}" for b in (*others[:3], others[-1])]
        table.add_row(a, place.name if place else "", *near_and_far)
    yield table
    yield ""


def _light(topology: Topology, links: Sequence[Link]) -> Iterator[RenderableType]:
    """Each link against the speed of light in fibre; of many links the extremes."""
    ranked = sorted((link for link in links if link.ratio is not None), key=lambda link: link.ratio or 0.0)
    if not ranked:
        yield "Places are not known: no comparison with the speed of light.\n"
        return
    ratios = [link.ratio or 0.0 for link in ranked]
    yield _heading("Against light in fibre (200 km/ms along the great circle): measured round trip / floor")
    best, worst = ranked[0], ranked[-1]
    yield (
        f"best {ratios[0]:.2f} ({best.a} - {best.b}), median {median(ratios):.2f}, "
        f"worst {ratios[-1]:.2f} ({worst.a} - {worst.b}), {len(ranked)} links"
    )
    shown = ranked if len(topology.sites) <= MOST_PRINTED else [*ranked[:5], *ranked[-5:]]
    numbers = ("km", "floor ms", "there ms", "back ms", "ratio")
    table = _table("link", *numbers, right=numbers)
    for link in shown:
        cells = (link.distance_km, link.floor_ms, link.from_a_ms, link.from_b_ms)
        texts = [f"{cell:.{digits}f}" for cell, digits in zip(cells, (0, 1, 1, 1), strict=True) if cell is not None]
        table.add_row(f"{link.a} - {link.b}", *texts, f"{link.ratio:.2f}")
    yield table
    yield ""


def _oddities(topology: Topology, summary: Summary) -> Iterator[RenderableType]:
    count = len(topology.sites)
    yield _heading(
        f"Triangle inequality: {len(summary.detours)} of {count * (count - 1)} ordered pairs are more than 1 % slower "
        "than the way through a third site"
    )
    for d in summary.detours[:MOST_PRINTED]:
        yield (
            f"  {d.source} -> {d.destination} {d.direct_ms:.1f} ms, through {d.via} {d.indirect_ms:.1f} ms "
            f"(+{100 * d.excess:.0f} %)"
        )
    yield ""
    yield _heading(
        f"Asymmetry: {len(summary.asymmetric)} of {len(summary.links)} pairs differ by more than 10 % between the two "
        "directions"
    )
    for link in summary.asymmetric[:MOST_PRINTED]:
        yield (
            f"  {link.a} -> {link.b} {link.from_a_ms:.1f} ms, back {link.from_b_ms:.1f} ms "
            f"({100 * link.asymmetry:.0f} %)"
        )
    yield ""


def _latencies(replicas: Sequence[str], summary: Summary) -> Iterator[RenderableType]:
    if not summary.latencies:
        yield f"Closed-form latencies are given for up to nine replicas, not {len(replicas)}: choose with --sites.\n"
        return
    yield _heading(
        f"Latency at low load, ms, by client site (closed form, no jitter, no costs); replicas at {', '.join(replicas)}"
    )
    sites = list(summary.latencies[0].per_site_ms)
    rows = [
        (_who(entry, summary.best_leader), [f"{ms:.1f}" for ms in (*entry.per_site_ms.values(), entry.mean_ms)])
        for entry in summary.latencies
    ]
    yield from _by_site(sites, rows, last=["mean"])
    yield ""


def _who(entry: Latency, best: str | None) -> str:
    if entry.leader is None:
        return entry.protocol
    return f"led from {entry.leader}{' (best)' if entry.leader == best else ''}"


# Tables.


def _heading(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style="bold")


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _by_site(
    sites: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], last: Sequence[str] = ()
) -> Iterator[RenderableType]:
    """A table with a column a site, and one each for ``last``. Names that would make it too wide become numbers."""
    first = max(len(label) for label, _ in rows)
    cells = max(len(cell) for _, row in rows for cell in row)
    headers = [_broken(site) for site in sites]
    widths = [max(cells, *map(len, header.split("\n"))) for header in [*headers, *last]]
    if first + 1 + sum(width + 1 for width in widths) > WIDTH:
        headers = [f"[{number}]" for number in range(1, len(sites) + 1)]
        yield f"columns: {', '.join(f'{header} {site}' for header, site in zip(headers, sites, strict=True))}"
    headers += last
    table = _table("", *headers, right=headers)
    table.columns[0].no_wrap = True
    for label, row in rows:
        table.add_row(label, *row)
    yield table


def _broken(name: str) -> str:
    """A long name on two lines, broken after the hyphen that makes them even."""
    breaks = [position + 1 for position, letter in enumerate(name[:-1]) if letter == "-"]
    if len(name) <= 9 or not breaks:
        return name
    middle = min(breaks, key=lambda position: max(position, len(name) - position))
    return f"{name[:middle]}\n{name[middle:]}"


def _print(parts: Sequence[RenderableType] | Iterator[RenderableType]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDTH)
    for part in parts:
        console.print(part)


# JSON.


def _provenance(topology: Topology) -> dict[str, Any]:
    return {
        "name": topology.name,
        "sites": list(topology.sites),
        "source": topology.source,
        "date": topology.date,
        "licence": topology.licence,
        "statistic": topology.statistic,
        "note": topology.note,
    }


def _as_json(
    topology: Topology, replicas: Sequence[str], clients: Sequence[str], summary: Summary, paths: Sequence[Path]
) -> dict[str, Any]:
    places = zip(topology.sites, topology.locations, strict=True)
    return {
        **_provenance(topology),
        "replicas": list(replicas),
        "client_sites": list(clients),
        "places": {site: place._asdict() if place else None for site, place in places},
        "inferred": topology.inferred,
        "rtt_ms": topology.rtt_ms,
        **msgspec.to_builtins(summary),
        "figures": [str(path) for path in paths],
    }
