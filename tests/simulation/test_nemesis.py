"""Whole runs under a nemesis: nothing is lost, everybody is served in the end, and a seed says everything."""

from __future__ import annotations

import pytest
from fault_worlds import MATRIX, PROTOCOLS, loaded
from worlds import geography

from consensus_bench.simulation.faults import Nemesis
from consensus_bench.simulation.faults.parsing import fault_line
from consensus_bench.simulation.operations import KINDS, NEVER
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, World
from consensus_bench.verification import History


def stormy(protocol: str, seed: int, replicas: int = 5) -> World:
    """Faults from 1 s to 10 s, calm until 14 s."""
    where = geography([row[:replicas] for row in MATRIX[:replicas]])
    load = Workload(clients=1, conflict=40.0, reads=0.3, swaps=0.3)
    return loaded(
        protocol, nemesis=Nemesis(stop="10 s"), seed=seed, duration_s=14.0, workload=load, geography=where
    )  # fmt: skip


def linearizable(world: World) -> str:
    names = ("client", "key", "kind", "value", "result", "sent_ns", "answered_ns")
    history = History()
    for client, key, kind, value, result, sent, answered in zip(
        *(world.operations.column(name).tolist() for name in names), strict=True
    ):
        history.append(
            client, key, KINDS[kind], value, None if result == NEVER else result, sent,
            None if answered == NEVER else answered,
        )  # fmt: skip
    return history.check().verdict


@pytest.mark.parametrize("replicas", [3, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_and_all_are_served_when_it_is_calm(protocol: str, seed: int, replicas: int) -> None:
    world = stormy(protocol, seed, replicas)
    world.run()
    assert len(world.fault_log) >= 3, "a nemesis that does nothing proves nothing"
    assert all(check.verdict == "holds" for check in world.verifier.finish())
    assert linearizable(world) == "holds"
    answered = world.operations.column("answered_ns")
    assert (answered > 0).all()
    assert (answered > 13 * SECOND_NS).sum() > 5 * replicas


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stormy_run_is_a_function_of_its_settings(protocol: str) -> None:
    first, second = stormy(protocol, 4), stormy(protocol, 4)
    for world in (first, second):
        world.run()
    assert first.fault_log == second.fault_log
    assert (first.operations.table() == second.operations.table()).all()
    assert first.usage() == second.usage()


def test_what_was_drawn_can_be_replayed_as_a_list() -> None:
    """The nemesis' faults given one by one make the same run: that is what shrinking a failure needs."""
    drawn = stormy("raft", 6)
    faults = Nemesis(stop="10 s").draw(6, [f"p{number}" for number in range(5)], 14.0)
    listed = loaded(
        "raft", [fault_line(fault) for fault in faults], seed=6, duration_s=14.0, geography=geography(MATRIX),
        workload=Workload(clients=1, conflict=40.0, reads=0.3, swaps=0.3),
    )  # fmt: skip
    for world in (drawn, listed):
        world.run()
    assert drawn.fault_log == listed.fault_log
    assert (drawn.operations.table() == listed.operations.table()).all()


def test_all_protocols_meet_the_same_faults() -> None:
    """Where faults depend on no leader, they are the same for everybody (common random numbers)."""
    logs = []
    for protocol in PROTOCOLS:
        world = loaded(protocol, ["crash:any 2@2+1", "swizzle:any 2@4+2", "lossy-link:any 1@7+1,rate=0.2"])
        world.run()
        logs.append(world.fault_log)
    assert logs[0] == logs[1] == logs[2]
