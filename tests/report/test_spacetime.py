"""Space-time diagrams: everything that happens is on them, and no two texts cover each other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from consensus_bench.contract import Command
from consensus_bench.exploration.trace import Committed, Envelope, Trace, TraceStep, Violation
from consensus_bench.report.spacetime import space_time, write_space_time
from consensus_bench.report.spacetime_words import compact, label_of, news, record_of

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
        "Prepare 1.1", "Promise 1.1", "Promise again", "round = 1", "promised = 1.1: not yet on disk", "crash",
        "lost: promised = 1.1", "restart", "disk: empty", "time-out", "retry", "x=5 chosen", "brown: written",
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
        ({"granted": True, "last_index": 4}, "M granted last index 4"),
        ({"granted": False, "transfer": False, "commit_index": 0}, "M refused"),
        ({"deps": [-1, -1], "quorum": 7}, "M"),
        ({"deps": [-1, 4]}, "M after 1.4"),
        ({"accepted": [[1, [1 << 62, 0], {"kind": "put", "key": "x", "value": 2}]]}, "M accepted [[1, chosen, x=2]]"),
        ({"accepted": None, "accepted_ballot": [0, 0]}, "M"),
    ],
)  # fmt: skip
def test_labels(fields: dict[str, Any], label: str) -> None:
    assert label_of(envelope(1, 1, 0, 1, "M", **fields)) == label


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accepted = ((1, 1), swap x=2)", "accepted = (1.1, x=2)"),
        ("vote = (1, 0)", "vote = (1, 0)"),
        ("2 = ((4611686018427387904, 0), swap x=1)", "2 = (chosen: x=1)"),
        (
            "(0, 0) = Commit(instance=(0, 0), command=swap x=1, deps=(-1, 0, -1), seq=0)",
            "0.0 = (x=1 after 1.0)",
        ),
        ("1 = LogEntry(term=1, command=noop)", "1 = (term 1, no-op)"),
        ("(0, 0) = (1, (1, 1), (1, 1), swap x=1, False, (-1, -1, -1), 0, (-1, -1, -1), 7)", "0.0 written"),
    ],
)
def test_records(text: str, said: str) -> None:
    assert record_of(text) == said


def test_what_is_new_at_a_replica() -> None:
    before = "ballot (1, 0); follows 0; 1: accepted noop at (1, 0)"
    after = "ballot (2, 0); 1: accepted noop at (1, 0); 2: accepted swap x=1 at (2, 0); 3: executed swap x=2"
    assert news(before, after, terms=True) == ["term 2", "2: accepted x=1 term 2"]
    assert news("", "ballot (1, 1); 0: accepted swap x=1 at (1, 1)", terms=False) == [
        "promised 1.1",
        "accepted x=1 at 1.1",
    ]
    assert news(before, before, terms=False) == []
    assert compact("noop") == "no-op"


def lost_in_memory(trace: Trace) -> Trace:
    """The same, but the promise is never written."""
    steps = list(trace.steps)
    steps[2] = msgspec.structs.replace(steps[2], durable=True, written=())
    return msgspec.structs.replace(trace, steps=tuple(steps))


def test_what_is_only_in_memory_is_marked_and_forgotten() -> None:
    shown = " ".join(text.get_text() for text in texts(space_time(lost_in_memory(trace()), ["1-7: so it went."])))
    assert "promised 1.1 (in memory)" in shown and "forgotten: promised 1.1" in shown and "1-7: so it went." in shown
    assert "lost:" not in shown


def test_files(tmp_path: Path) -> None:
    text = write_space_time(trace(), tmp_path, "picture")
    assert text.startswith("<svg")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert (tmp_path / "picture.svg").read_bytes() and text == write_space_time(trace(), tmp_path, "again")
