"""Sessions that remember nothing: what a retry meets where nobody recognises it."""

from __future__ import annotations

from consensus_bench.contract import Command
from protocols.sessions import Sessions


class NoSessions(Sessions):
    """Each copy of a command is taken for a new one."""

    __slots__ = ()

    def executed(self, command: Command) -> bool:
        """Never, as far as it knows."""
        return False

    def add(self, command: Command) -> bool:
        """It is executed, again or not."""
        super().add(command)
        return True
