"""Random schedules: 300 seeds of every protocol without a violation, and the scheduler itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from broken_primaries import BROKEN, EXAMPLE

from consensus_bench.contract import ConfigError
from consensus_bench.contract.registry import find_protocol, make_options, protocol_names
from consensus_bench.exploration import (
    Faults,
    Load,
    Observer,
    Rounds,
    Scheduler,
    ScheduleViolated,
    Transcript,
    run_seeds,
)

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "epaxos": [{}, {"rules": "sosp13"}],
    "multi-paxos": [{}, {"batch_size": 4, "batch_ms": 5.0, "window": 6}],
    "raft": [{}, {"pre_vote": False, "check_quorum": False}, {"reads": "index", "snapshot_every": 4}],
}
"""Settings under which a protocol is another one: each gets 300 seeds."""
CAMPAIGNS = [(name, settings) for name in [*protocol_names(), EXAMPLE] for settings in VARIANTS.get(name, [{}])]
CHUNKS = [(3, range(first, first + 50)) for first in range(0, 200, 50)] + [(5, range(200, 250)), (5, range(250, 300))]
FACTS = {
    "epaxos": {"fast_path", "slow_path"},
    "multi-paxos": {"elected"},
    "raft": {"elected"},
}
"""What must have happened, in the protocols' own words."""
ELSEWHERE: dict[str, set[str]] = {
    "epaxos": {"Snapshot", "Install", "ReadQuery", "ReadReply"},
    "multi-paxos": {
        *("Recall", "Recalled", "Snapshot", "Install"),
        *("Extend", "Extended", "ReadQuery", "ReadReply", "Fill", "HandOver", "TakeOver", "Outdated", "Alive"),
    },
}
"""Messages that only orders, options and damaged disks bring, which these runs are without: the protocol's own tests
have them."""
RECOVERING = Faults(timer=0.2, early=1.0, late=0.1, crash=0.01, crashed_at_most=1, sync=0.2, order=0.01, steps=600)
"""Time-outs all the time and messages that arrive when the world has moved on."""
DAMAGING = msgspec.structs.replace(RECOVERING, damage=0.5)
"""Disks of one replica that cannot be read, as well."""
REPAIRING = tuple(name for name in protocol_names() if find_protocol(name).repairs_disks)
"""Protocols that do what is right then."""


def campaign_id(campaign: tuple[str, dict[str, Any]]) -> str:
    name, settings = campaign
    return " ".join([name.rpartition("/")[2], *(f"{key}={value}" for key, value in settings.items())])


campaigns = pytest.mark.parametrize("campaign", CAMPAIGNS, ids=campaign_id)


@campaigns
@pytest.mark.parametrize(("size", "seeds"), CHUNKS, ids=lambda value: str(value).replace("range", "seeds"))
def test_no_seed_violates_anything(campaign: tuple[str, dict[str, Any]], size: int, seeds: range) -> None:
    name, settings = campaign
    happened = run_seeds(name, seeds, size=size, settings=settings)
    for field in happened.__struct_fields__:
        if field not in ("notes", "messages"):
            assert getattr(happened, field) > 0, f"vacuous: no {field} in these runs"
    assert FACTS.get(name, set()) <= set(happened.notes)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("name", REPAIRING)
def test_no_damaged_disk_violates_anything(name: str, size: int) -> None:
    protocol = find_protocol(name)
    for seed in range(150):
        drawn = Faults.drawn(Random(seed), size)
        faults = msgspec.structs.replace(drawn, damage=0.6, crash=0.02, restart=0.03, crashed_at_most=(size - 1) // 2)
        Scheduler(protocol, make_options(protocol, {}, size), size, seed, faults=faults).run()


@pytest.mark.parametrize("name", REPAIRING)
@pytest.mark.parametrize(("size", "damaged"), [(3, 3), (5, 2)])
def test_however_many_disks_are_damaged_only_progress_may_be_lost(name: str, size: int, damaged: int) -> None:
    """A majority's disks may hold what nobody else knows: then nobody goes on, rather than on something else."""
    protocol = find_protocol(name)
    for seed in range(100):
        drawn = Faults.drawn(Random(seed), size)
        faults = msgspec.structs.replace(
            drawn, damage=0.5, damaged_at_most=damaged, crash=0.02, restart=0.04, crashed_at_most=size
        )
        scheduler = Scheduler(protocol, make_options(protocol, {}, size), size, seed, faults=faults)
        scheduler.world.start()
        scheduler.disturb(faults.steps)


@pytest.mark.parametrize("name", [*protocol_names(), EXAMPLE], ids=lambda name: name.rpartition("/")[2])
def test_every_message_of_a_protocol_is_seen(name: str) -> None:
    """No handler goes untested: 25 seeds at a time, until all were called."""
    missing = {kind.__name__ for kind in find_protocol(name).messages} - ELSEWHERE.get(name, set())
    for first in range(0, 200, 25):
        for settings in VARIANTS.get(name, [{}]):
            size = 3 + 2 * (first // 25 % 2)
            seeds = range(first, first + 25)
            faults = DAMAGING if name in REPAIRING and first % 50 else RECOVERING
            missing -= set(run_seeds(name, seeds, size=size, settings=settings, faults=faults).messages)
        if not missing:
            return
    raise AssertionError(f"never delivered: {sorted(missing)}")


def transcript_of(seed: int, style: Any = Scheduler) -> list[str]:
    protocol = find_protocol(EXAMPLE)
    transcript = Transcript()
    style(protocol, make_options(protocol, {}, 3), 3, seed, observer=transcript).run()
    return transcript.lines


@pytest.mark.parametrize("style", [Scheduler, Rounds])
def test_a_run_depends_on_its_seed_alone(style: Any) -> None:
    assert transcript_of(7, style) == transcript_of(7, style)
    assert transcript_of(7, style) != transcript_of(8, style)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_planted_bugs_are_found_and_repeated(broken: Any, tmp_path: Path) -> None:
    with pytest.raises(ScheduleViolated) as caught:
        run_seeds(broken, range(60))
    violation = caught.value
    assert violation.name == broken.expected
    assert f"{broken.name}, 3 replicas, seed " in str(violation)

    lines = violation.transcript()
    assert lines[0] == "start 0"
    assert lines[-1].startswith(f"{broken.expected}: step ")
    assert lines == violation.transcript()

    again = subprocess.run([sys.executable, "-c", violation.reproduction], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert lines[-1].partition(": ")[2] in again.stderr


def test_given_faults_and_settings_are_in_the_reproduction() -> None:
    faults, load = Faults(drop=0.2), Load(keys=1)
    with pytest.raises(ScheduleViolated) as caught:
        run_seeds(BROKEN[0], range(60), size=5, settings={"heartbeat_ms": 50}, faults=faults, load=load)
    reproduction = caught.value.reproduction
    for part in ("size=5", "settings={'heartbeat_ms': 50.0}", repr(faults), repr(load)):
        assert part in reproduction


class Ups(Observer):
    """How many replicas were down at most, and how often everything was lost."""

    def __init__(self) -> None:
        self.down: set[int] = set()
        self.most = 0

    def happened(self, what: str) -> None:
        """Counts crashes."""
        if what.startswith("crash "):
            self.down.add(int(what.split()[1].rstrip(":")))
            self.most = max(self.most, len(self.down))

    def stepped(self, replica: int, *step: Any) -> None:
        """Who takes a step is up."""
        self.down.discard(replica)


@pytest.mark.parametrize("at_most", [0, 1, 2, 5])
def test_no_more_replicas_are_down_than_allowed(at_most: int) -> None:
    protocol = find_protocol(EXAMPLE)
    options = make_options(protocol, {}, 5)
    ups = Ups()
    for seed in range(6):
        Scheduler(protocol, options, 5, seed, faults=Faults(crash=0.05, crashed_at_most=at_most), observer=ups).run()
    assert ups.most == at_most


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(drop=1.5), "drop = 1.5"),
        (Faults(lost_answers=-0.1), "lost_answers = -0.1"),
        (Faults(drop=0.5, timer=0.5), "nothing is left for deliveries"),
        (Faults(steps=-1), "steps = -1"),
        (Faults(crashed_at_most=4), "crashed_at_most = 4"),
    ],
)
def test_impossible_faults_are_refused(faults: Faults, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_seeds(EXAMPLE, [0], faults=faults)


@pytest.mark.parametrize("change", [{"commands": 0}, {"clients": 0}, {"outstanding": 0}, {"keys": 0}, {"reads": 2.0}])
def test_an_impossible_load_is_refused(change: dict[str, Any]) -> None:
    name = next(iter(change))
    with pytest.raises(ConfigError, match=f"load: {name} = "):
        run_seeds(EXAMPLE, [0], load=msgspec.structs.replace(Load(), **change))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        run_seeds(EXAMPLE, [0], settings={"colour": "blue"})
