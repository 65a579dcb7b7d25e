"""The flags of ``compare`` and ``run``, and the keys of a scenario that they fill in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from consensus_bench.contract.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

# Parameter of a command -> key of a scenario; the same word where it is not here.
_KEYS = {"client_timeout": "client_timeout_ms", "local_rtt": "local_rtt_ms"}
_WORKLOAD = {"workload": "preset", "clients": "clients", "rate": "rate", "conflict": "conflict", "reads": "reads",
             "size": "size"}  # fmt: skip
_LISTS = ("sites", "client_sites", "protocols")
_LEVELS = ("load_rates", "conflict_levels")
SWEEPS: Final = (*_LEVELS, "load_duration", "conflict_duration", "sweep_warmup", "sweep_seeds", "no_sweeps")
"""The flags of the sweeps of ``compare``."""


def given(ctx: click.Context, names: Collection[str]) -> str | None:
    """The first parameter among ``names`` that the command line gives, as it is written there; None: none is."""
    for parameter in ctx.command.params:
        if parameter.name in names and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.name.upper()
    return None


# Completion of values.


def _one(names: Callable[[], list[str]]) -> Callable[..., list[CompletionItem]]:
    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]

    return complete


def _several(names: Callable[[click.Context], list[str]]) -> Callable[..., list[CompletionItem]]:
    """Comma-separated: the last word is completed."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, word = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in names(ctx) if name.startswith(word)]

    return complete


def _protocols(_ctx: click.Context) -> list[str]:
    from consensus_bench.contract.registry import protocol_names

    return protocol_names()


def _sites(ctx: click.Context) -> list[str]:
    from consensus_bench.experiments.scenario import DEFAULT_TOPOLOGY
    from consensus_bench.topology import load_topology

    try:
        return list(load_topology(ctx.params.get("topology") or DEFAULT_TOPOLOGY).sites)
    except ConfigError:
        return []


def _topologies() -> list[str]:
    from consensus_bench.topology import topology_names

    return topology_names()


def _workloads() -> list[str]:
    from consensus_bench.simulation.workload import PRESETS

    return list(PRESETS)


def _profiles() -> list[str]:
    from consensus_bench.simulation.profiles import profile_names

    return profile_names()


def _faults() -> list[str]:
    from consensus_bench.simulation.faults.kinds import KINDS

    return [f"{kind}:" for kind in KINDS]


def _leaders(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(n) for n in ("best", "none", *_sites(ctx)) if n.startswith(incomplete)]


_OPTIONS = (
    click.option("--name", metavar="NAME", help="Of the comparison; part of the output folder's name."),
    click.option(
        "--topology", metavar="NAME|FILE", shell_complete=_one(_topologies),
        help="Shipped matrix, CSV (source,destination,rtt_ms) or folder of ping files.  [default: aws-2025]",
    ),
    click.option(
        "--sites", metavar="SITE,...", shell_complete=_several(_sites), help="Where the replicas are, one each."
    ),
    click.option(
        "--client-sites", metavar="SITE,...", shell_complete=_several(_sites),
        help="Where the clients are.  [default: at the replicas]",
    ),
    click.option(
        "--leader", metavar="SITE|best|none", shell_complete=_leaders,
        help="The first leader; best: lowest mean over the client sites; none: time-outs decide.  [default: best]",
    ),
    click.option(
        "--protocols", metavar="NAME,...", shell_complete=_several(_protocols),
        help="Names, FILE.py:CLASS, or LABEL= one of these.  [default: multi-paxos,raft,epaxos]",
    ),
    click.option(
        "--workload", metavar="NAME", shell_complete=_one(_workloads),
        help="Preset (see `consensus-bench list`).  [default: conflict]",
    ),
    click.option("--clients", type=int, help="Per site, each with one operation under way.  [default: 10]"),
    click.option(
        "--rate", type=float,
        help="Open loop instead: operations a second, all sites together.  [default: 0, which is the closed loop]",
    ),
    click.option("--conflict", type=float, help="Per cent of operations on the hot key.  [default: 2]"),
    click.option("--reads", type=float, help="Fraction of reads.  [default: 0]"),
    click.option("--size", type=int, help="Bytes of a written value.  [default: 16]"),
    click.option("--seeds", metavar="COUNT|N,N,...", help="How many, or which.  [default: 3]"),
    click.option("--seed", type=int, help="The first seed; without --seeds the only one."),
    click.option("--duration", type=float, help="Simulated seconds, warm-up included.  [default: 16]"),
    click.option("--warmup", type=float, help="Simulated seconds that are not measured.  [default: 1]"),
    click.option("--jitter", metavar="none|lognormal:CV|empirical", help="[default: lognormal:0.02]"),
    click.option(
        "--profile", metavar="NAME", shell_complete=_one(_profiles),
        help="What a machine costs; zero: nothing.  [default: m5-large]",
    ),
    click.option("--local-rtt", type=float, help="Client to a replica of its site and back, ms.  [default: 0]"),
    click.option("--client-timeout", type=float, help="Until a client asks another replica, ms.  [default: 10000]"),
    click.option(
        "--load-rates", metavar="auto|off|OPS,...", help="Offered loads of the load sweep.  [default: auto]"
    ),
    click.option("--load-duration", type=float, help="Simulated seconds per offered load.  [default: 2]"),
    click.option(
        "--conflict-levels", metavar="auto|off|PERCENT,...", help="Levels of the conflict sweep.  [default: auto]"
    ),
    click.option("--conflict-duration", type=float, help="Simulated seconds per level.  [default: 16]"),
    click.option("--sweep-warmup", type=float, help="Simulated seconds of a sweep that do not count.  [default: 0.5]"),
    click.option("--sweep-seeds", type=int, help="The sweeps run with so many of the seeds.  [default: 1]"),
    click.option("--no-sweeps", is_flag=True, help="Neither load nor conflict sweep."),
    click.option(
        "--set", "settings", metavar="PROTOCOL.OPTION=VALUE", multiple=True,
        help="An option of a protocol, or workload.KEY=VALUE; may be repeated.",
    ),
    click.option(
        "--fault", "faults", metavar="KIND:TARGET@AT+DURATION", multiple=True, shell_complete=_one(_faults),
        help="What goes wrong in the main runs, as crash:leader@10+5 (docs/faults.md); may be repeated.",
    ),
    click.option(
        "--nemesis", metavar="safe|KIND,...", help="Faults drawn from each seed (more: --set nemesis.KEY=VALUE)."
    ),
    click.option("--jobs", type=int, help="Processes.  [default: one for each core]"),
    click.option(
        "--out", metavar="DIR", type=click.Path(file_okay=False),
        help="Folder to write.  [default: results/runs/<time>-<name>]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON."),
    click.option("--quiet", is_flag=True, help="Print nothing but the path of the report."),
)  # fmt: skip


def scenario_options(command: F) -> F:
    """Add every flag of a scenario to ``command``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def adapt(command: click.Command, hidden: Collection[str], defaults: Mapping[str, str]) -> None:
    """Of the flags of a scenario, ``hidden`` are not in the help of ``command``, and some have other ``defaults``."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name in hidden:
            option.hidden = True
        elif isinstance(option, click.Option) and option.name in defaults:
            text = (option.help or "").partition("  [default")[0]
            option.help = f"{text}  [default: {defaults[option.name]}]"


def changes_from_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as keys of a scenario."""
    changes: dict[str, Any] = {}
    workload: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value == () or name in ("settings", "no_sweeps", "nemesis"):
            continue
        if name in _WORKLOAD:
            workload[_WORKLOAD[name]] = value
        elif name in _LISTS:
            changes[name] = _words(value)
            if not changes[name]:
                raise ConfigError(f"--{name.replace('_', '-')} '{value}': names nothing; leave it out for the default")
        elif name == "out" and not value:
            raise ConfigError("--out '': names no folder; leave it out for the default")
        elif name in _LEVELS:
            changes[name] = _levels(name, value)
        else:
            changes[_KEYS.get(name, name)] = _seeds(value) if name == "seeds" else value
    if flags.get("no_sweeps"):
        for name in _LEVELS:
            if changes.get(name):
                raise ConfigError(f"--no-sweeps and --{name.replace('_', '-')} {flags[name]}: give one of the two")
        changes |= {"load_rates": [], "conflict_levels": []}
    nemesis = {} if flags.get("nemesis") is None else {"kinds": _kinds(flags["nemesis"])}
    options = _set_options(flags.get("settings", ()), {"workload": workload, "nemesis": nemesis})
    changes |= {"nemesis": nemesis} if nemesis else {}
    return changes | ({"workload": workload} if workload else {}) | ({"options": options} if options else {})


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _seeds(text: str) -> int | list[int]:
    try:
        return [int(word) for word in _words(text)] if "," in text else int(text)
    except ValueError:
        raise ConfigError(f"--seeds {text}: give a number of seeds, or the seeds as in 1,2,3") from None


def _levels(name: str, text: str) -> str | list[float]:
    if text == "auto":
        return text
    try:
        levels = [float(word) for word in _words(text)] if text != "off" else []
    except ValueError:
        levels = []
    if not levels and text != "off":
        raise ConfigError(f"--{name.replace('_', '-')} {text or repr(text)}: give auto, off, or numbers as in 10,100")
    return levels


def _kinds(text: str) -> list[str]:
    return [] if text == "safe" else _words(text)


def _set_options(settings: tuple[str, ...], others: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """``protocol.option=value``, as text for the protocol to make sense of; ``workload.KEY=VALUE`` and the like go into
    ``others``."""
    options: dict[str, dict[str, Any]] = {}
    for setting in settings:
        target, equals, value = setting.partition("=")
        protocol, dot, option = target.rpartition(".")
        if not (equals and dot and protocol and option):
            raise ConfigError(f"--set {setting}: write protocol.option=value, as in raft.pre_vote=true")
        if protocol in others:
            if option in others[protocol]:
                raise ConfigError(f"--set {setting}: {target} is given twice; give it once")
            others[protocol][option] = value
        else:
            options.setdefault(protocol, {})[option] = value
    return options
