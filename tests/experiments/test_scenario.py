"""Scenarios: files and flags say the same things, and nonsense is refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_bench.contract import ConfigError
from consensus_bench.experiments.scenario import Scenario, load_scenario, make_scenario, merged, near
from consensus_bench.experiments.toml import to_toml


def write(folder: Path, text: str) -> Path:
    path = folder / "wan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_the_default_comparison_named_after_the_file(tmp_path: Path) -> None:
    found = load_scenario(write(tmp_path, ""))
    assert found == msgspec.structs.replace(Scenario(), name="wan")


def test_a_file_sets_every_part(tmp_path: Path) -> None:
    text = """
    name = "mine"
    sites = ["a", "b", "c"]
    seeds = 2
    seed = 5
    duration = 9
    load_rates = [10, 20.5]
    conflict_levels = []
    [workload]
    preset = "ycsb-a"
    clients = 3
    [options.raft]
    pre_vote = true
    """
    found = load_scenario(write(tmp_path, text))
    assert found.name == "mine"
    assert found.sites == ("a", "b", "c")
    assert found.seeds == (5, 6)
    assert found.duration == 9.0
    assert found.load_rates == (10.0, 20.5)
    assert found.conflict_levels == ()
    assert (found.workload.name, found.workload.clients, found.workload.reads) == ("ycsb-a", 3, 0.5)
    assert found.options == {"raft": {"pre_vote": True}}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("clients = 3", ("key 'clients' is unknown", "[workload]")),
        ("topolgy = 'x'", ("key 'topolgy' is unknown", "did you mean 'topology'?")),
        ("[workload]\ncleints = 3", ("key 'workload.cleints' is unknown", "did you mean 'clients'?")),
        ("workload = 'ycsb-x'", ("workload 'ycsb-x' is unknown",)),
        ("workload = 3", ("workload: must be the name of a preset or a table",)),
        ("duration = 'long'", ("duration: expected `float`".replace("`", ""),)),
        ("duration = 0", ("duration = 0: must be above 0",)),
        ("duration = nan", ("duration = nan",)),
        ("warmup = 16", ("warmup = 16: must lie between 0 and duration (16 s)",)),
        ("load_duration = 0.5", ("sweep_warmup = 0.5: must lie between 0 and load_duration",)),
        ("seeds = [1, 1]", ("seeds = [1, 1]",)),
        ("seeds = []", ("seeds = []",)),
        ("seeds = 0", ("seeds = 0",)),
        ("seeds = [3]\nseed = 4", ("seed: 'seeds' is a list already",)),
        ("load_rates = [-1]", ("load_rates: -1 must lie between",)),
        ("load_rates = [20, 10]", ("load_rates = [20.0, 10.0]", "rising order")),
        ("conflict_levels = [101]", ("conflict_levels: 101 must lie between 0 and 100",)),
        ("workload = 'zipf'\nconflict_levels = [1]", ("conflict_levels", "'zipf'")),
        ("[workload]\nreads = 1.5", ("workload.reads = 1.5: must lie between 0 and 1",)),
        ("[workload]\nreads = 0.8\nswaps = 0.3", ("exceed 1",)),
        ("[workload]\nsize = -1", ("workload.size = -1",)),
        ("[workload]\nkeys = 'hot'", ("workload.keys",)),
        ("client_timeout_ms = 0", ("client_timeout_ms = 0",)),
        ("local_rtt_ms = -1", ("local_rtt_ms = -1",)),
        ("sweep_seeds = 0", ("sweep_seeds = 0",)),
        ("seeds = '3'", ("seeds = '3': give a list of whole numbers, or how many",)),
        ("seed = 1.5", ("seed = 1.5: give a whole number",)),
        ("load_rates = 5", ("load_rates = 5: give",)),
        ("options = 3", ("options = 3: give a table",)),
        ("[options]\nraft = 3", ("options.raft = 3: give a table, [options.raft]",)),
        ("[workload]\npreset = ['a']", ("is unknown: choose from conflict",)),
        ("[workload]\nrate = 1e9", ("workload.rate",)),
        (f"name = '{'x' * 101}'", ("101 letters are too many",)),
        ("jobs = -1", ("jobs = -1",)),
        ("name = 'a/b'", ("name 'a/b'",)),
        ("name = 'a'\nsites = = 3", ("not TOML", "line 2")),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_the_file(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    message = str(caught.value)
    assert message.startswith(f"scenario {path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("text", ["workload = 3", "options = 3", "[options]\nraft = 3"])
def test_flags_over_a_file_with_no_table_where_one_belongs(tmp_path: Path, text: str) -> None:
    base = tomllib.loads(text)
    with pytest.raises(ConfigError, match="table"):
        make_scenario(merged(base, {"workload": {"clients": 5}, "options": {"raft": {"pre_vote": "true"}}}))


def test_a_file_may_say_off_as_the_flags_do(tmp_path: Path) -> None:
    found = load_scenario(write(tmp_path, "load_rates = 'off'\nconflict_levels = 'off'"))
    assert (found.load_rates, found.conflict_levels) == ((), ())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_scenario(tmp_path / "none.toml")


def test_paths_in_a_file_count_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    (tmp_path / "m.csv").write_text("", encoding="utf-8")
    found = load_scenario(write(tmp_path, "topology = 'm.csv'\nprotocols = ['raft', 'new=mine.py:Mine', 'other.py:X']"))
    assert found.topology == str(tmp_path / "m.csv")
    assert found.protocols == ("raft", f"new={tmp_path / 'mine.py'}:Mine", "other.py:X")


def test_a_write_only_workload_gets_writes_that_observe() -> None:
    """Otherwise its history could not contradict itself, and linearizability would hold of anything."""
    assert make_scenario({}).workload.swaps == 0.5
    assert make_scenario({"workload": {"reads": 0.5}}).workload.swaps == 0.25
    assert make_scenario({"workload": {"swaps": 0.0}}).workload.swaps == 0.0
    assert make_scenario({"workload": {"reads": 1.0}}).workload.swaps == 0.0
    assert make_scenario({"workload": "ycsb-a"}).workload.swaps == 0.0


def test_flags_go_over_a_file_key_by_key() -> None:
    file = {"seeds": [1, 2], "duration": 5, "workload": "zipf", "options": {"raft": {"pre_vote": True}}}
    flags = {"seed": 7, "workload": {"clients": 2}, "options": {"raft": {"batch": 3}, "epaxos": {"rules": "star"}}}
    assert merged(file, flags) == {
        "seed": 7,
        "duration": 5,
        "workload": {"preset": "zipf", "clients": 2},
        "options": {"raft": {"pre_vote": True, "batch": 3}, "epaxos": {"rules": "star"}},
    }


def test_what_is_written_down_is_the_same_scenario() -> None:
    given_data = {
        "sites": ["a", "b", "c"],
        "seeds": [4, 9],
        "load_rates": [1.5],
        "workload": {"preset": "ycsb-b", "clients": 4, "think_ms": 2.5},
        "options": {"epaxos": {"rules": "sosp13", "election_timeout_ms": [5.0, 6.0], "thrifty": True}},
    }
    scenario = make_scenario(given_data)
    again = make_scenario(tomllib.loads(to_toml(scenario.identity())))
    assert again == scenario


def test_where_and_how_a_scenario_runs_is_not_what_it_is() -> None:
    assert make_scenario({"jobs": 3, "out": "x"}).identity() == make_scenario({}).identity()
    assert make_scenario({"seeds": 1}).identity() != make_scenario({}).identity()


_scalars = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=8))
_values = st.recursive(
    st.one_of(_scalars, st.lists(_scalars, max_size=3)),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), _values, max_size=4))
def test_toml_says_what_was_meant(data: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_near_offers_what_looks_alike_and_nothing_else() -> None:
    assert near("raf", ["raft", "epaxos"]) == "; did you mean 'raft'?"
    assert near("xyz", ["raft", "epaxos"]) == ""
