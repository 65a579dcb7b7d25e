"""What a replica has committed and executed since its process began, and snapshots that stand for it.

To judge a replica that installs a snapshot, one must know what the snapshot covers: which commands, chosen at which
places. So the explorer's snapshots name the life that they were taken of, in a result that no client asked for; for the
protocol that is a result like any other, which it keeps and hands on unread. ``plain`` takes it out again.
"""

from __future__ import annotations

from bisect import insort
from typing import Any, Final, TypeAlias

import msgspec

from consensus_bench.contract import Command, Key, Message, Snapshot, apply, image
from consensus_bench.exploration.site import told

Found: TypeAlias = tuple[tuple[tuple[int, int], int | None], ...]
"""What reads that have no place found: by client and sequence number, in order."""
Life: TypeAlias = tuple[tuple[tuple[Any, Command], ...], tuple[Command, ...], Found]
"""Commits (place, command), ordered by place; executions, in their order; reads."""

NEW: Final[Life] = ((), (), ())
NOBODY: Final = -1_000_000
"""The client of the result that names a life."""


def with_commit(life: Life, place: Any, command: Command) -> Life:
    """``life``, in which ``command`` is committed at ``place`` as well."""
    commits = [entry for entry in life[0] if entry[0] != place]
    insort(commits, (place, command), key=lambda entry: entry[0])
    return (tuple(commits), life[1], life[2])


def with_execution(life: Life, command: Command) -> Life:
    """``life``, in which ``command`` is executed next."""
    return (life[0], (*life[1], command), life[2])


def with_read(life: Life, command: Command) -> Life:
    """``life``, in which ``command`` looks up its key now."""
    found = {**dict(life[2]), (command.client, command.sequence): results_of(life)[0].get(command.key)}
    return (life[0], life[1], tuple(sorted(found.items())))


def installed(life: Life, covered: Life) -> Life:
    """``life`` after a snapshot was installed that stands for ``covered``."""
    commits = dict(life[0]) | dict(covered[0])
    found = {**dict(life[2]), **dict(covered[2])}
    return (tuple(sorted(commits.items(), key=lambda entry: entry[0])), covered[1], tuple(sorted(found.items())))


def results_of(life: Life) -> tuple[dict[Key, int], dict[tuple[int, int], int | None]]:
    """The copy of the data after that life, and the result of each command, by client and sequence number."""
    store: dict[Key, int] = {}
    results: dict[tuple[int, int], int | None] = {}
    for command in life[1]:
        if command.kind != "noop":  # executed or not, that is judged elsewhere
            results.setdefault((command.client, command.sequence), apply(store, command))
    return store, results | dict(life[2])


class Snapshots:
    """The snapshots that were taken in an exploration, each with the life that it stands for."""

    def __init__(self) -> None:
        self._lives: list[Life] = []
        self._numbers: dict[Life, int] = {}

    def take(self, life: Life, place: Any) -> Snapshot:
        """A snapshot of the state after ``life``, of which the executed commands are covered."""
        executed = set(life[1])
        commits = tuple(entry for entry in life[0] if entry[1] in executed or _up_to(entry[0], place))
        covered = (commits, life[1], tuple(found for found in life[2] if found[1] is not None))  # as ``told`` has it
        number = self._numbers.setdefault(covered, len(self._lives))
        if number == len(self._lives):
            self._lives.append(covered)
        store, results = results_of(life)
        return Snapshot(place, image(store), ((NOBODY, number, None), *told(results)))

    def covered(self, snapshot: Snapshot) -> Life | None:
        """What ``snapshot`` stands for; None: nobody took it."""
        for client, number, _ in snapshot.results:
            if client == NOBODY:
                return self._lives[number]
        return None


def _up_to(place: Any, last: Any) -> bool:
    """Whether a snapshot of ``last`` covers a ``place`` at which nothing was executed: a no-op, or a repetition."""
    return isinstance(place, int) and place <= last


def plain(value: Any) -> Any:
    """``value`` (a message, say) with snapshots as every other driver makes them."""
    if isinstance(value, Snapshot):
        results = tuple(result for result in value.results if result[0] != NOBODY)
        return value if len(results) == len(value.results) else msgspec.structs.replace(value, results=results)
    if isinstance(value, Message):
        changed = {}
        for name in value.__struct_fields__:
            field = getattr(value, name)
            if isinstance(field, Snapshot):
                changed[name] = plain(field)
        return msgspec.structs.replace(value, **changed) if changed else value
    return value
