"""Looking up what a scenario names: sites, protocols, options, the first leader."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from small import BROKEN, PRIMARY, SITES, small

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.bounds import bounds
from consensus_bench.experiments.scenario import DEFAULT_SITES, make_scenario
from consensus_bench.experiments.setup import prepare
from consensus_bench.topology import load_topology


def test_the_default_is_five_regions_and_the_three_protocols() -> None:
    setup = prepare(make_scenario({}))
    assert setup.sites == setup.client_sites == DEFAULT_SITES
    assert [contestant.label for contestant in setup.contestants] == ["multi-paxos", "raft", "epaxos"]


def test_a_small_topology_is_used_whole() -> None:
    assert len(prepare(make_scenario({"topology": "epaxos-sosp13"})).sites) == 5


def test_clients_may_be_where_no_replica_is() -> None:
    setup = prepare(small(client_sites=["sa-east-1", "eu-west-1"]))
    geography = setup.geography
    assert [geography.places[r] for r in geography.replicas] == SITES
    assert [geography.places[c] for c in geography.clients] == ["sa-east-1", "eu-west-1"]
    assert setup.topology.sites == (*SITES, "sa-east-1")


def test_the_best_leader_is_the_best_by_hand() -> None:
    """Mean over the client sites of: round trip to the leader, plus the leader's round trip to its nearest other
    replica (a majority of three is two), from the matrix itself, in the directions in which messages go."""
    topology = load_topology("aws-2025")
    for sites in permutations(SITES):
        setup = prepare(small(sites=list(sites)))

        def mean(leader: str) -> float:
            nearest = min(
                (topology.rtt(leader, other) + topology.rtt(other, leader)) / 2 for other in SITES if other != leader
            )
            ways = [
                (topology.rtt(client, leader) + topology.rtt(leader, client)) / 2
                for client in SITES
                if client != leader
            ]
            return nearest + sum(ways) / len(SITES)

        assert setup.leader_site == min(SITES, key=mean)
        assert setup.leader_site in setup.leader_choice
        assert f"{mean(setup.leader_site):.1f} ms" in setup.leader_choice


def test_a_leader_can_be_pinned_or_left_to_time_outs() -> None:
    assert prepare(small(leader="us-west-2")).first_leader == 1
    assert prepare(small(leader="none")).first_leader is None


def test_one_protocol_may_take_part_under_several_settings() -> None:
    options = {"old": {"rules": "sosp13"}, "epaxos": {"thrifty": "true"}}
    setup = prepare(small(protocols=["epaxos", "old=epaxos"], options=options))
    assert [(c.label, c.spec, c.options) for c in setup.contestants] == [
        ("epaxos", "epaxos", {"thrifty": True}),
        ("old", "epaxos", {"rules": "sosp13"}),
    ]


def test_options_of_a_protocol_that_does_not_take_part_are_allowed_and_checked() -> None:
    assert prepare(small(options={"epaxos": {"thrifty": True}})).scenario.options == {}
    with pytest.raises(ConfigError, match="did you mean 'thrifty'"):
        prepare(small(options={"epaxos": {"thirfty": True}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topology": "aws-2026"}, "topology 'aws-2026'.*did you mean 'aws-2025'"),
        (
            {"sites": ["us-east-1", "us-west-2", "eu-wst-1"]},
            "site 'eu-wst-1' is not in topology aws-2025; did you mean",
        ),
        ({"sites": ["us-east-1", "us-west-2", "us-east-1"]}, "site 'us-east-1' is named twice"),
        ({"sites": ["us-east-1", "us-west-2"]}, "too few replicas"),
        ({"client_sites": ["mars"]}, "client_sites: site 'mars'"),
        ({"topology": "gcp-2019", "sites": []}, "sites: choose from the 20 of gcp-2019"),
        ({"leader": "sa-east-1"}, "leader 'sa-east-1' is not a replica's site"),
        ({"protocols": ["rafd"]}, "protocol 'rafd' is unknown; did you mean 'raft'"),
        ({"protocols": []}, "protocols: name at least one"),
        ({"protocols": ["epaxos", "epaxos"]}, "protocol 'epaxos' is named twice"),
        ({"protocols": ["a/b=epaxos"]}, "protocol label 'a/b'"),
        ({"protocols": ["none.py:X"]}, "there is no file none.py"),
        ({"protocols": [PRIMARY.replace("FixedPrimary", "Nobody")]}, "no subclass of Replica named Nobody"),
        ({"options": {"fixed-primary": {"x": 1}}}, "option 'fixed-primary.x' is unknown"),
        ({"options": {"rafd": {}}}, "options of 'rafd': there is no such protocol"),
        ({"options": {"epaxos": {"rules": "x"}}}, "option 'epaxos.rules' = x: choose from star, sosp13"),
        ({"options": {"epaxos": {"thrifty": "perhaps"}}}, "option 'epaxos.thrifty' = perhaps: give true or false"),
        ({"options": {"epaxos": {"heartbeat_ms": "soon"}}}, "option 'epaxos.heartbeat_ms' = soon: give a number"),
        ({"options": {"epaxos": {"heartbeat_ms": -1}}}, "heartbeat_ms = -1"),
        ({"options": {"multi-paxos": {"phase2_quorum": 1}}}, "need not intersect"),
        ({"profile": "m5-lage"}, "profile 'm5-lage' is unknown; did you mean 'm5-large'"),
        ({"jitter": "lots"}, "jitter 'lots' is unknown"),
        ({"topology": "epaxos-sosp13", "sites": [], "jitter": "empirical"}, "has no spread"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(small(**changes))
    assert "\n" not in str(caught.value)


def test_bounds_by_hand() -> None:
    """EPaxos with three replicas: the round trip to the nearest other one; that is also the floor of any protocol where
    no detour is shorter. us-east-1 to us-west-2: (64.419 + 64.031) / 2 = 64.225 ms."""
    found = {b.site: b for b in bounds(prepare(small(protocols=["epaxos"])))}
    assert found["us-east-1"].bound_ms == pytest.approx(64.225)
    assert found["us-east-1"].floor_ms == pytest.approx(64.225)


def test_nobody_knows_the_closed_form_of_a_protocol_of_ones_own() -> None:
    assert {b.bound_ms for b in bounds(prepare(small()))} == {None}
    assert {b.bound_ms for b in bounds(prepare(small(protocols=["multi-paxos"], leader="none")))} == {None}


def test_a_smaller_phase_2_quorum_lowers_the_bound() -> None:
    sites = [*SITES, "ap-northeast-1", "ap-southeast-1"]

    def bound(**options: int) -> float:
        changed = {"protocols": ["multi-paxos"], "leader": "us-east-1", "sites": sites}
        found = bounds(prepare(small(**changed, options={"multi-paxos": options})))[0].bound_ms
        assert found is not None
        return found

    assert bound(phase1_quorum=4, phase2_quorum=2) < bound()


def test_nothing_goes_below_its_floor_with_flexible_quorums() -> None:
    """A leader in us-east-1 that needs one more replica waits for us-west-2 alone: 64.225 ms, where majorities of five
    would take 69.7 ms."""
    found = bounds(
        prepare(
            small(
                protocols=["multi-paxos"],
                leader="us-east-1",
                sites=[*SITES, "ap-northeast-1", "ap-southeast-1"],
                options={"multi-paxos": {"phase1_quorum": 4, "phase2_quorum": 2}},
            )
        )
    )
    at_leader = next(b for b in found if b.site == "us-east-1")
    assert at_leader.bound_ms == at_leader.floor_ms == pytest.approx(64.225)
    assert all(b.bound_ms is not None and b.bound_ms >= b.floor_ms for b in found)


def test_queueing_by_time_stamps_has_another_latency_than_the_closed_form() -> None:
    changed = small(protocols=["epaxos"], options={"epaxos": {"rules": "sosp13", "toq": True}})
    assert {b.bound_ms for b in bounds(prepare(changed))} == {None}


def test_a_graph_of_ones_own_is_not_taken_for_epaxos() -> None:
    assert {b.bound_ms for b in bounds(prepare(small(protocols=[f"{BROKEN}:StaleReads"])))} == {None}
