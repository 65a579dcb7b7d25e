"""Which commands of each client have been executed: a retry is executed once (Raft thesis section 6.3)."""

from __future__ import annotations

from typing import TypeAlias

from consensus_bench.contract import Command, State

SessionsImage: TypeAlias = tuple[tuple[int, int, tuple[int, ...]], ...]
"""(client, the sequence number below which all are executed, those above it that are), by client."""


class Sessions(State):
    """Per client, every sequence number below a watermark has been executed, and perhaps some above it.

    Clients with several requests under way may see them executed out of order, so a single "last" would not do.
    Sequence numbers start at 1. While they have no gaps the set above the watermark stays small; a read that takes no
    place in the log leaves one, and from then on the set has all later writes of its client.
    """

    __slots__ = ("ahead", "next")

    def __init__(self) -> None:
        self.next: dict[int, int] = {}
        self.ahead: dict[int, set[int]] = {}

    def executed(self, command: Command) -> bool:
        """Whether this replica has executed ``command``, in this or another copy."""
        client, sequence = command.client, command.sequence
        return sequence < self.next.get(client, 1) or sequence in self.ahead.get(client, ())

    def add(self, command: Command) -> bool:
        """Record the execution of ``command``; False if it had been executed before."""
        client, sequence = command.client, command.sequence
        expected = self.next.get(client, 1)
        if sequence == expected and client not in self.ahead:
            self.next[client] = sequence + 1
            return True
        return self._add_out_of_order(client, sequence, expected)

    def _add_out_of_order(self, client: int, sequence: int, expected: int) -> bool:
        ahead = self.ahead.setdefault(client, set())
        new = sequence >= expected and sequence not in ahead
        if new:
            ahead.add(sequence)
            while expected in ahead:
                ahead.remove(expected)
                expected += 1
            self.next[client] = expected
        if not ahead:
            del self.ahead[client]
        return new

    def image(self) -> SessionsImage:
        """A value that depends on the contents alone, for messages and disks."""
        clients = sorted(self.next.keys() | self.ahead.keys())
        return tuple((c, self.next.get(c, 1), tuple(sorted(self.ahead.get(c, ())))) for c in clients)

    def restore(self, image: SessionsImage) -> None:
        """Be what ``image`` is the value of."""
        self.next = {client: following for client, following, _ in image}
        self.ahead = {client: set(ahead) for client, _, ahead in image if ahead}
