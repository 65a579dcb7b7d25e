"""A Raft cluster whose every event the test picks, and schedules under which a rule of Raft shows what it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from paxos_network import Network, put

from consensus_bench.contract import Command, PropertyViolated, Replica
from protocols.raft import Raft
from protocols.raft_log import LogEntry
from protocols.raft_messages import Appended, AppendEntries

MS = 1_000_000
PLAIN: dict[str, Any] = {"pre_vote": False, "check_quorum": False}
"""The protocol of the paper, without the extensions of the thesis."""
A, B, C, D = (put(1, client=client) for client in range(1, 5))


def entries(terms: Sequence[int]) -> tuple[LogEntry, ...]:
    """Entries of these terms: what stands at an index in a term is the same everywhere."""
    return tuple(LogEntry(term, Command(term, index, "put", "x", index)) for index, term in enumerate(terms, 1))


def disk(terms: Sequence[int], current_term: int | None = None, voted_for: int | None = None) -> dict[Any, Any]:
    """What a server finds that has such a log."""
    vote = (max(terms, default=0) if current_term is None else current_term, voted_for)
    return {"vote": vote, **dict(enumerate(entries(terms), 1))}


class RaftNetwork(Network):
    """``Network`` with one clock for all, which the test moves."""

    def __init__(self, protocol: type[Replica] = Raft, size: int = 3, first_leader: int | None = None, **settings: Any):
        super().__init__(protocol, size, first_leader, **settings)
        self.now_ns = 0
        self.world.clock = lambda replica: self.now_ns

    def begin_with(self, logs: Sequence[Sequence[int]], current_term: int | None = None) -> None:
        """Restart all servers with logs of these terms."""
        for me, terms in enumerate(logs):
            self.world.crash(me)
            self.world.servers[me].disk = disk(terms, current_term)
        for me in range(len(logs)):
            self.world.restart(me)
        self.world.in_flight.clear()

    def elect(self, me: int, among: Sequence[int] | None = None, keep: Any = None) -> None:
        """The election timer of ``me`` fires; what others than ``among`` send or should get is lost."""
        self.now_ns += 3000 * MS
        self.fire(me, "election")
        self.exchange(among, keep)

    def terms(self, me: int) -> list[int]:
        """The terms along its log."""
        return [entry.term for entry in self.replica(me).log.entries]

    def leaders(self) -> list[int]:
        """Who leads, in whatever term."""
        return [me for me in range(len(self.world.servers)) if self.replica(me).role == "leader"]


def violated(schedule: Callable[[type[Raft]], None], protocol: type[Raft]) -> str | None:
    """The property that falls when ``protocol`` goes through ``schedule``, or None if all hold."""
    try:
        schedule(protocol)
    except PropertyViolated as violation:
        return violation.name
    return None


# --- schedules: each runs to its end with the correct protocol, and violates something with its mutant ----------------


def figure_8(protocol: type[Raft]) -> None:
    """Figure 8, with three servers: 0 replicates an entry of term 1 in term 3, and 1, elected in term 4 with an entry
    of term 2, overwrites it. One entry a message, so that no entry of term 3 comes with it."""
    network = RaftNetwork(protocol, 3, **PLAIN, window=1)
    network.elect(0)
    network.ask(0, A)
    network.exchange(among=(0,))
    network.elect(1, keep=AppendEntries)  # in term 2, by 2: it appends its no-op, which nobody gets
    network.exchange(among=())
    network.elect(0, keep=AppendEntries)  # in term 3, by 2
    network.deliver(0, 2, AppendEntries)  # after its no-op: 2 lacks A before that
    network.exchange(among=(0, 2), keep=AppendEntries)
    network.deliver(0, 2, AppendEntries)  # A
    network.exchange(among=(0, 2), keep=AppendEntries)
    network.exchange(among=())
    network.elect(1, among=(1, 2))  # in term 4, by 2: its last term is 2, that of 2 is 1
    assert network.terms(2) == [1, 2, 4]


def vote_given_twice(protocol: type[Raft]) -> None:
    """Server 1 votes for 0, restarts, and 2 asks it for its vote in the same term (section 5.2)."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(0, among=(0, 1), keep=AppendEntries)
    network.exchange(among=())
    network.crash(1)
    network.elect(2, among=(1, 2))
    network.ask(2, B)
    network.exchange(among=(1, 2))
    network.ask(0, A)
    network.fire(0, "retry")
    network.exchange(among=(0, 1))
    network.fire(0, "retry")
    network.exchange(among=(0, 1))


def vote_for_oneself_forgotten(protocol: type[Raft]) -> None:
    """Server 0 asks for votes before its own is on disk, leads, forgets it and votes for 2 in the same term. An entry
    of each of the two leaders is then at the same index and of the same term."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.frozen.add(0)
    network.elect(0, among=(0, 1))
    network.ask(0, A)
    network.exchange(among=(0, 1))
    network.crash(0)
    network.elect(2, among=(0, 2))
    network.ask(2, B)
    network.exchange(among=(0, 2))
    network.elect(1, among=(0, 1))


def vote_for_another_forgotten(protocol: type[Raft]) -> None:
    """Server 1 votes for 0 before that is on disk, forgets it, and votes for 2 in the same term."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.frozen.add(1)
    network.elect(0, among=(0, 1), keep=AppendEntries)
    network.exchange(among=())
    network.crash(1)
    network.elect(2, among=(1, 2))
    network.ask(2, B)
    network.exchange(among=(1, 2))
    network.ask(0, A)
    for me in network.leaders():
        network.fire(me, "retry")
        network.fire(me, "retry")
    network.exchange(among=(0, 1))


def acknowledged_in_another_term(protocol: type[Raft]) -> None:
    """Server 1 acknowledges four entries of term 1, all but the first of which 2 replaces in term 2. In term 3, which 0
    leads again, its acknowledgement arrives: of the four entries that 0 has now, 1 has two."""
    network = RaftNetwork(protocol, 5, **PLAIN)
    network.elect(0)
    network.ask(0, A, B, C)
    for _ in range(3):
        network.deliver(0, 1, AppendEntries)
    late = [packet for packet in network.under_way(Appended) if packet[0] == 1][-1]
    assert late[2] == Appended(1, 4)
    network.crash(0)
    network.exchange(among=())
    network.elect(2, among=(2, 3, 4))
    for _ in range(2):
        network.fire(2, "retry")
    network.exchange()
    assert [network.terms(me) for me in range(5)] == [[1, 2]] * 5
    network.elect(0, keep=AppendEntries)
    network.ask(0, A)
    network.exchange(among=(0, 2))
    network.world.in_flight.append(late)
    network.exchange(among=(0, 1))
    network.elect(3, among=(1, 3, 4))
    network.ask(3, B)
    network.exchange(among=(1, 3, 4))


def own_copy_forgotten(protocol: type[Raft]) -> None:
    """Server 0 counts its own copy of A before it is on disk, and 1 learns that A is committed. Then 0 restarts without
    it and helps 2, which never had it, to a majority."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(0)
    network.frozen.add(0)
    network.ask(0, A)
    network.exchange(among=(0, 1))
    network.fire(0, "heartbeat")
    network.fire(0, "heartbeat")
    network.exchange(among=(0, 1))
    network.crash(0)
    network.elect(2, among=(0, 2))


def longest_log_loses(protocol: type[Raft]) -> None:
    """Server 0 has three entries of term 1 that nobody else has, 1 and 2 commit one of term 2; then 0 stands again: a
    longer log is not a later one (section 5.4.1)."""
    network = RaftNetwork(protocol, 3, **PLAIN)
    network.elect(0)
    network.ask(0, A, B, C)
    network.exchange(among=(0,))
    network.elect(1, keep=AppendEntries)
    for source, to, message in network.under_way(AppendEntries):
        if to == 0:
            network.drop(source, to, type(message))
    network.exchange(among=(1, 2))
    assert network.replica(1).commit_index == 2
    network.elect(0, among=(0, 2))


def returns_from_isolation(protocol: type[Raft]) -> None:
    """Server 2 is cut off for three time-outs and comes back: the leader stays (thesis section 9.6)."""
    network = RaftNetwork(protocol, 3)
    network.elect(0)
    for _ in range(3):
        network.elect(2, among=(2,))
    network.fire(0, "heartbeat")
    network.exchange()
    if network.leaders() != [0] or network.replica(0).current_term != 1:
        raise PropertyViolated("a healthy leader stays", f"leaders {network.leaders()}")


def link_to_the_leader_cut(protocol: type[Raft]) -> None:
    """Server 2 cannot reach the leader 0, and 1 reaches both (Cloudflare's outage of November 2020): 0 stays."""
    network = RaftNetwork(protocol, 3)
    network.elect(0)
    for _ in range(3):
        network.now_ns += 1000 * MS
        network.fire(0, "heartbeat")
        network.exchange(among=(0, 1))
        network.fire(0, "quorum")
        network.fire(2, "election")
        network.exchange(among=(1, 2))
        if network.leaders() != [0]:
            raise PropertyViolated("a healthy leader stays", f"leaders {network.leaders()}")


def leader_with_one_follower(protocol: type[Raft]) -> None:
    """Of five servers one is dead, and the leader 3 reaches 1 only. The connected majority 0, 1, 2 needs the vote of 1,
    which hears a leader: so that one must go (thesis section 6.2)."""
    network = RaftNetwork(protocol, 5)
    network.elect(3)

    def lose_what_cannot_pass() -> None:
        world = network.world
        mesh = ({0, 1, 2}, {1, 3})
        world.in_flight[:] = [p for p in world.in_flight if any({p[0], p[1]} <= links for links in mesh)]

    for _ in range(3):
        network.now_ns += 1000 * MS
        for timer in ("heartbeat", "quorum"):
            if timer in network.world.servers[3].timers:
                network.fire(3, timer)
        for me in (0, 2):
            network.fire(me, "election")
            for _ in range(40):
                lose_what_cannot_pass()
                if network.world.in_flight:
                    source, to, message = network.world.in_flight[0]
                    network.deliver(source, to, type(message))
    if not {0, 1, 2} & set(network.leaders()):
        raise PropertyViolated("progress", f"a connected majority has no leader: {network.leaders()}")
