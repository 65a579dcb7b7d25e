"""An execution as a file: what each replica was given, what it did, what its disk holds then.

A trace is written by the explorer, replayed by it and by the simulator, and drawn as a space-time diagram. It is JSON
(``write_trace``, ``read_trace``); everything needed to run it again is in it, and everything that can be computed from
that (effects, disk contents) is there too, so that a reader needs no protocol code and a replay can compare.

A step is one call of one handler of one replica, in the order in which they happen. Times there are none, but what
the replica's own clock shows in the step (``clock_ns``; the explorer's clocks stand still).

- *start*, *restart*: the process begins with an empty disk, or with what the disk holds (``disk`` of its last step);
- *request*: the client's ``command`` arrives; *timer*: ``timer`` fires;
- *deliver*: the envelope number ``message`` arrives. An envelope may be delivered never (lost), once, or several times
  (duplicated), and after any number of later ones (reordered). ``own``: it is a message of the replica to itself, which
  arrives when its disk has caught up: here at once, right after the step that sent it;
- *order*: an operator's ``order`` arrives (hand over, change the members);
- *crash*: memory, timers and whatever is not durable are gone. ``damage`` of the restart after it says what the new
  process cannot read: everything, or the records of some keys.

``durable`` is false for the steps of a replica whose disk no longer keeps up: what such a step writes is lost in the
crash to come, and so is all that waits behind the disk barrier (sends, commits, answers). Only messages that do not
wait for the disk leave. ``disk`` then shows what is durable, not what was written.

Messages are data: ``kind`` is the class's name and ``fields`` its fields as JSON; ``Envelope.decode`` makes the message
again. Whatever is called ``text`` is for people and is not compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from consensus_bench.contract import LOST, ChangeMembers, Command, ConfigError, HandOver, Message, Replica
from consensus_bench.contract.storage import Lost

VERSION: Literal[1] = 1

StepKind: TypeAlias = Literal["start", "request", "deliver", "timer", "order", "crash", "restart"]

ORDERS: Final = (HandOver, ChangeMembers)
"""What an operator may ask of a replica."""

Damage: TypeAlias = Lost | tuple[Any, ...] | None
"""What a restarted replica cannot read: ``LOST``, all that was on its disk; or the records of some keys."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message on its way from ``source`` to ``to``, sent in step ``step``. ``number`` counts from 1 in the order of
    sending; a broadcast is one envelope for each receiver."""

    number: int
    step: int
    source: int
    to: int
    kind: str
    fields: dict[str, Any]
    text: str

    def decode(self, protocol: type[Replica]) -> Message:
        """The message; ``ConfigError`` if the protocol has no such message, or one with other fields."""
        return _message(f"message {self.number}", self.kind, self.fields, protocol)


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator asks of a replica, as a message."""

    kind: str
    fields: dict[str, Any]

    def decode(self, protocol: type[Replica]) -> Message:
        """The message; ``ConfigError`` as for an ``Envelope``, and if no operator says such a thing."""
        message = _message("an order", self.kind, self.fields, protocol)
        if not isinstance(message, ORDERS):
            raise ConfigError(f"an order: {self.kind} is none: it is {' or '.join(kind.__name__ for kind in ORDERS)}")
        return message


def _message(where: str, name: str, fields: dict[str, Any], protocol: type[Replica]) -> Message:
    for kind in protocol.messages:
        if kind.__name__ == name:
            try:
                return msgspec.convert(fields, kind)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{where}: {name} of {protocol.name}: {error}") from error
    known = ", ".join(sorted(kind.__name__ for kind in protocol.messages))
    raise ConfigError(f"{where}: {protocol.name} has no message {name}: it has {known}")


class Committed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``command`` is known to be chosen at ``place`` (an integer, or for EPaxos the pair of an instance)."""

    place: Any
    command: Command


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The client of ``command`` is told its ``result``."""

    command: Command
    result: int | None


class TraceStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: what happened (``kind`` to ``timer``), what the replica did, what its disk holds afterwards."""

    number: int
    """From 1, without gaps."""
    kind: StepKind
    replica: int
    text: str
    """The step in one sentence."""
    own: bool = False
    durable: bool = True
    command: Command | None = None
    message: int | None = None
    """The number of the envelope that is delivered."""
    timer: Any = None
    order: Order | None = None
    damage: Any = None
    """Of a restart: "lost" if nothing can be read, or the keys whose records cannot."""
    clock_ns: int = 0
    sent: tuple[int, ...] = ()
    """The numbers of the envelopes that leave in this step, those to the replica itself included."""
    written: tuple[str, ...] = ()
    """The records of this step, as ``key = value`` or ``key forgotten``; with ``durable`` false they are lost."""
    committed: tuple[Committed, ...] = ()
    executed: tuple[Command, ...] = ()
    answered: tuple[Answered, ...] = ()
    notes: tuple[str, ...] = ()
    disk: dict[str, str] = {}
    """What is on the disk after the step, in words: key to value."""
    timers: tuple[str, ...] = ()
    """The timers that are armed after the step, in words."""
    holds: str = ""
    """What the replica holds after the step, in words (``Replica.view``); empty while it is down."""


class Violation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``property`` does not hold after the last step; ``detail`` says what is wrong, between whom."""

    property: str
    detail: str


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole execution."""

    version: Literal[1] = VERSION
    protocol: str
    """A registered name or ``path/to/file.py:ClassName``."""
    options: dict[str, Any] = {}
    """The protocol's options that differ from the defaults."""
    replicas: int
    first_leader: int | None = None
    delay_ns: tuple[tuple[int, ...], ...] = ()
    """What the replicas take the distances between them to be (``Cluster``), if they know them."""
    commands: tuple[Command, ...] = ()
    """What clients may ask for; validity is judged by it."""
    violation: Violation | None = None
    """What is violated in the end; None: nothing."""
    length: int
    """Steps that are choices of the world: all but starts and messages of a replica to itself."""
    messages: tuple[Envelope, ...] = ()
    steps: tuple[TraceStep, ...]


def as_data(value: Any) -> Any:
    """``value`` (a message, a place, a timer's name) as JSON's types."""
    return msgspec.json.decode(msgspec.json.encode(value))


def from_data(value: Any) -> Any:
    """A place or a timer's name from JSON: lists are tuples."""
    return tuple(map(from_data, value)) if isinstance(value, list | tuple) else value


def damage_of(step: TraceStep) -> Damage:
    """What cannot be read when the replica restarts; ``TypeError`` if the trace does not say it as it should."""
    if step.damage is None:
        return None
    if step.damage == "lost":
        return LOST
    if not isinstance(step.damage, list | tuple):
        raise TypeError
    keys = tuple(map(from_data, step.damage))
    hash(keys)
    return keys


def write_trace(path: Path, trace: Trace) -> None:
    """Write ``trace`` as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(trace), indent=1) + b"\n")


def read_trace(path: Path) -> Trace:
    """The trace in ``path``; ``ConfigError`` if it is none, or contradicts itself."""
    try:
        trace = msgspec.json.decode(path.read_bytes(), type=Trace)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not a trace: {error}") from error
    _check(path, trace)
    return trace


def _check(path: Path, trace: Trace) -> None:
    """Numbers count from 1, replicas exist, what is delivered was sent before."""
    if not 1 <= trace.replicas <= sum(step.kind == "start" for step in trace.steps):
        raise ConfigError(f"{path}: {trace.replicas} replicas: each of them starts with a step of its own")
    if trace.delay_ns and [len(row) for row in trace.delay_ns] != [trace.replicas] * trace.replicas:
        raise ConfigError(f"{path}: delay_ns: a row for each of {trace.replicas} replicas, of as many numbers")
    asked = {(command.client, command.sequence): command for command in trace.commands}
    for command in trace.commands:
        if asked[command.client, command.sequence] != command:
            raise ConfigError(f"{path}: client {command.client} has two commands with the number {command.sequence}")
    for number, envelope in enumerate(trace.messages, 1):
        if envelope.number != number:
            raise ConfigError(f"{path}: message {envelope.number} stands at place {number}: number them from 1")
        if not (0 <= envelope.source < trace.replicas and 0 <= envelope.to < trace.replicas):
            raise ConfigError(f"{path}: message {number} is between replicas that the trace does not have")
    for number, step in enumerate(trace.steps, 1):
        if step.number != number:
            raise ConfigError(f"{path}: step {step.number} stands at place {number}: number them from 1")
        if not 0 <= step.replica < trace.replicas:
            raise ConfigError(f"{path}: step {number} is of replica {step.replica}: there are {trace.replicas}")
        needs = {"deliver": step.message, "request": step.command, "timer": step.timer, "order": step.order}
        if step.kind in needs and needs[step.kind] is None:
            raise ConfigError(f"{path}: step {number} ({step.kind}) does not say what")
        if step.message is not None and step.kind != "deliver":
            raise ConfigError(f"{path}: step {number} ({step.kind}) delivers message {step.message}")
        try:
            hash(from_data(step.timer))
        except TypeError as error:
            raise ConfigError(f"{path}: step {number}: {step.timer} is no timer's name") from error
        try:
            damage_of(step)
        except TypeError as error:
            raise ConfigError(f'{path}: step {number}: damage {step.damage}: "lost" or a list of keys') from error
        if any(not 1 <= sent <= len(trace.messages) for sent in step.sent):
            raise ConfigError(f"{path}: step {number} sends what is not among its {len(trace.messages)} messages")
        if step.kind == "deliver":
            _check_delivery(path, trace, step)


def _check_delivery(path: Path, trace: Trace, step: TraceStep) -> None:
    number = step.message or 0
    if not 1 <= number <= len(trace.messages):
        raise ConfigError(f"{path}: step {step.number} delivers message {number}: there are {len(trace.messages)}")
    envelope = trace.messages[number - 1]
    if envelope.step >= step.number:
        raise ConfigError(
            f"{path}: step {step.number} delivers message {number}, which is sent in step {envelope.step}"
        )
    if envelope.to != step.replica:
        raise ConfigError(f"{path}: step {step.number} delivers message {number} to {step.replica}, not {envelope.to}")
