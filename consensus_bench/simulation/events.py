"""Slim SimPy events: one object, one callback, no process, no store, no resource.

``Environment.step`` asks an event for nothing but ``callbacks`` and ``_ok`` (SimPy 4.1; tests/simulation holds it to
that). A message that travels is one such event; waiting at a processor, a network card or a disk is arithmetic.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

NORMAL: Final = 1


class Delivery(msgspec.Struct, gc=False):
    """A message arrives. ``sender`` has an ``epoch`` (the number of its crashes) and a list ``crashes`` of their times:
    what had not left when its sender died never arrives."""

    callbacks: Any
    sender: Any
    epoch: int
    leave_ns: int
    message: Any
    _ok: ClassVar[bool] = True


class Answer(msgspec.Struct, gc=False):
    """A result on its way to the client, with what the answering replica knows of the command's times."""

    callbacks: Any
    sender: Any
    epoch: int
    leave_ns: int
    command: Any
    result: int | None
    committed_ns: int
    executed_ns: int
    _ok: ClassVar[bool] = True


class Alarm(msgspec.Struct, gc=False):
    """Something is due: ``what`` says what to the callback."""

    callbacks: Any
    what: Any = None
    _ok: ClassVar[bool] = True


def lost_in_crash(event: Delivery | Answer) -> bool:
    """Whether the sender died before ``event`` left it (asked only where the sender has crashed since)."""
    crashed_at: int = event.sender.crashes[event.epoch]
    return event.leave_ns > crashed_at
