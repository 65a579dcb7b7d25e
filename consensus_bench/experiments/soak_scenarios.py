"""Draws the scenario of a soak run from its seed: place, clients, options, rates of faults, and the faults themselves.

What comes out is an ordinary ``Scenario`` with an explicit list of faults, so that it can be written down, replayed and
shrunk. Each aspect has a random stream of its own: fixing one leaves the others as they were. Times go with the round
trip of the sites that were drawn, because that is what a protocol's liveness rests on (Ongaro and Ousterhout, USENIX
ATC 2014, section 5.6: broadcast time << election time-out).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any, Final, get_args, get_type_hints

import msgspec

from consensus_bench.contract import ConfigError, Replica
from consensus_bench.contract.registry import display_name, find_protocol
from consensus_bench.experiments.scenario import LARGEST_SEED, MIN_REPLICAS, Scenario
from consensus_bench.experiments.soak_faults import START_S, Timing, draw_faults, turbulent
from consensus_bench.exploration.faults import survivable
from consensus_bench.simulation.faults.kinds import Crash
from consensus_bench.simulation.faults.targets import parse_selector, size_of
from consensus_bench.simulation.randomness import plain_stream
from consensus_bench.simulation.workload import Workload
from consensus_bench.topology import Topology, load_topology, topology_names

REPLICAS: Final = (3, 3, 5, 5, 7)
"""How many there are: the small clusters more often, because little runs often find more than big runs seldom."""
FEW: Final = (3, 3, 3, 5)
"""The same where nothing is on time."""
MOST_REPLICAS: Final = 9
MOST_OPERATIONS: Final = 600
"""About so many a run: clients that are near to everybody think in between."""


class Fixed(msgspec.Struct, frozen=True):
    """What is not drawn: the number of replicas and options of the protocol."""

    replicas: int | None = None
    options: dict[str, Any] = {}


NOTHING_FIXED: Final = Fixed()


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
    rough = turbulent(seed)
    topology, sites, client_sites = _places(plain_stream(seed, "soak", "places"), fixed.replicas, rough)
    timing = _timing(plain_stream(seed, "soak", "timing"), topology, sites, client_sites, rough)
    duration = round(START_S + timing.faults_s + timing.calm_s, 3)
    options = {**_variant(found, plain_stream(seed, "soak", "options"), len(sites), timing), **fixed.options}
    if {"window", "batch_size"} <= options.keys() and "batch_size" not in fixed.options:
        options["batch_size"] = max(1, min(int(options["batch_size"]), int(options["window"])))  # a batch must fit
    if options.get("reads") == "lease" and "check_quorum" in options and "check_quorum" not in fixed.options:
        options["check_quorum"] = True  # a lease is no longer than a leader hears a majority
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
        faults=draw_faults(found, seed, sites, options, timing, rough),
    )


# Where.


@cache
def _topologies() -> tuple[Topology, ...]:
    return tuple(load_topology(name) for name in topology_names())


def _places(draw: Random, replicas: int | None, near: bool) -> tuple[Topology, tuple[str, ...], tuple[str, ...]]:
    """A shipped matrix; sites anywhere in it, or all near to one; one to three sites with clients. ``near``: only so,
    and fewer of them, so that more happens in the same time."""
    size = draw.choice(FEW if near else REPLICAS) if replicas is None else replicas
    least = 2 * size if near else size
    topology = draw.choice([topology for topology in _topologies() if len(topology.sites) >= least])
    centre = draw.choice(topology.sites)
    if draw.random() < 0.5 or near:
        known = sorted(topology.sites, key=lambda site: 0 if site == centre else topology.rtt(centre, site))
        sites = tuple(draw.sample(known[: size + 2], size))
    else:
        sites = tuple(draw.sample(topology.sites, size))
    anywhere = (*sites, centre) if centre not in sites else sites
    return topology, sites, tuple(draw.sample(anywhere, draw.randint(1, 3)))


def _timing(draw: Random, topology: Topology, sites: tuple[str, ...], clients: tuple[str, ...], rough: bool) -> Timing:
    """``rough``: time-outs hardly above the round trip, and many of them."""
    everywhere = (*sites, *clients)
    rtt = max(topology.rtt(a, b) for a in everywhere for b in everywhere if a != b)
    low = max(30.0, rtt * draw.uniform(1.5, 4)) if rough else max(60.0, rtt * draw.uniform(2.5, 5))
    high = low * draw.uniform(1.3, 2.2)
    timeouts, longest_s = (draw.uniform(20, 60), 8.0) if rough else (draw.uniform(3, 8), 5.0)
    faults_s = min(max(high * timeouts / 1000, 1.0), longest_s)
    calm_s = min(max(high * 2 / 1000, 0.8), 3.0)
    return Timing(
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


def _variant(protocol: type[Replica], draw: Random, size: int, timing: Timing) -> dict[str, Any]:
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
        "reads": _reads(protocol, draw.random()),
        "snapshot_every": draw.choice((0, 0, 5, 40)),
        "first_members": draw.choice((0, 0, 0, 3)),
    }
    known = protocol.options_type.__struct_fields__
    return {name: value for name, value in drawn.items() if name in known}


def _reads(protocol: type[Replica], drawn: float) -> str:
    """A way to read that trusts no clock: clocks are wrong in a soak."""
    ways = [way for way in get_args(get_type_hints(protocol.options_type).get("reads")) if way != "lease"]
    return str(ways[int(drawn * len(ways))]) if ways else "log"


def keeps_promise(scenario: Scenario) -> bool:
    """Whether no more replicas crash for good than the others can do without, however the scenario was made."""
    size = len(scenario.sites)
    down = sum(
        size_of(parse_selector(fault.target), size)
        for fault in scenario.faults
        if isinstance(fault, Crash) and not fault.duration
    )
    return all(down <= survivable(options, size) for options in scenario.options.values() or ({},))
