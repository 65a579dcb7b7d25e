"""EPaxos: a replica that finds its disk damaged, and how it becomes a voter again.

What it acknowledged may not be treated as never written (Alagappan et al., FAST 2018). Until it is repaired it is
*forgetful*: it learns, executes and passes on decisions, and does nothing else. It does not vote, promise, validate,
lead or recover, nor say that it lives. To the others it is a replica that crashed, and they settle without it what it
had begun.

- If only instances cannot be read, it knows which. It is a voter again once all of these are committed here.
- If everything is lost (or the records below that are about rows), it asks *all* others (``Recall``). Each answers with
  the highest number of each row that it has heard of, in its own that it has begun. It is a voter again once everything
  up to the highest of these is committed here.

Why this is enough. Let p be forgetful, b(r) the highest number in row r by any answer, h = b(p).

1. p had done nothing in (r, k), k > b(r): r began it after its answer, and whoever asked p to vote for it had heard of
   it before. (That need not be its leader: dependencies may name an instance of which only they have arrived, or which
   its leader, having lost its disk, has not begun again; it is recovered as a no-op.) A majority's answers would not
   do: a replica that did not answer may have led something that only p pre-accepted (Michael et al., "Recovering Shared
   Objects Without Stable Storage", DISC 2017).
2. In all instances up to the bounds p knows the decision when it votes again, and can say nothing else about them.
   While they were being decided it took no part, as a crashed replica; what it had sent before is what it then stood
   for. As their leader it is not heard either: nobody may conclude from its answer that it had not committed.
3. Whoever pre-accepted A and then votes on B reports A, or has A's fate settled: every A that p ever voted for, or led
   and anybody heard of, is not above the bounds, so that p knows its command when it votes on any B again.
4. Its numbers above h may have been used in messages that nobody has received. So it begins again at h + 1, and the
   others, before they say that they have heard of nothing above h, put up a durable *fence*: from h + 1 on the row's
   first ballot is no longer (0, p) but a higher one, which makes all such messages those of an old ballot. Fences of a
   row are told by its leader to whoever forgot them.

What all have executed the others no longer hold. A replica that asks for it (``Refetch``) gets the state machine as a
snapshot, and beside it what is executed in it, the sessions, and what interferes by key. It then fetches every decision
that is not yet forgotten by all, because those may still count in a recovery (``EPaxosRecovery._beyond``).

While another replica is forgetful because it lost everything, or is down, it has to wait; with a majority of one or of
all (n <= 2) it waits for ever. The answers to an earlier life's Recall are told by ``life``: the clock at the start.
Nothing else leans on a clock, and this only on its not showing the same nanosecond twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from consensus_bench.contract import CORRUPT, LOST, Ballot, Cluster, Command, Context, Snapshot
from protocols.dependency_graph import InstanceId, union
from protocols.epaxos_messages import (
    Commit,
    EPaxosOptions,
    Fence,
    Forgotten,
    Image,
    Install,
    Recall,
    Recalled,
    Refetch,
)
from protocols.epaxos_recovery import EPaxosRecovery
from protocols.sessions import Sessions

FENCE_STRIDE: Final = 1 << 32
"""Between the first ballots of a row's lives: more recoveries of one instance than there will be."""
IMAGE: Final = "image"
"""The disk's key of the last snapshot installed."""


def fence_key(row: int) -> tuple[str, int]:
    """The disk's key of a row's fences."""
    return ("fences", row)


def is_instance(key: Any) -> bool:
    """Whether a record is that of an instance."""
    return type(key) is tuple and type(key[0]) is int


class EPaxosRepair(EPaxosRecovery):
    """What a replica needs for it."""

    __slots__ = (
        "bound", "damaged", "fences", "forgetful", "guarded", "image", "life", "lost", "next", "parked", "recalled",
        "saved", "sessions", "start", "start_ballot", "takings",
    )  # fmt: skip

    def __init__(self, me: int, cluster: Cluster, options: EPaxosOptions) -> None:
        super().__init__(me, cluster, options)
        self.next = 0
        """The number of our next instance."""
        self.sessions = Sessions()
        self.forgetful = False
        self.lost = False
        """Forgetful of everything, until all others have answered."""
        self.guarded = False
        """A PreAccept needs a closer look: we are forgetful, or some row has fences."""
        self.fences: dict[int, tuple[Fence, ...]] = {}
        """By row, ascending: from this number on, this is the first ballot."""
        self.damaged: tuple[InstanceId, ...] = ()
        self.bound = [-1] * cluster.size
        """Of each row: how far everything must be committed here before we vote again."""
        self.life = 0
        self.start = 0
        """Where our row is to go on, and ``start_ballot``, the first ballot from there on."""
        self.start_ballot: Ballot = (0, me)
        self.recalled: dict[int, Recalled] = {}
        self.parked: list[Command] = []
        """Commands that wait until we may lead again."""
        self.takings: dict[int, tuple[tuple[int, ...], Image]] = {}
        """Snapshots that were asked for: for whom, and what belongs beside them."""
        self.image: Image | None = None
        """What the last snapshot installed covers."""
        self.saved = self.none
        """The decisions up to here are no longer on our disk, but a snapshot is."""

    @abstractmethod
    def _learn(self, ctx: Context, commit: Commit, restarting: bool = False) -> None:
        """An instance is decided."""

    @abstractmethod
    def _lead(self, ctx: Context, command: Command) -> None:
        """A new instance for ``command``."""

    @abstractmethod
    def _execute(self, ctx: Context, commands: Any) -> None:
        """Apply these, in this order."""

    @abstractmethod
    def _highest_heard(self, row: int) -> int:
        """The highest number of this row that anything here is about."""

    def _first_ballot(self, instance_id: InstanceId) -> Ballot:
        row, number = instance_id
        for start, ballot in reversed(self.fences.get(row, ())):
            if number >= start:
                return ballot
        return (0, row)

    def _settled(self, ctx: Context, source: int, instance_id: InstanceId) -> bool:
        return super()._settled(ctx, source, instance_id) or self.forgetful

    # --- starting with a damaged disk ---------------------------------------------------------------------------------

    def _readable(self, ctx: Context, disk: Mapping[Any, Any]) -> dict[InstanceId, Any]:
        """The instances that can be used; what the other records say is taken over."""
        corrupt = [key for key in disk if disk[key] is CORRUPT]
        self.damaged = tuple(sorted(key for key in corrupt if is_instance(key)))
        self.lost = LOST in disk or len(self.damaged) < len(corrupt)
        self.forgetful = bool(corrupt) or self.lost
        self.life = ctx.clock_ns
        instances = {key: value for key, value in disk.items() if is_instance(key) and value is not CORRUPT}
        if self.lost:
            ctx.persist(LOST, None)  # a record that is written anew must not hide that it could not be read
            self.damaged = ()
            for key in [key for key, value in instances.items() if not isinstance(value, Commit)]:
                ctx.forget(key)
                del instances[key]
        else:
            for row in range(self.cluster.size):
                if fence_key(row) in disk:
                    self.fences[row] = disk[fence_key(row)]
            if IMAGE in disk:
                self._adopt(ctx, *disk[IMAGE])
        for row, number in [*instances, *self.damaged]:
            if row == self.me:
                self.next = max(self.next, number + 1)
        for row, number in [i for i in instances if i[1] <= self.collected[i[0]]]:
            del instances[row, number]
            ctx.forget((row, number))  # what cannot be read stays, to tell a crash before the end of the repair
        if self.fences.get(self.me):
            self.next = max(self.next, self.fences[self.me][-1][0])
        self.guarded = self.forgetful or bool(self.fences)
        return instances

    # --- asking the others --------------------------------------------------------------------------------------------

    def _repair(self, ctx: Context) -> None:
        """At every tick while forgetful: ask on, or be a voter again."""
        damaged = tuple(instance_id for instance_id in self.damaged if not self._committed(instance_id))
        if damaged:
            ctx.broadcast_unsynced(self.others, Forgotten(damaged))
        if self.lost and not self._is_bounded():
            self._recall(ctx)
        elif self._fetch_below_bound(ctx) and not damaged:
            self._rejoin(ctx)

    def on_forgotten(self, ctx: Context, source: int, message: Forgotten) -> None:
        """Tell what is decided; what is not, or was never heard of, is recovered in its turn."""
        for instance_id in message.instances:
            if instance_id[1] <= self.collected[instance_id[0]]:
                self._give_image(ctx, source)
            elif not self._settled(ctx, source, instance_id):
                self._instance(instance_id)

    def _recall(self, ctx: Context) -> None:
        silent = tuple(r for r in self.others if not self._is_fenced(r))
        ctx.broadcast_unsynced(silent, Recall(self.life, self.start, self.start_ballot))

    def on_recall(self, ctx: Context, source: int, message: Recall) -> None:
        """Put up the fence if nothing beyond it was heard of, and answer."""
        if self.lost:
            return
        heard = tuple(map(self._highest_heard, range(self.cluster.size)))
        fences = self.fences.get(source, ())
        if heard[source] < message.start and message.ballot > max(
            (ballot for _, ballot in fences), default=(0, source)
        ):
            self.fences[source] = (*fences, (message.start, message.ballot))
            self.guarded = True
            ctx.persist(fence_key(source), self.fences[source])
        own = self.fences.get(self.me, ())
        ctx.send(source, Recalled(message.life, heard, self.fences.get(source, ()), own))

    def on_recalled(self, ctx: Context, source: int, message: Recalled) -> None:
        """When all others have answered, choose where to go on; when all have put up the fence there, all is known."""
        if message.life != self.life or not self.lost or self._is_bounded():
            return
        self.recalled[source] = message
        if len(self.recalled) < self._answers_needed():
            return
        if self._is_bounded():
            self._take_bounds()
            return
        heard = max(answer.heard[self.me] for answer in self.recalled.values())
        last = [answer.fences[-1] for answer in self.recalled.values() if answer.fences]
        chosen = (self.start, self.start_ballot)
        overtaken = any(fence != chosen and fence[1] >= self.start_ballot for fence in last)
        if self.start_ballot[0] == 0 or heard >= self.start or overtaken:
            highest = max([self.start_ballot, *[ballot for _, ballot in last]])
            self.start = heard + 1
            self.start_ballot = (FENCE_STRIDE * (highest[0] // FENCE_STRIDE + 1), self.me)
            self._recall(ctx)

    def _take_bounds(self) -> None:
        for r, answer in self.recalled.items():
            self.bound = list(map(max, self.bound, answer.heard))
            self.fences[self.me] = answer.fences
            if answer.own_fences:
                self.fences[r] = answer.own_fences
        self.bound[self.me] = self.start - 1

    def _answers_needed(self) -> int:
        return len(self.others)

    def _is_fenced(self, r: int) -> bool:
        """Whether this other replica accepts nothing of our earlier lives from ``start`` on."""
        answer = self.recalled.get(r)
        return (
            answer is not None
            and answer.heard[self.me] < self.start
            and answer.fences[-1:] == ((self.start, self.start_ballot),)
        )

    def _is_bounded(self) -> bool:
        return sum(map(self._is_fenced, self.others)) >= max(1, self._answers_needed())

    # --- catching up --------------------------------------------------------------------------------------------------

    def _fetch_below_bound(self, ctx: Context) -> bool:
        """Whether all is here up to the bounds, and all that an installed snapshot covers and not everybody has
        executed; else ask for the first of each row that is missing."""
        complete = True
        for row, last in enumerate(self.bound):
            if self.image is not None:
                last = max(last, self.image.upto[row], *[number for r, number in self.image.ahead if r == row])
            number = self.collected[row] + 1
            while number in self.log[row]:
                number += 1
            if number <= last:
                complete = False
                ctx.broadcast_unsynced(self.others, Refetch((row, number)))
        return complete

    def _give_image(self, ctx: Context, to: int) -> None:
        """``to`` lacks what is forgotten here: it gets the state machine."""
        if self.forgetful:
            return
        graph = self.graph
        place = sum(graph.executed_upto) + sum(map(len, graph.executed_ahead)) + self.cluster.size
        asking, known = self.takings.get(place, ((), None))
        if known is None:
            ahead = tuple((row, n) for row, numbers in enumerate(graph.executed_ahead) for n in sorted(numbers))
            known = Image(
                tuple(graph.executed_upto), ahead, tuple(self.collected), self.sessions.image(), self.index.image()
            )
            ctx.take_snapshot(place)
        if to not in asking:
            self.takings[place] = ((*asking, to), known)

    def on_snapshot(self, ctx: Context, source: int, message: Snapshot) -> None:
        """The snapshot that was asked for."""
        asking, image = self.takings.pop(message.place, ((), None))
        if image is not None:
            if self.me in asking:
                self._save(ctx, message, image)
            ctx.broadcast(tuple(r for r in asking if r != self.me), Install(message, image))

    def _shorten_disk(self, ctx: Context) -> None:
        """Take a snapshot when enough is forgotten by all that is still on our disk."""
        every = self.options.snapshot_every
        if every and sum(self.collected) - sum(self.saved) >= every:
            self._give_image(ctx, self.me)

    def _save(self, ctx: Context, snapshot: Snapshot, image: Image) -> None:
        """The snapshot stands for what all have forgotten; what may still be asked for or count stays beside it."""
        ctx.persist(IMAGE, (snapshot, image))
        for row, (first, last) in enumerate(zip(self.saved, image.collected, strict=True)):
            for number in range(first + 1, last + 1):
                ctx.forget((row, number))
        self.saved = image.collected

    def _is_covered(self, instance_id: InstanceId) -> bool:
        """Whether it was executed as part of a snapshot that was installed."""
        return self.image is not None and self.graph.executed(instance_id)

    def on_install(self, ctx: Context, source: int, message: Install) -> None:
        """Only a forgetful replica asks for it, and it must not go back behind what it has executed."""
        if self.forgetful and self._is_news(message.image):
            self._adopt(ctx, message.snapshot, message.image)
            ctx.persist(IMAGE, (message.snapshot, message.image))

    def _is_news(self, image: Image) -> bool:
        """Whether it covers all that is executed here, and more is forgotten behind it."""
        graph, ahead = self.graph, set(image.ahead)
        for row, upto in enumerate(image.upto):
            executed = [*range(upto + 1, graph.executed_upto[row] + 1), *graph.executed_ahead[row]]
            if any(number > upto and (row, number) not in ahead for number in executed):
                return False
        return union(tuple(self.collected), image.collected) != tuple(self.collected)

    def _adopt(self, ctx: Context, snapshot: Snapshot, image: Image) -> None:
        """Be where ``snapshot`` is: the graph is made anew of what is known beyond it."""
        ctx.install(snapshot)
        self.image = image
        self.saved = image.collected
        self.sessions.restore(image.sessions)
        self.index.merge(image.index)
        graph = self.graph = self.graph_type(self.cluster.size)
        graph.begin_at(image.upto, image.ahead)
        self.collected = list(union(tuple(self.collected), image.collected))
        self.next = max(self.next, image.upto[self.me] + 1)
        for row, upto in enumerate(self.collected):
            for number in [number for number in self.log[row] if number <= upto]:
                del self.log[row][number]
        for instance_id in [i for i in self.live if graph.executed(i)]:
            del self.live[instance_id]
        beyond = [commit for log in self.log for commit in log.values() if not graph.executed(commit.instance)]
        for instance_id, instance in self.live.items():
            if instance.command is not None:
                graph.learn(*instance_id, instance.command)
        for commit in beyond:
            if commit.command.kind != "noop":
                graph.learn(*commit.instance, commit.command)
        for commit in beyond:
            if commit.command.kind == "noop":
                self._execute(ctx, graph.commit_noop(*commit.instance, None))
            else:
                self._execute(ctx, graph.commit(*commit.instance, commit.command, commit.deps, commit.seq))

    def _rejoin(self, ctx: Context) -> None:
        """Everything that was forgotten is decided, and known here: be a voter again, durably."""
        self.forgetful = False
        for row, number in self.damaged:
            if number <= self.collected[row]:
                ctx.forget((row, number))  # a snapshot covers it
        self.damaged = ()
        if self.lost:
            self.lost = False
            self.next = self._first_number()
            for row, fences in sorted(self.fences.items()):
                ctx.persist(fence_key(row), fences)
            if self.image is None:
                ctx.forget(IMAGE)
            ctx.forget(LOST)
        self.recalled.clear()
        self.guarded = bool(self.fences)
        ctx.note("repaired")
        for instance_id in sorted(self.live):
            if instance_id[0] == self.me:
                self.start_recovery(ctx, instance_id)
        self._drop_answered()
        parked, self.parked = self.parked, []
        for command in parked:
            self._resume(ctx, command)

    def _resume(self, ctx: Context, command: Command) -> None:
        """What has waited until we may lead again."""
        if self.sessions.executed(command):
            ctx.answer(command)
        else:
            self._lead(ctx, command)

    def _first_number(self) -> int:
        return self.start

    def _skip_named(self) -> None:
        """What we answered before the loss may name later numbers of ours: others may have recovered these by now."""
        while (self.me, self.next) in self.live or self._committed((self.me, self.next)):
            self.next += 1

    @abstractmethod
    def _drop_answered(self) -> None:
        """What was executed as part of a snapshot was not answered: its client asks again."""

    def check(self) -> None:
        """Local invariants."""
        super().check()
        assert not (self.forgetful and (self.leading or self.recovering)), "a forgetful replica leads or recovers"
