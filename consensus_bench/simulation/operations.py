"""A row per client operation, kept as one flat block of 64-bit integers (112 bytes an operation)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS: Final = (
    "site", "client", "sequence", "key", "kind", "due_ns", "sent_ns", "committed_ns", "executed_ns", "answered_ns",
    "path", "attempts", "value", "result",
)  # fmt: skip
_ROW: Final = Struct(f"={len(COLUMNS)}q")
NEVER: Final = -1
"""In time columns, ``value`` and ``result``: there is none."""
KINDS: Final = ("get", "put", "swap")
KIND_CODES: Final = {kind: code for code, kind in enumerate(KINDS)}
PATHS: Final = ("", "fast", "slow")


class Operations:
    """Append-only. ``column(name)`` gives a NumPy view in the order of completion; unanswered ones come last."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows = bytearray()

    def add(self, row: Iterable[int]) -> None:
        """Integers in the order of ``COLUMNS``."""
        self._rows += _ROW.pack(*row)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def table(self) -> NDArray[np.int64]:
        """All rows, shape (operations, columns)."""
        import numpy as np

        return np.frombuffer(self._rows, dtype=np.int64).reshape(-1, len(COLUMNS))

    def column(self, name: str) -> NDArray[np.int64]:
        """One column, shape (operations,)."""
        return self.table()[:, COLUMNS.index(name)]
