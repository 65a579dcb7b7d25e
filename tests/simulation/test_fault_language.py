"""Faults as text and as data: what is understood, what is written back, what is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_bench.contract import ConfigError
from consensus_bench.simulation.faults import Fault, Nemesis
from consensus_bench.simulation.faults.kinds import KINDS, AnyFault, Crash, Partition, SlowLink
from consensus_bench.simulation.faults.nemesis import SAFE, parse_nemesis
from consensus_bench.simulation.faults.parsing import fault_line, parse_fault, parse_faults
from consensus_bench.simulation.faults.targets import parse_links
from consensus_bench.simulation.faults.times import parse_ns, time_text
from consensus_bench.simulation.faults.validation import check_faults

SITES = ("us-east-1", "us-west-2", "eu-west-1")
CLIENTS = ("us-east-1", "sa-east-1")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("crash:leader@10+5", Crash(target="leader", at="10 s", duration="5 s")),
        ("crash-leader@10", Crash(target="leader", at="10 s")),
        ("crash-site:us-east-1@0.5", Crash(target="us-east-1", at="500 ms", clients=True)),
        ("crash:any 2@1500ms+2 s,disk=lose", Crash(target="any 2", at="1.5 s", duration="2 s", disk="lose")),
        ("partition:a,b|c@10", Partition(target="a,b|c", at="10 s")),
        (
            "slow-link:a>b,when=leader elected,after=2,delay=50 ms,factor=3",
            SlowLink(target="a>b", when="leader elected", after="2 s", delay="50 ms", factor=3.0),
        ),
    ],
)
def test_a_line_is_a_fault(line: str, fault: Fault) -> None:
    assert parse_fault(line) == fault
    assert parse_fault(fault_line(fault)) == fault
    assert parse_fault(msgspec.to_builtins(fault)) == fault


@settings(deadline=None, max_examples=60)
@given(st.integers(-(10**14), 10**14))
def test_times_are_written_exactly(time_ns: int) -> None:
    assert parse_ns(time_text(time_ns)) == time_ns


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_fault_is_a_line_and_a_table(data: st.DataObject) -> None:
    kind = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    times = st.integers(1, 10**10).map(time_text)
    values: dict[str, Any] = {"target": data.draw(st.sampled_from(["leader", "any 2", "a,b", "a|b,c", "a>*"]))}
    for name in kind.__struct_fields__:
        if name in ("at", "after", "every", "duration", "delay", "period", "offset") and data.draw(st.booleans()):
            values[name] = data.draw(times)
        elif name in ("rate", "factor", "ppm") and data.draw(st.booleans()):
            values[name] = data.draw(st.floats(0.001, 1000))
        elif name == "when" and data.draw(st.booleans()):
            values[name] = "leader elected"
        elif name in ("clients", "detected"):
            values[name] = data.draw(st.booleans())
    fault = kind(**values)
    assert parse_fault(fault_line(fault)) == fault
    assert msgspec.json.decode(msgspec.json.encode(fault), type=AnyFault) == fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash@3", ("crash@3", "names no site or replica")),
        ("crash:us-esat-1@3", ("'us-esat-1'", "did you mean 'us-east-1'")),
        ("crash:sa-east-1@3", ("no replica's site 'sa-east-1'",)),
        ("partition:us-east-1|mars@3", ("'mars'", "sa-east-1")),
        ("crash:us-east-1,us-east-1@3", ("twice",)),
        ("crash:us-east-1|eu-west-1@3", ("is links",)),
        ("crash:clients@3", ("is links",)),
        ("partition:us-east-1|us-east-1,eu-west-1@3", ("both sides",)),
        ("partition:a>b>c@3", ("one way",)),
        ("partition:*|clients@3", ("selectors on all sides",)),
        ("partition:us-east-1|eu-west-1|*@3", ("selectors on all sides",)),
        ("pause:any 4@3", ("any 4", "3 replicas")),
        ("pause:any 0@3", ("any 0",)),
        ("crash:leader", ("no time",)),
        ("crash:leader@10", ("at = 10 s", "0 to 10 s")),
        ("crash:leader@-1", ("at = -1 s",)),
        ("crash:leader@soon", ("'soon' is no time",)),
        ("crash:leader,when=never", ("leader elected", "KIND begins")),
        ("crash:leader@3,after=1", ("goes with when",)),
        ("crash:leader@3+2,every=2", ("must be over before",)),
        ("crash:leader@3,every=2", ("needs a duration",)),
        ("crash:leader@3,every=20", ("every = 20 s", "10 s")),
        ("crash:leader,when=leader elected,every=2,duration=1", ("goes with at",)),
        ("crash:leader@3,times=2", ("goes with every or when",)),
        ("pause:leader,when=pause begins,times=999999999", ("at most 100000",)),
        ("crash:leader@3+0", ("duration = 0 s", "above 0")),
        ("corrupt-record:leader@3+2", ("in a moment",)),
        ("corrupt-record:leader@3,records=0", ("records = 0",)),
        ("crash:leader@3,disk=lose", ("comes back",)),
        ("crash:leader@3,disk=maybe", ("'maybe'",)),
        ("crash:leader@3,rate=0.1", ("'rate' is unknown to a crash",)),
        ("lossy-link:all@3,rate=1.5", ("rate = 1.5",)),
        ("lossy-link:all@3,rate=much", ("rate",)),
        ("slow-link:all@3,delay=0", ("changes nothing",)),
        ("slow-cpu:all@3,factor=0.5", ("factor = 0.5",)),
        ("slow-link:all@3,delay=-1 s", ("delay = -1 s",)),
        ("clock-skew:all@3,offset=0", ("changes nothing",)),
        ("clock-drift:all@3,ppm=1e6", ("ppm",)),
        ("flapping:all@3,period=0", ("period",)),
        ("crsh:leader@3", ("'crsh' is unknown", "did you mean 'crash'")),
        (":leader@3", ("KIND:TARGET@AT+DURATION",)),
        ("crash:leader@3,target=follower", ("given twice",)),
        ({"target": "leader", "at": 3}, ("names no kind", "crash")),
        ({"kind": "crash", "target": "leader", "at": True}, ("at",)),
        ({"kind": "crash", "target": 7, "at": 3}, ("target",)),
        (7, ("table or a line",)),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_it(fault: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        check_faults(parse_faults([fault]), SITES, CLIENTS, 10.0)
    text = str(raised.value)
    assert text.startswith("fault ")
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("given", ["crash:leader@3", {"kind": "crash"}, 7])
def test_a_list_of_faults_is_a_list(given: Any) -> None:
    with pytest.raises(ConfigError, match="list"):
        parse_faults(given)


@pytest.mark.parametrize(
    ("faults", "possible"),
    [
        (["crash:us-east-1@3+4", "crash:us-east-1@5+1"], False),
        (["crash:us-east-1@5+1", "pause:us-west-2,us-east-1@3+4"], False),
        (["crash:us-east-1@3", "pause:us-east-1@9+1"], False),
        (["crash:us-east-1@1+1,every=3", "pause:us-east-1@4.5+1"], False),
        (["crash:us-east-1@1+1,every=3", "pause:us-east-1@2.5+2"], False),
        (["crash:us-east-1@1+1,every=3", "pause:us-east-1@2+1"], True),
        (["crash:us-east-1@1+1,every=3,times=2", "pause:us-east-1@7+1"], True),
        (["crash:us-east-1@3+4", "crash:us-west-2@5+1"], True),
        (["crash:us-east-1@3+4", "crash:us-east-1@7+1"], True),
        (["crash:us-east-1@3+4", "slow-cpu:us-east-1@5+1"], True),
        (["crash:us-east-1@3+4", "crash:leader@5+1"], True),
        (["partition:us-east-1|*@3+4", "partition:us-east-1|*@5+4"], True),
    ],
)
def test_what_is_stopped_cannot_be_stopped(faults: list[str], possible: bool) -> None:
    if possible:
        check_faults(parse_faults(faults), SITES, CLIENTS, 10.0)
    else:
        with pytest.raises(ConfigError, match="us-east-1 is stopped already"):
            check_faults(parse_faults(faults), SITES, CLIENTS, 10.0)


# The documentation.

DOCUMENT = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")


def test_the_documentation_has_every_kind_with_its_keys_and_defaults() -> None:
    table = DOCUMENT.split("## Kinds")[1].split("A profile whose")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\|([^|]*)\|$", table, re.MULTILINE))
    assert list(rows) == list(KINDS)
    common = {field.name for field in msgspec.structs.fields(Fault)}
    for kind, keys in rows.items():
        fields = {
            field.name: field.default for field in msgspec.structs.fields(KINDS[kind]) if field.name not in common
        }
        assert set(re.findall(r"`([a-z_]+)`", keys)) - {"keep", "lose", "any", "newest", "true"} == set(fields)
        for name, default in fields.items():
            shown = re.search(rf"`{name}` \(`?([^)`]+)`?\)", keys)
            if shown is not None:
                assert shown[1] in (
                    str(default).lower(),
                    f"{default:g}" if isinstance(default, float) else "",
                ) or parse_ns(shown[1]) == parse_ns(str(default))


def test_the_documentation_s_examples_are_faults() -> None:
    examples = re.findall(r'--fault (?:"([^"]+)"|(\S+))', DOCUMENT)
    assert len(examples) >= 6
    for quoted, bare in examples:
        check_faults([parse_fault(quoted or bare)], SITES, SITES, 20.0)
    for target in re.findall(r"^\| `([^`]*[|>*][^`]*)`", DOCUMENT, re.MULTILINE):
        parse_links(target.replace("\\|", "|"))


# The nemesis.


def test_a_nemesis_is_a_table_or_flags() -> None:
    made = parse_nemesis({"kinds": "crash,pause", "gap": 2, "duration": "1,3 s", "swarm": "false"})
    assert made == Nemesis(kinds=("crash", "pause"), gap="2 s", duration=("1 s", "3 s"), swarm=False)
    assert parse_nemesis(msgspec.to_builtins(made)) == made
    assert parse_nemesis(None) is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kinds": ["crsh"]}, "crsh"),
        ({"gapp": 3}, "did you mean 'gap'"),
        ({"stop": "20 s"}, "nemesis.start"),
        ({"start": "5 s", "stop": "4 s"}, "nemesis.start"),
        ({"duration": ["3 s", "1 s"]}, "low <= high"),
        ({"duration": "3 s"}, "nemesis.duration"),
        ({"gap": 0}, "nemesis.gap"),
        ({"gap": "often"}, "nemesis.gap = 'often'"),
        ({"stopped_at_most": 4}, "3 replicas"),
        (7, "must be a table"),
    ],
)
def test_a_nemesis_that_cannot_be_is_refused(table: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        nemesis = parse_nemesis(table)
        assert nemesis is not None
        nemesis.validate(3, 10.0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([3, 5, 7]))
def test_what_a_nemesis_draws_can_be_and_is_written_down(seed: int, replicas: int) -> None:
    sites = [f"p{number}" for number in range(replicas)]
    nemesis = Nemesis(kinds=tuple(KINDS), gap="300 ms", stop="8 s")
    faults = nemesis.draw(seed, sites, 10.0)
    check_faults(faults, sites, sites, 10.0)
    assert faults == nemesis.draw(seed, sites, 10.0)
    assert [parse_fault(fault_line(fault)) for fault in faults] == list(faults)
    for fault in faults:
        assert fault.time_ns("at") >= 1e9
        assert fault.time_ns("at") + fault.time_ns("duration") < 8e9
    stops = [f for f in faults if f.kind in ("crash", "torn-crash", "pause", "failing-fsync")]
    for fault in stops:
        at = fault.time_ns("at")
        assert sum(f.time_ns("at") <= at < f.time_ns("at") + f.time_ns("duration") for f in stops) <= replicas // 2


def test_a_nemesis_draws_every_kind_and_in_a_swarm_not_all_at_once() -> None:
    sites = ["p0", "p1", "p2"]
    per_run = [{fault.kind for fault in Nemesis(gap="100 ms").draw(seed, sites, 20.0)} for seed in range(30)]
    assert set.union(*per_run) == set(SAFE)
    assert max(map(len, per_run)) < len(SAFE)
    calm = [{fault.kind for fault in Nemesis(gap="100 ms", swarm=False).draw(seed, sites, 60.0)} for seed in range(2)]
    assert all(kinds == set(SAFE) for kinds in calm)
