"""Power fails at the end of each fsync, under load: what was acknowledged is on a quorum's disks.

Each instant at which a record becomes durable is a prefix of that disk. All replicas at once lose their memories there
(nothing but the disks remembers), or the leader alone does while the others go on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fault_worlds import PROTOCOLS, fsync, loaded

from consensus_bench.experiments.measure import judged
from consensus_bench.experiments.soak_run import SoakWorld
from consensus_bench.simulation.disk import Disk
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS

DURATION_S = 1.2
PARTS = 4
"""Every prefix is tried, some 250 a protocol, in so many tests."""


def world_of(protocol: str, faults: list[str]) -> SoakWorld:
    """It goes on until the replicas agree."""
    world = loaded(
        protocol,
        faults,
        crashable=True,
        profile=fsync(20.0),
        workload=Workload(clients=2, conflict=30.0, reads=0.3, swaps=0.4),
        client_timeout_ms=500.0,
        duration_s=DURATION_S,
        warmup_s=0.0,
        options={"election_timeout_ms": (300.0, 600.0), "heartbeat_ms": 40.0, "retry_ms": 200.0},
        drain_s=60.0,
    )
    return SoakWorld(world.settings)


@cache
def durable_instants(protocol: str, replica: int | None) -> tuple[int, ...]:
    """When records of this replica (None: of any) become durable in a run without faults, in ns."""
    ends: dict[int, set[int]] = {}
    write = Disk.write

    def noting(disk: Disk, now_ns: int, at_ns: int, record: list[Any]) -> int:
        end = write(disk, now_ns, at_ns, record)
        ends.setdefault(id(disk), set()).add(end)
        return end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Disk, "write", noting)
        world = world_of(protocol, [])
        world.run()
    disks = [id(machine.disk) for machine in world.machines]
    found = set[int]().union(*(ends[disk] for disk in (disks if replica is None else [disks[replica]])))
    return tuple(sorted(end for end in found if 0.2 * SECOND_NS < end < DURATION_S * SECOND_NS))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("target", "replica"), [("all", None), ("leader", 0)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_crash_at_any_durable_prefix_loses_nothing_that_was_acknowledged(
    protocol: str, target: str, replica: int | None, part: int
) -> None:
    found = durable_instants(protocol, replica)
    assert len(found) > 40, "there is hardly anything to interrupt"
    for at_ns in found[part::PARTS]:
        world = world_of(protocol, [f"crash:{target}@{at_ns} ns+30 ms"])
        result, table = judged("run", world, lambda: False)
        wrong = [check for check in result.checks if check.verdict != "holds"]
        assert not wrong, f"power lost at {at_ns} ns: {wrong}"
        answered = world.operations.column("answered_ns")
        assert (answered[answered > 0] < at_ns).any(), "nothing had been acknowledged"
        executed = {world.verifier.executions(replica) for replica in range(5)}
        assert executed == {len(table)}, f"power lost at {at_ns} ns: the replicas executed {executed} of {len(table)}"


@pytest.mark.parametrize("mutant", ["TermNotDurable", "AcknowledgesEarly"])
def test_who_speaks_before_the_disk_is_found_out(mutant: str) -> None:
    spec = f"{Path(__file__).parents[1] / 'mutants' / 'raft_mutants.py'}:{mutant}"
    worlds = (world_of(spec, [f"crash:all@{at_ns} ns+30 ms"]) for at_ns in durable_instants(spec, None))
    assert any(
        check.verdict == "violated" for world in worlds for check in judged("run", world, lambda: False)[0].checks
    )
