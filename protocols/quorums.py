"""Sizes of quorums, and the rule that they intersect."""

from __future__ import annotations

from consensus_bench.contract import ConfigError


def majority(size: int) -> int:
    """The smallest number of replicas any two sets of which share one."""
    return size // 2 + 1


def fast_quorum(size: int) -> int:
    """EPaxos' optimised fast quorum, the command leader counted: F + floor((F + 1) / 2) (SOSP'13 section 4.4)."""
    f = size // 2
    return f + (f + 1) // 2


def require_intersection(first: int, second: int, size: int, unsafe: bool) -> None:
    """Refuse phase-1 and phase-2 quorums that may miss each other (Flexible Paxos, Howard et al. 2016)."""
    for label, quorum in (("phase-1", first), ("phase-2", second)):
        if not 1 <= quorum <= size:
            raise ConfigError(f"{label} quorum of {quorum} cannot be formed from {size} replicas: choose 1 to {size}")
    if first + second <= size and not unsafe:
        raise ConfigError(
            f"quorums of {first} (phase 1) and {second} (phase 2) need not intersect among {size} replicas: "
            f"their sum must exceed {size} (or set unsafe_quorums = true)"
        )
