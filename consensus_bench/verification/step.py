"""An operation in the form that the checkers of linearizability compute with: what it observed and what it did."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Final, NamedTuple

ANY: Final = 0  # observes nothing
EXACT: Final = 1  # the state is ``seen``
DIFFERENT: Final = 2  # the state is not ``seen``

NONE: Final = 0  # leaves the state
SET: Final = 1  # the state becomes ``value``
APPEND: Final = 2  # ``value`` is appended to the state

FOREVER: Final = sys.maxsize
"""The end of an operation that was never answered."""

HIDDEN: Final = ("hidden",)
"""Stands for any state that no answer shows: such states are all alike."""


class Step(NamedTuple):
    """``operation`` is its number in the history, for explanations."""

    invoked: int
    answered: int
    observes: int
    seen: Hashable
    effect: int
    value: Hashable
    operation: int
