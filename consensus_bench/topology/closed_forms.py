"""Latency at low load, without jitter and without costs, as a formula: what the simulation must agree with.

All functions take ``delay_ns[a][b]``, one-way delays from place a to place b in integer nanoseconds, which need not be
symmetric. ``replicas``, ``client`` and ``leader`` are places, that is indices into that matrix. The diagonal is what a
client pays to a replica at its own site and back (half each way); a replica's own vote costs nothing. Results are in
milliseconds, exact to the nanosecond.

A client asks the replica at its own site, else the nearest by round trip; who executes the command answers straight to
the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from consensus_bench.contract import ConfigError
from consensus_bench.contract.replica import NS_PER_MS

Delays: TypeAlias = Sequence[Sequence[int]]


def majority(size: int) -> int:
    """The smallest quorum any two of which intersect."""
    return size // 2 + 1


def epaxos_fast_quorum(size: int) -> int:
    """F + floor((F + 1) / 2) of 2F + 1, the command leader counted (EPaxos, SOSP'13, section 4.4)."""
    tolerated = size // 2
    return max(1, tolerated + (tolerated + 1) // 2)


def entry_replica(delay_ns: Delays, replicas: Sequence[int], client: int) -> int:
    """Whom ``client`` asks: its own site's replica, else the nearest by round trip, ties in the order given."""
    return min(replicas, key=lambda r: (r != client, delay_ns[client][r] + delay_ns[r][client]))


def quorum_round_ms(delay_ns: Delays, replicas: Sequence[int], at: int, quorum: int) -> float:
    """Until the replica ``at`` has the answers of the ``quorum`` nearest, its own counted (0)."""
    return _quorum_round(delay_ns, replicas, at, quorum) / NS_PER_MS


def leader_based_ms(
    delay_ns: Delays, replicas: Sequence[int], client: int, leader: int, quorum: int | None = None
) -> float:
    """Multi-Paxos and Raft: client, its replica, the leader, one round with a phase-2 ``quorum`` (default: majority),
    and from the leader to the client."""
    entry = entry_replica(delay_ns, replicas, client)
    forward = 0 if entry == leader else delay_ns[entry][leader]
    round_trip = _quorum_round(delay_ns, replicas, leader, _default(quorum, majority(len(replicas))))
    return (delay_ns[client][entry] + forward + round_trip + delay_ns[leader][client]) / NS_PER_MS


def epaxos_fast_ms(delay_ns: Delays, replicas: Sequence[int], client: int, fast_quorum: int | None = None) -> float:
    """EPaxos without interference: one round with the fast quorum around the client's replica."""
    entry = entry_replica(delay_ns, replicas, client)
    round_trip = _quorum_round(delay_ns, replicas, entry, _default(fast_quorum, epaxos_fast_quorum(len(replicas))))
    return (delay_ns[client][entry] + round_trip + delay_ns[entry][client]) / NS_PER_MS


def epaxos_slow_ms(
    delay_ns: Delays,
    replicas: Sequence[int],
    client: int,
    fast_quorum: int | None = None,
    slow_quorum: int | None = None,
) -> float:
    """EPaxos with unequal replies: the round with the fast quorum, then one with a ``slow_quorum`` (majority)."""
    entry = entry_replica(delay_ns, replicas, client)
    accept_round = _quorum_round(delay_ns, replicas, entry, _default(slow_quorum, majority(len(replicas))))
    return epaxos_fast_ms(delay_ns, replicas, client, fast_quorum) + accept_round / NS_PER_MS


def floor_ms(delay_ns: Delays, replicas: Sequence[int], client: int, quorum: int | None = None) -> float:
    """What no protocol can beat whose commands are chosen by a ``quorum`` (default: majority), for a client that talks
    to replicas one at a time. It is no floor for reads that ask no quorum, as under a leader's lease.

    One replica hears the client, a quorum has to learn of the command, one replica (perhaps another) has to learn
    that it did, and answers. Messages may be relayed by replicas where that is faster than the direct way. Without
    detours, and with a replica at the client's site, this is that replica's round trip to the nearest quorum.
    """
    size = _formed(_default(quorum, majority(len(replicas))), replicas)
    shortest = _shortest_paths(delay_ns, replicas)
    others = range(len(replicas))
    reach = [_via(delay_ns[client], replicas, [row[r] for row in shortest]) for r in others]
    back = [_via([row[client] for row in delay_ns], replicas, shortest[r]) for r in others]
    learned = [[sorted(shortest[a][q] + shortest[q][b] for q in others)[size - 1] for b in others] for a in others]
    return min(reach[a] + learned[a][b] + back[b] for a in others for b in others) / NS_PER_MS


def best_leader(
    delay_ns: Delays, replicas: Sequence[int], clients: Sequence[int], quorum: int | None = None
) -> tuple[int, float]:
    """The replica whose leadership gives the lowest mean latency over the client sites, and that mean in ms."""

    def mean_ms(leader: int) -> float:
        return sum(leader_based_ms(delay_ns, replicas, c, leader, quorum) for c in clients) / len(clients)

    leader = min(replicas, key=mean_ms)
    return leader, mean_ms(leader)


def closed_loop_ops_per_second(clients_and_latency_ms: Iterable[tuple[int, float]], think_ms: float = 0.0) -> float:
    """Little's law, per site: that many clients with one operation under way each, every operation that long."""
    return sum(1000 * clients / (latency_ms + think_ms) for clients, latency_ms in clients_and_latency_ms)


def _default(quorum: int | None, usual: int) -> int:
    return usual if quorum is None else quorum


def _quorum_round(delay_ns: Delays, replicas: Sequence[int], at: int, quorum: int) -> int:
    rounds = sorted(0 if r == at else delay_ns[at][r] + delay_ns[r][at] for r in replicas)
    return rounds[_formed(quorum, replicas) - 1]


def _formed(quorum: int, replicas: Sequence[int]) -> int:
    if not 1 <= quorum <= len(replicas):
        raise ConfigError(f"a quorum of {quorum} cannot be formed from {len(replicas)} replicas")
    return quorum


def _shortest_paths(delay_ns: Delays, replicas: Sequence[int]) -> list[list[int]]:
    """Between replicas, by position in ``replicas``, relayed by replicas (Floyd and Warshall)."""
    shortest = [[0 if a == b else delay_ns[a][b] for b in replicas] for a in replicas]
    for relay, onward in enumerate(shortest):
        for row in shortest:
            row[:] = [min(direct, row[relay] + rest) for direct, rest in zip(row, onward, strict=True)]
    return shortest


def _via(first_leg: Sequence[int], replicas: Sequence[int], second_leg: Sequence[int]) -> int:
    """The fastest way over any one replica: ``first_leg`` by place, ``second_leg`` by position in ``replicas``."""
    return min(first_leg[place] + rest for place, rest in zip(replicas, second_leg, strict=True))
