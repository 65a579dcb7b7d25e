"""All attacks by name, and running one."""

from __future__ import annotations

import difflib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from consensus_bench.attacks import epaxos, multi_paxos, paxos, raft, world
from consensus_bench.attacks.attack import Attack, Finding, Outcome
from consensus_bench.attacks.scheduled import Scheduled
from consensus_bench.contract import ConfigError
from consensus_bench.exploration.execution import Execution
from consensus_bench.exploration.trace import Trace, Violation

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


def judged(trace: Trace, execution: Execution) -> Violation | None:
    """What the judge of the attack that ``trace`` comes from finds in its execution, beyond what verification sees."""
    for attack in ATTACKS.values():
        if isinstance(attack.runner, Scheduled) and trace.protocol == attack.runner.unsafe:
            return attack.runner.judge(execution)
    return None


def run_attack(attack: Attack) -> Outcome:
    """Run the attack and its control."""
    start = time.process_time()
    found = attack.runner.attack()
    control = attack.runner.control(found)
    return Outcome(attack=attack, found=found, control=control, seconds=time.process_time() - start)


def run_attacks(
    attacks: Sequence[Attack], done: Callable[[Outcome], None] = lambda _outcome: None, jobs: int = 1
) -> list[Outcome]:
    """Run several, on so many processes; ``done`` is told of each, in order."""
    outcomes = []
    for outcome in map(run_attack, attacks) if jobs == 1 else _on_processes(attacks, jobs):
        done(outcome)
        outcomes.append(outcome)
    return outcomes


def _on_processes(attacks: Sequence[Attack], jobs: int) -> Iterator[Outcome]:
    context, quiet = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=signal.signal, initargs=quiet)
    try:
        ran = pool.map(_run_named, [attack.name for attack in attacks])
        for attack, (found, control, seconds) in zip(attacks, ran, strict=True):
            yield Outcome(attack=attack, found=found, control=control, seconds=seconds)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_named(name: str) -> tuple[Finding, Finding, float]:
    outcome = run_attack(ATTACKS[name])
    return outcome.found, outcome.control, outcome.seconds
