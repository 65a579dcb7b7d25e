"""The scheduler that takes any step at any time: the first phase of a random run, step by step.

Messages are delivered in any order, lost, delivered twice, held up on cut links; timers fire whenever they like; disks
lag; replicas crash and recover. Each step is drawn anew at the rates of ``Faults``.
"""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.contract import Cluster, ReplicaId, ns
from consensus_bench.exploration.faults import Faults
from consensus_bench.exploration.random_run import STEP_NS, RandomRun

MOST_IN_FLIGHT: Final = 400
"""Above that, messages are lost at random: the network is no memory without end."""
LATE_MESSAGES: Final = 10
"""About so many messages are put aside at a time."""
APART: Final = 0.5
"""How often the members to be are cut off from the others when they are to be."""
HELD_UP: Final = 3
"""How many messages are looked at for one whose link is not cut."""


class Scheduler(RandomRun[Faults]):
    """One random run, step by step."""

    quiet_steps = 60_000

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._actions = self._thresholds()

    def _draw_faults(self) -> Faults:
        return Faults.drawn(self.random, self.size)

    def _draw_cluster(self) -> Cluster:
        """Half of the runs have a first leader, half know distances."""
        random, size = self.random, self.size
        first_leader = random.randrange(size) if random.random() < 0.5 else None
        delays: tuple[tuple[int, ...], ...] = ()
        if random.random() < 0.5:
            delays = tuple(tuple(0 if a == b else ns(random.randint(1, 100)) for b in range(size)) for a in range(size))
        return Cluster(size, delays, first_leader)

    def _thresholds(self) -> list[tuple[float, Any]]:
        faults = self.faults
        actions = (
            (faults.sync, self._sync_some),
            (faults.timer, self._fire_some),
            (faults.request, self._ask),
            (faults.drop, self._drop_some),
            (faults.duplicate, self._deliver_twice),
            (faults.late, self._delay_some),
            (faults.retry, self._ask_again),
            (faults.restart, self._restart_some),
            (faults.heal, self._heal),
            (faults.crash, self._crash_some),
            (faults.partition, self._partition),
            (faults.order, self._order_some),
        )
        total, thresholds = 0.0, []
        for rate, action in actions:
            total += rate
            thresholds.append((total, action))
        return thresholds

    def disturb(self, length: int | None = None) -> None:
        """The first phase, or so many steps of it."""
        draw, actions, world = self.random.random, self._actions, self.world
        for _ in range(self.faults.steps if length is None else length):
            self.step += 1
            world.now_ns += int(2 * STEP_NS * draw())
            drawn = draw()
            for threshold, action in actions:
                if drawn < threshold:
                    if not action():
                        self._deliver_some()
                    break
            else:
                self._deliver_some()
            if len(world.in_flight) > MOST_IN_FLIGHT:
                self._drop_some()

    # --- the second phase ---------------------------------------------------------------------------------------------

    def _wants_more(self) -> bool:
        return self.clients.may_ask()

    def _quiet_step(self) -> None:
        """Serve whoever waits, one at random; timers, when they are due; and when nobody waits, let time pass."""
        self.step += 1
        world, random = self.world, self.random
        world.now_ns += int(2 * STEP_NS * random.random())
        if self._fire_due():
            return
        lagging = [me for me, server in enumerate(world.servers) if server.pending]
        work = len(world.in_flight) + len(lagging)
        if not work:
            if not self._ask():
                self._let_time_pass()
            return
        choice = int(random.random() * work)
        if choice < len(world.in_flight):
            world.deliver(choice)
        else:
            me = lagging[choice - len(world.in_flight)]
            world.sync(me, len(world.servers[me].pending))
        if random.random() < self.faults.request:
            self._ask()

    # --- actions: each says whether it was possible -------------------------------------------------------------------

    def _deliver_some(self, keep: bool = False) -> bool:
        """Any message whose link is not cut; if there is none, the disks go on, or time does."""
        world, draw = self.world, self.random.random
        in_flight = world.in_flight
        for _ in range(HELD_UP):
            if not in_flight:
                return self._sync_some() or self._fire_first()
            position = int(draw() * len(in_flight))
            source, to, _ = in_flight[position]
            if (source, to) not in self._cut:
                world.deliver(position, keep and source != to)
                return True
        return self._sync_some() or self._fire_first()

    def _deliver_twice(self) -> bool:
        return self._deliver_some(keep=True)

    def _drop_some(self) -> bool:
        in_flight = self.world.in_flight
        if not in_flight:
            return False
        position = int(self.random.random() * len(in_flight))
        source, to, _ = in_flight[position]
        if source == to:  # a process does not lose its own messages
            return False
        self.world.drop(position)
        return True

    def _delay_some(self) -> bool:
        """Put a message aside, or back: the more there are, the likelier."""
        late, in_flight, draw = self._late, self.world.in_flight, self.random.random
        if draw() < len(late) / (len(late) + LATE_MESSAGES):
            position = int(draw() * len(late))
            late[position], late[-1] = late[-1], late[position]
            in_flight.append(late.pop())
        elif in_flight:
            position = int(draw() * len(in_flight))
            source, to, _ = in_flight[position]
            if source != to:
                late.append(self.world.take(position))
        return True

    def _sync_some(self) -> bool:
        """A group commit: all that is pending, or a part of it."""
        servers, random = self.world.servers, self.random
        lagging = [me for me, server in enumerate(servers) if server.pending]
        if not lagging:
            return False
        me = lagging[int(random.random() * len(lagging))]
        pending = len(servers[me].pending)
        self.world.sync(me, pending if random.random() < 0.5 else 1 + int(random.random() * pending))
        return True

    def _fire_some(self) -> bool:
        random = self.random
        if random.random() >= self.faults.early:
            return self._fire_first()
        armed = [(me, name) for me, server in enumerate(self.world.servers) for name in server.timers]
        if not armed:
            return False
        self.world.fire(*armed[int(random.random() * len(armed))])
        return True

    def _fire_first(self) -> bool:
        first = self._first_timer()
        if first is None:
            return False
        due, me, name = first
        self.world.now_ns = max(self.world.now_ns, due)
        self.world.fire(me, name)
        return True

    def _crash_some(self) -> bool:
        servers, random = self.world.servers, self.random
        up = [me for me, server in enumerate(servers) if server.replica is not None]
        if self.size - len(up) >= self.faults.crashed_at_most:
            return False
        me = up[int(random.random() * len(up))]
        self.world.crash(me, int(random.random() * (len(servers[me].pending) + 1)))
        return True

    def _restart_some(self) -> bool:
        down = [me for me, server in enumerate(self.world.servers) if server.replica is None]
        if not down:
            return False
        me = down[int(self.random.random() * len(down))]
        if self.faults.damage and self.random.random() < self.faults.damage and self._may_be_damaged(me):
            self._damage(me)
        self.world.restart(me)
        return True

    def _partition(self) -> bool:
        """Cut one replica off, wholly or one way, or split the cluster, or cut a single link."""
        random, replicas = self.random, range(self.size)
        one, other = random.randrange(self.size), random.randrange(self.size)
        side = {me for me in replicas if random.random() < 0.5}
        links = [(a, b) for a in replicas for b in replicas if a != b]
        kinds = (
            [link for link in links if one in link],
            [link for link in links if link[1] == one],
            [link for link in links if link[0] == one],
            [(a, b) for a, b in links if (a in side) != (b in side)],
            [(one, other), (other, one)],
        )
        self._cut = frozenset(random.choice(kinds))
        self.world.summary.partitions += 1
        self._tell(f"links that let nothing through: {sorted(self._cut)}")
        return True

    def _heal(self) -> bool:
        if not self._cut:
            return False
        self._cut = frozenset()
        self._tell("all links let messages through")
        return True

    def _ordered(self, members: tuple[ReplicaId, ...]) -> None:
        """Often the members to be are cut off from the rest just then."""
        replicas = range(self.size)
        if self.random.random() < APART:
            self._cut = frozenset((a, b) for a in replicas for b in replicas if (a in members) != (b in members))
