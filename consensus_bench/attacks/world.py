"""Attacks in the benchmark's own world, under load."""

from __future__ import annotations

from pathlib import Path
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
FOUR: Final = ("us-east-1", "us-east-2", "ca-central-1", "us-west-2")
TWO_CHANGES: Final = (
    "partition:us-east-1|replicas@2+3",
    "change-members:us-east-1@2.2,members=us-east-1+us-east-2+ca-central-1",
    "crash:ca-central-1@2.1+1.2",
    "crash:us-west-2@2.1+1.2",
    "partition:us-east-1,ca-central-1|us-east-2,us-west-2@2.5,when=leader elected",
    "change-members:us-east-2@8,members=us-east-1+us-east-2+us-west-2",
)
"""us-east-1, cut off, removes us-west-2; us-east-2 is elected by the three others (two of which come back from a crash,
so that it is first); then the first and the third are together again, and us-east-2, with us-west-2, removes the third.
"""
NO_PRE_VOTE: Final = {"pre_vote": False, "check_quorum": False}
RULES: Final = Path(__file__).parent / "rules"
DROPPED: Final = "lying-fsync:all@5+0.4"
POWER_LOST: Final = "crash:all@5.2+1"
TORN: Final = "torn-crash:all@5+1"
ROT: Final = (
    "partition:eu-west-1|replicas@1+2.2",
    "crash:us-east-1@3+4",
    "corrupt-record:us-west-2@2.9,records=100000",
    "crash:us-west-2@3+0.3",
)
"""us-east-1 and us-west-2 acknowledge while eu-west-1 hears nothing; then the disk of us-west-2 rots, it restarts, and
us-east-1 is down when eu-west-1 is back."""
FIVE_NEAR: Final = ("us-east-1", "us-east-2", "ca-central-1", "us-west-2", "us-west-1")
SLOW_CLOCK: Final = "clock-drift:us-east-1@0.5+8,ppm=-500000"
LEADER_DIES: Final = "crash:us-east-1@2"
DEPOSED: Final = "partition:us-east-1|replicas@3+4"
PAPER: Final = 'Ongaro, Ousterhout, "In Search of an Understandable Consensus Algorithm" (USENIX ATC 2014)'
THESIS: Final = 'Ongaro, "Consensus: Bridging Theory and Practice" (2014)'
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
        incident="etcd issue 6368 (2016): the directory of a renamed log file was not synced, so that the file, with "
        "what had been acknowledged from it, could be gone after a crash",
    )


def _retried(protocol: str) -> Attack:
    return Attack(
        name=f"fsync-retried-{protocol}",
        protocol=protocol,
        assumption="an fsync that failed stops the replica",
        guarantee="what was acknowledged survives a loss of power",
        change="an fsync fails, is tried again, and reports success although its pages were dropped: "
        f"{DROPPED} before {POWER_LOST}; the control stops instead (failing-fsync)",
        expected=SAFETY,
        source='Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020)',
        runner=Simulated(
            protocol=protocol, faults=(DROPPED, POWER_LOST), control_faults=("failing-fsync:all@5+0.4", POWER_LOST)
        ),
        incident='PostgreSQL, 2018 ("fsyncgate"): it had tried failed fsyncs again; from 11.2 on it stops',
    )


def _damaged(protocol: str) -> Attack:
    return Attack(
        name=f"corrupt-taken-for-never-written-{protocol}",
        protocol=protocol,
        assumption="a record that cannot be read is told from one that was never written",
        guarantee="what was acknowledged is not forgotten",
        change="after a restart "
        + (
            "an instance whose record does not match its checksum is one that was never heard of"
            if protocol == "epaxos"
            else "the log ends before the first record that does not match its checksum"
        ),
        expected=SAFETY,
        source='Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018)',
        runner=Simulated(
            protocol=protocol,
            unsafe=f"{RULES / protocol.replace('-', '_')}.py:UnsafeNeverWritten",
            faults=ROT,
            control_faults=ROT,
            workload={"clients": 4},
            duration_s=14.0,
        ),
        incident="Ganesan et al. (FAST 2017): one bad block loses or corrupts data in replicated systems, ZooKeeper, "
        "Kafka and LogCabin among them",
    )


def _torn(protocol: str) -> Attack:
    return Attack(
        name=f"torn-log-{protocol}",
        protocol=protocol,
        assumption="a crash leaves whole records",
        guarantee="none: what is torn was acknowledged to nobody, and is cut off",
        change=f"{TORN}: amid an fsync, some records reach the disk, one is torn, the rest are lost",
        expected=HOLDS,
        source='Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018)',
        runner=Simulated(protocol=protocol, faults=(TORN,), control_faults=(ALL_CRASH,)),
    )


def _stale_reads(protocol: str, reads: str, assumption: str, source: str, incident: str = "") -> Attack:
    options = {"reads": reads}
    return Attack(
        name=f"stale-reads-{protocol}" if protocol != "raft" else "raft-stale-reads",
        protocol=protocol,
        assumption=f"a leader that answers reads from its memory {assumption}",
        guarantee="reads are not stale",
        change=f"it does not ask, while {DEPOSED}",
        expected=SAFETY,
        runner=Simulated(
            protocol=protocol, unsafe=f"{RULES / protocol.replace('-', '_')}.py:UnsafeUnaskedReads",
            faults=(DEPOSED,), control_faults=(DEPOSED,), options=options, control_options=options,
            workload={"reads": 0.6, "swaps": 0.2, "conflict": 100.0, "clients": 3},
            sites=FIVE_NEAR, leader=FIVE_NEAR[0], seeds=(1, 2, 3, 4),
        ),
        source=source,
        incident=incident,
    )  # fmt: skip


def _drifting(protocol: str, source: str) -> Attack:
    options = {"reads": "lease", "election_timeout_ms": [1000.0, 1200.0]}
    return Attack(
        name=f"lease-clock-drift-{protocol}",
        protocol=protocol,
        assumption="the rates of two clocks differ by at most clock_drift_bound",
        guarantee="a read at the leaseholder is not stale",
        change=f"{SLOW_CLOCK} while {DEPOSED}: its lease lasts twice as long as the promises that it rests on",
        expected=SAFETY,
        source=source,
        runner=Simulated(
            protocol=protocol,
            faults=(SLOW_CLOCK, DEPOSED),
            control_faults=(DEPOSED,),
            options=options,
            control_options=options,
            workload={"reads": 0.6, "swaps": 0.2, "conflict": 100.0, "clients": 3},
            sites=FIVE_NEAR,
            leader=FIVE_NEAR[0],
            seeds=(1, 2, 3, 4),
        ),
        incident="TiKV, 2016: lease reads that relied on CheckQuorum alone; a monotonic clock and a bound were added "
        "(tikv pull requests 964, 1127, 1301)",
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
    *map(_retried, ("multi-paxos", "raft", "epaxos")),
    *map(_damaged, ("multi-paxos", "raft", "epaxos")),
    *map(_torn, ("multi-paxos", "raft", "epaxos")),
    _drifting("raft", 'Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.4.1'),
    _drifting("multi-paxos", 'Chandra et al., "Paxos Made Live" (PODC 2007), section 5.2'),
    _stale_reads(
        "raft", "index", "has asked a majority whether it still leads", f"{THESIS}, section 6.4",
        "etcd 0.4.1 and Consul, 2014: reads from the leader's memory were stale (Kingsbury, \"Jepsen: etcd and "
        'Consul")',
    ),
    _stale_reads("multi-paxos", "lease", "holds a lease", 'Chandra et al., "Paxos Made Live" (PODC 2007), section 5.2'),
    Attack(
        name="raft-single-server-change",
        protocol="raft",
        assumption="a leader has committed an entry of its own term before it changes the members",
        guarantee="two changes of one server each have majorities that meet",
        change="_may_change does not ask for it, with SingleServerChange, which changes the members in one step",
        expected=SAFETY,
        source=f"{THESIS}, section 4.1, and its correction: Ongaro, \"bug in single-server membership changes\" "
        "(raft-dev, 2015-07-10)",
        incident="atomix/copycat issue 23 (2015), axon-server-se pull request 120: changes before an entry of the "
        "leader's own term was committed",
        runner=Simulated(
            protocol=f"{RULES}/raft.py:SingleServerChange", unsafe=f"{RULES}/raft.py:UnsafeSingleServerChange",
            faults=TWO_CHANGES, control_faults=TWO_CHANGES, options=NO_PRE_VOTE, control_options=NO_PRE_VOTE,
            sites=FOUR, leader=FOUR[0], duration_s=14.0,
        ),
    ),
    Attack(
        name="epaxos-endless-chain",
        protocol="epaxos",
        assumption="chains of interfering commands end",
        guarantee="a committed command is executed before long",
        change="all operations fall on one key and never pause: each depends on one that is not committed yet; the "
        "control has pauses",
        expected=LIVENESS,
        source='Moraru et al. (SOSP 2013), section 4.6; Tollman et al., "EPaxos Revisited" (NSDI 2021)',
        incident="the authors' implementation: efficient/epaxos issues 14 and 19 (livelock; 2020)",
        runner=Simulated(
            protocol="epaxos", faults=(), control_faults=(), sites=FIVE, leader=FIVE[0],
            workload={"rate": 400.0, "conflict": 100.0}, control_workload={"rate": 4.0},
        ),
    ),
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
        name="raft-equal-timeouts",
        protocol="raft",
        assumption="election time-outs are random",
        guarantee="split votes end",
        change="the leader dies, and the two others have time-outs of exactly 1 s; the control draws from 1 to 2 s",
        expected=LIVENESS,
        source=f'{PAPER}, section 5.2; {THESIS}, section 3.4',
        runner=Simulated(
            protocol="raft", faults=(LEADER_DIES,), control_faults=(LEADER_DIES,), leader="us-east-1",
            options={"election_timeout_ms": [1000.0, 1000.0]},
            control_options={"election_timeout_ms": [1000.0, 2000.0]}, duration_s=15.0,
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
        incident="CockroachDB had PreVote without CheckQuorum until 2023 (pull request 104042): under partial "
        "partitions a range could become unavailable for ever",
    ),
)  # fmt: skip
