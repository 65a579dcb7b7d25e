"""Closed-form latencies beside the measured ones: what each protocol must have at low load, what none can beat."""

from __future__ import annotations

from typing import Final

import msgspec

from consensus_bench.experiments.setup import Contestant, Setup
from consensus_bench.topology.closed_forms import epaxos_fast_ms, floor_ms, leader_based_ms, majority

LED: Final = ("multi-paxos", "raft")
LEADERLESS: Final = ("epaxos",)
"""Whose closed forms are known. A formula says what messages a protocol sends: nothing in its class tells that."""


class Bound(msgspec.Struct, frozen=True):
    """For one protocol and client site: ``bound_ms``, this protocol's latency without jitter, costs and conflicts (None
    where no closed form is known); ``floor_ms``, what physics allow any protocol with majorities, or with the smaller
    quorum that this one needs (Flexible Paxos)."""

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
            floor_ms(delays, replicas, client, _smallest_quorum(setup, contestant)),
        )
        for contestant in setup.contestants
        for number, client in enumerate(geography.clients)
    ]


def _bound(setup: Setup, contestant: Contestant, client: int) -> float | None:
    geography = setup.geography
    delays, replicas = geography.one_way_ns, geography.replicas
    options = contestant.all_options(len(replicas))
    if contestant.spec in LEADERLESS:
        # Timestamp-ordered queueing waits by the clock for the farthest of the quorum, and a slack.
        return None if getattr(options, "toq", False) else epaxos_fast_ms(delays, replicas, client)
    if contestant.spec not in LED or setup.first_leader is None:
        return None  # nobody knows what it does, or who will lead
    return leader_based_ms(delays, replicas, client, replicas[setup.first_leader], _phase2_quorum(setup, contestant))


def _phase2_quorum(setup: Setup, contestant: Contestant) -> int | None:
    return getattr(contestant.all_options(len(setup.sites)), "phase2_quorum", None) or None


def _smallest_quorum(setup: Setup, contestant: Contestant) -> int:
    usual = majority(len(setup.sites))
    return min(usual, _phase2_quorum(setup, contestant) or usual)
