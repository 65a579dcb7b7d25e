"""Leader election alone: many trials on all cores, and the folder that keeps what they took.

What is measured, and how the published experiments are matched, is in docs/elections.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

import consensus_bench
from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.experiments.election_world import Range, Trial
from consensus_bench.experiments.parts import MANIFEST, Parts, finished, new_folder
from consensus_bench.experiments.provenance import versions
from consensus_bench.experiments.runner import Progress, execute, load_results
from consensus_bench.experiments.tables import write_csv
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.topology import load_topology

CHUNK: Final = 50
"""Trials that a process does at a time."""
QUANTILES: Final = (0.1, 0.5, 0.9, 0.99, 0.999)
BASIC: Final = {"pre_vote": False, "check_quorum": False}
"""Options of a protocol that has them, unless others are given: the published experiments are of the basic protocol."""
LOGS: Final = ("equal", "staggered")
SINCE: Final = ("last-heartbeat", "crash")
MOST_TRIALS: Final = 10_000_000


class Elections(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured. Times in ms; ranges are (low, high), draws uniform. ``one_way`` is ``constant:MS`` or
    ``uniform:LOW,HIGH``; a ``topology`` with ``sites`` (one server each, the last ``down`` of them down) takes its
    place. ``since``: "last-heartbeat", "crash", or "" for what fits the published experiment with such logs."""

    protocol: str = "raft"
    servers: int | None = None
    down: int = 1
    one_way: str | None = None
    topology: str | None = None
    sites: tuple[str, ...] = ()
    election_timeout: Range = (300.0, 600.0)
    logs: str = "equal"
    vote_write: Range = (0.0, 0.0)
    candidate_write: Range = (0.0, 0.0)
    since: str = ""
    trials: int = 1000
    seed: int = 1
    options: dict[str, Any] = {}


class Prepared(msgspec.Struct, frozen=True):
    """A measurement that can be done: nothing in it is left to defaults."""

    identity: dict[str, Any]
    trial: Trial
    since_crash_ns: int
    """The crash is uniform within this time after the last heartbeat; 0: times count from the heartbeat."""
    trials: int
    seed: int


class Outcome(msgspec.Struct, frozen=True):
    """A finished measurement: its folder, and per trial how long the election took (ms; None: no leader in time)."""

    folder: Path
    elect_ms: list[float | None]
    reused: bool = False


# Judging the settings.


def prepare(e: Elections) -> Prepared:
    """Make sure of ``e``; ``ConfigError`` before any work if it cannot be."""
    if e.trials < 1 or e.trials > MOST_TRIALS:
        raise ConfigError(f"--trials {e.trials}: must be from 1 to {MOST_TRIALS:,}")
    for name, value, choices in (("logs", e.logs, LOGS), ("since", e.since or SINCE[0], SINCE)):
        if value not in choices:
            raise ConfigError(f"--{name} {value}: choose from {', '.join(choices)}")
    for name, bounds in (("election-timeout", e.election_timeout), ("vote-write", e.vote_write),
                         ("candidate-write", e.candidate_write)):  # fmt: skip
        _check_range(f"--{name}", bounds)
    if e.election_timeout[0] <= 0:
        raise ConfigError(f"--election-timeout {_pair(e.election_timeout)}: must be above 0")
    sites, delay_ns, one_way = _delays(e)
    size = len(delay_ns)
    if e.down < 0:
        raise ConfigError(f"--down {e.down}: must not be negative")
    if size - e.down < size // 2 + 1:
        most = size - (size // 2 + 1)
        raise ConfigError(f"--down {e.down}: of {size} servers a majority must be up, so at most {most} can be down")
    options = _options(e, size)
    since = e.since or ("crash" if e.logs == "staggered" else "last-heartbeat")
    understood = {
        **msgspec.structs.asdict(e), "servers": size, "sites": sites, "since": since, "options": options,
        "one_way": None if sites else e.one_way or _DEFAULT_ONE_WAY,
    }  # fmt: skip
    identity = msgspec.json.decode(msgspec.json.encode(understood))  # as it will be read back
    trial = Trial(
        protocol=e.protocol,
        survivors=size - e.down,
        delay_ns=delay_ns,
        one_way=one_way,
        staggered=e.logs == "staggered",
        vote_write=e.vote_write,
        candidate_write=e.candidate_write,
        options=options,
    )
    window = round(options["heartbeat_ms"] * 1e6) if since == "crash" else 0
    return Prepared(identity, trial, window, e.trials, e.seed)


_DEFAULT_ONE_WAY: Final = "uniform:30,40"


def _pair(bounds: Range) -> str:
    return ",".join(f"{value:g}" for value in bounds)


def _check_range(name: str, bounds: Range) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0):
        raise ConfigError(f"{name} {_pair(bounds)}: must be two times in ms, neither negative")
    if low > high:
        raise ConfigError(f"{name} {_pair(bounds)}: the lower end comes first: {_pair((high, low))}")


def _delays(e: Elections) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], Range | None]:
    """(sites, matrix of one-way delays in ns, range of the delays where they are not the matrix's)."""
    if e.topology is None and not e.sites:
        size = 5 if e.servers is None else e.servers
        if size < 1:
            raise ConfigError(f"--servers {size}: must be at least 1")
        bounds = _one_way(e.one_way or _DEFAULT_ONE_WAY)
        mean = round((bounds[0] + bounds[1]) / 2 * 1e6)
        return (), tuple(tuple(0 if a == b else mean for b in range(size)) for a in range(size)), bounds
    if e.one_way is not None:
        raise ConfigError(f"--one-way {e.one_way}: give either this or --topology and --sites")
    topology = load_topology(e.topology or "aws-2025")
    if not e.sites:
        raise ConfigError(f"--topology {topology.name}: give --sites too, one for each server")
    for number, site in enumerate(e.sites):
        topology.index(site)
        if site in e.sites[:number]:
            raise ConfigError(f"--sites: '{site}' is named twice: name it once")
    if e.servers is not None and e.servers != len(e.sites):
        raise ConfigError(f"--servers {e.servers}: {len(e.sites)} sites are given; leave --servers out")
    return e.sites, topology.delays_ns(e.sites), None


def _one_way(text: str) -> Range:
    kind, _, rest = text.partition(":")
    try:
        values = [float(word) for word in rest.split(",")]
    except ValueError:
        values = []
    if len(values) != {"constant": 1, "uniform": 2}.get(kind):
        raise ConfigError(f"--one-way {text}: write constant:MS or uniform:LOW,HIGH, as in uniform:30,40")
    bounds = (values[0], values[-1])
    _check_range("--one-way", bounds)
    return bounds


def _options(e: Elections, size: int) -> dict[str, Any]:
    protocol = find_protocol(e.protocol)
    known = protocol.options_type.__struct_fields__
    if protocol.decides != "log":
        raise ConfigError(f"--protocol {e.protocol}: has no leader to elect; choose raft or multi-paxos")
    if "election_timeout_ms" in e.options:
        raise ConfigError("--set election_timeout_ms: give --election-timeout instead")
    low, high = e.election_timeout
    basic = {name: value for name, value in BASIC.items() if name in known}
    options = {**basic, "heartbeat_ms": low / 2, **e.options, "election_timeout_ms": (low, high)}
    complete: dict[str, Any] = msgspec.to_builtins(make_options(protocol, options, size))
    return complete


# Trials.


class Chunk(msgspec.Struct, frozen=True):
    """Trials ``first`` to ``last - 1``."""

    first: int
    last: int
    prepared: Prepared
    urgent: bool = False

    @property
    def key(self) -> str:
        return f"trials-{self.first}"

    @property
    def weight(self) -> float:
        return float(self.last - self.first)


class Times(msgspec.Struct, frozen=True):
    """How long the elections of a chunk took, ns."""

    elect_ns: list[int | None]


def elect_ns(prepared: Prepared, number: int) -> int | None:
    """Trial ``number``: a function of the settings, the seed and the number alone."""
    seed = plain_stream(prepared.seed, "trial", number).getrandbits(63)
    elected = prepared.trial.world(seed).elect()
    if elected is None or not prepared.since_crash_ns:
        return elected
    return elected - round(plain_stream(seed, "crash").random() * prepared.since_crash_ns)


def _do(chunk: Chunk, parts: Parts[Times], _stopped: Callable[[], bool]) -> None:
    parts.save(chunk.key, Times([elect_ns(chunk.prepared, n) for n in range(chunk.first, chunk.last)]))


# The folder.


def _silent(_finished: int, _planned: int, _share: float) -> None:
    """No progress display."""


def run_elections(
    prepared: Prepared, out: Path | None = None, jobs: int = 0, command: str = "", progress: Progress = _silent
) -> Outcome:
    """Do the trials and write ``elections.csv``, ``quantiles.csv`` and ``manifest.json``. What is finished in the
    folder already is not done again. ``jobs`` 0: one process for each core."""
    folder = out or new_folder("elections")
    code = _code_hash(prepared.trial.protocol)
    before = finished(folder)
    if (
        before is not None
        and before.get("scenario") == prepared.identity
        and before["code"] == code
        and (folder / "elections.csv").is_file()
    ):
        return Outcome(folder, read_elections(folder), reused=True)
    with Parts(folder, prepared.identity, code, Times) as parts:
        starts = range(0, prepared.trials, CHUNK)
        chunks = [Chunk(first, min(first + CHUNK, prepared.trials), prepared) for first in starts]
        execute(chunks, parts, _do, jobs, progress)
        results = load_results(chunks, parts)
        elect_ms = [None if t is None else t / 1e6 for chunk in chunks for t in results[chunk.key].elect_ns]
        write_csv(folder / "elections.csv", ("trial", "elect_ms"), list(enumerate(elect_ms)))
        write_csv(folder / "quantiles.csv", ("statistic", "elect_ms"), list(summary(elect_ms).items()))
        manifest = {
            "format": 1, "kind": "elections", "complete": True, "created": parts.created, "command": command,
            "scenario": prepared.identity, "code": code, "versions": versions(), "summary": summary(elect_ms),
        }  # fmt: skip
        new = folder / f"{MANIFEST}.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        new.replace(folder / MANIFEST)
        parts.drop()
        return Outcome(folder, elect_ms)


def read_elections(folder: Path) -> list[float | None]:
    """The times in ``elections.csv``, in the order of trials."""
    lines = (folder / "elections.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(cell) if (cell := line.partition(",")[2]) else None for line in lines]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of ``ordered`` do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def summary(elect_ms: Sequence[float | None]) -> dict[str, float | int | None]:
    """Mean, quantiles and extremes. A trial without a leader counts as endless, in the mean too (None)."""
    ordered = sorted(math.inf if t is None else t for t in elect_ms)
    numbers: dict[str, float] = {"mean": math.fsum(ordered) / len(ordered), "min": ordered[0]}
    numbers |= {f"p{100 * share:g}": quantile(ordered, share) for share in QUANTILES}
    numbers["max"] = ordered[-1]
    finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return {"trials": len(ordered), "without_leader": ordered.count(math.inf), **finite}


def _code_hash(protocol: str) -> str:
    """SHA-256 over this package's source files and those of the protocol's package."""
    module = sys.modules[find_protocol(protocol).__module__]
    top = sys.modules[module.__name__.partition(".")[0]]
    assert module.__file__ is not None
    packages = [Path(consensus_bench.__file__).parent]
    files = [] if hasattr(top, "__path__") else [Path(module.__file__)]
    packages += [Path(next(iter(top.__path__)))] if hasattr(top, "__path__") else []
    sources = [(f"{p.name}/{f.relative_to(p).as_posix()}", f) for p in packages for f in p.rglob("*.py")]
    sources += [(f.name, f) for f in files]
    digest = sha256()
    for name, path in sorted(sources):
        digest.update(f"{name}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
