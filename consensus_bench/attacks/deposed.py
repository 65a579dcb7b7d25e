"""Leaders deposed for ever: Raft without PreVote, where one link is cut and everybody reaches a majority all the same.

Howard and Abraham ("Raft does not Guarantee Liveness in the face of Network Faults", 2020) describe it. Server 2 hears
nothing of leader 0 and begins one term after the other; server 1, which both reach, brings the leader the news. With
random time-outs a leader gets an entry through now and then. Here time-outs end when it is worst: each time before the
leader's next entry has arrived. No message on a link that is there is lost, and no timer waits for ever.

Terms grow without end, and with them the leader's log, by the no-op that each new leadership begins with, which nobody
else gets. So no state comes back; but what the servers decide by does: who leads, who has voted for whom, what is
committed, whose log is more up-to-date, how far terms lie apart. That is compared after each turn.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import msgspec

from consensus_bench.attacks.attack import HOLDS, LIVENESS, UNDECIDED, Finding
from consensus_bench.attacks.scheduled import Table, swap, unless_violated
from consensus_bench.exploration.execution import length_of
from consensus_bench.exploration.trace import Trace

LEADER, BETWEEN, CUT_OFF = 0, 1, 2
WITHOUT: Final[dict[str, Any]] = {"pre_vote": False, "check_quorum": False}
MOST_TURNS: Final = 6


class Deposed(msgspec.Struct, frozen=True):
    """Without PreVote and CheckQuorum; the control has both, and else the same schedule."""

    spec: str = "raft"

    def attack(self) -> Finding:
        """Turn after turn, until what matters has come back."""
        return unless_violated(self._table(WITHOUT), self._until_it_comes_back)

    def _until_it_comes_back(self, table: Table) -> Finding:
        _begin(table)
        seen: dict[Hashable, int] = {}
        for _ in range(MOST_TURNS):
            shape, place = shape_of(table), length_of(table.execution.steps)
            if shape in seen:
                return self._judged(table, seen[shape], place)
            seen[shape] = place
            _turn(table)
        return msgspec.structs.replace(table.finding(), verdict=UNDECIDED, detail="nothing came back")

    def control(self, attacked: Finding) -> Finding:
        """As many turns."""
        return unless_violated(self._table({}), self._as_many_turns)

    def _as_many_turns(self, table: Table) -> Finding:
        _begin(table)
        for _ in range(MOST_TURNS):
            _turn(table)
        found = table.finding()
        if found.verdict == HOLDS and not _is_committed(found):
            return msgspec.structs.replace(found, verdict=LIVENESS, detail="the request is not committed")
        return msgspec.structs.replace(found, detail=f"the request is committed; {found.detail}")

    def _table(self, settings: dict[str, Any]) -> Table:
        return Table(self.spec, settings, 3, (swap(0),))

    def _judged(self, table: Table, begins: int, ends: int) -> Finding:
        found = table.finding()
        if _is_committed(found):
            return found
        detail = (
            f"after step {ends} all that decides is as after step {begins}, with higher terms and one more no-op in "
        )
        detail += "the leader's log, so that these steps can be repeated for ever; the request is never committed"
        return msgspec.structs.replace(
            found, verdict=LIVENESS, falls="the commit of a request", detail=detail, picture=self._picture()
        )

    def _picture(self) -> Trace | None:
        """The first turn, where of the messages of the server that is cut off only what matters arrives."""
        table = Table(self.spec, WITHOUT, 3, (swap(0),))
        table.fire(LEADER, "election")
        table.exchange((LEADER, BETWEEN))
        table.ask(LEADER, swap(0))
        for _ in range(2):
            table.cut(BETWEEN, CUT_OFF)
            table.fire(CUT_OFF, "election")
        table.deliver_all(CUT_OFF, BETWEEN)
        _hears(table, LEADER)
        table.fire(LEADER, "election")
        _hears(table, LEADER)
        return table.finding().trace


def _begin(table: Table) -> None:
    """Server 0 leads and serves, the link between 0 and 2 is cut, 2 has tried to be elected. A request comes."""
    table.fire(LEADER, "election")
    table.exchange((LEADER, BETWEEN))
    table.fire(CUT_OFF, "election")
    _hears(table, CUT_OFF)
    table.ask(LEADER, swap(0))
    table.cut(LEADER, CUT_OFF)


def _turn(table: Table) -> None:
    """The server that is cut off begins a term, and the leader hears of it; both begin the next one, in which the
    leader is elected again."""
    table.fire(CUT_OFF, "election")
    _hears(table, CUT_OFF)
    _hears(table, LEADER)
    table.fire(CUT_OFF, "election")
    _hears(table, CUT_OFF)
    table.fire(LEADER, "election")
    _hears(table, LEADER)
    table.cut(LEADER, CUT_OFF)


def _hears(table: Table, server: int) -> None:
    """What it has sent to the one between arrives there, and the answers arrive."""
    table.deliver_all(server, BETWEEN)
    table.deliver_all(BETWEEN, server)


def _is_committed(found: Finding) -> bool:
    assert found.trace is not None
    return any(c.command == swap(0) for step in found.trace.steps for c in step.committed)


def shape_of(table: Table) -> Hashable:
    """What the servers decide by: terms are counted from the highest one, logs by which is more up-to-date."""
    replicas: list[Any] = [table.replica(number) for number in range(3)]
    highest = max(replica.current_term for replica in replicas)
    logs = sorted((replica.log.last_term, replica.log.last_index) for replica in replicas)
    servers = tuple(
        (
            replica.role, replica.leader, highest - replica.current_term, replica.voted_for, replica.votes,
            replica.commit_index, logs.index((replica.log.last_term, replica.log.last_index)),
        )
        for replica in replicas
    )  # fmt: skip
    under_way = sorted(
        (e.source, e.to, e.kind, highest - e.fields["term"]) for e in table.under_way() if "term" in e.fields
    )
    return servers, tuple(frozenset(site.timers) for site in table.execution.sites), tuple(under_way)
