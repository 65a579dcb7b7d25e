"""Multi-Paxos: what a replica knows to be chosen, executes, and teaches. The rest is in multi_paxos.py."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final

from consensus_bench.contract import Ballot, Cluster, Command, Context, Replica
from protocols.multi_paxos_messages import Chosen, Fetch, MultiPaxosOptions
from protocols.sessions import Sessions
from protocols.slots import CHOSEN, FIRST_SLOT, Slots

FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"

NEVER: Final = 1 << 62
"""No slot is as high."""
PART: Final = 4096
"""Slots in one Chosen, at most. A replica that was away gets one each round trip, while others go on deciding."""


class MultiPaxosLearner(Replica):
    """The log, and how far it is known to be chosen."""

    __slots__ = (
        "committed", "fetching", "forwarded", "leader", "log", "open", "promised", "role", "saved", "sessions",
        "wake_at",
    )  # fmt: skip
    constants: ClassVar[tuple[str, ...]] = ()

    def __init__(self, me: int, cluster: Cluster, options: MultiPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.promised: Ballot = (0, 0)
        self.log = Slots()
        self.committed = FIRST_SLOT
        self.saved = FIRST_SLOT
        """``committed`` as last written to disk, now and then: a restart learns the rest again."""
        self.wake_at = NEVER
        """``_reached`` is called when so much is committed."""
        self.sessions = Sessions()
        self.role = FOLLOWER
        self.leader: int | None = None
        """Who is known to lead at ``promised``."""
        self.forwarded: dict[tuple[int, int], Command] = {}
        """What was passed on to the leader and is not executed here yet: if that leader dies, the next one gets it."""
        self.open: set[tuple[int, int]] = set()
        """(client, sequence) of what is queued or proposed here, so that a retry is not proposed again."""
        self.fetching = 0
        """The slot that was asked for and has not come, until the next retry tick."""

    @abstractmethod
    def _follow(self, ctx: Context, ballot: Ballot, leader: int | None) -> None:
        """Serve ``ballot`` from now on."""

    @abstractmethod
    def _reached(self, ctx: Context) -> None:
        """Something waited until so much is committed."""

    @abstractmethod
    def _taught(self, ctx: Context) -> None:
        """All has come that another replica knew when it was asked."""

    def _advance(self, ctx: Context, ballot: Ballot = CHOSEN, limit: int = 0) -> None:
        """Execute in slot order as far as is known: slots that are marked ``CHOSEN``, and below ``limit`` those whose
        value was accepted at ``ballot``, whose leader has said that they are. (A value accepted at an older ballot may
        have lost: PMS, section 2.2.)"""
        log = self.log
        ballots, commands, first, end = log.ballots, log.commands, log.first, log.end
        slot = self.committed
        while slot < end:
            accepted, command = ballots[slot - first], commands[slot - first]
            if slot < limit and accepted == ballot:
                assert command is not None, f"slot {slot} has a ballot and no command"
                ctx.commit(slot, command)
            elif accepted != CHOSEN or command is None:
                break
            slot += 1
            self._execute(ctx, command)
        self.committed = slot
        if slot >= self.wake_at:
            self._reached(ctx)

    def _execute(self, ctx: Context, command: Command) -> None:
        """Each command once, in however many slots it was chosen. The leader answers."""
        if command.kind == "noop":
            return
        if self.sessions.add(command):
            ctx.execute(command)
        if self.role == LEADER:
            self.open.discard((command.client, command.sequence))
            ctx.answer(command)
        elif self.forwarded:
            self.forwarded.pop((command.client, command.sequence), None)

    def _learn(self, ctx: Context, slot: int, command: Command) -> None:
        """``command`` is chosen in ``slot``, which may be ahead of what can be executed."""
        if slot >= self.committed and self.log.accept(slot, CHOSEN, command):
            ctx.persist(slot, (CHOSEN, command))
            ctx.commit(slot, command)

    def _learn_of_commits(self, ctx: Context, leader: int, ballot: Ballot, committed: int) -> None:
        """The leader of ``ballot`` says that all slots below ``committed`` are chosen."""
        self._advance(ctx, ballot, committed)
        if committed > self.committed:
            self._fetch(ctx, leader)

    def _fetch(self, ctx: Context, source: int) -> None:
        """``source`` knows more slots to be chosen than can be told from the log here: ask, once in a while."""
        if self.fetching != self.committed:
            self.fetching = self.committed
            ctx.send_unsynced(source, Fetch(self.committed))

    def on_fetch(self, ctx: Context, source: int, message: Fetch) -> None:
        """Send what is known, a part at a time."""
        self._teach(ctx, source, message.first)

    def _teach(self, ctx: Context, to: int, first: int) -> None:
        if first < self.committed:
            values = self.log.values(first, min(first + PART, self.committed))
            ctx.send_unsynced(to, Chosen(self.promised, first, values, self.committed))

    def on_chosen(self, ctx: Context, source: int, message: Chosen) -> None:
        """Learn; ask for the next part; a candidate that was taught asks for the promises that it still lacks. To know
        what was chosen is to know of the ballot: an old leader would otherwise tell its followers, who may have
        accepted something else from it, that these slots are chosen."""
        if message.ballot > self.promised:
            self._follow(ctx, message.ballot, None)
        for slot, command in enumerate(message.commands, message.first):
            self._learn(ctx, slot, command)
        self._advance(ctx)
        if self.committed < message.committed:
            self._fetch(ctx, source)
        else:
            self._taught(ctx)
