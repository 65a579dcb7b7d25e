"""What a restarted replica may find wrong with its disk: a record that cannot be read, or nothing at all.

The model is that of Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018): every record
carries a checksum and its place, so that the driver tells a record that is damaged from one that was never written.

- A record whose write was under way when the power failed, and which is torn, was never acknowledged: the driver cuts
  it off, and ``recover`` does not see it.
- A record that had been acknowledged and does not match its checksum now is there all the same: its keys are in
  ``disk`` and their values are ``CORRUPT``. To treat it as never written forgets a promise or a vote.
- A disk that was lost holds one key, ``LOST``. A replica that begins anew on it as if it had never voted lets a quorum
  forget; so it stays out of quorums until the others have told it what it may have promised.

Both stay on the disk, over further crashes, until the replica writes the key again or forgets it.
"""

from __future__ import annotations

from typing import Final, Self

import msgspec


class Corrupt(msgspec.Struct, frozen=True):
    """The type of ``CORRUPT``."""

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> str:
        return "CORRUPT"  # a copy from another process is the same object


class Lost(msgspec.Struct, frozen=True):
    """The type of ``LOST``."""

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> str:
        return "LOST"


CORRUPT: Final = Corrupt()
"""Found in place of a value whose record does not match its checksum: ``disk[key] is CORRUPT``."""
LOST: Final = Lost()
"""A key: ``LOST in disk`` when everything that was written before is gone. ``ctx.forget(LOST)`` when that no longer
matters."""
