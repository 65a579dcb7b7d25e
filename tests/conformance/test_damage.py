"""A disk that was lost or cannot be read: what was acknowledged is not treated as never written."""

from __future__ import annotations

import pytest
from damage import DAMAGES, HEALTHY, damaged, serves_in_the_end
from fault_worlds import PROTOCOLS

from consensus_bench.contract import PropertyViolated
from consensus_bench.contract.registry import find_protocol


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_schedule_itself_is_survived(protocol: str) -> None:
    assert serves_in_the_end(damaged(protocol, HEALTHY))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_schedule_finds_out_who_forgets(protocol: str) -> None:
    """Lying disks are a way to forget that no protocol can notice: the same schedule then breaks a guarantee."""
    with pytest.raises(PropertyViolated):
        damaged(protocol, ["lying-fsync:p1@0.5+4", *HEALTHY])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if find_protocol(name).repairs_disks])
def test_damage_is_repaired_and_nothing_is_forgotten(protocol: str, damage: str) -> None:
    assert serves_in_the_end(damaged(protocol, DAMAGES[damage]))
