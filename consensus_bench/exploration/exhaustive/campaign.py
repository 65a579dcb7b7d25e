"""A campaign: explore one configuration, judge the properties, write the trace of what is violated."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.nodes import Choice
from consensus_bench.exploration.exhaustive.properties import Property, find_properties
from consensus_bench.exploration.exhaustive.search import Search
from consensus_bench.exploration.exhaustive.walks import Plan, random_walks
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


class Campaign(msgspec.Struct, frozen=True):
    """One configuration, and what is judged in it: everything that a process must know to explore it."""

    spec: str
    bounds: Bounds
    settings: dict[str, Any]
    properties: tuple[str, ...]

    def chosen(self) -> tuple[Property, ...]:
        """The properties."""
        return find_properties(self.properties, self.bounds.crashes, find_protocol(self.spec).decides)

    def search(self) -> Search:
        """Nothing of it is explored yet."""
        protocol = find_protocol(self.spec)
        options = make_options(protocol, self.settings, self.bounds.replicas)
        if self.bounds.crashes and getattr(options, "reads", "") == "quorum":
            raise ConfigError(
                f"--crashes {self.bounds.crashes} and reads = quorum: a restarted replica tells answers to its earlier "
                "life by its clock, and the clock stands still here; leave one of the two out"
            )
        return Search(protocol, options, self.bounds, self.chosen())


def explore(
    spec: str,
    bounds: Bounds,
    settings: dict[str, Any] | None = None,
    properties: Iterable[str] = (),
    walks: Plan | None = None,
) -> Report:
    """Explore the protocol ``spec`` within ``bounds``: exhaustively, or by random ``walks``. ``ConfigError`` for what
    cannot be explored."""
    bounds.validate()
    campaign = Campaign(spec, bounds, settings or {}, tuple(properties))
    search, start = campaign.search(), time.process_time()
    if walks is not None:
        return _walk(campaign, search, walks)
    search.run()
    if search.result.violation is None:
        search.nodes.require_timers()
    choices: list[Choice] = []
    if search.result.violating_state is not None:
        choices = choices_along(search, path_to(search, search.result.violating_state))
    report = _report(campaign, search, choices, _extent(search))
    return msgspec.structs.replace(report, seconds=time.process_time() - start)


def _report(campaign: Campaign, search: Search, choices: list[Choice], extent: Extent) -> Report:
    """What was found in ``search``; ``choices`` lead to what is violated, if anything is."""
    violated, result, chosen = search.result.violation is not None, search.result, campaign.chosen()
    events = [event_of(search, choice) for choice in choices]
    return Report(
        protocol=campaign.spec,
        extent="violated" if violated else extent,
        states=result.states,
        transitions=result.transitions,
        depth=result.depth,
        frontier=result.frontier,
        seconds=0.0,
        handler_steps=search.nodes.handlers.calls,
        left_out=search.nodes.handlers.beyond,
        levels=result.levels,
        lagging_disks=search.nodes.lagging,
        always=[p.name for p in chosen if p.mood == "always"],
        reached=[p.name for p in chosen if p.mood == "reachable" and p.fact in result.facts],
        missing=[p.name for p in chosen if p.mood == "reachable" and p.fact not in result.facts],
        trace=make_trace(search, events, campaign.spec, campaign.settings) if violated else None,
    )


# --- random walks -----------------------------------------------------------------------------------------------------


def _walk(campaign: Campaign, search: Search, plan: Plan) -> Report:
    """Batch after batch, until one finds a violation: the first one does, on however many processes."""
    plan.validate()
    batches = plan.batches()
    jobs = min(plan.jobs or os.cpu_count() or 1, len(batches))
    work = [(campaign, plan, numbers) for numbers in batches]
    done: list[Report] = []
    for report in [_batch(*work[0], search)] if len(work) == 1 else _batches(work, jobs):
        done.append(report)
        if report.extent == "violated":
            break
    reached = {name for report in done for name in report.reached}
    return msgspec.structs.replace(
        done[-1],
        states=sum(report.states for report in done),
        transitions=sum(report.transitions for report in done),
        seconds=sum(report.seconds for report in done),
        handler_steps=sum(report.handler_steps for report in done),
        left_out=sum(report.left_out for report in done),
        lagging_disks=any(report.lagging_disks for report in done),
        reached=[name for name in (*done[0].reached, *done[0].missing) if name in reached],
        missing=[name for name in done[0].missing if name not in reached],
    )


def _batches(work: list[tuple[Campaign, Plan, range]], jobs: int) -> Iterator[Report]:
    if jobs == 1:
        yield from (_batch(*task) for task in work)
        return
    context, quiet = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=signal.signal, initargs=quiet)
    try:
        yield from pool.map(_batch, *zip(*work, strict=True))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batch(campaign: Campaign, plan: Plan, numbers: range, search: Search | None = None) -> Report:
    """The walks of these numbers, in a search of their own. ``states`` are those that are distinct among them."""
    start = time.process_time()
    search = search or campaign.search()
    walked = random_walks(search, numbers, plan.steps, plan.seed)
    if search.result.violation is None and numbers.start == 0:
        search.nodes.require_timers()
    report = _report(campaign, search, walked.choices, "random walks")
    seconds = time.process_time() - start
    return msgspec.structs.replace(report, states=walked.distinct, transitions=walked.steps, seconds=seconds)


def _extent(search: Search) -> Extent:
    result = search.result
    if result.closed:
        return "closed"
    if result.interrupted:
        return "interrupted"
    if result.full:
        return "64 bits are full"
    return "depth bound" if result.depth == search.bounds.depth else "state bound"
