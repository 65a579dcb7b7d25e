"""Attacks in the benchmark's own world: a switch of the world under load, and the verification of every benchmark.

Safety is judged by ``experiments.measure.judged``. Liveness in a bounded run: no operation of any client is answered in
the last ``silence_s`` seconds of the load, although clients wait, with every seed. That is evidence and no proof; where
there is an argument why it goes on for ever, the attack's page gives it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consensus_bench.attacks.attack import HOLDS, LIVENESS, SAFETY, UNDECIDED, Finding, Verdict
from consensus_bench.experiments.measure import Result, judged
from consensus_bench.experiments.plan import run_settings
from consensus_bench.experiments.scenario import Scenario, make_scenario_of
from consensus_bench.experiments.setup import prepare
from consensus_bench.experiments.statistics import NS_PER_S, column
from consensus_bench.simulation.faults.parsing import parse_faults
from consensus_bench.simulation.operations import NEVER
from consensus_bench.simulation.world import World

SITES: Final = ("us-east-1", "us-west-2", "eu-west-1")
LOAD: Final = {"preset": "conflict", "clients": 2, "conflict": 20.0, "swaps": 0.5, "reads": 0.25}
MANY: Final = 3
"""So many seeds, where not said otherwise."""


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one protocol under load, with ``faults`` and with ``control_faults`` (and the ``options`` of each).
    ``unsafe``: the protocol that is attacked, if a rule of it is removed. ``workload`` changes the usual load."""

    protocol: str
    unsafe: str = ""
    faults: tuple[str, ...]
    control_faults: tuple[str, ...]
    options: dict[str, Any] = {}
    control_options: dict[str, Any] = {}
    workload: dict[str, Any] = {}
    control_workload: dict[str, Any] = {}
    sites: tuple[str, ...] = SITES
    leader: str = SITES[0]
    duration_s: float = 10.0
    silence_s: float = 3.0
    seeds: tuple[int, ...] = tuple(range(1, MANY + 1))

    def attack(self) -> Finding:
        """Without the assumption."""
        return self._runs(self.unsafe or self.protocol, self.faults, self.options, self.workload)

    def control(self, attacked: Finding) -> Finding:
        """With it, and the same load and seeds."""
        workload = {**self.workload, **self.control_workload}
        return self._runs(self.protocol, self.control_faults, self.control_options, workload)

    def _runs(
        self, protocol: str, faults: tuple[str, ...], options: dict[str, Any], workload: dict[str, Any]
    ) -> Finding:
        return _together([self._run(protocol, faults, options, workload, seed) for seed in self.seeds])

    def _run(
        self, protocol: str, faults: tuple[str, ...], options: dict[str, Any], workload: dict[str, Any], seed: int
    ) -> Finding:
        scenario = make_scenario_of(
            Scenario,
            {
                "protocols": [f"attacked={protocol}"],
                "sites": list(self.sites),
                "leader": self.leader,
                "workload": {**LOAD, **workload},
                "duration": self.duration_s,
                "client_timeout_ms": 2_000.0,
                "options": {"attacked": options} if options else {},
                "seeds": [seed],
            },
            "",
        )
        setup = prepare(scenario)
        settings = run_settings(
            setup, setup.contestants[0], seed, scenario.workload, scenario.duration, scenario.warmup
        )
        struck = msgspec.structs.replace(settings, faults=parse_faults(list(faults)))
        world = World(struck)
        result, table = judged(f"{self.protocol}-{seed}", world, lambda: False)
        return self._judge(result, table, len(world.elections))

    def _judge(self, result: Result, table: Any, elections: int) -> Finding:
        violated = [check for check in result.checks if check.verdict == "violated"]
        if violated:
            return Finding(verdict=SAFETY, falls=violated[0].property, detail=violated[0].detail)
        answered = column(table, "answered_ns")
        served = answered[answered != NEVER]
        end_ns = round(self.duration_s * NS_PER_S)
        late = int(((served > end_ns - self.silence_s * NS_PER_S) & (served <= end_ns)).sum())
        unanswered = len(table) - len(served)
        undecided = [c for c in result.checks if c.verdict != "holds" and "answered" not in c.property]
        if late == 0:
            early, after = int((served <= end_ns).sum()), int((served > end_ns).sum())
            detail = f"no operation is answered in the last {self.silence_s:g} s of the load; {early} before, {after} "
            detail += "when it was over"
            return Finding(verdict=LIVENESS, falls="answers", detail=detail)
        if undecided:
            return Finding(verdict=UNDECIDED, detail=undecided[0].detail)
        but = f", {unanswered} without an answer in the end" if unanswered else ""
        detail = f"{len(table)} operations{but}, {late} answered in the last {self.silence_s:g} s of the load"
        return Finding(verdict=HOLDS, detail=f"{detail}; {elections} times a replica said that it leads")


def _together(findings: list[Finding]) -> Finding:
    """One verdict of several runs: safety falls if it falls in one, liveness if it is lost in all."""
    verdicts: list[Verdict] = [finding.verdict for finding in findings]
    for verdict in (SAFETY, UNDECIDED, LIVENESS, HOLDS):
        if verdict in verdicts:
            number = verdicts.count(verdict)
            first = findings[verdicts.index(verdict)]
            detail = f"with {number} of {len(findings)} seeds: {first.detail}"
            sure = verdict != LIVENESS or number == len(findings)
            return msgspec.structs.replace(first, verdict=verdict if sure else UNDECIDED, detail=detail)
    raise AssertionError("there are no runs")
