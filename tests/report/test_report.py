"""The report: its numbers are the tables' numbers, it stands alone, it is the same for the same data."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import run_folder
from click.testing import CliRunner
from rich.console import Console

import consensus_bench
from consensus_bench.cli.report import command
from consensus_bench.contract import ConfigError
from consensus_bench.report import load, print_summary, write_comparison, write_report
from consensus_bench.report.sections import overall, paired_interval, sections
from consensus_bench.simulation.workload import PRESETS, preset


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_folder.write(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


def test_every_question_has_its_section_in_order(written: Path) -> None:
    keys = re.findall(r'<section id="(\w+)"', (written / "report.html").read_text())
    expected = "answer sites distribution load conflict costs resources differences checks settings"
    assert keys == expected.split()


def test_numbers_are_those_of_the_tables(written: Path) -> None:
    run = load(written)
    s = run.summary.query("seed == 'ALL' and metric == 'execute'").set_index(["protocol", "site"])
    markdown = (written / "report.md").read_text()
    for (protocol, site), row in s.iterrows():
        if site != "ALL":
            assert re.search(rf"\| {site} \| {protocol} \| {row.mean_ms:.1f} \| {row.p50_ms:.1f} \|", markdown)
    expected = s.loc["raft"].drop("ALL")["mean_ms"].mean()
    assert overall(run).loc["raft", "sites_mean_ms"] == pytest.approx(expected)
    assert f"| raft | {expected:.1f} |" in markdown


def test_every_table_says_what_its_means_are_over(written: Path) -> None:
    for section in sections(load(written)):
        for table in section.tables:
            if any("mean" in column for column in table.columns):
                assert re.search(r"over (sites|operations|that site's operations|seeds)", table.caption), table.caption


def test_html_stands_alone(written: Path) -> None:
    """Nothing is fetched: links only within the page, ids unique, no script."""
    html = (written / "report.html").read_text()
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!#|data:)', re.sub(r"<a [^>]*>", "", html))
    assert not re.search(r"url\((?!#)", html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html):
        assert target in ids


def test_same_data_same_bytes(written: Path, tmp_path: Path) -> None:
    other = run_folder.write(tmp_path / "again")
    write_report(other)
    files = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert len(files) > 15
    for name in files:
        if name.suffix in (".html", ".md", ".svg", ".png"):
            assert (written / name).read_bytes() == (other / name).read_bytes(), name


def test_what_is_missing_is_said_and_not_drawn(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run", protocols=("raft",), seeds=1)
    for name in ("load.csv", "conflict.csv"):
        header = (folder / name).read_text().splitlines()[0]
        (folder / name).write_text(header + "\n")
    write_report(folder)
    html = (folder / "report.html").read_text()
    assert "This run had no load sweep" in html
    assert "This run had no conflict sweep" in html
    assert "at least two protocols and two seeds" in html
    assert not (folder / "figures" / "load.png").exists()


def test_seven_protocols_with_odd_names(tmp_path: Path) -> None:
    names = tuple(f"p{i}<b>&{'x' * i}" for i in range(7))
    folder = run_folder.write(tmp_path / "run", protocols=names)
    html = write_report(folder).read_text()
    assert "<b>" not in html
    assert "p6&lt;b&gt;&amp;xxxxxx" in html


def test_a_violation_is_said_first(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run")
    checks = run_folder.checks(("raft", "epaxos"))
    checks[1]["verdict"] = "violated"
    checks[3]["verdict"] = "not decided"
    (folder / "checks.json").write_text(json.dumps(checks))
    assert answer(folder).startswith("VIOLATED: 1 checks")


def test_a_protocol_without_numbers_is_said_to_have_none(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    table = pd.read_csv(folder / "summary.csv", dtype={"seed": str})
    table[table["protocol"] != "raft"].to_csv(folder / "summary.csv", index=False)
    text = answer(folder)
    assert "No numbers for raft: no main run both finished and passed its checks." in text
    assert "nan" not in text


def test_a_run_without_numbers_still_has_a_report(tmp_path: Path) -> None:
    """All main runs were violated: no table has rows but the checks'."""
    folder = run_folder.write(tmp_path / "run")
    for path in folder.glob("*.csv"):
        path.write_text(path.read_text().splitlines()[0] + "\n")
    for path in folder.glob("*.parquet"):
        pd.read_parquet(path).iloc[:0].to_parquet(path)
    checks = run_folder.checks(("raft", "epaxos"))
    for check in checks:
        check["verdict"] = "violated"
    (folder / "checks.json").write_text(json.dumps(checks))
    html = write_report(folder).read_text()
    assert "VIOLATED: 4 checks" in html
    assert "There are no numbers" in html
    out = StringIO()
    print_summary(folder, Console(file=out, width=100))
    assert "no numbers" in out.getvalue()


def test_rare_percentiles_are_blank_when_few_operations_bear_them(written: Path) -> None:
    run = load(written)
    run.summary["count"] = 999
    site_table, all_table = sections(run)[1].tables
    assert all(row[site_table.columns.index("p99 ms")] == "" for row in site_table.rows)
    assert all(row[all_table.columns.index("p99.9 ms")] == "" for row in all_table.rows)


@pytest.mark.parametrize("seeds", [2, 3, 5, 40])
def test_nothing_is_called_a_difference_once_in_twenty(seeds: int) -> None:
    """Where two protocols are alike, the interval leaves zero out in 5 % of the comparisons, however few the seeds."""
    draw = random.Random(seeds)
    outside = 0
    for _ in range(4000):
        low, high = paired_interval([draw.gauss(0, 1) for _ in range(seeds)])
        outside += not low <= 0 <= high
    assert 0.04 < outside / 4000 < 0.06


def test_differences_are_paired(written: Path) -> None:
    assert paired_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    rows = next(s for s in sections(load(written)) if s.key == "differences").tables[0].rows
    assert rows[0][-1] == "raft is faster"


def test_terminal_summary_shows_table_picture_and_verdict(written: Path) -> None:
    out = StringIO()
    print_summary(written, Console(file=out, width=100))
    text = out.getvalue()
    assert "100.0%" in text
    assert "verification: 4 checks, all hold" in text
    assert text.count("█") > 20
    assert max(map(len, text.splitlines())) <= 100


def test_a_terminal_that_lacks_a_letter_gets_the_rest(written: Path) -> None:
    command = [sys.executable, "-c", "from consensus_bench.cli import main; main()", "report", str(written)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "us-east-1 raft   ????" in done.stdout


def test_runs_side_by_side(written: Path, tmp_path: Path) -> None:
    slower = run_folder.write(tmp_path / "slower", protocols=("epaxos", "raft"), name="slower")
    write_comparison([written, slower], tmp_path / "both")
    rows = re.findall(
        r"^\| (made-up|slower) \| (\w+) \|.*\| ([^|]*) \|$", (tmp_path / "both" / "report.md").read_text(), re.M
    )
    assert [row[:2] for row in rows] == [
        ("made-up", "raft"), ("made-up", "epaxos"), ("slower", "epaxos"), ("slower", "raft"),
    ]  # fmt: skip
    assert rows[0][2] == "" and float(rows[3][2].rstrip("%")) > 10  # raft is second there, and so 20 ms slower
    assert (tmp_path / "both" / "figures" / "slower-distribution.png").is_file()


def test_command(written: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(written), "--json"])
    assert json.loads(result.output)["report"] == str(written / "report.html")
    assert str(CliRunner().invoke(command, [str(written), str(written)]).exception).startswith("report: several runs")
    assert "holds a run of its own" in str(CliRunner().invoke(command, [str(written), "--out", str(written)]).exception)


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no run is here"), ("{", "is not JSON"), ('{"format": 9}', "format 9 is unknown")],
)
def test_no_run_there(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigError, match=text):
        consensus_bench.load(tmp_path)


def answer(folder: Path) -> str:
    return " ".join(sections(load(folder))[0].text)


def test_a_mean_over_sites_takes_all_of_them(tmp_path: Path) -> None:
    """Else a protocol that answered nobody but its nearest clients would be called the fastest."""
    folder = run_folder.write(tmp_path)
    table = pd.read_csv(folder / "summary.csv", dtype={"seed": str})
    table.loc[(table["protocol"] == "raft") & (table["site"] == "eu-west-1"), "mean_ms":] = None
    table.to_csv(folder / "summary.csv", index=False)
    run = load(folder)
    assert pd.isna(overall(run).loc["raft", "sites_mean_ms"])
    assert overall(run).loc["epaxos", "sites_mean_ms"] > 0
    text = answer(folder)
    assert "answered fastest" not in text
    assert "No mean over sites for raft: at some site there is no measured operation." in text
    assert "led from" not in text
    assert "nan" not in write_report(folder).read_text(encoding="utf-8")
    out = StringIO()
    print_summary(folder, Console(file=out, width=120))
    assert re.search(r"eu-west-1 raft +no measured operation", out.getvalue())
    target = tmp_path / "both"
    write_comparison([folder, run_folder.write(tmp_path / "other")], target)
    assert "nan" not in (target / "report.md").read_text(encoding="utf-8")


def test_sweeps_with_several_seeds_keep_them_apart(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    for name in ("load.csv", "conflict.csv"):
        table = pd.read_csv(folder / name)
        again = table.assign(seed=2, p99_ms=table["p99_ms"] + 50)
        pd.concat([table, again]).to_csv(folder / name, index=False)
    by_key = {section.key: section for section in sections(load(folder))}
    for key, rows in (("load", 8), ("conflict", 8)):
        (table,) = by_key[key].tables
        assert "each seed by itself" in table.caption
        assert len(table.rows) == rows
        assert {row[table.columns.index("seed")] for row in table.rows} == {"1", "2"}
    assert "Means over seeds" in by_key["conflict"].figures[0][1]
    write_report(folder)


def test_the_sweeps_percentiles_are_blank_when_few_operations_bear_them(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    for name in ("load.csv", "conflict.csv"):
        table = pd.read_csv(folder / name)
        table.assign(count=999).to_csv(folder / name, index=False)
    for section in sections(load(folder)):
        if section.key in ("load", "conflict"):
            (table,) = section.tables
            for row in table.rows:
                assert [cell for cell, column in zip(row, table.columns, strict=True) if "p99" in column and cell] == []


def test_sweeps_of_earlier_versions_say_no_counts(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    for name in ("load.csv", "conflict.csv"):
        pd.read_csv(folder / name).drop(columns="count").to_csv(folder / name, index=False)
    assert "| 5,000 | 4,000 | 80.0 | 150.0 |" in write_report(folder).with_suffix(".md").read_text(encoding="utf-8")


def test_the_answer_says_what_saturates_and_what_does_not(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run")
    table = pd.read_csv(folder / "load.csv")
    led = table["protocol"] == "raft"
    table.loc[led, "utilisation"], table.loc[~led, "utilisation"] = 1.0, 0.83
    table.loc[led, ["busiest_resource", "busiest_site"]] = "cpu", "us-east-1"
    table.to_csv(folder / "load.csv", index=False)
    text = answer(folder)
    assert "raft is saturated at an offer of" in text
    assert "the processor at us-east-1 is fully used" in text
    assert "epaxos was not saturated" in text
    assert "83% used" in text


def test_an_interrupted_comparison_says_what_is_missing(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest |= {"complete": False, "runs": 3, "planned_runs": 9}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    write_report(folder)
    assert "only 3 of 9 runs are in these numbers" in (folder / "report.md").read_text(encoding="utf-8")
    out = StringIO()
    print_summary(folder, Console(file=out, width=120))
    assert "only 3 of 9 runs are in these numbers" in out.getvalue()


def test_what_could_not_be_decided_is_not_called_violated(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path)
    checks = json.loads((folder / "checks.json").read_text(encoding="utf-8"))
    checks[0]["verdict"] = "not decided"
    (folder / "checks.json").write_text(json.dumps(checks), encoding="utf-8")
    out = StringIO()
    print_summary(folder, Console(file=out, width=120))
    assert f"{len(checks)} checks, 1 not decided" in out.getvalue()


@pytest.mark.parametrize("name", PRESETS)
def test_every_workload_is_told_in_words(name: str, tmp_path: Path) -> None:
    workload = msgspec.to_builtins(preset(name))
    markdown = write_report(run_folder.write(tmp_path, workload=workload)).with_suffix(".md").read_text()
    told = next(line for line in markdown.splitlines() if line.startswith("| workload |"))
    assert not any(key in told for key in ("think_ms", "hot_move_every", "False", "{"))
    assert sum(float(share) for share in re.findall(r"([\d.]+) % (?:reads|atomic|writes)", told)) == 100
