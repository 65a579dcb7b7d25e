"""What liveness is asked of each protocol: the goal, the timers, and where its rounds, terms and ballots stand.

A protocol that only compares rounds, and adds one to the highest it knows, behaves alike in a state and in the same
state with all rounds raised. To see that two states are equal up to that, one must know which numbers are rounds. That
is declared here, by the names of fields, for replicas and messages alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from consensus_bench.contract import Command, ConfigError
from consensus_bench.contract.state import State


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One protocol as a subject of liveness."""

    goal: Literal["chosen", "elected"]
    """What may never happen: a value is chosen (an acceptor's ``accepted_ballot`` says what it accepted last), or a
    replica notes that it leads."""
    rounds: tuple[str, ...] = ()
    """Fields that hold a round or term; 0 is none."""
    ballots: tuple[str, ...] = ()
    """Fields that hold a ballot (round, replica); round 0 is none."""
    timer: str
    """Which fires, at the replicas that are to act."""
    time_out: str
    """The option that is its usual duration, which exceeds a round trip."""
    ballot: str = ""
    """The field of replicas that holds the ballot of their attempt, where a time-out waits for the messages of that and
    for Nacks alone: a coarser rule than "two delays", with fewer states and more executions."""
    asked: bool = False
    """Whether the replicas that are to act are asked by a client each; else all replicas just start."""
    settings: dict[str, Any] = {}
    """Options that differ from the defaults, unless the user says otherwise."""


SUBJECTS: Final = {
    "basic-paxos": Subject(
        goal="chosen",
        rounds=("round", "highest"),
        ballots=("ballot", "accepted_ballot", "promised"),
        timer="retry",
        time_out="retry_ms",
        ballot="ballot",
        asked=True,
    ),
    "multi-paxos": Subject(
        goal="elected",
        ballots=("ballot", "promised", "waives"),
        timer="election",
        time_out="election_timeout_ms",
    ),
    "raft": Subject(
        goal="elected",
        rounds=("term", "current_term", "last_log_term"),
        timer="election",
        time_out="election_timeout_ms",
        settings={"pre_vote": False, "check_quorum": False},
    ),
}


def subject_of(name: str) -> Subject:
    """What is asked of the protocol of that name; ``ConfigError`` if nothing is."""
    if name not in SUBJECTS:
        known = ", ".join(sorted(SUBJECTS))
        raise ConfigError(f"liveness {name}: its states are not known to be equal up to rounds; choose from {known}")
    return SUBJECTS[name]


def rounds_in(subject: Subject, value: Any, name: str = "") -> Iterator[int]:
    """All rounds in ``value``, which stands in a field of that name, but those that mean none."""
    if isinstance(value, Command):
        return
    if name in subject.rounds or name in subject.ballots:
        round_ = value[0] if name in subject.ballots else value
        if round_:
            yield round_
    elif isinstance(value, State):
        for field in value._slots:
            yield from rounds_in(subject, getattr(value, field), field)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from rounds_in(subject, getattr(value, field), field)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from rounds_in(subject, part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from rounds_in(subject, part)


def raised(subject: Subject, value: Any, by: int, name: str = "") -> Any:
    """``value`` with every round raised by so much (lowered, if negative), but those that mean none."""
    if isinstance(value, Command):
        return value
    if name in subject.rounds:
        return value and value + by
    if name in subject.ballots:
        return (value[0] and value[0] + by, value[1])
    if isinstance(value, State):
        twin = value.clone()
        for field in twin._slots:
            setattr(twin, field, raised(subject, getattr(twin, field), by, field))
        return twin
    if isinstance(value, msgspec.Struct):
        fields = {field: raised(subject, getattr(value, field), by, field) for field in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, Mapping):
        return {key: raised(subject, part, by) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(raised(subject, part, by) for part in value)
    return value
