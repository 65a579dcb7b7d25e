"""A scenario: everything a comparison depends on, as data. Flags and TOML files fill in the same structure.

A file's unknown keys are errors that name the file, the key and a near match. ``jobs`` and ``out`` say how and where to
run, not what: they are no part of a scenario's identity.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.faults import AnyFault, Nemesis
from consensus_bench.simulation.faults.nemesis import parse_nemesis
from consensus_bench.simulation.faults.parsing import parse_faults
from consensus_bench.simulation.workload import PRESETS, Workload, preset

DEFAULT_TOPOLOGY: Final = "aws-2025"
DEFAULT_SITES: Final = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-1")
DEFAULT_SEEDS: Final = 3
MIN_REPLICAS: Final = 3
AUTO_CONFLICTS: Final = (0.0, 2.0, 10.0, 25.0, 50.0, 100.0)

LARGEST_SEED: Final = 2**31 - 1
LONGEST_NAME: Final = 100

Levels: TypeAlias = tuple[float, ...] | Literal["auto"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared, where, under which load.

    ``sites`` (empty: the topology's own choice) hold the replicas, ``client_sites`` (empty: the same) the clients.
    ``leader``: the site of the first leader, "best" (the site with the lowest mean latency over the client sites, by
    the closed form) or "none" (time-outs decide). ``protocols``: registered names, ``path/to/file.py:ClassName``, or
    ``LABEL=`` one of these, to compare one protocol under several settings. ``options``: a table per protocol.

    ``duration`` and ``warmup`` are simulated seconds; operations due before ``warmup`` are not measured.
    ``load_rates``: offered operations per second, all sites together, of the sweep in open loop; "auto" chooses levels
    that saturate a leader with this profile; empty: no sweep. ``conflict_levels``: the same for per cent of operations
    on the hot key, in closed loop. A sweep runs for ``load_duration`` or ``conflict_duration`` seconds, warm-up
    ``sweep_warmup`` included, with the first ``sweep_seeds`` seeds.
    ``local_rtt_ms``: the round trip between a client and a replica of the same site (the matrices' own diagonals are no
    network times: those of aws-2025 are the handling of HTTP connections).
    """

    name: str = "compare"
    topology: str = DEFAULT_TOPOLOGY
    sites: tuple[str, ...] = ()
    client_sites: tuple[str, ...] = ()
    leader: str = "best"
    protocols: tuple[str, ...] = ("multi-paxos", "raft", "epaxos")
    workload: Workload = Workload(swaps=0.5)
    profile: str = "m5-large"
    # The matrix of aws-2025 gives p50 and p90 of HTTP requests: as a log-normal, a CV of 4.3 % each way (median pair).
    # The ICMP pings of aws-2020 are quieter: the median of mdev / mean over its 342 pairs is 0.31 % of the round trip
    # (0.43 % each way), the 90th percentile 1.2 % (1.6 % each way). 2 % lies between what a link does and what the
    # whole path of a request does.
    jitter: str = "lognormal:0.02"
    seeds: tuple[int, ...] = tuple(range(1, DEFAULT_SEEDS + 1))
    duration: float = 16.0
    warmup: float = 1.0
    client_timeout_ms: float = 10_000.0
    local_rtt_ms: float = 0.0
    load_rates: Levels = "auto"
    load_duration: float = 2.0
    conflict_levels: Levels = "auto"
    conflict_duration: float = 16.0
    sweep_warmup: float = 0.5
    sweep_seeds: int = 1
    options: dict[str, dict[str, Any]] = {}
    faults: tuple[AnyFault, ...] = ()
    """What goes wrong in the main runs (docs/faults.md), under every protocol the same; the sweeps are without."""
    nemesis: Nemesis | None = None
    """Faults that are drawn from each seed, beside these."""
    jobs: int = 0
    """Processes to run in; 0: one for each core."""
    out: str = ""
    """Folder to write; empty: ``results/runs/<time>-<name>``."""

    def identity(self) -> dict[str, Any]:
        """What two runs must have in common to be the same run, as plain data that TOML can hold."""
        data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        del data["jobs"], data["out"]
        for name in ("faults", "nemesis"):
            if not data[name]:
                del data[name]
        workload = data["workload"]
        data["workload"] = {"preset": workload.pop("name"), **workload}
        return data

    def validate(self) -> None:
        """Raise ``ConfigError`` for a number out of its range or a name that cannot be."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ConfigError(f"name '{self.name}': use letters, digits, '.', '_' and '-' (it names the folder)")
        if len(self.name) > LONGEST_NAME:
            raise ConfigError(f"name: {len(self.name)} letters are too many, at most {LONGEST_NAME} (a folder)")
        _positive(self, ("duration", "load_duration", "conflict_duration"), 86_400)
        if not 1 <= self.client_timeout_ms <= 1e9:
            raise ConfigError(f"client_timeout_ms = {self.client_timeout_ms:g}: must lie between 1 and 1e+09")
        for length in ("duration", "load_duration", "conflict_duration"):
            start = "warmup" if length == "duration" else "sweep_warmup"
            if not 0 <= getattr(self, start) < getattr(self, length):
                raise ConfigError(
                    f"{start} = {getattr(self, start):g}: must lie between 0 and {length} ({getattr(self, length):g} s)"
                )
        if not 0 <= self.local_rtt_ms <= 1000:
            raise ConfigError(f"local_rtt_ms = {self.local_rtt_ms:g}: must lie between 0 and 1000")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds = {list(self.seeds)}: needs at least one, none negative, none twice")
        if max(self.seeds) > LARGEST_SEED:
            raise ConfigError(f"seeds: {max(self.seeds)} is too large: must be at most {LARGEST_SEED}")
        if not 1 <= self.sweep_seeds <= 1000:
            raise ConfigError(f"sweep_seeds = {self.sweep_seeds}: must lie between 1 and 1000")
        if not 0 <= self.jobs <= 1024:
            raise ConfigError(f"jobs = {self.jobs}: must lie between 1 and 1024 (0: one for each core)")
        _levels("load_rates", self.load_rates, 1e-3, 1e7)
        _levels("conflict_levels", self.conflict_levels, 0, 100)
        if self.conflict_levels not in ((), "auto") and self.workload.keys != "conflict":
            raise ConfigError(
                f"conflict_levels: the keys of this workload are '{self.workload.keys}', not 'conflict'; "
                "leave the levels out or choose the workload 'conflict'"
            )
        self.workload.validate()


def _positive(scenario: Scenario, names: Iterable[str], most: float) -> None:
    for name in names:
        if not 0 < getattr(scenario, name) <= most:
            raise ConfigError(f"{name} = {getattr(scenario, name):g}: must be above 0 and at most {most:g}")


def _levels(name: str, levels: Levels, low: float, high: float) -> None:
    if levels == "auto":
        return
    for level in levels:
        if not low <= level <= high:
            raise ConfigError(f"{name}: {level:g} must lie between {low:g} and {high:g}")
    if list(levels) != sorted(set(levels)):
        raise ConfigError(f"{name} = {list(levels)}: give each level once, in rising order")


# From data to a scenario: the same way for files and flags.

S = TypeVar("S", bound=Scenario)

_NESTED: Final = ("workload", "options", "nemesis")
_WORKLOAD_KEYS: Final = ("preset", *(name for name in Workload.__struct_fields__ if name != "name"))


def make_scenario(data: Mapping[str, Any], where: str = "") -> Scenario:
    """A validated scenario from plain data as TOML gives it. ``where`` (the file) begins every message of an error."""
    return make_scenario_of(Scenario, data, where)


def make_scenario_of(kind: type[S], data: Mapping[str, Any], where: str = "") -> S:
    """The same for a kind of scenario with more keys."""
    values = dict(data)
    prefix = f"{where}: " if where else ""
    try:
        _refuse_unknown(values, kind)
        values["workload"] = _workload(values.get("workload", {}))
        if "faults" in values:
            values["faults"] = parse_faults(values["faults"])
        values["nemesis"] = parse_nemesis(values.get("nemesis"))
        _refuse_no_tables(values.get("options", {}))
        values.update(_seeds(values.pop("seeds", None), values.pop("seed", None)))
        for key in ("load_rates", "conflict_levels"):
            if key in values and values[key] != "auto":
                values[key] = _given_levels(key, values[key])
        scenario = msgspec.convert(values, kind, from_attributes=True)
        scenario.validate()
    except msgspec.ValidationError as error:
        raise ConfigError(f"{prefix}{plain(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from error
    return scenario


def load_scenario(path: Path) -> Scenario:
    """The scenario in a TOML file; ``ConfigError`` names the file and the line or key that is wrong."""
    return make_scenario(read_toml(path), f"scenario {path}")


def read_toml(path: Path) -> dict[str, Any]:
    """The data of a scenario file. Paths in it count from its own folder, where there is such a file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"scenario {path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"scenario {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"scenario {path}: not TOML: not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"scenario {path}: not TOML: {error}") from error
    data.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem))
    folder = path.parent
    if isinstance(data.get("topology"), str):
        data["topology"] = _from_folder(folder, data["topology"])
    if isinstance(data.get("protocols"), list):
        data["protocols"] = [_spec_from_folder(folder, p) if isinstance(p, str) else p for p in data["protocols"]]
    return data


def _from_folder(folder: Path, text: str) -> str:
    looks_like_path = "/" in text or "." in text
    return str(folder / text) if looks_like_path and (folder / text).exists() else text


def _spec_from_folder(folder: Path, entry: str) -> str:
    label, equals, spec = entry.rpartition("=")
    file, colon, name = spec.rpartition(":")
    if colon and not Path(file).is_absolute() and (folder / file).exists():
        return f"{label}{equals}{folder / file}:{name}"
    return entry


def plain(error: msgspec.ValidationError) -> str:
    """``msgspec``'s message with the key in front: "duration: expected float, got str"."""
    text, _, place = str(error).partition(" - at `")
    key = place.rstrip("`").removeprefix("$").lstrip(".")
    text = text.replace("`", "")
    return f"{key}: {text[:1].lower()}{text[1:]}" if key else text


def near(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def _refuse_no_tables(options: Any) -> None:
    for name, table in options.items() if isinstance(options, Mapping) else [("", options)]:
        if not isinstance(table, Mapping):
            place = f"options.{name}" if name else "options"
            raise ConfigError(f"{place} = {table!r}: give a table, [options.{name or 'PROTOCOL'}] with option = value")


def _given_levels(key: str, given: Any) -> tuple[float, ...]:
    """A sweep's levels: "off" or a list of numbers, the words of the flags."""
    if given == "off":
        return ()
    try:
        return msgspec.convert(given, tuple[float, ...])
    except msgspec.ValidationError:
        raise ConfigError(f'{key} = {given!r}: give "auto", "off" or a list of numbers, as in [10, 100]') from None


def _refuse_unknown(data: Mapping[str, Any], kind: type[Scenario]) -> None:
    names = (*kind.__struct_fields__, "seed")
    for key in data:
        if key in names:
            continue
        hint = near(key, names) or f": choose from {', '.join(sorted(names))}"
        if key in _WORKLOAD_KEYS:
            hint = "; it belongs in the table [workload]"
        raise ConfigError(f"key '{key}' is unknown{hint}")


def _workload(given: Any) -> Workload:
    """A preset's name, or a table of its changes: ``preset = "conflict"``, ``clients = 5``, ..."""
    table = {"preset": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        raise ConfigError("workload: must be the name of a preset or a table")
    for key in table:
        if key not in _WORKLOAD_KEYS:
            hint = near(key, _WORKLOAD_KEYS) or f": choose from {', '.join(_WORKLOAD_KEYS)}"
            raise ConfigError(f"key 'workload.{key}' is unknown{hint}")
    name = table.get("preset", "conflict")
    if not isinstance(name, str) or name not in PRESETS:
        hint = near(str(name), PRESETS) or f": choose from {', '.join(PRESETS)}"
        raise ConfigError(f"workload '{name}' is unknown{hint}")
    changes = {key: value for key, value in table.items() if key != "preset"}
    keys = get_args(get_type_hints(Workload)["keys"])
    if "keys" in changes and changes["keys"] not in keys:
        raise ConfigError(f"workload.keys = {changes['keys']!r}: choose from {', '.join(keys)}")
    base = preset(name)
    try:
        workload = msgspec.convert({**msgspec.to_builtins(base), **changes}, Workload, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"workload.{plain(error)}") from error
    if "swaps" not in changes and base.reads == base.swaps == 0:
        # A write-only history cannot contradict itself: nobody observes anything. So half of the writes also return
        # the old value, and the check of linearizability has something to judge.
        workload = msgspec.structs.replace(workload, swaps=max(0.0, (1 - workload.reads) / 2))
    return workload


def _seeds(given: Any, first: Any) -> dict[str, Any]:
    """``seeds``: a list, or how many; ``seed``: the first of them, or the only one."""
    if first is not None and type(first) is not int:
        raise ConfigError(f"seed = {first!r}: give a whole number")
    if given is None:
        return {} if first is None else {"seeds": (first,)}
    if isinstance(given, int) and not isinstance(given, bool):
        if not 1 <= given <= 10_000:
            raise ConfigError(f"seeds = {given}: must be a list, or a number between 1 and 10000")
        start = 1 if first is None else first
        return {"seeds": tuple(range(start, start + given))}
    if first is not None:
        raise ConfigError("seed: 'seeds' is a list already; give one of the two")
    if not isinstance(given, list | tuple) or any(type(seed) is not int for seed in given):
        raise ConfigError(f"seeds = {given!r}: give a list of whole numbers, or how many")
    return {"seeds": tuple(given)}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` (flags) over ``base`` (a file): a workload or a protocol's options are changed key by key. What is no
    table where one belongs stays as it is, for ``make_scenario`` to refuse."""
    out = {**base, **{key: value for key, value in changes.items() if key not in _NESTED}}
    if ("seed" in changes or "seeds" in changes) and not ("seed" in changes and "seeds" in changes):
        out.pop("seed" if "seeds" in changes else "seeds", None)
    for key in _NESTED:
        if changes.get(key) is not None:
            below = base.get(key) or {}
            below = {"preset": below} if isinstance(below, str) else below
            if not isinstance(below, Mapping):
                out[key] = below
            else:
                out[key] = _tables(below, changes[key]) if key == "options" else {**below, **changes[key]}
    return out


def _tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = dict(below)
    for name, table in above.items():
        under = below.get(name, {})
        tables[name] = {**under, **table} if isinstance(under, Mapping) else under
    return tables
