"""Histories as Jepsen records them: its EDN maps, or the operation lines of its log.

A history is a list of events: a process invokes an operation and later completes it with ``:ok`` (it happened),
``:fail`` (it did not) or ``:info`` (nobody knows: it stays open to the end, and Jepsen goes on with a new process). An
operation that is never completed stays open as well, and so does one that "failed" by a time-out. The time of an event
is its place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.verification.edn import EdnError, Keyword, Map, read
from consensus_bench.verification.linearizability import MODELS, Model, Operation

Fail: TypeAlias = Literal["did-not-happen", "compare-failed"]
"""What ``:fail`` of a compare-and-set means: it had no effect and says nothing, or it found another value than the
expected one (which the order of the operations must explain)."""

_KINDS: Final = {"read": "get", "get": "get", "write": "put", "put": "put", "cas": "cas", "append": "append"}
_TYPES: Final = ("invoke", "ok", "fail", "info")
_LOG_LINE: Final = re.compile(
    r"jepsen\.util\s+(?:-\s+)?(?P<process>\S+)\s+:(?P<type>\w+)\s+:(?P<f>[\w-]+)(?P<rest>.*)$"
)
_EVENT_LIKE: Final = re.compile(r"jepsen\.util|\s:(?:invoke|ok|fail|info)\s")
_TIMED_OUT: Final = re.compile(r"time[d]?[- ]?out", re.IGNORECASE)


class _Event(msgspec.Struct, frozen=True):
    line: int
    process: int
    type: str
    kind: str
    value: Any
    keyed: bool  # the key stood beside the value, not within it
    key: Hashable
    timed_out: bool


class Recorded(msgspec.Struct, frozen=True):
    """A history that was read, and the model that its operations need."""

    operations: list[Operation]
    model: Model


def read_history(path: Path, model: Model | None = None, fail: Fail = "did-not-happen") -> Recorded:
    """Read ``path``. Without ``model`` the smallest that knows its operations: kv for get, put and append, else
    cas-register if there is a compare-and-set, else register. Raises ``ConfigError`` naming the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; give the file of a recorded history") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text: a history is EDN or a Jepsen log, in UTF-8") from None
    return _Reader(str(path)).read(text, model, fail)


class _Reader:
    """Reads one file; knows its name for the errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._named_kv = False

    def _bad(self, line: int, text: str) -> NoReturn:
        raise ConfigError(f"{self._name}:{line}: {text}")

    def read(self, text: str, model: Model | None, fail: Fail) -> Recorded:
        as_edn = text.lstrip()[:1] in ("{", "[", "(", "#", ";")
        events = list(self._edn_events(text) if as_edn else self._log_events(text))
        if not events:
            expected = "EDN maps with :process, :type, :f and :value, or lines of a Jepsen log"
            raise ConfigError(f"{self._name}: holds no operation: expected {expected}")
        events = self._split_keys(events)
        kinds = {event.kind for event in events}
        if model is None:
            model = "kv" if self._named_kv and "cas" not in kinds else "cas-register" if "cas" in kinds else "register"
        for event in events:
            if event.kind not in MODELS[model]:
                fitting = [name for name, known in MODELS.items() if kinds <= set(known)]
                remedy = f"use --model {fitting[0]}" if fitting else "no model has all operations of this file"
                self._bad(event.line, f"{event.kind} is no operation of model {model}; {remedy}")
        return Recorded(self._operations(events, model, fail), model)

    def _log_events(self, text: str) -> Iterator[_Event]:
        for number, line in enumerate(text.splitlines(), start=1):
            match = _LOG_LINE.search(line)
            if match is None:
                if _EVENT_LIKE.search(line):
                    self._bad(number, "is no operation: expected `INFO  jepsen.util - <process> :invoke :read <value>`")
                continue
            if not match["process"].isdigit():
                continue  # the nemesis
            try:
                values = [value for _, value in read(match["rest"])]
            except EdnError as error:
                self._bad(number, f"{error}, in the value {match['rest'].strip()!r}")
            value = values[0] if values else None
            timed_out = any(_TIMED_OUT.search(str(v)) for v in values if not isinstance(v, int))
            yield self._event(number, int(match["process"]), match["type"], match["f"], value, timed_out)

    def _edn_events(self, text: str) -> Iterator[_Event]:
        try:
            for line, form in read(text):
                for entry in form if isinstance(form, tuple) else (form,):
                    if not isinstance(entry, Map):
                        self._bad(
                            line,
                            f"expected a map like {{:process 0, :type :invoke, :f :read, :value nil}}, not {entry!r}",
                        )
                    event = self._edn_event(entry)
                    if event is not None:
                        yield event
        except EdnError as error:
            self._bad(error.line, str(error))

    def _edn_event(self, entry: Map) -> _Event | None:
        missing = [name for name in ("process", "type", "f") if Keyword(name) not in entry]
        if missing:
            self._bad(entry.line, f"the map has no :{missing[0]}: an event needs :process, :type, :f and :value")
        process, type_, f = (entry[Keyword(name)] for name in ("process", "type", "f"))
        if type(process) is not int:
            return None  # the nemesis
        error = entry.get(Keyword("error"))
        value = entry.get(Keyword("value"))
        timed_out = bool(_TIMED_OUT.search(f"{error!r} {value!r}" if isinstance(value, Keyword) else repr(error)))
        words = [word.name if isinstance(word, Keyword) else str(word) for word in (type_, f)]
        keyed = Keyword("key") in entry
        key = entry.get(Keyword("key"))
        return self._event(entry.line, process, words[0], words[1], value, timed_out, keyed, key)

    def _event(
        self,
        line: int,
        process: int,
        type_: str,
        f: str,
        value: Any,
        timed_out: bool,
        keyed: bool = False,
        key: Any = None,
    ) -> _Event:
        if type_ not in _TYPES:
            self._bad(line, f":{type_} is no type of event: it must be :invoke, :ok, :fail or :info")
        if f not in _KINDS:
            self._bad(line, f":{f} is no known operation: they are {', '.join(f':{name}' for name in _KINDS)}")
        self._named_kv |= f in ("get", "put", "append")
        return _Event(line, process, type_, _KINDS[f], value, keyed, key, timed_out)

    def _split_keys(self, events: list[_Event]) -> list[_Event]:
        """Jepsen's independent keys: every value is a pair [key value], that of a read's invocation too."""
        invoked = [event for event in events if event.type == "invoke" and not event.keyed]
        reads = [event for event in invoked if event.kind == "get"]
        cas = [event for event in invoked if event.kind == "cas"]
        if reads:
            paired = _is_pair(reads[0].value)
        elif cas:
            paired = _is_pair(cas[0].value) and _is_pair(cas[0].value[1])
        else:
            paired = bool(invoked) and all(_is_pair(event.value) for event in invoked)
        if not paired:
            return events
        split = []
        for event in events:
            if _is_pair(event.value) and not event.keyed:
                key, value = event.value
                event = msgspec.structs.replace(event, key=key, value=value)
            elif event.type in ("invoke", "ok") and not event.keyed:
                self._bad(event.line, f"expected a pair [key value] as in the other operations, not {event.value!r}")
            split.append(event)
        return split

    def _operations(self, events: Sequence[_Event], model: Model, fail: Fail) -> list[Operation]:
        operations: list[Operation | None] = []
        open_: dict[int, tuple[int, _Event]] = {}
        for time, event in enumerate(events, start=1):
            if event.type == "invoke":
                if event.process in open_:
                    since = open_[event.process][1].line
                    self._bad(
                        event.line, f"process {event.process} invokes before its operation of line {since} is completed"
                    )
                open_[event.process] = (len(operations), event)
                operations.append(self._invocation(event, model, time))
                continue
            if event.process not in open_:
                self._bad(event.line, f"process {event.process} completes with :{event.type}, but has invoked nothing")
            place, invocation = open_.pop(event.process)
            if event.kind != invocation.kind:
                invoked = f"invoked {invocation.kind} on line {invocation.line}"
                self._bad(event.line, f"process {event.process} completes {event.kind}, but {invoked}")
            begun = operations[place]
            assert begun is not None
            operations[place] = self._complete(begun, event, model, fail, time)
        return [operation for operation in operations if operation is not None]

    def _invocation(self, event: _Event, model: Model, time: int) -> Operation:
        value = None if event.kind == "get" else event.value
        if event.kind == "cas" and not _is_pair(value):
            self._bad(event.line, f"a cas needs the pair [expected new], not {value!r}")
        if event.kind == "append" and value is None:
            self._bad(event.line, "an append needs a value")
        value = _absent(value, model) if event.kind == "put" else value
        return Operation(event.process, event.key, event.kind, value, None, time, None)

    def _complete(self, begun: Operation, event: _Event, model: Model, fail: Fail, time: int) -> Operation | None:
        if event.type == "ok":
            result = _absent(event.value, model) if begun.kind == "get" else True if begun.kind == "cas" else None
            return msgspec.structs.replace(begun, result=result, answered=time)
        if event.type == "info" or (event.timed_out and begun.kind != "get"):
            return begun
        if begun.kind == "cas" and fail == "compare-failed":
            return msgspec.structs.replace(begun, result=False, answered=time)
        return None


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _absent(value: Hashable, model: Model) -> Hashable:
    """A key-value store may answer a missing key by nil or by nothing: "" and [] mean the same."""
    return None if model == "kv" and value in ("", ()) else value


def read_value(text: str) -> Hashable:
    """One EDN value from the command line. Raises ``ConfigError``."""
    try:
        values = [value for _, value in read(text)]
    except EdnError as error:
        raise ConfigError(f"--initial {text!r}: {error}") from None
    if len(values) != 1:
        raise ConfigError(f"--initial {text!r}: expected one value, such as nil, 0 or '\"text\"'")
    value: Hashable = values[0]
    return value
