"""Multi-Paxos: requests that were made to an earlier leadership are recognised (option ``epochs``).

Chandra, Griesemer, Redstone, "Paxos Made Live" (2007), section 5.1: two requests get the same epoch number if and only
if one replica led without interruption from the one to the other. Here the ballot of a leadership is its epoch: it
leads once, from its election to the moment when it steps down, and no ballot is taken twice.

Without this option a request outlives the leadership that it was made to: an old leader passes on what it could not get
chosen, whoever passed a request on does so again, and a request that was long under way is served by whoever leads when
it arrives. So a client that has given up may see its command take effect at any time. With it

- a request says which leadership it is meant for, and any other refuses it (Outdated);
- a leader that steps down forgets the requests that it has not proposed, and does not propose again what it has;
- a replica that hears of a new leadership forgets what it had passed on to the last one.

What an earlier leadership has proposed may be chosen, and whoever leads later and hears of it proposes it again in its
slot, before anything of its own. So every command takes effect within the leadership that it was asked of, or when a
later one takes over, or never, unless its client asks again. That is what clients pay: they wait for their time-outs
when the leader changes. Requests that came while no leader was known, and reads that have no slot, are asked of the
next one as always.
"""

from __future__ import annotations

from typing import ClassVar

from consensus_bench.contract import Command, Context
from protocols.fifo import Fifo
from protocols.multi_paxos_learner import LEADER
from protocols.multi_paxos_messages import Forward, Outdated
from protocols.multi_paxos_transfer import MultiPaxosTransfer


class MultiPaxosEpochs(MultiPaxosTransfer):
    """What a replica needs for it."""

    __slots__ = ()
    constants: ClassVar[tuple[str, ...]] = ()

    def on_forward(self, ctx: Context, source: int, message: Forward) -> None:
        """A request by way of another replica. It is passed on only to a leader of a higher ballot than the sender
        knew, so that it cannot go in circles."""
        if self.options.epochs and not self._is_current(message):
            ctx.note("outdated", message.command)
            ctx.send_unsynced(source, Outdated(message.command.client, message.command.sequence, message.ballot))
        elif self.leader in (None, self.me) or message.ballot < self.promised:
            self.on_request(ctx, message.command)

    def _is_current(self, message: Forward) -> bool:
        """Whether this is the leadership that the request is meant for."""
        return self.role == LEADER and message.ballot == self.promised

    def on_outdated(self, ctx: Context, source: int, message: Outdated) -> None:
        """What was passed on came too late. Nobody will serve it; its client asks again."""
        if message.ballot == self.promised:
            self.forwarded.pop((message.client, message.sequence), None)

    def _requests_to_ask_again(self) -> list[Command]:
        """What was passed on to another leader, and is not executed here yet."""
        commands = [] if self.options.epochs else list(self.forwarded.values())
        self.forwarded.clear()
        return commands

    def _step_down(self, ctx: Context) -> None:
        led = self.role == LEADER
        super()._step_down(ctx)
        if led and self.options.epochs:
            self.queue = Fifo()
            self.open.clear()
