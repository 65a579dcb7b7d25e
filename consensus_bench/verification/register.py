"""Registers whose writes all write different values: linearizability decided in O(n log n), whatever the concurrency.

After Gibbons and Korach, "Testing shared memories" (SIAM J. Comput. 26(4), 1997), section 4: with unique values each
read names its write, so the operations fall into clusters (a write and its reads) that are contiguous in any
linearization. A swap or compare-and-set names its predecessor as well and glues two clusters together; what is left
are blocks of clusters. Block A must come before block B if some operation of A ended before one of B began, that is if
the earliest end in A lies before the latest start in B. The history is linearizable exactly if each block is in order
within itself and no two blocks must come before each other: of a shortest longer cycle A1 -> A2 -> ... -> A1 the latest
starts would have to fall all the way round.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from consensus_bench.verification.step import ANY, DIFFERENT, EXACT, FOREVER, NONE, SET, Step


class Refutation(NamedTuple):
    """Why a history has no linearization: a sentence, and the few operations that already have none."""

    reason: str
    steps: list[Step]


_INITIAL: Final = -1  # operation number of the imaginary write of the initial value


class NotApplicable(Exception):
    """A value is written twice, or an operation is none of read, write, swap and successful compare-and-set."""


class _Refuted(Exception):
    def __init__(self, reason: str, steps: Sequence[Step]) -> None:
        super().__init__(reason)
        once = {s.operation: s for s in steps if s.operation != _INITIAL}
        self.refutation = Refutation(reason, list(once.values()))


class _Block(NamedTuple):
    """Clusters glued together: the step that ended first and the one that began last."""

    first_end: Step
    last_start: Step

    @property
    def begins(self) -> int:
        return self.first_end.answered

    @property
    def ends(self) -> int:
        return self.last_start.invoked


def _observed(steps: Sequence[Step]) -> set[Hashable]:
    """The values that must have been there: those in answers, and those that an unanswered compare-and-set found which
    made such a value. One that made no such value may as well not have happened, and proves nothing."""
    found: dict[Hashable, list[Hashable]] = {}
    must: list[Hashable] = []
    for step in steps:
        if step.observes == EXACT:
            if step.answered != FOREVER:
                must.append(step.seen)
            elif step.effect == SET:
                found.setdefault(step.value, []).append(step.seen)
    observed = set(must)
    while must:
        for value in found.pop(must.pop(), ()):
            observed.add(value)
            must.append(value)
    return observed


class _Clusters:
    """The operations of one key by the value they write or read."""

    __slots__ = ("first_end", "followers", "initial", "last_start", "writers")

    def __init__(self, steps: Sequence[Step], initial: Hashable) -> None:
        self.initial = initial
        first = Step(-FOREVER, -FOREVER, ANY, None, SET, initial, _INITIAL)
        self.writers: dict[Hashable, Step] = {initial: first}
        self.followers: dict[Hashable, Step] = {}  # value -> the read-modify-write that replaced it
        observed = _observed(steps)
        for step in steps:
            if step.effect == NONE:
                if step.observes == DIFFERENT:
                    raise NotApplicable
            elif step.effect != SET or step.observes not in (ANY, EXACT):
                raise NotApplicable
            elif step.answered != FOREVER or step.value in observed:
                if step.value in self.writers:
                    raise NotApplicable
                self.writers[step.value] = step
        self.first_end = dict(self.writers)
        self.last_start = dict(self.writers)
        for step in steps:
            if step.observes == EXACT and (step.effect == SET or step.answered != FOREVER):
                self._observe(step)

    def _observe(self, step: Step) -> None:
        invoked, answered, _, seen, effect, value, _ = step
        if effect == SET:
            if self.writers.get(value) is not step:
                return  # never answered, never seen: as if it had not been
            if seen not in self.writers:
                raise _Refuted("a value is observed that nobody wrote", [step])
            other = self.followers.setdefault(seen, step)
            if other is not step:
                raise _Refuted("two operations replaced the same value", [self.writers[seen], other, step])
            return
        writer = self.writers.get(seen)
        if writer is None:
            raise _Refuted("a value is observed that nobody wrote", [step])
        if answered < writer.invoked:
            raise _Refuted("a value is observed before its write began", [step, writer])
        if answered < self.first_end[seen].answered:
            self.first_end[seen] = step
        if invoked > self.last_start[seen].invoked:
            self.last_start[seen] = step

    def blocks(self) -> list[_Block]:
        """Clusters glued by read-modify-writes, each block checked within itself."""
        found = []
        clusters = 0
        for value, writer in self.writers.items():
            if writer.observes == EXACT:
                continue  # not the head of its block
            clusters += 1
            first_end, last_start = self.first_end[value], self.last_start[value]
            while (follower := self.followers.get(value)) is not None:
                clusters += 1
                value = follower.value
                if self.first_end[value].answered < last_start.invoked:
                    reason = "a value was replaced before it was last observed"
                    before = self.writers[last_start.value if last_start.effect == SET else last_start.seen]
                    raise _Refuted(reason, [before, last_start, follower, self.writers[value], self.first_end[value]])
                if self.first_end[value].answered < first_end.answered:
                    first_end = self.first_end[value]
                if self.last_start[value].invoked > last_start.invoked:
                    last_start = self.last_start[value]
            found.append(_Block(first_end, last_start))
        if clusters < len(self.writers):
            self._explain_cycle()
        return found

    def _explain_cycle(self) -> None:
        """Some read-modify-writes observed each other's values in a circle."""
        reached = set()
        for value, writer in self.writers.items():
            if writer.observes != EXACT:
                reached.add(value)
                while value in self.followers:
                    value = self.followers[value].value
                    reached.add(value)
        value = next(v for v in self.writers if v not in reached)
        circle = [self.writers[value]]
        while circle[-1].seen != value:
            circle.append(self.writers[circle[-1].seen])
        raise _Refuted("operations observed each other's values in a circle", circle)


def refute_register(steps: Sequence[Step], initial: Hashable) -> Refutation | None:
    """None if the operations of one key are linearizable, starting from ``initial``; else why they are not.

    Raises ``NotApplicable`` where values do not tell the writes apart.
    """
    try:
        clusters = _Clusters(steps, initial)
        _check_order(clusters)
    except _Refuted as refuted:
        return refuted.refutation
    return None


def _check_order(clusters: _Clusters) -> None:
    """No two blocks must come before each other."""
    blocks = clusters.blocks()
    # A forward zone spans at least one whole gap between operations: nothing else fits into that time.
    forward = sorted((b for b in blocks if b.begins < b.ends), key=lambda b: b.begins)
    for earlier, later in pairwise(forward):
        if later.begins < earlier.ends:
            _conflict(clusters, earlier, later)
    begins = [block.begins for block in forward]
    for block in blocks:
        if block.begins >= block.ends:
            at = bisect_left(begins, block.ends) - 1
            if at >= 0 and block.begins < forward[at].ends:
                _conflict(clusters, forward[at], block)


def _conflict(clusters: _Clusters, a: _Block, b: _Block) -> None:
    steps = []
    for step in (a.first_end, a.last_start, b.first_end, b.last_start):
        steps += [clusters.writers[step.value if step.effect == SET else step.seen], step]
    reason = "one value must have been there both before and after another"
    raise _Refuted(reason, sorted(steps, key=lambda s: s.invoked))
