"""Is what the clients saw explained by one copy of the data, each operation taking effect at an instant between its
invocation and its answer (Herlihy and Wing, TOPLAS 12(3), 1990)?

Linearizability is local: a history is linearizable exactly if the operations on each key are (ibid., section 3.2), so
each key is decided alone. Where every write of a key writes another value, as in the workloads of this package,
``register`` decides in O(n log n); anything else is searched (``search``), the keys in turn, so that one hopeless key
does not hide the violation of another.

Times are integers. An operation precedes another only if its answer came strictly *before* the other's invocation: at
equal times they are concurrent, because nothing tells which came first. An operation without an answer may have taken
effect at any time after its invocation, or never.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from typing import Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import ConfigError, Key
from consensus_bench.verification.appends import NotSplittable, as_register
from consensus_bench.verification.check import Check
from consensus_bench.verification.register import NotApplicable, refute_register
from consensus_bench.verification.search import Search, concatenate
from consensus_bench.verification.step import ANY, APPEND, DIFFERENT, EXACT, FOREVER, NONE, SET, Step

LINEARIZABILITY: Final = "linearizability"
DEFAULT_BUDGET: Final = 2_000_000
"""Configurations that the search may visit in one history, over all its keys (some ten microseconds each)."""

Model: TypeAlias = Literal["register", "cas-register", "kv"]
MODELS: Final[dict[str, tuple[str, ...]]] = {
    "register": ("get", "put", "swap"),
    "cas-register": ("get", "put", "swap", "cas"),
    "kv": ("get", "put", "swap", "append"),
}
"""The operations that a model knows; every model may have many keys."""


class Operation(msgspec.Struct, frozen=True):
    """One operation of one client.

    ``kind``: "get" returns the state; "put" writes ``value``; "swap" writes ``value`` and returns the state before;
    "cas" has ``value`` (expected, new) and returns whether the state was the expected one and was replaced; "append"
    adds ``value`` at the end of a string or of a tuple. ``answered`` is None if no answer came; ``result`` then means
    nothing.
    """

    client: Hashable
    key: Hashable
    kind: str
    value: Hashable
    result: Hashable
    invoked: int
    answered: int | None

    def __str__(self) -> str:
        argument = "" if self.kind == "get" else f" {self.value!r}"
        returned = "" if self.answered is None or self.kind in ("put", "append") else f" -> {self.result!r}"
        until = "no answer" if self.answered is None else self.answered
        return f"client {self.client}: {self.kind}{argument}{returned} [{self.invoked}, {until}]"


class HistoryCheck(Check, frozen=True, kw_only=True):
    """The verdict on a history. When it is "violated": the key, and the operations of it that already contradict each
    other, or the first one that no order explains followed by those concurrent with it."""

    key: Hashable = None
    reason: str = ""
    operations: tuple[Operation, ...] = ()
    keys: int = 0
    open: int = 0
    configurations: int = 0


def _observed(answered: int, result: Hashable) -> tuple[int, Hashable]:
    return (ANY, None) if answered == FOREVER else (EXACT, result)


def _step(number: int, kind: str, value: Hashable, result: Hashable, invoked: int, answered: int) -> Step:
    """What the operation observed and what it did."""
    if kind == "get":
        observes, seen = _observed(answered, result)
        return Step(invoked, answered, observes, seen, NONE, None, number)
    if kind == "put":
        return Step(invoked, answered, ANY, None, SET, value, number)
    if kind == "swap":
        observes, seen = _observed(answered, result)
        return Step(invoked, answered, observes, seen, SET, value, number)
    if kind == "append":
        return Step(invoked, answered, ANY, None, APPEND, value, number)
    if kind != "cas" or not isinstance(value, tuple) or len(value) != 2:
        raise ConfigError(f"operation {number}: {kind} {value!r} is unknown; kinds are get, put, swap, append and cas")
    expected, new = value
    if answered != FOREVER and result is not True:
        return Step(invoked, answered, DIFFERENT, expected, NONE, None, number)
    if expected == new:  # whether it happened or not makes no difference, only that it was possible
        return Step(invoked, answered, EXACT, expected, NONE, None, number)
    return Step(invoked, answered, EXACT, expected, SET, new, number)


class _Judge:
    """Decides a history given key by key."""

    def __init__(self, operation: Callable[[int], Operation], budget: int) -> None:
        self._operation = operation
        self._budget = budget
        self._configurations = 0
        self._checked = 0
        self._open = 0
        self._keys = 0

    def judge(self, partitions: Iterable[tuple[Hashable, list[Step]]], initial: Hashable) -> HistoryCheck:
        """The verdict; stops at the first key that is refuted."""
        searches: list[tuple[Hashable, Search]] = []
        for key, steps in partitions:
            self._keys += 1
            self._checked += len(steps)
            self._open += sum(1 for step in steps if step.answered == FOREVER)
            start, grow, show = initial, concatenate, repr
            if any(step.effect == APPEND for step in steps):
                with suppress(NotSplittable):
                    steps, start, tree = as_register(steps, initial)
                    grow, show = tree.grow, tree.show
            try:
                refutation = refute_register(steps, start)
            except NotApplicable:
                searches.append((key, Search(steps, start, grow, show)))
                continue
            if refutation is not None:
                return self._violated(key, refutation.reason, refutation.steps)
        return self._search(searches)

    def _search(self, searches: list[tuple[Hashable, Search]]) -> HistoryCheck:
        """All searches in turn, each time with a longer slice."""
        slice_ = 1000
        while searches:
            unfinished = []
            for key, search in searches:
                before = search.configurations
                found = search.run(min(slice_, self._budget - self._configurations))
                self._configurations += search.configurations - before
                if found is False:
                    return self._blame(key, search)
                if found is None:
                    unfinished.append((key, search))
            searches = unfinished
            if searches and self._configurations >= self._budget:
                names = ", ".join(repr(key) for key, _ in searches[:5])
                detail = f"gave up after {self._configurations} configurations; undecided keys: {names}"
                return self._verdict("not decided", detail)
            slice_ *= 4
        return self._verdict("holds", f"operations on {self._keys} keys, {self._open} of them without an answer")

    def _blame(self, key: Hashable, search: Search) -> HistoryCheck:
        step, pending, states = search.blame()
        concurrent = [p for p in pending if p.operation != step.operation]
        known = ", ".join(sorted(map(search.show, states)))
        reason = f"no order explains the first of these operations; until then the state could be {known}"
        return self._violated(key, reason, [step, *concurrent])

    def _violated(self, key: Hashable, reason: str, steps: list[Step]) -> HistoryCheck:
        operations = tuple(self._operation(step.operation) for step in steps)
        listed = "; ".join(map(str, operations[:8])) + ("; ..." if len(operations) > 8 else "")
        where = "" if key is None else f"key {key!r}: "
        return self._verdict("violated", f"{where}{reason}: {listed}", key, reason, operations)

    def _verdict(
        self,
        verdict: Literal["holds", "violated", "not decided"],
        detail: str,
        key: Hashable = None,
        reason: str = "",
        operations: tuple[Operation, ...] = (),
    ) -> HistoryCheck:
        return HistoryCheck(
            LINEARIZABILITY,
            verdict,
            self._checked,
            detail,
            key=key,
            reason=reason,
            operations=operations,
            keys=self._keys,
            open=self._open,
            configurations=self._configurations,
        )


def check_operations(
    operations: Iterable[Operation], model: Model = "register", initial: Hashable = None, budget: int = DEFAULT_BUDGET
) -> HistoryCheck:
    """Judge a recorded history. Every key starts with ``initial``; ``budget`` bounds the search, in configurations."""
    if model not in MODELS:
        raise ConfigError(f"unknown model {model!r}: it must be one of {', '.join(MODELS)}")
    recorded = list(operations)
    partitions: dict[Hashable, list[Step]] = {}
    for number, op in enumerate(recorded):
        if op.kind not in MODELS[model]:
            raise ConfigError(f"operation {number}: {op.kind} is none of model {model}: {', '.join(MODELS[model])}")
        answered = FOREVER if op.answered is None else op.answered
        step = _step(number, op.kind, op.value, op.result, op.invoked, answered)
        partitions.setdefault(op.key, []).append(step)
    return _Judge(recorded.__getitem__, budget).judge(partitions.items(), initial)


_KINDS: Final = ("get", "put", "swap")
_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}
_NIL: Final = -(2**63)  # stands for None in a column of numbers


class History:
    """The operations of a run's clients, in columns: about fifty bytes each. Values and times are integers.

    ``append`` is called once per operation, in any order: when its answer comes, or at the end of the run for those
    without an answer. A retried request is one operation, from its first invocation to its first answer.
    """

    __slots__ = ("_answered", "_clients", "_invoked", "_keys", "_kinds", "_results", "_values")

    def __init__(self) -> None:
        self._clients = array("q")
        self._keys: list[Key] = []
        self._kinds = array("b")
        self._values = array("q")
        self._results = array("q")
        self._invoked = array("q")
        self._answered = array("q")

    def __len__(self) -> int:
        return len(self._keys)

    def append(
        self, client: int, key: Key, kind: str, value: int, result: int | None, invoked: int, answered: int | None
    ) -> None:
        """Record one operation ("get", "put" or "swap"); ``answered`` None: no answer came, ``result`` is ignored."""
        self._kinds.append(_CODES[kind])
        self._clients.append(client)
        self._keys.append(key)
        self._values.append(value)
        self._results.append(_NIL if result is None else result)
        self._invoked.append(invoked)
        self._answered.append(FOREVER if answered is None else answered)

    def operation(self, number: int) -> Operation:
        """The ``number``-th operation that was appended."""
        kind = _KINDS[self._kinds[number]]
        result, answered = self._results[number], self._answered[number]
        return Operation(
            client=self._clients[number],
            key=self._keys[number],
            kind=kind,
            value=None if kind == "get" else self._values[number],
            result=None if result == _NIL else result,
            invoked=self._invoked[number],
            answered=None if answered == FOREVER else answered,
        )

    def check(self, initial: int | None = None, budget: int = DEFAULT_BUDGET) -> HistoryCheck:
        """Judge the history as registers that start with ``initial``."""
        return _Judge(self.operation, budget).judge(self._partitions(), initial)

    def _partitions(self) -> Iterator[tuple[Key, list[Step]]]:
        """One key after the other, so that only one key's steps exist at a time."""
        numbers: dict[Key, array[int]] = {}
        for number, key in enumerate(self._keys):
            known = numbers.get(key)
            if known is None:
                known = numbers[key] = array("q")
            known.append(number)
        for key, members in numbers.items():
            yield key, [self._step(number) for number in members]

    def _step(self, number: int) -> Step:
        kind = self._kinds[number]
        answered = self._answered[number]
        observes = ANY if kind == 1 or answered == FOREVER else EXACT
        seen = self._results[number] if observes == EXACT else None
        if seen == _NIL:
            seen = None
        if kind == 0:
            return Step(self._invoked[number], answered, observes, seen, NONE, None, number)
        return Step(self._invoked[number], answered, observes, seen, SET, self._values[number], number)
