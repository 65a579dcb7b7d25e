"""The two methods against a checker that tries every order, and histories whose verdict is known by hand."""

import random
from collections.abc import Hashable, Iterator, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_bench.contract import ConfigError
from consensus_bench.verification import History, Operation, check_operations
from consensus_bench.verification.linearizability import _step
from consensus_bench.verification.register import refute_register
from consensus_bench.verification.search import Search
from consensus_bench.verification.step import FOREVER


def apply(op: Operation, state: Hashable) -> tuple[bool, Hashable]:
    """The sequential specification, written independently of the checkers."""
    unanswered = op.answered is None
    if op.kind == "get":
        return unanswered or op.result == state, state
    if op.kind == "put":
        return True, op.value
    if op.kind == "swap":
        return unanswered or op.result == state, op.value
    if op.kind == "append":
        return True, (state or "") + op.value
    expected, new = op.value
    if state == expected:
        return unanswered or op.result is True, new
    return unanswered or op.result is False, state


def orders(operations: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    answered = [op for op in operations if op.answered is not None]
    unanswered = [op for op in operations if op.answered is None]
    for chosen in range(2 ** len(unanswered)):
        happened = answered + [op for i, op in enumerate(unanswered) if chosen >> i & 1]
        yield from permutations(happened)


def linearizable_by_trying_everything(operations: Sequence[Operation], initial: Hashable) -> bool:
    for order in orders(operations):
        state, legal = initial, True
        latest_start = -1
        for op in order:
            fits, state = apply(op, state)
            if not fits or (op.answered is not None and op.answered < latest_start):
                legal = False
                break
            latest_start = max(latest_start, op.invoked)
        if legal:
            return True
    return False


@st.composite
def histories(draw: st.DrawFn, kinds: tuple[str, ...], unique: bool, most: int = 6) -> list[Operation]:
    operations = []
    for number in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(kinds))
        invoked = draw(st.integers(0, 12))
        answered = draw(st.one_of(st.none(), st.integers(invoked, 14), st.integers(invoked, 14)))
        values = st.integers(0, most if unique else 2)
        value: Hashable = number + 1 if unique else draw(values)
        result: Hashable = draw(values)
        if kind == "cas":
            value, result = (draw(values), value), draw(st.booleans())
        if kind == "append":
            value = "abc"[draw(st.integers(0, 2))]
        if kind in ("get",) and "append" in kinds:
            result = draw(st.text("abc", max_size=3))
        operations.append(Operation(number, "k", kind, value, result, invoked, answered))
    return operations


def by_search(operations: Sequence[Operation], initial: Hashable) -> bool:
    steps = [
        _step(i, o.kind, o.value, o.result, o.invoked, FOREVER if o.answered is None else o.answered)
        for i, o in enumerate(operations)
    ]
    found = Search(steps, initial).run(10**6)
    assert found is not None
    return found


def by_zones(operations: Sequence[Operation], initial: Hashable) -> bool:
    steps = [
        _step(i, o.kind, o.value, o.result, o.invoked, FOREVER if o.answered is None else o.answered)
        for i, o in enumerate(operations)
    ]
    return refute_register(steps, initial) is None


@settings(max_examples=400, deadline=None)
@given(histories(("get", "get", "put", "swap"), unique=True))
def test_both_methods_agree_with_every_order_on_unique_writes(operations: list[Operation]) -> None:
    expected = linearizable_by_trying_everything(operations, 0)
    assert by_zones(operations, 0) is expected
    assert by_search(operations, 0) is expected


@settings(max_examples=300, deadline=None)
@given(histories(("get", "put", "swap", "cas"), unique=False))
def test_search_agrees_with_every_order_on_repeated_values(operations: list[Operation]) -> None:
    assert by_search(operations, 0) is linearizable_by_trying_everything(operations, 0)


@settings(max_examples=300, deadline=None)
@given(histories(("get", "put", "cas"), unique=True))
def test_verdict_agrees_with_every_order_where_both_methods_take_part(operations: list[Operation]) -> None:
    check = check_operations(operations, "cas-register", initial=0)
    assert (check.verdict == "holds") is linearizable_by_trying_everything(operations, 0)


@settings(max_examples=300, deadline=None)
@given(histories(("get", "append", "append"), unique=False))
def test_search_agrees_with_every_order_on_appends(operations: list[Operation]) -> None:
    assert by_search(operations, "") is linearizable_by_trying_everything(operations, "")


@st.composite
def string_histories(draw: st.DrawFn) -> list[Operation]:
    """Puts, appends and gets of words, some of them written by several operations."""
    words = draw(st.sampled_from((("a", "b", "c", "d"), ("a", "b"), ("ab", "ba", "aab"), ("a", "ab", ""))))
    operations = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(("get", "get", "append", "append", "put")))
        invoked = draw(st.integers(0, 12))
        answered = draw(st.one_of(st.none(), st.integers(invoked, 14), st.integers(invoked, 14)))
        result = "".join(draw(st.lists(st.sampled_from(words), max_size=3)))
        operations.append(Operation(number, "k", kind, draw(st.sampled_from(words)), result, invoked, answered))
    return operations


@settings(max_examples=400, deadline=None)
@given(string_histories(), st.sampled_from(("", "a")))
def test_verdict_agrees_with_every_order_on_strings(operations: list[Operation], initial: str) -> None:
    check = check_operations(operations, "kv", initial)
    assert (check.verdict == "holds") is linearizable_by_trying_everything(operations, initial)


def concurrent_run(seed: int, operations: int, clients: int, swaps: float, spoiled: int = 0) -> list[Operation]:
    """A linearizable history of one register (each operation acts at an instant), perhaps with spoiled reads."""
    rng = random.Random(seed)
    state, now = 0, 0
    free_at = [0] * clients
    done = []
    for number in range(operations):
        client = min(range(clients), key=free_at.__getitem__)
        invoked = max(free_at[client], now - clients)
        now = max(now + 1, invoked)
        answered = now + rng.randrange(clients)
        kind = rng.choices(("get", "put", "swap"), (0.5, 0.5 - swaps / 2, swaps))[0]
        done.append(Operation(client, 0, kind, number + 1, state, invoked, answered))
        if kind != "get":
            state = number + 1
        free_at[client] = answered + 1
    for _ in range(spoiled):
        at = rng.randrange(len(done))
        old = done[at]
        done[at] = Operation(old.client, 0, "get", None, rng.randrange(operations), old.invoked, old.answered)
    return done


@pytest.mark.parametrize("seed", range(30))
def test_both_methods_agree_on_longer_histories(seed: int) -> None:
    operations = concurrent_run(seed, 60, clients=4, swaps=0.2, spoiled=seed % 3)
    assert by_zones(operations, 0) is by_search(operations, 0)
    if seed % 3 == 0:
        assert by_zones(operations, 0)


@pytest.mark.parametrize("swaps", [0.0, 0.3, 1.0])
def test_one_hot_key_with_a_hundred_clients_is_decided_without_searching(swaps: float) -> None:
    operations = concurrent_run(1, 20_000, clients=100, swaps=swaps)
    check = check_operations(operations, "register", initial=0)
    assert (check.verdict, check.checked, check.configurations) == ("holds", 20_000, 0)


def operation(client: int, kind: str, value: Hashable, result: Hashable, start: int, end: int | None) -> Operation:
    return Operation(client, "x", kind, value, result, start, end)


STALE_READ = [
    operation(1, "put", 1, None, 0, 10),
    operation(1, "put", 2, None, 20, 30),
    operation(2, "get", None, 1, 40, 50),
]
LOST_WRITE = [operation(1, "put", 1, None, 0, 10), operation(2, "get", None, None, 20, 30)]
RETRY_APPLIED_TWICE = [
    # The put of client 1 took effect again, after client 2 had overwritten it.
    operation(1, "put", 1, None, 0, 10),
    operation(2, "put", 2, None, 20, 30),
    operation(3, "get", None, 2, 40, 50),
    operation(3, "get", None, 1, 60, 70),
]
SWAP_APPLIED_TWICE = [
    operation(1, "swap", 1, 1, 0, 10),
]
TWO_SWAPS_TOOK_THE_SAME = [
    operation(1, "swap", 1, None, 0, 10),
    operation(2, "swap", 2, None, 0, 10),
]
NEVER_WRITTEN = [operation(1, "get", None, 7, 0, 10)]
READ_FROM_THE_FUTURE = [operation(1, "get", None, 7, 0, 10), operation(2, "put", 7, None, 11, 20)]
NEW_THEN_OLD = [
    operation(1, "put", 1, None, 0, 1),
    operation(1, "put", 2, None, 2, 100),
    operation(2, "get", None, 2, 10, 20),
    operation(3, "get", None, 1, 30, 40),
]
OPEN_WRITE_SEEN_THEN_GONE = [
    operation(1, "put", 1, None, 0, None),
    operation(2, "get", None, 1, 10, 20),
    operation(3, "get", None, None, 30, 40),
]


@pytest.mark.parametrize(
    "operations",
    [
        STALE_READ,
        LOST_WRITE,
        RETRY_APPLIED_TWICE,
        SWAP_APPLIED_TWICE,
        TWO_SWAPS_TOOK_THE_SAME,
        NEVER_WRITTEN,
        READ_FROM_THE_FUTURE,
        NEW_THEN_OLD,
        OPEN_WRITE_SEEN_THEN_GONE,
    ],
)
def test_planted_violations_are_caught_by_both_methods(operations: list[Operation]) -> None:
    assert not linearizable_by_trying_everything(operations, None)
    assert not by_search(operations, None)
    check = check_operations(operations)
    assert check.verdict == "violated"
    assert check.key == "x"
    assert check.operations
    assert not linearizable_by_trying_everything(check.operations, None), "the explanation is itself a proof"


def test_one_bad_key_among_many_is_named() -> None:
    good = [Operation(c, f"k{c}", "put", c, None, 0, 5) for c in range(20)]
    check = check_operations([*good, *LOST_WRITE])
    assert (check.verdict, check.key) == ("violated", "x")
    assert "client 2: get -> None" in check.detail


@pytest.mark.parametrize(("gap", "verdict"), [(0, "holds"), (1, "violated")])
def test_operations_that_touch_in_time_are_concurrent(gap: int, verdict: str) -> None:
    operations = [operation(1, "put", 1, None, 0, 10), operation(2, "get", None, None, 10 + gap, 20)]
    assert check_operations(operations).verdict == verdict
    assert by_search(operations, None) is (verdict == "holds")


def test_an_operation_without_an_answer_may_take_effect_late_or_never() -> None:
    lost = operation(1, "put", 1, None, 0, None)
    before = operation(2, "get", None, None, 10, 20)
    after = operation(2, "get", None, 1, 30, 40)
    for history in ([lost, before], [lost, after], [lost, before, after]):
        assert check_operations(history).verdict == "holds"
    assert check_operations([lost, after, operation(3, "get", None, None, 50, 60)]).verdict == "violated"


@pytest.mark.parametrize("second", [(2, 3), (2, 2)])
def test_a_compare_and_set_without_an_answer_proves_nothing(second: tuple[int, int]) -> None:
    """Only the second would need the value of the first, which could not happen: neither did."""
    first = operation(1, "cas", (1, 2), None, 0, None)
    then = operation(2, "cas", second, None, 10, None)
    assert check_operations([first, then], "cas-register").verdict == "holds"
    seen = operation(3, "get", None, second[1], 20, 30)
    one = operation(4, "put", 1, None, 0, 5)
    assert check_operations([first, then, seen], "cas-register").verdict == "violated"
    assert check_operations([one, first, then, seen], "cas-register").verdict == "holds"


def test_a_checker_that_gives_up_says_not_decided() -> None:
    operations = [Operation(i, "k", "cas", (i % 3, (i * 2 + 1) % 3), False, 0, 100) for i in range(3)]
    operations += [Operation(i, "k", "put", i % 3, None, 0, 100 + i) for i in range(16)]
    operations.append(Operation(99, "k", "get", None, 7, 200, 210))
    check = check_operations(operations, "cas-register", initial=0, budget=10)
    assert check.verdict == "not decided"
    assert check.configurations >= 10
    assert "'k'" in check.detail
    assert check_operations(operations, "cas-register", initial=0).verdict == "violated"


def test_a_hopeless_key_does_not_hide_the_violation_of_another() -> None:
    hopeless = [Operation(i, "a", "append", f"{i}.", None, 0, 100) for i in range(12)]
    hopeless.append(Operation(99, "a", "get", None, "nothing like it", 200, 210))
    hopeless.append(Operation(98, "a", "put", "", None, 0, 100))
    bad = [Operation(1, "b", "append", "1", None, 0, 1), Operation(1, "b", "get", None, "2", 2, 3)]
    check = check_operations([*hopeless, *bad], "kv", initial="", budget=3000)
    assert (check.verdict, check.key) == ("violated", "b")


def test_history_in_columns_gives_the_same_verdicts() -> None:
    for seed in range(6):
        operations = concurrent_run(seed, 200, clients=5, swaps=0.3, spoiled=seed % 2)
        history = History()
        for op in operations:
            value = op.value if isinstance(op.value, int) else 0
            result = op.result if isinstance(op.result, int) else None
            history.append(int(str(op.client)), 0, op.kind, value, result, op.invoked, op.answered)
        assert len(history) == 200
        assert history.check(initial=0).verdict == check_operations(operations, initial=0).verdict


def test_history_keeps_absent_values_and_answers() -> None:
    history = History()
    history.append(4, "k", "get", 0, None, 1, 2)
    history.append(5, 9, "swap", 3, 8, 1, None)
    assert history.operation(0) == Operation(4, "k", "get", None, None, 1, 2)
    assert history.operation(1) == Operation(5, 9, "swap", 3, 8, 1, None)
    assert history.check().verdict == "holds"
    assert history.check(initial=1).verdict == "violated"


def test_unknown_models_and_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown model 'queue'"):
        check_operations([], "queue")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="append is none of model register"):
        check_operations([operation(1, "append", "a", None, 0, 1)])


def test_an_unanswered_append_may_be_seen_later() -> None:
    operations = [
        operation(1, "append", "a", None, 0, None),
        operation(2, "append", "b", None, 0, 5),
        operation(2, "get", None, "b", 6, 7),
        operation(2, "get", None, "ba", 8, 9),
    ]
    assert check_operations(operations, "kv").verdict == "holds"
    assert check_operations([*operations, operation(2, "get", None, "ab", 10, 11)], "kv").verdict == "violated"


def test_many_open_operations_do_not_defeat_a_refutation() -> None:
    operations = [Operation(i, "k", "cas", (i % 4, (i + 1 + i // 9) % 4), None, i, None) for i in range(36)]
    operations += [Operation(90, "k", "get", None, i * 3 % 4, 100 + 2 * i, 101 + 2 * i) for i in range(30)]
    operations.append(Operation(90, "k", "put", 5, None, 300, 301))
    operations.append(Operation(90, "k", "get", None, 0, 310, 311))
    check = check_operations(operations, "cas-register", initial=0, budget=2000)
    assert check.verdict == "violated"
    assert check.operations[0].result == 0
