"""What the explorer calls broken is broken, in the real world as well, and the other way round."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consensus_bench.cli import explore as cli
from consensus_bench.contract import LOST, Command, ConfigError, HandOver, PropertyViolated
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.state import freeze
from consensus_bench.experiments.trace_replay import replay_in_simulator
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.campaign import Campaign, explore
from consensus_bench.exploration.exhaustive.handlers import ORDER
from consensus_bench.exploration.exhaustive.lives import NOBODY
from consensus_bench.exploration.exhaustive.nodes import CRASH, Choice
from consensus_bench.exploration.exhaustive.witness import event_of, execute
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.site import Event
from consensus_bench.exploration.trace import Order, Trace, TraceStep, read_trace, write_trace
from protocols.raft import Raft

MUTANTS = Path(__file__).parents[1] / "mutants"
CARELESS = Path(__file__).parent / "careless.py"
PLAIN = {"pre_vote": False, "check_quorum": False}
WRITE = Command(0, 1, "swap", "x", 1)


def test_a_protocol_may_take_snapshots_that_no_option_asks_for() -> None:
    bounds = Bounds(replicas=1, proposers=1, commands=1)
    report = explore(f"{CARELESS}:SnapshotsAlways", bounds, properties=["a-snapshot-is-taken"])
    assert (report.extent, report.missing) == ("closed", [])


@pytest.mark.parametrize(("name", "violated", "steps"), [("CommitsAll", "agreement", 4), ("AnswersAll", "validity", 2)])
def test_what_leaves_nothing_behind_is_judged_in_its_step(name: str, violated: str, steps: int) -> None:
    """Afterwards the replica is as if it had done right, or nothing."""
    trace = explore(f"{CARELESS}:{name}", Bounds()).trace
    assert trace is not None and trace.violation is not None
    assert (trace.violation.property, trace.length) == (violated, steps)
    assert "not confirmed" not in trace.violation.detail


# --- an opening -------------------------------------------------------------------------------------------------------


def of_raft(*events: Event, own_at_once: bool = True) -> Trace:
    execution = Execution(Raft, make_options(Raft, PLAIN, 3), 3, None, (WRITE,), own_at_once)
    execution.start()
    for event in events:
        execution.take(event)
    return execution.trace("raft", PLAIN, None)


def with_step(trace: Trace, number: int, **changes: Any) -> Trace:
    """``trace`` with one step changed, as somebody may write it."""
    steps = [msgspec.structs.replace(s, **changes) if s.number == number else s for s in trace.steps]
    return msgspec.structs.replace(trace, steps=tuple(steps))


def test_what_never_left_does_not_arrive_in_an_opening() -> None:
    """A vote is asked for, but the term is never written: the request waits for the disk for ever."""
    trace = of_raft(Event("timer", 0, "election"))
    message = next(e for e in trace.messages if (e.source, e.to) == (0, 1))
    arrives = TraceStep(number=len(trace.steps) + 1, kind="deliver", replica=1, text="", message=message.number)
    longer = msgspec.structs.replace(trace, steps=(*trace.steps, arrives), length=2)
    assert explore("raft", Bounds(states=10), after=(longer, 2)).states > 1
    lagging = with_step(longer, 4, durable=False)
    with pytest.raises(ConfigError, match="step 2 cannot happen"):
        explore("raft", Bounds(states=10), after=(lagging, 2))


@pytest.mark.parametrize("changes", [{"damage": ("nonsense",)}, {"damage": (9, 10)}])
def test_an_opening_damages_what_is_on_the_disk(changes: dict[str, Any]) -> None:
    trace = of_raft(Event("timer", 0, "election"), Event("crash", 0))
    bad = with_step(trace, trace.steps[-1].number, **changes)
    with pytest.raises(ConfigError, match="step 2 cannot happen"):
        explore("raft", Bounds(), after=(bad, 2))


def test_a_command_that_no_client_has_is_not_asked_for_in_an_opening() -> None:
    trace = msgspec.structs.replace(of_raft(Event("request", 0, WRITE)), commands=())
    with pytest.raises(ConfigError, match="step 1 cannot happen"):
        explore("raft", Bounds(), after=(trace, 1))


def test_own_messages_that_are_late_must_be_allowed_to_be() -> None:
    late = of_raft(Event("timer", 0, "election"), Event("timer", 1, "election"), own_at_once=False)
    own = next(e for e in late.messages if e.source == e.to == 0)
    arrives = TraceStep(number=len(late.steps) + 1, kind="deliver", replica=0, text="", message=own.number, own=True)
    late = msgspec.structs.replace(late, steps=(*late.steps, arrives))
    with pytest.raises(ConfigError, match="--own-messages network"):
        explore("raft", Bounds(), after=(late, 2))
    assert explore("raft", Bounds(own_messages="network", states=10), after=(late, 2)).states > 1


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "bounds", "says"),
    [
        ("basic-paxos", Bounds(orders=("hand-over:1",)), "--order hand-over:1: basic-paxos has no HandOver"),
        ("multi-paxos", Bounds(orders=("members:0,1",)), "--order members:0,1: multi-paxos has no ChangeMembers"),
        ("basic-paxos", Bounds(crashes=1, damages=1), "--damages 1: basic-paxos does not repair disks"),
    ],
)
def test_what_a_protocol_does_not_know_is_not_explored(protocol: str, bounds: Bounds, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        explore(protocol, bounds)


def test_an_operator_says_nothing_that_is_for_replicas() -> None:
    trace = of_raft(Event("order", 0, HandOver(1)))
    bad = with_step(trace, 4, order=Order(kind="Vote", fields={"term": 1, "granted": True}))
    for use in (
        lambda: replay(bad, Raft, make_options(Raft, PLAIN, 3)),
        lambda: explore("raft", Bounds(), after=(bad, 1)),
    ):
        with pytest.raises(ConfigError, match="Vote is none: it is HandOver or ChangeMembers"):
            use()


def test_what_a_dead_process_sent_to_itself_is_not_delivered_again() -> None:
    execution = Execution(Raft, make_options(Raft, PLAIN, 3), 3, None, (WRITE,))
    execution.start()
    execution.take(Event("timer", 0, "election"))
    own = next(e.number for e in execution.envelopes if e.source == e.to == 0)
    execution.take(Event("crash", 0))
    trace = execution.trace("raft", PLAIN, None)
    late = TraceStep(number=len(trace.steps) + 1, kind="deliver", replica=0, text="", message=own, own=True)
    with pytest.raises(ConfigError, match="what it had sent to itself is gone"):
        replay(msgspec.structs.replace(trace, steps=(*trace.steps, late)), Raft, make_options(Raft, PLAIN, 3))


def test_a_step_sends_what_the_trace_has(tmp_path: Path) -> None:
    write_trace(tmp_path / "t.json", with_step(of_raft(), 1, sent=(9,)))
    with pytest.raises(ConfigError, match="step 1 sends what is not among its 0 messages"):
        read_trace(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("beside", "says"),
    [
        (["--after", "x"], "--after and --replay"),
        (["raft"], "PROTOCOL and --replay"),
        (["--json"], "--json and --replay"),
    ],
)
def test_what_is_explored_is_not_said_to_a_replay(beside: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=f"{says}: nothing is explored then"):
        cli.command.main(["--replay", "t.json", *beside], standalone_mode=False)


def test_the_report_tells_what_the_trace_brings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Five replicas, four commands, and most of the steps: none of them from the command line."""
    name = "multi-paxos-LearnsNoBallots"
    arguments = [
        f"{MUTANTS}/multi_paxos_mutants.py:LearnsNoBallots", "--after", f"{MUTANTS}/executions/{name}.json:38",
        "--proposers", "5", "--requests", "anywhere", "--trace", str(tmp_path / "t.json"),
    ]  # fmt: skip
    with pytest.raises(PropertyViolated):
        cli.command.main(arguments, standalone_mode=False)
    told = capsys.readouterr().out
    assert "LearnsNoBallots, after 38 steps: 5 replicas, 5 proposers, 4 commands, 2 ballots, 0 crashes" in told
    assert "a shortest execution, 39 steps (38 of them given), in " in told


# --- two machineries --------------------------------------------------------------------------------------------------

COMMON: dict[str, Any] = {"crashes": 2, "requests": "anywhere", "first_leader": 0}
DAMAGE: dict[str, Any] = {**COMMON, "damages": 1, "commands": 3}
READS: dict[str, Any] = {**COMMON, "commands": 4, "reads": 2, "proposers": 3}


def plainly(value: Any) -> Any:
    """``value``, frozen, without what the explorer alone writes into snapshots."""
    if isinstance(value, frozenset):
        return frozenset(map(plainly, value))
    if isinstance(value, tuple):
        return tuple(plainly(part) for part in value if not (isinstance(part, tuple) and part[:1] == (NOBODY,)))
    if isinstance(value, msgspec.Struct):
        return (type(value), *(plainly(getattr(value, name)) for name in value.__struct_fields__))
    return value


@pytest.mark.parametrize(
    ("protocol", "bounds", "settings"),
    [
        ("multi-paxos", DAMAGE, {"snapshot_every": 1}),
        ("multi-paxos", READS, {"snapshot_every": 1, "reads": "quorum"}),
        ("raft", {**DAMAGE, "orders": ("members:0,1", "hand-over:1")}, {"snapshot_every": 1}),
        ("raft", {**READS, "damages": 1, "own_messages": "network"}, {"snapshot_every": 2, "reads": "index"}),
        ("epaxos", {**READS, "damages": 1}, {"snapshot_every": 1, "reads": "quorum"}),
        ("epaxos", {**DAMAGE, "own_messages": "network"}, {"snapshot_every": 2, "rules": "sosp13"}),
    ],
)
def test_a_walk_is_an_execution(protocol: str, bounds: dict[str, Any], settings: dict[str, Any]) -> None:
    """What the explorer computes with numbers, plain objects do as well, and the simulator's machines: same replicas,
    disks and timers in the end."""
    search = Campaign(protocol, Bounds(**bounds), settings, ()).search()
    search.nodes.lagging = True
    for number in range(12):
        random, (nodes, world), choices = Random(f"walk {number}"), search.begin(), []
        while len(choices) < 50 and (steps := list(search.steps(nodes, world))):
            move, world = random.choice(steps)
            nodes[move.choice.replica] = move.node
            choices.append(move.choice)
        execution, happened = execute(search, [event_of(search, choice) for choice in choices], in_words=True)
        assert len(happened) == len(choices)
        assert execution.violation is None
        for me, site in enumerate(execution.sites):
            core = search.nodes.core(me, nodes[me])
            assert site.replica is not None and core.replica is not None
            assert plainly(site.replica.key()) == plainly(core.replica.key())
            assert plainly(freeze(site.disk)) == plainly(freeze(core.disk))
            assert site.timers == core.timers
        replayed = replay_in_simulator(execution.trace(protocol, settings, None))
        assert (replayed.violation, replayed.differences) == (None, ())


def test_a_disk_on_which_nothing_is_yet_can_be_lost() -> None:
    search = Campaign("raft", Bounds(crashes=1, damages=1, commands=1), PLAIN, ()).search()
    nodes, world = search.begin()
    assert not search.nodes.core(2, nodes[2]).disk
    lost = [move for move, _ in search.steps(nodes, world) if move.choice == Choice(2, CRASH, LOST)]
    assert [search.nodes.core(2, move.node).disk for move in lost] == [{LOST: True}]


def test_only_a_delivery_names_a_message(tmp_path: Path) -> None:
    write_trace(tmp_path / "t.json", with_step(of_raft(), 1, message=-1))
    with pytest.raises(ConfigError, match=r"step 1 \(start\) delivers message -1"):
        read_trace(tmp_path / "t.json")


@pytest.mark.parametrize("changes", [{"to": 2}, {"step": 1}, {"fields": {"term": 9}}])
def test_what_is_sent_and_never_arrives_is_compared_too(changes: dict[str, Any]) -> None:
    trace = of_raft(Event("timer", 0, "election"))
    fields = trace.messages[0].fields
    changes = {name: {**fields, **value} if name == "fields" else value for name, value in changes.items()}
    messages = (msgspec.structs.replace(trace.messages[0], **changes), *trace.messages[1:])
    with pytest.raises(ConfigError, match="step 4 does not fit raft: message 1 is"):
        replay(msgspec.structs.replace(trace, messages=messages), Raft, make_options(Raft, PLAIN, 3))


def test_an_order_that_nobody_heeds_is_no_step() -> None:
    """Only the leader hands its office over; it can still be asked once another was asked in vain."""
    search = Campaign(
        "raft", Bounds(first_leader=0, timeouts=0, commands=1, orders=("hand-over:1",)), PLAIN, ()
    ).search()
    nodes, world = search.begin()
    assert [move.choice for move, _ in search.steps(nodes, world) if move.choice.kind == ORDER] == []
