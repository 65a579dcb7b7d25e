"""Whole runs of the registered protocols: one event a message, determinism, identical operations, crash and restart."""

from __future__ import annotations

from collections import Counter
from heapq import heappush
from typing import Any

import pytest
import simpy
from worlds import geography

from consensus_bench.simulation import clients, hot_path
from consensus_bench.simulation.events import Answer
from consensus_bench.simulation.network import Geography, Jitter
from consensus_bench.simulation.profiles import find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import SECOND_NS, Settings, World

PROTOCOLS = ("multi-paxos", "raft", "epaxos")
MATRIX = [[0.0, 20, 40, 60, 80], [20, 0, 30, 50, 70], [40, 30, 0, 20, 60], [60, 50, 20, 0, 90], [80, 70, 60, 90, 0]]


def world(protocol: str, **changes: Any) -> World:
    where: Geography = changes.pop("geography", geography(MATRIX))
    settings: dict[str, Any] = {
        "workload": Workload(clients=4, conflict=20.0, reads=0.3, swaps=0.2),
        "profile": find_profile("m5-large"),
        "jitter": Jitter("lognormal", 0.05),
        "seed": 3,
        "first_leader": 0,
        "duration_s": 3.0,
        "warmup_s": 0.5,
    }
    return World(Settings(protocol=protocol, geography=where, **{**settings, **changes}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_event_a_message(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries between machines plus answers are precisely what the machines sent; requests one each."""
    seen: Counter[str] = Counter()

    def push(queue: Any, entry: Any) -> None:
        event = entry[3]
        if isinstance(event, Answer):
            seen["answers"] += 1
        elif event.sender.me < 0:
            seen["requests"] += 1
        elif event.callbacks[0] != w.machines[event.sender.me].own_callbacks[0]:
            seen["between replicas"] += 1
        heappush(queue, entry)

    def schedule(self: Any, event: Any, *rest: Any) -> None:
        seen["other"] += 1
        original(self, event, *rest)

    original = simpy.Environment.schedule
    monkeypatch.setattr(simpy.Environment, "schedule", schedule)
    monkeypatch.setattr(hot_path, "push", push)
    monkeypatch.setattr(clients, "heappush", push)
    w = world(protocol)
    w.run()
    operations = w.operations.column("attempts")
    assert len(operations) > 500
    assert seen["requests"] == operations.sum() == len(operations)
    assert seen["between replicas"] + seen["answers"] == sum(m.counters().sent for m in w.machines)
    assert seen["answers"] == len(operations)
    assert seen["other"] < 0.25 * seen["between replicas"], "timers must not have an event an operation"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_run_is_a_function_of_its_settings(protocol: str) -> None:
    first, second, other = world(protocol), world(protocol), world(protocol, seed=4)
    for w in (first, second, other):
        w.run()
    assert (first.operations.table() == second.operations.table()).all()
    assert first.usage() == second.usage()
    assert not (first.operations.column("answered_ns")[:50] == other.operations.column("answered_ns")[:50]).all()


@pytest.mark.parametrize("rate", [0.0, 200.0])
def test_protocols_are_asked_identical_operations(rate: float) -> None:
    """(client, sequence) -> (key, kind, value), and the due time in an open loop, whatever the protocol does."""
    asked = []
    for protocol in PROTOCOLS:
        w = world(protocol, workload=Workload(clients=4, conflict=30.0, reads=0.5, rate=rate))
        w.run()
        names = ["client", "sequence", "key", "kind", "value"] + (["due_ns"] if rate else [])
        rows = zip(*(w.operations.column(name).tolist() for name in names), strict=True)
        asked.append({row[:2]: row[2:] for row in rows})
    common = set.intersection(*map(set, asked))
    assert len(common) > 300
    for other in asked[1:]:
        assert [asked[0][at] for at in sorted(common)] == [other[at] for at in sorted(common)]
    if rate:
        assert asked[0] == asked[1] == asked[2]


@pytest.mark.parametrize("warmup_s", [0.0, 0.5])
def test_no_queue_of_the_first_election_is_measured(warmup_s: float) -> None:
    """At 96 per cent of what the leader can do, a queue from before it led would outlast the warm-up by seconds: the
    median would be some 10 ms above Raft's, and more answered than was due."""
    workload = Workload(rate=7400.0, swaps=0.5)
    w = world("multi-paxos", workload=workload, warmup_s=warmup_s, duration_s=1.0)
    w.run()
    due, answered = w.operations.column("due_ns"), w.operations.column("answered_ns")
    assert 0 <= due.min() - warmup_s / 2 * SECOND_NS < SECOND_NS / 100
    if warmup_s:
        start, end = warmup_s * SECOND_NS, SECOND_NS
        assert ((answered >= start) & (answered < end)).sum() < 1.02 * ((due >= start) & (due < end)).sum()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("victim", [0, 2])
def test_crash_and_restart_under_load(protocol: str, victim: int) -> None:
    """A replica (the leader, another) dies and comes back from its disk: every operation is answered in the end, and
    the verification of the run holds throughout."""
    w = world(protocol, crashable=True, client_timeout_ms=2000.0, duration_s=12.0, workload=Workload(clients=2))

    def faults() -> Any:
        yield w.env.timeout(3 * SECOND_NS)
        w.crash(victim)
        yield w.env.timeout(4 * SECOND_NS)
        w.restart(victim)

    w.env.process(faults())
    w.run()
    answered = w.operations.column("answered_ns")
    assert (answered > 0).all()
    assert (answered > 9 * SECOND_NS).sum() > 100
    assert w.machines[victim].counters().executed > 0


@pytest.mark.parametrize("protocol", ["multi-paxos", "raft"])
def test_what_a_dead_leader_took_with_it_is_asked_of_the_next(protocol: str) -> None:
    """Clients at living replicas need not time out: their replica passes on again what the dead leader had."""
    w = world(protocol, crashable=True, client_timeout_ms=20_000.0, duration_s=10.0, workload=Workload(clients=3))

    def faults() -> Any:
        yield w.env.timeout(4 * SECOND_NS)
        w.crash(0)

    w.env.process(faults())
    w.run()
    column = w.operations.column
    elsewhere = column("site") != 0
    assert (column("attempts")[elsewhere] == 1).all()
    waited = column("answered_ns") - column("due_ns")
    assert 1 * SECOND_NS < waited[elsewhere].max() < 5 * SECOND_NS


def test_clients_return_to_their_own_replica() -> None:
    """Those of a replica that dies ask the next one while it is down, and come back when it is."""
    w = world("raft", crashable=True, client_timeout_ms=500.0, duration_s=12.0, workload=Workload(clients=2))

    def faults() -> Any:
        yield w.env.timeout(3 * SECOND_NS)
        w.crash(2)
        yield w.env.timeout(4 * SECOND_NS)
        w.restart(2)

    w.env.process(faults())
    asked: list[tuple[int, int]] = []
    site = w.sites[2]
    for replica, link in enumerate(site.links):

        def noted(event: Any, replica: int = replica, on: Any = link.callbacks[0]) -> None:
            asked.append((w.env.now, replica))
            on(event)

        link.callbacks = (noted,)
    w.run()
    home = [at for at, replica in asked if replica == 2]
    away = [at for at, replica in asked if replica != 2]
    assert min(away) > 3 * SECOND_NS
    assert max(away) < 7.5 * SECOND_NS
    assert sum(at > 8 * SECOND_NS for at in home) > 10
    assert not any(3.6 * SECOND_NS < at < 7 * SECOND_NS for at in home), "nobody asks a dead replica again"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_without_a_replica_at_their_site(protocol: str) -> None:
    where = geography(MATRIX)
    where = Geography(where.places, where.one_way_ns, (0, 1, 2), (3, 4))
    w = world(protocol, geography=where, workload=Workload(clients=2))
    w.run()
    assert (w.operations.column("answered_ns") > 0).all()
    assert set(w.operations.column("site").tolist()) == {0, 1}
