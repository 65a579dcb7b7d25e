"""Faults as data, and what injects them into a simulated world (docs/faults.md)."""

from consensus_bench.simulation.faults.kinds import AnyFault as AnyFault
from consensus_bench.simulation.faults.kinds import Fault as Fault
from consensus_bench.simulation.faults.nemesis import Nemesis as Nemesis
