"""Drivers of the protocols without SimPy: the seeded random scheduler."""

from consensus_bench.exploration.faults import Faults as Faults
from consensus_bench.exploration.faults import Load as Load
from consensus_bench.exploration.scheduler import Scheduler as Scheduler
from consensus_bench.exploration.scheduler import ScheduleViolated as ScheduleViolated
from consensus_bench.exploration.scheduler import Transcript as Transcript
from consensus_bench.exploration.scheduler import run_seeds as run_seeds
from consensus_bench.exploration.world import Observer as Observer
from consensus_bench.exploration.world import Summary as Summary
from consensus_bench.exploration.world import World as World
