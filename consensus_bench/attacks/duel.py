"""Dueling proposers: Basic Paxos does nothing wrong, for ever, and decides nothing.

Fischer, Lynch and Paterson (JACM 1985) show that some execution of this kind exists for every protocol; Lamport ("Paxos
Made Simple", 2001, section 2.4) describes this one. Its ballots grow without end, so no state ever comes back. But only
the order of ballots matters to the protocol: if a state comes back with the same number added to every round, the steps
in between can be repeated for ever. That is the lasso which is looked for here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

import msgspec

from consensus_bench.attacks.attack import HOLDS, LIVENESS, SAFETY, UNDECIDED, Finding
from consensus_bench.attacks.scheduled import Table, swap, unless_violated
from consensus_bench.contract import Message
from consensus_bench.exploration.execution import length_of
from consensus_bench.exploration.trace import Trace

ROUNDS: Final = frozenset({"round", "highest"})
"""What holds the round of a ballot alone."""
MOST_TURNS: Final = 8
PROPOSERS: Final = (0, 1)
SETTINGS: Final[dict[str, Any]] = {"backoff_ms": [0.0, 0.0]}


class Duel(msgspec.Struct, frozen=True):
    """Two proposers that outbid each other; the control has a distinguished one, and else the same schedule."""

    spec: str = "basic-paxos"

    def attack(self) -> Finding:
        """Each proposer prepares between the two phases of the other."""
        return unless_violated(self._table(), self._outbidding)

    def _outbidding(self, table: Table) -> Finding:
        table.ask(0, swap(0))
        _prepare_arrives(table, 0)
        table.ask(1, swap(1))
        _prepare_arrives(table, 1)
        seen: dict[Hashable, int] = {}
        for turn in range(MOST_TURNS):
            place = length_of(table.execution.steps)
            shape = shape_of(table)
            if shape in seen:
                return msgspec.structs.replace(_judged(table, seen[shape], place), picture=self._picture())
            seen[shape] = place
            proposer = PROPOSERS[turn % 2]
            _is_outbid(table, proposer)
            table.fire(proposer, "retry")
            _prepare_arrives(table, proposer)
        return msgspec.structs.replace(table.finding(), verdict=UNDECIDED, detail="no state came back")

    def control(self, attacked: Finding) -> Finding:
        """Only replica 0 proposes: nobody prepares between its two phases."""
        return unless_violated(self._table(), self._alone)

    def _alone(self, table: Table) -> Finding:
        table.ask(0, swap(0))
        _prepare_arrives(table, 0)
        _is_outbid(table, 0)
        table.exchange((0, 1, 2))
        found = table.finding()
        if found.verdict == HOLDS and not _decided(found):
            return msgspec.structs.replace(found, verdict=LIVENESS, detail="nothing is decided")
        return msgspec.structs.replace(found, detail=f"decided in {found.steps} steps")

    def _picture(self) -> Trace | None:
        """The first four ballots, where only messages between the proposers arrive: they are a majority."""
        table = self._table()
        for proposer in PROPOSERS:
            table.ask(proposer, swap(proposer))
            table.deliver(proposer, 1 - proposer, "Prepare")
        for proposer in PROPOSERS:
            table.deliver(1 - proposer, proposer, "Promise")
            table.deliver(proposer, 1 - proposer, "Accept")
            table.fire(proposer, "retry")
            table.deliver(proposer, 1 - proposer, "Prepare")
        return table.finding().trace

    def _table(self) -> Table:
        return Table(self.spec, SETTINGS, 3, (swap(0), swap(1)))


def _prepare_arrives(table: Table, proposer: int) -> None:
    """Everybody promises; the promises are still under way."""
    for other in (2, 1, 0):
        if other != proposer:
            table.deliver(proposer, other, "Prepare")


def _is_outbid(table: Table, proposer: int) -> None:
    """It hears of the promises, and asks for acceptance: too late, if the other has prepared meanwhile."""
    others = [other for other in range(3) if other != proposer]
    for other in others:
        table.deliver(other, proposer, "Promise")
    for other in others:
        table.deliver(proposer, other, "Accept")
    for other in others:
        table.deliver(other, proposer, "Nack")


def _decided(found: Finding) -> bool:
    return found.trace is not None and any(step.committed for step in found.trace.steps)


def _judged(table: Table, begins: int, ends: int) -> Finding:
    found = table.finding()
    if found.verdict == SAFETY or _decided(found):
        return found
    turns = f"after step {ends} the state is that after step {begins} with higher rounds, so that these steps can be"
    return msgspec.structs.replace(
        found, verdict=LIVENESS, falls="a decision", detail=f"{turns} repeated for ever; nothing is chosen"
    )


def shape_of(table: Table) -> Hashable:
    """The state of all replicas, disks and timers and of the network, rounds counted from the highest one."""
    sites = table.execution.sites
    states: list[dict[str, Any]] = []
    for number in range(len(sites)):
        replica = table.replica(number)
        states.append({name: getattr(replica, name) for name in type(replica)._slots if name != "cluster"})
    highest = max(max(state["round"], state["highest"]) for state in states)
    disks = [site.disk for site in sites]
    under_way = sorted(
        (e.source, e.to, repr(_based(table.execution.messages[e.number - 1], highest))) for e in table.under_way()
    )
    timers = tuple(frozenset(site.timers) for site in sites)
    return (*(_based(state, highest) for state in (*states, *disks)), timers, tuple(under_way))


def _based(value: Any, highest: int, name: Hashable = "") -> Hashable:
    """``value`` as a hashable one, with every round counted from ``highest``; round 0 is that of no ballot."""
    if name in ROUNDS and isinstance(value, int):
        return value and value - highest
    if isinstance(value, tuple):
        if len(value) == 2 and all(isinstance(part, int) for part in value):
            return (value[0] and value[0] - highest, value[1])
        return tuple(_based(part, highest) for part in value)
    if isinstance(value, Message):
        fields = ((field, _based(getattr(value, field), highest, field)) for field in value.__struct_fields__)
        return (type(value).__name__, *fields)
    if isinstance(value, Mapping):
        return frozenset((key, _based(part, highest, key)) for key, part in value.items())
    return value if isinstance(value, Hashable) else repr(value)
