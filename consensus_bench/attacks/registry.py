"""All attacks by name, and running one."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable
from typing import Final

from consensus_bench.attacks import epaxos, multi_paxos, paxos, raft, world
from consensus_bench.attacks.attack import Attack, Outcome
from consensus_bench.contract import ConfigError

ATTACKS: Final[dict[str, Attack]] = {
    attack.name: attack
    for attack in (*paxos.ATTACKS, *multi_paxos.ATTACKS, *raft.ATTACKS, *epaxos.ATTACKS, *world.ATTACKS)
}


def find_attack(name: str) -> Attack:
    """The attack of that name; ``ConfigError`` if there is none."""
    if name not in ATTACKS:
        near = difflib.get_close_matches(name, ATTACKS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`consensus-bench break --list` names them"
        raise ConfigError(f"attack '{name}' is unknown: {hint}")
    return ATTACKS[name]


def run_attack(attack: Attack) -> Outcome:
    """Run the attack and its control."""
    start = time.process_time()
    found = attack.runner.attack()
    control = attack.runner.control(found)
    return Outcome(attack=attack, found=found, control=control, seconds=time.process_time() - start)


def run_attacks(attacks: Iterable[Attack], done: Callable[[Outcome], None] = lambda _outcome: None) -> list[Outcome]:
    """Run several in order; ``done`` is told of each."""
    outcomes = []
    for attack in attacks:
        outcome = run_attack(attack)
        done(outcome)
        outcomes.append(outcome)
    return outcomes
