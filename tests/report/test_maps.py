"""Figures of a matrix: nothing overlaps, land is where land is, the same bytes each time."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from consensus_bench.report.labels import Surroundings, place_labels
from consensus_bench.report.maps import LAND, great_circle, heat_map, world_map, write_topology_figures
from consensus_bench.topology import Location, Topology, load_topology

FIVE = ("us-east-1", "eu-west-1", "ap-northeast-1", "us-west-2", "sa-east-1")


def drawn(topology: Topology, **arguments: object) -> Axes:
    axes = Figure(figsize=(12, 5.15), dpi=100).add_axes((0.01, 0.05, 0.98, 0.9))
    world_map(axes, topology, **arguments)  # type: ignore[arg-type]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    return axes


@pytest.mark.parametrize("name", ["aws-2025", "aws-2020", "aws-2021", "gcp-2019", "epaxos-sosp13", "paxi-wan"])
def test_no_two_labels_of_a_world_map_overlap_nor_leave_it(name: str) -> None:
    topology = load_topology(name)
    axes = drawn(topology)
    labels = [text for text in axes.texts if text.get_text()]
    assert {label.get_text().split("\n")[0] for label in labels} == set(topology.sites)
    boxes = [label.get_bbox_patch().get_window_extent() for label in labels]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    for a, b in combinations(boxes, 2):
        assert min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1


def test_labels_crowded_together_are_spread_without_overlap() -> None:
    # 12 points 8 px apart, labels of 60 x 10: they must move out to free places.
    anchors = np.array([(400 + 8 * i, 300 + 8 * j) for i in range(4) for j in range(3)], dtype=float)
    sizes = np.tile([60.0, 10.0], (12, 1))
    around = Surroundings(frame=(0, 0, 800, 600), markers=anchors, radius=3.0, lines=np.empty((0, 2)))
    centres = place_labels(anchors, sizes, around)
    for i, j in combinations(range(12), 2):
        assert (np.abs(centres[i] - centres[j]) >= sizes[0]).any()
    assert (place_labels(anchors, sizes, around) == centres).all()


def test_a_single_label_stands_beside_its_point() -> None:
    around = Surroundings((0, 0, 100, 100), np.array([[50.0, 50.0]]), 3.0, np.empty((0, 2)))
    (centre,) = place_labels(np.array([[50.0, 50.0]]), np.array([[20.0, 8.0]]), around)
    assert np.hypot(*(centre - 50)) < 20


def test_land_is_where_land_is() -> None:
    axes = drawn(load_topology("aws-2021").select(["eu-west-1", "ca-central-1"]))
    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())

    def colour(longitude: float, latitude: float) -> tuple[int, ...]:
        x, y = axes.transData.transform((longitude, latitude))
        return tuple(picture[picture.shape[0] - 1 - int(y), int(x), :3].tolist())

    land = tuple(int(LAND[i : i + 2], 16) for i in (1, 3, 5))
    kansas, sahara, chukotka_beyond_180, australia = (-98, 39), (20, 22), (-178, 67.5), (135, -25)
    assert {colour(*place) for place in (kansas, sahara, chukotka_beyond_180, australia)} == {land}
    atlantic, caspian, date_line = (-40, 25), (51, 40), (179, 10)
    assert {colour(*place) for place in (atlantic, caspian, date_line)} == {(255, 255, 255)}


def test_a_great_circle_bends_towards_the_pole_and_is_cut_at_the_date_line() -> None:
    (line,) = great_circle(Location("a", 50, -60), Location("b", 50, 60))
    assert line[0] == pytest.approx([-60, 50])
    assert line[-1] == pytest.approx([60, 50])
    # On the meridian half-way: tan(latitude) = tan(50) / cos(60).
    assert line[32] == pytest.approx([0, np.degrees(np.arctan(np.tan(np.radians(50)) / np.cos(np.radians(60))))])
    west, east = great_circle(Location("Tokyo", 35.69, 139.69), Location("Oregon", 45.84, -119.7))
    for half in (west, east):
        assert np.abs(np.diff(half[:, 0])).max() < 10
    assert great_circle(Location("a", 1, 1), Location("a", 1, 1)) == []


def test_links_are_drawn_for_few_sites_only() -> None:
    five = load_topology("aws-2025").select(FIVE)
    # Ten links; those of Tokyo over the Pacific (to us-east-1, us-west-2, sa-east-1) in two parts.
    assert len(drawn(five).lines) == 13
    assert len(drawn(load_topology("aws-2020")).lines) == 0


def test_replicas_clients_and_the_leader_are_told_apart() -> None:
    aws = load_topology("aws-2025")
    axes = drawn(aws, sites=FIVE, client_sites=("us-east-1", "eu-central-1"), leader="us-east-1")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["replica", "clients only", "leader"]
    assert [len(group.get_offsets()) for group in axes.collections] == [4, 1, 1]


def test_a_site_without_a_known_place_is_named_below_the_map(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("source,destination,rtt_ms\nus-east-1,basement,5\n")
    mine = load_topology(str(tmp_path / "mine.csv"))
    assert drawn(mine).get_xlabel() == "places not known: basement"


def test_a_heat_map_writes_every_cell_and_marks_inferred_ones() -> None:
    axes = Figure(figsize=(8, 7), dpi=100).add_axes((0.2, 0.1, 0.7, 0.7))
    heat_map(axes, load_topology("epaxos-sosp13"))
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == 25
    assert texts[:5] == ["0", "85", "~80", "~188", "90"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["VA", "CA", "OR", "JP", "EU"]


def test_figures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    three = load_topology("aws-2025").select(FIVE[:3])
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        paths = write_topology_figures(three, folder)
        assert [path.name for path in paths] == ["heat-map.png", "heat-map.svg", "world-map.png", "world-map.svg"]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_without_any_known_place_there_is_no_world_map(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("source,destination,rtt_ms\nattic,basement,5\n")
    paths = write_topology_figures(load_topology(str(tmp_path / "mine.csv")), tmp_path)
    assert [path.name for path in paths] == ["heat-map.png", "heat-map.svg"]


def test_a_name_in_a_script_that_no_font_has_is_whole_in_the_svg_and_no_warning(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "source,destination,rtt_ms\n東京,ソウル,30\n東京,Zürich,240\nソウル,Zürich,250\n"
    )
    write_topology_figures(load_topology(str(tmp_path / "mine.csv")), tmp_path)
    assert "東京" in (tmp_path / "heat-map.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "title"), [(10, "round trips between 10 sites"), (11, "aws-2025: 11 sites")])
def test_a_map_says_round_trips_where_it_shows_them(tmp_path: Path, count: int, title: str) -> None:
    whole = load_topology("aws-2025")
    write_topology_figures(whole.select(whole.sites[:count]), tmp_path)
    assert title in (tmp_path / "world-map.svg").read_text(encoding="utf-8")
