"""How much of a protocol is explored: a small configuration, and what the world may do to it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from consensus_bench.contract import ChangeMembers, Command, ConfigError, HandOver, Message

KEY = "x"
"""All commands are on this key: they interfere."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bounded configuration. The network is not bounded: messages are lost, duplicated and reordered at will."""

    replicas: int = 3
    proposers: int = 2
    """Replicas 0 to ``proposers`` - 1 are asked by clients, and their timers fire; the others only answer messages."""
    commands: int = 2
    reads: int = 0
    """How many of the commands are reads; the others swap, so that each result shows what was executed before."""
    requests: Literal["spread", "anywhere"] = "spread"
    """"spread": command i is asked of proposer i modulo ``proposers``; "anywhere": of any proposer, perhaps of several
    (a client that tries again elsewhere). A proposer is asked once for each in a life of its process."""
    ballots: int = 2
    """Ballots that are begun, by all replicas together (Raft: the highest term). What would begin one more does not
    happen. An instance's ballot of round 0 (EPaxos) is not counted."""
    rounds: int | None = None
    """The highest round of a ballot; None: ``ballots``, above which none can come."""
    crashes: int = 0
    """Crashes of all replicas together, each followed by a restart from what is on the disk."""
    damages: int = 0
    """How many of these restarts find everything on the disk lost, or the record of one key unreadable."""
    orders: tuple[str, ...] = ()
    """What an operator asks of any replica, each once: "hand-over:REPLICA" or "members:REPLICA,REPLICA,..."."""
    timeouts: int | None = None
    """How many timers fire, of all replicas together; None: any number, at any moment."""
    timers: tuple[str, ...] = ()
    """The names of the timers that fire; empty: all."""
    first_leader: int | None = None
    own_messages: Literal["at-once", "network"] = "at-once"
    """When a message of a replica to itself arrives: at once, or like any other (lost, duplicated, late)."""
    lost: tuple[str, ...] = ()
    """Names of message types of which none ever arrives."""
    depth: int | None = None
    """Steps of an execution at most; None: as many as there are."""
    states: int = 5_000_000
    """Where the search stops: the depth that reaches so many distinct states (about 80 bytes each) is the last, unless
    it brings them to four times as many; then the one before is."""

    def validate(self) -> None:
        """Raise ``ConfigError`` if a bound makes no sense."""
        for name in ("replicas", "proposers", "commands", "ballots", "states"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.rounds is not None and self.rounds < 1:
            raise ConfigError(f"--rounds {self.rounds}: must be at least 1")
        for name in ("crashes", "damages", "reads", "timeouts"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"--{name} {getattr(self, name)}: must not be negative")
        if self.damages > self.crashes:
            raise ConfigError(f"--damages {self.damages}: a disk is damaged in a crash; --crashes is {self.crashes}")
        self.make_orders()
        if self.proposers > self.replicas:
            raise ConfigError(f"--proposers {self.proposers}: there are only {self.replicas} replicas")
        if self.reads > self.commands:
            raise ConfigError(f"--reads {self.reads}: there are only {self.commands} commands")
        if self.depth is not None and self.depth < 1:
            raise ConfigError(f"--depth {self.depth}: must be at least 1")
        if self.first_leader is not None and not 0 <= self.first_leader < self.replicas:
            raise ConfigError(f"--first-leader {self.first_leader}: replicas are numbered 0 to {self.replicas - 1}")

    def make_commands(self) -> tuple[Command, ...]:
        """The commands, each of a client of its own."""
        writes = self.commands - self.reads
        return tuple(
            Command(number, 1, "swap" if number < writes else "get", KEY, number + 1 if number < writes else 0)
            for number in range(self.commands)
        )

    def may_ask(self, proposer: int, command: int) -> bool:
        """Whether a client asks ``proposer`` for the command of that number."""
        return proposer < self.proposers and (self.requests == "anywhere" or command % self.proposers == proposer)

    def make_orders(self) -> tuple[Message, ...]:
        """The operator's orders as messages; ``ConfigError`` for what is none."""
        return tuple(map(self._order, self.orders))

    def _order(self, text: str) -> Message:
        what, _, whom = text.partition(":")
        replicas = whom.split(",")
        if what not in ("hand-over", "members") or not all(r.isdecimal() and int(r) < self.replicas for r in replicas):
            raise ConfigError(
                f"--order {text}: write hand-over:REPLICA or members:REPLICA,REPLICA,...; "
                f"replicas are numbered 0 to {self.replicas - 1}"
            )
        if what == "members":
            return ChangeMembers(tuple(sorted({int(r) for r in replicas})))
        if len(replicas) > 1:
            raise ConfigError(f"--order {text}: the office is handed over to one replica")
        return HandOver(int(whom))

    @property
    def last_round(self) -> int:
        """Above it no message is sent: a round is above those that were heard of, so that round n is preceded by
        n - 1 other ballots."""
        return self.ballots if self.rounds is None else self.rounds


def round_of(message: Message) -> int:
    """The round of the ballot, or the term, that ``message`` names; 0: none."""
    ballot = getattr(message, "ballot", None)
    return int(ballot[0] if ballot is not None else getattr(message, "term", 0))


def own_ballot(source: int, message: Message) -> Hashable | None:
    """The ballot that ``message`` shows to be begun by its sender: one of its own, for the instance if there is one."""
    ballot = getattr(message, "ballot", None)
    if ballot is None or ballot[1] != source or ballot[0] == 0:
        return None
    return (getattr(message, "instance", None), ballot)
