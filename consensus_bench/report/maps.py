"""A latency matrix drawn: as a heat map, and as sites and links on the world.

Functions draw into axes that they are given and leave titles to the caller. Colours are viridis (readable in grey and
with any colour vision) and the Okabe-Ito palette.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import combinations, pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

from consensus_bench.report.labels import Surroundings, place_labels
from consensus_bench.report.style import RC, save
from consensus_bench.topology import Location, Topology, shipped_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

MOST_SITES_WITH_LINKS: Final = 10
MOST_SITES_WITH_PLACES: Final = 10
CELL_FONT: Final = 0.36
"""Height of a cell's number relative to the cell: four characters fit."""
LAND: Final = "#dfe3e6"
SEA: Final = "#ffffff"
REPLICA: Final = "#0072b2"
LEADER: Final = "#d55e00"
CLIENT: Final = "#000000"
FRAME_DEGREES: Final = (-180.0, -58.0, 180.0, 80.0)
"""West, south, east, north: the inhabited world. It grows if a site lies beyond."""


def heat_map(axes: Axes, topology: Topology) -> None:
    """Rows are sources, columns destinations; the number in each cell is the round trip in ms (whole from 10 on)
    where there is room. ``~`` marks a value that is inferred, not the source's own."""
    count = len(topology.sites)
    image = axes.imshow(topology.rtt_ms, cmap="viridis", vmin=0, aspect="equal")
    axes.apply_aspect()
    cell_points = axes.get_window_extent().width / count * 72 / axes.figure.dpi
    font = max(5.0, min(cell_points * 0.55, 10.0))
    level = _fits_level(topology, cell_points)
    axes.set_yticks(range(count), topology.sites)
    axes.set_xticks(range(count), topology.sites, rotation=0 if level else 90)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=font)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 0.025, 1)))
    bar.set_label(f"round trip from row to column, ms{_statistic(topology)}")
    if cell_points * CELL_FONT >= 4:
        _write_cells(axes, topology, min(cell_points * CELL_FONT, 12))


def _fits_level(topology: Topology, cell_points: float) -> bool:
    """Whether the names fit above their columns unturned: a character is about 0.65 of its height wide."""
    return max(map(len, topology.sites)) * min(cell_points * 0.55, 10) * 0.65 < cell_points


def _write_cells(axes: Axes, topology: Topology, size: float) -> None:
    highest = max(map(max, topology.rtt_ms)) or 1.0
    inferred = {frozenset(pair) for pair in topology.inferred}
    for i, source in enumerate(topology.sites):
        for j, destination in enumerate(topology.sites):
            value = topology.rtt_ms[i][j]
            mark = "~" if frozenset((source, destination)) in inferred else ""
            colour = "black" if value > 0.6 * highest else "white"
            text = f"{mark}{value:.{0 if value >= 10 or value == 0 else 1}f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def world_map(
    axes: Axes,
    topology: Topology,
    sites: Sequence[str] | None = None,
    client_sites: Sequence[str] = (),
    leader: str | None = None,
) -> None:
    """Replicas at ``sites`` (default: all), further ``client_sites``, the ``leader`` as a star.

    Up to ten replicas are joined by great circles coloured by the mean of both directions' round trips. A site whose
    place is unknown is named below the map. The size of figure and axes must be final: labels are laid out for it.
    """
    import numpy as np

    replicas = tuple(topology.sites if sites is None else sites)
    shown = (*replicas, *(site for site in client_sites if site not in replicas))
    places = {site: place for site in shown if (place := topology.place(site)) is not None}
    west, south, east, north = FRAME_DEGREES
    latitudes = [place.latitude for place in places.values()]
    axes.set(xlim=(west, east), ylim=(min([south, *latitudes]), max([north, *latitudes])), aspect="equal")
    axes.set(xticks=[], yticks=[], facecolor=SEA)
    axes.spines[:].set(color="#b0b6bb", linewidth=0.6)
    _draw_land(axes)
    links: list[Any] = []
    if len(replicas) <= MOST_SITES_WITH_LINKS:
        links = _draw_links(axes, topology, [site for site in replicas if site in places])
    _draw_markers(axes, places, replicas, leader)
    lines = np.concatenate([line for link in links for line in link] or [np.empty((0, 2))])
    _draw_labels(axes, places, lines)
    unknown = [site for site in shown if site not in places]
    if unknown:
        axes.set_xlabel(f"places not known: {', '.join(unknown)}", fontsize=8)


def _statistic(topology: Topology) -> str:
    return "" if topology.base == "rtt" else f" ({topology.base})"


def _coast_lines() -> Outline:
    """All land as one outline. Rings that go on beyond 180 degrees are repeated on the other side."""
    import numpy as np
    from matplotlib.path import Path as Outline

    with np.load(BytesIO((shipped_folder() / "coastlines.npz").read_bytes())) as data:
        points, starts = data["points"] / 100, data["starts"]
    rings = [points[a:b] for a, b in pairwise(starts)]
    turn = np.array([360.0, 0.0])
    east = [ring - turn for ring in rings if ring[:, 0].max() > 180]
    west = [ring + turn for ring in rings if ring[:, 0].min() < -180]
    rings += east + west
    return Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings))


def _draw_land(axes: Axes) -> None:
    from matplotlib.patches import PathPatch

    axes.add_patch(PathPatch(_coast_lines(), facecolor=LAND, edgecolor="#b0b6bb", linewidth=0.4, zorder=0))


def great_circle(a: Location, b: Location, pieces: int = 64) -> list[Any]:
    """The shortest way from a to b as arrays of (longitude, latitude), cut where it crosses 180 degrees."""
    import numpy as np

    def unit(place: Location) -> Any:
        latitude, longitude = np.radians(place.latitude), np.radians(place.longitude)
        return np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])

    start, end = unit(a), unit(b)
    angle = np.arccos(np.clip(start @ end, -1, 1))
    share = np.linspace(0, 1, pieces + 1)[:, None]
    if np.sin(angle) < 1e-9:  # the same place, or antipodes: no single way is the shortest
        return []
    way = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    longitude = np.degrees(np.unwrap(np.arctan2(way[:, 1], way[:, 0])))
    line = np.stack([longitude, np.degrees(np.arcsin(np.clip(way[:, 2], -1, 1)))], axis=1)
    copies = [line + np.array([turn, 0.0]) for turn in (-360, 0, 360)]
    return [copy for copy in copies if (np.abs(copy[:, 0]) < 180).any()]


def _draw_links(axes: Axes, topology: Topology, sites: Sequence[str]) -> list[Any]:
    """Draws the slowest links first, so that the fast ones lie on top; returns the lines of each."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    mean = {(a, b): (topology.rtt(a, b) + topology.rtt(b, a)) / 2 for a, b in combinations(sites, 2)}
    if not mean:
        return []
    norm = Normalize(0, max(mean.values()) or 1.0)
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # the palest would vanish on white
    drawn = []
    for (a, b), rtt_ms in sorted(mean.items(), key=lambda item: (-item[1], item[0])):
        place_a, place_b = topology.place(a), topology.place(b)
        assert place_a is not None and place_b is not None
        lines = great_circle(place_a, place_b)
        for line in lines:
            axes.plot(line[:, 0], line[:, 1], color=colours(norm(rtt_ms)), linewidth=1.4, zorder=1)
        drawn.append(lines)
    bar = axes.figure.colorbar(
        ScalarMappable(norm, colours), cax=axes.inset_axes((0.02, 0.12, 0.2, 0.025)), orientation="horizontal"
    )
    bar.set_label(f"round trip, ms{_statistic(topology)}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return drawn


def _draw_markers(axes: Axes, places: dict[str, Location], replicas: Sequence[str], leader: str | None) -> None:
    groups = (
        ("replica", REPLICA, "o", 34, [s for s in places if s in replicas and s != leader]),
        ("clients only", CLIENT, "D", 22, [s for s in places if s not in replicas]),
        ("leader", LEADER, "*", 150, [s for s in places if s == leader]),
    )
    for label, colour, marker, area, sites in groups:
        if sites:
            x, y = [places[s].longitude for s in sites], [places[s].latitude for s in sites]
            axes.scatter(
                x, y, s=area, c=colour, marker=marker, edgecolors="white", linewidths=0.8, zorder=3, label=label
            )
    if leader is not None or len(replicas) < len(places):
        axes.legend(loc="lower left", bbox_to_anchor=(0.01, 0.17), fontsize=8, framealpha=0.8, edgecolor="none")


def _draw_labels(axes: Axes, places: dict[str, Location], lines: Any) -> None:
    """Names beside the markers; a thin line leads to a label that had to move away."""
    import numpy as np

    if not places:
        return
    figure = axes.figure
    small = len(places) > MOST_SITES_WITH_PLACES
    texts = [site if small else f"{site}\n{place.name}" for site, place in places.items()]
    size = 7 if small else 8
    figure.draw_without_rendering()  # type: ignore[union-attr]  # settles the layout, so that pixels are final
    per_point = figure.dpi / 72
    anchors = axes.transData.transform([(place.longitude, place.latitude) for place in places.values()])
    sizes = []
    for text in texts:
        probe = axes.text(0, 0, text, fontsize=size)
        box = probe.get_window_extent()
        probe.remove()
        sizes.append((box.width + 3 * per_point, box.height + 2 * per_point))
    frame = axes.get_window_extent()
    around = Surroundings(
        frame=(frame.x0 + 2, frame.y0 + 2, frame.x1 - 2, frame.y1 - 2),
        markers=anchors,
        radius=4 * per_point,
        lines=axes.transData.transform(lines),
    )
    centres = place_labels(anchors, np.array(sizes), around)
    for place, text, anchor, centre, extent in zip(places.values(), texts, anchors, centres, sizes, strict=True):
        low = centre - np.array(extent) / 2
        nearest_edge = (np.clip(anchor, low, low + extent) - low) / extent
        axes.annotate(
            text,
            (place.longitude, place.latitude),
            (centre - anchor) / per_point,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            linespacing=1.05,
            zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.7, "edgecolor": "none"},
            arrowprops={
                "arrowstyle": "-",
                "color": "#555555",
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 3,
                "relpos": nearest_edge,
            },
        )


def write_topology_figures(
    topology: Topology,
    folder: Path,
    *,
    sites: Sequence[str] | None = None,
    client_sites: Sequence[str] = (),
    leader: str | None = None,
) -> list[Path]:
    """``heat-map`` and, where places are known, ``world-map`` as PNG and SVG in ``folder``; the paths. ``sites`` hold
    replicas (default: all)."""
    from matplotlib.figure import Figure

    count, longest = len(topology.sites), max(map(len, topology.sites))
    cell, margin = max(0.29, min(0.9, 5 / count)), 0.3 + 0.085 * longest  # inches
    above = 0.75 if _fits_level(topology, 72 * cell) else margin + 0.15
    width, height = margin + 1.045 * count * cell + 0.75, above + count * cell + 0.35
    heat = Figure(figsize=(width, height), dpi=100)
    heat_map(heat.add_axes((margin / width, 0.35 / height, count * cell / width, count * cell / height)), topology)
    _caption(heat, topology, "round trips between ")
    paths = _save(heat, folder, "heat-map")
    if any(location is not None for location in topology.locations):
        world = Figure(figsize=(12, 5.15), dpi=100)
        world_map(world.add_axes((0.01, 0.055, 0.98, 0.885)), topology, sites, client_sites, leader)
        linked = len(topology.sites if sites is None else sites) <= MOST_SITES_WITH_LINKS
        _caption(world, topology, "round trips between " if linked else "")
        paths += _save(world, folder, "world-map")
    return paths


def _caption(figure: Figure, topology: Topology, what: str) -> None:
    figure.suptitle(f"{topology.name}: {what}{len(topology.sites)} sites", fontsize=12, fontweight="bold", y=0.99)
    width = int(figure.get_figwidth() * 72 / (6.5 * 0.52))  # a character is about half as wide as high
    text = fill(f"{topology.source} ({topology.date})", width)
    figure.text(0.01, 0.008, text, fontsize=6.5, color="#555555", va="bottom")


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    from matplotlib import rc_context

    with rc_context({key: RC[key] for key in ("svg.hashsalt", "svg.fonttype")}):
        save(figure, folder, name, dpi=100)
    return [folder / f"{name}.{kind}" for kind in ("png", "svg")]
