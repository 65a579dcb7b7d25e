"""The online checker passes what is right and catches each kind of planted violation."""

import random

import pytest

from consensus_bench.contract import NOOP, Command, ConfigError, Place, PropertyViolated
from consensus_bench.verification import Verifier


def put(client: int, sequence: int, key: str = "k", value: int = 0) -> Command:
    return Command(client, sequence, "put", key, value or 100 * client + sequence)


def get(client: int, sequence: int, key: str = "k") -> Command:
    return Command(client, sequence, "get", key)


A, B, C = put(1, 1), put(2, 1), put(3, 1)
READ = get(4, 1)


def log_of(*commands: Command, replicas: int = 3, first: int = 1) -> Verifier:
    """All replicas have committed ``commands``; nobody has executed anything."""
    verifier = Verifier(replicas, "log")
    for replica in range(replicas):
        for place, command in enumerate(commands, start=first):
            verifier.committed(replica, place, command)
    return verifier


def graph_of(*commands: Command, replicas: int = 3) -> Verifier:
    verifier = Verifier(replicas, "graph")
    for replica in range(replicas):
        for number, command in enumerate(commands):
            verifier.committed(replica, (number % replicas, number), command)
    return verifier


def violation(verifier: Verifier, replica: int, *commands: Command) -> tuple[str, str]:
    """Execute ``commands`` at ``replica``: the last of them must be the violation."""
    for command in commands[:-1]:
        verifier.executed(replica, command)
    with pytest.raises(PropertyViolated) as caught:
        verifier.executed(replica, commands[-1])
    return caught.value.name, caught.value.detail


@pytest.mark.parametrize(("decides", "place"), [("log", 1), ("graph", (0, 1)), ("single", 0)])
def test_different_commands_at_one_place(decides: str, place: Place) -> None:
    verifier = Verifier(3, decides)
    verifier.committed(0, place, A)
    verifier.committed(1, place, Command(1, 1, "put", "k", 101))
    with pytest.raises(PropertyViolated, match="agreement: replica 2 commits"):
        verifier.committed(2, place, put(1, 1, value=999))


@pytest.mark.parametrize(("decides", "place"), [("log", 1), ("graph", (0, 1)), ("single", 0)])
def test_a_restarted_replica_commits_something_else_where_it_was_alone(decides: str, place: Place) -> None:
    verifier = Verifier(3, decides)
    verifier.committed(0, place, A)
    verifier.restarted(0)
    with pytest.raises(PropertyViolated, match="agreement"):
        verifier.committed(0, place, B)


def test_one_decision_is_one_wherever_it_is_learned() -> None:
    verifier = Verifier(3, "single")
    verifier.committed(0, 0, A)
    with pytest.raises(PropertyViolated, match="agreement"):
        verifier.committed(1, 7, B)


@pytest.mark.parametrize("make", [log_of, graph_of])
def test_a_no_op_is_never_executed(make: object) -> None:
    assert callable(make)
    assert violation(make(NOOP, A), 0, NOOP)[0] == "validity"


@pytest.mark.parametrize("decides", ["log", "graph", "single"])
def test_executed_without_being_committed_there(decides: str) -> None:
    verifier = Verifier(3, decides)
    place: Place = (0, 1) if decides == "graph" else 1
    verifier.committed(0, place, A)
    name, detail = violation(verifier, 1, A)
    assert name == "validity"
    assert "replica 1" in detail
    assert "without having committed it" in detail


@pytest.mark.parametrize("make", [log_of, graph_of])
def test_a_restart_forgets_what_was_committed_there(make: object) -> None:
    assert callable(make)
    verifier = make(A)
    verifier.executed(0, A)
    verifier.restarted(0)
    assert violation(verifier, 0, A)[0] == "validity"


@pytest.mark.parametrize("make", [log_of, graph_of])
def test_an_executed_command_must_be_exactly_the_committed_one(make: object) -> None:
    assert callable(make)
    assert violation(make(A), 0, put(1, 1, value=5))[0] == "validity"


@pytest.mark.parametrize("make", [log_of, graph_of])
def test_two_commands_with_one_sequence_number(make: object) -> None:
    assert callable(make)
    with pytest.raises(PropertyViolated, match="validity"):
        make(A, put(1, 1, value=5))


@pytest.mark.parametrize("make", [log_of, graph_of])
@pytest.mark.parametrize("command", [A, READ])
def test_executed_twice_though_committed_twice(make: object, command: Command) -> None:
    assert callable(make)
    assert violation(make(command, command), 0, command, command)[0] == "exactly once"


def test_single_executed_twice() -> None:
    verifier = Verifier(1, "single")
    verifier.committed(0, 0, A)
    assert violation(verifier, 0, A, A)[0] == "exactly once"
    verifier.restarted(0)
    verifier.committed(0, 0, A)
    verifier.executed(0, A)
    verifier.committed(0, 0, A)
    with pytest.raises(PropertyViolated, match="validity"):
        verifier.executed(0, B)


def test_a_log_is_executed_in_order_and_without_gaps() -> None:
    name, detail = violation(log_of(A, B), 0, B)
    assert name == "execution order"
    assert "place 2 before place 1" in detail
    # A gap: place 2 is not committed at replica 0 yet, though it is elsewhere.
    verifier = Verifier(2, "log")
    for place, command in enumerate((A, B, C), start=1):
        verifier.committed(1, place, command)
    verifier.committed(0, 1, A)
    verifier.committed(0, 3, C)
    assert violation(verifier, 0, A, C)[0] == "execution order"


def test_a_log_passes_over_no_ops_and_repetitions_only() -> None:
    verifier = log_of(NOOP, A, A, NOOP, B, A, first=0)
    for replica in range(3):
        verifier.executed(replica, A)
        verifier.executed(replica, B)
    assert violation(log_of(NOOP, A, A, NOOP, B, A, first=0), 0, A, A)[0] == "exactly once"


def test_a_log_that_begins_at_zero_learned_out_of_order() -> None:
    verifier = Verifier(2, "log")
    for place, command in ((1, B), (2, C), (0, A)):
        verifier.committed(0, place, command)
    for command in (A, B, C):
        verifier.executed(0, command)
    late = Verifier(2, "log")
    late.committed(0, 1, B)
    late.executed(0, B)
    with pytest.raises(PropertyViolated, match="execution order"):
        late.committed(0, 0, A)


def test_interfering_commands_in_another_order() -> None:
    verifier = graph_of(A, B)
    verifier.executed(0, A)
    verifier.executed(0, B)
    name, detail = violation(verifier, 1, B)
    assert name == "execution order"
    assert "replica 1" in detail
    first = graph_of(A, B)
    first.executed(0, A)
    name, detail = violation(first, 1, B)
    assert name == "execution order"
    assert str(A) in detail, "names what stood there"


@pytest.mark.parametrize("orders", [((A, READ), (READ, A)), ((READ, A), (A, READ))])
def test_a_read_executed_on_the_other_side_of_a_write(orders: tuple[tuple[Command, ...], ...]) -> None:
    verifier = graph_of(A, READ)
    for command in orders[0]:
        verifier.executed(0, command)
    names = []
    for command in orders[1]:
        try:
            verifier.executed(1, command)
        except PropertyViolated as caught:
            names.append(caught.name)
            break
    assert names == ["execution order"]


def test_a_restarted_replica_must_repeat_the_same_order() -> None:
    verifier = graph_of(A, B, replicas=1)
    verifier.executed(0, A)
    verifier.executed(0, B)
    verifier.restarted(0)
    verifier.committed(0, (0, 0), A)
    verifier.committed(0, (0, 1), B)
    assert violation(verifier, 0, B)[0] == "execution order"


def test_what_does_not_interfere_may_execute_in_any_order() -> None:
    other, second_read = put(2, 1, key="other"), get(5, 1)
    verifier = graph_of(A, other, READ, second_read)
    for order in ((A, other, READ, second_read), (other, A, second_read, READ), (A, second_read, READ, other)):
        replica = verifier.finish()[1].checked // 4
        for command in order:
            verifier.executed(replica, command)
    assert {check.verdict for check in verifier.finish(settled=True)} == {"holds"}


def test_finish_counts_what_was_checked_over_all_lives() -> None:
    verifier = log_of(A, NOOP, B)
    verifier.executed(0, A)
    verifier.executed(0, B)
    verifier.executed(1, A)
    verifier.restarted(1)
    checked = {check.property: (check.verdict, check.checked) for check in verifier.finish(settled=True)}
    assert checked == {
        "agreement": ("holds", 9),
        "validity": ("holds", 3),
        "exactly once": ("holds", 3),
        "execution order": ("holds", 3),
        "convergence": ("violated", 3),
    }


def test_unknown_kind_of_decisions_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tree'"):
        Verifier(3, "tree")


@pytest.mark.parametrize("decides", ["log", "graph"])
@pytest.mark.parametrize("seed", range(5))
def test_correct_runs_with_restarts_and_gaps_pass(decides: str, seed: int) -> None:
    """One log, learned by each replica in its own order and executed as far as it is known."""
    rng = random.Random(seed)
    sequences = [0] * 5
    chosen: list[Command] = []
    for _ in range(300):
        client = rng.randrange(5)
        sequences[client] += 1
        kind = rng.choice(("get", "put", "swap"))
        command = Command(client, sequences[client], kind, rng.randrange(4), len(chosen))
        chosen.append(
            rng.choice((command, command, command, NOOP)) if rng.random() < 0.9 else rng.choice(chosen or [command])
        )
        if chosen[-1] is not command:
            sequences[client] -= 1
    verifier = Verifier(3, decides)
    executed_total = 0
    for replica in range(3):
        for life in range(2):
            known: set[int] = set()
            done: set[tuple[int, int]] = set()
            following = 0
            upto = 300 if life else rng.randrange(300)
            places = sorted(range(upto), key=lambda p: p + rng.randrange(10))
            for place in places:
                verifier.committed(replica, place + 1 if decides == "log" else (place % 3, place), chosen[place])
                known.add(place)
                while following in known:
                    command = chosen[following]
                    following += 1
                    if command is not NOOP and (command.client, command.sequence) not in done:
                        done.add((command.client, command.sequence))
                        verifier.executed(replica, command)
                        executed_total += 1
            if not life:
                verifier.restarted(replica)
    checks = verifier.finish(settled=True)
    assert {check.verdict for check in checks} == {"holds"}
    assert checks[1].checked == executed_total
