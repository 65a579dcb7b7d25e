"""``consensus-bench topology``: what it prints and draws, and how it refuses bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from consensus_bench.cli import main
from consensus_bench.cli.topology import command


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Through the real entry point: status 2 and one line on standard error."""
    monkeypatch.setattr(sys, "argv", ["consensus-bench", "topology", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err


def test_without_a_name_the_shipped_matrices_are_listed() -> None:
    output = run()
    for name in ("aws-2020", "aws-2021", "aws-2025", "epaxos-sosp13", "gcp-2019", "paxi-wan"):
        assert name in output
    assert {entry["name"]: len(entry["sites"]) for entry in json.loads(run("--json"))}["aws-2025"] == 33


def test_a_small_matrix_is_printed_whole_with_its_source() -> None:
    output = run("epaxos-sosp13", "--no-figures")
    assert "SOSP 2013, Fig. 4" in output
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line[:2] in ("VA", "CA", "JP")}
    assert "~188.0" in output
    assert rows["JP"][-1] != ""
    assert "VA     0.0   85.0   ~80.0  ~188.0    90.0" in output
    assert "best 1.42 (CA - JP), median 2.04, worst 2.90 (JP - EU), 10 links" in output
    assert "4 of 20 ordered pairs" in output
    assert "led from OR (best)     160.0  101.0   80.0  207.0  254.0  160.4" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("aws-2025",),
        ("aws-2025", "--sites", "us-east-1,eu-west-1,ap-northeast-1,us-west-2,sa-east-1,eu-central-1,af-south-1,"
         "ap-southeast-1,ap-southeast-2,ap-northeast-2"),
        ("aws-2025", "--sites", "us-east-1,eu-west-1,ap-northeast-1,us-west-2,sa-east-1,eu-central-1,af-south-1"),
        ("gcp-2019", "--sites", "northamerica-northeast1,southamerica-east1,australia-southeast1,us-east1"),
    ],
)  # fmt: skip
def test_no_line_is_wider_than_120_columns(arguments: tuple[str, ...]) -> None:
    output = run(*arguments, "--no-figures")
    assert max(map(len, output.splitlines())) <= 120
    assert "…" not in output


def test_columns_that_are_numbered_are_explained() -> None:
    sites = (
        "us-east-1,eu-west-1,ap-northeast-1,us-west-2,sa-east-1,eu-central-1,af-south-1,ap-southeast-1,ap-southeast-2"
    )
    output = run("aws-2025", "--sites", sites, "--no-figures")
    assert "columns: [1] us-east-1, [2] eu-west-1" in output


def test_a_large_matrix_is_summarised() -> None:
    output = run("aws-2025", "--no-figures")
    assert "16 of 528 pairs differ by more than 10 %" in output
    assert "ca-central-1 16.7" in output  # us-east-1's second nearest
    assert "given for up to nine replicas, not 33" in output


def test_json_holds_the_exact_matrix_and_everything_derived() -> None:
    data = json.loads(run("aws-2021", "--sites", "eu-west-1,us-west-1,sa-east-1", "--no-figures", "--json"))
    assert data["sites"] == ["eu-west-1", "us-west-1", "sa-east-1"]
    assert data["rtt_ms"][1][0] == 135.902
    assert data["places"]["eu-west-1"]["name"] == "Dublin"
    assert len(data["links"]) == 3
    assert data["best_leader"] == "us-west-1"
    assert data["figures"] == []


def test_clients_may_be_at_sites_without_a_replica() -> None:
    arguments = ("--sites", "CA,VA,EU", "--client-sites", "JP", "--no-figures", "--json")
    data = json.loads(run("epaxos-sosp13", *arguments))
    assert (data["replicas"], data["client_sites"]) == (["CA", "VA", "EU"], ["JP"])
    assert data["latencies"][0]["per_site_ms"] == {"JP": 203}


def test_figures_go_to_the_named_folder(tmp_path: Path) -> None:
    output = run("epaxos-sosp13", "--leader", "CA", "--out", str(tmp_path / "drawn"))
    names = ["heat-map.png", "heat-map.svg", "world-map.png", "world-map.svg"]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == names
    assert f"drawn: {tmp_path / 'drawn' / 'world-map.svg'}" in output


def test_figures_go_to_the_runs_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "office.csv").write_text("source,destination,rtt_ms\nattic,basement,5\n")
    run("office.csv")
    assert (tmp_path / "results/runs/topology-office/heat-map.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("aws-2052",), "did you mean 'aws-2025'?"),
        (("aws-2025", "--sites", "us-east-1,eu-wset-1"), "site 'eu-wset-1' is not in topology aws-2025, did you mean"),
        (("aws-2025", "--sites", "us-east-1,us-east-1"), "site 'us-east-1' is named twice"),
        (("aws-2025", "--client-sites", "us-east-1,us-east-1"), "--client-sites us-east-1,us-east-1: a site is named"),
        (("aws-2025", "--leader", "nowhere"), "--leader nowhere: choose one of the replicas"),
        (("aws-2025", "--colour", "red"), "No such option"),
        (("missing.csv",), "topology 'missing.csv' is neither shipped nor a path"),
    ],
)
def test_bad_input_ends_with_status_two_and_one_line(
    arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(monkeypatch, capsys, *arguments)


def test_a_broken_matrix_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.csv").write_text("source,destination,rtt_ms\na,b,slow\n")
    assert "mine.csv:2: 'slow' is not a number" in refused(monkeypatch, capsys, str(tmp_path / "mine.csv"))


def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    inside = str(tmp_path / "taken" / "deeper")
    assert "cannot be written" in refused(monkeypatch, capsys, "aws-2021", "--out", inside)
