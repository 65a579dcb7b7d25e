"""The summary of a matrix: links, asymmetries, and latencies per leader."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus_bench.topology import load_topology, summarise


def test_aws_2025_has_sixteen_asymmetric_pairs() -> None:
    aws = load_topology("aws-2025")
    summary = summarise(aws, aws.sites, aws.sites)
    assert (len(summary.links), len(summary.asymmetric)) == (528, 16)
    worst = summary.asymmetric[0]
    assert (worst.a, worst.b) == ("me-south-1", "us-west-2")
    assert worst.asymmetry == pytest.approx(262.9 / 214.9 - 1, abs=0.001)
    assert summary.latencies == []  # 33 replicas: no closed forms
    assert summary.best_leader is None


def test_a_link_is_compared_with_light_in_fibre() -> None:
    paper = load_topology("epaxos-sosp13")
    link = summarise(paper, paper.sites, paper.sites).links[0]
    assert (link.a, link.b, link.from_a_ms, link.from_b_ms) == ("VA", "CA", 85, 85)
    assert link.distance_km == pytest.approx(3846, abs=1)  # Ashburn to San Jose
    assert link.floor_ms == pytest.approx(38.46, abs=0.01)
    assert link.ratio == pytest.approx(85 / 38.46, abs=0.01)


def test_latencies_for_clients_elsewhere() -> None:
    # Replicas at CA, VA, EU; the only clients are at JP, nearest to CA (118), EU is at 278 and VA at 188.
    # Led from CA: 118 and CA's majority round with VA, 85; led from VA: JP->CA 59, CA->VA 42.5, round 85, VA->JP 94.
    # EPaxos: 118 and a round of 85 around CA; with a second replica to answer, CA and VA alone: 59 + 42.5 + 94 = 195.5.
    paper = load_topology("epaxos-sosp13")
    summary = summarise(paper.select(["CA", "VA", "EU", "JP"]), ["CA", "VA", "EU"], ["JP"])
    mean = {(entry.protocol, entry.leader): entry.mean_ms for entry in summary.latencies}
    assert mean["multi-paxos, raft", "CA"] == 203
    assert mean["multi-paxos, raft", "VA"] == 280.5
    assert mean["epaxos, fast path", None] == 203
    assert mean["epaxos, slow path", None] == 288
    assert mean["floor of any protocol", None] == 195.5
    assert summary.best_leader == "CA"


def test_without_places_there_is_no_floor(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("source,destination,rtt_ms\nattic,basement,5\n")
    mine = load_topology(str(tmp_path / "mine.csv"))
    (link,) = summarise(mine, mine.sites, mine.sites).links
    assert (link.distance_km, link.floor_ms, link.ratio) == (None, None, None)
