"""Reading matrices: those shipped in ``topologies/``, a user's CSV, a folder of raw pings.

One line a pair, ``source,destination`` and one or more columns of round trips in milliseconds: ``rtt_ms``, or
``rtt_<statistic>_ms`` (``rtt_p50_ms``, ``rtt_mean_ms``, ...). A TOML file of the same stem may stand beside it with
``source``, ``date``, ``licence``, ``statistic``, ``note``, ``inferred`` pairs and ``[places]``.

A matrix gives every pair in both directions, or every pair once: then the other direction takes its value. Anything
else is a missing cell and an error, as is whatever cannot be a round trip. A missing diagonal is 0.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.topology.matrix import BASE_STATISTICS, Location, Topology, nearest_match

SITES_FILE: Final = "sites.csv"
EXPECTED_HEADER: Final = "source,destination,rtt_ms"
PING_COLUMNS: Final = ("min", "mean", "max", "mdev")
LONGEST_MS: Final = 600_000
"""Ten minutes: beyond any network, and far below what overflows in nanoseconds."""
NOT_STATED: Final = "not stated"


class _Row(msgspec.Struct, frozen=True):
    """One measured pair; ``where`` is the file and line, for messages."""

    where: str
    source: str
    destination: str
    values: tuple[float, ...]


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    latitude: float
    longitude: float


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML beside a matrix."""

    source: str = NOT_STATED
    date: str = NOT_STATED
    licence: str = NOT_STATED
    statistic: str = ""
    note: str = ""
    inferred: tuple[tuple[str, str], ...] = ()
    places: dict[str, _Place] = {}


def shipped_folder() -> Traversable:
    """The data that come with the project: inside an installed wheel, or in the checkout."""
    installed = files("consensus_bench") / "_topologies"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "topologies"


def topology_names() -> list[str]:
    """The shipped matrices, sorted."""
    names = (entry.name for entry in shipped_folder().iterdir())
    return sorted(name.removesuffix(".csv") for name in names if name.endswith(".csv") and name != SITES_FILE)


def load_topology(name_or_path: str) -> Topology:
    """A shipped matrix by name, a CSV by path, or a folder of raw ping files (``REGION.dat``) by path.

    ``ConfigError`` with file and line for what cannot be read as a complete matrix.
    """
    if name_or_path in topology_names():
        return _load_csv(shipped_folder() / f"{name_or_path}.csv", shipped_folder() / f"{name_or_path}.toml")
    path = Path(name_or_path)
    # os.path, unlike Path, answers False to a name that no file can have.
    if name_or_path and os.path.isdir(path):  # noqa: PTH112
        return _load_pings(path)
    if name_or_path and os.path.exists(path):  # noqa: PTH110
        return _load_csv(path, path.with_suffix(".toml"))
    names = topology_names()
    raise ConfigError(
        f"topology '{name_or_path}' is neither shipped nor a path{nearest_match(name_or_path, names)} "
        f"(shipped: {', '.join(names)}; or a CSV with the header {EXPECTED_HEADER}, or a folder of ping files)"
    )


def _load_csv(data: Traversable, metadata: Traversable) -> Topology:
    columns, rows = _csv_rows(data)
    return _build(data.name.removesuffix(".csv"), str(data), columns, rows, _read_metadata(metadata))


def _load_pings(folder: Path) -> Topology:
    """One file a source region, ``REGION.dat``, with a line ``min/avg/max/mdev:REGION`` a destination."""
    region_files = sorted(folder.glob("*.dat"))
    if not region_files:
        raise ConfigError(f"{folder}: no ping files: expected REGION.dat with lines min/avg/max/mdev:REGION")
    rows = [row for region_file in region_files for row in _ping_rows(region_file)]
    sources = {region_file.stem for region_file in region_files}
    for row in rows:
        if row.destination not in sources:
            hint = nearest_match(row.destination, sorted(sources)) or f": add {row.destination}.dat or drop the line"
            raise ConfigError(f"{row.where}: there is no ping file of region '{row.destination}'{hint}")
    return _build(folder.resolve().name, str(folder), PING_COLUMNS, rows, _read_metadata(folder / "topology.toml"))


def _ping_rows(region_file: Path) -> Iterator[_Row]:
    for number, line in _lines(region_file):
        where = f"{region_file}:{number}"
        numbers, separator, destination = line.strip().partition(":")
        cells = numbers.split("/")
        if not separator or len(cells) != len(PING_COLUMNS):
            raise ConfigError(f"{where}: '{line.strip()}' is not min/avg/max/mdev:REGION")
        yield _Row(where, region_file.stem, destination.strip(), tuple(_milliseconds(cell, where) for cell in cells))


def _csv_rows(data: Traversable) -> tuple[tuple[str, ...], list[_Row]]:
    lines = _lines(data)
    if not lines:
        raise ConfigError(f"{data}: the file is empty: expected the header {EXPECTED_HEADER}")
    first, text = lines[0]
    header = [cell.strip() for cell in _cells(text, f"{data}:{first}")]
    columns = _columns(header, f"{data}:{first}")
    rows = []
    for number, text in lines[1:]:
        where = f"{data}:{number}"
        cells = _cells(text, where)
        if len(cells) != len(header):
            raise ConfigError(f"{where}: {len(cells)} cells, but the header has {len(header)}: {','.join(header)}")
        named = dict(zip(header, cells, strict=True))
        values = tuple(_milliseconds(named[column], where) for column in columns.values())
        rows.append(_Row(where, named["source"].strip(), named["destination"].strip(), values))
    return tuple(columns), rows


def _columns(header: list[str], where: str) -> dict[str, str]:
    """Statistic -> column of the header; refuses a header without the two ends or without a matrix."""
    for wanted in ("source", "destination"):
        if wanted not in header:
            raise ConfigError(f"{where}: the header has no column '{wanted}': expected {EXPECTED_HEADER}")
    twice = [column for position, column in enumerate(header) if column in header[:position]]
    if twice:
        raise ConfigError(f"{where}: the header has column '{twice[0]}' twice: expected {EXPECTED_HEADER}")
    columns = {
        "rtt" if column == "rtt_ms" else column.removeprefix("rtt_").removesuffix("_ms"): column
        for column in header
        if column == "rtt_ms" or (column.startswith("rtt_") and column.endswith("_ms"))
    }
    if not any(statistic in columns for statistic in BASE_STATISTICS):
        raise ConfigError(f"{where}: the header has no column 'rtt_ms' (nor rtt_p50_ms, rtt_mean_ms)")
    return columns


def _lines(data: Traversable) -> list[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    try:
        text = data.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{data}: not a UTF-8 text file (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{data}: cannot be read ({error.strerror})") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _cells(line: str, where: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ConfigError(f"{where}: not a line of CSV ({error})") from error


def _milliseconds(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise ConfigError(f"{where}: '{cell.strip()}' is not a number of milliseconds") from None
    if not 0 <= value <= LONGEST_MS:
        raise ConfigError(f"{where}: {cell.strip()} ms cannot be a round trip: expected 0 to {LONGEST_MS} ms")
    return value


def _build(name: str, file: str, columns: Sequence[str], rows: list[_Row], metadata: _Metadata) -> Topology:
    """The complete matrix of ``rows``; sites in the order in which they first appear."""
    pairs: dict[tuple[str, str], _Row] = {}
    sites: dict[str, None] = {}
    for row in rows:
        if not row.source or not row.destination:
            raise ConfigError(f"{row.where}: a site without a name")
        first = pairs.setdefault((row.source, row.destination), row)
        if first is not row:
            line = first.where.rpartition(":")[2]
            pair = f"{row.source},{row.destination}"
            raise ConfigError(f"{row.where}: {pair} stands here a second time (first in line {line}): keep one of them")
    for source, destination in pairs:
        sites.update({source: None, destination: None})
    if len(sites) < 2:
        raise ConfigError(f"{file}: {len(sites)} sites: a matrix needs the round trips between at least two")
    _refuse_gaps(file, pairs)

    def values(a: str, b: str) -> tuple[float, ...]:
        row = pairs.get((a, b)) or pairs.get((b, a))
        if row is not None:
            return row.values
        if a == b:
            return (0.0,) * len(columns)
        raise ConfigError(f"{file}: no round trip between {a} and {b}, in either direction: the matrix is not square")

    cells = [[values(a, b) for b in sites] for a in sites]
    known = known_locations() | {s: Location(p.name, p.latitude, p.longitude) for s, p in metadata.places.items()}
    return Topology(
        name=name,
        sites=tuple(sites),
        columns=tuple(columns),
        values=tuple(tuple(tuple(cell[c] for cell in row) for row in cells) for c in range(len(columns))),
        source=metadata.source if metadata.source != NOT_STATED else f"file {Path(file).name}",
        date=metadata.date,
        licence=metadata.licence,
        statistic=metadata.statistic or f"as given ({', '.join(columns)})",
        note=metadata.note,
        inferred=metadata.inferred,
        locations=tuple(known.get(site) for site in sites),
    )


def _refuse_gaps(file: str, pairs: Mapping[tuple[str, str], _Row]) -> None:
    """A cell that is missing among pairs with both directions is no sign of symmetry, but of a line that was lost."""
    between = [(a, b) for a, b in pairs if a != b]
    single = [(a, b) for a, b in between if (b, a) not in pairs]
    if single and len(single) < len(between):
        a, b = single[0]
        raise ConfigError(
            f"{file}: no round trip from {b} to {a}, but other pairs have both directions: add the line {b},{a}"
        )


def _read_metadata(file: Traversable) -> _Metadata:
    if not file.is_file():
        return _Metadata()
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not the metadata of a matrix: {' '.join(str(error).split())}") from error


@cache
def known_locations() -> dict[str, Location]:
    """Published places of cloud regions, to the nearest city, by the region's name."""
    rows = csv.DictReader((shipped_folder() / SITES_FILE).read_text(encoding="utf-8").splitlines())
    return {row["region"]: Location(row["place"], float(row["latitude"]), float(row["longitude"])) for row in rows}
