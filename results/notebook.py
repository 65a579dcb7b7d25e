"""Make ``analysis.ipynb`` from ``analysis.py`` by executing it: ``python results/notebook.py`` (``make notebook``)."""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Execute in this folder, where ``reference`` is; write the notebook without what differs from run to run."""
    notebook = jupytext.read(HERE / "analysis.py")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "analysis.ipynb"
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
