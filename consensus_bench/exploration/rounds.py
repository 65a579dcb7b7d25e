"""Random runs in rounds: the schedules that people make by hand, drawn.

A bug of a protocol is mostly few steps long: some replicas agree on something and the others do not hear of it, one of
these leads next, and what was sent before arrives after all. A scheduler that draws each step alone hardly comes by
there, because nothing that takes several messages ever gets done. So here the first phase goes in rounds. In each of
them something happens at one replica (a request, a time-out, a crash, a disk that lags from now on, an order of the
operator, a message of long ago), and then what follows from it is heard within a group of replicas around it until all
is said, mostly in the order of sending; or the round breaks off. What did not arrive is lost, or put aside to arrive
late.

A replica hears itself at once, or as soon as its disk has caught up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consensus_bench.contract import Cluster, HandOver, Message, ReplicaId, ns
from consensus_bench.exploration.faults import Load, RoundFaults
from consensus_bench.exploration.random_run import STEP_NS, RandomRun
from consensus_bench.exploration.world import Packet

MOST_LATE: Final = 40
"""Messages that are put aside at most: then one of them is lost."""
LONGEST_ROUND: Final = 300
"""Deliveries in a round at most: some conversations never end."""
SHORTEST_ROUND: Final = 8
"""Deliveries in a round that breaks off, at most."""
JUMP_NS: Final = ns(3000)
"""A long time: every time-out and every lease has ended then."""
WITHHELD_FROM_NOW_ON: Final = 0.3
"""Of a round that withholds a kind of message: how probably the next one's kind is it."""
UNSYNCED: Final = 0.7
"""How often nothing of what was pending survives a crash."""
ONE: Final = 0.4
"""How often a single late message arrives."""
ONE_LINK: Final = 0.7
"""How often that, or all that are late on its link."""
TIMERS_EVERY: Final = 64
"""Steps of the second phase between two looks at the timers, while messages flow."""
TIMER_WEIGHTS: Final = (0.1, 1, 3)
"""Timers of one kind fire in one run more often than those of another."""


class Rounds(RandomRun[RoundFaults]):
    """One random run, round by round."""

    quiet_steps = 20_000
    style = "Rounds"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        faults = self.faults
        orders = HandOver in self.protocol.messages
        happenings: tuple[tuple[Callable[[], object], float], ...] = (
            (self._request, faults.request),
            (self._retry, faults.retry),
            (self._fire, faults.timer),
            (self._late_ones_arrive, faults.late),
            (self._crash, faults.crash),
            (self._lag, faults.lag),
            (self._order_some, faults.order if orders else 0),
            (self._nothing, faults.idle),
        )
        self._happenings = [happening for happening, weight in happenings if weight]
        self._weights = [weight for _, weight in happenings if weight]
        self._timer_weights: dict[Any, float] = {}
        self._lagging: set[ReplicaId] = set()
        """Replicas whose disks keep nothing for now."""
        self._focus: ReplicaId = 0
        """Where the round takes place."""
        self._group: set[ReplicaId] = set(range(self.size))
        """Who hears of it."""

    def _draw_faults(self) -> RoundFaults:
        return RoundFaults.drawn(self.random, self.size)

    def _draw_load(self) -> Load:
        """Few commands on one key: who hears what of them is the question."""
        random = self.random
        return Load(commands=random.choice((4, 8, 16)), clients=8, keys=1, reads=random.choice((0.2, 0.5)))

    def _draw_cluster(self) -> Cluster:
        """Half of the runs have a first leader. Nobody knows distances: a trace does not either."""
        return Cluster(self.size, (), self.random.randrange(self.size) if self.random.random() < 0.5 else None)

    # --- the first phase ----------------------------------------------------------------------------------------------

    def disturb(self, length: int | None = None) -> None:
        """The first phase, or so many rounds of it."""
        random, faults = self.random, self.faults
        for me in range(self.size):
            self._serve(me)
        self._exchange(self._group if random.random() < faults.whole_start else self._around(0))
        for _ in range(faults.rounds if length is None else length):
            self._place()
            if random.random() < faults.jump:
                self.world.now_ns += JUMP_NS
            while True:
                [happening] = random.choices(self._happenings, self._weights)
                happening()
                if random.random() >= faults.more:
                    break
            self._exchange(self._group)

    def _place(self) -> None:
        """Where the next round takes place: at a replica, perhaps a leader, in a group around it."""
        random, faults = self.random, self.faults
        if random.random() < faults.steady:
            if random.random() < 0.5:
                self._focus = random.choice(sorted(self._group))
            return
        self._focus = random.randrange(self.size)
        if random.random() < faults.leading:
            self._focus = random.choice(self._leaders() or [self._focus])
        self._group = self._around(self._focus)

    def _around(self, me: ReplicaId) -> set[ReplicaId]:
        """``me`` and others: mostly a bare majority."""
        random, majority = self.random, self.size // 2 + 1
        size = random.choice((majority, majority, self.size, random.randint(1, self.size)))
        return {me, *random.sample([other for other in range(self.size) if other != me], size - 1)}

    def _exchange(self, group: set[ReplicaId]) -> None:
        """Messages flow within ``group`` until all is said, or the round breaks off. The rest is put aside."""
        random, faults, world = self.random, self.faults, self.world
        in_flight = world.in_flight
        left = random.randint(0, SHORTEST_ROUND) if random.random() < faults.breaks_off else LONGEST_ROUND
        withholds = random.random() < faults.withheld
        withheld: type[Message] | None = None
        if withholds and random.random() < 0.5:
            withheld = random.choice(self.protocol.messages)
        in_order = random.random() < faults.in_order
        while left and in_flight:
            left -= 1
            self.step += 1
            world.now_ns += int(2 * STEP_NS * random.random())
            packet = in_flight.pop(0 if in_order else random.randrange(len(in_flight)))
            source, to, message = packet
            if withholds and withheld is None and source >= 0 and random.random() < WITHHELD_FROM_NOW_ON:
                withheld = type(message)
            if to not in group or (source >= 0 and source not in group) or type(message) is withheld:
                self._put_aside(packet)
                continue
            if source >= 0 and random.random() < faults.again:
                self._late.append(packet)
                world.summary.duplicated += 1
            self._deliver(packet)
        for packet in in_flight:
            self._put_aside(packet)
        in_flight.clear()

    def _put_aside(self, packet: Packet) -> None:
        """It is lost, or arrives in a later round."""
        late, random = self._late, self.random
        if random.random() < self.faults.lost:
            self.world.lose(packet)
            return
        late.append(packet)
        if len(late) > MOST_LATE:
            self.world.lose(late.pop(random.randrange(MOST_LATE)))

    def _deliver(self, packet: Packet) -> None:
        in_flight = self.world.in_flight
        in_flight.append(packet)
        self.world.deliver(len(in_flight) - 1)
        self._serve(packet[1])

    def _serve(self, me: ReplicaId) -> None:
        """After a step of ``me``: its disk keeps what was written, unless it lags, and the replica hears itself."""
        world = self.world
        in_flight, server = world.in_flight, world.servers[me]
        while True:
            if server.pending and me not in self._lagging:
                world.sync(me, len(server.pending))
            own = next((place for place, packet in enumerate(in_flight) if packet[0] == packet[1]), None)
            if own is None:
                return
            in_flight.append(in_flight.pop(own))
            world.deliver(len(in_flight) - 1)

    # --- what happens in a round --------------------------------------------------------------------------------------

    def _nothing(self) -> None:
        """The group talks on."""

    def _request(self) -> None:
        if self.clients.may_ask():
            request = self.clients.new_request(self.step)
            request.asked = self._focus
            self._send(request)

    def _retry(self) -> None:
        if self.clients.open:
            request = self.random.choice(self.clients.open)
            request.asked = self._focus
            self.world.summary.retries += 1
            self._send(request)

    def _fire(self) -> None:
        """Any armed timer: what it waits for may be long over, or not."""
        random, timers = self.random, list(self.world.servers[self._focus].timers)
        if not timers:
            return
        weights = self._timer_weights
        kinds = [name[0] if isinstance(name, tuple) else name for name in timers]
        for kind in kinds:
            if kind not in weights:
                weights[kind] = random.choice(TIMER_WEIGHTS)
        [name] = random.choices(timers, [weights[kind] for kind in kinds])
        self.world.fire(self._focus, name)
        self._serve(self._focus)

    def _late_ones_arrive(self) -> None:
        """A message of an earlier round, or all that are late on its link, or all of its kind."""
        late, random = self._late, self.random
        if not late:
            return
        source, to, message = random.choice(late)
        which = random.random()
        if which < ONE:
            arriving = [packet for packet in late if packet[2] is message and packet[1] == to][:1]
        elif which < ONE_LINK:
            arriving = [packet for packet in late if packet[:2] == (source, to)]
        else:
            arriving = [packet for packet in late if type(packet[2]) is type(message)]
        for packet in arriving:
            late.remove(packet)
            self._deliver(packet)

    def _crash(self) -> None:
        """The replica dies and is back at once: while it is down it only does not answer."""
        me, random = self._focus, self.random
        pending = len(self.world.servers[me].pending)
        self.world.crash(me, 0 if random.random() < UNSYNCED else random.randint(0, pending))
        self._lagging.discard(me)
        if self.protocol.repairs_disks and random.random() < self.faults.damage and self._may_be_damaged(me):
            self._damage(me)
        self.world.restart(me)
        self._serve(me)

    def _lag(self) -> None:
        """The disk keeps nothing from now on, until it catches up or the replica crashes."""
        lagging = self._lagging
        if self._focus in lagging or (lagging and self.random.random() < 0.5):
            self._catch_up()
        else:
            lagging.add(self._focus)

    def _catch_up(self) -> None:
        behind = sorted(self._lagging)
        self._lagging.clear()
        for me in behind:
            self._serve(me)

    # --- the second phase ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """As in every style; each replica is asked once more."""
        self._catch_up()
        for me in range(self.size):
            if self.clients.may_ask():
                request = self.clients.new_request(self.step)
                request.asked = me
                self._send(request)
        super().settle()

    def _settled(self) -> bool:
        return not self.world.in_flight and super()._settled()

    def _wants_more(self) -> bool:
        return False

    def _quiet_step(self) -> None:
        """Messages arrive in the order of sending; when there are none, or now and then, a timer fires that is due."""
        self.step += 1
        world = self.world
        in_flight = world.in_flight
        if in_flight:
            world.now_ns += int(2 * STEP_NS * self.random.random())
            self._deliver(in_flight.pop(0))
        else:
            self._let_time_pass()
        if not in_flight or self.step % TIMERS_EVERY == 0:
            self._fire_due()
            for me in range(self.size):
                self._serve(me)
