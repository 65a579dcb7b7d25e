"""What a machine costs: named data, each with its source. The profile is stated in every report."""

from __future__ import annotations

from typing import Final

import msgspec

from consensus_bench.contract import ConfigError


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Costs of one machine (one processor serves its messages in order of arrival).

    ``receive_us``/``send_us``: processor time of one message in or out (a broadcast to k replicas is k sends).
    ``execute_us``: processor time to apply one command. ``bandwidth_mbps``: network card, outgoing (0: unlimited).
    ``fsync_ms``/``fsync_cv``: mean and coefficient of variation of one log-normal fsync (0: instantaneous); writes that
    arrive during an fsync share the next one (group commit).
    """

    name: str
    source: str
    receive_us: float = 0.0
    send_us: float = 0.0
    execute_us: float = 0.0
    bandwidth_mbps: float = 0.0
    fsync_ms: float = 0.0
    fsync_cv: float = 0.0


_PROFILES: Final = (
    Profile(
        name="zero",
        source="no processor, network card or disk cost: for comparison with closed forms",
    ),
    Profile(
        name="m5-large",
        source="processor and network card: the parameters of the Paxi authors' model (repository acharapko/ppm, "
        "paxos_defaults.py: deserialise 25 us, serialise 1 us, 980 Mb/s), fitted by them to m5.large machines; "
        "fsync: log-normal with mean 1 ms and CV 0.5, within the etcd v3.5 documentation's figures for an SSD "
        "(fdatasync about 1 ms, 99th percentile below 10 ms)",
        receive_us=25.0,
        send_us=1.0,
        bandwidth_mbps=980.0,
        fsync_ms=1.0,
        fsync_cv=0.5,
    ),
    Profile(
        name="sosp13-large",
        source="EPaxos (SOSP 2013) Fig. 5, EC2 large, 16-byte commands: 2.97 us a message and 7.1 us an executed "
        "command, least squares on the two Multi-Paxos bars alone; no disk in that experiment; 1 Gb/s assumed",
        receive_us=2.97,
        send_us=2.97,
        execute_us=7.1,
        bandwidth_mbps=1000.0,
    ),
)


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return [profile.name for profile in _PROFILES]


def find_profile(name: str) -> Profile:
    """The shipped profile of that name; ``ConfigError`` if there is none."""
    for profile in _PROFILES:
        if profile.name == name:
            return profile
    raise ConfigError(f"profile '{name}' is unknown: choose from {', '.join(profile_names())}")
