"""The nemesis: a list of faults drawn from a seed. What it draws are faults like any others, so that a run can be
written down, replayed and shrunk.

Which kinds come at all, how often each, how far apart and how long are drawn per run: mixtures with some kinds absent
find more than their average does (Groce et al., "Swarm Testing", ISSTA 2012).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.faults.kinds import KINDS, Fault, LinkFault, Momentary, ProcessFault
from consensus_bench.simulation.faults.parsing import parse_fault
from consensus_bench.simulation.faults.times import parse_ns, time_text
from consensus_bench.simulation.randomness import plain_stream

SAFE: Final = (
    "crash", "torn-crash", "pause", "partition", "flapping", "swizzle", "slow-link", "lossy-link", "duplicating-link",
    "reordering-link", "slow-cpu", "stalling-disk", "slow-fsync", "failing-fsync", "clock-skew", "clock-drift",
)  # fmt: skip
"""Kinds that a protocol for crashes and asynchronous networks survives, and that leave every disk readable."""
STOPPING: Final = ("crash", "torn-crash", "pause", "failing-fsync")
"""Kinds that stop a process, so that only a minority may have them at a time."""


class Nemesis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is drawn. ``kinds``: from which; empty: ``SAFE``. From ``start`` to ``stop`` (by default the end of the
    load) faults begin, ``gap`` apart in the mean (drawn between half and twice of it per run with ``swarm``), and last
    for a time in ``duration``; all are over at ``stop``. ``stopped_at_most``: replicas whose process is stopped at the
    same time; -1: a minority."""

    kinds: tuple[str, ...] = ()
    start: str = "1 s"
    stop: str = ""
    gap: str = "1 s"
    duration: tuple[str, str] = ("200 ms", "4 s")
    swarm: bool = True
    stopped_at_most: int = -1

    def validate(self, replicas: int, duration_s: float) -> None:
        """Refuse what cannot be, in one line (``ConfigError``)."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"nemesis.kinds: '{kind}' is unknown: choose from {', '.join(KINDS)}")
        start, stop = self._span_ns(duration_s)
        if not 0 <= start < stop <= round(duration_s * 1e9):
            raise ConfigError(
                f"nemesis.start = {self.start}, stop = {self.stop or 'the end'}: the run is {duration_s:g} s"
            )
        if parse_ns(self.gap, "nemesis.gap") < 1_000_000:
            raise ConfigError(f"nemesis.gap = {self.gap}: must be at least 1 ms")
        low, high = (parse_ns(text, "nemesis.duration") for text in self.duration)
        if not 0 < low <= high:
            raise ConfigError(f"nemesis.duration = {','.join(self.duration)}: needs 0 < low <= high")
        if not -1 <= self.stopped_at_most <= replicas:
            raise ConfigError(f"nemesis.stopped_at_most = {self.stopped_at_most}: there are {replicas} replicas")

    def _span_ns(self, duration_s: float) -> tuple[int, int]:
        stop = parse_ns(self.stop, "nemesis.stop") if self.stop else round(duration_s * 1e9)
        return parse_ns(self.start, "nemesis.start"), stop

    def draw(self, seed: int, sites: Sequence[str], duration_s: float) -> tuple[Fault, ...]:
        """The faults of the run with this seed, in order of time."""
        self.validate(len(sites), duration_s)
        draw = plain_stream(seed, "nemesis")
        start, stop = self._span_ns(duration_s)
        weights = self._weights(draw)
        gap_ns = parse_ns(self.gap) * (2 ** draw.uniform(-1, 1) if self.swarm else 1)
        most = self.stopped_at_most if self.stopped_at_most >= 0 else (len(sites) - 1) // 2
        stops: list[tuple[int, int, str]] = []  # (from, to, site or role) of what stops a process
        faults: list[Fault] = []
        now = start
        while True:
            now += round(draw.expovariate(1) * gap_ns) + 1
            low, high = (parse_ns(text) for text in self.duration)
            end = now + round(low * (high / low) ** draw.random())
            if end >= stop:
                return tuple(faults)
            kind = draw.choices(list(weights), list(weights.values()))[0]
            target = _target(kind, sites, draw)
            if issubclass(KINDS[kind], ProcessFault) or kind == "failing-fsync":
                busy = [who for began, ended, who in stops if began <= end and now <= ended]
                if len(busy) >= most or target in busy:
                    continue
                stops.append((now, end, target))
            faults.append(
                parse_fault({"kind": kind, "target": target, **_times(kind, now, end), **_more(kind, sites, draw)})
            )

    def _weights(self, draw: Random) -> dict[str, float]:
        kinds = self.kinds or SAFE
        if not self.swarm:
            return dict.fromkeys(kinds, 1.0)
        weights = {kind: 0.0 if draw.random() < 0.4 else draw.random() ** 2 + 0.05 for kind in kinds}
        return {kind: weight for kind, weight in weights.items() if weight} or dict.fromkeys(kinds, 1.0)


def parse_nemesis(given: Any) -> Nemesis | None:
    """A nemesis from a scenario's table (or one already made); ``ConfigError`` names the key that is wrong."""
    if given is None or isinstance(given, Nemesis):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError("nemesis: must be a table, as in [nemesis] with kinds = [...]")
    known = Nemesis.__struct_fields__
    table = dict(given)
    for key in table:
        if key not in known:
            matches = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{matches[0]}'?" if matches else f": choose from {', '.join(known)}"
            raise ConfigError(f"key 'nemesis.{key}' is unknown{hint}")
    for key in ("start", "stop", "gap"):
        if isinstance(table.get(key), (int, float, str)) and table[key] != "":
            table[key] = time_text(parse_ns(str(table[key]), f"nemesis.{key}"))
    for key in ("duration", "kinds"):
        if isinstance(table.get(key), str):
            table[key] = [part.strip() for part in table[key].split(",")]
    if isinstance(table.get("duration"), (list, tuple)):
        table["duration"] = [time_text(parse_ns(str(part), "nemesis.duration")) for part in table["duration"]]
    try:
        return msgspec.convert(table, Nemesis, strict=False)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        key = place.rstrip("`").removeprefix("$")
        raise ConfigError(f"nemesis{key}: {text[:1].lower()}{text[1:].replace('`', '')}") from error


def _target(kind: str, sites: Sequence[str], draw: Random) -> str:
    site = draw.choice(sites)
    if not issubclass(KINDS[kind], LinkFault):
        return "leader" if draw.random() < 0.4 else site
    others = [other for other in sites if other != site]
    other = draw.choice(others)
    half = draw.sample(list(sites), len(sites) // 2)
    return (
        draw.choice(
            (
                f"{site}|{other}",  # the others reach both
                f"{site}>{other}",
                f"{site}|*",
                f"{site}>*",
                "leader|*",
                "leader|clients",
                "leader|replicas",
                f"{','.join(half)}|*",
                "any 1",
                "all",
            )
        )
        if kind != "swizzle"
        else f"any {draw.randint(1, len(sites) - 1)}"
    )


def _times(kind: str, start_ns: int, end_ns: int) -> dict[str, Any]:
    at = {"at": time_text(start_ns)}
    return at if issubclass(KINDS[kind], Momentary) else {**at, "duration": time_text(end_ns - start_ns)}


def _more(kind: str, sites: Sequence[str], draw: Random) -> dict[str, Any]:
    """How bad it is."""
    ms = round(10 ** draw.uniform(0, 3))
    match kind:
        case "slow-link" | "slow-fsync":
            return {"delay": f"{ms} ms"}
        case "lossy-link":
            return {"rate": round(draw.uniform(0.01, 0.5), 3)}
        case "duplicating-link" | "reordering-link":
            return {"rate": round(draw.uniform(0.01, 0.5), 3), "delay": f"{ms} ms"}
        case "slow-cpu":
            return {"factor": round(10 ** draw.uniform(0.3, 2), 1), "delay": f"{draw.randint(0, 500)} us"}
        case "flapping":
            return {"period": f"{draw.randint(50, 2000)} ms"}
        case "clock-skew":
            return {"offset": f"{draw.choice((-ms, ms))} ms"}
        case "clock-drift":
            return {"ppm": float(draw.choice((-1, 1)) * draw.randint(10, 5000))}
        case "corrupt-record":
            return {"records": draw.randint(1, 5)}
        case "change-members":
            return {"members": "+".join(draw.sample(list(sites), draw.randint(1, len(sites))))}
    return {}
