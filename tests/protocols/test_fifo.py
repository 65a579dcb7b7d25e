"""The queue of requests: first in, first out, at a cost that does not grow with its length."""

from __future__ import annotations

from random import Random

from paxos_network import put

from protocols.fifo import SHORT, Fifo


def test_first_in_first_out() -> None:
    random = Random(1)
    queue, model, sequence = Fifo(), [], 0
    for _ in range(3_000):
        for _ in range(random.randrange(4)):
            sequence += 1
            queue.append(put(sequence))
            model.append(put(sequence))
        count = min(len(model), random.choice((0, 1, 1, 2)))
        assert queue.take(count) == tuple(model[:count])
        del model[:count]
        assert (len(queue), queue.waiting(), bool(queue.items)) == (len(model), model, bool(model))
        assert len(queue.items) <= max(SHORT, 2 * len(model)), "what was taken is dropped in the end"
    assert len(model) > SHORT


def test_taking_one_does_not_move_the_others_but_now_and_then() -> None:
    queue = Fifo(put(sequence) for sequence in range(10_000))
    moved = 0
    for _ in range(10_000):
        before = len(queue.items)
        queue.take(1)
        if len(queue.items) != before:
            moved += len(queue.items)
    assert moved <= 10_000 + SHORT * SHORT


def test_short_queues_of_the_same_commands_are_equal() -> None:
    queue = Fifo(put(sequence) for sequence in range(1, 4))
    queue.take(2)
    assert queue == Fifo([put(3)])
