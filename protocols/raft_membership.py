"""Raft: who the members are, and how they change by joint consensus (section 6; thesis section 4.3).

The members stand in the log: each server uses the latest configuration in its own, committed or not, and the one before
it if that entry is removed again. An operator's order to the leader (ChangeMembers) goes through these steps.

1. New servers catch up, so that the change does not cost availability (thesis section 4.2.1): in rounds, each as long
   as it takes them to get what the log held at its beginning, until one is shorter than an election time-out.
2. The leader appends C_old,new. From now on elections, commits and questions whether it still leads need a majority of
   the old members *and* one of the new. So there is no moment at which either could decide alone, and the leader
   may be any of both.
3. When that is committed, the leader, whoever it is by then, appends C_new.
4. When C_new is committed, a leader that is not in it hands its office to a member that is. It has led without counting
   itself since it appended C_new.

Servers that are not members are *learners*: they get the log like followers, so that a spare server can be added and a
removed one knows that it is, but nobody counts what they say. They do not stand for election, unless the configuration
without them is not known to be committed: then it may be up to them to finish the change. Votes are given to anybody,
and AppendEntries is accepted from anybody, whoever the members are (section 6): the voter's configuration may be old.
A removed server that has not heard of it yet disturbs nobody with PreVote and CheckQuorum (thesis section 4.2.3).

One change at a time: a leader begins none before an entry of its own term is committed, so that it knows of every
configuration that may be, and none before the last one is settled. A lease from before C_old,new says nothing of the
new members' votes: it ends there. A change survives its leader if C_old,new is in the next one's log, and is forgotten
if not. The operator has no answer (there is the note "members_changed"); giving the order again is harmless.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final

from consensus_bench.contract import OPERATOR, ChangeMembers, Cluster, Command, Context, HandOver
from protocols.raft_election import LEADER, Members
from protocols.raft_log import LogEntry
from protocols.raft_messages import RaftOptions, TimeoutNow
from protocols.raft_transfer import RaftTransfer

AND: Final = " and "
PATIENCE: Final = 10
"""For so many of the shortest election time-outs the leader waits for new servers to catch up."""


class RaftMembership(RaftTransfer):
    """What a server needs for it. ``Raft`` calls ``_learn_members`` with each no-op that it appends to its log, and
    ``_members_committed`` when a no-op is committed."""

    __slots__ = ("catching_up", "configurations")
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: RaftOptions) -> None:
        super().__init__(me, cluster, options)
        self.configurations: list[tuple[int, Members]] = [(0, self.members)]
        """(index, members) of those in the log, and before them the one that was in force where it begins."""
        self.catching_up: tuple[int, int, int, int] | None = None
        """Of a leader: the members to be (a bit mask), until when to wait for them, the last entry of this round, and
        when the round began."""

    @abstractmethod
    def _append(self, ctx: Context, entries: tuple[LogEntry, ...]) -> None:
        """Append to the leader's log, and replicate."""

    # --- the latest configuration in the log --------------------------------------------------------------------------

    def _learn_members(self, index: int, noop: Command) -> None:
        """If this entry of the log is a configuration, it is in force from now on."""
        if noop.key:
            self.configurations.append((index, _members_of(noop)))
            self._use_latest()

    def _unlearn_members(self, first: int) -> None:
        """The entries from ``first`` on are removed."""
        while self.configurations[-1][0] >= first:
            self.configurations.pop()
        self._use_latest()

    def _use_latest(self) -> None:
        self._use_members(self.configurations[-1][1])

    def _members_at(self, index: int) -> Members:
        """The configuration in force after the entry at ``index``."""
        return next(members for at, members in reversed(self.configurations) if at <= index)

    def _forget_members(self) -> None:
        """The beginning of the log is discarded."""
        while len(self.configurations) > 1 and self.configurations[1][0] <= self.log.base_index:
            del self.configurations[0]

    def _begin_members(self, index: int, members: Members) -> None:
        """A snapshot stands for all entries up to ``index``; of later ones those that the log holds still count."""
        last = self.log.last_index
        later = [(at, found) for at, found in self.configurations if index < at <= last]
        self.configurations = [(index, members), *later]
        self._use_latest()

    def _members_in_log(self) -> None:
        """After a restart: the log has been read."""
        for index, entry in enumerate(self.log.entries, self.log.base_index + 1):
            if entry.command.kind == "noop" and index > self.configurations[-1][0]:
                self._learn_members(index, entry.command)

    # --- changing it --------------------------------------------------------------------------------------------------

    def on_change_members(self, ctx: Context, source: int, message: ChangeMembers) -> None:
        """A person's order to the leader."""
        wanted = sum(1 << server for server in range(self.cluster.size) if server in message.members)
        known = wanted.bit_count() == len(message.members) > 0
        if not known or not self._may_change() or self.members == (wanted,):
            return
        now = ctx.clock_ns
        self.catching_up = (wanted, now + PATIENCE * self.election_ns[0], self.log.last_index, now)
        self._catch_up(ctx)

    def _may_change(self) -> bool:
        """One change at a time, and none before all earlier ones are known."""
        settled = len(self.members) == 1 and self.configurations[-1][0] <= self.commit_index
        idle = self.catching_up is None and self.successor is None
        return self.role == LEADER and self._knows_all_committed() and settled and idle

    def _catch_up(self, ctx: Context) -> None:
        """At each heartbeat: begin the change if the new servers have caught up, or give it up."""
        if self.catching_up is None:
            return
        wanted, until_ns, goal, began_ns = self.catching_up
        (members,) = self.members
        new = [server for server in self.others if (wanted & ~members) >> server & 1]
        now = ctx.clock_ns
        if all(self.match_index[server] >= goal for server in new):
            if now - began_ns <= self.election_ns[0]:
                self.catching_up = None
                self.lease_end_ns = 0
                self._append_members(ctx, (members, wanted))
                return
            self.catching_up = (wanted, until_ns, self.log.last_index, now)
        if now > until_ns:
            self.catching_up = None

    def _append_members(self, ctx: Context, members: Members) -> None:
        self._append(ctx, (LogEntry(self.current_term, command_of(members)),))

    def _members_committed(self, ctx: Context, noop: int) -> None:
        """Of the leader: the entry at ``noop`` is committed now, and all before it."""
        index, members = self.configurations[-1]
        if index > self.commit_index:
            return
        if len(members) == 2:
            self._append_members(ctx, members[1:])
            return
        if index == noop:
            ctx.note("members_changed")
        if not self._is_member():
            self._resign(ctx)

    def _resign(self, ctx: Context) -> None:
        """Whoever holds most of the log leads next, when it holds all of it."""
        heirs = [server for server in self.others if self.members[0] >> server & 1]
        self.on_hand_over(ctx, OPERATOR, HandOver(max(heirs, key=lambda server: self.match_index[server])))

    # --- who is no member ---------------------------------------------------------------------------------------------

    def _is_member(self) -> bool:
        return any(members >> self.me & 1 for members in self.members)

    def _may_campaign(self) -> bool:
        """A member; or it is not known that we are none."""
        return self._is_member() or self.configurations[-1][0] > self.commit_index

    def _time_out(self, ctx: Context) -> None:
        if self._may_campaign():
            super()._time_out(ctx)
        else:
            self.leader = None
            ctx.set_timer("election", *self.election_ns)

    def on_hand_over(self, ctx: Context, source: int, message: HandOver) -> None:
        """Only a member is elected."""
        if self.members[-1] >> message.to & 1:
            super().on_hand_over(ctx, source, message)

    def on_timeout_now(self, ctx: Context, source: int, message: TimeoutNow) -> None:
        if self._may_campaign():
            super().on_timeout_now(ctx, source, message)


def command_of(members: Members) -> Command:
    """A configuration as an entry of the log: a no-op to the state machine, which says who the members are."""
    sets = [",".join(str(server) for server in range(mask.bit_length()) if mask >> server & 1) for mask in members]
    return Command(OPERATOR, 0, "noop", AND.join(sets), 0, 0)


def _members_of(noop: Command) -> Members:
    return tuple(sum(1 << int(server) for server in servers.split(",")) for servers in str(noop.key).split(AND))
