"""What a search keeps, and what it found."""

from __future__ import annotations

from typing import Final

import msgspec

from consensus_bench.exploration.exhaustive.nodes import Move


class Moves(msgspec.Struct, frozen=True):
    """What a replica can do at one node. ``moves`` change nothing but its node, by ``plain``; ``worldly`` ones change
    the world as well, or are allowed only so often."""

    plain: tuple[int, ...]
    worldly: tuple[Move, ...]
    moves: tuple[Move, ...]


NO_MOVES: Final = Moves((), (), ())


class Result(msgspec.Struct, kw_only=True):
    """What a search found. ``states`` distinct ones; ``transitions`` changes of state that were generated: the distinct
    successors by the steps of each pair of replicas; ``depth`` the length of the longest shortest path; ``frontier``
    states that were not expanded."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    frontier: int = 0
    closed: bool = False
    interrupted: bool = False
    full: bool = False
    """The numbers of nodes no longer fit into one state."""
    levels: list[int] = []
    violation: tuple[str, str] | None = None
    violating_state: int | None = None
    facts: set[str] = msgspec.field(default_factory=set)
