"""Reading matrices: what is shipped, what users bring, and what is refused in one line."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from consensus_bench.contract import ConfigError
from consensus_bench.topology import load_topology, topology_names

SHIPPED = Path(__file__).parents[2] / "topologies"


def write(folder: Path, text: str, name: str = "mine.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def refused(name_or_path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_topology(name_or_path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_shipped_names() -> None:
    assert topology_names() == ["aws-2020", "aws-2021", "aws-2025", "epaxos-sosp13", "gcp-2019", "paxi-wan"]


@pytest.mark.parametrize("name", topology_names())
def test_a_shipped_matrix_is_complete_and_says_where_it_comes_from(name: str) -> None:
    topology = load_topology(name)
    assert topology.name == name
    assert all(topology.place(site) is not None for site in topology.sites)
    assert all(text and text != "not stated" for text in (topology.source, topology.date, topology.licence))
    assert len(topology.rtt_ms) == len(topology.sites) == len(topology.rtt_ms[0])


@pytest.mark.parametrize("name", ["aws-2025", "aws-2020", "aws-2021", "gcp-2019"])
def test_every_cell_keeps_the_file_s_value_and_direction(name: str) -> None:
    topology = load_topology(name)
    with (SHIPPED / f"{name}.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            base = float(row.get("rtt_p50_ms") or row["rtt_mean_ms"])
            assert topology.rtt(row["source"], row["destination"]) == base


def test_delays_are_half_of_the_round_trip_in_whole_nanoseconds() -> None:
    aws = load_topology("aws-2025")
    assert aws.rtt("af-south-1", "ap-east-1") == 347.552
    assert aws.one_way_ns("af-south-1", "ap-east-1") == 173_776_000
    paths = load_topology("aws-2021")
    # 205.97 there and 205.968 back: not symmetrised, not truncated.
    assert paths.one_way_ns("ap-southeast-1", "ca-central-1") == 102_985_000
    assert paths.one_way_ns("ca-central-1", "ap-southeast-1") == 102_984_000


def test_delays_between_chosen_sites_put_the_local_round_trip_on_the_diagonal() -> None:
    paper = load_topology("epaxos-sosp13")
    assert paper.delays_ns(["CA", "VA"], local_rtt_ms=0.4) == ((200_000, 42_500_000), (42_500_000, 200_000))
    assert paper.delays_ns()[0][0] == 0


def test_inferred_pairs_of_the_epaxos_paper_are_marked() -> None:
    paper = load_topology("epaxos-sosp13")
    assert set(paper.inferred) == {("VA", "OR"), ("VA", "JP"), ("OR", "EU")}
    assert paper.select(["VA", "CA", "EU"]).inferred == ()
    assert paper.rtt("JP", "EU") == paper.rtt("EU", "JP") == 278


def test_selected_sites_keep_their_order_and_their_places() -> None:
    five = load_topology("aws-2025").select(["us-east-1", "eu-west-1", "ap-northeast-1"])
    whole = load_topology("aws-2025")
    assert five.sites == ("us-east-1", "eu-west-1", "ap-northeast-1")
    assert five.rtt_ms[2][0] == whole.rtt("ap-northeast-1", "us-east-1")
    tokyo = five.place("ap-northeast-1")
    assert tokyo is not None
    assert (tokyo.name, tokyo.latitude, tokyo.longitude) == ("Tokyo", 35.69, 139.69)


def test_an_unknown_site_is_refused_with_the_nearest_match() -> None:
    with pytest.raises(ConfigError) as caught:
        load_topology("aws-2025").select(["us-east-1", "eu-wset-1"])
    assert str(caught.value) == "site 'eu-wset-1' is not in topology aws-2025, did you mean 'eu-west-1'?"


def test_a_site_named_twice_or_none_at_all_is_refused() -> None:
    aws = load_topology("aws-2025")
    with pytest.raises(ConfigError, match="site 'us-east-1' is named twice"):
        aws.select(["us-east-1", "us-east-2", "us-east-1"])
    with pytest.raises(ConfigError, match="no site of topology aws-2025 is named"):
        aws.select([])


def test_an_unknown_topology_is_refused_with_the_nearest_match() -> None:
    text = refused("aws-2052")
    assert text.startswith("topology 'aws-2052' is neither shipped nor a path, did you mean 'aws-2025'?")
    assert "source,destination,rtt_ms" in text


def test_spread_holds_every_statistic_of_the_data() -> None:
    assert load_topology("aws-2025").spread("af-south-1", "ap-east-1") == {"p50": 347.552, "p90": 376.122}
    assert load_topology("aws-2021").spread("us-west-1", "eu-west-1") == {
        "min": 135.456, "mean": 135.902, "max": 136.607, "mdev": 0.412,
    }  # fmt: skip
    assert load_topology("epaxos-sosp13").empirical_spread("VA", "CA") is None


def test_an_empirical_spread_of_pings_is_their_own() -> None:
    floor, excess, deviation, cap = load_topology("aws-2021").empirical_spread("us-west-1", "eu-west-1") or (0,) * 4
    assert (floor, cap) == (135.456, 136.607)
    assert excess == pytest.approx(135.902 - 135.456)
    assert deviation == 0.412


def test_an_empirical_spread_never_exceeds_what_the_range_allows() -> None:
    # aws-2020 reports here min 382.854, mean 382.868, max 382.93 and mdev 0.752: impossible within 0.076 ms.
    floor, _, deviation, cap = load_topology("aws-2020").empirical_spread("af-south-1", "ap-east-1") or (0,) * 4
    assert deviation == pytest.approx(math.sqrt((382.93 - 382.868) * (382.868 - 382.854)))
    assert deviation <= (cap - floor) / 2


def test_an_empirical_spread_of_quantiles_has_these_quantiles() -> None:
    floor, mean, deviation, cap = load_topology("aws-2025").empirical_spread("af-south-1", "ap-east-1") or (0,) * 4
    assert floor + mean * math.log(2) == pytest.approx(347.552)
    assert floor + mean * math.log(10) == pytest.approx(376.122)
    assert deviation == mean
    assert cap == math.inf


def test_a_user_s_csv_needs_one_direction_and_no_diagonal(tmp_path: Path) -> None:
    mine = load_topology(write(tmp_path, "source,destination,rtt_ms\nhere,there,12.5\nthere,far,80\nfar,here,90.25\n"))
    assert (mine.name, mine.sites) == ("mine", ("here", "there", "far"))
    assert mine.rtt_ms == ((0, 12.5, 90.25), (12.5, 0, 80), (90.25, 80, 0))
    assert mine.place("here") is None
    assert (mine.source, mine.date) == ("file mine.csv", "not stated")


def test_a_user_s_csv_keeps_two_directions_apart(tmp_path: Path) -> None:
    mine = load_topology(write(tmp_path, "destination , source,rtt_ms\nb,a,10\na,b,14\na,a,0.2\n"))
    assert mine.rtt("a", "b") == 10
    assert mine.rtt("b", "a") == 14
    assert mine.rtt("a", "a") == 0.2


def test_a_spreadsheet_s_byte_order_mark_blank_lines_and_line_ends_are_harmless(tmp_path: Path) -> None:
    mine = load_topology(write(tmp_path, "\ufeffsource,destination,rtt_ms\r\n\r\na,b,10\r\n"))
    assert mine.rtt("b", "a") == 10


def test_a_user_s_matrix_of_cloud_regions_knows_their_places(tmp_path: Path) -> None:
    mine = load_topology(write(tmp_path, "source,destination,rtt_p50_ms,rtt_p90_ms\nus-east-1,europe-west3,88,95\n"))
    frankfurt = mine.place("europe-west3")
    assert frankfurt is not None
    assert frankfurt.name == "Frankfurt"
    assert mine.base == "p50"


def test_metadata_beside_a_user_s_csv(tmp_path: Path) -> None:
    path = write(tmp_path, "source,destination,rtt_ms\nBerlin,Wien,13\n")
    write(
        tmp_path, 'date = "2024"\n[places]\nWien = { name = "Wien", latitude = 48.2, longitude = 16.4 }\n', "mine.toml"
    )
    mine = load_topology(path)
    wien = mine.place("Wien")
    assert wien is not None
    assert (mine.date, wien.latitude, mine.place("Berlin")) == ("2024", 48.2, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty: expected the header source,destination,rtt_ms"),
        ("source,rtt_ms\na,1\n", ":1: the header has no column 'destination'"),
        ("source,destination,ms\na,b,1\n", ":1: the header has no column 'rtt_ms'"),
        ("source,destination,rtt_ms,rtt_ms\na,b,1,1\n", ":1: the header has column 'rtt_ms' twice"),
        ("source,destination,rtt_ms\n", "0 sites: a matrix needs the round trips between at least two"),
        ("source,destination,rtt_ms\na,b,fast\n", ":2: 'fast' is not a number of milliseconds"),
        ("source,destination,rtt_ms\na,b,\n", ":2: '' is not a number of milliseconds"),
        ("source,destination,rtt_ms\na,b,1\nb,c,-4\n", ":3: -4 ms cannot be a round trip"),
        ("source,destination,rtt_ms\na,b,nan\n", ":2: nan ms cannot be a round trip"),
        ("source,destination,rtt_ms\na,b,1e999\n", ":2: 1e999 ms cannot be a round trip"),
        ("source,destination,rtt_ms\na,b,1,5\n", ":2: 4 cells, but the header has 3"),
        ('source,destination,rtt_ms\na,"b,1\n', ":2: not a line of CSV"),
        ("source,destination,rtt_ms\n,b,1\n", ":2: a site without a name"),
        ("source,destination,rtt_ms\na,b,1\nb,a,1\na,b,2\n", ":4: a,b stands here a second time (first in line 2)"),
        ("source,destination,rtt_ms\na,b,1\nb,c,1\n", "no round trip between a and c, in either direction"),
        (
            "source,destination,rtt_ms\na,b,1\nb,a,1\nb,c,2\nc,b,2\na,c,3\n",
            "no round trip from c to a, but other pairs have both directions: add the line c,a",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_matrix_is_refused_with_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    message = refused(path)
    assert message.startswith(path)
    assert expected in message


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    assert "not a UTF-8 text file" in refused(str(tmp_path / "image.csv"))


def test_broken_metadata_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "source,destination,rtt_ms\na,b,1\n")
    write(tmp_path, 'license = "x"\n', "mine.toml")
    assert "unknown field `license`" in refused(path)
    write(tmp_path, "date =\n", "mine.toml")
    assert "not the metadata of a matrix" in refused(path)


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000])
def test_names_that_no_file_can_have_are_unknown_topologies(name: str) -> None:
    assert "is neither shipped nor a path" in refused(name)


def test_a_folder_of_pings(tmp_path: Path) -> None:
    folder = tmp_path / "pings"
    folder.mkdir()
    write(folder, "0.1/0.2/0.9/0.05:tokyo\n10.1/10.5/12.0/0.3:osaka\n", "tokyo.dat")
    write(folder, "10.2/10.6/12.5/0.4:tokyo\n", "osaka.dat")
    write(folder, "not read", "README")
    topology = load_topology(str(folder))
    assert (topology.name, topology.sites, topology.base) == ("pings", ("osaka", "tokyo"), "mean")
    assert topology.rtt("tokyo", "osaka") == 10.5
    assert topology.rtt("osaka", "tokyo") == 10.6
    assert topology.rtt("osaka", "osaka") == 0
    assert topology.spread("tokyo", "tokyo") == {"min": 0.1, "mean": 0.2, "max": 0.9, "mdev": 0.05}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("10.2/10.6/12.5:tokyo", "osaka.dat:2: '10.2/10.6/12.5:tokyo' is not min/avg/max/mdev:REGION"),
        ("10.2/10.6/12.5/x:tokyo", "osaka.dat:2: 'x' is not a number of milliseconds"),
        ("10.2/10.6/12.5/0.4:tokio", "osaka.dat:2: there is no ping file of region 'tokio', did you mean 'tokyo'?"),
    ],
)
def test_a_broken_ping_file_is_refused(tmp_path: Path, line: str, expected: str) -> None:
    write(tmp_path, "0.1/0.2/0.3/0.1:tokyo\n", "tokyo.dat")
    write(tmp_path, f"0.1/0.2/0.3/0.1:osaka\n{line}\n", "osaka.dat")
    assert expected in refused(str(tmp_path))


def test_a_ping_that_is_missing_in_one_direction_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1/1/1/0:kyoto\n2/2/2/0:osaka\n", "tokyo.dat")
    write(tmp_path, "1/1/1/0:tokyo\n3/3/3/0:osaka\n", "kyoto.dat")
    write(tmp_path, "3/3/3/0:kyoto\n", "osaka.dat")
    assert "no round trip from osaka to tokyo" in refused(str(tmp_path))


def test_a_folder_without_pings_is_refused(tmp_path: Path) -> None:
    assert "no ping files: expected REGION.dat" in refused(str(tmp_path))
