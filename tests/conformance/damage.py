"""The schedule on which a replica that forgets what it acknowledged is found out, for any protocol.

Three replicas. p2 hears nothing while p0 and p1 acknowledge; then p1 crashes and comes back with a damaged disk, while
p0 is down and p2 is back. If p1 votes as if it had never acknowledged anything, p1 and p2 choose other commands for the
same places. If it stays out of quorums, nobody is served until p0 is back, and then everybody.
"""

from __future__ import annotations

from typing import Any

from fault_worlds import MATRIX, loaded
from worlds import geography

from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, World

DAMAGES = {
    "lost disk": ["crash:p1@3+0.3,disk=lose"],
    "corrupt records": ["corrupt-record:p1@2.9,records=100000", "crash:p1@3+0.3"],
    "newest record corrupt": ["corrupt-record:p1@2.9,which=newest", "crash:p1@3+0.3"],
    "misdirected write": ["misdirected-write:p1@2.5", "crash:p1@3+0.3"],
}
HEALTHY = ["crash:p1@3+0.3"]


def damaged(protocol: str, damage: list[str], **settings: Any) -> World:
    """The world of this schedule, run to its end and checked: raises what the verifier raises."""
    world = loaded(
        protocol,
        ["partition:p2|replicas@1+2.2", "crash:p0@3+4", *damage],
        geography=geography([row[:3] for row in MATRIX[:3]]),
        workload=Workload(clients=2, conflict=50.0, reads=0.2, swaps=0.5),
        client_timeout_ms=1000.0,
        duration_s=12.0,
        drain_s=60.0,
        **settings,
    )
    world.run()
    world.verifier.finish()
    return world


def serves_in_the_end(world: World) -> bool:
    """Whether every operation was answered, and many after everybody was back."""
    answered = world.operations.column("answered_ns")
    return bool((answered > 0).all() and (answered > 10 * SECOND_NS).sum() > 30)
