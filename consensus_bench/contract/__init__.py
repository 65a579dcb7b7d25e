"""What a protocol is: a deterministic state machine, its messages, its context, its stable storage."""

from consensus_bench.contract.context import Context as Context
from consensus_bench.contract.context import Effect as Effect
from consensus_bench.contract.errors import ConfigError as ConfigError
from consensus_bench.contract.errors import PropertyViolated as PropertyViolated
from consensus_bench.contract.errors import ProtocolBug as ProtocolBug
from consensus_bench.contract.replica import Cluster as Cluster
from consensus_bench.contract.replica import Entry as Entry
from consensus_bench.contract.replica import Options as Options
from consensus_bench.contract.replica import Replica as Replica
from consensus_bench.contract.replica import View as View
from consensus_bench.contract.replica import ns as ns
from consensus_bench.contract.state import State as State
from consensus_bench.contract.store import apply as apply
from consensus_bench.contract.values import NOOP as NOOP
from consensus_bench.contract.values import Ballot as Ballot
from consensus_bench.contract.values import Command as Command
from consensus_bench.contract.values import Key as Key
from consensus_bench.contract.values import Message as Message
from consensus_bench.contract.values import Place as Place
from consensus_bench.contract.values import ReplicaId as ReplicaId
from consensus_bench.contract.values import TimerName as TimerName
from consensus_bench.contract.values import interferes as interferes
