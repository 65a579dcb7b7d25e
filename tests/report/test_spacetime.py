"""Space-time diagrams: everything that happens is on them, and no two texts cover each other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from consensus_bench.contract import Command
from consensus_bench.exploration.trace import Committed, Envelope, Trace, TraceStep, Violation
from consensus_bench.report.spacetime import label_of, space_time, write_space_time

FIVE, SEVEN = Command(1, 1, "put", "x", 5), Command(2, 1, "put", "x", 7)


def envelope(number: int, step: int, source: int, to: int, kind: str, **fields: Any) -> Envelope:
    return Envelope(number=number, step=step, source=source, to=to, kind=kind, fields=fields, text=kind)


def trace() -> Trace:
    """Replica 0 promises, loses its disk's last record in a crash, promises again: made up, and short."""
    command = {"client": 1, "sequence": 1, "kind": "put", "key": "x", "value": 5, "size": 16}
    steps = [
        TraceStep(number=1, kind="start", replica=0, text="", holds="nothing"),
        TraceStep(number=2, kind="request", replica=1, text="", command=FIVE, sent=(1,), written=("round = 1",)),
        TraceStep(
            number=3, kind="deliver", replica=0, text="", message=1, sent=(2,), durable=False,
            written=("promised = (1, 1)",), holds="ballot (1, 1)",
        ),
        TraceStep(number=4, kind="crash", replica=0, text=""),
        TraceStep(number=5, kind="restart", replica=0, text="", holds="nothing"),
        TraceStep(number=6, kind="deliver", replica=1, text="", message=2, sent=(3,),
                  committed=(Committed(place=0, command=FIVE),)),
        TraceStep(number=7, kind="deliver", replica=1, text="", message=2),
        TraceStep(number=8, kind="timer", replica=2, text="", timer="retry",
                  committed=(Committed(place=0, command=SEVEN),)),
    ]  # fmt: skip
    messages = [
        envelope(1, 2, 1, 0, "Prepare", ballot=[1, 1]),
        envelope(2, 3, 0, 1, "Promise", ballot=[1, 1], accepted_ballot=[0, 0], accepted=None),
        envelope(3, 6, 1, 2, "Accept", ballot=[1, 1], command=command),
    ]
    return Trace(
        protocol="basic-paxos", replicas=3, length=7, messages=tuple(messages), steps=tuple(steps),
        violation=Violation(property="agreement", detail="replica 1 commits 5, replica 2 commits 7"),
    )  # fmt: skip


def texts(figure: Any) -> list[Any]:
    return [text for text in figure.axes[0].texts if text.get_text()]


def test_everything_that_happens_is_written_on_it() -> None:
    shown = " ".join(text.get_text() for text in texts(space_time(trace())))
    for wanted in (
        "Prepare 1.1", "Promise 1.1", "Promise again", "round = 1", "promised = 1.1 (not durable)", "crash",
        "lost: promised = 1.1", "restart", "disk: empty", "forgotten: ballot 1.1", "retry time-out", "x=5 chosen",
        "x=7 chosen as well!", "agreement: replica 1 commits 5, replica 2 commits 7", "x=5", "replica 2", "clients",
    ):  # fmt: skip
        assert wanted in shown, wanted
    assert "Accept 1.1" not in shown.replace("Accepted", ""), "the label of a lost message would only be in the way"


def test_no_text_covers_another() -> None:
    figure = space_time(trace())
    with mpl.rc_context({"figure.dpi": 100}):
        renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    for (one, a), (other, b) in combinations(boxes, 2):
        shrunk = a.padded(-2)
        assert not shrunk.overlaps(b.padded(-2)), f"{one!r} and {other!r}"
    width, height = figure.get_size_inches() * 100
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"ballot": [2, 1]}, "M 2.1"),
        ({"term": 3, "entries": [{"term": 1, "command": {"kind": "noop", "key": ""}}]}, "M 3 entries [1 no-op]"),
        ({"granted": True, "last_index": 4}, "M granted True last index 4"),
        ({"accepted": None, "accepted_ballot": [0, 0]}, "M"),
    ],
)  # fmt: skip
def test_labels(fields: dict[str, Any], label: str) -> None:
    assert label_of(envelope(1, 1, 0, 1, "M", **fields)) == label


def test_files(tmp_path: Path) -> None:
    text = write_space_time(trace(), tmp_path, "picture")
    assert text.startswith("<svg")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert (tmp_path / "picture.svg").read_bytes() and text == write_space_time(trace(), tmp_path, "again")
