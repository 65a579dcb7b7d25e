"""The last section of a comparison's report: everything that its numbers depend on, in words."""

from __future__ import annotations

from typing import Any, Final

from consensus_bench.report.load import Run
from consensus_bench.report.page import Section, Table

KEYS: Final = {
    "conflict": "the hot key in {conflict:g} % of the operations, else a key of the client's own",
    "uniform": "drawn evenly from {records:,}",
    "zipf": "Zipfian, constant 0.99, over {records:,} keys",
    "scrambled": "Zipfian as YCSB draws it, constant 0.99, over {records:,} keys",
    "latest": "the newest of {records:,} and more are asked for most (YCSB's latest)",
    "hotspot": "{conflict:g} % of the operations fall on {hot_keys} hot keys, which move on after every "
    "{hot_move_every:,} operations of a client",
}


def settings(run: Run) -> Section:
    """What was compared where, under which load, on which machines, and with which code."""
    m = run.manifest
    t, code = m["topology"], m["code"]
    rows = [
        ["command", m["command"]],
        ["workload", _workload(m["workload"])],
        ["time", _time(m["scenario"])],
        ["seeds", ", ".join(map(str, m["seeds"]))],
        ["topology", f"{t['name']}: {t['statistic']}; {t['date']}; {t['source']}; licence {t['licence']}"],
        ["replicas at", ", ".join(m["sites"])],
        ["clients at", ", ".join(m["client_sites"])],
        ["jitter", m["jitter"]],
        ["machines", _machines(m["profile"])],
        ["sweeps", _sweeps(m["scenario"])],
        *[[f"options of {name}", _plain(options)] for name, options in m.get("options", {}).items()],
        ["code", f"version {code['version']}, sha256 {code['sha256'][:16]}"],
        ["versions", _plain(m["versions"])],
    ]
    text = [
        "Everything that these numbers depend on. manifest.json has it in full; the same command gives the same bytes. "
        "consensus-bench list says what each option of a protocol means."
    ]
    return Section("settings", "Settings", text, [Table("", ["setting", "value"], rows, texts=2)])


def _workload(w: dict[str, Any]) -> str:
    if w["rate"]:
        load = f"open loop, {w['rate']:,g} operations/s in all (Poisson)"
    else:
        think = f"{w['think_ms']:g} ms between two operations" if w["think_ms"] else "no pause between two operations"
        load = f"closed loop, {w['clients']:,} clients at each site, {think}"
    writes = 1 - w["reads"] - w["swaps"]
    kinds = (("reads", w["reads"]), ("atomic read-modify-writes (swaps)", w["swaps"]), ("writes", writes))
    mix = ", ".join(f"{share:.3g} % {kind}" for kind, part in kinds if (share := round(100 * part, 6)))
    inserts = ", each of a new key" if w["inserts"] else ""
    return f"{w['name']}: {load}; keys: {KEYS[w['keys']].format(**w)}; {mix}{inserts}; {w['size']:,} bytes a value"


def _time(scenario: dict[str, Any]) -> str:
    local = scenario["local_rtt_ms"]
    return (
        f"{scenario['duration']:g} simulated seconds a run, the first {scenario['warmup']:g} not measured; a client "
        f"asks again after {scenario['client_timeout_ms']:g} ms; round trip within a site {local:g} ms"
    )


def _machines(profile: dict[str, Any]) -> str:
    p = profile
    card = f"{p['bandwidth_mbps']:g} Mb/s out" if p["bandwidth_mbps"] else "network card without limit"
    fsync = f"fsync {p['fsync_ms']:g} ms (CV {p['fsync_cv']:g})" if p["fsync_ms"] else "fsync costs nothing"
    return (
        f"{p['name']}: processor {p['receive_us']:g} us a message in, {p['send_us']:g} us out, {p['execute_us']:g} us "
        f"a command executed; {card}; {fsync}. {p['source']}"
    )


def _sweeps(scenario: dict[str, Any]) -> str:
    parts = []
    for what, levels, duration in (("load", "load_rates", "load"), ("conflicts", "conflict_levels", "conflict")):
        chosen = scenario[levels]
        shown = chosen if isinstance(chosen, str) else ", ".join(f"{level:,g}" for level in chosen)
        parts.append(f"{what}: {shown}, {scenario[f'{duration}_duration']:g} s each" if chosen else f"{what}: none")
    seeds = scenario["sweep_seeds"]
    parts.append(f"the first {scenario['sweep_warmup']:g} s not measured, {seeds} seed{'s' if seeds > 1 else ''}")
    return "; ".join(parts)


def _plain(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
