"""The kinds of fault: frozen values with a target, a trigger and a duration each. What they do is in the other files.

Times are texts ("10 s", "500 ms"). ``at``: when it begins, in simulated time. ``when``: it begins when that happens
("leader elected", "replica crashed", "replica restarted", "crash begins", "partition ends", ...; not before ``at``),
``after`` so long. ``every``: again and again, so far apart; ``times``: at most so often. ``duration``: until it is
over; without one it lasts to the end of the run.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from consensus_bench.simulation.faults.times import parse_ns


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """What all kinds share. ``target``: which replicas, sites or links (targets.py)."""

    target: str = ""
    at: str = ""
    when: str = ""
    after: str = ""
    every: str = ""
    times: int = 0
    duration: str = ""

    @property
    def kind(self) -> str:
        """The name of the kind, as in a scenario."""
        return str(self.__struct_config__.tag)

    def time_ns(self, name: str) -> int:
        """One of its times in ns; 0 where none is given."""
        text = getattr(self, name)
        return parse_ns(text, name) if text else 0


class ProcessFault(Fault, frozen=True, kw_only=True):
    """Its target is replicas, whose process it stops."""


class LinkFault(Fault, frozen=True, kw_only=True):
    """Its target is links."""


class MachineFault(Fault, frozen=True, kw_only=True):
    """Its target is replicas, whose machine it degrades."""


class Momentary(Fault, frozen=True, kw_only=True):
    """It happens in a moment and has no duration. Its target is replicas."""


class DiskFault(Momentary, frozen=True, kw_only=True):
    """Its target is replicas, whose disk it damages in a moment."""


class Crash(ProcessFault, frozen=True, kw_only=True, tag="crash"):
    """The process dies with its memory and every write that is not durable; it is started again when the fault ends.
    ``disk``: what it finds then ("lose": an empty disk, and it knows). ``clients``: those at its site die with it, and
    come back with it; what they had asked for is abandoned."""

    disk: Literal["keep", "lose"] = "keep"
    clients: bool = False


class TornCrash(ProcessFault, frozen=True, kw_only=True, tag="torn-crash"):
    """A crash in the middle of an fsync (the next one, if none runs): of the records under way some reached the disk
    although nobody knows, one is torn, the rest are lost."""


class Pause(ProcessFault, frozen=True, kw_only=True, tag="pause"):
    """The process is stopped and goes on (SIGSTOP, SIGCONT; a long collection of garbage; a moved virtual machine). It
    keeps its state; messages and timers wait. What was on its way out of it leaves when it goes on."""


class Partition(LinkFault, frozen=True, kw_only=True, tag="partition"):
    """Nothing passes. What arrives at a cut link is lost, so also what was under way when it was cut."""


class Flapping(LinkFault, frozen=True, kw_only=True, tag="flapping"):
    """A partition that comes and goes: cut for the first half of each ``period``, whole for the second."""

    period: str = "1 s"


class Swizzle(LinkFault, frozen=True, kw_only=True, tag="swizzle"):
    """Links between sites are cut one by one in the first half of its time and restored in another order in the second
    (FoundationDB's swizzle-clogging)."""


class SlowLink(LinkFault, frozen=True, kw_only=True, tag="slow-link"):
    """One-way delays times ``factor`` plus ``delay``."""

    delay: str = "100 ms"
    factor: float = 1.0


class LossyLink(LinkFault, frozen=True, kw_only=True, tag="lossy-link"):
    """Each message is lost with probability ``rate``."""

    rate: float = 0.1


class DuplicatingLink(LinkFault, frozen=True, kw_only=True, tag="duplicating-link"):
    """With probability ``rate`` a message arrives a second time, up to ``delay`` later."""

    rate: float = 0.1
    delay: str = "100 ms"


class ReorderingLink(LinkFault, frozen=True, kw_only=True, tag="reordering-link"):
    """With probability ``rate`` a message is held up, by up to ``delay``, and others overtake it."""

    rate: float = 0.1
    delay: str = "100 ms"


class SlowCpu(MachineFault, frozen=True, kw_only=True, tag="slow-cpu"):
    """The processor takes ``factor`` times as long for everything, and ``delay`` more for each message that arrives."""

    factor: float = 10.0
    delay: str = "0 s"


class StallingDisk(MachineFault, frozen=True, kw_only=True, tag="stalling-disk"):
    """No fsync begins before the fault is over; those that are planned already end in time."""


class SlowFsync(MachineFault, frozen=True, kw_only=True, tag="slow-fsync"):
    """Each fsync takes ``factor`` times as long, and ``delay`` more."""

    factor: float = 10.0
    delay: str = "0 s"


class FailingFsync(MachineFault, frozen=True, kw_only=True, tag="failing-fsync"):
    """The next fsync fails: the replica must stop, because what the failed one covered may be gone although a second
    fsync succeeds (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). It is started
    again when the fault ends."""


class LyingFsync(MachineFault, frozen=True, kw_only=True, tag="lying-fsync"):
    """Each fsync is reported as done and has written nothing; a crash before the fault ends loses all of it."""


class ClockSkew(MachineFault, frozen=True, kw_only=True, tag="clock-skew"):
    """The replica's clock is off by ``offset`` (ahead; negative: behind); at the end it is set right. Timers run as
    before: they do not follow the time of day."""

    offset: str = "500 ms"


class ClockDrift(MachineFault, frozen=True, kw_only=True, tag="clock-drift"):
    """The replica's clock runs fast by so many millionths (negative: slow), and its timers with it; at the end it is
    set right."""

    ppm: float = 500.0


class CorruptRecord(DiskFault, frozen=True, kw_only=True, tag="corrupt-record"):
    """Durable records no longer match their checksums, which the replica notices when it starts again. ``which``: the
    newest ones, or any."""

    records: int = 1
    which: Literal["any", "newest"] = "any"


class MisdirectedWrite(DiskFault, frozen=True, kw_only=True, tag="misdirected-write"):
    """The next record is written over another one, which is corrupt from then on. Its own place is found to be corrupt
    too; without ``detected`` it keeps what it held before, and nothing shows that something is missing."""

    detected: bool = True


class HandOver(Momentary, frozen=True, kw_only=True, tag="hand-over"):
    """No fault but an operator's order: the leader is asked to give its office to the replica at ``to`` (none: the
    nearest other one). A protocol that knows no hand-over is not struck."""

    to: str = ""


class ChangeMembers(Momentary, frozen=True, kw_only=True, tag="change-members"):
    """No fault but an operator's order: the leader is asked to make the replicas at these sites (joined by ``+``) the
    members. A protocol whose members cannot change is not struck."""

    members: str = ""

    def sites(self) -> tuple[str, ...]:
        """The sites that are named."""
        return tuple(site.strip() for site in self.members.split("+") if site.strip())


AnyFault: TypeAlias = (
    Crash | TornCrash | Pause
    | Partition | Flapping | Swizzle | SlowLink | LossyLink | DuplicatingLink | ReorderingLink
    | SlowCpu | StallingDisk | SlowFsync | FailingFsync | LyingFsync | ClockSkew | ClockDrift
    | CorruptRecord | MisdirectedWrite | HandOver | ChangeMembers
)  # fmt: skip
"""Any kind of fault, told apart by the key ``kind``."""
KINDS: Final[dict[str, type[Fault]]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFault)}
"""The kinds by name."""
