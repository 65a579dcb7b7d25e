"""The cases that are timed: named, and the same for the wall clock and for instruction counts."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consensus_bench.simulation.network import Geography, Jitter
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

# us-east-1, us-west-2, eu-west-1, ap-northeast-1, sa-east-1: round trips of the shipped aws-2020 matrix, rounded.
RTT_MS: Final = (
    (0.0, 78.0, 75.0, 167.0, 115.0),
    (78.0, 0.0, 129.0, 100.0, 183.0),
    (75.0, 129.0, 0.0, 211.0, 184.0),
    (167.0, 100.0, 211.0, 0.0, 257.0),
    (115.0, 183.0, 184.0, 257.0, 0.0),
)


PROFILE: Final = msgspec.structs.replace(find_profile("sosp13-large"), name="benchmark", fsync_ms=1.0, fsync_cv=0.5)
"""Fast enough that 2,560 clients do not saturate a leader, with a disk."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    conflict: float = 0.0
    clients: int = 20  # per site
    commits: int = 40_000
    options: dict[str, Any] = {}
    crashable: bool = False


CASES: Final = {
    "multi-paxos": Case(protocol="multi-paxos"),
    "raft": Case(protocol="raft"),
    "epaxos, 0 % conflicts": Case(protocol="epaxos"),
    "epaxos, 2 % conflicts": Case(protocol="epaxos", conflict=2.0),
    "epaxos, 25 % conflicts": Case(protocol="epaxos", conflict=25.0, commits=16_000),
    "multi-paxos, 512 clients a site": Case(protocol="multi-paxos", clients=512, commits=80_000),
    "raft, 512 clients a site": Case(protocol="raft", clients=512, commits=80_000),
    "epaxos, 0 %, 512 clients a site": Case(protocol="epaxos", clients=512, commits=80_000),
    "epaxos, 2 %, 512 clients a site": Case(protocol="epaxos", conflict=2.0, clients=512, commits=80_000),
    "raft, disks kept": Case(protocol="raft", crashable=True),
}


def world_of(case: Case, commits: int) -> World:
    """The case's world, for about ``commits`` operations (a client needs about 0.18 s for one)."""
    one_way = tuple(tuple(round(rtt * 500_000) for rtt in row) for row in RTT_MS)
    sites = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "sa-east-1")
    return World(
        Settings(
            protocol=case.protocol,
            geography=Geography(sites, one_way, tuple(range(5)), tuple(range(5))),
            workload=Workload(clients=case.clients, conflict=case.conflict),
            profile=PROFILE,
            jitter=Jitter("lognormal", 0.02),
            seed=1,
            options=case.options,
            first_leader=0,
            duration_s=commits * 0.18 / (case.clients * 5),
            warmup_s=0.5,
            crashable=case.crashable,
        )
    )
