"""EPaxos without one of its rules. Each docstring names the rule that is removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus_bench.attacks.rules.retries import NoSessions
from consensus_bench.contract import CORRUPT, Cluster, Command, Context
from protocols.dependency_graph import Dependencies, DependencyGraph, InstanceId
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import EPaxosOptions, Leading


class UnsafePreAcceptanceNotOnDisk(EPaxos):
    """A pre-acceptance is on disk before the reply leaves."""

    __slots__ = ()

    def _save_pre_accepted(self, ctx: Context, instance_id: InstanceId, record: Any) -> None:
        """Nothing is written."""


class UnsafeFastPath(EPaxos):
    """The fast path needs every reply of the fast quorum to be the same."""

    __slots__ = ()

    def _agrees(self, leading: Leading, source: int, deps: Dependencies, seq: int) -> bool:
        return True


class _SlotOrderGraph(DependencyGraph):
    __slots__ = ()

    def _is_free(self, command: Command, deps: Dependencies) -> bool:
        return True


class UnsafeExecutedAsCommitted(EPaxos):
    """Dependencies are executed first."""

    __slots__ = ()
    graph_type = _SlotOrderGraph


class _ArrivalOrderGraph(DependencyGraph):
    __slots__ = ()

    def _ordered(self, component: list[InstanceId]) -> list[InstanceId]:
        return component


class UnsafeArrivalOrder(EPaxos):
    """Inside a cycle of dependencies the order is total on replicated data."""

    __slots__ = ()
    graph_type = _ArrivalOrderGraph


class UnsafeRetriesExecuted(EPaxos):
    """A command that was asked of two replicas is executed once."""

    __slots__ = ()

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.sessions = NoSessions()


class UnsafeNeverWritten(EPaxos):
    """An acknowledged record that cannot be read is not taken for one that was never written."""

    __slots__ = ()

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> dict[InstanceId, Any]:
        return super()._readable(ctx, {key: value for key, value in disk.items() if value is not CORRUPT})
