"""Attacks in the benchmark's own world, under load."""

from __future__ import annotations

from typing import Final

from consensus_bench.attacks.attack import HOLDS, LIVENESS, SAFETY, Attack
from consensus_bench.attacks.simulated import SITES, Simulated

ALL_CRASH: Final = "crash:all@5+1"
LIARS: Final = "lying-fsync:all@1+8"
FIVE: Final = (*SITES, "ap-northeast-1", "ap-southeast-1")
ONE_FOLLOWER: Final = (
    "crash:ap-southeast-1@2",
    "partition:ap-northeast-1|us-east-1@2",
    "partition:ap-northeast-1|eu-west-1@2",
)
"""The leader, in ap-northeast-1, reaches one follower of four, and is reached by it alone; the other two reach that
follower, and one is dead."""
NOT_TRANSITIVE: Final = (
    "partition:ap-northeast-1|us-east-1@2",
    "partition:ap-northeast-1|eu-west-1@2",
    "partition:ap-northeast-1|ap-southeast-1@2",
    "partition:ap-southeast-1|us-east-1@2",
    "partition:ap-southeast-1|us-west-2@2",
)
"""The leader, in eu-west-1, is reached by ap-southeast-1, and ap-northeast-1 reaches us-west-2 alone."""
HOWARD: Final = (
    'Howard, Abraham, "Raft does not Guarantee Liveness in the face of Network Faults" (Decentralized Thoughts, '
    "2020-12-12)"
)


def _lying(protocol: str) -> Attack:
    return Attack(
        name=f"lying-fsync-{protocol}",
        protocol=protocol,
        assumption="what fsync reports is on disk",
        guarantee="what was acknowledged survives a loss of power",
        change=f"{LIARS} before {ALL_CRASH} (docs/faults.md)",
        expected=SAFETY,
        source='Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020)',
        runner=Simulated(protocol=protocol, faults=(LIARS, ALL_CRASH), control_faults=(ALL_CRASH,)),
    )


def _cut_off(protocol: str) -> Attack:
    return Attack(
        name=f"old-leader-partitioned-{protocol}",
        protocol=protocol,
        assumption="an old leader is dead",
        guarantee="none: it may go on, but nobody in a majority listens",
        change="partition:leader|*@3+6: it serves its own clients' requests as far as it can",
        expected=HOLDS,
        source='Lamport, "Paxos Made Simple" (2001), section 3; Ongaro, Ousterhout (USENIX ATC 2014), section 5.4.3',
        runner=Simulated(protocol=protocol, faults=("partition:leader|*@3+6",), control_faults=()),
    )


ATTACKS: Final = (
    *map(_lying, ("multi-paxos", "raft", "epaxos")),
    *map(_cut_off, ("multi-paxos", "raft")),
    Attack(
        name="raft-non-transitive-partition",
        protocol="raft",
        assumption="every server reaches the leader or nobody",
        guarantee="none that is lost here: leaders change more often, service goes on",
        change="no PreVote, no CheckQuorum, while two of five servers reach one follower each and not the leader",
        expected=HOLDS,
        source=f'{HOWARD}; Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 9.6',
        runner=Simulated(
            protocol="raft", faults=NOT_TRANSITIVE, control_faults=NOT_TRANSITIVE,
            options={"pre_vote": False, "check_quorum": False}, sites=FIVE, leader="eu-west-1", duration_s=15.0,
        ),
    ),
    Attack(
        name="raft-prevote-without-checkquorum",
        protocol="raft",
        assumption="a leader that no majority answers steps down",
        guarantee="a majority that is connected finds a leader",
        change="check_quorum = false with PreVote, while the leader reaches one follower of four",
        expected=LIVENESS,
        source=HOWARD,
        runner=Simulated(
            protocol="raft", faults=ONE_FOLLOWER, control_faults=ONE_FOLLOWER, options={"check_quorum": False},
            sites=FIVE, leader="ap-northeast-1", duration_s=15.0,
        ),
        incident="Cloudflare, 2020-11-02: a switch failed in part, etcd had no stable leader; 6 h 33 min of incident",
    ),
)  # fmt: skip
