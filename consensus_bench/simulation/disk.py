"""One replica's stable storage: a write-ahead log with group commit, as arithmetic, and what survives a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from consensus_bench.contract.context import FORGET, PERSIST, Effect


class Disk:
    """Writes that arrive while an fsync runs wait for it and share the next one (group commit).

    ``durable_ns`` is when the newest write is safe, and never falls: what waits for it waits for every write before.
    With ``keep`` the contents are kept, so that a crashed replica can be restarted from them.
    """

    __slots__ = (
        "_contents",
        "_current_end",
        "_next_end",
        "_pending",
        "busy_ns",
        "durable_ns",
        "fsyncs",
        "keep",
        "sample",
    )

    def __init__(self, sample: Callable[[], int], keep: bool) -> None:
        self.sample = sample
        self.keep = keep
        self.durable_ns = 0
        self.fsyncs = 0
        self.busy_ns = 0
        self._current_end = 0  # when the running (or last) fsync ends
        self._next_end = 0  # when the one after it ends, if a write waits for that one
        self._pending: deque[tuple[int, list[Effect]]] = deque()
        self._contents: dict[Hashable, Any] = {}

    def write(self, now_ns: int, at_ns: int, effects: list[Effect]) -> int:
        """Issue one handler's record at ``at_ns`` (not before now, nor an earlier one); returns when it is durable."""
        if at_ns >= self._current_end and self._next_end > self._current_end:
            self._current_end = self._next_end
        if at_ns >= self._current_end:
            self._current_end = durable = at_ns + self._fsync()
            self._next_end = 0
        else:
            if self._next_end <= self._current_end:
                self._next_end = self._current_end + self._fsync()
            durable = self._next_end
        self.durable_ns = durable
        if self.keep:
            self._pending.append((durable, [e for e in effects if e[0] == PERSIST or e[0] == FORGET]))
            if len(self._pending) >= 4096:
                self._settle(now_ns)
        return durable

    def _fsync(self) -> int:
        duration = self.sample()
        self.fsyncs += 1
        self.busy_ns += duration
        return duration

    def _settle(self, now_ns: int) -> None:
        pending, contents = self._pending, self._contents
        while pending and pending[0][0] <= now_ns:
            for tag, key, value in pending.popleft()[1]:
                if tag == PERSIST:
                    contents[key] = value
                else:
                    contents.pop(key, None)

    def crash(self, now_ns: int) -> None:
        """Power lost: records that are not durable are gone; the disk is idle when it comes back."""
        self._settle(now_ns)
        self._pending.clear()
        self._current_end = self._next_end = self.durable_ns = now_ns

    def contents(self) -> Mapping[Hashable, Any]:
        """What a restarted replica finds (after ``crash``)."""
        return dict(self._contents)
