"""Injected faults on the timeline and in the report's table."""

from __future__ import annotations

from pathlib import Path

import run_folder

from consensus_bench.report.faults import never_struck, occurrences
from consensus_bench.report.figures import timeline
from consensus_bench.report.load import load
from consensus_bench.report.sections import sections

ROWS = """protocol,seed,kind,target,start_ms,end_ms
raft,1,crash,us-east-1,3000.0,5000.0
raft,2,crash,us-east-1,3000.0,5000.0
epaxos,1,crash,us-east-1,3000.0,5000.0
epaxos,2,corrupt-record,eu-west-1,7000.0,7000.0
"""


def test_faults_are_drawn_and_listed_with_how_many_runs_they_struck(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run")
    (folder / "faults.csv").write_text(ROWS)
    run = load(folder)
    assert occurrences(run.faults)[["kind", "runs"]].to_numpy().tolist() == [["crash", 3], ["corrupt-record", 1]]
    section = next(s for s in sections(run) if any(name == "timeline" for name, _ in s.figures))
    assert section.tables[-1].rows == [
        ["crash", "us-east-1", "3.000", "5.000", "3"],
        ["corrupt-record", "eu-west-1", "7.000", "7.000", "1"],
    ]
    above, below = timeline(run).axes
    assert [label.get_text() for label in below.get_yticklabels()] == ["crash", "corrupt-record"]
    assert [text.get_text() for text in below.texts] == ["us-east-1", "eu-west-1"]
    assert (below.patches[0].get_x(), below.patches[0].get_width()) == (3.0, 2.0)
    assert below.patches[1].get_width() > 0, "a fault of a moment is seen"
    assert [round(patch.get_alpha(), 3) for patch in above.patches if patch.get_alpha()] == [0.09, 0.03]


def test_what_struck_nobody_is_said(tmp_path: Path) -> None:
    faults = [
        {"kind": "crash", "target": "us-east-1"},
        {"kind": "corrupt-record", "target": "any 1"},
        {"kind": "pause", "target": "leader"},
    ]
    folder = run_folder.write(tmp_path / "run", scenario={"faults": faults, "duration": 10})
    (folder / "faults.csv").write_text(ROWS)
    assert never_struck(load(folder)) == [
        "corrupt-record:any 1 struck nobody under raft",
        "pause:leader struck nobody under raft, epaxos",
    ]


def test_a_run_without_faults_has_one_panel_and_no_table(tmp_path: Path) -> None:
    run = load(run_folder.write(tmp_path / "run"))
    assert len(timeline(run).axes) == 1
    assert not any(table.caption.startswith("What was injected") for s in sections(run) for table in s.tables)
