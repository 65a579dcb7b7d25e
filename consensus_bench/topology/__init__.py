"""Where replicas and clients stand, and how far apart: measured round trips, geography, closed-form latencies."""

from consensus_bench.topology.geography import FIBRE_KM_PER_MS as FIBRE_KM_PER_MS
from consensus_bench.topology.geography import Detour as Detour
from consensus_bench.topology.geography import distance_km as distance_km
from consensus_bench.topology.geography import fibre_floor_ms as fibre_floor_ms
from consensus_bench.topology.geography import fibre_ratio as fibre_ratio
from consensus_bench.topology.geography import triangle_violations as triangle_violations
from consensus_bench.topology.loading import load_topology as load_topology
from consensus_bench.topology.loading import shipped_folder as shipped_folder
from consensus_bench.topology.loading import topology_names as topology_names
from consensus_bench.topology.matrix import Location as Location
from consensus_bench.topology.matrix import Topology as Topology
from consensus_bench.topology.summary import Summary as Summary
from consensus_bench.topology.summary import summarise as summarise
