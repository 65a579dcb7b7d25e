"""Refuses faults that cannot be, before anything runs: one line that names the fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.faults.kinds import (
    KINDS,
    ChangeMembers,
    ClockDrift,
    ClockSkew,
    CorruptRecord,
    Crash,
    Fault,
    Flapping,
    HandOver,
    LinkFault,
    Momentary,
    ProcessFault,
    SlowCpu,
    SlowFsync,
    SlowLink,
)
from consensus_bench.simulation.faults.parsing import fault_line
from consensus_bench.simulation.faults.targets import (
    Selector,
    check_selector,
    parse_links,
    parse_selector,
)

ELECTED: Final = "leader elected"
CRASHED: Final = "replica crashed"
RESTARTED: Final = "replica restarted"
HAPPENINGS: Final = (ELECTED, CRASHED, RESTARTED)
"""What ``when`` may wait for, beside "KIND begins" and "KIND ends"."""
_FOREVER_NS: Final = 1 << 62
_SHORTEST_NS: Final = 1_000_000
_MOST_TIMES: Final = 100_000


def check_faults(faults: Sequence[Fault], sites: Sequence[str], client_sites: Sequence[str], duration_s: float) -> None:
    """Raise ``ConfigError`` for a target that is not there, a trigger that cannot come, a number out of its range, or a
    process that is stopped while it is stopped already."""
    for fault in faults:
        try:
            _check_target(fault, sites, client_sites)
            _check_trigger(fault, duration_s)
            _check_numbers(fault)
        except ConfigError as error:
            raise ConfigError(f"fault '{fault_line(fault)}': {error}") from error
    _check_overlaps([fault for fault in faults if isinstance(fault, ProcessFault)])


def _check_target(fault: Fault, sites: Sequence[str], client_sites: Sequence[str]) -> None:
    if not fault.target:
        raise ConfigError("names no site or replica: give a target, as in crash:leader@10 or crash:SITE@10")
    if isinstance(fault, LinkFault):
        links = parse_links(fault.target)
        for side in links.sides:
            check_selector(side, sites, client_sites)
        seen: set[str] = set()
        for site in (site for side in links.sides for site in side.sites):
            if site in seen:
                raise ConfigError(f"target: site '{site}' stands on both sides")
            seen.add(site)
        return
    if any(mark in fault.target for mark in "|>*") or fault.target in ("clients", "replicas"):
        raise ConfigError(f"target '{fault.target}' is links: a {fault.kind} strikes replicas")
    check_selector(parse_selector(fault.target), sites)
    if isinstance(fault, HandOver) and fault.to and (fault.to not in sites or fault.to == fault.target):
        raise ConfigError(f"to = '{fault.to}': is not another replica's site: choose from {', '.join(sites)}")
    if isinstance(fault, ChangeMembers):
        _check_members(fault.sites(), sites)


def _check_members(members: Sequence[str], sites: Sequence[str]) -> None:
    known = f"choose from {', '.join(sites)}, as in members={'+'.join(sites[:3])}"
    if not members:
        raise ConfigError(f"names no members: {known}")
    for number, site in enumerate(members):
        if site not in sites:
            raise ConfigError(f"members: there is no replica at '{site}': {known}")
        if site in members[:number]:
            raise ConfigError(f"members: '{site}' is named twice")


def _check_trigger(fault: Fault, duration_s: float) -> None:
    if not fault.at and not fault.when:
        raise ConfigError("says no time: give at, as in crash:leader@10, or when, as in when=leader elected")
    end_ns = round(duration_s * 1e9)
    if not 0 <= fault.time_ns("at") < end_ns:
        raise ConfigError(f"at = {fault.at}: the run is from 0 to {duration_s:g} s")
    if fault.when:
        _check_when(fault.when)
    if fault.after and (not fault.when or not 0 <= fault.time_ns("after") < end_ns):
        raise ConfigError(f"after = {fault.after}: goes with when, and must lie between 0 and {duration_s:g} s")
    if fault.every:
        if fault.when:
            raise ConfigError("every: goes with at, not with when (times says how often that counts)")
        if not _SHORTEST_NS <= fault.time_ns("every") < end_ns:
            raise ConfigError(f"every = {fault.every}: must lie between 1 ms and {duration_s:g} s")
        if fault.time_ns("duration") >= fault.time_ns("every"):
            raise ConfigError(f"duration = {fault.duration}: must be over before the next one, every {fault.every}")
        if not fault.duration and not isinstance(fault, Momentary):
            raise ConfigError(f"every = {fault.every}: needs a duration that is shorter")
    if not 0 <= fault.times <= _MOST_TIMES or (fault.times and not (fault.every or fault.when)):
        raise ConfigError(f"times = {fault.times}: goes with every or when, and is at most {_MOST_TIMES}")
    if fault.duration and isinstance(fault, Momentary):
        raise ConfigError(f"duration = {fault.duration}: a {fault.kind} happens in a moment")
    if fault.duration and fault.time_ns("duration") <= 0:
        raise ConfigError(f"duration = {fault.duration}: must be above 0")


def _check_when(when: str) -> None:
    kind, _, happening = when.rpartition(" ")
    if when not in HAPPENINGS and not (kind in KINDS and happening in ("begins", "ends")):
        raise ConfigError(f"when = '{when}': choose from {', '.join(HAPPENINGS)}, 'KIND begins' and 'KIND ends'")


def _check_numbers(fault: Fault) -> None:
    rate = getattr(fault, "rate", 1.0)
    if not 0 < rate <= 1:
        raise ConfigError(f"rate = {rate:g}: must be above 0 and at most 1")
    factor = getattr(fault, "factor", 1.0)
    if not 1 <= factor <= 1e6:
        raise ConfigError(f"factor = {factor:g}: must lie between 1 and 1000000")
    if hasattr(fault, "delay") and not 0 <= fault.time_ns("delay") <= 3_600_000_000_000:
        raise ConfigError(f"delay = {fault.delay}: must lie between 0 and 3600 s")
    if isinstance(fault, (SlowLink, SlowCpu, SlowFsync)) and factor == 1 and not fault.time_ns("delay"):
        raise ConfigError("changes nothing: give a factor above 1 or a delay")
    if isinstance(fault, ClockSkew) and not fault.time_ns("offset"):
        raise ConfigError("offset = 0: changes nothing")
    if isinstance(fault, ClockDrift) and not 0 < abs(fault.ppm) <= 500_000:
        raise ConfigError(f"ppm = {fault.ppm:g}: must lie between -500000 and 500000, and not be 0")
    if isinstance(fault, Flapping) and fault.time_ns("period") < _SHORTEST_NS:
        raise ConfigError(f"period = {fault.period}: must be at least 1 ms")
    if isinstance(fault, CorruptRecord) and not 1 <= fault.records <= 1_000_000:
        raise ConfigError(f"records = {fault.records}: must lie between 1 and 1000000")
    if isinstance(fault, Crash) and fault.disk == "lose" and not fault.duration:
        raise ConfigError("disk = lose: matters to a replica that comes back only; give a duration")


def _check_overlaps(faults: Sequence[Fault]) -> None:
    """Only where time and place are fixed beforehand: what strikes a stopped process during a run passes it over."""
    fixed = [(fault, _named(fault)) for fault in faults if fault.at and not fault.when and _named(fault)]
    for number, (later, sites) in enumerate(fixed):
        for earlier, others in fixed[:number]:
            common = [site for site in sites if site in others]
            if common and _meet(earlier, later):
                raise ConfigError(
                    f"fault '{fault_line(later)}': {common[0]} is stopped already by '{fault_line(earlier)}' "
                    "at that time; let one end before the other begins"
                )


def _named(fault: Fault) -> tuple[str, ...]:
    selector: Selector = parse_selector(fault.target)
    return selector.sites


def _meet(a: Fault, b: Fault) -> bool:
    """Whether they are ever there at the same time; the first occurrence of each is compared where both repeat."""
    spans = []
    for fault in (a, b):
        start = fault.time_ns("at")
        spans.append((start, start + fault.time_ns("duration") if fault.duration else _FOREVER_NS, fault))
    (start, end, first), (other, other_end, second) = sorted(spans, key=lambda span: span[0])
    if other < end:
        return True
    period = first.time_ns("every")
    if not period or second.every:
        return False
    last = first.times - 1 if first.times else _FOREVER_NS
    turn = min((other - start) // period, last)
    length = end - start
    return other < start + turn * period + length or (turn < last and other_end > start + (turn + 1) * period)
