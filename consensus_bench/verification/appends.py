"""Histories with appends, brought into the form of a register: a state is named by the values that made it.

A read of an appended string tells its whole past. Where the written values are a prefix code (no value begins with
another one), each read splits into written values in one way only, and a state is a node of the tree of all that was
observed. An append whose value nobody else wrote and somebody saw then has one possible place: it observed the node
above and made its own, just like a swap; one that nobody saw is a write that nobody saw. Only appends of a value that
several operations wrote stay appends, and go down the tree wherever it has a branch for them. What is in no branch was
never observed and is one state, ``HIDDEN``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

from consensus_bench.verification.step import ANY, APPEND, EXACT, HIDDEN, NONE, SET, Step


class NotSplittable(Exception):
    """The written values do not tell where one ends and the next begins, or are no strings."""


class Tree:
    """The observed states as numbers: 0 is the empty string, ``children[state, value]`` the state after an append."""

    __slots__ = ("_code", "_longest", "_names", "children", "parents")

    def __init__(self, values: Iterable[str]) -> None:
        self._code = sorted({value for value in values if value})
        self._longest = max(map(len, self._code), default=0)
        if any(later.startswith(earlier) for earlier, later in pairwise(self._code)):
            raise NotSplittable
        self._names = [""]
        self.children: dict[tuple[Hashable, str], int] = {}
        self.parents: dict[str, set[int]] = {}  # value -> the states it was seen appended to

    def observe(self, text: str) -> int | None:
        """The state whose text this is, with all states on the way; None if no written values make it up."""
        state = at = 0
        while at < len(text):
            # What begins here sorts last among the values up to the rest: any in between would begin with it.
            place = bisect_right(self._code, text[at : at + self._longest])
            if not place or not text.startswith(self._code[place - 1], at):
                return None
            value = self._code[place - 1]
            at += len(value)
            child = self.children.get((state, value))
            if child is None:
                child = self.children[state, value] = len(self._names)
                self._names.append(text[:at])
                self.parents.setdefault(value, set()).add(state)
            state = child
        return state

    def grow(self, state: Hashable, value: Hashable) -> Hashable:
        """The state after appending ``value``."""
        return self.children.get((state, str(value)), HIDDEN)

    def show(self, state: Hashable) -> str:
        """The text of a state."""
        return repr(self._names[state]) if isinstance(state, int) else "a value that no answer shows"


def _text(value: Hashable) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise NotSplittable
    return value


def as_register(steps: Sequence[Step], initial: Hashable) -> tuple[list[Step], Hashable, Tree]:
    """The steps, the initial state and the states' tree. Raises ``NotSplittable``."""
    written = Counter(_text(step.value) for step in steps if step.effect != NONE)
    start = _text(initial)
    written[start] += 1
    tree = Tree(written)
    initial_state = tree.observe(start)
    seen = {step.seen: tree.observe(_text(step.seen)) for step in steps if step.observes == EXACT}
    translated = []
    for step in steps:
        if step.observes == EXACT:
            state = seen[step.seen]
            step = step._replace(seen=("never written", step.seen) if state is None else state)
        if step.effect == SET:
            text = _text(step.value)
            known = tree.children.get((0, text)) if text else 0
            step = step._replace(value=(*HIDDEN, step.operation) if known is None else known)
        elif step.effect == APPEND:
            step = _translate_append(step, written, tree)
        translated.append(step)
    return translated, initial_state, tree


def _translate_append(step: Step, written: Counter[str], tree: Tree) -> Step:
    value = _text(step.value)
    if not value:
        return step._replace(observes=ANY, effect=NONE, value=None)
    parents = tree.parents.get(value)
    if not parents:
        return step._replace(effect=SET, value=(*HIDDEN, step.operation))
    if written[value] > 1:
        return step
    # Seen in two places although appended once: the second place remains a state that nobody made.
    parent = min(parents)
    return step._replace(observes=EXACT, seen=parent, effect=SET, value=tree.children[parent, value])
