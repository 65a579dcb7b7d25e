"""The conformance suite notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import offenders
import pytest
import test_conformance as suite

from consensus_bench.contract import PropertyViolated

OFFENDERS: list[tuple[type, Callable[..., None]]] = [
    (offenders.SharesItsLog, suite.test_the_same_step_on_clones_gives_the_same_effects_and_equal_states),
    (offenders.SharesItsLog, suite.test_a_clone_that_goes_its_own_way_leaves_the_original_alone),
    (offenders.CountsInAGlobal, suite.test_the_same_step_on_clones_gives_the_same_effects_and_equal_states),
    (offenders.SendsAList, suite.test_messages_are_values_of_known_types_and_sizes),
    (offenders.SendsWhatIsNotListed, suite.test_messages_are_values_of_known_types_and_sizes),
    (offenders.WritesAList, suite.test_what_is_written_is_immutable),
    (offenders.LosesASlot, suite.test_durable_attributes_come_back),
    (offenders.LosesASlot, suite.test_a_cluster_goes_on_with_a_replica_recovered_from_any_prefix),
    (offenders.LeansOnTheOrderOfItsDisk, suite.test_every_durable_prefix_can_be_recovered_from),
    (offenders.NeedsItsFirstWrite, suite.test_every_durable_prefix_can_be_recovered_from),
    (offenders.BelievesAnOldLength, suite.test_every_message_of_the_past_arriving_again_is_harmless),
    (offenders.ViewsTooMuch, suite.test_views_are_well_formed),
]


@pytest.mark.parametrize(
    ("offender", "check"), OFFENDERS, ids=[f"{offender.__name__}-{check.__name__}" for offender, check in OFFENDERS]
)
def test_an_offender_is_noticed(offender: type, check: Callable[..., None]) -> None:
    spec = f"{Path(offenders.__file__)}:{offender.__name__}"
    with pytest.raises((AssertionError, TypeError, KeyError, PropertyViolated)):
        check(spec, {})
