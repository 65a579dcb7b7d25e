"""``consensus-bench check-history FILE``: is a recorded history linearizable?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from consensus_bench.verification.jepsen import Fail, read_history, read_value
from consensus_bench.verification.linearizability import DEFAULT_BUDGET, MODELS, HistoryCheck, Model, check_operations

_WORDS = {"holds": "linearizable", "violated": "not linearizable", "not decided": "not decided"}
_STATUS = {"holds": 0, "violated": 1, "not decided": 3}


@click.command("check-history")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Choice(list(MODELS)), help="What the history is of; default: what its operations need."
)
@click.option(
    "--initial", metavar="VALUE", default="nil", show_default=True, help="What each key holds at first (EDN)."
)
@click.option(
    "--fail",
    type=click.Choice(get_args(Fail)),
    default="did-not-happen",
    show_default=True,
    help="What :fail of a compare-and-set means: it did not happen, or it observed another value.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    default=DEFAULT_BUDGET,
    show_default=True,
    help="Configurations that the search may visit before it gives up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
@click.pass_context
def command(
    ctx: click.Context, file: Path, model: Model | None, initial: str, fail: Fail, budget: int, as_json: bool
) -> None:
    """Judge the history in FILE: Jepsen's EDN (a map per event) or the text of its log.

    Operations are :read :write :cas (registers) and :get :put :append (key-value); keys stand in :key or, as Jepsen's
    independent keys, in the value [key value]. What ends with :info, by a time-out or not at all stays open: it may
    have happened at any later time, or never. In a key-value history a missing key, nil and "" are the same.

    Exit status: 0 linearizable, 1 not linearizable, 2 bad input, 3 not decided within the budget.
    """
    start = read_value(initial)
    recorded = read_history(file, model, fail)
    if recorded.model == "kv" and start in ("", ()):
        start = None
    check = check_operations(recorded.operations, recorded.model, start, budget)
    click.echo(json.dumps(_as_json(check, recorded.model)) if as_json else _as_text(check, recorded.model, file))
    ctx.exit(_STATUS[check.verdict])


def _as_text(check: HistoryCheck, model: Model, file: Path) -> str:
    judged = f"{check.checked} operations on {check.keys} keys, {check.open} of them open, model {model}"
    lines = [f"{file}: {_WORDS[check.verdict]} ({judged})"]
    if check.verdict == "not decided":
        lines.append(check.detail)
    if check.verdict == "violated":
        where = "" if check.key is None else f"key {check.key!r}: "
        lines.append(f"{where}{check.reason} (with the numbers of the events that began and ended each):")
        lines += [f"  {operation}" for operation in check.operations[:20]]
        if len(check.operations) > 20:
            lines.append(f"  and {len(check.operations) - 20} more")
    return "\n".join(lines)


def _as_json(check: HistoryCheck, model: Model) -> dict[str, object]:
    return {
        "verdict": _WORDS[check.verdict],
        "model": model,
        "operations": check.checked,
        "keys": check.keys,
        "open": check.open,
        "configurations": check.configurations,
        "key": None if check.key is None else str(check.key),
        "detail": check.detail,
        "involved": [str(operation) for operation in check.operations],
    }
