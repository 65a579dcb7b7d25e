"""Failover: seeded trials of a fault under load, protocol by protocol, and what each trial cost whom.

A trial is a run of ``compare`` with one fault at ``at`` seconds (and a random part of a heartbeat, so that the fault
meets every phase of it), verified in the same way. One folder: ``failover.csv``, ``outages.csv``, ``timeline.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import display_name
from consensus_bench.experiments.measure import Result, judged, window_of
from consensus_bench.experiments.outage import Outage, outage
from consensus_bench.experiments.parts import Parts
from consensus_bench.experiments.plan import TYPICAL_LATENCY_S, run_settings
from consensus_bench.experiments.scenario import Scenario, make_scenario_of
from consensus_bench.experiments.setup import Setup, check_orders, prepare, split_entry
from consensus_bench.experiments.statistics import NS_PER_MS, NS_PER_S, column
from consensus_bench.simulation.faults import AnyFault, Fault
from consensus_bench.simulation.faults.kinds import Crash, Momentary
from consensus_bench.simulation.faults.parsing import fault_line, parse_faults
from consensus_bench.simulation.faults.times import time_text
from consensus_bench.simulation.faults.validation import check_faults
from consensus_bench.simulation.operations import NEVER
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

ALL: Final = "ALL"
KIND: Final = "failover"
"""The key ``kind`` of a scenario file that is no comparison."""
DEFAULT_TRIALS: Final = 100
CLIENTS: Final = 4
"""Per site, where none are given: a low load, so that what is seen is the fault and not a queue."""


class Failover(Scenario, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario with a fault in each trial. ``seeds`` are the trials. Each of ``faults`` is tried by itself, under
    each protocol; one that gives no time begins ``at`` (simulated seconds) and, with ``restart_after``, ends so much
    later.

    ``election_timeout_ms`` and ``heartbeat_ms`` go to every protocol that is not given its own. ``reroute``: the site
    that a site's clients turn to when their replica does not answer (otherwise the nearest other one).
    """

    name: str = "failover"
    workload: Workload = Workload(swaps=0.5, clients=CLIENTS)
    seeds: tuple[int, ...] = tuple(range(1, DEFAULT_TRIALS + 1))
    duration: float = 20.0
    client_timeout_ms: float = 3_000.0
    load_rates: tuple[float, ...] = ()
    conflict_levels: tuple[float, ...] = ()
    faults: tuple[AnyFault, ...] = (Crash(target="leader"),)
    background: tuple[AnyFault, ...] = ()
    """What is wrong all the time, in every trial: lossy links, for instance."""
    at: float = 5.0
    restart_after: float | None = None
    election_timeout_ms: tuple[float, float] | None = None
    heartbeat_ms: float | None = None
    reroute: dict[str, str] = msgspec.field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """As that of every scenario, without what is not given."""
        return {key: value for key, value in super().identity().items() if value is not None}

    def validate(self) -> None:
        """Raise ``ConfigError`` for what cannot be."""
        super().validate()
        if self.nemesis is not None:
            raise ConfigError("nemesis: failover tries one fault at a time; draw faults with `consensus-bench soak`")
        if self.load_rates or self.conflict_levels:
            raise ConfigError("load_rates, conflict_levels: failover has no sweeps")
        if not self.faults:
            raise ConfigError("faults: name at least one, as in crash-leader")
        if not self.warmup < self.at < self.duration - 1:
            raise ConfigError(
                f"at = {self.at:g}: must lie between the end of the warm-up ({self.warmup:g} s) and a second before "
                f"the end ({self.duration:g} s)"
            )
        for fault in (fault for fault in self.faults if fault.at):
            if not self.warmup < fault.time_ns("at") / NS_PER_S < self.duration - 1:
                raise ConfigError(
                    f"fault '{fault_line(fault)}': must begin between the end of the warm-up ({self.warmup:g} s) and a "
                    f"second before the end ({self.duration:g} s)"
                )
        if self.restart_after is not None and not 0 < self.restart_after < self.duration - self.at:
            raise ConfigError(
                f"restart_after = {self.restart_after:g}: must be above 0 and end before {self.duration:g} s"
            )


def is_failover(data: Mapping[str, Any]) -> bool:
    """Whether a scenario file's ``data`` is of such a study: it says so, or has keys that nothing else has."""
    return data.get("kind") == KIND or any(
        key in Failover.__struct_fields__ and key not in Scenario.__struct_fields__ for key in data
    )


def make_failover(data: Mapping[str, Any], where: str = "") -> Failover:
    """A validated scenario from plain data (a file, flags): the detection settings handed to the protocols, and a time
    for every fault that has none."""
    values = dict(data)
    if values.pop("kind", KIND) != KIND:
        raise ConfigError(f'{where + ": " if where else ""}kind = {data["kind"]!r}: must be "{KIND}" here')
    options = {name: dict(table) for name, table in dict(values.get("options", {})).items()}
    common = {key: values[key] for key in ("election_timeout_ms", "heartbeat_ms") if values.get(key) is not None}
    for entry in values.get("protocols", Failover().protocols) if common else ():
        label, spec = split_entry(str(entry))
        name = label or display_name(spec)
        options[name] = {**common, **options.get(name, {})}
    if options:
        values["options"] = options
    workload = values.get("workload", {})
    values["background"] = [_from_the_start(fault) for fault in parse_faults(values.get("background", ()))]
    values["workload"] = {"clients": CLIENTS, **({"preset": workload} if isinstance(workload, str) else workload)}
    scenario = make_scenario_of(Failover, values, where)
    timed = tuple(_timed(scenario, fault) for fault in scenario.faults)
    return msgspec.structs.replace(scenario, faults=timed)


def _from_the_start(fault: Fault) -> Fault:
    return fault if fault.at or fault.when else msgspec.structs.replace(fault, at="0 s")


def _timed(scenario: Failover, fault: Fault) -> Fault:
    changes: dict[str, Any] = {}
    if not fault.at and not fault.when:
        changes["at"] = _seconds(scenario.at)
    if scenario.restart_after is not None and not fault.duration and not isinstance(fault, Momentary):
        changes["duration"] = _seconds(scenario.restart_after)
    return msgspec.structs.replace(fault, **changes)


def _seconds(value: float) -> str:
    return time_text(round(value * NS_PER_S))


def prepare_failover(data: Mapping[str, Any], where: str = "") -> Setup:
    """Everything looked up and checked; ``ConfigError`` before any work."""
    setup = prepare(make_failover(data, where), where)
    scenario = setup.scenario
    assert isinstance(scenario, Failover)
    check_faults(scenario.background, setup.sites, setup.client_sites, scenario.duration)
    check_orders(scenario.background, setup.contestants)
    _reroute(setup, scenario)
    return setup


# Trials.


class Trial(msgspec.Struct, frozen=True):
    """One run with one fault (``fault``: how it is called). ``sites`` are the clients'."""

    key: str
    protocol: str
    seed: int
    fault: str
    sites: tuple[str, ...]
    replicas: tuple[str, ...]
    settings: Settings
    weight: float
    urgent: bool = True


class Cost(msgspec.Struct, frozen=True):
    """What a trial measured. Times are ms after the fault. ``detect_ms``: until another replica acted on the silence.
    ``elect_ms``: until a command was committed under a new leader. ``outages``: by client site, and of all.
    ``timeline``: operations completed in each second, by client site. ``duplicates``: executed twice (the verification
    would have stopped the run)."""

    fault_ns: int
    detect_ms: float | None
    elect_ms: float | None
    outages: dict[str, Outage]
    timeline: dict[str, list[int]]
    new_leader: int | None
    false_alarms: int
    """How often a replica acted on a silence while nobody had died, from the end of the warm-up on."""
    false_elections: int
    """How often that gave another leader."""
    duplicates: int = 0


class TrialResult(msgspec.Struct, frozen=True):
    """The outcome of one trial; ``cost`` is None if a guarantee fell or the fault never took place."""

    verdict: Result
    cost: Cost | None


def trials(setup: Setup) -> list[Trial]:
    """Every fault under every protocol, seed after seed, so that an interruption leaves comparable numbers."""
    scenario = setup.scenario
    assert isinstance(scenario, Failover)
    found = []
    names = fault_names(scenario.faults)
    for seed in scenario.seeds:
        for number, fault in enumerate(scenario.faults):
            for contestant in setup.contestants:
                heartbeat_ms = contestant.all_options(len(setup.sites)).heartbeat_ms
                moved = _moved(fault, plain_stream(seed, "failover").random() * heartbeat_ms)
                settings = run_settings(setup, contestant, seed, scenario.workload, scenario.duration, scenario.warmup)
                settings = msgspec.structs.replace(
                    settings, faults=(moved, *scenario.background), reroute=_reroute(setup, scenario)
                )
                key = f"{contestant.label}-fault{number}-seed{seed}"
                rate = scenario.workload.rate or len(setup.client_sites) * scenario.workload.clients / TYPICAL_LATENCY_S
                weight = rate * scenario.duration
                found.append(
                    Trial(key, contestant.label, seed, names[number], setup.client_sites, setup.sites, settings, weight)
                )
    return found


def _moved(fault: Fault, delay_ms: float) -> Fault:
    at_ns = fault.time_ns("at") + round(delay_ms * NS_PER_MS)
    return fault if fault.when else msgspec.structs.replace(fault, at=time_text(at_ns))


def _reroute(setup: Setup, scenario: Failover) -> tuple[tuple[int, int], ...]:
    pairs = []
    for site, other in scenario.reroute.items():
        if site not in setup.client_sites:
            raise ConfigError(f"reroute: '{site}' is no client site: choose from {', '.join(setup.client_sites)}")
        if other not in setup.sites or other == site:
            raise ConfigError(f"reroute: '{other}' is not another replica's site: choose from {', '.join(setup.sites)}")
        pairs.append((setup.client_sites.index(site), setup.sites.index(other)))
    return tuple(pairs)


def fault_names(faults: Sequence[Fault]) -> list[str]:
    """How each is called in tables: two that differ in time alone are called by their lines."""
    names = [fault_name(fault) for fault in faults]
    return [fault_line(fault) if names.count(name) > 1 else name for name, fault in zip(names, faults, strict=True)]


def fault_name(fault: Fault) -> str:
    """How a fault is called in tables: its line without the time at which it is tried."""
    line = fault_line(msgspec.structs.replace(fault, at="", duration=""))
    if line == "crash:leader":
        return "crash-leader"
    at_a_site = line.removeprefix("crash:").removesuffix(",clients=true")
    return f"crash-site:{at_a_site}" if line == f"crash:{at_a_site},clients=true" else line


def do_trial(trial: Trial, parts: Parts[TrialResult], stop: Callable[[], bool]) -> None:
    """A ``runner.Work``."""
    world = World(trial.settings)
    verdict, table = judged(trial.key, world, stop)
    if verdict.violated:
        parts.save(trial.key, TrialResult(verdict, None))
    else:
        parts.save(trial.key, TrialResult(verdict, cost(world, table, trial.sites)), table)


def cost(world: World, table: Table, sites: tuple[str, ...]) -> Cost | None:
    """What the fault of a finished trial cost; None if it never took place."""
    fault, window = world.settings.faults[0], window_of(world.settings)
    earliest_ns = max(fault.time_ns("at"), window.start_ns + 1)
    began = [entry.start_ns for entry in world.fault_log if entry.kind == fault.kind and entry.start_ns >= earliest_ns]
    if not began:
        return None
    fault_ns = began[0]
    quiet = range(window.start_ns, fault_ns)
    by_site = {site: table[column(table, "site") == number] for number, site in enumerate(sites)}
    detected = [at for at, _ in world.suspicions if at >= fault_ns]
    elected = [(at, replica) for at, replica in world.elections if at >= fault_ns]
    return Cost(
        fault_ns=fault_ns,
        detect_ms=(detected[0] - fault_ns) / NS_PER_MS if detected else None,
        elect_ms=_serves_ms(table, elected[0][0], fault_ns) if elected else None,
        outages={site: outage(rows, window, fault_ns) for site, rows in {**by_site, ALL: table}.items()},
        timeline={site: _per_second(rows, world.settings.duration_s) for site, rows in by_site.items()},
        new_leader=elected[-1][1] if elected else None,
        false_alarms=sum(at in quiet for at, _ in world.suspicions),
        false_elections=sum(at in quiet for at, _ in world.elections),
    )


def _serves_ms(table: Table, elected_ns: int, fault_ns: int) -> float | None:
    """Until the first command was committed after the election."""
    committed = column(table, "committed_ns")
    after = committed[(committed != NEVER) & (committed >= elected_ns)]
    return int(after.min() - fault_ns) / NS_PER_MS if len(after) else None


def _per_second(table: Table, duration_s: float) -> list[int]:
    import numpy as np

    answered = column(table, "answered_ns")
    seconds = int(np.ceil(duration_s))
    counts = np.bincount(answered[answered != NEVER] // NS_PER_S, minlength=seconds)
    return [int(count) for count in counts[:seconds]]
