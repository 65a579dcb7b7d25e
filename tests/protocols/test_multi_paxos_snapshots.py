"""Multi-Paxos with snapshots: what is cut off is missed by nobody: itself, a late replica, a candidate, a client."""

from __future__ import annotations

from typing import Any

import multi_paxos_mutants as mutants
import pytest
from fault_worlds import loaded
from paxos_network import Network, put, violated

from consensus_bench.contract import CORRUPT, Cluster, ConfigError, Replica, Snapshot
from consensus_bench.contract.context import BROADCAST_UNSYNCED, FORGET, INSTALL, PERSIST, TAKE_SNAPSHOT
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Recover, step
from consensus_bench.exploration import run_seeds
from protocols.multi_paxos import MultiPaxos
from protocols.multi_paxos_messages import (
    Accept,
    Chosen,
    Fetch,
    Heartbeat,
    Install,
    MultiPaxosOptions,
    Prepare,
    Promise,
    Recall,
)
from protocols.sessions import Sessions

OPTIONS = MultiPaxosOptions(snapshot_every=3)
COMMANDS = [put(sequence) for sequence in range(1, 20)]


def follower(slots: int) -> MultiPaxos:
    """Replica 1, which has executed so many slots under leader 0, and got its snapshots."""
    paxos = MultiPaxos(1, Cluster(3), OPTIONS)
    for slot, command in enumerate(COMMANDS[:slots], 1):
        step(paxos, Deliver(0, Accept((1, 0), slot, (command,), slot)))
        effects = step(paxos, Deliver(0, Heartbeat((1, 0), slot + 1)))
        for tag, place, _ in effects:
            if tag == TAKE_SNAPSHOT:
                step(paxos, Deliver(1, Snapshot(place, (("x", place),))))
    return paxos


def sent(effects: list[Any], kind: type) -> list[Any]:
    return [(a, b) for tag, a, b in effects if tag <= BROADCAST_UNSYNCED and type(b) is kind]


def test_a_snapshot_replaces_the_slots_some_way_behind_it_in_one_record() -> None:
    paxos = follower(5)
    assert paxos.log.first == 1
    step(paxos, Deliver(0, Accept((1, 0), 6, (COMMANDS[5],), 6)))
    taken = step(paxos, Deliver(0, Heartbeat((1, 0), 7)))
    assert (TAKE_SNAPSHOT, 6, None) in taken
    effects = step(paxos, Deliver(1, Snapshot(6, (("x", 6),))))
    assert effects[0][:2] == (PERSIST, "snapshot")
    assert effects[1:] == [(FORGET, 1, None), (FORGET, 2, None), (FORGET, 3, None)]
    assert paxos.log.first == 4
    assert sorted(paxos.view().entries) == [4, 5, 6]


def test_a_snapshot_that_is_no_longer_wanted_is_ignored() -> None:
    assert step(follower(5), Deliver(1, Snapshot(2, ()))) == []


def test_what_a_late_message_says_of_discarded_slots_is_ignored() -> None:
    paxos = follower(9)
    before = paxos.view()
    step(paxos, Deliver(0, Accept((1, 0), 1, (COMMANDS[9], COMMANDS[9]), 1)))
    step(paxos, Deliver(2, Chosen((1, 0), 1, tuple(COMMANDS[:3]), 4)))
    assert paxos.view() == before


def test_whoever_lacks_discarded_slots_gets_the_snapshot_and_others_the_slots() -> None:
    paxos = follower(7)
    for question in (Fetch(3), Prepare((2, 2), 3), Recall(1, (0, 0), 3)):
        ((to, install),) = sent(step(paxos, Deliver(2, question)), Install)
        assert (to, install.snapshot.place, install.committed) == (2, 6, 8)
    assert paxos.promised == (1, 0)
    assert [message.first for _, message in sent(step(paxos, Deliver(2, Fetch(4))), Chosen)] == [4]
    assert [message.first for _, message in sent(step(paxos, Deliver(2, Prepare((2, 2), 4))), Promise)] == [4]


def test_a_replica_restarts_from_snapshot_and_log() -> None:
    snapshot = Snapshot(6, (("x", 6),), ((0, 6, None),))
    disk = {"promised": (1, 0), "committed": 8, "snapshot": (snapshot, ((0, 7, ()),)), 6: ((1, 0), COMMANDS[5])}
    disk |= {7: ((1, 0), COMMANDS[6]), 8: ((1, 0), COMMANDS[7])}
    paxos = MultiPaxos(1, Cluster(3), OPTIONS)
    effects = step(paxos, Recover(disk))
    assert effects[0] == (INSTALL, snapshot, None)
    assert (FORGET, 6, None) in effects, "the snapshot has it"
    assert (paxos.committed, paxos.log.first, paxos.log.end) == (8, 7, 9)
    assert paxos.sessions.executed(COMMANDS[6])
    assert not paxos.sessions.executed(COMMANDS[7])


def test_a_snapshot_that_cannot_be_read_makes_forgetful() -> None:
    """It does not know how far it had executed, and so for which slots it may not say that it accepted nothing."""
    disk = {"promised": (1, 0), "snapshot": CORRUPT, 7: ((1, 0), COMMANDS[6])}
    paxos = MultiPaxos(1, Cluster(3), OPTIONS)
    step(paxos, Recover(disk))
    assert paxos.forgetful
    install = Install((1, 0), Snapshot(3, ()), ((0, 4, ()),), 9)
    effects = step(paxos, Deliver(0, install))
    assert paxos.committed == 4
    assert not [effect for effect in effects if effect[0] in (PERSIST, FORGET)], "this may be less than it had"


def test_sessions_as_a_value_and_back() -> None:
    sessions = Sessions()
    for client, sequence in ((7, 1), (3, 2), (3, 4), (3, 1), (5, 9)):
        sessions.add(put(sequence, client=client))
    image = sessions.image()
    assert image == ((3, 3, (4,)), (5, 1, (9,)), (7, 2, ()))
    restored = Sessions()
    restored.add(put(1, client=9))
    restored.restore(image)
    assert restored.image() == image
    for client, sequence in ((7, 1), (7, 2), (3, 3), (3, 4), (5, 1), (5, 9)):
        command = put(sequence, client=client)
        assert restored.executed(command) == sessions.executed(command)


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ConfigError, match="snapshot_every = -1"):
        make_options(MultiPaxos, {"snapshot_every": -1}, 3)


def test_whatever_happens_the_logs_stay_short_and_nothing_is_lost() -> None:
    happened = run_seeds("multi-paxos", range(40), settings={"snapshot_every": 3})
    assert min(happened.messages["Snapshot"], happened.messages["Install"]) > 20
    run_seeds("multi-paxos", range(100, 115), size=5, settings={"snapshot_every": 7, "batch_size": 3})


def test_a_world_with_crashes_keeps_short_logs() -> None:
    faults = ["crash:p1@2+2", "crash:p0@5+1.5", "partition:p3|replicas@3+3"]
    world = loaded("multi-paxos", faults, options={"snapshot_every": 50})
    world.run()
    world.verifier.finish()
    for machine in world.machines:
        replica: Any = machine.replica
        assert replica.committed > 200
        assert replica.log.end - replica.log.first <= 2 * 50 + 20


# --- schedules that break the rule when it is missing, and hold when it is there --------------------------------------


def network_of(protocol: type[Replica]) -> Network:
    network = Network(protocol, first_leader=0, snapshot_every=2)
    network.exchange()
    return network


def beat(network: Network, leader: int, among: set[int]) -> None:
    """The others of ``among`` learn what is chosen."""
    for _ in range(2):
        network.fire(leader, "heartbeat")
        network.exchange(among=among)


def retried_after_a_snapshot(protocol: type[Replica]) -> Network:
    """2 is cut off while a command is executed, gets it with the snapshot, and leads when the client asks again at it:
    an old copy of the request is proposed and executed."""
    network = network_of(protocol)
    network.ask(0, *COMMANDS[:6])
    network.exchange(among={0, 1})
    beat(network, 0, {0, 1, 2})
    assert network.replica(2).log.first > 1
    network.fire(2, "election")
    network.exchange()
    network.ask(2, COMMANDS[0])
    network.exchange()
    beat(network, 2, {0, 1, 2})
    return network


def promised_behind_a_snapshot(protocol: type[Replica]) -> Network:
    """2, which was cut off all the time, becomes a candidate, and hears 1 only, which has discarded the first slots."""
    network = network_of(protocol)
    network.ask(0, *COMMANDS[:6])
    network.exchange(among={0, 1})
    beat(network, 0, {0, 1})
    assert network.replica(1).log.first > 1
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, put(1, client=9))
    network.exchange(among={1, 2})
    return network


def restarted_behind_a_snapshot(protocol: type[Replica]) -> Network:
    """1 crashes after it has discarded slots. It still knows what was chosen there, and 2 hears of it."""
    network = network_of(protocol)
    network.ask(0, *COMMANDS[:6])
    network.exchange(among={0, 1})
    beat(network, 0, {0, 1})
    network.crash(1)
    network.fire(2, "election")
    network.exchange(among={1, 2})
    network.ask(2, put(1, client=9))
    network.exchange(among={1, 2})
    return network


def executed_while_it_was_taken(protocol: type[Replica]) -> Network:
    """Two more commands are executed before the snapshot comes. 1 restarts from it, and executes them again."""
    network = network_of(protocol)
    network.ask(0, *COMMANDS[:2])
    network.exchange(among={0, 1}, keep=Snapshot)
    network.ask(0, COMMANDS[2])
    network.exchange(among={0, 1}, keep=Snapshot)
    network.fire(0, "heartbeat")
    network.exchange(among={0, 1}, keep=Snapshot)
    network.exchange(among={0, 1})
    network.crash(1)
    network.fire(0, "heartbeat")
    network.exchange(among={0, 1})
    beat(network, 0, {0, 1})
    network.ask(1, *COMMANDS[:3])
    assert network.world.servers[1].executed == network.replica(1).committed - 1 - network.replica(1).log.first + 1
    return network


def old_snapshot_comes_late(protocol: type[Replica]) -> Network:
    """2 asks for what it lacks, gets it, goes on, and gets it again."""
    network = network_of(protocol)
    network.ask(0, *COMMANDS[:4])
    network.exchange(among={0, 1})
    network.fire(0, "heartbeat")
    network.deliver(0, 2, Heartbeat)
    network.deliver(2, 0, Fetch)
    network.deliver(0, 2, Install, again=True)
    network.ask(0, *COMMANDS[4:6])
    network.exchange(keep=Install)
    network.fire(0, "heartbeat")
    network.exchange(keep=Install)
    assert network.replica(2).committed == 7
    network.exchange()
    return network


SCHEDULES: list[tuple[Any, type[Replica], str]] = [
    (retried_after_a_snapshot, mutants.KeepsNoSessions, "exactly once"),
    (promised_behind_a_snapshot, mutants.PromisesBehindASnapshot, "agreement"),
    (restarted_behind_a_snapshot, mutants.LosesItsSnapshot, "agreement"),
    (old_snapshot_comes_late, mutants.InstallsOldSnapshots, "execution order"),
]


@pytest.mark.parametrize(
    ("schedule", "mutant", "falls"), SCHEDULES, ids=[mutant.__name__ for _, mutant, _ in SCHEDULES]
)
def test_a_schedule_breaks_the_mutant_and_not_the_protocol(schedule: Any, mutant: type[Replica], falls: str) -> None:
    assert violated(schedule, MultiPaxos) is None
    assert violated(schedule, mutant) == falls
