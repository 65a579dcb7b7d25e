"""The verdict of one checker on one property."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["holds", "violated", "not decided"]


class Check(msgspec.Struct, frozen=True):
    """What was checked and how it ended. ``checked`` counts the facts compared (commits, executions, operations).

    "not decided" means that the checker gave up within its budget: it is never a pass.
    """

    property: str
    verdict: Verdict
    checked: int
    detail: str = ""
