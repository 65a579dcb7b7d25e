"""Does a plan's runs on several processes. Results depend neither on their number nor on the order of completion."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.measure import Result, Stopped, measure
from consensus_bench.experiments.parts import Parts

if TYPE_CHECKING:
    from consensus_bench.experiments.plan import Run

Progress: TypeAlias = Callable[[int, int, float], None]
"""Called at the beginning and after each run with (runs finished, runs in all, finished share of the work)."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(runs: list[Run], parts: Parts, jobs: int, progress: Progress) -> None:
    """Do the runs that ``parts`` does not hold yet; each is stored when it ends. ``KeyboardInterrupt`` passes
    through after the workers have stopped."""
    todo = [run for run in runs if parts.result(run.key) is None]
    whole = sum(run.weight for run in runs)
    left = {run.key: run.weight for run in todo}

    def tell() -> None:
        progress(len(runs) - len(left), len(runs), 1 - sum(left.values()) / whole)

    tell()
    jobs = min(jobs or cores(), len(todo))
    with closing(_one_by_one(todo, parts) if jobs <= 1 else _in_processes(todo, parts, jobs)) as ended:
        for run in ended:
            del left[run.key]
            tell()


def _one_by_one(todo: list[Run], parts: Parts) -> Generator[Run, None, None]:
    for run in todo:
        _keep(run, parts)
        yield run


def _keep(run: Run, parts: Parts, stop: Callable[[], bool] = lambda: False) -> None:
    result, table = measure(run, stop)
    wanted = run.purpose == "main" and result.numbers is not None
    parts.save(result, table if wanted else None)


def _in_processes(todo: list[Run], parts: Parts, jobs: int) -> Generator[Run, None, None]:
    # Spawned, not forked: a forked child would share this process' threads' locks and its random state.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(stop, parts))
    # Main runs first, as planned; among the sweeps the long ones first, so that none is left alone at the end.
    ordered = sorted(todo, key=lambda run: (run.purpose != "main", 0 if run.purpose == "main" else -run.weight))
    try:
        with _uninterrupted():  # workers inherit that they ignore Ctrl-C: it is this process that stops them
            futures: dict[Future[None], Run] = {pool.submit(_work, run): run for run in ordered}
        yield from _as_they_end(futures)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process ended abruptly: too little memory, or a script that calls compare() outside of "
            "`if __name__ == '__main__':`; use fewer jobs (jobs=1: no further process)"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _as_they_end(futures: dict[Future[None], Run]) -> Iterator[Run]:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            yield futures[future]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In a worker.

_worker: dict[str, Any] = {}


def _begin(stop: Any, parts: Parts) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker["stop"], _worker["parts"] = stop, parts


def _work(run: Run) -> None:
    try:
        _keep(run, _worker["parts"], _worker["stop"].is_set)
    except Stopped:
        return


def load_results(runs: list[Run], parts: Parts) -> dict[str, Result]:
    """The finished runs' results by key, in the plan's order."""
    found = ((run.key, parts.result(run.key)) for run in runs)
    return {key: result for key, result in found if result is not None}
