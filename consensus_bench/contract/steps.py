"""One step of a replica as data: an input in, effects out. Used by tests, traces and the drivers without SimPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from consensus_bench.contract.context import Context, Effect
from consensus_bench.contract.replica import Replica
from consensus_bench.contract.values import Command, Message, ReplicaId, TimerName


class Start(msgspec.Struct, frozen=True):
    """First boot."""


class Request(msgspec.Struct, frozen=True):
    """A client's command arrives."""

    command: Command


class Deliver(msgspec.Struct, frozen=True):
    """A message from ``source`` arrives."""

    source: ReplicaId
    message: Message


class Timer(msgspec.Struct, frozen=True):
    """The timer ``name`` fires."""

    name: TimerName


class Recover(msgspec.Struct, frozen=True):
    """The process starts again with what is on ``disk`` (the replica must be freshly made)."""

    disk: Mapping[Any, Any]


Input: TypeAlias = Start | Request | Deliver | Timer | Recover


def step(replica: Replica, event: Input, clock_ns: int = 0) -> list[Effect]:
    """Feed one input to ``replica`` (which changes in place); returns the effects in order.

    A message of a type that the protocol does not know is ignored, as a server ignores a frame it cannot read.
    """
    ctx = Context()
    ctx.clock_ns = clock_ns
    match event:
        case Deliver(source, message):
            handler = replica.handlers.get(type(message))
            if handler is not None:
                getattr(replica, handler)(ctx, source, message)
        case Request(command):
            replica.on_request(ctx, command)
        case Timer(name):
            replica.on_timer(ctx, name)
        case Start():
            replica.on_start(ctx)
        case Recover(disk):
            replica.recover(ctx, disk)
    return ctx.effects
