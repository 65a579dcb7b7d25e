"""A campaign: explore one configuration, judge the properties, write the trace of what is violated."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any, Literal

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.exhaustive.nodes import Choice
from consensus_bench.exploration.exhaustive.opening import opening_of
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
    after: tuple[Trace, int] | None = None
    """An execution, and after how many of its steps the exploration begins."""

    def chosen(self) -> tuple[Property, ...]:
        """The properties."""
        bounds = self.bounds
        return find_properties(self.properties, bounds.crashes, find_protocol(self.spec).decides, bounds.damages)

    def search(self) -> Search:
        """Nothing of it is explored yet."""
        protocol = find_protocol(self.spec)
        options = make_options(protocol, self.settings, self.bounds.replicas)
        opening = None
        if self.after is not None:
            trace, steps = self.after
            own = self.bounds.own_messages == "network"
            opening = opening_of(trace, protocol, steps, f"--after {steps} steps", own)
        return Search(protocol, options, self.bounds, self.chosen(), opening)


def explore(
    spec: str,
    bounds: Bounds,
    settings: dict[str, Any] | None = None,
    properties: Iterable[str] = (),
    walks: Plan | None = None,
    after: tuple[Trace, int] | None = None,
) -> Report:
    """Explore the protocol ``spec`` within ``bounds``: exhaustively, or by random ``walks``. ``after`` a trace and a
    number: from where its first so many steps lead, with its replicas, first leader, commands and options, if
    ``settings`` do not say otherwise. ``ConfigError`` for what cannot be explored."""
    settings = settings or {}
    if after is not None:
        settings = {**after[0].options, **settings}
        bounds = msgspec.structs.replace(bounds, replicas=after[0].replicas, first_leader=after[0].first_leader)
    bounds.validate()
    campaign = Campaign(spec, bounds, settings, tuple(properties), after)
    search, start = campaign.search(), time.process_time()
    if walks is not None:
        return _walk(campaign, search, walks)
    search.run()
    if search.result.violation is None and not search.result.interrupted:
        search.nodes.require_timers("within the bounds")
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
    with closing(_here(work, search) if jobs == 1 else _in_processes(work, jobs)) as reports:
        for report in reports:
            done.append(report)
            if report.extent == "violated":
                break
    done = done or [_report(campaign, search, [], "interrupted")]
    early = len(done) < len(work) or any(report.extent == "interrupted" for report in done)
    if early and done[-1].extent != "violated":
        done[-1] = msgspec.structs.replace(done[-1], extent="interrupted")
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


Work = list[tuple[Campaign, Plan, range]]


def _here(work: Work, search: Search) -> Generator[Report, None, None]:
    for number, task in enumerate(work):
        report = _batch(*task, search=search if number == 0 else None)
        yield report
        if report.extent == "interrupted":
            return


def _in_processes(work: Work, jobs: int) -> Generator[Report, None, None]:
    """In the order of the batches. After Ctrl-C those that were begun tell how far they came."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(stop.is_set,))
    left = [pool.submit(_batch, *task) for task in work]
    try:
        while left:
            try:
                report = left[0].result()
            except KeyboardInterrupt:
                stop.set()
                left = [future for future in left if not future.cancel()]
            else:
                del left[0]
                yield report
    except BrokenProcessPool as error:
        if stop.is_set():
            return  # Ctrl-C ended workers that had not begun
        raise ConfigError(
            "a worker process ended abruptly: too little memory, or a script that calls explore() outside of "
            "`if __name__ == '__main__':`; use fewer jobs (jobs=1: no further process)"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_stops: list[Callable[[], bool]] = []
"""Of a worker: whether nobody waits for its walks any more."""


def _begin(stop: Callable[[], bool]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that began this one
    _stops.append(stop)


def _batch(campaign: Campaign, plan: Plan, numbers: range, search: Search | None = None) -> Report:
    """The walks of these numbers, in a search of their own. ``states`` are those that are distinct among them."""
    start = time.process_time()
    search = search or campaign.search()
    walked = random_walks(search, numbers, plan.steps, plan.seed, lambda: any(stop() for stop in _stops))
    if search.result.violation is None and not search.result.interrupted and numbers.start == 0:
        search.nodes.require_timers(f"in the first {len(numbers)} walks")
    report = _report(campaign, search, walked.choices, "interrupted" if search.result.interrupted else "random walks")
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
