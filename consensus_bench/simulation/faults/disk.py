"""A disk that can stall, be slow, fail, lie, tear, rot and write in the wrong place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from random import Random
from typing import Final

from consensus_bench.contract import CORRUPT, LOST
from consensus_bench.contract.context import PERSIST, Effect
from consensus_bench.simulation.disk import Disk

NEVER_NS: Final = 1 << 60


class FaultyDisk(Disk):
    """A ``Disk`` that keeps its contents. It knows which record each value is from, because a checksum covers a record:
    all of its values are read, or none."""

    __slots__ = ("_astray", "_astray_detected", "_draw", "_origins", "_records", "failing", "lying", "slowdowns",
                 "stalled_until_ns", "watcher")  # fmt: skip

    def __init__(self, sample: Callable[[], int]) -> None:
        super().__init__(sample, keep=True)
        self.stalled_until_ns = 0
        self.slowdowns: list[tuple[float, int]] = []
        """(factor, ns more) of each fault that slows the fsyncs down."""
        self.failing: Callable[[int], None] | None = None
        """Where it is set, fsyncs fail, and it is told when the first one does (ns)."""
        self.lying = False
        self.watcher: Callable[[int, int], None] | None = None
        """Told once when the next fsync is planned: from when to when (ns)."""
        self._records = 0
        self._origins: dict[Hashable, int] = {}  # key -> number of the record that its value is from
        self._astray: list[Effect] | None = None
        self._astray_detected: bool | None = None  # the next record goes astray
        self._draw = Random(0)

    def write(self, now_ns: int, at_ns: int, record: list[Effect]) -> int:
        if self.failing is not None:
            return self._fail(at_ns)
        if self._astray_detected is not None and self._astray is None:
            self._astray = record
        fsyncs = self.fsyncs
        stalled = self.stalled_until_ns
        end = super().write(now_ns, stalled if self._starts_ns < stalled and at_ns < stalled else at_ns, record)
        if self.slowdowns and self.fsyncs > fsyncs:
            end = self._slow_down()
        if self.lying:
            self._pending[-1] = (NEVER_NS, record)
        if self.watcher is not None:
            watcher, self.watcher = self.watcher, None
            watcher(self._starts_ns, end)
        return end

    def _slow_down(self) -> int:
        """The fsync that was just planned takes longer."""
        duration = planned = self.durable_ns - self._starts_ns
        for factor, more in self.slowdowns:
            duration = round(duration * factor) + more
        self.busy_ns += duration - planned
        self.durable_ns += duration - planned
        _, record = self._pending.pop()
        self._pending.append((self.durable_ns, record))
        return self.durable_ns

    def _fail(self, at_ns: int) -> int:
        """The fsync ends in an error: what it covered is never known to be durable."""
        if self.durable_ns < NEVER_NS and self.failing is not None:
            self.fsyncs += 1
            self.failing(max(at_ns, self.durable_ns) + self.sample())
        self._starts_ns = self.durable_ns = NEVER_NS
        return NEVER_NS

    def tell_the_truth(self, now_ns: int) -> None:
        """The lie ends: everything is written now."""
        self.lying = False
        self._pending = deque((now_ns if end == NEVER_NS else end, record) for end, record in self._pending)

    # What reaches the disk.

    def _settle(self, now_ns: int) -> None:
        pending = self._pending
        while pending and pending[0][0] <= now_ns:
            self._apply(pending.popleft()[1])

    def _apply(self, record: list[Effect]) -> None:
        contents, origins = self._contents, self._origins
        self._records += 1
        astray = record is self._astray
        for tag, key, value in record:
            if tag != PERSIST:
                contents.pop(key, None)
                origins.pop(key, None)
            elif not astray:
                contents[key] = value
                origins[key] = self._records
            elif self._astray_detected:
                contents[key] = CORRUPT
                origins[key] = self._records
        if astray:
            others = [number for number in origins.values() if number != self._records]
            self._spoil(self._draw.choice(others) if others else 0)
            self._astray, self._astray_detected = None, None

    def _spoil(self, record: int) -> None:
        for key, origin in self._origins.items():
            if origin == record:
                self._contents[key] = CORRUPT

    def rot(self, now_ns: int, records: int, newest: bool, draw: Random) -> int:
        """So many of the durable records no longer match their checksums; how many there were."""
        self._settle(now_ns)
        contents = self._contents
        readable = sorted({number for key, number in self._origins.items() if contents[key] is not CORRUPT})
        chosen = readable[-records:] if newest else draw.sample(readable, min(records, len(readable)))
        for record in chosen:
            self._spoil(record)
        return len(chosen)

    def misdirect(self, detected: bool, draw: Random) -> None:
        """The next record is written over another."""
        self._astray_detected, self._draw = detected, draw

    # Crashes.

    def under_way(self, now_ns: int) -> int:
        """Records that were written and are not durable."""
        self._settle(now_ns)
        return len(self._pending)

    def tear(self, now_ns: int, draw: Random) -> None:
        """Of the records under way some reach the disk; the next is torn, which its checksum shows, and cut off."""
        for _ in range(draw.randint(0, self.under_way(now_ns))):
            self._apply(self._pending.popleft()[1])

    def crash(self, now_ns: int) -> None:
        super().crash(now_ns)
        self._astray = None
        self.watcher = None

    def lose(self) -> None:
        """Everything is gone, and the replica will know."""
        self._contents.clear()
        self._origins.clear()
        self._contents[LOST] = True
