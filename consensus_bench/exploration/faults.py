"""How often a random run does what, in either style, and what the clients ask for."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

import msgspec

from consensus_bench.contract import ConfigError

_RATES = ("request", "retry", "sync", "timer", "drop", "duplicate", "late", "crash", "restart", "partition", "heal",
          "order")  # fmt: skip


_HAPPENINGS = ("request", "timer", "retry", "order")
_SHARES = ("more", "late", "crash", "lag", "steady", "breaks_off", "in_order", "jump", "slow", "lost", "again")
PRESENT: Final = 0.7
"""How probably a run in rounds has a certain fault at all."""


class AnyFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What all styles have in common."""

    lost_answers: float = 0.1
    """Share of the answers that do not reach their client."""
    damage: float = 0.0
    """Share of the restarts, of so many replicas a run, that find the disk lost or some records corrupt."""
    damaged_at_most: int = 1
    skew_ms: float = 100.0
    """How far the replicas' clocks are apart at most."""

    def validate(self, size: int) -> None:
        """Refuse what cannot be, in one line (``ConfigError``)."""
        for name in self._shares():
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"faults: {name} = {share} is no probability: it must lie between 0 and 1")
        if self.skew_ms < 0:
            raise ConfigError(f"faults: skew_ms = {self.skew_ms} must not be negative")

    def _shares(self) -> tuple[str, ...]:
        return ("lost_answers", "damage")


class Faults(AnyFaults, frozen=True, kw_only=True):
    """Step by step (``Scheduler``): probabilities of each action per step of the first phase; what they leave of 1 is
    the delivery of a message.

    An action that is impossible at the moment (nothing to sync, nobody to restart) becomes a delivery.
    """

    steps: int = 1000
    """Length of the first phase. The second is as long as the clients need."""
    request: float = 0.05
    retry: float = 0.02
    """A client asks another replica for what it has no answer to."""
    sync: float = 0.12
    timer: float = 0.08
    early: float = 0.3
    """Share of the firing timers that are any armed timer; the others fire in the order in which they are due."""
    drop: float = 0.03
    duplicate: float = 0.03
    """A message is delivered and stays under way."""
    late: float = 0.02
    """A message is put aside, or one of those that were comes back: it arrives when the world has moved on."""
    crash: float = 0.004
    restart: float = 0.02
    crashed_at_most: int = 1
    """Replicas that are down at the same time; 0: nobody ever crashes."""
    partition: float = 0.004
    """Some links let nothing through until ``heal``; what is under way on them arrives late."""
    heal: float = 0.02
    order: float = 0.0
    """An operator asks some replica, leader or not, to hand its office over, or to change who the members are."""

    def validate(self, size: int) -> None:
        """Refuse what cannot be, in one line (``ConfigError``)."""
        AnyFaults.validate(self, size)
        total = sum(getattr(self, name) for name in _RATES)
        if total >= 1:
            raise ConfigError(f"faults: the probabilities add up to {total:g}: nothing is left for deliveries")
        if self.steps < 0:
            raise ConfigError(f"faults: steps = {self.steps} must not be negative")
        if not 0 <= self.crashed_at_most <= size:
            raise ConfigError(f"faults: crashed_at_most = {self.crashed_at_most}: there are {size} replicas")

    def _shares(self) -> tuple[str, ...]:
        return (*AnyFaults._shares(self), *_RATES, "early")

    @staticmethod
    def drawn(random: Random, size: int) -> Faults:
        """A mixture drawn at random, some faults absent from it: mixtures find more than their average does (Groce et
        al., Swarm Testing, ISSTA 2012)."""

        def rate(highest: float, absent: float = 0.25) -> float:
            return 0.0 if random.random() < absent else round(highest * random.random() ** 2, 4)

        return Faults(
            request=round(0.01 + 0.1 * random.random(), 3),
            retry=round(0.002 + 0.04 * random.random(), 3),
            sync=round(0.03 + 0.2 * random.random(), 3),
            timer=round(0.02 + 0.15 * random.random(), 3),
            early=rate(1.0),
            drop=rate(0.15),
            duplicate=rate(0.15),
            late=rate(0.15),
            lost_answers=rate(0.5),
            crash=rate(0.03),
            restart=round(0.005 + 0.03 * random.random(), 3),
            crashed_at_most=random.choice([(size - 1) // 2, (size - 1) // 2, size]),
            partition=rate(0.02),
            heal=round(0.005 + 0.03 * random.random(), 3),
            skew_ms=rate(500.0),
        )


class RoundFaults(AnyFaults, frozen=True, kw_only=True):
    """Round by round (``Rounds``). What a round begins with, by weight; then shares of the rounds; then of messages."""

    rounds: int = 25
    """Length of the first phase. The second is as long as the clients need."""
    groups: int = 4
    """Of replicas that hear of what happens in a round."""
    request: float = 2.0
    timer: float = 2.0
    retry: float = 0.5
    order: float = 0.3
    """An operator asks for another leader, or for other members."""
    more: float = 0.2
    """Something else happens before anybody hears of it."""
    late: float = 0.2
    """Messages arrive that were put aside in earlier rounds."""
    crash: float = 0.2
    """A replica crashes in the end and is back."""
    lag: float = 0.2
    """A disk keeps nothing from now on, until it catches up or its replica crashes."""
    steady: float = 0.15
    """The round stays where the one before was."""
    breaks_off: float = 0.15
    """It ends before all is said."""
    in_order: float = 0.8
    """Messages arrive in the order of sending."""
    jump: float = 0.2
    """Before it a long time passes."""
    slow: float = 0.1
    """Of the kinds of messages: they mostly arrive late."""
    lost: float = 0.6
    """Of the messages that do not arrive in their round; the others arrive late."""
    again: float = 0.05
    """Of those that do arrive: they arrive once more, late."""

    def validate(self, size: int) -> None:
        """Refuse what cannot be, in one line (``ConfigError``)."""
        AnyFaults.validate(self, size)
        for name in _HAPPENINGS:
            if getattr(self, name) < 0:
                raise ConfigError(f"faults: {name} = {getattr(self, name)} is no weight: it must not be negative")
        if not (self.request or self.timer):
            raise ConfigError("faults: request = 0 and timer = 0: nothing would ever happen")
        if self.rounds < 0 or self.groups < 1:
            raise ConfigError(f"faults: rounds = {self.rounds} and groups = {self.groups}: needs at least 0 and 1")

    def _shares(self) -> tuple[str, ...]:
        return (*AnyFaults._shares(self), *_SHARES)

    @staticmethod
    def drawn(random: Random) -> RoundFaults:
        """A mixture drawn at random, as for ``Faults``."""
        some = random.choice

        def perhaps(*rates: float) -> float:
            return some(rates) if random.random() < PRESENT else 0.0

        return RoundFaults(
            rounds=random.randint(10, 40),
            groups=some((3, 4, 6)),
            timer=some((1.0, 2.0, 4.0)),
            retry=perhaps(0.7),
            order=perhaps(0.5),
            more=perhaps(0.3),
            late=perhaps(0.1, 0.4),
            crash=perhaps(0.1, 0.4),
            lag=perhaps(0.1, 0.4),
            steady=some((0.0, 0.3)),
            breaks_off=perhaps(0.1, 0.3),
            in_order=some((1.0, 1.0, 0.5)),
            jump=some((0.0, 0.1, 0.5)),
            slow=some((0.0, 0.2)),
            lost=some((0.3, 0.9)),
            again=perhaps(0.1),
            damage=perhaps(0.5, 1.0),
        )


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients ask for. Every write has its own value, so that a stale read is seen."""

    commands: int = 24
    clients: int = 3
    outstanding: int = 2
    """Commands that a client may have under way at the same time."""
    keys: int = 2
    reads: float = 0.3
    """Share of gets; the rest are puts and swaps, half and half."""

    def validate(self) -> None:
        """Refuse what cannot be, in one line (``ConfigError``)."""
        for name in ("commands", "clients", "outstanding", "keys"):
            if getattr(self, name) < 1:
                raise ConfigError(f"load: {name} = {getattr(self, name)}: at least 1 is needed")
        if not 0 <= self.reads <= 1:
            raise ConfigError(f"load: reads = {self.reads} is no share: it must lie between 0 and 1")


def survivable(options: Mapping[str, Any], size: int) -> int:
    """How many replicas may stay down for good while the others must go on: a minority, fewer with larger quorums.
    So many disks may be lost as well."""
    largest = max(int(options.get(name, 0)) for name in ("phase1_quorum", "phase2_quorum"))
    members = int(options.get("first_members", 0)) or size
    return min((members - 1) // 2, size - largest)
