"""One soak run and its judgement: every check of ``compare``, and what must come true once the faults are over.

*Heal* is when the last fault that ends has ended, and the last one that does not has begun. From then on a majority is
up, reachable and undisturbed for good, so that

- *liveness*: every operation has its answer within ``BOUND_S`` simulated seconds (one issued before the heal counts
  from the heal, one issued later from when it was due; those whose clients died are not waited for). Where the protocol
  has a ``window``, a majority may first have to catch up, so many entries a round trip: that time is added;
- *convergence*: all replicas that are up have executed equally many commands (in one order: that is checked anyway).
  Who is far behind may take longer, as with a window of one entry a round trip, but executes something in each
  ``BOUND_S``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from consensus_bench.experiments.measure import ANSWERED, Result, judged
from consensus_bench.experiments.plan import plan
from consensus_bench.experiments.scenario import Scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.statistics import column
from consensus_bench.simulation.operations import NEVER
from consensus_bench.simulation.recorder import Recorded, Recorder
from consensus_bench.simulation.world import DRAIN_STEP_NS, SECOND_NS, World
from consensus_bench.verification import Check
from consensus_bench.verification.online import CONVERGENCE

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

LIVENESS: Final = "liveness"
BOUND_S: Final = 20.0
"""Simulated seconds, ten times the longest election time-out that is drawn and more."""
DRAIN_S: Final = 120.0
"""So long the clients wait; nobody is waited for in a run that serves."""
_BOUND_NS: Final = round(BOUND_S * SECOND_NS)


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one run went. ``property``: what fell ("": nothing), ``detail``: how; ``error``: the trace-back of an
    exception; ``undecided``: the checks that could not say. ``faults``: how many of each kind struck.
    ``down``: replicas that stayed down for good; ``longest_wait_ms``: for an answer, counted as for liveness.
    ``schedules``: how many were run after the scenario; ``schedule``: the one in which the property fell (0: in the
    scenario)."""

    seed: int
    property: str = ""
    detail: str = ""
    error: str = ""
    undecided: str = ""
    replicas: int = 0
    operations: int = 0
    elections: int = 0
    faults: dict[str, int] = {}
    down: int = 0
    longest_wait_ms: float = 0.0
    converged_ms: float = 0.0
    simulated_s: float = 0.0
    schedules: int = 0
    schedule: int = 0


class SoakWorld(World):
    """A world that goes on, after the last answer, until the replicas that are up have converged (or never will)."""

    converged_ns: int | None = None
    """When they had, of a run that got so far."""

    def run(self, progress: Callable[[float], None] | None = None) -> None:
        super().run(progress)
        if self.population.open_requests():
            return  # liveness has fallen already
        behind, end = -1, 0
        while not self._agree():
            slowest = min(self.verifier.executions(replica) for replica in self.live())
            if slowest > behind:
                behind, end = slowest, max(self.heal_ns(), self.env.now) + _BOUND_NS
            elif self.env.now >= end:
                return
            self.env.run(until=self.env.now + DRAIN_STEP_NS)
            self.tell_due()
        self.converged_ns = self.env.now

    def bound_ns(self) -> int:
        """How long an answer may take after the heal."""
        window = getattr(self.options, "window", 0)
        geography = self.settings.geography
        farthest = max(2 * geography.one_way_ns[a][b] for a in geography.replicas for b in geography.replicas)
        return _BOUND_NS + (len(self.operations) * farthest // window if window else 0)

    def live(self) -> list[int]:
        """The replicas that are up."""
        return [machine.me for machine in self.machines if machine.alive]

    def _agree(self) -> bool:
        return len({self.verifier.executions(replica) for replica in self.live()}) <= 1

    def heal_ns(self) -> int:
        """When the last fault that ends has ended and the last one that does not has begun."""
        now: int = self.env.now
        return max((f.end_ns if f.end_ns < now else f.start_ns for f in self.fault_log), default=0)


def do(scenario: Scenario, stop: Callable[[], bool] = lambda: False) -> Verdict:
    """Run a scenario of one protocol and one seed, and judge it."""
    [run] = plan(prepare(scenario))
    world = SoakWorld(msgspec.structs.replace(run.settings, drain_s=DRAIN_S))
    result, table = judged(run.key, world, stop)
    return _verdict(run.seed, world, result, table)


class Recording(msgspec.Struct, frozen=True):
    """A run as it can be drawn: its sites, messages, faults (start in ns, end in ns, kind, whom), elections (ns, who),
    when it stopped (a violation of safety stops it at once), and its verdict."""

    sites: tuple[str, ...]
    messages: list[Recorded]
    faults: list[tuple[int, int, str, str]]
    elections: list[tuple[int, int]]
    end_ns: int
    verdict: Verdict


def record(scenario: Scenario) -> Recording:
    """``do``, with every message written down."""
    setup = prepare(scenario)
    [run] = plan(setup)
    world = SoakWorld(msgspec.structs.replace(run.settings, drain_s=DRAIN_S))
    recorder = Recorder(world)
    result, table = judged(run.key, world, lambda: False)
    verdict = _verdict(run.seed, world, result, table)
    faults = [(fault.start_ns, fault.end_ns, fault.kind, fault.target) for fault in world.fault_log]
    return Recording(setup.sites, recorder.messages, faults, world.elections, world.env.now, verdict)


def _verdict(seed: int, world: SoakWorld, result: Result, table: Table) -> Verdict:
    said = functools.partial(
        Verdict,
        seed=seed,
        error=result.error,
        replicas=len(world.machines),
        operations=len(table),
        elections=len(world.elections),
        faults=dict(sorted(Counter(fault.kind for fault in world.fault_log).items())),
        down=len(world.machines) - len(world.live()),
        simulated_s=world.env.now / SECOND_NS,
    )
    fallen = next((check for check in result.checks if check.verdict == "violated"), None)
    if fallen is not None:
        return said(property=fallen.property, detail=fallen.detail)
    liveness, longest_ns = _served(world, table)
    fallen = next((check for check in (liveness, _converged(world)) if check.verdict == "violated"), None)
    undecided = [c for c in result.checks if c.verdict == "not decided" and c.property != ANSWERED]
    return said(
        property=fallen.property if fallen else "",
        detail=fallen.detail if fallen else "",
        undecided="; ".join(f"{check.property}: {check.detail}" for check in undecided),
        longest_wait_ms=round(longest_ns / 1e6, 3),
        converged_ms=0.0 if world.converged_ns is None else round((world.converged_ns - world.heal_ns()) / 1e6, 3),
    )


def _served(world: SoakWorld, table: Table) -> tuple[Check, int]:
    """Liveness, and the longest wait for an answer (ns)."""
    import numpy as np

    heal = world.heal_ns()
    answered, due = column(table, "answered_ns"), column(table, "due_ns")
    missing = int((answered == NEVER).sum()) - world.population.abandoned()
    if missing:
        detail = f"{missing} of {len(table)} operations have no answer {(world.env.now - heal) / 1e9:.1f} s after heal"
        return Check(LIVENESS, "violated", len(table), detail), 0
    waits = (answered - np.maximum(due, heal))[answered != NEVER]
    longest = max(0, int(waits.max())) if len(waits) else 0
    bound = world.bound_ns()
    if longest > bound:
        detail = f"an operation waited for {longest / 1e9:.1f} s after heal, the bound is {bound / 1e9:.1f} s"
        return Check(LIVENESS, "violated", len(table), detail), longest
    return Check(LIVENESS, "holds", len(table), f"answers within {bound / 1e9:.1f} s of heal"), longest


def _converged(world: SoakWorld) -> Check:
    executed = {replica: world.verifier.executions(replica) for replica in world.live()}
    if world.converged_ns is not None:
        return Check(CONVERGENCE, "holds", len(executed), "replicas that are up have executed the same")
    counts = ", ".join(f"replica {replica}: {count}" for replica, count in executed.items())
    return Check(CONVERGENCE, "violated", len(executed), f"no progress for {BOUND_S:g} s, executed by {counts}")
