"""Small worlds and toy protocols for the tests of the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.contract import Cluster, Command, Context, Message, Replica, View
from consensus_bench.simulation.network import NO_JITTER, Geography
from consensus_bench.simulation.profiles import Profile, find_profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings, World

MS = 1_000_000


class Ping(Message, frozen=True, gc=False):
    number: int


class Pong(Message, frozen=True, gc=False):
    number: int


class Toy(Replica):
    """Answers pings and keeps what it saw; the base of the toys. It decides nothing."""

    name = "toy"
    messages = (Ping, Pong)
    __slots__ = ("seen",)

    def __init__(self, me: int, cluster: Cluster, options: Any) -> None:
        super().__init__(me, cluster, options)
        self.seen: list[tuple[int, int, int]] = []  # (clock in ns, source, number)

    def on_start(self, ctx: Context) -> None:
        pass

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        self.seen = [(0, -1, key) for key in sorted(disk)]

    def on_request(self, ctx: Context, command: Command) -> None:
        ctx.commit(command.sequence, command)
        ctx.execute(command)
        ctx.answer(command)

    def on_ping(self, ctx: Context, source: int, message: Ping) -> None:
        self.seen.append((ctx.clock_ns, source, message.number))

    def on_pong(self, ctx: Context, source: int, message: Pong) -> None:
        self.seen.append((ctx.clock_ns, source, message.number))

    def on_timer(self, ctx: Context, name: Any) -> None:
        self.seen.append((ctx.clock_ns, self.me, name))

    def view(self) -> View:
        return View({}, (0, 0))


def geography(rtt_ms: list[list[float]], clients: tuple[int, ...] | None = None) -> Geography:
    """Replicas at every place of the matrix; clients at all of them or at ``clients``."""
    places = tuple(f"p{i}" for i in range(len(rtt_ms)))
    one_way = tuple(tuple(round(rtt / 2 * MS) for rtt in row) for row in rtt_ms)
    return Geography(places, one_way, tuple(range(len(rtt_ms))), clients or tuple(range(len(rtt_ms))))


def uniform(size: int, rtt_ms: float) -> Geography:
    return geography([[0.0 if a == b else rtt_ms for b in range(size)] for a in range(size)])


class ToyWorld(World):
    """A world of a toy protocol class that is not registered."""

    toy: type[Replica] = Toy
    profiles: list[Profile] | None = None

    def profile_of(self, replica: int) -> Profile:
        return self.profiles[replica] if self.profiles else self.profile

    def _replica(self, me: int) -> Replica:
        return self.toy(me, self.cluster, self.options)


def toy_world(toy: type[Replica], where: Geography, profile: Profile | None = None, **settings: Any) -> ToyWorld:
    """A world whose replicas are ``toy``; the registered name only lends its options."""
    kind = type("AToyWorld", (ToyWorld,), {"toy": toy, "profiles": settings.pop("profiles", None)})
    workload = settings.pop("workload", Workload(clients=1))
    world = kind(
        Settings(
            protocol=f"{__file__}:Toy", geography=where, workload=workload, profile=profile or find_profile("zero"),
            seed=settings.pop("seed", 1), jitter=settings.pop("jitter", NO_JITTER), **settings,
        )
    )  # fmt: skip
    assert isinstance(world, ToyWorld)
    return world
