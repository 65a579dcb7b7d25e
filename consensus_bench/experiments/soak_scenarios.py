"""Draws the scenario of a soak run from its seed: place, clients, options, rates of faults, and the faults themselves.

What comes out is an ordinary ``Scenario`` with an explicit list of faults, so that it can be written down, replayed and
shrunk. Each aspect has a random stream of its own: fixing one leaves the others as they were. Times go with the round
trip of the sites that were drawn, because that is what a protocol's liveness rests on (Ongaro and Ousterhout, USENIX
ATC 2014, section 5.6: broadcast time << election time-out).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError, HandOver, Replica
from consensus_bench.contract.registry import display_name, find_protocol
from consensus_bench.experiments.scenario import LARGEST_SEED, MIN_REPLICAS, Scenario
from consensus_bench.simulation.faults import AnyFault, Fault, Nemesis
from consensus_bench.simulation.faults.kinds import Crash, SlowCpu, SlowFsync
from consensus_bench.simulation.faults.nemesis import SAFE
from consensus_bench.simulation.faults.targets import parse_selector, size_of
from consensus_bench.simulation.faults.times import time_text
from consensus_bench.simulation.faults.validation import ELECTED, RESTARTED
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.topology import Topology, load_topology, topology_names

REPLICAS: Final = (3, 3, 5, 5, 7)
"""How many there are: the small clusters more often, because little runs often find more than big runs seldom."""
MOST_REPLICAS: Final = 9
PROMISES: Final[tuple[tuple[str, Callable[[type[Replica]], bool], tuple[str, ...]], ...]] = (
    ("crash-recovery on an asynchronous network", lambda _protocol: True, SAFE),
    ("orderly hand-over", lambda protocol: HandOver in protocol.messages, ("hand-over",)),
)
"""(promise, which protocols make it, the kinds of fault that they then survive). Of the kinds in none of these,
``lying-fsync`` breaks what every protocol here is built on; ``corrupt-record``, ``misdirected-write`` and ``crash``
with ``disk = lose`` need a protocol that rejoins by repair."""
MOST_OPERATIONS: Final = 600
"""About so many a run: clients that are near to everybody think in between."""
_START_S: Final = 0.2
NS_PER_MS: Final = 1_000_000
RECEIVE_NS: Final = 25_000
"""What a message costs the processor of the m5-large profile."""


class Fixed(msgspec.Struct, frozen=True):
    """What is not drawn: the number of replicas and options of the protocol."""

    replicas: int | None = None
    options: dict[str, Any] = {}


NOTHING_FIXED: Final = Fixed()


class _Timing(msgspec.Struct, frozen=True):
    """``rtt_ms``: the longest round trip between replicas, or from a client; the others follow from it."""

    rtt_ms: float
    timeout_ms: tuple[float, float]
    heartbeat_ms: float
    retry_ms: float
    client_timeout_ms: float
    faults_s: float
    calm_s: float


def kinds_for(protocol: type[Replica]) -> tuple[str, ...]:
    """The kinds of fault that ``protocol`` promises to survive."""
    return tuple(kind for _, promises, kinds in PROMISES if promises(protocol) for kind in kinds)


def check_fixed(protocol: str, fixed: Fixed) -> None:
    """Refuse what no run could have, in one line (``ConfigError``)."""
    found = find_protocol(protocol)
    if found.decides == "single":
        raise ConfigError(f"protocol '{protocol}' decides a single command: it cannot serve a workload")
    if fixed.replicas is not None and not MIN_REPLICAS <= fixed.replicas <= MOST_REPLICAS:
        raise ConfigError(f"--replicas {fixed.replicas}: must lie between {MIN_REPLICAS} and {MOST_REPLICAS}")


def draw(protocol: str, seed: int, fixed: Fixed = NOTHING_FIXED) -> Scenario:
    """The scenario of the soak run ``seed`` of ``protocol`` (a registered name or FILE.py:CLASS)."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed {seed}: seeds lie between 0 and {LARGEST_SEED}")
    found = find_protocol(protocol)
    label = display_name(protocol)
    topology, sites, client_sites = _places(plain_stream(seed, "soak", "places"), fixed.replicas)
    timing = _timing(plain_stream(seed, "soak", "timing"), topology, sites, client_sites)
    duration = round(_START_S + timing.faults_s + timing.calm_s, 3)
    options = {**_variant(found, plain_stream(seed, "soak", "options"), len(sites), timing), **fixed.options}
    if {"window", "batch_size"} <= options.keys() and "batch_size" not in fixed.options:
        options["batch_size"] = max(1, min(int(options["batch_size"]), int(options["window"])))  # a batch must fit
    how = plain_stream(seed, "soak", "setting")
    return Scenario(
        name=f"soak-{label}-{seed}",
        topology=topology.name,
        sites=sites,
        client_sites=client_sites,
        leader=how.choice(("best", "best", "none", how.choice(sites))),
        protocols=(protocol,),
        workload=_workload(plain_stream(seed, "soak", "workload"), len(client_sites), duration, timing.rtt_ms, options),
        profile=how.choice(("m5-large", "m5-large", "sosp13-large", "zero")),
        jitter=how.choice(("none", "lognormal:0.02", "lognormal:0.2", "lognormal:1")),
        seeds=(seed,),
        duration=duration,
        warmup=0.0,
        client_timeout_ms=timing.client_timeout_ms,
        local_rtt_ms=how.choice((0.0, 0.5)),
        load_rates=(),
        conflict_levels=(),
        options={label: options} if options else {},
        faults=_faults(found, seed, sites, options, timing),
    )


# Where.


@cache
def _topologies() -> tuple[Topology, ...]:
    return tuple(load_topology(name) for name in topology_names())


def _places(draw: Random, replicas: int | None) -> tuple[Topology, tuple[str, ...], tuple[str, ...]]:
    """A shipped matrix; sites anywhere in it, or all near to one; one to three sites with clients."""
    size = draw.choice(REPLICAS) if replicas is None else replicas
    topology = draw.choice([topology for topology in _topologies() if len(topology.sites) >= size])
    centre = draw.choice(topology.sites)
    if draw.random() < 0.5:
        known = sorted(topology.sites, key=lambda site: 0 if site == centre else topology.rtt(centre, site))
        sites = tuple(draw.sample(known[: size + 2], size))
    else:
        sites = tuple(draw.sample(topology.sites, size))
    anywhere = (*sites, centre) if centre not in sites else sites
    return topology, sites, tuple(draw.sample(anywhere, draw.randint(1, 3)))


def _timing(draw: Random, topology: Topology, sites: tuple[str, ...], clients: tuple[str, ...]) -> _Timing:
    everywhere = (*sites, *clients)
    rtt = max(topology.rtt(a, b) for a in everywhere for b in everywhere if a != b)
    low = max(60.0, rtt * draw.uniform(2.5, 5))
    high = low * draw.uniform(1.3, 2.2)
    faults_s = min(max(high * draw.uniform(3, 8) / 1000, 1.0), 5.0)
    calm_s = min(max(high * 2 / 1000, 0.8), 3.0)
    return _Timing(
        rtt_ms=rtt,
        timeout_ms=(round(low, 1), round(high, 1)),
        heartbeat_ms=round(low * draw.uniform(0.1, 0.4), 1),
        retry_ms=round(10 + rtt * draw.uniform(1.5, 4), 1),
        client_timeout_ms=round(50 + rtt * draw.uniform(2, 8), 1),
        faults_s=round(faults_s, 3),
        calm_s=round(calm_s, 3),
    )


# What is asked.


def _workload(draw: Random, sites: int, duration_s: float, rtt_ms: float, options: Mapping[str, Any]) -> Workload:
    clients = draw.randint(1, 4)
    reads = draw.choice((0.0, 0.3, 0.5))
    changes: dict[str, Any] = {
        "clients": clients,
        "reads": reads,
        "swaps": round((1 - reads) * draw.choice((0.3, 0.6, 1.0)), 3),
        "size": draw.choice((0, 16, 1000)),
    }
    match draw.choice(("conflict", "conflict", "uniform", "zipf", "hotspot")):
        case "conflict":
            changes |= {"name": "conflict", "keys": "conflict", "conflict": draw.choice((0.0, 5.0, 50.0, 100.0))}
        case "hotspot":
            hot = {"conflict": 80.0, "hot_keys": draw.randint(1, 3), "hot_move_every": draw.randint(5, 50)}
            changes |= {"name": "hotspot", "keys": "hotspot", "records": 20, **hot}
        case keys:
            changes |= {"name": keys, "keys": keys, "records": draw.randint(1, 12), "hot_keys": 1}
    if draw.random() < 0.25:
        # Below what the window lets through with three round trips a command: more would wait for ever, by design.
        most = 1000 * int(options.get("window", 10_000)) / (3 * rtt_ms)
        return Workload(**changes, rate=round(min(most, math.exp(draw.uniform(math.log(10), math.log(120)))), 1))
    think_ms = max(5.0, 1000 * clients * sites * duration_s / MOST_OPERATIONS - rtt_ms)
    return Workload(**changes, think_ms=round(think_ms * draw.choice((1.0, 1.0, 2.0)), 1))


# The protocol's variants.


def _variant(protocol: type[Replica], draw: Random, size: int, timing: _Timing) -> dict[str, Any]:
    """Documented options, drawn; one that this protocol does not have is left out, one that is not here is at its
    default. No ``unsafe_`` option is ever drawn."""
    first = draw.randint(size // 2 + 1, size)
    flexible = draw.random() < 0.3
    batch, rules = draw.choice((1, 1, 2, 8)), draw.choice(("star", "star", "sosp13"))
    toq = rules == "sosp13" and draw.random() < 0.4
    drawn: dict[str, Any] = {
        "heartbeat_ms": timing.heartbeat_ms,
        "election_timeout_ms": timing.timeout_ms,
        "retry_ms": timing.retry_ms,
        "pre_vote": draw.random() < 0.5,
        "check_quorum": draw.random() < 0.5,
        "batch_size": batch,
        "batch_ms": draw.choice((0.0, 2.0, 30.0)) if batch > 1 else 0.0,
        "window": max(batch, draw.choice((1, 2, 16, 10_000, 10_000))),
        "queue_limit": draw.choice((3, 100_000, 100_000, 100_000)),
        "phase1_quorum": first if flexible else 0,
        "phase2_quorum": size + 1 - first if flexible else 0,
        "rules": rules,
        "thrifty": draw.random() < 0.4,
        "toq": toq,
        "toq_slack_ms": draw.choice((0.0, 4.0)) if toq else 4.0,
    }
    known = protocol.options_type.__struct_fields__
    return {name: value for name, value in drawn.items() if name in known}


def survivable(options: Mapping[str, Any], size: int) -> int:
    """How many replicas may stay down for good while the others must go on: a minority, fewer with larger quorums."""
    largest = max(int(options.get(name, 0)) for name in ("phase1_quorum", "phase2_quorum"))
    return min((size - 1) // 2, size - largest)


def keeps_promise(scenario: Scenario) -> bool:
    """Whether no more replicas crash for good than the others can do without, however the scenario was made."""
    size = len(scenario.sites)
    down = sum(
        size_of(parse_selector(fault.target), size)
        for fault in scenario.faults
        if isinstance(fault, Crash) and not fault.duration
    )
    return all(down <= survivable(options, size) for options in scenario.options.values() or ({},))


# The faults.


def _faults(
    protocol: type[Replica], seed: int, sites: tuple[str, ...], options: Mapping[str, Any], timing: _Timing
) -> tuple[AnyFault, ...]:
    """Phase one: what the nemesis draws at rates of this run, all over at its end. Then, in some runs, some replicas
    crash for good, perhaps the leader among them: the faults have ended for a majority only."""
    draw = plain_stream(seed, "soak", "rates")
    phase_ms = 1000 * timing.faults_s
    shortest = max(1.0, phase_ms * draw.uniform(0.01, 0.1))
    nemesis = Nemesis(
        kinds=kinds_for(protocol),
        start=f"{_START_S} s",
        stop=_time(1000 * _START_S + phase_ms),
        gap=_time(phase_ms / math.exp(draw.uniform(math.log(3), math.log(40)))),
        duration=(_time(shortest), _time(max(shortest, phase_ms * draw.uniform(0.1, 0.7)))),
    )
    with_clients = draw.choice((0.0, 0.0, 0.5))
    faults: list[Any] = []
    for fault in nemesis.draw(seed, sites, _START_S + timing.faults_s):
        dies_with_clients = isinstance(fault, Crash) and fault.target in sites and draw.random() < with_clients
        fault = _bounded(_to_the_ms(fault))
        faults.append(msgspec.structs.replace(fault, clients=True) if dies_with_clients else fault)
    faults += _storms(plain_stream(seed, "soak", "storms"), timing)
    down = draw.randint(0, survivable(options, len(sites))) if draw.random() < 0.5 else 0
    end = _time(1000 * _START_S + phase_ms)
    if down and draw.random() < 0.5:
        faults.append(Crash(target="leader", at=end))
        down -= 1
    faults += [Crash(target=f"any {down}", at=end)] if down else []
    return tuple(faults)


def _storms(draw: Random, timing: _Timing) -> list[Fault]:
    """What strikes where it hurts: each new leader soon after its election, a replica when another one is back, or so
    many at once that nothing but their disks remembers. A majority may be down for a while then: what is on disk is
    promised to be enough for safety, and they come back."""
    phase_ms, (timeout_ms, _) = 1000 * timing.faults_s, timing.timeout_ms

    def soon(most: float) -> str:
        return _time(max(1.0, most * draw.random() ** 2))

    storms: list[Fault] = []
    if draw.random() < 0.35:
        storms.append(
            Crash(target="leader", at=_time(1000 * _START_S), when=ELECTED, after=soon(timeout_ms),
                  times=draw.randint(1, 5), duration=soon(2 * timeout_ms))
        )  # fmt: skip
    if draw.random() < 0.3:
        storms.append(
            Crash(target="any 1", at=_time(1000 * _START_S), when=RESTARTED, after=soon(timeout_ms),
                  times=draw.randint(1, 4), duration=soon(2 * timeout_ms))
        )  # fmt: skip
    for _ in range(draw.choice((0, 0, 0, 1, 2))):
        at = _time(1000 * _START_S + draw.random() * 0.8 * phase_ms)
        storms.append(Crash(target=draw.choice(("majority", "all")), at=at, duration=soon(0.2 * phase_ms)))
    return storms


def _to_the_ms(fault: Fault) -> Fault:
    """For people to read. Both ends are rounded down, so that what did not overlap does not."""
    start = fault.time_ns("at") // NS_PER_MS
    if not fault.duration:
        return msgspec.structs.replace(fault, at=_time(start))
    end = (fault.time_ns("at") + fault.time_ns("duration")) // NS_PER_MS
    return msgspec.structs.replace(fault, at=_time(start), duration=_time(max(1, end - start)))


def _bounded(fault: Fault) -> Fault:
    """Factors multiply where such faults overlap, and an fsync of a minute, or a processor's backlog of an hour, would
    outlive all of them; delays add up only."""
    if isinstance(fault, SlowFsync):
        return msgspec.structs.replace(fault, factor=1.0)
    if isinstance(fault, SlowCpu):
        return msgspec.structs.replace(fault, factor=1.0, delay=time_text(round(fault.factor * RECEIVE_NS)))
    return fault


def _time(ms: float) -> str:
    return time_text(round(ms) * NS_PER_MS)
