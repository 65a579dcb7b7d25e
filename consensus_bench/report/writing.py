"""The report of a run's folder: one HTML file that needs nothing else, the same in Markdown, and the figures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consensus_bench.report.figures import FIGURES
from consensus_bench.report.load import Run, load
from consensus_bench.report.page import Section, Table, number
from consensus_bench.report.sections import overall, sections
from consensus_bench.report.style import RC, save


def write_report(folder: str | Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/`` of the finished run in ``folder``; returns the HTML's path.

    The same data give the same bytes. Raises ``ConfigError`` if no run is there.
    """
    run = load(folder)
    return write_page(run.folder, f"Consensus protocols compared: {run.name}", sections(run), _draw(run, run.folder))


def write_comparison(folders: Sequence[str | Path], out: str | Path) -> Path:
    """One report of several runs, side by side, in ``out``; figures are those of each run."""
    runs = [load(folder) for folder in folders]
    labels = _labels(runs)
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    parts, drawn = [_side_by_side(runs, labels)], {}
    for run, label in zip(runs, labels, strict=True):
        figures = _draw(run, target, prefix=f"{label}-", names=("latency_by_site", "distribution", "load", "conflict"))
        drawn.update(figures)
        shown = [
            (f"{label}-{name}", f"{label}: {name.replace('_', ' ')}")
            for name in FIGURES
            if f"{label}-{name}" in figures
        ]
        parts.append(Section(label, label, [f"From {run.manifest['command']}"], [], shown))
    return write_page(target, "Runs compared: " + ", ".join(labels), parts, drawn)


def _labels(runs: list[Run]) -> list[str]:
    names = [run.name for run in runs]
    names = [n if names.count(n) == 1 else run.folder.name for n, run in zip(names, runs, strict=True)]
    return [n if names.count(n) == 1 else f"{n}-{i + 1}" for i, n in enumerate(names)]


def _side_by_side(runs: list[Run], labels: list[str]) -> Section:
    rows = []
    base = overall(runs[0])["sites_mean_ms"]
    for run, label in zip(runs, labels, strict=True):
        for protocol, r in overall(run).iterrows():
            change = r["sites_mean_ms"] / base[protocol] - 1 if protocol in base.index and run is not runs[0] else None
            rows.append(
                [label, str(protocol), *map(number, (r["sites_mean_ms"], r["mean_ms"], r["p50_ms"], r["p99_ms"]))]
                + [number(r["throughput_ops"], 0), "" if change is None or math.isnan(change) else f"{change:+.1%}"]
            )
    columns = ["run", "protocol", "mean over sites ms", "mean over ops ms", "p50 ms", "p99 ms", "ops/s", "over sites"]
    caption = f"Execution latency, all seeds. Last column: change of the mean over sites against {labels[0]}."
    return Section("runs", "Side by side", [], [Table(caption, columns, rows, texts=2)])


def _draw(run: Run, folder: Path, prefix: str = "", names: Sequence[str] = tuple(FIGURES)) -> dict[str, str]:
    """Draw what the run has data for: name -> SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    drawn = {}
    with mpl.rc_context(RC):  # type: ignore[arg-type]  # stubs list every name
        for name in names:
            draw, possible = FIGURES[name]
            if possible(run):
                drawn[prefix + name] = save(draw(run), folder / "figures", prefix + name)
    return drawn


def write_page(folder: Path, title: str, parts: list[Section], drawn: dict[str, str]) -> Path:
    """Write ``report.html`` and ``report.md``; returns the HTML's path. ``drawn``: the figures' SVG by name."""
    for part in parts:
        part.figures = [(name, caption) for name, caption in part.figures if name in drawn]
    html = folder / "report.html"
    html.write_text(_html(title, parts, drawn), encoding="utf-8")
    (folder / "report.md").write_text(_markdown(title, parts), encoding="utf-8")
    return html


def _html(title: str, parts: list[Section], drawn: dict[str, str]) -> str:
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("consensus_bench.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pictures = {name: Markup(_own_ids(svg, name)) for name, svg in drawn.items()}
    return environment.get_template("report.html.j2").render(title=title, sections=parts, pictures=pictures)


def _own_ids(svg: str, name: str) -> str:
    """Ids made unique within the page, and a size that follows its width."""
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg height="[^"]*"', r"<svg \1", svg, count=1)


def _markdown(title: str, parts: list[Section]) -> str:
    lines = [f"# {title}", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for text in part.text:
            lines += [text, ""]
        for table in part.tables:
            lines += _markdown_table(table)
        for name, caption in part.figures:
            lines += [f"![{caption}](figures/{name}.png)", ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    def row(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = ["---"] * table.texts + ["---:"] * (len(table.columns) - table.texts)
    caption = [f"*{table.caption}*", ""] if table.caption else []
    return [*caption, row(table.columns), row(rule), *map(row, table.rows), ""]
