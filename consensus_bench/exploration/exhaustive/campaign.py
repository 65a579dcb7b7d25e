"""A campaign: explore one configuration, judge the properties, write the trace of what is violated."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.properties import find_properties
from consensus_bench.exploration.exhaustive.search import Search
from consensus_bench.exploration.exhaustive.walks import random_walks
from consensus_bench.exploration.exhaustive.witness import choices_along, event_of, make_trace, path_to
from consensus_bench.exploration.trace import Trace

Extent = Literal["closed", "depth bound", "state bound", "64 bits are full", "interrupted", "violated", "random walks"]


class Report(msgspec.Struct, kw_only=True):
    """What a campaign found. ``extent``: how far it came. ``handler_steps``: distinct steps of a replica, for each of
    which the protocol's code ran once. ``left_out`` of these would have gone beyond the bound on ballots."""

    protocol: str
    extent: Extent
    states: int
    transitions: int
    depth: int
    frontier: int
    seconds: float
    handler_steps: int
    left_out: int
    levels: list[int]
    lagging_disks: bool
    always: list[str]
    reached: list[str]
    missing: list[str]
    """Reachable properties that never happened."""
    trace: Trace | None = None

    @property
    def transitions_per_s(self) -> float:
        """Of processor time, protocol code included."""
        return self.transitions / max(self.seconds, 1e-9)


def explore(
    spec: str,
    bounds: Bounds,
    settings: dict[str, Any] | None = None,
    properties: Iterable[str] = (),
    walks: tuple[int, int, int] | None = None,
) -> Report:
    """Explore the protocol ``spec`` within ``bounds``: exhaustively, or by random ``walks`` (how many, of how many
    steps, from which seed). ``ConfigError`` for what cannot be explored."""
    bounds.validate()
    protocol = find_protocol(spec)
    options = make_options(protocol, settings or {}, bounds.replicas)
    chosen = find_properties(properties, bounds.crashes, protocol.decides)
    search = Search(protocol, options, bounds, chosen)
    start = time.process_time()
    if walks is None:
        search.run()
        extent, choices = _extent(search), []
        if search.result.violating_state is not None:
            choices = choices_along(search, path_to(search, search.result.violating_state))
        states, steps = search.result.states, search.result.transitions
    else:
        walked = random_walks(search, *walks)
        extent, choices, states, steps = "random walks", walked.choices, walked.distinct, walked.steps
    violated = search.result.violation is not None
    reachable = [p for p in chosen if p.mood == "reachable"]
    trace = make_trace(search, [event_of(search, c) for c in choices], spec, settings or {}) if violated else None
    return Report(
        protocol=spec,
        extent="violated" if violated else extent,
        states=states,
        transitions=steps,
        depth=search.result.depth,
        frontier=search.result.frontier,
        seconds=time.process_time() - start,
        handler_steps=search.nodes.handlers.calls,
        left_out=search.nodes.handlers.beyond,
        levels=search.result.levels,
        lagging_disks=search.nodes.lagging,
        always=[p.name for p in chosen if p.mood == "always"],
        reached=[p.name for p in reachable if p.fact in search.result.facts],
        missing=[p.name for p in reachable if p.fact not in search.result.facts],
        trace=trace,
    )


def _extent(search: Search) -> Extent:
    result = search.result
    if result.closed:
        return "closed"
    if result.interrupted:
        return "interrupted"
    if result.full:
        return "64 bits are full"
    return "depth bound" if result.depth == search.bounds.depth else "state bound"
