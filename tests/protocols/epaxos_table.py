"""EPaxos replicas on a table: every message is moved by hand. Disks are durable at once unless a test looks closer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consensus_bench.contract import LOST, Cluster, Command, Effect, Message, Snapshot, apply, image
from consensus_bench.contract import context as tags
from consensus_bench.contract.steps import Deliver, Input, Recover, Request, Start, Timer, step
from protocols.epaxos import EPaxos
from protocols.epaxos_messages import EPaxosOptions, Executed, RecoverOk
from protocols.epaxos_messages import Recover as RecoverMessage

MS = 1_000_000


def put(client: int, key: str = "k", sequence: int = 1) -> Command:
    return Command(client, sequence, "put", key, client)


def get(client: int, key: str = "k", sequence: int = 1) -> Command:
    return Command(client, sequence, "get", key)


class Table:
    """``size`` replicas; ``messages`` are under way as (source, to, message), oldest first."""

    def __init__(
        self,
        size: int = 3,
        protocol: type[EPaxos] = EPaxos,
        delay_ns: tuple[tuple[int, ...], ...] = (),
        **options: Any,
    ) -> None:
        self.protocol = protocol
        self.cluster = Cluster(size, delay_ns)
        self.options = EPaxosOptions(**options)
        self.options.validate(size)
        self.messages: list[tuple[int, int, Message]] = []
        self.disks: list[dict[Any, Any]] = [{} for _ in range(size)]
        self.committed: list[dict[Any, Command]] = [{} for _ in range(size)]
        self.executed: list[list[Command]] = [[] for _ in range(size)]
        self.stores: list[dict[Any, int]] = [{} for _ in range(size)]
        self.covered: dict[Snapshot, list[Command]] = {}
        """What had been executed where a snapshot was taken."""
        self.looked_up: list[tuple[int, Command, int | None]] = []
        """Reads without an instance: where, which, and what was found."""
        self.answers: list[tuple[int, Command]] = []
        self.notes: list[tuple[str, Command | None]] = []
        self.clocks_ns = [0] * size
        self.timers: list[dict[Any, tuple[int, int]]] = [{} for _ in range(size)]
        self.replicas = [protocol(r, self.cluster, self.options) for r in range(size)]
        self.down: set[int] = set()
        for r in range(size):
            self.feed(r, Start())

    def feed(self, r: int, event: Input) -> list[Effect]:
        effects = step(self.replicas[r], event, self.clocks_ns[r])
        self.carry_out(r, effects)
        return effects

    def begin_recovery(self, r: int, instance: tuple[int, int]) -> None:
        """``r`` loses patience with ``instance``."""
        context = tags.Context()
        self.replicas[r].start_recovery(context, instance)
        self.carry_out(r, context.effects)

    def take_over(self, r: int, instance: tuple[int, int], *quorum: int) -> None:
        """``r`` begins to recover ``instance``; only ``quorum`` hears of it, and answers."""
        self.begin_recovery(r, instance)
        for other in quorum:
            self.deliver(RecoverMessage, r, other)
        self.drop(RecoverMessage, source=r)
        for other in quorum:
            self.deliver(RecoverOk, other, r)

    def carry_out(self, r: int, effects: list[Effect]) -> None:
        self.replicas[r].check()
        for tag, a, b in effects:
            if tag == tags.PERSIST:
                self.disks[r][a] = b
            elif tag == tags.FORGET:
                self.disks[r].pop(a, None)
            elif tag in (tags.SEND, tags.SEND_UNSYNCED):
                self.messages.append((r, a, b))
            elif tag in (tags.BROADCAST, tags.BROADCAST_UNSYNCED):
                self.messages += [(r, to, b) for to in a]
            elif tag == tags.COMMIT:
                self.committed[r][a] = b
            elif tag == tags.EXECUTE:
                self.executed[r].append(a)
                apply(self.stores[r], a)
            elif tag == tags.READ:
                self.looked_up.append((r, a, self.stores[r].get(a.key)))
            elif tag == tags.TAKE_SNAPSHOT:
                snapshot = Snapshot(a, image(self.stores[r]))
                self.covered[snapshot] = list(self.executed[r])
                self.messages.append((r, r, snapshot))
            elif tag == tags.INSTALL:
                assert set(self.executed[r]) <= set(self.covered[a]), "it goes back"
                self.executed[r] = list(self.covered[a])
                self.stores[r] = dict(a.items)
            elif tag == tags.ANSWER:
                looked_up = any(reader == r and read == a for reader, read, _ in self.looked_up)
                assert looked_up or a in self.executed[r], f"{a} is answered at {r} and was not executed there"
                self.answers.append((r, a))
            elif tag == tags.NOTE:
                self.notes.append((a, b))
            elif tag == tags.SET_TIMER:
                self.timers[r][a] = b

    def request(self, r: int, command: Command) -> list[Effect]:
        return self.feed(r, Request(command))

    def timer(self, r: int, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.feed(r, Timer(name))

    def under_way(self, kind: type[Message], source: int | None = None, to: int | None = None) -> list[Message]:
        return [m for s, t, m in self.messages if type(m) is kind and source in (None, s) and to in (None, t)]

    def deliver(self, kind: type[Message], source: int | None = None, to: int | None = None) -> None:
        """Deliver every such message that is under way now."""
        chosen = [(s, t, m) for s, t, m in self.messages if type(m) is kind and source in (None, s) and to in (None, t)]
        assert chosen, f"no {kind.__name__} from {source} to {to} among {self.messages}"
        for packet in chosen:
            self.messages.remove(packet)
            s, t, message = packet
            if t not in self.down:
                self.feed(t, Deliver(s, message))

    def drop(self, *kinds: type[Message], source: int | None = None, to: int | None = None) -> None:
        self.messages = [
            (s, t, m)
            for s, t, m in self.messages
            if not ((not kinds or type(m) in kinds) and source in (None, s) and to in (None, t))
        ]

    def settle(self, keep: Callable[[int, int, Message], bool] = lambda s, t, m: False) -> None:
        """Deliver everything, first come first served, but what ``keep`` holds back."""
        for _ in range(10_000):
            packet = next((p for p in self.messages if not keep(*p)), None)
            if packet is None:
                return
            self.messages.remove(packet)
            s, t, message = packet
            if t not in self.down:
                self.feed(t, Deliver(s, message))
        raise AssertionError("messages without end")

    def pass_time(self, sweeps: int = 1, ticks: int = 2) -> None:
        """Timers of all that are up, everything delivered in between."""
        for _ in range(sweeps):
            for _ in range(ticks):
                for r in self.up():
                    self.timer(r, "tick")
                self.settle()
            for r in self.up():
                self.timer(r, "sweep")
                self.settle()

    def up(self) -> list[int]:
        return [r for r in range(self.cluster.size) if r not in self.down]

    def crash(self, *replicas: int) -> None:
        for r in replicas:
            self.down.add(r)
            self.drop(source=r)
            self.executed[r] = []
            self.stores[r] = {}
            self.committed[r] = {}

    def restart(self, r: int) -> None:
        self.down.remove(r)
        self.replicas[r] = self.protocol(r, self.cluster, self.options)
        self.feed(r, Recover(dict(self.disks[r])))

    def lose_disk(self, r: int) -> None:
        """``r`` crashes and comes back without its disk."""
        if r not in self.down:
            self.crash(r)
        self.disks[r] = {LOST: None}
        self.clocks_ns[r] += 1
        self.restart(r)

    def sweeps(self, r: int, times: int, alive: tuple[int, ...] = ()) -> None:
        """Sweeps at ``r``, which hears only of ``alive`` in between."""
        for _ in range(times):
            for other in alive:
                self.feed(r, Deliver(other, Executed(self.replicas[r].none)))
            self.timer(r, "sweep")

    def decision(self, r: int, instance: tuple[int, int]) -> tuple[Command, tuple[int, ...]] | None:
        """What ``r`` knows committed there: the command and its dependencies."""
        commit = self.replicas[r].log[instance[0]].get(instance[1])
        return None if commit is None else (commit.command, commit.deps)
