"""EPaxos rule by rule: phases 1 and 2, execution, clients, restart, forgetting. Recovery: test_epaxos_recovery."""

from __future__ import annotations

import pytest
from epaxos_mutants import (
    AnswersAtCommit,
    CollectsTooEarly,
    ExecutesAsCommitted,
    FastPathAlthoughRepliesDiffer,
    LeaderNeedNotAgree,
    LosesCommandOfNoop,
    QueuedIsUnknown,
    ReportsEarly,
    SlowPathTakesOneReply,
    TieBrokenByArrival,
)
from epaxos_table import MS, Table, get, put

from consensus_bench.contract import NOOP, Command, ConfigError
from consensus_bench.contract.context import ANSWER, BROADCAST, BROADCAST_UNSYNCED, COMMIT, EXECUTE, PERSIST, SEND
from consensus_bench.contract.registry import make_options
from consensus_bench.contract.steps import Deliver, Timer
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import (
    Accept,
    AcceptOk,
    Commit,
    Committed,
    EPaxosOptions,
    Executed,
    Fetch,
    PreAccept,
    PreAcceptOk,
    PreAcceptReply,
    Recover,
)

NONE3, NONE5 = (-1,) * 3, (-1,) * 5
LINE = tuple(tuple(abs(a - b) * 10 * MS for b in range(5)) for a in range(5))
"""Five sites in a row, 10 ms apart: the nearest two of site 0 are 1 and 2."""


# --- phase 1: the fast path -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", ["star", "sosp13"])
@pytest.mark.parametrize(("size", "fast"), [(1, 1), (2, 2), (3, 2), (5, 3), (7, 5), (9, 6)])
def test_without_conflicts_a_fast_quorum_commits_in_one_round_trip(rules: str, size: int, fast: int) -> None:
    """n - e replicas with the leader: F + floor((F + 1) / 2), SOSP'13 section 4.4."""
    table = Table(size, rules=rules)
    command = put(1)
    table.request(0, command)
    for r in range(1, size):
        assert (not table.committed[0]) == (r < fast), f"{r} replicas have answered"
        table.deliver(PreAccept, 0, r)
        table.deliver(PreAcceptOk, r, 0)
    assert table.committed[0] == {(0, 0): command}
    assert table.answers == [(0, command)]
    assert table.notes == [("fast_path", command)]
    assert not table.under_way(Accept)
    table.settle()
    assert all(executed == [command] for executed in table.executed)


def test_star_takes_the_fast_path_only_if_replies_equal_what_was_sent() -> None:
    """OPODIS'25: every reply of the fast quorum is the leader's own set."""
    table = Table(3)
    table.request(1, put(2))
    table.drop()  # nobody else hears of it yet
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptReply, 1, 0)
    assert not table.committed[0]
    assert table.under_way(Accept) == [Accept((0, 0), (0, 0), put(1), (-1, 0, -1), 0)] * 2
    table.deliver(Accept, 0, 2)
    table.deliver(AcceptOk, 2, 0)
    assert table.decision(0, (0, 0)) == (put(1), (-1, 0, -1))
    assert table.notes == [("slow_path", put(1))]


def test_a_fast_path_although_a_reply_differed_loses_a_dependency() -> None:
    """The control of the rule: with it, two interfering commands see each other; without it, neither may."""
    for protocol in (EPaxos, FastPathAlthoughRepliesDiffer):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.request(1, put(2))
        table.deliver(PreAccept, 0, 1)
        table.deliver(PreAccept, 1, 0)
        table.settle()
        (_, first), (_, second) = table.decision(2, (0, 0)) or (0, NONE3), table.decision(2, (1, 0)) or (0, NONE3)
        assert (first[1] >= 0 or second[0] >= 0) == (protocol is EPaxos)


def test_the_slow_path_accepts_the_union_of_a_majority() -> None:
    for protocol in (EPaxos, SlowPathTakesOneReply):
        table = Table(5, protocol)
        for r in (1, 2):
            table.request(r, put(r + 1))
            table.drop()
        table.request(0, put(1))
        for r in (1, 2):
            table.deliver(PreAccept, 0, r)
            table.deliver(PreAcceptReply, r, 0)
        accepts = table.under_way(Accept)
        assert isinstance(accepts[0], Accept)
        assert (accepts[0].deps == (-1, 0, 0, -1, -1)) == (protocol is EPaxos)


def test_with_seven_replicas_one_differing_reply_in_a_majority_starts_phase_2_at_once() -> None:
    table = Table(7)
    table.request(6, put(9))
    table.drop()
    table.request(0, put(1))
    for r, reply in ((1, PreAcceptOk), (2, PreAcceptOk), (6, PreAcceptReply)):
        assert not table.under_way(Accept)
        table.deliver(PreAccept, 0, r)
        table.deliver(reply, r, 0)
    assert len(table.under_way(Accept)) == 6


def test_with_seven_replicas_a_majority_of_one_mind_waits_for_the_fast_quorum_and_then_gives_up() -> None:
    table = Table(7)
    table.request(0, put(1))
    for r in (1, 2, 3):
        table.deliver(PreAccept, 0, r)
        table.deliver(PreAcceptOk, r, 0)
    table.drop()
    assert not table.committed[0]
    table.timer(0, "tick", table.replicas[0].retry_ticks)
    assert len(table.under_way(Accept)) == 6, "the three others did not answer in time"


def test_reads_do_not_depend_on_reads() -> None:
    """SOSP'13 section 4.1: reads of one key commute."""
    table = Table(3)
    for r in range(3):
        table.request(r, get(r + 1))
    table.settle()
    assert [note for note, _ in table.notes] == ["fast_path"] * 3
    table.request(0, put(7))
    table.settle()
    assert table.decision(1, (0, 1)) == (put(7), (0, 0, 0))


def test_sosp13_takes_the_fast_path_on_equal_replies_that_differ_from_the_leaders() -> None:
    """SOSP'13 section 4.4: 1 and 2, the nearest, both know a command that 0 does not; 3 knows yet another."""
    table = Table(5, rules="sosp13", delay_ns=LINE)
    table.request(2, put(2))
    table.deliver(PreAccept, 2, 1)
    table.drop()
    table.request(3, put(3))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 3)
    table.deliver(PreAcceptReply, 3, 0)  # not of the fast quorum: neither helps nor hurts
    for r in (1, 2):
        table.deliver(PreAccept, 0, r)
        table.deliver(PreAcceptReply, r, 0)
    assert table.notes == [("fast_path", put(1))]
    assert table.decision(0, (0, 0)) == (put(1), (-1, -1, 0, -1, -1))
    assert table.replicas[0].log[0][0].seq == 1, "one more than the command it depends on"


def test_sosp13_leaves_the_fast_path_when_replies_of_the_fast_quorum_differ() -> None:
    table = Table(5, rules="sosp13", delay_ns=LINE)
    table.request(2, put(2))
    table.drop()
    table.request(0, put(1))
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptOk, 1, 0)
    table.deliver(PreAccept, 0, 2)
    table.deliver(PreAcceptReply, 2, 0)
    assert table.under_way(Accept)


def test_sosp13_with_three_replicas_never_takes_the_slow_path() -> None:
    """One reply is always of one mind (fantoch, and section 4.4 for N = 3)."""
    table = Table(3, rules="sosp13")
    for sequence in range(1, 5):
        for r in range(3):
            table.request(r, put(r + 1, sequence=sequence))
        table.settle()
    assert {note for note, _ in table.notes} == {"fast_path"}
    assert table.executed[0] == table.executed[1] == table.executed[2]


def test_thrifty_asks_the_nearest_and_falls_back_on_the_others() -> None:
    table = Table(5, thrifty=True, delay_ns=LINE)
    table.request(0, put(1))
    assert {to for _, to, _ in table.messages} == {1, 2}
    table.drop(to=2)
    table.deliver(PreAccept, 0, 1)
    table.deliver(PreAcceptOk, 1, 0)
    table.timer(0, "tick", table.replicas[0].retry_ticks)
    assert {to for _, to, m in table.messages if isinstance(m, PreAccept)} == {2, 3, 4}
    table.settle()
    assert table.answers == [(0, put(1))]


def test_a_silent_replica_leaves_the_fast_quorum() -> None:
    table = Table(5, thrifty=True, delay_ns=LINE)
    table.sweeps(0, 2, alive=(2, 3, 4))
    table.messages.clear()
    table.request(0, put(1))
    assert {to for _, to, _ in table.messages} == {2, 3}


def test_repeated_and_late_messages_change_nothing() -> None:
    table = Table(3)
    table.request(0, put(1))
    (pre_accept,) = set(table.under_way(PreAccept))
    table.settle()
    before = [replica.key() for replica in table.replicas]
    for message in (
        pre_accept,
        PreAcceptOk((0, 0), (0, 0)),
        AcceptOk((0, 0), (0, 0)),
        Commit((0, 0), put(1), NONE3, 0),
    ):
        table.feed(0 if "Ok" in type(message).__name__ else 1, Deliver(2, message))
    assert [replica.key() for replica in table.replicas] == before


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_everything_vouched_for_is_written_first() -> None:
    """Own instance before PreAccept, vote before the reply, decision before anybody hears of it."""
    table = Table(3)
    tags = [tag for tag, _, _ in table.request(0, put(1))]
    assert tags == [PERSIST, BROADCAST]
    (message, *_) = table.under_way(PreAccept)
    tags = [tag for tag, _, _ in table.feed(1, Deliver(0, message))]
    assert tags == [PERSIST, SEND]
    tags = [tag for tag, _, _ in table.feed(0, Deliver(1, PreAcceptOk((0, 0), (0, 0)))) if tag <= ANSWER]
    assert tags[0] == PERSIST and sorted(tags[1:]) == sorted([COMMIT, EXECUTE, ANSWER, BROADCAST])
    assert BROADCAST_UNSYNCED not in tags


def test_a_restarted_leader_reuses_no_number_and_its_unfinished_command_is_answered() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.drop()
    table.crash(0)
    table.restart(0)
    table.settle()
    assert table.committed[1][0, 0] == NOOP, "its votes of ballot 0 may have been counted, so it is recovered"
    assert table.answers == [(0, put(1))], "and led again under a new number"
    assert table.decision(2, (0, 1)) == (put(1), (0, -1, -1))


def test_a_restarted_replica_executes_again_what_it_knew_and_fetches_what_it_missed() -> None:
    table = Table(3)
    for sequence in range(1, 4):
        table.request(0, put(1, sequence=sequence))
        table.settle()
    table.crash(2)
    for sequence in range(4, 7):
        table.request(0, put(1, sequence=sequence))
        table.settle()
    table.restart(2)
    assert [c.sequence for c in table.executed[2]] == [1, 2, 3]
    table.pass_time(sweeps=4)
    assert [c.sequence for c in table.executed[2]] == [1, 2, 3, 4, 5, 6]
    assert not [a for a in table.answers if a[0] == 2], "nobody asked it"


# --- execution and clients --------------------------------------------------------------------------------------------


def test_a_command_is_answered_after_execution_not_at_commit() -> None:
    """0's command depends on 1's, which is not committed: committed at 0, and not answered."""
    table = Table(3)
    table.request(1, put(2))
    table.deliver(PreAccept, 1, 0)
    table.drop()
    table.request(0, put(1))
    table.settle()
    assert table.committed[0] == {(0, 0): put(1)} and table.answers == []
    table.timer(1, "tick", table.replicas[1].retry_ticks)
    table.settle()
    assert table.executed[0] == [put(2), put(1)]
    assert sorted(table.answers) == [(0, put(1)), (1, put(2))]
    table = Table(3, AnswersAtCommit)
    table.request(1, put(2))
    table.deliver(PreAccept, 1, 0)
    table.drop()
    table.request(0, put(1))
    with pytest.raises(AssertionError, match="was not executed there"):
        table.settle()


@pytest.mark.parametrize("rules", ["star", "sosp13"])
@pytest.mark.parametrize("protocol", [EPaxos, TieBrokenByArrival, ExecutesAsCommitted])
def test_a_cycle_is_executed_in_one_order_whatever_the_order_of_arrival(protocol: type[EPaxos], rules: str) -> None:
    """Three interfering commands led at once; each replica learns the decisions in another order."""
    table = Table(3, protocol, rules=rules)
    for r in range(3):
        table.request(r, put(r + 1))
    while any(not isinstance(m, Commit) for _, _, m in table.messages):
        table.settle(keep=lambda s, t, m: isinstance(m, Commit))
    for to, order in ((0, (2, 1)), (1, (0, 2)), (2, (1, 0))):
        for source in order:
            table.deliver(Commit, source, to)
    assert len(table.executed[0]) == 3
    assert (table.executed[0] == table.executed[1] == table.executed[2]) == (protocol is EPaxos)


def test_a_retry_at_another_replica_is_executed_once_and_answered_by_both() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.request(1, put(1))
    table.settle()
    assert sorted(table.answers) == [(0, put(1)), (1, put(1))]
    assert all(executed == [put(1)] for executed in table.executed)
    assert len(table.committed[2]) == 2


def test_a_retry_here_is_not_led_twice_and_after_execution_answered_at_once() -> None:
    table = Table(3)
    table.request(0, put(1))
    assert table.request(0, put(1)) == []
    table.settle()
    assert table.request(0, put(1)) == [(ANSWER, put(1), None)]
    assert table.request(2, put(1)) == [(ANSWER, put(1), None)]


def test_a_noop_is_committed_never_executed_and_its_command_led_again() -> None:
    for protocol in (EPaxos, LosesCommandOfNoop):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.drop()
        table.take_over(1, (0, 0), 2)
        table.settle()
        assert table.committed[2][0, 0] == NOOP
        assert (table.answers == [(0, put(1))]) == (protocol is EPaxos)
        assert table.executed == [[put(1)] if protocol is EPaxos else []] * 3


# --- forgetting -------------------------------------------------------------------------------------------------------


def test_what_all_have_executed_is_forgotten_but_stays_on_disk() -> None:
    table = Table(3)
    for sequence in range(1, 21):
        table.request(sequence % 3, put(sequence, key=f"k{sequence % 4}"))
        table.settle()
    table.pass_time(sweeps=2)
    for r, replica in enumerate(table.replicas):
        assert not any(replica.log) and not replica.live and not replica.leading
        assert len(table.disks[r]) == 20
        assert replica.view().entries == {}
    late = PreAccept((0, 0), (0, 0), put(3), NONE3, 0, 7, 0)
    for message in (late, Recover((0, 0), (3, 2)), Accept((0, 0), (3, 2), NOOP, NONE3, 0), Fetch((0, 0))):
        assert table.feed(1, Deliver(2, message)) == [], "it concerns nobody any more"


def test_what_is_reported_as_executed_is_on_disk() -> None:
    """2 has executed a command, and crashes before its disk knows. The others must still have it."""
    for protocol in (EPaxos, ReportsEarly):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.settle(keep=lambda s, t, m: t == 2 and isinstance(m, Commit))
        durable = dict(table.disks[2])
        table.deliver(Commit, 0, 2)
        effects = table.feed(2, Timer("tick"))
        if not any(tag == BROADCAST_UNSYNCED for tag, _, _ in effects):
            table.drop(Executed, source=2)
        for r in (0, 1, 0, 1):
            table.timer(r, "tick")
            table.settle(keep=lambda s, t, m: t == 2)
        table.crash(2)
        table.disks[2] = durable
        table.restart(2)
        table.pass_time(sweeps=12)
        assert bool(table.executed[2]) == (protocol is EPaxos)


def test_nothing_is_forgotten_while_a_replica_is_down_and_it_catches_up_then() -> None:
    table = Table(3)
    table.crash(2)
    for sequence in range(1, 11):
        table.request(0, put(1, sequence=sequence))
        table.settle()
    table.pass_time(sweeps=3)
    assert len(table.replicas[0].log[0]) == 10
    table.restart(2)
    table.pass_time(sweeps=6)
    assert [c.sequence for c in table.executed[2]] == list(range(1, 11))
    assert not any(any(replica.log) for replica in table.replicas)


def test_what_may_interfere_with_an_unfinished_command_is_kept_for_its_recovery() -> None:
    """0's command reached nobody. 1's interfering one is committed without it, and executed by all. A recovery of 0's
    must find that out: were 1's forgotten, it would be committed with neither depending on the other."""
    for protocol in (EPaxos, CollectsTooEarly):
        table = Table(3, protocol)
        table.request(0, put(1))
        table.drop(PreAccept)
        table.request(1, put(2))
        table.deliver(PreAccept, 1, 2)
        table.drop(PreAccept)
        table.settle()
        assert all(put(2) in executed for executed in table.executed)
        for _ in range(3):
            for r in range(3):
                table.timer(r, "tick")
            table.settle(keep=lambda s, t, m: not isinstance(m, Executed))
            table.drop()
        assert bool(table.replicas[2].log[1]) == (protocol is EPaxos)


def test_fetch_is_answered_with_decisions_and_nothing_else() -> None:
    table = Table(3)
    table.request(0, put(1))
    table.settle()
    table.request(0, put(1, sequence=2))
    table.drop()
    table.feed(0, Deliver(2, Fetch((0, 0))))
    assert table.under_way(Committed) == [Committed((Commit((0, 0), put(1), NONE3, 0),))]


# --- timestamp-ordered queueing ---------------------------------------------------------------------------------------


def test_toq_orders_concurrent_commands_alike_everywhere() -> None:
    """NSDI'21: both leaders send at once; each replica, the leaders included, opens them by timestamp. Both commit
    fast, where without queueing at least one goes the slow way."""
    paths = {}
    for toq in (False, True):
        table = Table(5, rules="sosp13", delay_ns=LINE, toq=toq)
        table.request(0, put(1))
        table.clocks_ns = [1 * MS] * 5
        table.request(1, put(2))
        table.deliver(PreAccept, 0, 1)
        table.deliver(PreAccept, 1, 0)
        table.settle()
        if toq:
            assert not table.committed[0], "before the time nobody answers"
            table.clocks_ns = [100 * MS] * 5
            for r in range(5):
                table.timer(r, "open")
            table.settle()
        paths[toq] = sorted(note for note, _ in table.notes)
        assert all(executed == table.executed[0] and len(executed) == 2 for executed in table.executed)
    assert paths[True] == ["fast_path", "fast_path"]
    assert "slow_path" in paths[False]


def test_toq_waits_as_long_as_the_farthest_of_the_fast_quorum_needs() -> None:
    table = Table(5, rules="sosp13", delay_ns=LINE, toq=True, toq_slack_ms=3.0)
    table.clocks_ns[0] = 50 * MS
    table.request(0, put(1))
    (message, *_) = table.under_way(PreAccept)
    assert isinstance(message, PreAccept) and message.open_after_ns == (50 + 20 + 3) * MS
    assert table.timers[0]["open"] == (23 * MS, 23 * MS)


def test_toq_opens_when_its_timer_says_so_even_if_the_clock_lags() -> None:
    table = Table(3, rules="sosp13", toq=True)
    table.request(0, put(1))
    for r in range(3):
        if r:
            table.deliver(PreAccept, 0, r)
        table.timer(r, "open")
    table.settle()
    assert table.answers == [(0, put(1))]


def test_toq_a_command_that_its_leader_voted_for_out_of_turn_is_known_from_then_on() -> None:
    """1 recovers 0's command with the vote of 0, in whose queue it still is. A command by 2 with an earlier time is
    opened before it: 0 is the only one who hears of both in time."""
    for protocol in (EPaxos, QueuedIsUnknown):
        table = Table(3, protocol, rules="sosp13", toq=True, delay_ns=((0, 5, 9), (5, 0, 9), (5, 9, 0)))
        table.clocks_ns[0] = 10 * MS
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.timer(1, "open")
        table.drop()
        table.take_over(1, (0, 0), 0)
        table.settle(keep=lambda s, t, m: t == 2 or isinstance(m, Commit))
        assert table.decision(1, (0, 0)) == (put(1), NONE3)
        table.drop()
        table.request(2, put(3))
        table.deliver(PreAccept, 2, 0)
        table.timer(0, "open")
        table.timer(2, "open")
        table.settle(keep=lambda s, t, m: t == 1)
        seen = table.decision(2, (2, 0))
        assert (seen is None or seen[1] == (0, -1, -1)) == (protocol is EPaxos), "neither sees the other"


def test_toq_the_leaders_own_reply_must_be_equal_too() -> None:
    """1 opens 0's command before its own, and 0 opens 1's before its own. Neither reply names the other."""
    for protocol in (EPaxos, LeaderNeedNotAgree):
        table = Table(3, protocol, rules="sosp13", toq=True, delay_ns=((0, 5, 9), (5, 0, 9), (9, 5, 0)))
        table.clocks_ns[0] = 10 * MS
        table.request(0, put(1))
        table.deliver(PreAccept, 0, 1)
        table.timer(1, "open")
        table.request(1, put(2))
        table.deliver(PreAccept, 1, 0)  # its time is past there
        table.drop(PreAccept)
        table.deliver(PreAcceptOk)
        for r in (0, 1):
            table.timer(r, "open")
        table.settle()
        (_, first), (_, second) = table.decision(2, (0, 0)) or ("", NONE3), table.decision(2, (1, 0)) or ("", NONE3)
        assert (first[1] == 0 or second[0] == 0) == (protocol is EPaxos)


# --- options and inspection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "text"), [
    ({"rules": "fast"}, "rules"), ({"toq": "true"}, 'needs rules = "sosp13"'),
    ({"unsafe_any_quorum": "true"}, 'rules = "sosp13"'),
    ({"toq_slack_ms": "-1", "rules": "sosp13"}, "must not be negative"), ({"quorum": "3"}, "is unknown"),
])  # fmt: skip
def test_options_that_cannot_work_are_refused_in_one_line(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as refusal:
        make_options(EPaxos, settings, 5)
    assert "\n" not in str(refusal.value)
    assert isinstance(make_options(EPaxos, {"thrifty": "true"}, 5), EPaxosOptions)


def test_the_view_names_status_command_and_dependencies() -> None:
    table = Table(3)
    table.request(0, put(1))
    entry = table.replicas[0].view().entries[0, 0]
    assert (entry.status, entry.command, entry.ballot, entry.extra) == ("accepted", put(1), (0, 0), NONE3)
    table.settle()
    assert table.replicas[1].view().entries[0, 0].status == "executed"


def test_timers_are_two_and_set_again() -> None:
    table = Table(3, heartbeat_ms=50.0, election_timeout_ms=(400.0, 600.0))
    assert table.timers[0] == {"tick": (50 * MS, 50 * MS), "sweep": (200 * MS, 300 * MS)}
    table.timers[0].clear()
    for name in ("tick", "sweep"):
        table.feed(0, Timer(name))
    assert set(table.timers[0]) == {"tick", "sweep"}


def test_commands_of_one_client_may_be_under_way_together() -> None:
    table = Table(3)
    commands = [Command(1, sequence, "put", f"k{sequence}") for sequence in (2, 1, 3)]
    for command in commands:
        table.request(0, command)
    table.settle()
    assert sorted(c.sequence for c in table.executed[1]) == [1, 2, 3]
    assert len(table.answers) == 3 and table.replicas[0].requests == {}
