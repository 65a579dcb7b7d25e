"""Faults of links: which gates a target means, and what happens at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Final

from consensus_bench.simulation.events import NORMAL, Alarm
from consensus_bench.simulation.faults.gate import End, Gate, Trouble
from consensus_bench.simulation.faults.kinds import (
    DuplicatingLink,
    Flapping,
    LinkFault,
    LossyLink,
    Partition,
    ReorderingLink,
    SlowLink,
    Swizzle,
)
from consensus_bench.simulation.faults.targets import CLIENTS, REPLICAS, REST, Links, choose

if TYPE_CHECKING:
    from consensus_bench.simulation.world import World

Side = Callable[[End], bool]
Undo = Callable[[], None]
CUT: Final = Trouble(cut=True)


class Chosen:
    """The links that a target means now. ``text`` names them by site; ``pairs`` groups the gates by pair of sites."""

    def __init__(self, links: Links, gates: Sequence[Gate], sites: Sequence[str], leader: int | None, draw: Random):
        named: dict[int, list[str]] = {}
        for position, side in enumerate(links.sides):
            if side.role not in (REST, REPLICAS, CLIENTS):
                replicas = choose(side, sites, leader, draw) if side.role != "sites" else []
                named[position] = [sites[replica] for replica in replicas] or list(side.sites)
        every = any(side.role == "all" for side in links.sides)  # then each site is on a side of its own
        taken = set() if every else {site for names in named.values() for site in names}
        sides: list[tuple[str, Side]] = []
        for position, side in enumerate(links.sides):
            if position in named:
                text = "all" if side.role == "all" else ",".join(named[position])
                sides.append((text, _at(frozenset(named[position]))))
            else:
                sides.append((side.role, _other(side.role, frozenset(taken))))
        self.text = (" > " if links.one_way else " | ").join(text for text, _ in sides)
        with_clients = any(side.role == CLIENTS for side in links.sides)
        replicas_only = any(side.role == REPLICAS for side in links.sides)
        self.gates = [
            gate
            for gate in gates
            if gate.origin is not gate.target
            and (with_clients or gate.origin.site != gate.target.site)
            and not (replicas_only and (gate.origin.replica is None or gate.target.replica is None))
            and _between(gate, [member for _, member in sides], links.one_way)
        ]

    def pairs(self) -> list[list[Gate]]:
        """The gates of each pair of sites, both directions together, in the order of the sites' first appearance."""
        found: dict[frozenset[str], list[Gate]] = {}
        for gate in self.gates:
            found.setdefault(frozenset((gate.origin.site, gate.target.site)), []).append(gate)
        return list(found.values())


def _at(sites: frozenset[str]) -> Side:
    return lambda end: end.site in sites


def _other(role: str, taken: frozenset[str]) -> Side:
    if role == CLIENTS:
        return lambda end: end.replica is None
    if role == REPLICAS:
        return lambda end: end.replica is not None and end.site not in taken
    return lambda end: end.site not in taken


def _between(gate: Gate, sides: list[Side], one_way: bool) -> bool:
    """Whether it leads from one side to another; at ``clients`` a site's replica is on one side, its clients are on the
    other."""
    for a, b in combinations(sides, 2):
        if a(gate.origin) and b(gate.target):
            return True
        if not one_way and b(gate.origin) and a(gate.target):
            return True
    return False


def strike_links(world: World, fault: LinkFault, chosen: Chosen, end_ns: int, draw: Random) -> Undo:
    """Let the fault's trouble begin at the chosen gates; what ends it."""
    if isinstance(fault, Flapping):
        return _flap(world, fault, chosen.gates)
    if isinstance(fault, Swizzle):
        return _swizzle(world, chosen.pairs(), end_ns, draw)
    return _lay(_trouble(fault), chosen.gates)


def _trouble(fault: LinkFault) -> Trouble:
    match fault:
        case SlowLink():
            return Trouble(delay_ns=fault.time_ns("delay"), factor=fault.factor)
        case LossyLink():
            return Trouble(lose=fault.rate)
        case DuplicatingLink():
            return Trouble(duplicate=fault.rate, within_ns=fault.time_ns("delay"))
        case ReorderingLink():
            return Trouble(reorder=fault.rate, within_ns=fault.time_ns("delay"))
        case Partition():
            return CUT
    raise TypeError(f"{fault.kind} is no trouble of its own")


def _lay(trouble: Trouble, gates: Sequence[Gate]) -> Undo:
    """``trouble`` at all ``gates``, and what lifts it: each fault lifts its own, whatever the others do."""
    for gate in gates:
        gate.troubles.append(trouble)

    def lift() -> None:
        for gate in gates:
            gate.troubles.remove(trouble)

    return lift


def _flap(world: World, fault: Flapping, gates: Sequence[Gate]) -> Undo:
    half_ns = fault.time_ns("period") // 2
    lift: Undo | None = None
    over = False

    def turn(_event: Alarm | None) -> None:
        nonlocal lift
        if over:
            return
        if lift is None:
            lift = _lay(CUT, gates)
        else:
            lift()
            lift = None
        world.schedule(Alarm((turn,)), NORMAL, half_ns)

    def end() -> None:
        nonlocal over
        over = True
        if lift is not None:
            lift()

    turn(None)
    return end


def _swizzle(world: World, pairs: list[list[Gate]], end_ns: int, draw: Random) -> Undo:
    """Each pair of sites is cut at a moment of the first half and whole again at one of the second."""
    now: int = world.env.now
    half_ns = (min(end_ns, world.stop_ns) - now) // 2
    lifts: dict[int, Undo] = {}
    over = False

    def cut(event: Alarm) -> None:
        if not over:
            lifts[event.what] = _lay(CUT, pairs[event.what])

    def restore(event: Alarm) -> None:
        if event.what in lifts:
            lifts.pop(event.what)()

    for number in range(len(pairs)):
        world.schedule(Alarm((cut,), number), NORMAL, round(draw.random() * half_ns))
        world.schedule(Alarm((restore,), number), NORMAL, half_ns + round(draw.random() * half_ns))

    def end() -> None:
        nonlocal over
        over = True
        for lift in lifts.values():
            lift()
        lifts.clear()

    return end
