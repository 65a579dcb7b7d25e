"""What there is to choose from: protocols with their options, topologies, workloads, profiles, faults; plain data."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any

import msgspec

from consensus_bench.contract import Options
from consensus_bench.contract.registry import find_protocol, protocol_names
from consensus_bench.simulation.faults.kinds import KINDS, Fault
from consensus_bench.simulation.profiles import find_profile, profile_names
from consensus_bench.simulation.workload import PRESETS, preset
from consensus_bench.topology import load_topology, topology_names


def protocols() -> dict[str, Any]:
    """Per registered protocol: its one-line description, and per option the default and the meaning."""
    found = {}
    for name in protocol_names():
        protocol = find_protocol(name)
        found[name] = {"about": about(protocol), "options": option_table(protocol.options_type)}
    return found


def topologies() -> dict[str, Any]:
    """Per shipped matrix: its sites, and where and when it was measured."""
    found = {}
    for name in topology_names():
        topology = load_topology(name)
        found[name] = {
            "sites": list(topology.sites),
            "date": topology.date,
            "statistic": topology.statistic,
            "source": topology.source,
        }
    return found


def workloads() -> dict[str, Any]:
    """Per preset: what it is, and its settings."""
    return {name: {"about": text, "settings": msgspec.to_builtins(preset(name))} for name, (text, _) in PRESETS.items()}


def profiles() -> dict[str, Any]:
    """Per profile of a machine: its costs with their source."""
    return {name: msgspec.to_builtins(find_profile(name)) for name in profile_names()}


def faults() -> dict[str, Any]:
    """Per kind of fault: what it is, and its own keys with their defaults."""
    common = Fault.__struct_fields__
    return {
        name: {
            "about": " ".join((kind.__doc__ or "").replace("``", "").split()),
            "keys": {f.name: f.default for f in msgspec.structs.fields(kind) if f.name not in common},
        }
        for name, kind in KINDS.items()
    }


def about(protocol: type) -> str:
    """What a protocol is, in the first line of its file (or else of its class)."""
    text = sys.modules[protocol.__module__].__doc__ or protocol.__doc__ or protocol.__name__
    return text.strip().splitlines()[0]


def option_table(options_type: type[Options]) -> dict[str, Any]:
    """Per option: its default and its meaning, from the text below it in the source."""
    meanings: dict[str, str] = {}
    for base in reversed(options_type.__mro__):
        if issubclass(base, Options):
            meanings |= _texts_below_fields(base)
    defaults = msgspec.to_builtins(options_type())
    return {name: {"default": value, "about": meanings.get(name, "")} for name, value in defaults.items()}


def _texts_below_fields(kind: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError):  # no source at hand
        return {}
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            texts[field.target.id] = " ".join(below.value.value.split())
    return texts
