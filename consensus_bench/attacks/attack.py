"""What an attack is, and what running one gives: its verdict, and that of its control."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from consensus_bench.exploration.trace import Trace

Verdict: TypeAlias = Literal["safety violated", "liveness lost", "both hold", "not decided"]
SAFETY: Final = "safety violated"
LIVENESS: Final = "liveness lost"
HOLDS: Final = "both hold"
UNDECIDED: Final = "not decided"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution, search or set of runs showed. ``falls``: the property that is violated, empty if none.
    ``detail``: what is wrong between whom, or what was covered without finding anything. ``steps``: those of the
    execution in ``trace``; None where there is no single one."""

    verdict: Verdict
    falls: str = ""
    detail: str = ""
    steps: int | None = None
    trace: Trace | None = None
    picture: Trace | None = None
    """What is drawn, if not ``trace``."""


class Runner(Protocol):
    """A way to run an attack."""

    def attack(self) -> Finding:
        """With the assumption removed."""
        ...

    def control(self, attacked: Finding) -> Finding:
        """The same with the assumption in place. ``attacked`` is what the attack found."""
        ...


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One assumption and what happens without it. ``assumption`` is a short noun phrase, ``guarantee`` what rests on
    it, ``change`` the smallest change that removes it, ``source`` where it is published, ``incident`` where it happened
    in production (empty: none known to us)."""

    name: str
    protocol: str
    assumption: str
    guarantee: str
    change: str
    expected: Verdict
    source: str
    runner: Runner
    incident: str = ""
    story: tuple[str, ...] = ()
    """Stands below the diagram, for who sees the protocol for the first time. Paragraphs about columns begin with them:
    ``3-4: ...``."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """An attack that was run."""

    attack: Attack
    found: Finding
    control: Finding
    seconds: float
    """Of processor time, both together."""

    @property
    def as_expected(self) -> bool:
        """Whether the attack's verdict is the expected one and its control is green."""
        return self.found.verdict == self.attack.expected and self.control.verdict == HOLDS
