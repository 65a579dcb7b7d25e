"""Replica state as a value: ``clone``, ``key`` and equality generated from ``__slots__``, never written by hand."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Self

import msgspec

_ATOMS = frozenset({int, str, bool, float, bytes, type(None), tuple, frozenset})


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        return [_copy(v) for v in value]
    if kind is dict:
        return {k: _copy(v) for k, v in value.items()}
    if kind is set:
        return set(value)
    if isinstance(value, State):
        return value.clone()
    if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
        return value
    raise TypeError(f"replica state cannot hold a {kind.__name__}: use slots of State, frozen Structs and containers")


def freeze(value: Any) -> Hashable:
    """A hashable twin of ``value`` that is equal exactly where the values are, and tells ``True`` from ``1``."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is tuple:
        return tuple(map(freeze, value))
    if kind is list:
        return ("list", *map(freeze, value))
    if kind is dict:
        return ("dict", frozenset((freeze(k), freeze(v)) for k, v in value.items()))
    if kind is set or kind is frozenset:
        return ("set", frozenset(map(freeze, value)))
    if isinstance(value, State):
        return value.key()
    return (kind.__qualname__, value)


class State:
    """Base of replicas and of the helpers they are built from (logs, quorums, graphs).

    A subclass declares ``__slots__``; ``clone()`` gives a copy that shares nothing mutable, ``key()`` a hashable value
    that is equal for equal states. Shared immutable parts (options, cluster) may be listed in ``constants``: they are
    carried over by reference and left out of the key.
    """

    __slots__ = ()
    constants: ClassVar[tuple[str, ...]] = ()
    _slots: ClassVar[tuple[str, ...]] = ()
    _copiers: ClassVar[tuple[tuple[str, Callable[[Any], Any]], ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__slots__" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} must declare __slots__: its state is generated from them")
        constants = {name for base in cls.__mro__ for name in base.__dict__.get("constants", ())}
        names: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            for name in base.__dict__.get("__slots__", ()):
                names[name] = None
        cls._slots = tuple(n for n in names if n not in constants)
        cls._copiers = tuple((n, (lambda v: v) if n in constants else _copy) for n in names)

    def clone(self) -> Self:
        """A deep copy of the mutable state; immutable values and constants are shared."""
        twin = object.__new__(type(self))
        for name, copy in self._copiers:
            setattr(twin, name, copy(getattr(self, name)))
        return twin

    def key(self) -> tuple[Hashable, ...]:
        """This state as one hashable value, tagged with its type."""
        return (type(self).__qualname__, *[freeze(getattr(self, name)) for name in self._slots])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, State) and self.key() == other.key()

    __hash__ = None  # type: ignore[assignment]  # mutable: use key()
