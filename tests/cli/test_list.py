"""``list`` and ``completion``: what there is to choose from."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from consensus_bench.cli import group
from consensus_bench.cli.completion import command as completion_command
from consensus_bench.cli.list import command as list_command
from consensus_bench.contract import Options
from consensus_bench.contract.registry import find_protocol, protocol_names
from consensus_bench.experiments.catalogue import option_table


def test_the_list_names_everything_that_a_flag_takes() -> None:
    found = json.loads(CliRunner().invoke(list_command, ["--json"]).stdout)
    assert set(found) == {"protocols", "topologies", "workloads", "profiles", "faults"}
    assert {"multi-paxos", "raft", "epaxos"} <= set(found["protocols"])
    assert "us-east-1" in found["topologies"]["aws-2025"]["sites"]
    assert found["workloads"]["ycsb-a"]["settings"]["reads"] == 0.5
    assert found["profiles"]["zero"]["receive_us"] == 0
    assert found["faults"]["lossy-link"]["keys"] == {"rate": 0.1}


def test_every_option_of_every_protocol_is_listed_with_its_meaning() -> None:
    for name in protocol_names():
        options_type = find_protocol(name).options_type
        table = option_table(options_type)
        assert set(table) == set(options_type.__struct_fields__)
        assert [option for option, what in table.items() if not what["about"]] == []


def test_an_option_without_a_text_has_no_meaning() -> None:
    class Plain(Options, frozen=True, kw_only=True):
        speed: int = 3

    assert option_table(Plain)["speed"] == {"default": 3, "about": ""}
    assert "silent" in option_table(Plain)["heartbeat_ms"]["about"]


def test_the_text_is_for_people() -> None:
    text = CliRunner().invoke(list_command, ["protocols"]).stdout
    assert text.startswith("protocols:\n")
    assert "--set epaxos.rules=star" in text
    assert "--set epaxos.election_timeout_ms=1000.0,2000.0" in text
    assert "topologies:" not in text
    text = CliRunner().invoke(list_command, ["faults"]).stdout
    assert "\n  lossy-link: Each message is lost with probability rate.\n    rate=0.1\n" in text


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "comp", ["compare", "completion"]),
        (["compare"], "--client-s", ["--client-sites"]),
        (["compare", "--sites"], "us-east-1,us-w", ["us-east-1,us-west-1", "us-east-1,us-west-2"]),
        (["compare", "--topology", "gcp-2019", "--leader"], "us-c", ["us-central1"]),
        (["compare", "--protocols"], "epaxos,r", ["epaxos,raft"]),
        (["run", "x.toml", "--profile"], "z", ["zero"]),
        (["compare", "--workload"], "ycsb-a", ["ycsb-a"]),
        (["compare", "--topology"], "aws-20", ["aws-2020", "aws-2021", "aws-2025"]),
    ],
)
def test_completion_of_commands_flags_and_values(words: list[str], incomplete: str, expected: list[str]) -> None:
    completer = ShellComplete(group, {}, "consensus-bench", "_CONSENSUS_BENCH_COMPLETE")
    assert [item.value for item in completer.get_completions(words, incomplete)] == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script(shell: str) -> None:
    script = CliRunner().invoke(completion_command, [shell]).stdout
    assert "_CONSENSUS_BENCH_COMPLETE" in script
    assert "consensus-bench" in script


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from consensus_bench.cli import group\n"
        "import consensus_bench.cli.compare, consensus_bench.cli.run, consensus_bench.cli.list\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'simpy', 'matplotlib', 'rich', 'jinja2'} & set(sys.modules)\n"
        "print(', '.join(sorted(heavy)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"
