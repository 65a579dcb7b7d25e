"""One look for all figures: a colour and a marker per protocol, byte-stable files."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with any colour vision; the marker tells them apart in grey.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
DASHES: Final = ((0, ()), (0, (5, 3)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
"""Of lines without markers, so that two that coincide are both seen."""
BOUND: Final = "#444444"
RC: Final[dict[str, Any]] = {
    "svg.hashsalt": "consensus-bench",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.dpi": 100,
}


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the protocol with this place in the comparison."""
    turn, place = divmod(number, len(PALETTE))
    return {"color": PALETTE[place], "marker": MARKERS[(place + turn) % len(MARKERS)]}


def line(number: int) -> dict[str, Any]:
    """Colour and dashes of the protocol with this place in the comparison."""
    return {"color": PALETTE[number % len(PALETTE)], "ls": DASHES[number % len(DASHES)], "lw": 1.8}


def save(figure: Figure, folder: Path, name: str, dpi: int = 150) -> str:
    """Write ``name.png`` (``dpi`` dots an inch) and ``name.svg``, the same bytes whenever the data are the same; the
    SVG's text."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    with warnings.catch_warnings():
        # A site's name in a script that no font here can draw: boxes in the PNG, the name in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(folder / f"{name}.png", dpi=dpi, metadata={"Software": None})
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    (folder / f"{name}.svg").write_bytes(buffer.getvalue())
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]
