"""Closed-form latencies beside the measured ones: what each protocol must have at low load, what none can beat."""

from __future__ import annotations

import msgspec

from consensus_bench.experiments.setup import Contestant, Setup
from consensus_bench.topology.closed_forms import epaxos_fast_ms, floor_ms, leader_based_ms


class Bound(msgspec.Struct, frozen=True):
    """For one protocol and client site: ``bound_ms``, this protocol's latency without jitter, costs and conflicts (None
    where no closed form is known); ``floor_ms``, what physics and majorities allow any protocol."""

    protocol: str
    site: str
    bound_ms: float | None
    floor_ms: float


def bounds(setup: Setup) -> list[Bound]:
    """All of them, in the order of protocols and client sites."""
    geography = setup.geography
    delays, replicas = geography.one_way_ns, geography.replicas
    return [
        Bound(
            contestant.label,
            setup.client_sites[number],
            _bound(setup, contestant, client),
            floor_ms(delays, replicas, client),
        )
        for contestant in setup.contestants
        for number, client in enumerate(geography.clients)
    ]


def _bound(setup: Setup, contestant: Contestant, client: int) -> float | None:
    geography = setup.geography
    delays, replicas = geography.one_way_ns, geography.replicas
    if not contestant.has_leader:
        return epaxos_fast_ms(delays, replicas, client)
    if setup.first_leader is None or ".py:" in contestant.spec:
        return None  # nobody knows who will lead; a protocol of one's own may lead from anywhere
    quorum = getattr(contestant.all_options(len(replicas)), "phase2_quorum", None) or None
    return leader_based_ms(delays, replicas, client, replicas[setup.first_leader], quorum)
