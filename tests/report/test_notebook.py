"""The notebook runs from top to bottom on small data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import run_folder

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_notebook_executes(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run")
    target = tmp_path / "analysis.ipynb"
    environment = {**os.environ, "CONSENSUS_BENCH_RUN": str(folder), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, RESULTS / "notebook.py", target], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert any("us-east-1" in str(output.get("data", {})) for output in outputs)


def test_committed_notebook_is_the_script(tmp_path: Path) -> None:
    """Same cells: who changes one must make the other again (make notebook)."""
    import jupytext

    script = jupytext.read(RESULTS / "analysis.py")
    notebook = nbformat.read(RESULTS / "analysis.ipynb", as_version=4)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in script.cells]
