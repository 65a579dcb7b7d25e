"""Records that cannot be read are values like any other: they survive copies, and a replica's state may hold them."""

from __future__ import annotations

import copy
import pickle

import pytest

from consensus_bench.contract import CORRUPT, LOST
from consensus_bench.contract.state import freeze


@pytest.mark.parametrize("mark", [CORRUPT, LOST])
def test_there_is_one_of_each_however_it_travels(mark: object) -> None:
    assert pickle.loads(pickle.dumps(mark)) is mark
    assert copy.copy(mark) is mark
    assert copy.deepcopy(mark) is mark


def test_they_are_hashable_and_differ() -> None:
    assert len({CORRUPT, LOST, None, ()}) == 4
    assert freeze(CORRUPT) != freeze(LOST)
