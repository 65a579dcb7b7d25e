"""What drivers say to a replica beside its peers' messages, in the same form: a message with its own handler.

A protocol that lists one of these in ``messages`` supports what it asks for.
"""

from __future__ import annotations

from typing import Final

from consensus_bench.contract.values import Key, Message, ReplicaId

OPERATOR: Final = -1
"""The source of a person's orders (``HandOver``, ``ChangeMembers``)."""


class Snapshot(Message, frozen=True, gc=False):
    """The state machine after executing every place up to ``place``: ``items`` are its keys and values, by key, and
    ``results`` the (client, sequence, result) that clients may still ask for again (Raft thesis, section 6.3).

    The answer to ``ctx.take_snapshot(place)``, from the replica to itself (``on_snapshot``). What the protocol must
    keep beside it, such as which commands it has executed, is its own affair. ``ctx.install(snapshot)`` is the way
    back.
    """

    place: int
    items: tuple[tuple[Key, int], ...]
    results: tuple[tuple[int, int, int | None], ...] = ()


class HandOver(Message, frozen=True, gc=False):
    """The leader is asked to give its office to replica ``to`` in an orderly way (``on_hand_over``)."""

    to: ReplicaId


class ChangeMembers(Message, frozen=True, gc=False):
    """The leader is asked to make these replicas the cluster's members (``on_change_members``)."""

    members: tuple[ReplicaId, ...]


def image(store: dict[Key, int]) -> tuple[tuple[Key, int], ...]:
    """A store's items in an order that depends on its contents alone."""
    return tuple(sorted(store.items(), key=lambda item: (str(item[0]), item[1])))
