"""One replica's stable storage: a write-ahead log with group commit, as arithmetic, and what survives a crash."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from consensus_bench.contract.context import PERSIST, Effect


class Disk:
    """Writes that arrive while an fsync runs wait for it and share the next one (group commit).

    ``durable_ns`` is when the newest write is safe, and never falls: what waits for it waits for every write before.
    With ``keep`` the contents are kept, so that a crashed replica can be restarted from them.
    """

    __slots__ = ("_contents", "_pending", "_starts_ns", "busy_ns", "durable_ns", "fsyncs", "keep", "sample")

    def __init__(self, sample: Callable[[], int], keep: bool) -> None:
        self.sample = sample
        self.keep = keep
        self.durable_ns = 0  # when the last planned fsync ends
        self._starts_ns = 0  # when it begins, which may be later than now: what comes before shares it
        self.fsyncs = 0
        self.busy_ns = 0
        self._pending: deque[tuple[int, list[Effect]]] = deque()
        self._contents: dict[Hashable, Any] = {}

    def write(self, now_ns: int, at_ns: int, record: list[Effect]) -> int:
        """Issue one handler's ``record`` at ``at_ns`` (not before now, nor an earlier one); returns when it is durable.
        The caller may go on to fill the record until it returns from the handler."""
        end = self.durable_ns
        if self._starts_ns <= at_ns:  # otherwise the planned fsync has not begun: the record shares it
            start = end if end > at_ns else at_ns
            duration = self.sample()
            self.fsyncs += 1
            self.busy_ns += duration
            self._starts_ns = start
            self.durable_ns = end = start + duration
        if self.keep:
            if len(self._pending) >= 4096:  # without the new record, which the caller has yet to fill
                self._settle(now_ns)
            self._pending.append((end, record))
        return end

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
        self._starts_ns = self.durable_ns = now_ns

    def contents(self) -> Mapping[Hashable, Any]:
        """What a restarted replica finds (after ``crash``)."""
        return dict(self._contents)
