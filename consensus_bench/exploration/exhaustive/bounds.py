"""How much of a protocol is explored: a small configuration, and what the world may do to it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from consensus_bench.contract import Command, ConfigError, Message

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
    """Distinct states at most (about 80 bytes each)."""

    def validate(self) -> None:
        """Raise ``ConfigError`` if a bound makes no sense."""
        for name in ("replicas", "proposers", "commands", "ballots", "states"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.rounds is not None and self.rounds < 1:
            raise ConfigError(f"--rounds {self.rounds}: must be at least 1")
        for name in ("crashes", "reads", "timeouts"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"--{name} {getattr(self, name)}: must not be negative")
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

    def exceeded_by(self, message: Message) -> bool:
        """Whether ``message`` names a ballot or term that can only exist beyond the bound: a round is above those that
        were heard of, so that round n is preceded by n - 1 other ballots."""
        ballot = getattr(message, "ballot", None)
        round_ = ballot[0] if ballot is not None else getattr(message, "term", 0)
        return bool(round_ > (self.ballots if self.rounds is None else self.rounds))


def own_ballot(source: int, message: Message) -> Hashable | None:
    """The ballot that ``message`` shows to be begun by its sender: one of its own, for the instance if there is one."""
    ballot = getattr(message, "ballot", None)
    if ballot is None or ballot[1] != source or ballot[0] == 0:
        return None
    return (getattr(message, "instance", None), ballot)
