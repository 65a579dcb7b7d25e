"""Named random streams from one seed, and fast samplers.

Each link, disk, timer and client has a stream of its own, so that adding a draw in one place moves no other, and all
protocols meet the same arrivals and the same jitter (common random numbers).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH: Final = 512


def _digest(seed: int, names: tuple[object, ...]) -> int:
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(sha256(text.encode()).digest()[:16], "big")


def stream(seed: int, *names: object) -> np.random.Generator:
    """The NumPy stream called ``names``; the same on every machine and in every process."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(_digest(seed, names)))


def plain_stream(seed: int, *names: object) -> random.Random:
    """The same for rare single draws, where ``random.Random`` is faster than NumPy."""
    return random.Random(_digest(seed, names))


def _batches(draw: Callable[[int], NDArray[np.int64]]) -> Iterator[list[int]]:
    while True:
        yield draw(BATCH).tolist()


def sampler(draw: Callable[[int], NDArray[np.int64]]) -> Callable[[], int]:
    """A function that returns the next integer of ``draw(count)``, drawn in batches."""
    return chain.from_iterable(_batches(draw)).__next__


def constant(value: int) -> Callable[[], int]:
    """A sampler that always returns ``value``."""
    return repeat(value).__next__


def lognormal_ns(mean_ns: float, cv: float, rng: np.random.Generator) -> Callable[[], int]:
    """Sampler of a log-normal time with this mean and coefficient of variation, in whole nanoseconds."""
    if mean_ns <= 0:
        return constant(0)
    if cv == 0:
        return constant(round(mean_ns))
    sigma = math.sqrt(math.log1p(cv * cv))
    mu = math.log(mean_ns) - sigma * sigma / 2
    return sampler(lambda count: rng.lognormal(mu, sigma, count).round().astype("int64"))
