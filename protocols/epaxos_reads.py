"""EPaxos: reads that take no instance (``reads = "quorum"``).

The idea of quorum reads (Charapko, Ailijiang, Demirbas, "Linearizable Quorum Reads in Paxos", HotStorage 2019), carried
over from slots to dependencies. Any replica p answers a read: it asks a majority for the latest writes of the key that
each knows, waits until all of these are executed here (or turned out to be no-ops), and looks the key up. One round
trip to the nearest majority, nothing on any disk, and no later write depends on it; what it costs is that p may have to
wait for a write that was only begun.

Why it is linearizable. Registers may be judged key by key, and all replicas execute a key's writes in one order. A
write that was answered, or seen by an earlier read, before this one began was decided then: a majority had voted for
it, in phase 1 or 2, each of which knows it across crashes. One of them is among those that p asks, afterwards; so p's
state is that after this write or a later one. No clock is needed, but ``life`` (see ``epaxos_repair``) to tell answers
to an earlier life's questions.
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

from consensus_bench.contract import Cluster, Command, Context, Key
from protocols.dependency_graph import Dependencies, union
from protocols.epaxos_messages import EPaxosOptions, ReadQuery, ReadReply
from protocols.epaxos_repair import EPaxosRepair


class EPaxosReads(EPaxosRepair):
    """What a replica needs for them."""

    __slots__ = ("queries", "query_ticks", "reading", "reads_apart", "retry_ticks", "round", "waited", "waiting_reads")
    constants: ClassVar[tuple[str, ...]] = ("reads_apart", "retry_ticks")

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.retry_ticks = ceil(options.retry_ms / options.heartbeat_ms) + 1
        self.reads_apart = options.reads == "quorum"
        self.reading: set[tuple[int, int]] = set()
        """(client, sequence) of the reads under way."""
        self.round = 0
        """The number of our last question."""
        self.queries: dict[int, tuple[Command, int, Dependencies]] = {}
        """By number: the read, who has answered (bit mask), the latest writes that any of them knows."""
        self.query_ticks = 0
        """Ticks, with questions open, since these were last asked again."""
        self.waiting_reads: dict[Key, list[tuple[Command, Dependencies]]] = {}
        """Reads that wait for these writes, by key."""
        self.waited: set[tuple[int, int]] = set()
        """(client, sequence) of those that did so at the last tick."""

    def _read_by_quorum(self, ctx: Context, command: Command) -> None:
        request = (command.client, command.sequence)
        if request in self.reading:
            return
        self.reading.add(request)
        if self.forgetful:
            self.parked.append(command)
        else:
            self._query(ctx, command)

    def _resume(self, ctx: Context, command: Command) -> None:
        if self.reads_apart and command.kind == "get":
            self._query(ctx, command)
        else:
            super()._resume(ctx, command)

    def _query(self, ctx: Context, command: Command) -> None:
        self.round += 1
        self.queries[self.round] = (command, 0, self.none)
        self._count_answer(ctx, self.round, self.me, self._latest_writes(command.key))
        ctx.broadcast_unsynced(self.others, ReadQuery(self.life, self.round, command.key))

    def _latest_writes(self, key: Key) -> Dependencies:
        latest = self.index.latest.get(key)
        return self.none if latest is None else latest[0]

    def on_read_query(self, ctx: Context, source: int, message: ReadQuery) -> None:
        """Tell what is known of the key."""
        if not self.forgetful:
            ctx.send_unsynced(source, ReadReply(message.life, message.round, self._latest_writes(message.key)))

    def on_read_reply(self, ctx: Context, source: int, message: ReadReply) -> None:
        """With a majority's answers it is known which writes must be executed first."""
        if message.life == self.life and message.round in self.queries:
            self._count_answer(ctx, message.round, source, message.writes)

    def _count_answer(self, ctx: Context, number: int, source: int, writes: Dependencies) -> None:
        command, voters, known = self.queries[number]
        voters |= 1 << source
        known = union(known, writes)
        if voters.bit_count() < self._read_quorum():
            self.queries[number] = (command, voters, known)
            return
        del self.queries[number]
        if self._may_look(command, known):
            self._look_up(ctx, command)
        else:
            self.waiting_reads.setdefault(command.key, []).append((command, known))

    def _read_quorum(self) -> int:
        return self.majority

    def _may_look(self, command: Command, writes: Dependencies) -> bool:
        return self.graph.all_executed(command, writes)

    def _look_up(self, ctx: Context, command: Command) -> None:
        self.reading.discard((command.client, command.sequence))
        ctx.read(command)
        ctx.answer(command)

    def _serve_reads(self, ctx: Context, key: Key) -> None:
        """Something of this key was decided."""
        waiting = self.waiting_reads.pop(key, None)
        if waiting is not None:
            still = [read for read in waiting if not self._may_look(*read)]
            if still:
                self.waiting_reads[key] = still
            for command, writes in waiting:
                if (command, writes) not in still:
                    self._look_up(ctx, command)

    def _ask_reads_again(self, ctx: Context) -> None:
        """At every tick: what has lacked answers for long is asked again; a number may have become known without a
        decision. A read that has waited since the last tick begins anew: it may wait for a write that crashes have made
        everybody forget who had heard of it, and then later answers do not name it any more."""
        self.query_ticks = self.query_ticks + 1 if self.queries else 0
        if self.query_ticks >= self.retry_ticks:
            self.query_ticks = 0
            for number, (command, voters, _) in self.queries.items():
                silent = tuple(r for r in self.others if not voters >> r & 1)
                ctx.broadcast_unsynced(silent, ReadQuery(self.life, number, command.key))
        for key in list(self.waiting_reads):
            self._serve_reads(ctx, key)
        waiting = [(key, read) for key, reads in self.waiting_reads.items() for read, _ in reads]
        for key, read in waiting:
            if (read.client, read.sequence) in self.waited:
                kept = [(other, writes) for other, writes in self.waiting_reads.pop(key) if other != read]
                if kept:
                    self.waiting_reads[key] = kept
                self._query(ctx, read)
        self.waited = {(read.client, read.sequence) for _, read in waiting}
