"""Does a list of runs on several processes. Results depend neither on their number nor on the order of completion."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.parts import Parts


class Task(Protocol):
    """A run: its results are kept under ``key``. ``urgent`` ones go first, so that an interruption costs the others.
    ``weight``: about how long it takes, for the progress bar and the order of work."""

    @property
    def key(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def urgent(self) -> bool: ...


T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=msgspec.Struct)

Work: TypeAlias = Callable[[T, Parts[R], Callable[[], bool]], None]
"""Does a run and saves it; a function of a module, because it travels to other processes. It asks its last argument
now and then, and raises ``Stopped`` if that is true."""
Progress: TypeAlias = Callable[[int, int, float], None]
"""Called at the beginning and after each run with (runs finished, runs in all, finished share of the work)."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Stopped(Exception):
    """The user asked to stop; the run is dropped."""


def execute(runs: list[T], parts: Parts[R], work: Work[T, R], jobs: int, progress: Progress) -> None:
    """Do the runs that ``parts`` does not hold yet; each is stored when it ends. ``KeyboardInterrupt`` passes
    through after the workers have stopped."""
    todo = [run for run in runs if parts.result(run.key) is None]
    whole = sum(run.weight for run in runs)
    left = {run.key: run.weight for run in todo}

    def tell() -> None:
        progress(len(runs) - len(left), len(runs), 1 - sum(left.values()) / whole)

    tell()
    jobs = min(jobs or cores(), len(todo))
    with closing(_one_by_one(todo, parts, work) if jobs <= 1 else _in_processes(todo, parts, work, jobs)) as ended:
        for run in ended:
            del left[run.key]
            tell()


def _one_by_one(todo: list[T], parts: Parts[R], work: Work[T, R]) -> Generator[T, None, None]:
    for run in todo:
        work(run, parts, lambda: False)
        yield run


def _in_processes(todo: list[T], parts: Parts[R], work: Work[T, R], jobs: int) -> Generator[T, None, None]:
    # Spawned, not forked: a forked child would share this process' threads' locks and its random state.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(stop, parts, work))
    # Urgent runs first, as planned; among the others the long ones first, so that none is left alone at the end.
    ordered = sorted(todo, key=lambda run: (not run.urgent, 0 if run.urgent else -run.weight))
    try:
        with _uninterrupted():  # workers inherit that they ignore Ctrl-C: it is this process that stops them
            futures = {pool.submit(_work, run): run for run in ordered}
        yield from _as_they_end(futures)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process ended abruptly: too little memory, or a script that calls compare() outside of "
            "`if __name__ == '__main__':`; use fewer jobs (jobs=1: no further process)"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _as_they_end(futures: dict[Future[None], T]) -> Iterator[T]:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            yield futures[future]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of this block, and is not lost."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a process in the background
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        with _kept_from_children():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def _kept_from_children() -> Iterator[None]:
    """Processes begun in here inherit that Ctrl-C is held up; ``_begin`` then has them ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In a worker.

_worker: dict[str, Any] = {}


def _begin(stop: Any, parts: Parts[Any], work: Work[Any, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker["stop"], _worker["parts"], _worker["work"] = stop, parts, work


def _work(run: Any) -> None:
    try:
        _worker["work"](run, _worker["parts"], _worker["stop"].is_set)
    except Stopped:
        return


def load_results(runs: list[T], parts: Parts[R]) -> dict[str, R]:
    """The finished runs' results by key, in the plan's order."""
    found = ((run.key, parts.result(run.key)) for run in runs)
    return {key: result for key, result in found if result is not None}
