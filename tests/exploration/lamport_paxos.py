"""Lamport's specification of Paxos (Paxos.tla of the TLA+ examples), enumerated: 3 acceptors and their majorities.

A state is what each acceptor remembers, (maxBal, maxVBal, maxVal), and the set of all messages sent. Values are 0 and
1, ballots count from 0; -1 is "none". docs/spec/Paxos.tla says the same in TLA+.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

ACCEPTORS = (0, 1, 2)
VALUES = (0, 1)
QUORUMS = tuple(combinations(ACCEPTORS, 2))

Acceptor = tuple[int, int, int]
State = tuple[tuple[Acceptor, ...], frozenset[tuple[Any, ...]]]

INITIAL: State = (((-1, -1, -1),) * 3, frozenset())


def next_states(state: State, ballots: int) -> Iterator[State]:
    """Next: every step, also those that change nothing."""
    acceptors, messages = state
    for ballot in range(ballots):
        yield acceptors, messages | {("1a", ballot)}
        if not any(m[0] == "2a" and m[1] == ballot for m in messages):
            for value in _proposals(ballot, messages):
                yield acceptors, messages | {("2a", ballot, value)}
    for acceptor in ACCEPTORS:
        promised, accepted, value = acceptors[acceptor]
        for message in messages:
            if message[0] == "1a" and message[1] > promised:
                reply = ("1b", acceptor, message[1], accepted, value)
                yield _with(acceptors, acceptor, (message[1], accepted, value)), messages | {reply}
            if message[0] == "2a" and message[1] >= promised:
                _, ballot, proposed = message
                reply = ("2b", acceptor, ballot, proposed)
                yield _with(acceptors, acceptor, (ballot, ballot, proposed)), messages | {reply}


def _proposals(ballot: int, messages: frozenset[tuple[Any, ...]]) -> set[int]:
    """The values that phase 2a may propose: with some quorum's promises, the one of the highest ballot, or any."""
    promises = {m[1]: m for m in messages if m[0] == "1b" and m[2] == ballot}
    found: set[int] = set()
    for quorum in QUORUMS:
        if all(acceptor in promises for acceptor in quorum):
            highest = max(promises[a][3] for a in quorum)
            found |= set(VALUES) if highest < 0 else {promises[a][4] for a in quorum if promises[a][3] == highest}
    return found


def _with(acceptors: tuple[Acceptor, ...], number: int, changed: Acceptor) -> tuple[Acceptor, ...]:
    return (*acceptors[:number], changed, *acceptors[number + 1 :])


def levels(ballots: int) -> list[set[State]]:
    """The reachable states, by the number of steps that the first path to them takes."""
    found = [{INITIAL}]
    known = {INITIAL}
    while found[-1]:
        reached = {after for before in found[-1] for after in next_states(before, ballots)} - known
        known |= reached
        found.append(reached)
    return found[:-1]
