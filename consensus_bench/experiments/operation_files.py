"""The Parquet files: every operation, and what each simulated second brought. One row group a run, so that memory is
bounded by the largest run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from consensus_bench.experiments.measure import window_of
from consensus_bench.experiments.plan import Run
from consensus_bench.experiments.statistics import NS_PER_MS, NS_PER_S, column, due_within, latencies_ns
from consensus_bench.simulation.operations import KINDS, NEVER, PATHS

if TYPE_CHECKING:
    from consensus_bench.experiments.failover import Trial
    from consensus_bench.experiments.statistics import Table

_TIMES: Final = ("due_ns", "sent_ns", "committed_ns", "executed_ns", "answered_ns")


class _ParquetFile:
    """A Parquet file of rows by protocol, seed and client site."""

    def __init__(self, path: Path, protocols: Sequence[str], sites: Sequence[str]) -> None:
        self.path = path
        self.protocols = list(protocols)
        self.sites = list(sites)
        self._writer: Any = None

    def schema(self) -> Any:
        """Of the Arrow table."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self.path, self.schema(), compression="zstd")
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, columns: list[Any]) -> None:
        """One row group."""
        import pyarrow as pa

        self._writer.write_table(pa.table(columns, schema=self.schema()))

    def labelled(self, run: Run | Trial, count: int) -> tuple[Any, Any]:
        """The columns ``protocol`` and ``seed`` of ``count`` rows."""
        import numpy as np

        number = self.protocols.index(run.protocol)
        return _named(np.full(count, number, np.int32), self.protocols), np.full(count, run.seed, np.int64)


def _names_type() -> Any:
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string())


def _named(codes: Any, names: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype("int32")), pa.array(list(names), pa.string()))


def _nullable(values: Table) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.int64(), mask=values == NEVER)


class OperationsFile(_ParquetFile):
    """``operations.parquet``: a row per client operation; ``measured`` tells those that the summary counts."""

    def schema(self) -> Any:
        """As in docs: times in ns, null where something never happened."""
        import pyarrow as pa

        names, number = _names_type(), pa.int64()
        return pa.schema(
            [
                ("protocol", names), ("seed", number), ("site", names), ("client", number), ("sequence", number),
                ("key", number), ("kind", names), *((name, number) for name in _TIMES), ("path", names),
                ("attempts", number), ("value", number), ("result", number), ("measured", pa.bool_()),
            ]
        )  # fmt: skip

    def add(self, run: Run | Trial, table: Table) -> None:
        """The operations of one run."""
        self.write(self.columns(run, table))

    def columns(self, run: Run | Trial, table: Table) -> list[Any]:
        """As in the schema."""
        import pyarrow as pa

        protocol, seed = self.labelled(run, len(table))

        def plain(name: str) -> Any:
            return pa.array(column(table, name), pa.int64())

        answered = column(table, "answered_ns") != NEVER
        return [
            protocol,
            seed,
            _named(column(table, "site"), self.sites),
            plain("client"),
            plain("sequence"),
            plain("key"),
            _named(column(table, "kind"), KINDS),
            *(_nullable(column(table, name)) for name in _TIMES),
            _named(column(table, "path"), PATHS),
            plain("attempts"),
            _nullable(column(table, "value")),
            _nullable(column(table, "result")),
            pa.array(due_within(table, window_of(run.settings)) & answered),
        ]


class TrialsFile(OperationsFile):
    """The same of a failover study, with the ``fault`` of each trial."""

    def __init__(self, path: Path, protocols: Sequence[str], sites: Sequence[str], faults: Sequence[str]) -> None:
        super().__init__(path, protocols, sites)
        self.faults = list(faults)

    def schema(self) -> Any:
        """That of ``compare``, and ``fault``."""
        import pyarrow as pa

        return super().schema().append(pa.field("fault", _names_type()))

    def columns(self, run: Run | Trial, table: Table) -> list[Any]:
        """As in the schema."""
        import numpy as np

        assert not isinstance(run, Run)
        number = self.faults.index(run.fault)
        return [*super().columns(run, table), _named(np.full(len(table), number, np.int32), self.faults)]


class TimelineFile(_ParquetFile):
    """``timeline.parquet``: per site and simulated second, what was answered in it and its execution latency. Seconds
    without an answer are rows too."""

    def schema(self) -> Any:
        """Latencies in ms, null where nothing was answered."""
        import pyarrow as pa

        names = _names_type()
        return pa.schema(
            [
                ("protocol", names), ("seed", pa.int64()), ("site", names), ("second", pa.int32()),
                ("completed_ops", pa.int64()), ("mean_ms", pa.float64()), ("max_ms", pa.float64()),
            ]
        )  # fmt: skip

    def add(self, run: Run, table: Table) -> None:
        """The seconds of one run."""
        import numpy as np
        import pyarrow as pa

        answered = table[column(table, "answered_ns") != NEVER]
        second = column(answered, "answered_ns") // NS_PER_S
        latency = latencies_ns(answered, "execute")
        seconds = max(int(np.ceil(run.settings.duration_s)), int(second.max(initial=-1)) + 1)
        sites = len(self.sites)
        cell = column(answered, "site") * seconds + second
        count = np.bincount(cell, minlength=sites * seconds)
        total = np.zeros(sites * seconds, np.int64)
        np.add.at(total, cell, latency)
        longest = np.zeros(sites * seconds, np.int64)
        np.maximum.at(longest, cell, latency)
        empty = count == 0
        protocol, seed = self.labelled(run, sites * seconds)
        self.write(
            [
                protocol,
                seed,
                _named(np.repeat(np.arange(sites), seconds), self.sites),
                np.tile(np.arange(seconds, dtype=np.int32), sites),
                count.astype(np.int64),
                pa.array(total / np.maximum(count, 1) / NS_PER_MS, pa.float64(), mask=empty),
                pa.array(longest / NS_PER_MS, pa.float64(), mask=empty),
            ]
        )
