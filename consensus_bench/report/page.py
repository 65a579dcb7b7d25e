"""What a page is made of: sections of paragraphs, tables and figures."""

from __future__ import annotations

import math

import msgspec


class Table(msgspec.Struct, frozen=True):
    """``caption`` says what the means are over. The first ``texts`` columns are text, the others numbers."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    texts: int = 1


class Section(msgspec.Struct):
    """``figures``: names in ``figures.FIGURES`` with a caption each."""

    key: str
    title: str
    text: list[str] = []
    tables: list[Table] = []
    figures: list[tuple[str, str]] = []


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; nothing for what is missing."""
    return "" if value is None or math.isnan(value) else f"{value:,.{digits}f}"
