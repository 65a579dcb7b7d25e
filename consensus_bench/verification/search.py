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
- a never answered operation is used only for a state that a pending operation waits for (else leave it out);
- states that no answer shows are one state;
- at first a never answered operation may take effect any number of times: that is a much smaller search, and most
  histories that have no linearization have none even so.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from consensus_bench.verification.step import ANY, APPEND, DIFFERENT, EXACT, FOREVER, HIDDEN, NONE, SET, Step


class _Pending(NamedTuple):
    """A pending operation. Sorted by rank: the order of the answers, those without an answer last."""

    rank: int
    bit: int  # in the mask of linearized operations that will be answered, or (if open) in the mask of spent ones
    open: bool
    group: int  # equal for operations that do the same
    step: Step


def concatenate(state: Any, value: Any) -> Hashable:
    """An append: strings grow by concatenation, everything else by an element; nil is empty in either way."""
    if state is None:
        return value if isinstance(value, str) else (value,)
    if isinstance(state, str) and isinstance(value, str):
        return state + value
    return (*state, value) if isinstance(state, tuple) else (state, value)


def _allowed(step: Step, state: Hashable) -> bool:
    if step.observes == EXACT:
        return bool(state == step.seen)
    return step.observes != DIFFERENT or bool(state != step.seen)


class Search:
    """The search for a linearization of one key's operations; it can be interrupted and resumed."""

    def __init__(
        self,
        steps: Sequence[Step],
        initial: Hashable,
        grow: Callable[[Hashable, Hashable], Hashable] = concatenate,
        show: Callable[[Hashable], str] = repr,
    ) -> None:
        steps = _merge_hidden(_without_idle(steps))
        self._grow = grow
        self.show = show
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
        self._states: dict[Hashable, Hashable] = {}
        self._visited: dict[tuple[int, int, Hashable], list[int]] = {}
        self._start: tuple[int, int, Hashable, int] = (0, 0, initial, 0)
        self._stack = [self._start]
        # Appends without end would never come to an end; along a tree they do.
        endless = grow is concatenate and any(s.effect == APPEND for s in steps)
        self._generous = not endless and any(s.answered == FOREVER for s in steps)
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
                if not self._generous:
                    return True
                self._begin_exactly()
                continue
            if self._known(position, mask, state, spent):
                continue
            self.configurations += 1
            if position >= self.furthest:
                if position > self.furthest:
                    self.furthest = position
                    self.states.clear()
                if len(self.states) < 20:
                    self.states.add(state)
            self._expand(position, mask, state, spent)
        return False

    def _begin_exactly(self) -> None:
        """From now on each operation takes effect at most once."""
        self._generous = False
        self._stack = [self._start]
        self._visited.clear()
        self.furthest = -1

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
        self.configurations += len(visited) // 32  # the price of looking through them
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
        wanted, anything = self._wanted(position, mask)
        successors = []
        for pending in self._at(position)[1]:
            if (spent if pending.open else mask) & pending.bit or pending.group in tried:
                continue
            tried.add(pending.group)
            step = pending.step
            if not _allowed(step, state):
                continue
            after = step.value if step.effect == SET else self._grow(state, step.value)
            after = self._states.setdefault(after, after)
            if pending.open:
                if after != state and (anything or after in wanted):
                    successors.append((position, mask, after, spent if self._generous else spent | pending.bit))
            else:
                successors.append((position, mask | pending.bit, after, spent))
        self._stack.extend(reversed(successors))

    def _wanted(self, position: int, mask: int) -> tuple[set[Hashable], bool]:
        """The states that pending operations wait for; True if one of them may be helped by any change."""
        wanted = set()
        observers, movers = self._at(position)
        for pending in (*observers, *movers):
            step = pending.step
            if pending.open or not mask & pending.bit:
                if step.observes == EXACT:
                    wanted.add(step.seen)
                elif step.observes == DIFFERENT or step.effect == APPEND:
                    return wanted, True
        return wanted, False

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


def _without_idle(steps: Sequence[Step]) -> list[Step]:
    """Leave out what can never matter: unanswered observers, and unanswered writes of what nobody observed."""
    observed = {s.seen for s in steps if s.observes == EXACT}
    any_write_helps = any(s.observes == DIFFERENT or s.effect == APPEND for s in steps)
    return [
        s for s in steps if s.answered != FOREVER or (s.effect != NONE and (any_write_helps or s.value in observed))
    ]


def _merge_hidden(steps: Sequence[Step]) -> Sequence[Step]:
    """Give all written values that nobody asks for one name."""
    asked = {s.seen for s in steps if s.observes != ANY}
    appends = any(s.effect == APPEND for s in steps)

    def hidden(value: Hashable) -> bool:
        if appends:  # a value may be asked for together with what is appended to it
            return isinstance(value, tuple) and value[:1] == HIDDEN
        return value not in asked

    return [s._replace(value=HIDDEN) if s.effect == SET and hidden(s.value) else s for s in steps]
