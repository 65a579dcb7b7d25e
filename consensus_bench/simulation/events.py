"""Slim SimPy events: one object, one callback, no process, no store, no resource.

SimPy asks an event for nothing but ``callbacks`` and ``_ok`` (4.1; tests/simulation holds it to that), and so does
clock.py. A message that travels is one such event; waiting at a processor, a network card or a disk is arithmetic.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

NORMAL: Final = 1


class Life(msgspec.Struct, gc=False):
    """A sender from one start to the next crash. What leaves after ``died_ns`` never arrives."""

    me: int
    died_ns: int = 1 << 62


class Delivery(msgspec.Struct, gc=False):
    """A message arrives. ``sender`` is a ``Life``."""

    callbacks: Any
    sender: Any
    leave_ns: int
    arrive_ns: int
    message: Any
    _ok: ClassVar[bool] = True


class Answer(msgspec.Struct, gc=False):
    """A result on its way to the client, with what the answering replica knows of the command's times."""

    callbacks: Any
    sender: Any
    leave_ns: int
    arrive_ns: int
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
