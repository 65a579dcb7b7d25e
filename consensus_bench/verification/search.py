"""Linearizability by search, for any operations of ``step.py``.

Wing and Gong's search (J. Parallel Distrib. Comput. 17, 1993) in Lowe's just-in-time form with a memo of configurations
(G. Lowe, "Testing for linearizability", Concurrency Computat. Pract. Exper. 29(4), 2017): the history is read in the
order of the answers; an operation is linearized only when its answer comes, together with others that must go before
it. A configuration is (answers passed, pending operations already linearized, state); none is visited twice.

What keeps the search small, each without losing a linearization:
- an operation that only observes is linearized as soon as the state allows it (doing it now costs nothing later);
- of pending operations that do the same, the one that must end first goes first (exchange them);
- a configuration that has used a superset of the never answered operations of a visited one adds nothing (they need
  not happen at all);
- where only appends can still change the state before a read ends, the state must be a beginning of what it read.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from consensus_bench.verification.step import APPEND, DIFFERENT, EXACT, FOREVER, NONE, SET, Step


class _Pending(NamedTuple):
    """A pending operation. Sorted by rank: the order of the answers, those without an answer last."""

    rank: int
    bit: int  # in the mask of linearized operations that will be answered, or (if open) in the mask of spent ones
    open: bool
    group: int  # equal for operations that do the same
    step: Step


def _append(state: Any, value: Any) -> Hashable:
    """Strings grow by concatenation, everything else by an element; nil is empty in either way."""
    if state is None:
        return value if isinstance(value, str) else (value,)
    if isinstance(state, str) and isinstance(value, str):
        return state + value
    return (*state, value) if isinstance(state, tuple) else (state, value)


def _begins_with(longer: Any, state: Any) -> bool:
    if state is None:
        return True
    if isinstance(longer, str) and isinstance(state, str):
        return longer.startswith(state)
    return isinstance(longer, tuple) and isinstance(state, tuple) and longer[: len(state)] == state


def _allowed(step: Step, state: Hashable) -> bool:
    if step.observes == EXACT:
        return bool(state == step.seen)
    return step.observes != DIFFERENT or bool(state != step.seen)


class Search:
    """The search for a linearization of one key's operations; it can be interrupted and resumed."""

    def __init__(self, steps: Sequence[Step], initial: Hashable) -> None:
        steps = _without_idle(steps)
        answered = sorted((s for s in steps if s.answered != FOREVER), key=lambda s: (s.answered, s.invoked))
        self._answers = answered
        self._rank = {s.operation: i for i, s in enumerate(answered)}
        self._invocations = sorted(steps, key=lambda s: s.invoked)
        self._invoked = 0  # how many of them are pending at the last position of ``_pending``
        self._pending: list[tuple[list[_Pending], list[_Pending]]] = []  # a position: the observers, the others
        self._bits: list[int] = [0] * len(answered)
        self._free: list[int] = []
        self._slots = self._open_slots = 0
        self._groups: dict[tuple[int, Hashable, int, Hashable], int] = {}
        self._appends = any(s.effect == APPEND for s in steps)
        self._horizon = self._look_ahead() if self._appends else []
        self._states: dict[Hashable, Hashable] = {}
        self._visited: dict[tuple[int, int, Hashable], list[int]] = {}
        self._stack: list[tuple[int, int, Hashable, int]] = [(0, 0, initial, 0)]
        self.configurations = 0
        self.furthest = -1
        self.states: set[Hashable] = set()  # in which the furthest answer could not be explained

    def run(self, budget: int) -> bool | None:
        """Whether there is a linearization; None if that is not known after ``budget`` more configurations."""
        limit = self.configurations + budget
        while self._stack:
            if self.configurations >= limit:
                return None
            position, mask, state, spent = self._stack.pop()
            position, mask = self._pass_answers(position, mask, state)
            if position == len(self._answers):
                return True
            if self._known(position, mask, state, spent):
                continue
            self.configurations += 1
            if position >= self.furthest:
                if position > self.furthest:
                    self.furthest = position
                    self.states.clear()
                if len(self.states) < 20:
                    self.states.add(state)
            if not self._appends or self._promising(position, mask, state):
                self._expand(position, mask, state, spent)
        return False

    def blame(self) -> tuple[Step, list[Step], set[Hashable]]:
        """After a refutation: the earliest answer that no order explains, the operations pending then, and states
        that the object may have been in."""
        observers, movers = self._at(self.furthest)
        return self._answers[self.furthest], [p.step for p in (*observers, *movers)], self.states

    def _known(self, position: int, mask: int, state: Hashable, spent: int) -> bool:
        key = (position, mask, state)
        visited = self._visited.get(key)
        if visited is None:
            self._visited[key] = [spent]
            return False
        for other in visited:
            if other & spent == other:
                return True
        visited.append(spent)
        return False

    def _pass_answers(self, position: int, mask: int, state: Hashable) -> tuple[int, int]:
        """Linearize what only observes; pass every answer whose operation is linearized."""
        while position < len(self._answers):
            for pending in self._at(position)[0]:
                if not mask & pending.bit and _allowed(pending.step, state):
                    mask |= pending.bit
            if not mask & self._bits[position]:
                break
            mask ^= self._bits[position]
            position += 1
        return position, mask

    def _expand(self, position: int, mask: int, state: Hashable, spent: int) -> None:
        """Push what may be linearized next; the operation whose answer is due will be tried first."""
        tried = set()
        successors = []
        for pending in self._at(position)[1]:
            if (spent if pending.open else mask) & pending.bit or pending.group in tried:
                continue
            tried.add(pending.group)
            step = pending.step
            if not _allowed(step, state):
                continue
            after = step.value if step.effect == SET else _append(state, step.value)
            after = self._states.setdefault(after, after)
            if pending.open:
                if after != state:
                    successors.append((position, mask, after, spent | pending.bit))
            else:
                successors.append((position, mask | pending.bit, after, spent))
        self._stack.extend(reversed(successors))

    def _at(self, position: int) -> tuple[list[_Pending], list[_Pending]]:
        """The operations pending when answer ``position`` comes, in the order of their answers."""
        while len(self._pending) <= position:
            now = len(self._pending)
            observers, movers = self._pending[-1] if self._pending else ([], [])
            observers = [p for p in observers if p.rank >= now]
            movers = [p for p in movers if p.rank >= now]
            if now:
                self._free.append(self._bits[now - 1])
            while self._invoked < len(self._invocations):
                step = self._invocations[self._invoked]
                # At equal times the answer and the invocation are concurrent.
                if step.invoked > self._answers[now].answered:
                    break
                self._invoked += 1
                insort(observers if step.effect == NONE else movers, self._begin(step))
            self._pending.append((observers, movers))
        return self._pending[position]

    def _begin(self, step: Step) -> _Pending:
        group = self._groups.setdefault((step.observes, step.seen, step.effect, step.value), len(self._groups))
        if step.answered == FOREVER:
            self._open_slots += 1
            return _Pending(len(self._answers) + self._open_slots, 1 << self._open_slots, True, group, step)
        if not self._free:
            self._free.append(1 << self._slots)
            self._slots += 1
        rank = self._rank[step.operation]
        self._bits[rank] = self._free.pop()
        return _Pending(rank, self._bits[rank], False, group, step)

    def _look_ahead(self) -> list[tuple[int, int]]:
        """Per position: the next answer of a read (-1: none), and how many writes begin before it ends."""
        sets = sorted(s.invoked for s in self._invocations if s.effect == SET)
        begun: list[int] = []
        for step in self._answers:
            count = begun[-1] if begun else 0
            while count < len(sets) and sets[count] <= step.answered:
                count += 1
            begun.append(count)
        horizon = []
        read = -1
        for position in range(len(self._answers) - 1, -1, -1):
            if self._answers[position].observes == EXACT:
                read = position
            horizon.append((read, begun[read] - begun[position] if read >= 0 else 0))
        return horizon[::-1]

    def _promising(self, position: int, mask: int, state: Hashable) -> bool:
        """With appends: whether the next read to end can still see what it saw."""
        read, writes = self._horizon[position]
        if read < 0 or writes:
            return True
        step = self._answers[read]
        observers, movers = self._at(position)
        if any(p.rank == read and mask & p.bit for p in (*observers, *movers)):
            return True
        if any(p.step.effect == SET and (p.open or not mask & p.bit) for p in movers):
            return True
        return _begins_with(step.seen, state)


def _without_idle(steps: Sequence[Step]) -> list[Step]:
    """Leave out what can never matter: unanswered observers, and unanswered writes of what nobody observed."""
    observed = {s.seen for s in steps if s.observes == EXACT}
    any_write_helps = any(s.observes == DIFFERENT or s.effect == APPEND for s in steps)
    return [
        s for s in steps if s.answered != FOREVER or (s.effect != NONE and (any_write_helps or s.value in observed))
    ]
