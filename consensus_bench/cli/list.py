"""``consensus-bench list``: what there is to choose from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

_KINDS = ("protocols", "topologies", "workloads", "profiles", "faults")


@click.command("list")
@click.argument("kind", type=click.Choice(_KINDS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as one JSON object.")
def command(kind: str | None, as_json: bool) -> None:
    """List protocols with their options, topologies, workloads, profiles and faults; or only one KIND of these."""
    from consensus_bench.experiments import catalogue

    found = {name: getattr(catalogue, name)() for name in _KINDS if kind in (None, name)}
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for name, entries in found.items():
        click.echo(f"{name}:")
        for line in _LINES[name](entries):
            click.echo(f"  {line}")


def _protocols(entries: dict[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        yield f"{name}: {entry['about']}"
        for option, what in entry["options"].items():
            meaning = f"  {what['about']}" if what["about"] else ""
            yield f"  --set {name}.{option}={_text(what['default'])}{meaning}"


def _topologies(entries: dict[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        yield f"{name}: {len(entry['sites'])} sites, {entry['date']}; {entry['source']}"


def _workloads(entries: dict[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        yield f"{name}: {entry['about']}"


def _profiles(entries: dict[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        costs = {
            "us to receive": entry["receive_us"],
            "us to send": entry["send_us"],
            "us to execute": entry["execute_us"],
            "Mb/s (0: unlimited)": entry["bandwidth_mbps"],
            "ms an fsync": entry["fsync_ms"],
        }
        yield f"{name}: {', '.join(f'{cost:g} {unit}' for unit, cost in costs.items())}"
        yield f"  {entry['source']}"


def _faults(entries: dict[str, Any]) -> Iterator[str]:
    for name, entry in entries.items():
        yield f"{name}: {entry['about']}"
        if entry["keys"]:
            yield f"  {','.join(f'{key}={_text(default)}' for key, default in entry['keys'].items())}"


_LINES = {
    "protocols": _protocols,
    "topologies": _topologies,
    "workloads": _workloads,
    "profiles": _profiles,
    "faults": _faults,
}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool | None) else str(value)
