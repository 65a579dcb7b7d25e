"""The command that repeats a comparison: the flags that say what differs from the defaults."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from consensus_bench.experiments.plan import Run
from consensus_bench.experiments.scenario import Scenario, make_scenario
from consensus_bench.simulation.faults import Nemesis
from consensus_bench.simulation.faults.parsing import fault_line

_FLAGS = {
    "name": "--name",
    "topology": "--topology",
    "sites": "--sites",
    "client_sites": "--client-sites",
    "leader": "--leader",
    "protocols": "--protocols",
    "profile": "--profile",
    "jitter": "--jitter",
    "duration": "--duration",
    "warmup": "--warmup",
    "client_timeout_ms": "--client-timeout",
    "local_rtt_ms": "--local-rtt",
    "load_rates": "--load-rates",
    "load_duration": "--load-duration",
    "conflict_levels": "--conflict-levels",
    "conflict_duration": "--conflict-duration",
    "sweep_warmup": "--sweep-warmup",
    "sweep_seeds": "--sweep-seeds",
    # Of failover alone.
    "at": "--at",
    "restart_after": "--restart-after",
    "election_timeout_ms": "--election-timeout",
    "heartbeat_ms": "--heartbeat",
}
_DEFAULT = Scenario()


def command_line(scenario: Scenario, command: str = "compare", default: Scenario = _DEFAULT) -> str:
    """``consensus-bench compare`` with the flags that make it ``scenario``; without flags it is ``default``."""
    words = ["consensus-bench", command]
    for field, flag in _FLAGS.items():
        value = getattr(scenario, field, None)
        if field == "client_sites" and value == scenario.sites:
            continue  # the default: where the replicas are
        if value != getattr(default, field, None):
            words += [flag, _text(value)]
    words += _workload(scenario)
    if scenario.seeds != default.seeds:
        counted = tuple(range(1, len(scenario.seeds) + 1))
        text = str(len(scenario.seeds)) if scenario.seeds == counted else _text(scenario.seeds)
        words += ["--seed", text] if len(scenario.seeds) == 1 and scenario.seeds != (1,) else ["--seeds", text]
    for label, options in scenario.options.items():
        for name, value in options.items():
            if _text(getattr(scenario, name, None)) == _text(value):
                continue  # what failover gives to all
            words += ["--set", f"{label}.{name}={_text(value)}"]
    for fault in scenario.faults:
        words += ["--fault", fault_line(fault)]
    for fault in getattr(scenario, "background", ()):
        words += ["--background", fault_line(fault)]
    for site, other in getattr(scenario, "reroute", {}).items():
        words += ["--reroute", f"{site}={other}"]
    if scenario.nemesis is not None:
        words += _nemesis(scenario.nemesis)
    return shlex.join(words)


def _workload(scenario: Scenario) -> list[str]:
    """A preset, and what is changed in it."""
    workload = scenario.workload
    words = [] if workload.name == "conflict" else ["--workload", workload.name]
    given: dict[str, Any] = {"preset": workload.name}
    preset = make_scenario({"workload": dict(given)}).workload
    for field in (f for f in workload.__struct_fields__ if f not in ("name", "swaps")):
        value = getattr(workload, field)
        if value != getattr(preset, field):
            given[field] = value
    if make_scenario({"workload": dict(given)}).workload != workload:
        given["swaps"] = workload.swaps  # not what follows from the rest
    for field, value in list(given.items())[1:]:
        flag = f"--{field}"
        words += [flag, _text(value)] if field in _WORKLOAD_FLAGS else ["--set", f"workload.{field}={_text(value)}"]
    return words


def _nemesis(nemesis: Nemesis) -> list[str]:
    words = ["--nemesis", ",".join(nemesis.kinds) or "safe"]
    for name, value in msgspec.to_builtins(nemesis).items():
        if name != "kinds":
            words += ["--set", f"nemesis.{name}={_text(value)}"]
    return words


_WORKLOAD_FLAGS = frozenset(("clients", "rate", "conflict", "reads", "size"))


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value)) or "off"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    return str(value)


def replay_command(scenario: Scenario, entry: str, run: Run) -> str:
    """The command that does ``run`` again, alone; ``entry`` is its protocol as the scenario names it."""
    options = {name: table for name, table in scenario.options.items() if name == run.protocol}
    changes: dict[str, Any] = {"load_rates": (), "conflict_levels": ()}
    if run.purpose != "main":  # such a run again, as the main one
        settings = run.settings
        changes |= {"workload": settings.workload, "duration": settings.duration_s, "warmup": settings.warmup_s}
        changes |= {"faults": (), "nemesis": None}
    alone = msgspec.structs.replace(scenario, protocols=(entry,), seeds=(run.seed,), options=options, **changes)
    return command_line(alone)
