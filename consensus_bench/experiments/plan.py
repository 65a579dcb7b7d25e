"""The list of runs of a comparison: protocol x seed x purpose, each one a picklable ``Settings`` with a key."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract.values import FRAME_BYTES
from consensus_bench.experiments.scenario import AUTO_CONFLICTS
from consensus_bench.experiments.setup import Contestant, Setup
from consensus_bench.simulation.profiles import Profile
from consensus_bench.simulation.workload import Workload
from consensus_bench.simulation.world import Settings

Purpose: TypeAlias = Literal["main", "load", "conflict"]

AUTO_LOADS: Final = (0.1, 0.3, 0.6, 0.8, 0.95, 1.15, 1.6, 2.2)
"""Offered load of the sweep's levels, as a share of what one leader can do (``leader_capacity``)."""
TYPICAL_LATENCY_S: Final = 0.15


class Run(msgspec.Struct, frozen=True):
    """One run. ``level``: offered operations per second (load) or per cent on the hot key (conflict).
    ``weight``: about how many operations it simulates, for the progress bar and the order of work."""

    key: str
    purpose: Purpose
    protocol: str
    seed: int
    level: float | None
    settings: Settings
    weight: float

    @property
    def urgent(self) -> bool:
        """The main runs are the answer, the sweeps its context."""
        return self.purpose == "main"


def leader_capacity(profile: Profile, replicas: int, size: int) -> float | None:
    """Operations per second that saturate a leader which sees each request and each follower's reply (None: nothing
    does). Per operation it receives 1 + (n - 1) messages and sends (n - 1) + 1, the answer; without batching."""
    cpu_us = replicas * (profile.receive_us + profile.send_us) + profile.execute_us
    card_us = 0.0
    if profile.bandwidth_mbps:
        card_us = (replicas - 1) * 8 * (FRAME_BYTES + 50 + size) / profile.bandwidth_mbps
    busiest = max(cpu_us, card_us)
    return 1e6 / busiest if busiest > 0 else None


def load_levels(setup: Setup) -> list[float]:
    """The levels of the load sweep; empty where there is none."""
    rates = setup.scenario.load_rates
    if rates != "auto":
        return list(rates)
    capacity = leader_capacity(setup.profile, len(setup.sites), setup.scenario.workload.size)
    if capacity is None:
        return []
    return [_two_digits(capacity * share) for share in AUTO_LOADS]


def conflict_levels(setup: Setup) -> list[float]:
    """The levels of the conflict sweep; empty where there is none."""
    levels = setup.scenario.conflict_levels
    if levels != "auto":
        return list(levels)
    return list(AUTO_CONFLICTS) if setup.scenario.workload.keys == "conflict" else []


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def plan(setup: Setup) -> list[Run]:
    """All runs, the main ones first: an interruption then costs the sweeps, not the answer."""
    s = setup.scenario
    runs = [_run(setup, "main", who, seed, None) for seed in s.seeds for who in range(len(setup.contestants))]
    sweeps: tuple[tuple[Purpose, list[float]], ...] = (
        ("load", load_levels(setup)),
        ("conflict", conflict_levels(setup)),
    )
    return runs + [
        _run(setup, purpose, who, seed, level)
        for purpose, levels in sweeps
        for level in levels
        for seed in s.seeds[: s.sweep_seeds]
        for who in range(len(setup.contestants))
    ]


def run_settings(
    setup: Setup, contestant: Contestant, seed: int, workload: Workload, duration_s: float, warmup_s: float
) -> Settings:
    """A run of the scenario without its faults."""
    return Settings(
        protocol=contestant.spec,
        geography=setup.geography,
        workload=workload,
        profile=setup.profile,
        seed=seed,
        options=contestant.options,
        jitter=setup.jitter,
        first_leader=setup.first_leader,
        duration_s=duration_s,
        warmup_s=warmup_s,
        client_timeout_ms=setup.scenario.client_timeout_ms,
    )


def _run(setup: Setup, purpose: Purpose, who: int, seed: int, level: float | None) -> Run:
    s, contestant = setup.scenario, setup.contestants[who]
    workload, duration, warmup = s.workload, s.duration, s.warmup
    if purpose == "load":
        assert level is not None
        workload = msgspec.structs.replace(workload, rate=level)
        duration, warmup = s.load_duration, s.sweep_warmup
    elif purpose == "conflict":
        assert level is not None
        workload = msgspec.structs.replace(workload, conflict=level, rate=0.0)
        duration, warmup = s.conflict_duration, s.sweep_warmup
    settings = run_settings(setup, contestant, seed, workload, duration, warmup)
    if purpose == "main":
        settings = msgspec.structs.replace(settings, faults=s.faults, nemesis=s.nemesis)
    rate = workload.rate or len(setup.client_sites) * workload.clients / TYPICAL_LATENCY_S
    name = "" if level is None else f"-{level:g}"
    key = f"{purpose}{name}-{contestant.label}-seed{seed}"
    return Run(key, purpose, contestant.label, seed, level, settings, rate * duration)
