"""Errors, split by whom to blame."""

from __future__ import annotations


class ConfigError(ValueError):
    """The user asked for something that cannot be: one line that names the thing, the place and the remedy."""


class ProtocolBug(AssertionError):
    """A protocol broke its own contract with the harness (not a guarantee to clients)."""


class PropertyViolated(Exception):
    """A guarantee was violated in a run. ``name`` is the property, the text says where and between whom."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail
