"""Protocols are found by entry point (group ``consensus_bench.protocols``) or as ``path/to/file.py:ClassName``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

from consensus_bench.contract.errors import ConfigError
from consensus_bench.contract.replica import Options, Replica

GROUP = "consensus_bench.protocols"


def protocol_names() -> list[str]:
    """Names of the registered protocols, in alphabetical order."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def find_protocol(spec: str) -> type[Replica]:
    """The protocol class for a registered name, ``path/to/file.py:ClassName`` or ``package.module:ClassName``;
    ``ConfigError`` if there is none."""
    if ".py:" in spec:
        return _load_file(spec)
    if ":" in spec:
        return _load_module(spec)
    for point in entry_points(group=GROUP):
        if point.name == spec:
            found: type[Replica] = point.load()
            return found
    names = ", ".join(protocol_names())
    raise ConfigError(f"protocol '{spec}' is unknown: choose from {names}, or give path/to/file.py:ClassName")


def _load_file(spec: str) -> type[Replica]:
    path_text, _, class_name = spec.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise ConfigError(f"protocol '{spec}': there is no file {path_text}")
    module_name = f"consensus_bench_user_{sha256(str(path).encode()).hexdigest()[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        module_spec = importlib.util.spec_from_file_location(module_name, path)
        assert module_spec is not None and module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        sys.modules[module_name] = module
        try:
            module_spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            raise ConfigError(
                f"protocol '{spec}': the file does not import: {type(error).__name__}: {error}"
            ) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Replica)):
        raise ConfigError(f"protocol '{spec}': {path.name} has no subclass of Replica named {class_name}")
    return found


def _load_module(spec: str) -> type[Replica]:
    """``package.module:ClassName`` of something installed: such a name is the same on every machine."""
    module_name, _, class_name = spec.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"protocol '{spec}': the module {module_name} does not import: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Replica)):
        raise ConfigError(f"protocol '{spec}': {module_name} has no subclass of Replica named {class_name}")
    return found


def display_name(spec: str) -> str:
    """How a protocol is called in tables and files: its registered name, or the class's own ``name``."""
    return (find_protocol(spec).name or spec.rpartition(":")[2]) if ".py:" in spec else spec


def make_options(protocol: type[Replica], settings: dict[str, Any], size: int) -> Options:
    """The protocol's options from ``settings`` (names to values, or to text as given with ``--set``), validated."""
    known = protocol.options_type.__struct_fields__
    for name in settings:
        if name not in known:
            raise ConfigError(f"option '{protocol.name}.{name}' is unknown: choose from {', '.join(sorted(known))}")
    try:
        values = {name: _parsed(value) for name, value in settings.items()}
        options = msgspec.convert(values, protocol.options_type, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"option of {protocol.name}: {error}") from error
    try:
        options.validate(size)
    except ConfigError as error:
        raise ConfigError(f"{protocol.name}: {error}") from error
    return options


def _parsed(value: Any) -> Any:
    """Text from a command line: ``LOW,HIGH`` is a pair; numbers and booleans are left to ``msgspec``."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",")]
    return value
