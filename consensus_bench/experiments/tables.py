"""Writes the tables of a run's folder: a function of the results alone, byte for byte.

Runs that violated a guarantee have no rows anywhere but in ``checks.json``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consensus_bench.experiments.bounds import bounds
from consensus_bench.experiments.measure import Numbers, Result, window_of
from consensus_bench.experiments.operation_files import OperationsFile, TimelineFile
from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.plan import Run
from consensus_bench.experiments.setup import Setup
from consensus_bench.experiments.statistics import (
    METRICS,
    NS_PER_MS,
    Latencies,
    column,
    latencies_ns,
    measured,
    summarise,
    throughput,
)
from consensus_bench.simulation.world import Usage

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

ALL: Final = "ALL"
_LATENCIES: Final = Latencies.__struct_fields__
SUMMARY: Final = ("protocol", "seed", "site", "metric", "count", "throughput_ops", *_LATENCIES[1:])
LOAD: Final = (
    "protocol", "seed", "offered_ops", "count", "throughput_ops", "mean_ms", "p50_ms", "p99_ms", "busiest_site",
    "busiest_resource", "utilisation",
)  # fmt: skip
CONFLICT: Final = (
    "protocol", "seed", "conflict_percent", "metric", "count", "fast_share", "mean_ms", "p50_ms", "p99_ms",
)  # fmt: skip
COSTS: Final = (
    "protocol", "seed", "commits", "messages_per_commit", "bytes_per_commit", "fsyncs_per_commit",
    "leader_messages_per_commit",
)  # fmt: skip
RESOURCES: Final = ("protocol", "seed", "replica", "site", "cpu", "network_card", "disk")
BOUNDS: Final = ("protocol", "site", "metric", "bound_ms", "floor_ms")
FAULTS: Final = ("protocol", "seed", "kind", "target", "start_ms", "end_ms")

Row = Sequence[Any]


def write_tables(setup: Setup, runs: list[Run], results: dict[str, Result], parts: Parts[Result]) -> None:
    """All tables of the finished runs among ``runs``."""
    folder = parts.folder
    done = [(run, numbers) for run in runs if (numbers := _numbers(results, run)) is not None]
    of = {purpose: [pair for pair in done if pair[0].purpose == purpose] for purpose in ("main", "load", "conflict")}
    main = [run for run, _ in of["main"]]
    write_csv(folder / "summary.csv", SUMMARY, _summary(setup, main, parts))
    write_csv(folder / "load.csv", LOAD, _load(setup, of["load"]))
    write_csv(folder / "conflict.csv", CONFLICT, _conflict(of["conflict"]))
    write_csv(folder / "costs.csv", COSTS, _costs(of["main"]))
    write_csv(folder / "resources.csv", RESOURCES, _resources(setup, of["main"]))
    write_csv(folder / "bounds.csv", BOUNDS, _bounds(setup))
    if setup.scenario.faults or setup.scenario.nemesis:
        write_csv(folder / "faults.csv", FAULTS, _faults(of["main"]))
    labels = [contestant.label for contestant in setup.contestants]
    with (
        OperationsFile(folder / "operations.parquet", labels, setup.client_sites) as operations,
        TimelineFile(folder / "timeline.parquet", labels, setup.client_sites) as timeline,
    ):
        for run in main:
            table = parts.table(run.key)
            operations.add(run, table)
            timeline.add(run, table)
    _write_checks(folder / "checks.json", runs, results)


def _numbers(results: dict[str, Result], run: Run) -> Numbers | None:
    result = results.get(run.key)
    return None if result is None else result.numbers


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    """A CSV file with ``\\n`` newlines, floats rounded to 6 decimals, and nothing where there is no value."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(round(value, 6) + 0.0)  # no "-0.0"
    return "" if value is None else value


def _fields(latencies: Latencies) -> tuple[Any, ...]:
    return msgspec.structs.astuple(latencies)


# summary.csv


def _summary(setup: Setup, main: list[Run], parts: Parts[Result]) -> Iterator[Row]:
    """Per protocol: each seed, then all seeds pooled; in each, every site, then all sites."""
    for contestant in setup.contestants:
        runs = [run for run in main if run.protocol == contestant.label]
        if not runs:
            continue
        pooled: dict[tuple[str, str], list[Table]] = {}
        rates: dict[str, list[float]] = {}
        for run in runs:
            window = window_of(run.settings)
            table = parts.table(run.key)
            for site, rows in _by_site(setup, table):
                seen, rate = measured(rows, window), throughput(rows, window)
                rates.setdefault(site, []).append(rate)
                for metric in METRICS:
                    samples = latencies_ns(seen, metric)
                    pooled.setdefault((site, metric), []).append(samples)
                    yield _summary_row(run.protocol, run.seed, site, metric, rate, summarise(samples))
        yield from _pooled(contestant.label, pooled, rates)


def _pooled(label: str, pooled: dict[tuple[str, str], list[Table]], rates: dict[str, list[float]]) -> Iterator[Row]:
    import numpy as np

    for (site, metric), samples in pooled.items():
        rate = sum(rates[site]) / len(rates[site])
        yield _summary_row(label, ALL, site, metric, rate, summarise(np.concatenate(samples)))


def _summary_row(protocol: str, seed: int | str, site: str, metric: str, rate: float, numbers: Latencies) -> Row:
    return (protocol, seed, site, metric, numbers.count, rate, *_fields(numbers)[1:])


def _by_site(setup: Setup, table: Table) -> Iterator[tuple[str, Table]]:
    for number, site in enumerate(setup.client_sites):
        yield site, table[column(table, "site") == number]
    yield ALL, table


# The other tables.


def _load(setup: Setup, done: list[tuple[Run, Numbers]]) -> Iterator[Row]:
    for run, numbers in done:
        latency = numbers.execute
        busiest = _busiest(setup, numbers.usage)
        yield (
            run.protocol, run.seed, run.level, latency.count, numbers.throughput_ops, latency.mean_ms, latency.p50_ms,
            latency.p99_ms, *busiest,
        )  # fmt: skip


def _busiest(setup: Setup, usage: list[Usage]) -> tuple[str, str, float]:
    """(site, resource, utilisation) of what saturates first. A disk is named only where nothing else costs: with group
    commit it is always busy long before it limits anything, as one fsync serves all writes that wait. Of several that
    are full the one with most work waiting."""
    for resources in (("cpu", "network_card"), ("disk",)):
        used, replica, name = max((getattr(u, name), -r, name) for r, u in enumerate(usage) for name in resources)
        if used > 0:
            return setup.sites[-replica], name, _share(used)
    return "", "", 0.0


def _share(used: float) -> float:
    """Work that arrived, as a share of the time there was: what is above 1 is waiting."""
    return min(1.0, used)


def _conflict(done: list[tuple[Run, Numbers]]) -> Iterator[Row]:
    for run, numbers in done:
        for metric in METRICS:
            latency: Latencies = getattr(numbers, metric)
            yield (
                run.protocol, run.seed, run.level, metric, latency.count, numbers.fast_share, latency.mean_ms,
                latency.p50_ms, latency.p99_ms,
            )  # fmt: skip


def _costs(done: list[tuple[Run, Numbers]]) -> Iterator[Row]:
    """Messages and bytes that replicas sent, answers to clients included. The leader's: sent and received by the
    replica that handles most, whether or not the protocol calls it so."""
    for run, numbers in done:
        usage, commits = numbers.usage, numbers.commits
        totals = (
            sum(u.messages_sent for u in usage),
            sum(u.bytes_sent for u in usage),
            sum(u.fsyncs for u in usage),
            max(u.messages_sent + u.messages_received for u in usage),
        )
        yield (run.protocol, run.seed, commits, *(total / commits if commits else None for total in totals))


def _resources(setup: Setup, done: list[tuple[Run, Numbers]]) -> Iterator[Row]:
    for run, numbers in done:
        for replica, usage in enumerate(numbers.usage):
            yield (
                run.protocol, run.seed, replica, setup.sites[replica], _share(usage.cpu), _share(usage.network_card),
                _share(usage.disk),
            )  # fmt: skip


def _bounds(setup: Setup) -> Iterator[Row]:
    for bound in bounds(setup):
        for metric in METRICS:
            yield (bound.protocol, bound.site, metric, bound.bound_ms, bound.floor_ms)


def _faults(done: list[tuple[Run, Numbers]]) -> Iterator[Row]:
    """What was injected when, in simulated time."""
    for run, numbers in done:
        for start_ns, end_ns, kind, target in numbers.faults:
            yield (run.protocol, run.seed, kind, target, start_ns / NS_PER_MS, end_ns / NS_PER_MS)


def _write_checks(path: Path, runs: list[Run], results: dict[str, Result]) -> None:
    rows = [
        {
            "protocol": run.protocol,
            "seed": run.seed,
            "purpose": run.purpose,
            "level": run.level,
            **msgspec.to_builtins(check),
        }
        for run in runs
        if run.key in results
        for check in results[run.key].checks
    ]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
