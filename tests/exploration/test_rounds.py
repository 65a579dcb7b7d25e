"""Random runs in rounds: no protocol falls, planted bugs do, and a run depends on its arguments alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from broken_primaries import BROKEN, EXAMPLE

from consensus_bench.contract import ConfigError, Effect
from consensus_bench.contract.registry import find_protocol, make_options, protocol_names
from consensus_bench.contract.steps import Deliver, Input
from consensus_bench.exploration import Observer, RoundFaults, Rounds, ScheduleViolated, Transcript, run_seeds

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "epaxos": [{}, {"rules": "sosp13"}, {"thrifty": True, "snapshot_every": 2}, {"reads": "quorum"}],
    "multi-paxos": [{}, {"snapshot_every": 2, "epochs": True}, {"reads": "quorum", "check_quorum": True}],
    "raft": [{}, {"pre_vote": False, "snapshot_every": 2}, {"reads": "index", "first_members": 3}],
}
CAMPAIGNS = [(name, settings) for name in [*protocol_names(), EXAMPLE] for settings in VARIANTS.get(name, [{}])]
ALWAYS = ("delivered", "dropped", "duplicated", "timers", "syncs", "crashes", "requests", "answers", "executions")
SELDOM = ("records_lost", "records_survived", "effects_lost", "retries")
"""What happens in some hundred runs."""


def campaign_id(campaign: tuple[str, dict[str, Any]]) -> str:
    name, settings = campaign
    return " ".join([name.rpartition("/")[2], *(f"{key}={value}" for key, value in settings.items())])


@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=campaign_id)
@pytest.mark.parametrize(("size", "seeds"), [(3, range(100)), (5, range(100, 150))], ids=["3 replicas", "5 replicas"])
def test_no_seed_violates_anything(campaign: tuple[str, dict[str, Any]], size: int, seeds: range) -> None:
    name, settings = campaign
    happened = run_seeds(name, seeds, size=size, settings=settings, style=Rounds)
    for field in ALWAYS:
        assert getattr(happened, field) > 0, f"vacuous: no {field} in these runs"


def test_disks_lag_and_lose_what_was_not_synced() -> None:
    happened = run_seeds("multi-paxos", range(100), style=Rounds)
    for field in SELDOM:
        assert getattr(happened, field) > 0, f"vacuous: no {field} in these runs"


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_planted_bugs_are_found_and_repeated(broken: Any) -> None:
    with pytest.raises(ScheduleViolated) as caught:
        run_seeds(broken, range(200), style=Rounds)
    violation = caught.value
    assert "style=Rounds" in violation.reproduction
    assert violation.transcript()[-1].startswith(f"{violation.name}: step ")
    again = subprocess.run([sys.executable, "-c", violation.reproduction], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert str(violation).splitlines()[0] in again.stderr


class Overtaking(Observer):
    """Own messages that are still under way when the replica hears somebody else."""

    def __init__(self) -> None:
        self.run: Rounds | None = None
        self.heard = 0

    def stepped(self, replica: int, event: Input, clock_ns: int, effects: list[Effect]) -> None:
        assert self.run is not None
        own = [packet for packet in self.run.world.in_flight if packet[0] == packet[1]]
        if isinstance(event, Deliver) and event.source == replica:
            self.heard += 1
        else:
            assert not own


def test_a_replica_hears_itself_before_anybody_else() -> None:
    """Unless its disk lags: then the message waits, and is not under way."""
    protocol = find_protocol("raft")
    for seed in range(30):
        seen = Overtaking()
        seen.run = Rounds(protocol, make_options(protocol, {}, 3), 3, seed, observer=seen)
        seen.run.run()
        assert seen.heard


def test_more_disks_may_be_lost_than_can_be_repaired_and_then_only_progress() -> None:
    faults = RoundFaults(damage=1.0, damaged_at_most=3, crash=0.5)
    for name in ("raft", "multi-paxos", "epaxos"):
        run_seeds(name, range(40), style=Rounds, faults=faults)


def test_no_more_disks_are_damaged_than_allowed() -> None:
    class Damaged(Transcript):
        """Whose disks were."""

        def __init__(self) -> None:
            super().__init__()
            self.whose: set[int] = set()

        def damaged(self, replica: int, damage: Any) -> None:
            self.whose.add(replica)

    protocol = find_protocol("raft")
    for seed in range(20):
        seen = Damaged()
        faults = RoundFaults(damage=1.0, crash=0.8)
        Rounds(protocol, make_options(protocol, {}, 5), 5, seed, faults=faults, observer=seen).run()
        assert len(seen.whose) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lost": 1.5}, "lost = 1.5"),
        ({"damage": -1.0}, "damage = -1.0"),
        ({"timer": -2.0}, "timer = -2.0"),
        ({"rounds": -1}, "rounds = -1"),
        ({"groups": 0}, "groups = 0"),
        ({"request": 0.0, "timer": 0.0}, "nothing would ever happen"),
    ],
)
def test_impossible_faults_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_seeds(EXAMPLE, [0], style=Rounds, faults=msgspec.structs.replace(RoundFaults(), **change))
