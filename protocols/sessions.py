"""Which commands of each client have been executed: a retry is executed once (Raft thesis section 6.3)."""

from __future__ import annotations

from consensus_bench.contract import Command, State


class Sessions(State):
    """Per client, every sequence number below a watermark has been executed, and perhaps some above it.

    Clients with several requests under way may see them executed out of order, so a single "last" would not do.
    Sequence numbers start at 1 and have no gaps, so that the set above the watermark stays small.
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
        if sequence < expected:
            return False
        ahead = self.ahead.get(client)
        if sequence == expected:
            sequence += 1
            if ahead is not None:
                while sequence in ahead:
                    ahead.remove(sequence)
                    sequence += 1
                if not ahead:
                    del self.ahead[client]
            self.next[client] = sequence
            return True
        if ahead is None:
            self.ahead[client] = {sequence}
            return True
        if sequence in ahead:
            return False
        ahead.add(sequence)
        return True
