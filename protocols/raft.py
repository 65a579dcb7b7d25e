"""Raft: a leader per term appends entries to its log, the others make theirs equal to it.

Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm (USENIX ATC 2014), cited by section or figure.
Ongaro: Consensus: Bridging Theory and Practice (Stanford, 2014), cited as "thesis".

    here                  in the paper (Figure 2)
    current_term, voted_for, log                      persistent state: on disk as "vote" and under each index
    commit_index          commitIndex; lastApplied is always the same
    match_index           matchIndex[], our own included: how far our own disk is
    next_index            nextIndex[], for followers that have not been sent the whole log; the others are "in step"
    probing               followers whose nextIndex is a guess: one AppendEntries at a time until they agree
    Appended, Conflict, Refused                       the results of AppendEntries: true; false; false, a newer term

The way of a command, in one round trip: the leader appends it and sends it to all who are in step at once; each
follower makes it durable and acknowledges; so does the leader's own disk, with a message to itself (thesis section
10.2.1). When a majority has it, it is committed, executed and answered. The next AppendEntries tells the followers.

What waits for the disk: RequestVote (for the term and the own vote), Vote, Appended. The others vouch for nothing on
this disk and leave at once:

- AppendEntries: its term is durable since the leader's own vote, and whoever crashes with entries that only others
  have can never lead that term again, so no index gets two entries of one term. Its ``commit_index`` says that a
  majority's disks hold the entries up to there, which is true whether the leader's is among them or not.
- PreVote and its reply promise nothing. Conflict, Refused and the reply's term only make others ask again or take up a
  newer term, which nobody needs a reason for. Forward carries a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from consensus_bench.contract import (
    NOOP,
    ChangeMembers,
    Cluster,
    Command,
    Context,
    Entry,
    HandOver,
    Message,
    Snapshot,
    TimerName,
    View,
    ns,
)
from protocols.raft_election import LEADER
from protocols.raft_log import LogEntry
from protocols.raft_messages import (
    Appended,
    AppendEntries,
    AskTerm,
    Confirm,
    Confirmed,
    Conflict,
    Forward,
    InstallSnapshot,
    PreVote,
    PreVoteReply,
    RaftOptions,
    Refused,
    RequestVote,
    TermReply,
    TimeoutNow,
    Vote,
)
from protocols.raft_replication import RaftReplication


class Raft(RaftReplication):
    """One server: clients' requests, the beginning and end of a term that it leads, timers. What it inherits, each with
    a file raft_*.py of its own: replication, snapshots, repair of what its disk has lost, the change of members,
    transfer of the office, reads without a place in the log, and elections."""

    __slots__ = ("batch_ns", "heartbeat_ns", "queue", "retry_ns")
    constants: ClassVar[tuple[str, ...]] = ("batch_ns", "heartbeat_ns", "retry_ns")
    name = "raft"
    options_type = RaftOptions
    messages: ClassVar[tuple[type[Message], ...]] = (
        Forward, PreVote, PreVoteReply, RequestVote, Vote, AppendEntries, Appended, Conflict, Refused,
        Confirm, Confirmed, TimeoutNow, HandOver, ChangeMembers, AskTerm, TermReply,
        Snapshot, InstallSnapshot,
    )  # fmt: skip
    durable: ClassVar[tuple[str, ...]] = ("current_term", "voted_for", "log")

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.heartbeat_ns, self.retry_ns = ns(options.heartbeat_ms), ns(options.retry_ms)
        self.batch_ns = ns(options.batch_ms) if options.batch_size > 1 else 0
        self.queue: list[Command] = []
        """Requests that wait for a leader, or for a batch to fill up."""

    # --- starting -----------------------------------------------------------------------------------------------------

    def on_start(self, ctx: Context) -> None:
        """Follow, unless chosen to lead first. (No pre-vote then: nobody leads who could be disturbed.)"""
        self.heard_ns = ctx.clock_ns - self.election_ns[0]  # never
        if self.cluster.first_leader == self.me and self._is_member():
            self._campaign(ctx)
        else:
            ctx.set_timer("election", *self.election_ns)

    def recover(self, ctx: Context, disk: Mapping[Any, Any]) -> None:
        """The persistent state is back, as far as it can be read; what is committed is learnt from the next leader."""
        self._read_disk(ctx, disk)
        self.heard_ns = ctx.clock_ns  # perhaps: see raft_reads.py
        ctx.set_timer("election", *self.election_ns)

    # --- requests -----------------------------------------------------------------------------------------------------

    def on_request(self, ctx: Context, command: Command) -> None:
        """Append it, pass it on to the leader, or keep it until there is one."""
        if self.role == LEADER:
            if self.reads_apart and command.kind == "get":
                self._serve_read(ctx, command)
            elif self._is_new(ctx, command):
                if self.successor is not None:
                    self.queue.append(command)
                elif self.batch_ns:
                    self._batch(ctx, command)
                else:
                    self._append(ctx, (LogEntry(self.current_term, command),))
        elif self.sessions.executed(command):
            ctx.answer(command)
        elif self.leader is not None:
            if self.reads_apart and command.kind == "get":
                self._pass_read(ctx, self.leader, command)
                return
            ctx.send_unsynced(self.leader, Forward(command))
            if len(self.pending) < self.options.queue_limit:
                self.pending[command.client, command.sequence] = command
        elif len(self.queue) < self.options.queue_limit:
            self.queue.append(command)

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        """A request by way of another replica. It cannot go in circles: a replica of term t passes it to the leader of
        t, whose term is t, and then it leads t or nobody there, or is higher."""
        self.on_request(ctx, message.command)

    def _is_new(self, ctx: Context, command: Command) -> bool:
        """Whether the leader must append ``command``: it was not executed (or is answered again, thesis section 6.3),
        nor is it in the log already."""
        request = (command.client, command.sequence)
        if request in self.pending:
            return False
        if self.sessions.executed(command):
            ctx.answer(command)
            return False
        self.pending[request] = command
        return True

    def _batch(self, ctx: Context, command: Command) -> None:
        self.queue.append(command)
        if len(self.queue) >= self.options.batch_size:
            ctx.cancel_timer("batch")
            self._append_queue(ctx)
        elif len(self.queue) == 1:
            ctx.set_timer("batch", self.batch_ns)

    def _append_queue(self, ctx: Context) -> None:
        term = self.current_term
        entries = tuple([LogEntry(term, command) for command in self.queue])
        self.queue.clear()
        self._append(ctx, entries)

    def _serve_queue(self, ctx: Context) -> None:
        """There is another leader for the requests that were kept, and for those that an earlier leader may have taken
        with it, this replica perhaps: whatever the new one has already, it ignores."""
        kept = [*self.passed_reads.values(), *self.queue]
        waiting = {**self.pending, **{(c.client, c.sequence): c for c in kept}}
        self.pending.clear()
        self.passed_reads.clear()
        self.queue = []
        for command in waiting.values():
            self.on_request(ctx, command)

    # --- leading and following (section 5.2) --------------------------------------------------------------------------

    def _lead(self, ctx: Context) -> None:
        """Begin the term with a no-op, without which earlier terms' entries could not be committed (section 8), and
        with the requests that waited. The first AppendEntries to each follower is a probe."""
        log = self.log
        self.role = LEADER
        self.leader = self.me
        self.votes = 0
        self._clear_leader_state()
        ctx.note("elected")
        ctx.cancel_timer("election")
        ctx.set_timer("heartbeat", self.heartbeat_ns)
        ctx.set_timer("retry", self.retry_ns)
        if self.options.check_quorum:
            ctx.set_timer("quorum", self.election_ns[0])
        uncommitted = log.slice(self.commit_index + 1, log.last_index - self.commit_index)
        waiting = [*self.pending.values(), *self.passed_reads.values(), *self.queue]
        self.passed_reads.clear()
        reads = [command for command in waiting if self.reads_apart and command.kind == "get"]
        if reads:
            waiting = [command for command in waiting if command.kind != "get"]
        commands = [entry.command for entry in uncommitted if entry.command.kind != "noop"]
        self.pending = {(command.client, command.sequence): command for command in commands}
        self.floor = self._first_countable() - 1
        self.term_start = next_index = log.last_index + 1
        self.next_index = dict.fromkeys(self.others, next_index)
        self.probing = set(self.others)
        self.queue = [*self._first_commands(), *[command for command in waiting if self._is_new(ctx, command)]]
        self._append_queue(ctx)
        self.last_at_retry = log.last_index
        for follower in self.others:
            self._probe(ctx, follower, next_index)
        for command in reads:
            self._serve_read(ctx, command)
        self._confirm_at_heartbeat(ctx)

    def _first_commands(self) -> tuple[Command, ...]:
        return (NOOP,)

    def _first_countable(self) -> int:
        """Section 5.4.2, Figure 8: an entry of an earlier term may still be overwritten though a majority holds it, so
        replicas are counted only for entries of the current term; what stands before such an entry is committed with
        it. The first of them is the one appended next."""
        return self.log.last_index + 1

    def _follow(self, ctx: Context, term: int, leader: int) -> None:
        if term > self.current_term:
            self._enter_term(ctx, term)
        assert self.role != LEADER, f"replicas {self.me} and {leader} lead term {term}"
        self._step_down(ctx)
        self.leader = leader
        self._serve_queue(ctx)

    def _stop_leading(self, ctx: Context) -> None:
        for timer in ("heartbeat", "retry", "quorum", "batch"):
            ctx.cancel_timer(timer)
        if self.successor is not None:
            ctx.cancel_timer("transfer")
        self.queue += [command for _, command in self.unconfirmed]
        self._clear_leader_state()

    # --- timers -------------------------------------------------------------------------------------------------------

    def on_timer(self, ctx: Context, name: TimerName) -> None:
        """Nobody leads; or, of a leader: time for a heartbeat, to send again, to count who answers, for the batch."""
        if name == "election":
            self._time_out(ctx)
        elif name == "heartbeat":
            self._send_heartbeats(ctx)
            self._confirm_at_heartbeat(ctx)
            self._catch_up(ctx)
            if self.successor is not None:
                self._caught_up(ctx, self.successor)
            ctx.set_timer("heartbeat", self.heartbeat_ns)
        elif name == "retry":
            self._retry(ctx)
            ctx.set_timer("retry", self.retry_ns)
        elif name == "quorum":
            ctx.set_timer("quorum", self.election_ns[0])
            self._check_quorum(ctx)
        elif name == "ask":
            self._ask_terms(ctx)
        elif name == "transfer" and not self._may_campaign():
            self._step_down(ctx)  # no member any more: somebody else will be elected
        elif name in ("batch", "transfer"):
            self.successor = None  # it was no use: serve again
            if self.queue:
                self._append_queue(ctx)

    def _check_quorum(self, ctx: Context) -> None:
        """A leader whom no majority has answered for an election time-out may have been replaced, and keeps its clients
        from the new one: it steps down (thesis section 6.2)."""
        answering = self.heard | 1 << self.me
        self.heard = 0
        if not self._is_quorum(answering):
            self._step_down(ctx)

    # --- looking at it ------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """Executed up to ``commit_index``; above, only accepted."""
        entries: dict[Any, Entry] = {}
        for index, entry in enumerate(self.log.entries, self.log.base_index + 1):
            status = "executed" if index <= self.commit_index else "accepted"
            entries[index] = Entry(status, entry.command, (entry.term, 0))
        return View(entries, (self.current_term, 0), self.leader)

    def check(self) -> None:
        """Local invariants."""
        log, last = self.log, self.log.last_index
        terms = [entry.term for entry in log.entries]
        assert terms == sorted(terms), f"terms decrease along the log: {terms}"
        assert self.asking or log.last_term <= self.current_term, (
            f"an entry of term {log.last_term} in term {self.current_term}"
        )
        assert self.commit_index <= last, f"{self.commit_index} are committed, but the log ends at {last}"
        assert (self.leader == self.me) == (self.role == LEADER), f"a {self.role} takes {self.leader} for the leader"
        behind = self.next_index
        latest, members = self.configurations[-1]
        settled = self.everyone_counts and latest <= self.commit_index
        assert latest <= last and members == self.members, f"{self.members} in force, {members} at {latest}"
        if self.role != LEADER:
            assert not (behind or self.probing or self.in_step), f"a {self.role} has followers"
            return
        assert self.in_step == tuple(r for r in self.others if r not in behind), f"{self.in_step} and {behind}"
        assert self.probing <= behind.keys(), f"probing {self.probing}, behind are {behind}"
        assert max(self.match_index) <= last, f"match {self.match_index}, but the log ends at {last}"
        assert all(self.match_index[r] < index <= last + 1 for r, index in behind.items()), f"next {behind}"
        assert all(last - self.match_index[r] <= self.options.window for r in self.in_step), "a window is exceeded"
        above = sum(match > self.floor for match in self.match_index)
        assert above == self.ahead, f"{above} above {self.floor}, {self.ahead} counted"
        assert above < self.majority or not settled, f"{above} above {self.floor} are a majority"
