"""What an action means in the world of the drivers without SimPy: barrier, crash, recovery, messages under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from consensus_bench.contract import (
    Cluster,
    Command,
    Context,
    Entry,
    Message,
    Options,
    PropertyViolated,
    Replica,
    Snapshot,
    TimerName,
    View,
)
from consensus_bench.exploration import World


class Do(Message, frozen=True):
    """Carry out a list of context calls: (method, arguments...)."""

    calls: tuple[tuple[Any, ...], ...]


class Said(Message, frozen=True):
    number: int


class Puppet(Replica):
    """Does what it is told and remembers what it was given."""

    __slots__ = ("heard", "recovered")
    name = "puppet"
    messages = (Do, Said, Snapshot)

    def __init__(self, me: int, cluster: Cluster, options: Options) -> None:
        super().__init__(me, cluster, options)
        self.heard: list[Any] = []
        self.recovered: dict[Any, Any] = {}

    def on_start(self, ctx: Context) -> None:
        pass

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        self.recovered = dict(disk)

    def on_request(self, ctx: Context, command: Command) -> None:
        self.heard.append(command)

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        self.heard.append((name, ctx.clock_ns))

    def on_do(self, ctx: Context, source: int, message: Do) -> None:
        for name, *arguments in message.calls:
            getattr(ctx, name)(*arguments)

    def on_said(self, ctx: Context, source: int, message: Said) -> None:
        self.heard.append((source, message.number))

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        self.heard.append((source, message))

    def view(self) -> View:
        return View({0: Entry("accepted", None)}, (0, 0))


ASK = Command(1, 1, "swap", "x", 5)


class Puppets:
    """A world of puppets and the strings."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Command, int | None]] = []
        self.world = World(
            Puppet,
            Options(),
            Cluster(3),
            draw=lambda low, high: low,
            answered=lambda replica, command, result: self.answers.append((replica, command, result)),
            clock=lambda replica: self.world.now_ns + 1000 * replica,
        )
        self.world.start()

    def do(self, replica: int, *calls: tuple[Any, ...]) -> None:
        """Replica takes one step with these calls."""
        self.world.in_flight.append((replica, replica, Do(calls)))
        self.world.deliver(len(self.world.in_flight) - 1)

    def under_way(self) -> list[tuple[int, int, int]]:
        """(source, to, number) of what is in the network."""
        return [(source, to, said.number) for source, to, said in self.world.in_flight if isinstance(said, Said)]

    def heard(self, replica: int) -> list[Any]:
        """What reached it."""
        puppet = self.world.servers[replica].replica
        assert isinstance(puppet, Puppet)
        return puppet.heard


@pytest.fixture
def puppets() -> Puppets:
    return Puppets()


def test_a_snapshot_comes_back_and_is_installed_elsewhere(puppets: Puppets) -> None:
    """It is the state at the moment of the call, behind the disk like every execution."""
    puppets.do(0, ("persist", 1, ASK), ("commit", 1, ASK), ("execute", ASK), ("take_snapshot", 1))
    assert puppets.world.in_flight == []
    puppets.world.sync(0, 1)
    snapshot = Snapshot(1, (("x", 5),))  # and no result: that of a put is None
    assert puppets.world.in_flight == [(0, 0, snapshot)]
    puppets.world.deliver(0)
    assert puppets.heard(0) == [(0, snapshot)]
    look = Command(2, 1, "get", "x")
    puppets.do(1, ("install", snapshot), ("read", look), ("answer", look))
    assert puppets.answers == [(1, look, 5)]


def test_a_send_waits_for_the_writes_of_its_own_handler(puppets: Puppets) -> None:
    puppets.do(0, ("persist", "a", 1), ("send", 1, Said(1)))
    assert puppets.under_way() == []
    puppets.world.sync(0, 1)
    assert puppets.under_way() == [(0, 1, 1)]


def test_a_send_before_the_first_write_does_not_wait_for_it(puppets: Puppets) -> None:
    """Program order: the protocol must write first, or the scheduler shows what happens."""
    puppets.do(0, ("send", 1, Said(1)), ("persist", "a", 1), ("send", 1, Said(2)))
    assert puppets.under_way() == [(0, 1, 1)]
    puppets.do(0, ("send", 1, Said(3)), ("persist", "b", 1))
    puppets.world.sync(0, 1)
    assert puppets.under_way() == [(0, 1, 1), (0, 1, 2), (0, 1, 3)]


def test_a_send_without_a_write_waits_for_every_earlier_write(puppets: Puppets) -> None:
    """The barrier is cumulative: the second handler wrote nothing."""
    puppets.do(0, ("persist", "a", 1))
    puppets.do(0, ("persist", "b", 1))
    puppets.do(0, ("broadcast", [1, 2], Said(1)))
    puppets.world.sync(0, 1)
    assert puppets.under_way() == []
    puppets.world.sync(0, 1)
    assert puppets.under_way() == [(0, 1, 1), (0, 2, 1)]


def test_an_unsynced_send_leaves_at_once(puppets: Puppets) -> None:
    puppets.do(0, ("persist", "a", 1), ("send_unsynced", 1, Said(1)), ("broadcast_unsynced", (1, 2), Said(2)))
    assert puppets.under_way() == [(0, 1, 1), (0, 1, 2), (0, 2, 2)]


def test_another_replica_disk_holds_nothing_up(puppets: Puppets) -> None:
    puppets.do(0, ("persist", "a", 1))
    puppets.do(1, ("send", 2, Said(1)))
    assert puppets.under_way() == [(1, 2, 1)]


def test_commit_execution_and_answer_wait_in_order(puppets: Puppets) -> None:
    puppets.do(0, ("persist", 1, ASK), ("commit", 1, ASK), ("execute", ASK), ("answer", ASK))
    assert (puppets.world.summary.commits, puppets.answers) == (0, [])
    puppets.world.sync(0, 1)
    assert (puppets.world.summary.commits, puppets.world.summary.executions) == (1, 1)
    assert puppets.answers == [(0, ASK, None)]
    assert puppets.world.servers[0].store == {"x": 5}


def test_a_crash_loses_what_waits_and_keeps_a_prefix(puppets: Puppets) -> None:
    puppets.do(0, ("persist", "a", 1), ("persist", "b", 1), ("send", 1, Said(1)))
    puppets.do(0, ("persist", "a", 2), ("forget", "b"), ("send", 1, Said(2)))
    puppets.do(0, ("persist", "c", 3), ("send", 1, Said(3)))
    puppets.world.crash(0, survive=2)
    assert puppets.under_way() == []
    puppets.world.restart(0)
    puppet = puppets.world.servers[0].replica
    assert isinstance(puppet, Puppet)
    assert puppet.recovered == {"a": 2}
    summary = puppets.world.summary
    assert (summary.records_survived, summary.records_lost, summary.effects_lost) == (2, 1, 3)


def test_a_restarted_replica_does_not_wait_for_writes_of_its_last_life(puppets: Puppets) -> None:
    puppets.do(0, ("persist", "a", 1))
    puppets.world.crash(0)
    puppets.world.restart(0)
    puppets.do(0, ("send", 1, Said(1)))
    assert puppets.under_way() == [(0, 1, 1)]
    puppets.do(0, ("persist", "b", 1), ("send", 1, Said(2)))
    assert len(puppets.under_way()) == 1
    puppets.world.sync(0, 1)
    assert len(puppets.under_way()) == 2


def test_a_crash_empties_the_state_machine_and_disarms_timers(puppets: Puppets) -> None:
    puppets.do(0, ("commit", 1, ASK), ("execute", ASK), ("set_timer", "t", 5))
    puppets.world.crash(0)
    server = puppets.world.servers[0]
    assert (server.store, server.results, server.timers, server.executed) == ({}, {}, {}, 0)


def test_messages_to_a_dead_replica_are_lost_and_its_own_die_with_it(puppets: Puppets) -> None:
    puppets.do(0, ("send", 0, Said(1)), ("send", 1, Said(2)))
    puppets.do(1, ("send", 0, Said(3)), ("send", 0, Said(4)))
    puppets.world.crash(0)
    assert puppets.under_way() == [(0, 1, 2), (1, 0, 3), (1, 0, 4)]
    puppets.world.deliver(1)
    puppets.world.restart(0)
    assert puppets.under_way() == [(0, 1, 2), (1, 0, 4)]
    puppets.world.deliver(1)
    assert puppets.heard(0) == [(1, 4)]


def test_delivery_in_any_order_twice_or_never(puppets: Puppets) -> None:
    for number in (1, 2, 3):
        puppets.do(0, ("send", 1, Said(number)))
    puppets.world.deliver(1, keep=True)
    puppets.world.deliver(1)
    puppets.world.drop(0)
    puppets.world.deliver(0)
    assert puppets.heard(1) == [(0, 2), (0, 2), (0, 3)]
    assert puppets.world.in_flight == []


def test_a_request_is_under_way_like_a_message(puppets: Puppets) -> None:
    puppets.world.request(2, ASK)
    assert puppets.heard(2) == []
    puppets.world.deliver(0)
    assert puppets.heard(2) == [ASK]


def test_a_timer_fires_once_with_the_replicas_own_clock(puppets: Puppets) -> None:
    puppets.do(1, ("set_timer", "t", 50, 90), ("set_timer", "u", 10), ("cancel_timer", "u"), ("cancel_timer", "v"))
    assert puppets.world.servers[1].timers == {"t": 50}
    puppets.world.now_ns = 60
    puppets.world.fire(1, "t")
    assert puppets.heard(1) == [("t", 1060)]
    assert puppets.world.servers[1].timers == {}


def test_an_answer_without_execution_is_a_violation(puppets: Puppets) -> None:
    with pytest.raises(PropertyViolated, match="has not executed"):
        puppets.do(0, ("answer", ASK))


def test_the_verifier_hears_of_commits_and_of_new_lives(puppets: Puppets) -> None:
    puppets.do(0, ("commit", 1, ASK), ("execute", ASK))
    puppets.world.crash(0)
    puppets.world.restart(0)
    puppets.do(0, ("commit", 1, ASK), ("execute", ASK))
    with pytest.raises(PropertyViolated, match="agreement"):
        puppets.do(1, ("commit", 1, Command(2, 1, "put", "x", 9)))
