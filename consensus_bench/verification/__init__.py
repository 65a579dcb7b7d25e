"""Was the run right? Checkers of decisions and executions while they happen, and of clients' histories."""

from consensus_bench.verification.check import Check as Check
from consensus_bench.verification.online import Verifier as Verifier
