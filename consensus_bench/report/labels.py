"""Where to put the labels of points on a map so that none covers another, a marker or a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points: TypeAlias = NDArray[np.float64]
    """(n, 2): x and y in pixels."""
    Costs: TypeAlias = NDArray[np.float64]

GAPS_PX: Final = (1, 5, 10, 16, 24, 34, 46, 60, 76, 94, 114, 136, 160)
"""Distances tried between a marker and its label."""
DIRECTIONS: Final = 36
KEPT: Final = 200
"""Candidates per label, the cheapest by themselves."""
SWEEPS: Final = 10
ORDERS: Final = 4
FORBIDDEN: Final = 1e6
CROSSING: Final = 1e3
COVERED_LINE: Final = 3.0


class Surroundings(msgspec.Struct, frozen=True):
    """What labels must heed, in pixels: the frame (left, bottom, right, top), markers and their radius, and points
    along lines that had better stay visible."""

    frame: tuple[float, float, float, float]
    markers: Any
    radius: float
    lines: Any


class _Placed(msgspec.Struct, frozen=True):
    """Places for labels: their boxes, and from where to where each one's leader line runs. All arrays are (n, 2)."""

    centre: Any
    low: Any
    high: Any
    anchor: Any
    end: Any

    def take(self, which: Any) -> _Placed:
        return _Placed(self.centre[which], self.low[which], self.high[which], self.anchor[which], self.end[which])


def place_labels(anchors: Points, sizes: Points, around: Surroundings) -> Points:
    """The centre of each label (width, height in ``sizes``) beside its anchor.

    Each label in turn takes the cheapest of its candidates given all others, until nothing moves: overlaps are
    forbidden, crossings dear, distance cheap. Several orders are tried; the result is the same each time.
    """
    import numpy as np

    count = len(anchors)
    offered = [_candidates(anchors[i], sizes[i], around) for i in range(count)]
    best, best_cost = np.zeros((count, 2)), np.inf
    for order in _orders(anchors):
        centres, cost = _settle(offered, order)
        if cost < best_cost:
            best, best_cost = centres, cost
        if best_cost < CROSSING:
            break
    return best


def _orders(anchors: Points) -> list[Any]:
    """Crowded labels first, the reverse, and a few shuffles."""
    import numpy as np

    apart = np.hypot(anchors[:, None, 0] - anchors[None, :, 0], anchors[:, None, 1] - anchors[None, :, 1])
    crowded_first = np.argsort(np.sort(apart, axis=1)[:, :4].sum(axis=1), kind="stable")
    shuffles = np.random.default_rng(0)
    return [crowded_first, crowded_first[::-1], *(shuffles.permutation(len(anchors)) for _ in range(ORDERS - 2))]


def _settle(offered: list[tuple[_Placed, Costs]], order: Any) -> tuple[Points, float]:
    """Lets the labels choose in turn, in this order, until nothing moves; their centres and the total cost."""
    import numpy as np

    count = len(offered)
    choice = np.zeros(count, dtype=int)
    for _ in range(SWEEPS):
        total, moved = 0.0, False
        for i in order:
            candidates, own = offered[i]
            cost = own.copy()
            if count > 1:
                cost += _shared_cost(candidates, _join([offered[j][0].take(choice[j]) for j in range(count) if j != i]))
            chosen = int(cost.argmin())
            moved |= chosen != choice[i]
            choice[i] = chosen
            total += float(cost[chosen])
        if not moved:
            break
    return np.array([offered[i][0].centre[choice[i]] for i in range(count)]), total


def _join(placed: list[_Placed]) -> _Placed:
    import numpy as np

    fields = ("centre", "low", "high", "anchor", "end")
    return _Placed(*(np.array([getattr(one, field) for one in placed]) for field in fields))


def _candidates(anchor: Points, size: Points, around: Surroundings) -> tuple[_Placed, Costs]:
    """Places around ``anchor``, the label's nearest edge at each gap and direction, and what each costs by itself; the
    cheapest first."""
    import numpy as np

    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = np.array(GAPS_PX, dtype=float)[:, None, None] + around.radius
    centre = (anchor + unit * reach + np.clip(unit * 1.6, -1, 1) * size / 2).reshape(-1, 2)
    low, high = centre - size / 2, centre + size / 2
    places = _Placed(centre, low, high, np.broadcast_to(anchor, centre.shape), np.clip(anchor, low, high))
    left, bottom, right, top = around.frame
    outside = (low < [left, bottom]).any(axis=1) | (high > [right, top]).any(axis=1)
    others = around.markers[(around.markers != anchor).any(axis=1)]
    on_markers = _contains(low - around.radius, high + around.radius, around.markers).sum(axis=1)
    past_markers = _enters(places.anchor, places.end, others - around.radius, others + around.radius).sum(axis=1)
    on_lines = _contains(low, high, around.lines).sum(axis=1)
    distance = np.hypot(*(places.end - anchor).T) + np.abs(centre[:, 1] - anchor[1]) / 50
    cost = FORBIDDEN * (outside + on_markers) + CROSSING * past_markers + COVERED_LINE * on_lines + distance
    cheapest = np.argsort(cost, kind="stable")[:KEPT]
    return places.take(cheapest), cost[cheapest]


def _shared_cost(candidates: _Placed, placed: _Placed) -> Costs:
    """What each candidate costs given the labels ``placed`` elsewhere."""
    apart = (candidates.low[:, None] < placed.high[None] + 1) & (candidates.high[:, None] > placed.low[None] - 1)
    overlaps = apart.all(axis=2).sum(axis=1)
    through = _enters(candidates.anchor, candidates.end, placed.low, placed.high).sum(axis=1)
    covering = _enters(placed.anchor, placed.end, candidates.low, candidates.high).sum(axis=0)
    crossing = _cross(candidates.anchor, candidates.end, placed.anchor, placed.end).sum(axis=1)
    cost: Costs = FORBIDDEN * overlaps + CROSSING * (through + covering + crossing)
    return cost


def _contains(low: Points, high: Points, points: Points) -> Any:
    """(boxes, points): which box contains which point."""
    return ((points[None] > low[:, None]) & (points[None] < high[:, None])).all(axis=2)


def _enters(start: Points, end: Points, low: Points, high: Points) -> Any:
    """(segments, boxes): which segment has a part inside which box (the slab method)."""
    import numpy as np

    along = (end - start)[:, None]
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    first, second = (low[None] - start[:, None]) / along, (high[None] - start[:, None]) / along
    enter, leave = np.minimum(first, second).max(axis=2), np.maximum(first, second).min(axis=2)
    return np.maximum(enter, 0) < np.minimum(leave, 1)


def _cross(a: Points, b: Points, c: Points, d: Points) -> Any:
    """(n, m): whether segment a-b crosses segment c-d."""
    a, b, c, d = a[:, None], b[:, None], c[None], d[None]
    return (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)


def _side(p: Points, q: Points, r: Points) -> Points:
    """Positive where r lies to the left of the way from p to q."""
    way, other = q - p, r - p
    area: Points = way[..., 0] * other[..., 1] - way[..., 1] * other[..., 0]
    return area
