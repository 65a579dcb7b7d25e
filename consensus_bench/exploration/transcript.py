"""What happened in a random run, in lines, for people."""

from __future__ import annotations

from consensus_bench.contract import Effect, ReplicaId
from consensus_bench.contract.context import describe
from consensus_bench.contract.steps import Deliver, Input, Recover, Request, Start, Timer
from consensus_bench.exploration.world import Observer


class Transcript(Observer):
    """What happened, in lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stepped(self, replica: ReplicaId, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        """The input, and below it the effects."""
        match event:
            case Deliver(source, message):
                what = f"{source} -> {replica}: {message}"
            case Request(command):
                what = f"client {command.client} -> {replica}: {command}"
            case Timer(name):
                what = f"timer {name} of {replica}"
            case Recover(disk):
                what = f"restart {replica} from {len(disk)} durable values"
            case Start():
                what = f"start {replica}"
        self.lines.append(what)
        self.lines.extend("    " + describe(effect) for effect in effects)

    def happened(self, what: str) -> None:
        """Anything else."""
        self.lines.append(what)
