"""What a pair of replicas can do, as arrays: content of their fields -> differences to be added to a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

States: TypeAlias = npt.NDArray[np.int64]

CHUNK: Final = 1 << 18
"""States that are expanded at once: bounds the memory of intermediate results."""


def chunks(states: States) -> Iterator[States]:
    """``states`` in pieces."""
    for start in range(0, len(states), CHUNK):
        yield states[start : start + CHUNK]


def distinct(states: States) -> States:
    """The different ones, ascending. (``numpy.unique`` without what it does besides; sorts in place.)"""
    if not len(states):
        return states
    states.sort()
    keep = np.empty(len(states), dtype=bool)
    keep[0] = True
    np.not_equal(states[1:], states[:-1], out=keep[1:])
    return states[keep]


def positions(known: States, states: States) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each of ``states`` stands in the ascending ``known``, and whether it does."""
    at = np.searchsorted(known, states)
    at[at == len(known)] = 0
    return at, known[at] == states if len(known) else np.zeros(len(states), dtype=bool)


class Table:
    """One pair of replicas. ``inputs``: (receiver, sender) both ways, and (replica, -1) for those whose own steps are
    counted here. ``mask`` cuts their fields, and the world's, out of a state; what is left is its content."""

    __slots__ = ("_contents", "_counts", "_differences", "_starts", "inputs", "mask", "replicas")

    def __init__(self, replicas: tuple[int, ...], own: Sequence[int]) -> None:
        self.replicas = replicas
        self.inputs = (*((r, s) for r in replicas for s in replicas if r != s), *((r, -1) for r in own))
        self.mask = 0
        self._contents: States = np.empty(0, dtype=np.int64)
        self._starts: States = np.empty(0, dtype=np.int64)
        self._counts: States = np.empty(0, dtype=np.int64)
        self._differences: States = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._contents)

    def missing(self, states: States) -> list[int]:
        """The contents of ``states`` that are not in the table, ascending."""
        found = [np.empty(0, dtype=np.int64)]
        for chunk in chunks(states):
            contents = distinct(chunk & self.mask)
            found.append(contents[~positions(self._contents, contents)[1]])
        missing: list[int] = distinct(np.concatenate(found)).tolist()
        return missing

    def add(self, contents: Sequence[int], differences: Sequence[Sequence[int]]) -> None:
        """Enter the differences of ``contents``, none of which are in the table."""
        counts = np.fromiter(map(len, differences), dtype=np.int64, count=len(contents))
        starts = len(self._differences) + np.cumsum(counts) - counts
        flat = np.fromiter((d for row in differences for d in row), dtype=np.int64, count=int(counts.sum()))
        self._differences = np.concatenate([self._differences, flat])
        merged = np.concatenate([self._contents, np.array(contents, dtype=np.int64)])
        order = np.argsort(merged, kind="stable")
        self._contents = merged[order]
        self._starts = np.concatenate([self._starts, starts])[order]
        self._counts = np.concatenate([self._counts, counts])[order]

    def expand(self, states: States) -> tuple[States, States]:
        """Each of ``states`` as often as it has successors here, and those successors. All contents must be known."""
        at = np.searchsorted(self._contents, states & self.mask)
        counts = self._counts[at]
        ends = np.cumsum(counts)
        sources = np.repeat(states, counts)
        picks = np.arange(len(sources)) + np.repeat(self._starts[at] - (ends - counts), counts)
        return sources, sources + self._differences[picks]

    def convert(self, wider: Callable[[States], States]) -> None:
        """Change to another layout of fields; ``mask`` is the new one already."""
        new = wider(self._contents)
        owners = np.empty(len(self._differences), dtype=np.int64)
        old = np.empty(len(self._differences), dtype=np.int64)
        picks = np.arange(len(owners)) + np.repeat(
            self._starts - (np.cumsum(self._counts) - self._counts), self._counts
        )
        owners[picks] = np.repeat(new, self._counts)
        old[picks] = np.repeat(self._contents, self._counts)
        self._differences = wider(old + self._differences) - owners
        self._contents = new
