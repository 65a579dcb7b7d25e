"""Was the run right? Checkers of decisions and executions while they happen, and of clients' histories."""

from consensus_bench.verification.check import Check as Check
from consensus_bench.verification.linearizability import History as History
from consensus_bench.verification.linearizability import HistoryCheck as HistoryCheck
from consensus_bench.verification.linearizability import Operation as Operation
from consensus_bench.verification.linearizability import check_operations as check_operations
from consensus_bench.verification.online import Verifier as Verifier
