"""Drivers of the protocols without SimPy: random runs in two styles."""

from consensus_bench.exploration.faults import Faults as Faults
from consensus_bench.exploration.faults import Load as Load
from consensus_bench.exploration.faults import RoundFaults as RoundFaults
from consensus_bench.exploration.random_run import RandomRun as RandomRun
from consensus_bench.exploration.random_run import ScheduleViolated as ScheduleViolated
from consensus_bench.exploration.rounds import Rounds as Rounds
from consensus_bench.exploration.scheduler import Scheduler as Scheduler
from consensus_bench.exploration.seeds import run_seeds as run_seeds
from consensus_bench.exploration.transcript import Transcript as Transcript
from consensus_bench.exploration.world import Observer as Observer
from consensus_bench.exploration.world import Summary as Summary
from consensus_bench.exploration.world import World as World
