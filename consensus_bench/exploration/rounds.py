"""Random runs in rounds: the schedules that people make by hand, drawn.

A bug of a protocol is mostly few steps long: some replicas agree on something and the others do not hear of it, one of
these leads next, and what was sent before arrives after all. A scheduler that draws each step alone hardly comes by
there, because nothing that takes several messages ever gets done. So here the first phase goes in rounds. In each of
them something happens at one replica (a request, a time-out, an order of the operator), and then what follows from it
is heard within a group of replicas around it until all is said, or the round breaks off. What did not arrive is lost,
or put aside to arrive before a later round. Between rounds replicas crash, and disks lag.

A run has few groups, most of them bare majorities, so that the same ones come back. A replica hears itself at once, or
as soon as its disk has caught up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consensus_bench.contract import Cluster, HandOver, ReplicaId, TimerName, ns
from consensus_bench.exploration.faults import Load, RoundFaults
from consensus_bench.exploration.random_run import STEP_NS, RandomRun
from consensus_bench.exploration.world import Packet

FIRST_LEADER: Final = 0.8
"""Share of the runs that have one."""
WHOLE_START: Final = 0.7
"""Share of the runs in which all hear what the replicas say when they start."""
MOST_LATE: Final = 40
"""Messages that are put aside at most: then one of them is lost."""
LONGEST_ROUND: Final = 300
"""Deliveries in a round at most: some conversations never end."""
SHORTEST_ROUND: Final = 8
"""Deliveries in a round that breaks off, at most."""
ATTEMPTS: Final = 6
"""So often something happens until somebody says something: else it is no round."""
PATIENCE: Final = 6
"""So often a timer fires until its replica says something."""
JUMP_NS: Final = ns(3000)
"""A long time: every time-out and every lease has ended then."""
LEADS: Final = 0.9
"""How often a request or an order is given to a leader, if there is one."""
HERE: Final = 0.6
"""How often it is the replica of the round that crashes, or whose disk lags."""
SLOW: Final = 0.7
"""How often a message of a slow kind does not arrive in its round."""
UNSYNCED: Final = 0.7
"""How often nothing of what was pending survives a crash."""
LAGGING_CRASHES: Final = 0.3
"""After a round, of the replicas whose disks lag."""
CATCHES_UP: Final = 0.5
"""That, or the disk catches up."""
ONE: Final = 0.4
"""How often a single late message arrives."""
ONE_LINK: Final = 0.7
"""How often that, or all that are late on its link."""
TIMER_WEIGHTS: Final = (0.1, 0.3, 5)
"""Timers of one kind fire in one run much more often than those of another."""
TIMERS_EVERY: Final = 64
"""Steps of the second phase between two looks at the timers, while messages flow."""


class Rounds(RandomRun[RoundFaults]):
    """One random run, round by round."""

    quiet_steps = 40_000
    retry_ns = ns(1000)
    style = "Rounds"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        faults, random = self.faults, self.random
        happenings: tuple[tuple[Callable[[], bool], float], ...] = (
            (self._request, faults.request),
            (self._timer, faults.timer),
            (self._retry, faults.retry),
            (self._order_some, faults.order if HandOver in self.protocol.messages else 0),
        )
        self._happenings = [happening for happening, weight in happenings if weight]
        self._weights = [weight for _, weight in happenings if weight]
        self._timer_weights: dict[TimerName, float] = {}
        self._slow = {kind for kind in self.protocol.messages if random.random() < faults.slow}
        """Kinds of messages that mostly arrive late."""
        self._lagging: set[ReplicaId] = set()
        """Replicas whose disks keep nothing for now."""
        self._focus: ReplicaId = 0
        """Where the round takes place."""
        self._groups = [self._around(random.randrange(self.size)) for _ in range(faults.groups)]
        self._group = self._groups[0]
        """Who hears of it."""

    def _draw_faults(self) -> RoundFaults:
        return RoundFaults.drawn(self.random)

    def _draw_load(self) -> Load:
        """Few commands on one key: who hears what of them is the question. More reads where they have ways of their
        own."""
        reads = 0.2 if getattr(self.options, "reads", "log") == "log" else 0.5
        return Load(commands=self.random.choice((4, 8, 16)), clients=8, keys=1, reads=reads)

    def _draw_cluster(self) -> Cluster:
        """Nobody knows distances: nothing takes time here."""
        leader = self.random.randrange(self.size)
        return Cluster(self.size, (), leader if self.random.random() < FIRST_LEADER else None)

    def _around(self, me: ReplicaId) -> set[ReplicaId]:
        """``me`` and others: mostly a bare majority."""
        random, most, majority = self.random, self.size, self.size // 2 + 1
        size = random.choice((1, 1, majority, majority, majority, majority, most, random.randint(1, most)))
        return {me, *random.sample([other for other in range(most) if other != me], size - 1)}

    # --- the first phase ----------------------------------------------------------------------------------------------

    def disturb(self, length: int | None = None) -> None:
        """The first phase, or so many rounds of it."""
        random, faults = self.random, self.faults
        for me in range(self.size):
            self._serve(me)
        self._exchange(set(range(self.size)) if random.random() < WHOLE_START else self._group)
        for _ in range(faults.rounds if length is None else length):
            if random.random() < faults.jump:
                self.world.now_ns += int(JUMP_NS * random.random())
            self._begin()
            if random.random() < faults.more:
                self._happen()
            self._exchange(self._group)
            self._end()

    def _begin(self) -> None:
        """Something happens that is heard of."""
        random, faults = self.random, self.faults
        for _ in range(ATTEMPTS):
            [happening] = random.choices(self._happenings, self._weights)
            self._place(at_a_leader=happening in (self._request, self._order_some))
            if random.random() < faults.lag:
                self._lagging.add(self._here_or_anywhere())
            if random.random() < faults.late:
                self._late_ones_arrive()
            if happening() and (self.world.in_flight or (self._lagging and random.random() < 0.5)):
                return

    def _happen(self) -> None:
        [happening] = self.random.choices(self._happenings, self._weights)
        happening()

    def _end(self) -> None:
        """Replicas crash, disks catch up."""
        random = self.random
        if random.random() < self.faults.crash:
            self._crash(self._here_or_anywhere())
        for me in sorted(self._lagging):
            drawn = random.random()
            if drawn < LAGGING_CRASHES:
                self._crash(me)
            elif drawn < CATCHES_UP:
                self._lagging.discard(me)
                self._serve(me)

    def _place(self, at_a_leader: bool) -> None:
        """Where the next round takes place: at a replica, in one of its groups."""
        random = self.random
        stays = random.random() < self.faults.steady
        leaders = self._leaders() if at_a_leader else []
        if leaders and random.random() < LEADS:
            if not (stays and self._focus in leaders):
                self._focus = random.choice(leaders)
        elif not stays:
            self._focus = random.randrange(self.size)
        self._gather()

    def _gather(self) -> None:
        """One of the groups of the replica."""
        if self._focus not in self._group or self.random.random() >= self.faults.steady:
            groups = [group for group in self._groups if self._focus in group]
            self._group = self.random.choice(groups or [{self._focus}])

    def _here_or_anywhere(self) -> ReplicaId:
        return self._focus if self.random.random() < HERE else self.random.randrange(self.size)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _exchange(self, group: set[ReplicaId]) -> None:
        """Messages flow within ``group`` until all is said, or the round breaks off. The rest is put aside."""
        random, faults, world = self.random, self.faults, self.world
        in_flight = world.in_flight
        left = random.randint(0, SHORTEST_ROUND) if random.random() < faults.breaks_off else LONGEST_ROUND
        in_order = random.random() < faults.in_order
        while left and in_flight:
            left -= 1
            self.step += 1
            world.now_ns += int(2 * STEP_NS * random.random())
            packet = in_flight.pop(0 if in_order else random.randrange(len(in_flight)))
            source, to, message = packet
            if type(message) in self._slow and random.random() < SLOW:
                self._late.append(packet)
                continue
            if to not in group or (source >= 0 and source not in group):
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
        """It is lost, or arrives before a later round."""
        late, random = self._late, self.random
        if random.random() < self.faults.lost:
            self.world.lose(packet)
            return
        late.append(packet)
        if len(late) > MOST_LATE:
            self.world.lose(late.pop(random.randrange(MOST_LATE)))

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

    # --- what happens: each says whether it could ---------------------------------------------------------------------

    def _request(self) -> bool:
        if not self.clients.may_ask():
            return False
        self._ask_here(self.clients.new_request(self.step))
        return True

    def _retry(self) -> bool:
        if not self.clients.open:
            return False
        self.world.summary.retries += 1
        self._ask_here(self.random.choice(self.clients.open))
        return True

    def _ask_here(self, request: Any) -> None:
        request.asked = self._focus
        self._send(request)

    def _timer(self) -> bool:
        """A timer of the replica fires, or, if the round need not be there, one of any: again and again, until its
        replica says something."""
        random, servers, weights = self.random, self.world.servers, self._timer_weights
        stays = random.random() < self.faults.steady
        replicas = [self._focus] if stays else range(self.size)
        armed = [(me, name) for me in replicas for name in servers[me].timers]
        if not armed:
            return False
        kinds = [name[0] if isinstance(name, tuple) else name for _, name in armed]
        for kind in kinds:
            if kind not in weights:
                weights[kind] = random.choice(TIMER_WEIGHTS)
        [(me, name)] = random.choices(armed, [weights[kind] for kind in kinds])
        if me != self._focus:
            self._focus = me
            self._gather()
        for _ in range(PATIENCE):
            self.world.fire(me, name)
            self._serve(me)
            if self.world.in_flight or name not in servers[me].timers or me in self._lagging:
                break
        return True

    def _crash(self, me: ReplicaId) -> None:
        """The replica dies and is back at once: while it is down it only does not answer."""
        random = self.random
        pending = len(self.world.servers[me].pending)
        self.world.crash(me, 0 if random.random() < UNSYNCED else random.randint(0, pending))
        self._lagging.discard(me)
        if random.random() < self.faults.damage and self._may_be_damaged(me):
            self._damage(me)
        self.world.restart(me)
        self._serve(me)

    # --- the second phase ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """As in every style; each replica is asked once more."""
        behind = sorted(self._lagging)
        self._lagging.clear()
        for me in behind:
            self._serve(me)
        for me in range(self.size):
            self._focus = me
            self._request()
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
