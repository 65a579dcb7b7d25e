"""Worlds with faults for the tests: toys that say what reached them, and protocols under load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worlds import MS, Ping, Toy, geography, toy_world, uniform

from consensus_bench.contract import Context, Replica
from consensus_bench.simulation.faults.parsing import parse_faults
from consensus_bench.simulation.network import Geography, Jitter
from consensus_bench.simulation.profiles import Profile, find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

PROTOCOLS = ("multi-paxos", "raft", "epaxos")
MATRIX = [[0.0, 20, 40, 60, 80], [20, 0, 30, 50, 70], [40, 30, 0, 20, 60], [60, 50, 20, 0, 90], [80, 70, 60, 90, 0]]


class Beating(Toy):
    """Sends a numbered ping to everybody each 10 ms, by a timer; what a replica has seen is (ms, source, number)."""

    __slots__ = ("beats",)

    def __init__(self, me: int, cluster: Any, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.beats = 0

    def on_start(self, ctx: Context) -> None:
        ctx.set_timer("beat", 10 * MS)

    def recover(self, ctx: Context, disk: Any) -> None:
        self.on_start(ctx)

    def on_timer(self, ctx: Context, name: Any) -> None:
        self.beats += 1
        ctx.broadcast_unsynced(self.others, Ping(self.beats))
        ctx.set_timer("beat", 10 * MS)


class Writing(Toy):
    """Writes a record each 10 ms and tells replica 0 when it is durable. A restarted one has seen what its disk had."""

    __slots__ = ("beats", "found")

    def __init__(self, me: int, cluster: Any, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.beats = 0
        self.found: dict[Any, Any] = {}

    def on_start(self, ctx: Context) -> None:
        if self.me:
            ctx.set_timer("write", 10 * MS)

    def recover(self, ctx: Context, disk: Any) -> None:
        self.found = dict(disk)

    def on_timer(self, ctx: Context, name: Any) -> None:
        self.beats += 1
        ctx.persist(self.beats, self.beats * 100)
        ctx.send(0, Ping(self.beats))
        ctx.set_timer("write", 10 * MS)


def toys(
    toy: type[Replica],
    faults: Sequence[Any],
    until_ms: float = 1000,
    where: Geography | None = None,
    **settings: Any,
) -> World:
    """A world of three such replicas (p0, p1, p2), 20 ms round trip, run up to then with these faults."""
    world = toy_world(toy, where or uniform(3, 20.0), faults=parse_faults(faults), **settings)
    for machine in world.machines:
        machine.start()
    assert world.injector is not None
    world.injector.start()
    world.env.run(until=round(until_ms * MS))
    return world


def heard(world: World, to: int, source: int | None = None) -> list[tuple[float, int]]:
    """What ``to`` has seen: (ms, number), of one source or of all."""
    seen = world.machines[to].replica.seen  # type: ignore[attr-defined]
    return [(at / MS, number) for at, who, number in seen if source is None or who == source]


def fsync(mean_ms: float) -> Profile:
    return Profile(name="disk", source="test", fsync_ms=mean_ms)


def loaded(protocol: str, faults: Sequence[Any] = (), **changes: Any) -> World:
    """Five replicas with two clients each for 10 s (not run yet)."""
    settings: dict[str, Any] = {
        "workload": Workload(clients=2, conflict=30.0, reads=0.3, swaps=0.3),
        "profile": find_profile("m5-large"),
        "jitter": Jitter("lognormal", 0.05),
        "seed": 3,
        "first_leader": 0,
        "duration_s": 10.0,
        "warmup_s": 0.5,
        "client_timeout_ms": 2000.0,
        "geography": geography(MATRIX),
    }
    return World(Settings(protocol=protocol, faults=parse_faults(faults), **{**settings, **changes}))
