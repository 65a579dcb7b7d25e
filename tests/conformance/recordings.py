"""What the conformance suite runs over, and recordings of random runs to replay step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consensus_bench.contract import Effect, Message, Replica
from consensus_bench.contract.context import BROADCAST_UNSYNCED
from consensus_bench.contract.registry import find_protocol, make_options, protocol_names
from consensus_bench.contract.steps import Input, Recover, Start
from consensus_bench.exploration import Faults, Load, Observer, Scheduler

EXAMPLE = f"{Path(__file__).parents[2] / 'docs' / 'examples' / 'fixed_primary.py'}:FixedPrimary"
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "epaxos": [{}, {"rules": "sosp13"}, {"rules": "sosp13", "toq": True}, {"thrifty": True}],
    "multi-paxos": [{}, {"batch_size": 4, "batch_ms": 5.0, "window": 6}],
    "raft": [{}, {"pre_vote": False, "check_quorum": False}, {"batch_size": 4, "batch_ms": 5.0, "window": 6}],
}
"""Settings under which a protocol is another one."""
SUBJECTS = [(name, settings) for name in [*protocol_names(), EXAMPLE] for settings in VARIANTS.get(name, [{}])]
SUBJECT_IDS = [
    " ".join([name.rpartition("/")[2], *(f"{key}={value}" for key, value in settings.items())])
    for name, settings in SUBJECTS
]
CALM = Faults(crash=0.0, partition=0.0, drop=0.01, duplicate=0.01, late=0.0, early=0.02, retry=0.002, steps=400)


class Life:
    """One life of one replica: its inputs with the clock at each, and what it did."""

    def __init__(self, replica: int) -> None:
        self.replica = replica
        self.steps: list[tuple[Input, int, list[Effect]]] = []


class Recording(Observer):
    """All lives in a run, and every message that was sent."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.messages: dict[Message, int] = {}
        """Each message with its hash when it was sent."""
        self._current: dict[int, Life] = {}

    def stepped(self, replica: int, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        """Keep it."""
        if isinstance(event, (Start, Recover)):
            self._current[replica] = Life(replica)
            self.lives.append(self._current[replica])
        self._current[replica].steps.append((event, clock_ns, list(effects)))
        for tag, _, b in effects:
            if tag <= BROADCAST_UNSYNCED:
                self.messages.setdefault(b, hash(b))


def scheduler(
    spec: str, settings: dict[str, Any], seed: int, size: int = 3, faults: Faults | None = None, **more: Any
) -> Scheduler:
    """A run of this protocol, not begun."""
    protocol = find_protocol(spec)
    return Scheduler(protocol, make_options(protocol, settings, size), size, seed, faults=faults, **more)


def record(
    spec: str, settings: dict[str, Any], seed: int, faults: Faults | None = None, load: Load | None = None
) -> tuple[Scheduler, Recording]:
    """A finished run and its recording."""
    recording = Recording()
    run = scheduler(spec, settings, seed, faults=faults, load=load, observer=recording)
    run.run()
    return run, recording


def new_replica(run: Scheduler, me: int) -> Replica:
    """A replica of that run's cluster before its first step."""
    return run.protocol(me, run.world.cluster, run.options)
