"""The replicated state machine of every run: a key-value store. Drivers own one per replica; a crash empties it."""

from __future__ import annotations

from consensus_bench.contract.values import Command, Key


def apply(store: dict[Key, int], command: Command) -> int | None:
    """Apply ``command`` to ``store``: the value read by a get, the old value of a swap, None for a put."""
    kind = command.kind
    if kind == "put":
        store[command.key] = command.value
        return None
    if kind == "get":
        return store.get(command.key)
    if kind == "swap":
        old = store.get(command.key)
        store[command.key] = command.value
        return old
    raise ValueError(f"a command of kind '{kind}' cannot be executed")
