"""One execution of the real protocol classes, step by step, written down as a trace.

This is deliberately not the explorer's own machinery: replicas are plain objects, messages are numbered envelopes, and
the verifier is the benchmark's. What the explorer claims is run again here before anybody sees it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from consensus_bench.contract import (
    LOST,
    OPERATOR,
    Cluster,
    Command,
    ConfigError,
    Context,
    Effect,
    Message,
    Options,
    PropertyViolated,
    Replica,
    Snapshot,
    TimerName,
    apply,
    image,
)
from consensus_bench.contract.context import (
    ANSWER,
    BROADCAST,
    BROADCAST_UNSYNCED,
    CANCEL_TIMER,
    COMMIT,
    EXECUTE,
    FORGET,
    INSTALL,
    NOTE,
    PERSIST,
    READ,
    SEND,
    SEND_UNSYNCED,
    SET_TIMER,
    TAKE_SNAPSHOT,
)
from consensus_bench.exploration.site import (
    NO_EXCEPTION,
    OWN_INVARIANTS,
    Event,
    Impossible,
    Record,
    Site,
    damaged,
    told,
)
from consensus_bench.exploration.trace import (
    Answered,
    Committed,
    Damage,
    Envelope,
    Order,
    StepKind,
    Trace,
    TraceStep,
    Violation,
    as_data,
)
from consensus_bench.exploration.wording import show, show_command, show_view
from consensus_bench.verification.linearizability import LINEARIZABILITY, History
from consensus_bench.verification.online import VALIDITY, Verifier


class Execution:
    """Runs steps and writes them down; without ``in_words`` several times as fast, for attempts of which only the
    ``violation`` counts, the first that was found."""

    def __init__(
        self,
        protocol: type[Replica],
        options: Options,
        replicas: int,
        first_leader: int | None = None,
        commands: Sequence[Command] = (),
        own_at_once: bool = True,
        delay_ns: tuple[tuple[int, ...], ...] = (),
        in_words: bool = True,
    ) -> None:
        self.protocol = protocol
        self._own_at_once = own_at_once
        self._in_words = in_words
        self.sites = [Site() for _ in range(replicas)]
        self.steps: list[TraceStep] = []
        self.envelopes: list[Envelope] = []
        self.messages: list[Message] = []
        """The messages themselves: that of envelope ``number`` is ``messages[number - 1]``."""
        self.violation: Violation | None = None
        self._options = options
        self._cluster = Cluster(replicas, delay_ns, first_leader)
        self._commands = tuple(commands)
        self._verifier = Verifier(replicas, protocol.decides)
        self._context = Context()
        self._delivered: set[int] = set()
        self._own: deque[int] = deque()
        self._invoked: dict[tuple[int, int], int] = {}
        self._answers: dict[tuple[int, int], tuple[int | None, int]] = {}

    # --- what drives it -----------------------------------------------------------------------------------------------

    def start(self, clocks_ns: Sequence[int] = ()) -> None:
        """Every replica boots, in order; ``clocks_ns``: what their clocks show then, if not 0."""
        for replica in range(len(self.sites)):
            clock_ns = clocks_ns[replica] if clocks_ns else 0
            self.call("start", replica, clock_ns=clock_ns)
            self._deliver_own(replica, clock_ns)

    def take(self, event: Event) -> None:
        """One step, and the messages of the replica to itself; ``Impossible`` if it cannot happen."""
        site = self.sites[event.replica]
        if event.kind == "deliver":
            source, message = event.argument
            number = self._find(source, event.replica, message)
            self.call(
                "deliver",
                event.replica,
                message=number,
                own=event.is_own,
                durable=event.durable,
                clock_ns=event.clock_ns,
            )
        elif event.kind == "crash":
            self.call("crash", event.replica, clock_ns=event.clock_ns)
            self.call("restart", event.replica, damage=event.argument, durable=event.durable, clock_ns=event.clock_ns)
        elif event.kind == "timer":
            if event.argument not in site.timers:
                raise Impossible(f"the timer {event.argument} of replica {event.replica} is not armed")
            self.call("timer", event.replica, timer=event.argument, durable=event.durable, clock_ns=event.clock_ns)
        elif event.kind == "order":
            self.call("order", event.replica, order=event.argument, durable=event.durable, clock_ns=event.clock_ns)
        else:
            self.call("request", event.replica, command=event.argument, durable=event.durable, clock_ns=event.clock_ns)
        self._deliver_own(event.replica, event.clock_ns)

    def _deliver_own(self, replica: int, clock_ns: int = 0) -> None:
        while self._own and self._own_at_once:
            number, durable = self._own.popleft(), self.sites[replica].durable
            self.call("deliver", replica, message=number, own=True, durable=durable, clock_ns=clock_ns)

    def _find(self, source: int, to: int, message: Message) -> int:
        """The envelope to deliver: the first with this message that was not delivered yet, or else the last."""
        found = [
            e.number for e, m in zip(self.envelopes, self.messages, strict=True)
            if e.source == source and e.to == to and type(m) is type(message) and m == message
            and (source != to or e.number > self.sites[to].born)
        ]  # fmt: skip
        if not found:
            raise Impossible(f"replica {source} has not sent {show(message)} to replica {to}")
        return next((number for number in found if number not in self._delivered), found[-1])

    def trace(self, spec: str, settings: dict[str, Any], violation: Violation | None) -> Trace:
        """Everything so far, in words. ``spec``, ``settings``: how the user named the protocol and its options."""
        assert self._in_words, "an execution without words is no trace"
        return Trace(
            protocol=spec,
            options=settings,
            replicas=len(self.sites),
            first_leader=self._cluster.first_leader,
            delay_ns=self._cluster.delay_ns,
            commands=self._commands,
            violation=violation,
            length=length_of(self.steps),
            messages=tuple(self.envelopes),
            steps=tuple(self.steps),
        )

    # --- one call of a handler ----------------------------------------------------------------------------------------

    def call(
        self,
        kind: StepKind,
        replica: int,
        *,
        command: Command | None = None,
        message: int | None = None,
        timer: TimerName = None,
        order: Message | None = None,
        damage: Damage = None,
        own: bool = False,
        durable: bool = True,
        clock_ns: int = 0,
    ) -> TraceStep:
        """Run one handler and write the step down."""
        site, record = self.sites[replica], Record()
        if durable and not site.durable and kind != "crash":
            raise Impossible(f"the disk of replica {replica} keeps nothing until it crashes")
        if (site.replica is None) != (kind in ("start", "restart")):
            raise Impossible(f"replica {replica} is {'down' if site.replica is None else 'up'}: it cannot {kind}")
        if message is not None and self.envelopes[message - 1].source == replica and message <= site.born:
            raise Impossible(f"replica {replica} crashed: what it had sent to itself is gone")
        site.durable = durable
        argument = {"deliver": message, "request": command, "timer": timer, "order": order, "restart": damage}.get(kind)
        text = self._text(kind, replica, argument, own) if self._in_words else ""
        try:
            self._handle(kind, replica, argument, clock_ns)
            self._gather(replica, record)
            if site.replica is not None:
                site.replica.check()
        except (Impossible, ConfigError):
            raise
        except AssertionError as error:
            self._note_violation(OWN_INVARIANTS, str(error) or "an assertion of the protocol fails")
        except PropertyViolated as violated:
            self._note_violation(violated.name, violated.detail)
        except Exception as error:  # whatever a protocol raises is its finding
            self._note_violation(NO_EXCEPTION, f"{type(error).__name__}: {error}")
        step = TraceStep(
            number=len(self.steps) + 1,
            kind=kind,
            replica=replica,
            text=text,
            own=own,
            durable=durable,
            command=command,
            message=message,
            timer=as_data(timer),
            order=None if order is None else Order(kind=type(order).__name__, fields=_fields(order)),
            damage="lost" if damage is LOST else as_data(damage),
            clock_ns=clock_ns,
            sent=tuple(record.sent),
            written=tuple(record.written),
            committed=tuple(record.committed),
            executed=tuple(record.executed),
            answered=tuple(record.answered),
            notes=tuple(record.notes),
            disk={show(key): show(value) for key, value in site.disk.items()} if self._in_words else {},
            timers=tuple(sorted(map(show, site.timers))) if self._in_words else (),
            holds="" if site.replica is None or not self._in_words else show_view(site.replica.view()),
        )
        self.steps.append(step)
        return step

    def _handle(self, kind: StepKind, number: int, argument: Any, clock_ns: int) -> None:
        site, context = self.sites[number], self._context
        context.effects.clear()
        context.clock_ns = clock_ns
        if kind == "crash":
            site.replica = None
            site.timers.clear()
            site.store.clear()
            site.results.clear()
            site.born = len(self.envelopes)
            self._verifier.restarted(number)
            return
        if kind == "restart":
            site.disk = damaged(site.disk, argument)
        if site.replica is None:
            site.replica = self.protocol(number, self._cluster, self._options)
        replica = site.replica
        if kind == "start":
            replica.on_start(context)
        elif kind == "restart":
            replica.recover(context, dict(site.disk))
        elif kind == "request":
            self._invoked.setdefault((argument.client, argument.sequence), len(self.steps))
            replica.on_request(context, argument)
        elif kind == "timer":
            site.timers.discard(argument)
            replica.on_timer(context, argument)
        elif kind == "order":
            self._receive(replica, OPERATOR, argument)
        else:
            self._delivered.add(argument)
            self._receive(replica, self.envelopes[argument - 1].source, self.messages[argument - 1])

    def _receive(self, replica: Replica, source: int, message: Message) -> None:
        handler = replica.handlers.get(type(message))
        if handler is not None:
            getattr(replica, handler)(self._context, source, message)

    def _gather(self, replica: int, record: Record) -> None:
        """What the handler did becomes visible, or is lost."""
        site = self.sites[replica]
        for tag, a, b in self._context.effects:
            if tag in (SEND, SEND_UNSYNCED, BROADCAST, BROADCAST_UNSYNCED):
                if site.durable or tag in (SEND_UNSYNCED, BROADCAST_UNSYNCED):
                    for to in (a,) if tag in (SEND, SEND_UNSYNCED) else a:
                        record.sent.append(self._send(replica, to, b))
            elif tag in (PERSIST, FORGET):
                if self._in_words:
                    record.written.append(f"{show(a)} = {show(b)}" if tag == PERSIST else f"{show(a)} forgotten")
                if site.durable:
                    self._write(site, (tag, a, b))
            elif tag == SET_TIMER:
                site.timers.add(a)
            elif tag == CANCEL_TIMER:
                site.timers.discard(a)
            elif tag == NOTE:
                record.notes.append(a)
            elif site.durable:
                self._become_visible(replica, site, (tag, a, b), record)

    @staticmethod
    def _write(site: Site, effect: Effect) -> None:
        if effect[0] == PERSIST:
            site.disk[effect[1]] = effect[2]
        else:
            site.disk.pop(effect[1], None)

    def _send(self, source: int, to: int, message: Message) -> int:
        number = len(self.envelopes) + 1
        self.envelopes.append(
            Envelope(
                number=number,
                step=len(self.steps) + 1,
                source=source,
                to=to,
                kind=type(message).__name__,
                fields=_fields(message) if self._in_words else {},
                text=show(message) if self._in_words else "",
            )
        )
        self.messages.append(message)
        if source == to:
            self._own.append(number)
        return number

    def _become_visible(self, replica: int, site: Site, effect: Effect, record: Record) -> None:
        """A commit, an execution or an answer; the verifier is told."""
        tag, a, b = effect
        if tag == COMMIT:
            record.committed.append(Committed(place=as_data(a), command=b))
            if b not in self._commands and b.kind != "noop":
                raise PropertyViolated(VALIDITY, f"{b} is committed at place {a}: no client asked for it")
            self._verifier.committed(replica, a, b)
        elif tag == EXECUTE:
            record.executed.append(a)
            self._verifier.executed(replica, a)
            site.results[a.client, a.sequence] = apply(site.store, a)
        elif tag == READ:
            site.results[a.client, a.sequence] = site.store.get(a.key)
        elif tag == TAKE_SNAPSHOT:
            snapshot = Snapshot(a, image(site.store), told(site.results))
            self._verifier.snapshot(replica, snapshot)
            record.sent.append(self._send(replica, replica, snapshot))
        elif tag == INSTALL:
            self._verifier.installed(replica, a)
            site.store = dict(a.items)
            site.results.update({(client, sequence): result for client, sequence, result in a.results})
        else:
            assert tag == ANSWER, f"effect {tag} is unknown"
            self._answer(site, a, record)

    def _answer(self, site: Site, command: Command, record: Record) -> None:
        key = (command.client, command.sequence)
        if key not in site.results and not self._verifier.has_executed(self.sites.index(site), command):
            raise PropertyViolated(VALIDITY, f"{command} is answered where it was not executed")
        result = site.results.get(key)
        record.answered.append(Answered(command=command, result=result))
        if key not in self._answers:
            self._answers[key] = (result, len(self.steps))
            self._check_history()

    def _check_history(self) -> None:
        history = History()
        for command in self._commands:
            key = (command.client, command.sequence)
            if key in self._invoked:
                result, answered = self._answers.get(key, (None, None))
                history.append(
                    command.client, command.key, command.kind, command.value, result, self._invoked[key], answered
                )
        check = history.check()
        if check.verdict == "violated":
            raise PropertyViolated(LINEARIZABILITY, "; ".join([check.reason, *map(str, check.operations)]))

    def _note_violation(self, name: str, detail: str) -> None:
        if self.violation is None:
            self.violation = Violation(property=name, detail=detail)

    def _text(self, kind: StepKind, replica: int, argument: Any, own: bool) -> str:
        if kind == "request":
            return f"client {argument.client} asks replica {replica}: {show_command(argument)}"
        if kind == "timer":
            return f"replica {replica}: the timer {show(argument)} fires"
        if kind == "order":
            return f"an operator asks replica {replica}: {show(argument)}"
        if kind == "deliver":
            envelope = self.envelopes[argument - 1]
            if own:
                return f"replica {replica} hears itself: {envelope.text}"
            again = "again " if argument in self._delivered else ""
            return f"replica {replica} receives {again}{envelope.text} from replica {envelope.source}"
        if kind == "restart" and argument is LOST:
            return f"replica {replica} restarts with an empty disk: everything on it is lost"
        if kind == "restart" and argument is not None:
            return f"replica {replica} restarts and cannot read what its disk says of {', '.join(map(show, argument))}"
        words = {"start": "starts", "crash": "crashes", "restart": "restarts with what is on its disk"}
        return f"replica {replica} {words[kind]}"


def _fields(message: Message) -> dict[str, Any]:
    return {name: as_data(getattr(message, name)) for name in message.__struct_fields__}


def length_of(steps: Iterable[TraceStep]) -> int:
    """Steps that are choices of the world: starts, restarts and messages of a replica to itself are not."""
    return sum(1 for step in steps if step.kind not in ("start", "restart") and not step.own)
