"""Where a command writes: refused before anything is computed, if it cannot be written."""

from __future__ import annotations

from pathlib import Path

from consensus_bench.contract.errors import ConfigError


def make_folder(flag: str, folder: Path) -> None:
    """Make ``folder``, which was given with ``flag``; ``ConfigError`` if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag}: {folder} cannot be made: {error.strerror}") from error
