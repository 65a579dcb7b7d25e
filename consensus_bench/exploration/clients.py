"""Clients of the random scheduler: sessions with numbered commands, and the history of what they saw."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from consensus_bench.contract import Command, PropertyViolated, ReplicaId
from consensus_bench.exploration.faults import Load
from consensus_bench.verification import History, HistoryCheck
from consensus_bench.verification.online import NON_TRIVIALITY


class _Request:
    """A command without an answer."""

    __slots__ = ("asked", "command", "due_ns", "invoked")

    def __init__(self, command: Command, asked: ReplicaId, invoked: int) -> None:
        self.command = command
        self.asked = asked
        self.invoked = invoked
        self.due_ns = 0  # when to ask again, in the second phase


class Clients:
    """All clients of one run. Times are step numbers."""

    __slots__ = ("_answers", "_load", "_random", "_sequences", "_size", "_submitted", "open")

    def __init__(self, load: Load, size: int, random: Random) -> None:
        self._load = load
        self._size = size
        self._random = random
        self._sequences = [0] * load.clients
        self._submitted = 0
        self._answers: list[tuple[_Request, int | None, int]] = []
        self.open: list[_Request] = []
        """Commands without an answer, oldest first."""

    @property
    def answered(self) -> int:
        """Commands that have an answer."""
        return len(self._answers)

    def may_ask(self) -> bool:
        """Whether a client has a new command to submit."""
        return self._submitted < self._load.commands and len(self.open) < self._load.clients * self._load.outstanding

    def new_request(self, step: int) -> _Request:
        """The next command of a client that is not waiting for too much already, and the replica it asks."""
        load, random = self._load, self._random
        busy = [0] * load.clients
        for request in self.open:
            busy[request.command.client] += 1
        client = random.choice([c for c in range(load.clients) if busy[c] < load.outstanding])
        self._sequences[client] += 1
        self._submitted += 1
        kind = "get" if random.random() < load.reads else random.choice(("put", "swap"))
        value = 0 if kind == "get" else self._submitted
        command = Command(client, self._sequences[client], kind, random.randrange(load.keys), value)
        request = _Request(command, random.randrange(self._size), step)
        self.open.append(request)
        return request

    def retry(self, position: int) -> _Request:
        """The open command at ``position`` goes to the next replica."""
        request = self.open[position]
        request.asked = (request.asked + 1) % self._size
        return request

    def answered_by(
        self, replica: ReplicaId, command: Command, result: int | None, step: int, placed: bool = True
    ) -> None:
        """An answer arrives. Later ones to the same command are ignored, if they say the same. (A read that has no
        place may be repeated, and then sees what is there then.)"""
        for position, request in enumerate(self.open):
            if (request.command.client, request.command.sequence) == (command.client, command.sequence):
                del self.open[position]
                self._answers.append((request, result, step))
                return
        for request, known, _ in self._answers:
            if placed and request.command == command and known != result:
                raise PropertyViolated(
                    "exactly once", f"replica {replica} answers {command} with {result}, it was answered with {known}"
                )

    def check_asked(self, chosen: Iterable[Command]) -> None:
        """Only what a client has asked for may be chosen."""
        asked = {request.command for request, _, _ in self._answers} | {request.command for request in self.open}
        for command in chosen:
            if command not in asked:
                raise PropertyViolated(NON_TRIVIALITY, f"{command} is chosen, but no client asked for it")

    def check(self) -> HistoryCheck:
        """Is what the clients saw linearizable?"""
        history = History()
        for request, result, answered in self._answers:
            self._append(history, request, result, answered)
        for request in self.open:
            self._append(history, request, None, None)
        return history.check()

    @staticmethod
    def _append(history: History, request: _Request, result: int | None, answered: int | None) -> None:
        command = request.command
        history.append(command.client, command.key, command.kind, command.value, result, request.invoked, answered)
