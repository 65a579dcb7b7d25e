"""What a scenario means: its topology, places, protocols and first leader, looked up and checked before it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from consensus_bench import contract
from consensus_bench.contract import ConfigError, Options, Replica
from consensus_bench.contract.registry import display_name, find_protocol, make_options, protocol_names
from consensus_bench.experiments.scenario import DEFAULT_SITES, MIN_REPLICAS, Scenario, near
from consensus_bench.simulation.faults.kinds import ChangeMembers, Fault, HandOver
from consensus_bench.simulation.faults.parsing import fault_line
from consensus_bench.simulation.faults.validation import check_faults
from consensus_bench.simulation.network import Geography, Jitter, parse_jitter
from consensus_bench.simulation.profiles import Profile, find_profile, profile_names
from consensus_bench.topology import Topology, load_topology
from consensus_bench.topology.closed_forms import best_leader

FEW_SITES = 7
"""A topology of no more sites than this is used whole where a scenario names none."""


class Contestant(msgspec.Struct, frozen=True):
    """One protocol as it takes part: ``label`` in tables and files, ``spec`` to find it by, its given options."""

    label: str
    spec: str
    options: dict[str, Any]

    @property
    def protocol(self) -> type[Replica]:
        """Its class."""
        return find_protocol(self.spec)

    def all_options(self, size: int) -> Options:
        """Its options in a cluster of ``size``, those not given at their defaults."""
        return make_options(self.protocol, self.options, size)


class Setup(msgspec.Struct, frozen=True):
    """A scenario with everything in it looked up. ``topology`` has the places of replicas and clients alone;
    ``first_leader`` is a replica's number or None, ``leader_choice`` says in a sentence why it is that one."""

    scenario: Scenario
    topology: Topology
    sites: tuple[str, ...]
    client_sites: tuple[str, ...]
    geography: Geography
    profile: Profile
    jitter: Jitter
    contestants: tuple[Contestant, ...]
    first_leader: int | None
    leader_choice: str

    @property
    def leader_site(self) -> str | None:
        """Where the first leader stands."""
        return None if self.first_leader is None else self.sites[self.first_leader]


def prepare(scenario: Scenario, where: str = "") -> Setup:
    """Look everything up; ``ConfigError``, with ``where`` in front, for what does not exist or cannot work together."""
    try:
        return _prepare(scenario)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def _prepare(scenario: Scenario) -> Setup:
    topology = load_topology(scenario.topology)
    sites = scenario.sites or default_sites(topology)
    client_sites = scenario.client_sites or sites
    _check_sites("sites", sites, topology)
    _check_sites("client_sites", client_sites, topology)
    if len(sites) < MIN_REPLICAS:
        raise ConfigError(
            f"sites = {','.join(sites)}: too few replicas; a majority survives a failure from {MIN_REPLICAS} on"
        )
    contestants = tuple(_contestants(scenario, len(sites)))
    if scenario.profile not in profile_names():
        hint = near(scenario.profile, profile_names()) or f": choose from {', '.join(profile_names())}"
        raise ConfigError(f"profile '{scenario.profile}' is unknown{hint}")
    places = (*sites, *(site for site in client_sites if site not in sites))
    jitter = parse_jitter(scenario.jitter)
    selected = topology.select(places)
    geography = _geography(selected, scenario, sites, client_sites, jitter)
    first_leader, choice = _first_leader(scenario.leader, sites, geography)
    check_faults(scenario.faults, sites, client_sites, scenario.duration)
    check_orders(scenario.faults, contestants)
    if scenario.nemesis is not None:
        scenario.nemesis.validate(len(sites), scenario.duration)
    return Setup(
        # The scenario as it was understood: repeating it does not depend on defaults.
        scenario=msgspec.structs.replace(
            scenario,
            sites=sites,
            client_sites=client_sites,
            options={c.label: c.options for c in contestants if c.options},
        ),
        topology=selected,
        sites=sites,
        client_sites=client_sites,
        geography=geography,
        profile=find_profile(scenario.profile),
        jitter=jitter,
        contestants=contestants,
        first_leader=first_leader,
        leader_choice=choice,
    )


def default_sites(topology: Topology) -> tuple[str, ...]:
    """Five regions on three continents where the topology has them, all of a small topology."""
    if set(DEFAULT_SITES) <= set(topology.sites):
        return DEFAULT_SITES
    if len(topology.sites) <= FEW_SITES:
        return topology.sites
    raise ConfigError(f"sites: choose from the {len(topology.sites)} of {topology.name}: {', '.join(topology.sites)}")


def _check_sites(key: str, sites: tuple[str, ...], topology: Topology) -> None:
    for position, site in enumerate(sites):
        if site not in topology.sites:
            hint = near(site, topology.sites) or f": choose from {', '.join(topology.sites)}"
            raise ConfigError(f"{key}: site '{site}' is not in topology {topology.name}{hint}")
        if site in sites[:position]:
            raise ConfigError(f"{key}: site '{site}' is named twice: name it once")


def _geography(
    topology: Topology, scenario: Scenario, sites: tuple[str, ...], client_sites: tuple[str, ...], jitter: Jitter
) -> Geography:
    places = topology.sites
    spread = (
        tuple(tuple(None if a == b else topology.empirical_spread(a, b) for b in places) for a in places)
        if jitter.kind == "empirical"
        else ()
    )
    if spread and not any(value for row in spread for value in row):
        raise ConfigError(f"jitter 'empirical': topology {topology.name} has no spread; choose lognormal:CV")
    return Geography(
        places=places,
        one_way_ns=topology.delays_ns(places, scenario.local_rtt_ms),
        replicas=tuple(places.index(site) for site in sites),
        clients=tuple(places.index(site) for site in client_sites),
        spread=spread,
    )


def split_entry(entry: str) -> tuple[str, str]:
    """``LABEL=SPEC`` or a spec alone: (label or "", spec)."""
    label, equals, spec = entry.partition("=")
    if equals and not label.strip():
        raise ConfigError(f"protocol '{entry}': there is no label before '=': write LABEL={spec.strip() or 'NAME'}")
    return (label.strip(), spec.strip()) if equals else ("", entry.strip())


def check_orders(faults: Sequence[Fault], contestants: Sequence[Contestant]) -> None:
    """An operator's order must reach somebody: a protocol that does not know it is not struck."""
    orders: dict[type[Fault], type] = {HandOver: contract.HandOver, ChangeMembers: contract.ChangeMembers}
    for fault in faults:
        order = orders.get(type(fault))
        if order is not None and all(order not in c.protocol.messages for c in contestants):
            labels = ", ".join(contestant.label for contestant in contestants)
            raise ConfigError(f"fault '{fault_line(fault)}': strikes nobody: no {fault.kind} is known to {labels}")


def _contestants(scenario: Scenario, size: int) -> list[Contestant]:
    if not scenario.protocols:
        raise ConfigError(f"protocols: name at least one of {', '.join(protocol_names())}")
    found: dict[str, Contestant] = {}
    for entry in scenario.protocols:
        label, spec = split_entry(entry)
        if ".py:" not in spec and spec not in protocol_names():
            hint = near(spec, protocol_names()) or f": choose from {', '.join(protocol_names())}, or give FILE.py:CLASS"
            raise ConfigError(f"protocol '{spec}' is unknown{hint}")
        protocol = find_protocol(spec)
        label = label or display_name(spec)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
            raise ConfigError(f"protocol label '{label}': use letters, digits, '.', '_' and '-'")
        if label in found:
            raise ConfigError(f"protocol '{label}' is named twice: give one another name, as in {label}-2={spec}")
        if protocol.decides == "single":
            raise ConfigError(f"protocol '{label}' decides a single command: it cannot serve a workload")
        options = scenario.options.get(label, {})
        found[label] = Contestant(label, spec, _given_options(label, protocol, options, size))
    for name, options in scenario.options.items():
        if name in found:
            continue
        if name not in protocol_names():
            known = list(dict.fromkeys([*found, *protocol_names()]))
            hint = near(name, known) or f": choose from {', '.join(known)}"
            raise ConfigError(f"options of '{name}': there is no such protocol{hint}")
        labels = [label for label, contestant in found.items() if contestant.spec == name]
        if labels and options:
            raise ConfigError(
                f"options of '{name}': it takes part as {', '.join(labels)}: write {labels[0]}.{next(iter(options))}"
            )
        _given_options(name, find_protocol(name), options, size)
    return list(found.values())


def _given_options(label: str, protocol: type[Replica], options: dict[str, Any], size: int) -> dict[str, Any]:
    """The options that were given, as the values they stand for."""
    known = protocol.options_type.__struct_fields__
    for name in options:
        if name not in known:
            hint = near(name, known) or f": choose from {', '.join(sorted(known))}"
            raise ConfigError(f"option '{label}.{name}' is unknown{hint}")
    hints = get_type_hints(protocol.options_type)
    for name, value in options.items():
        try:
            alone = getattr(make_options(protocol, {name: value}, size), name)
        except ConfigError as error:
            if isinstance(error.__cause__, msgspec.ValidationError):
                raise ConfigError(f"option '{label}.{name}' = {value}: {_expected(hints[name])}") from error
        else:
            # No option means anything at nan or infinity, and JSON, which keeps them, has neither.
            parts = alone if isinstance(alone, tuple) else (alone,)
            if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
                raise ConfigError(f"option '{label}.{name}' = {value}: give a finite number")
    made = msgspec.json.decode(msgspec.json.encode(make_options(protocol, options, size)))
    return {name: made[name] for name in sorted(options)}


def _expected(hint: Any) -> str:
    """What an option of that type takes."""
    if get_origin(hint) is Literal:
        return f"choose from {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is tuple:
        return "give LOW,HIGH"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    kinds = [names[kind] for kind in (get_args(hint) or (hint,)) if kind in names]
    return f"give {' or '.join(kinds)}"


def _first_leader(wanted: str, sites: tuple[str, ...], geography: Geography) -> tuple[int | None, str]:
    if wanted == "none":
        return None, "No replica is asked to lead first: time-outs decide."
    if wanted != "best":
        if wanted not in sites:
            hint = near(wanted, sites) or f": choose from {', '.join(sites)}, or 'best' or 'none'"
            raise ConfigError(f"leader '{wanted}' is not a replica's site{hint}")
        return sites.index(wanted), f"{wanted} was asked for."
    leader, mean_ms = best_leader(geography.one_way_ns, geography.replicas, geography.clients)
    number = geography.replicas.index(leader)
    return number, (
        f"{sites[number]} has the lowest mean latency over the client sites by the closed form, {mean_ms:.1f} ms: the "
        "way to the leader and back plus its round trip to the nearest majority."
    )
