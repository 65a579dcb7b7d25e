"""``check-history``: what it reads, how it judges, and how it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consensus_bench.cli.check_history import command
from consensus_bench.contract import ConfigError

LOG = """\
INFO  jepsen.core - Worker 0 starting
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:invoke\t:write\t1
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]
INFO  jepsen.util - 6\t:invoke\t:read\tnil
INFO  jepsen.util - 6\t:ok\t:read\t1
INFO  jepsen.util - 0\t:ok\t:cas\t[1 2]
INFO  jepsen.util - 6\t:invoke\t:read\tnil
INFO  jepsen.util - 6\t:fail\t:read\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:write\t4
"""


def run(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "history.edn"
    file.write_text(text, encoding="utf-8")
    return CliRunner().invoke(command, [str(file), *options])


def judge(tmp_path: Path, text: str, *options: str) -> int:
    result = run(tmp_path, text, *options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


def log(*lines: str) -> str:
    """``"0 :invoke :read nil"`` as a line of a Jepsen log."""
    return "".join("INFO  jepsen.util - " + "\t".join(line.split(" ", 3)) + "\n" for line in lines)


def test_a_log_with_open_operations_and_a_nemesis(tmp_path: Path) -> None:
    result = run(tmp_path, LOG, "--json")
    verdict = json.loads(result.output)
    assert result.exit_code == 0
    assert (verdict["verdict"], verdict["model"]) == ("linearizable", "cas-register")
    # The timed-out read says nothing and is dropped; the timed-out write and the unfinished one stay open.
    assert (verdict["operations"], verdict["open"]) == (5, 2)


def test_a_stale_read_in_a_log_is_explained(tmp_path: Path) -> None:
    stale = LOG + log("6 :invoke :read nil", "6 :ok :read 1")
    result = run(tmp_path, stale)
    assert result.exit_code == 1
    assert "not linearizable" in result.output
    assert "client 6: get -> 1 [12, 13]" in result.output
    assert result.output.count("client 0: cas (1, 2) -> True") == 1


def test_a_timed_out_write_may_take_effect_long_after(tmp_path: Path) -> None:
    history = ["1 :invoke :write 1", "1 :info :write :timed-out", "0 :invoke :read nil", "0 :ok :read nil"]
    assert judge(tmp_path, log(*history, "0 :invoke :read nil", "0 :ok :read 1")) == 0
    assert (
        judge(tmp_path, log("1 :invoke :write 1", "1 :fail :write 1", *history[2:], *history[2:3], "0 :ok :read 1"))
        == 1
    )


def test_a_write_that_failed_by_a_time_out_stays_open(tmp_path: Path) -> None:
    history = log("1 :invoke :write 1", "1 :fail :write :timed-out", "0 :invoke :read nil", "0 :ok :read 1")
    assert judge(tmp_path, history) == 0


@pytest.mark.parametrize(("meaning", "status"), [("did-not-happen", 0), ("compare-failed", 1)])
def test_what_a_failed_compare_and_set_means(tmp_path: Path, meaning: str, status: int) -> None:
    history = log("0 :invoke :write 1", "0 :ok :write 1", "0 :invoke :cas [1 2]", "0 :fail :cas [1 2]")
    assert judge(tmp_path, history, "--fail", meaning) == status


def test_a_failed_compare_and_set_tells_the_order_of_concurrent_writes(tmp_path: Path) -> None:
    writes = ["1 :invoke :write 1", "2 :invoke :write 2", "1 :ok :write 1", "2 :ok :write 2"]
    failed = log(*writes, "0 :invoke :cas [1 3]", "0 :fail :cas [1 3]", "0 :invoke :read nil", "0 :ok :read 1")
    assert judge(tmp_path, failed, "--fail", "compare-failed") == 1
    assert judge(tmp_path, failed) == 0


@pytest.mark.parametrize(("initial", "status"), [("nil", 1), ("3", 0)])
def test_initial_value(tmp_path: Path, initial: str, status: int) -> None:
    assert judge(tmp_path, log("0 :invoke :read nil", "0 :ok :read 3"), "--initial", initial) == status


EVENTS = [
    "{:type :invoke, :f :write, :value 1, :process 0, :time 10, :index 0}",
    "{:type :ok, :f :write, :value 1, :process 0, :time 20, :index 1}",
    "{:type :info, :f :kill, :value nil, :process :nemesis, :time 25, :index 2}",
    "{:type :invoke, :f :read, :value nil, :process 1, :time 30, :index 3}",
    "{:type :ok, :f :read, :value 1, :process 1, :time 40, :index 4}",
]


@pytest.mark.parametrize(
    "layout",
    [
        "\n".join,
        lambda events: "[" + " ".join(events) + "]",
        lambda events: "\n".join("#jepsen.history.Op" + e for e in events),
    ],
    ids=["a map a line", "one vector", "tagged maps"],
)
def test_layouts_of_edn(tmp_path: Path, layout: object) -> None:
    assert callable(layout)
    assert judge(tmp_path, layout(EVENTS)) == 0
    assert judge(tmp_path, layout([*EVENTS[:-1], EVENTS[-1].replace(":value 1", ":value nil")])) == 1


def test_a_byte_order_mark_and_carriage_returns_are_harmless(tmp_path: Path) -> None:
    event = "{:process 0, :type :%s, :f :read, :value nil}"
    assert judge(tmp_path, "\ufeff" + event % "invoke" + "\r\n" + event % "ok" + "\r\n") == 0
    assert judge(tmp_path, "\ufeff" + log("0 :invoke :read nil", "0 :ok :read 1").replace("\n", "\r\n")) == 1


def test_info_errors_and_time_outs_in_edn_stay_open(tmp_path: Path) -> None:
    crashed = EVENTS[0] + '{:type :info, :f :write, :value 1, :process 0, :error [:timeout "socket"]}'
    later = "{:type :invoke, :f :read, :value nil, :process 1}{:type :ok, :f :read, :value %s, :process 1}"
    assert judge(tmp_path, crashed + later % "nil" + later % "1") == 0
    assert judge(tmp_path, crashed + later % "1" + later % "nil") == 1


def test_true_is_not_one_and_a_word_is_not_a_keyword(tmp_path: Path) -> None:
    for written, read in (("true", "1"), (":a", '"a"'), ("1", "2")):
        events = "\n".join(EVENTS).replace(":write, :value 1", f":write, :value {written}")
        assert judge(tmp_path, events.replace(":read, :value 1", f":read, :value {read}")) == 1
        assert judge(tmp_path, events.replace(":read, :value 1", f":read, :value {written}")) == 0


def test_independent_keys(tmp_path: Path) -> None:
    events = [
        "{:process 0 :type :invoke :f :write :value [1 5]}",
        "{:process 0 :type :ok :f :write :value [1 5]}",
        "{:process 0 :type :invoke :f :cas :value [1 [5 6]]}",
        "{:process 0 :type :ok :f :cas :value [1 [5 6]]}",
        "{:process 0 :type :invoke :f :read :value [2 nil]}",
        "{:process 0 :type :ok :f :read :value [2 nil]}",
        "{:process 0 :type :invoke :f :read :value [1 nil]}",
    ]
    assert judge(tmp_path, "\n".join([*events, "{:process 0 :type :ok :f :read :value [1 6]}"])) == 0
    result = run(tmp_path, "\n".join([*events, "{:process 0 :type :ok :f :read :value [1 5]}"]))
    assert result.exit_code == 1
    assert "key 1" in result.output


def kv(*events: str) -> str:
    """``"0 invoke append k ab"`` as the maps of a key-value history."""
    lines = []
    for event in events:
        process, type_, f, key, *value = event.split(" ")
        text = f'"{value[0]}"' if value else "nil" if f == "get" and type_ == "invoke" else '""'
        lines.append(f'{{:process {process}, :type :{type_}, :f :{f}, :key "{key}", :value {text}}}')
    return "\n".join(lines)


def test_key_value_histories_with_appends(tmp_path: Path) -> None:
    events = [
        "0 invoke get k",
        "0 ok get k",
        "0 invoke append k ab",
        "1 invoke append k cd",
        "0 ok append k ab",
        "1 ok append k cd",
        "0 invoke put j x",
        "0 ok put j x",
        "0 invoke get k",
    ]
    assert judge(tmp_path, kv(*events, "0 ok get k abcd")) == 0
    assert judge(tmp_path, kv(*events, "0 ok get k cdab"), "--initial", '""', "--model", "kv") == 0
    assert judge(tmp_path, kv(*events, "0 ok get k ab")) == 1
    assert judge(tmp_path, kv(*events, "0 ok get k abcdab")) == 1, "an append that was applied twice"


def test_a_checker_that_gives_up_is_undecided(tmp_path: Path) -> None:
    writes = [f"{i} :invoke :write {i % 3}" for i in range(12)] + [f"{i} :ok :write {i % 3}" for i in range(12)]
    history = log(*writes, "0 :invoke :read nil", "0 :ok :read 9")
    assert judge(tmp_path, history) == 1
    result = run(tmp_path, history, "--budget", "2")
    assert result.exit_code == 3
    assert "not decided" in result.output


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (log("0 :invoke :read nil", "0 :invoke :read nil"), (), ":2: process 0 invokes before its operation of line 1"),
        (log("0 :ok :read 1"), (), ":1: process 0 completes with :ok, but has invoked nothing"),
        (log("0 :invoke :read nil", "0 :ok :write 1"), (), ":2: process 0 completes put, but invoked get on line 1"),
        (log("0 :invoke :pop nil"), (), ":1: :pop is no known operation"),
        (log("0 :begin :read nil"), (), ":1: :begin is no type of event"),
        (log("0 :invoke :cas 3"), (), r":1: a cas needs the pair \[expected new\], not 3"),
        (log("0 :invoke :cas [1"), (), r":1: the '\[' opened here is not closed"),
        ("INFO jepsen.util - oops\n", (), ":1: is no operation"),
        (
            log("0 :invoke :cas [1 2]"),
            ("--model", "register"),
            ":1: cas is no operation of model register; use --model cas",
        ),
        ("", (), "holds no operation"),
        ("\n{:process 0 :type :invoke", (), ":2: the '{' opened here is not closed"),
        ("{:process 0 :type :invoke :value 1}", (), ":1: the map has no :f"),
        ("{:process 0 :type}", (), ":1: a map must have a value for each key"),
        ('{:process 0 :f "x', (), ":1: a string is not closed"),
        ("[3]", (), ":1: expected a map like"),
        ("{:process 0 :type :invoke)", (), "closes nothing"),
        (log("0 :invoke :read nil"), ("--initial", "[1"), "--initial '\\[1': the '\\[' opened here"),
        (log("0 :invoke :read nil"), ("--initial", "1 2"), "expected one value"),
        (
            "{:process 0 :type :invoke :f :read :value [1 nil]}{:process 1 :type :invoke :f :write :value 3}",
            (),
            r":1: expected a pair \[key value\]",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path: Path, text: str, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        file = tmp_path / "history"
        file.write_text(text, encoding="utf-8")
        CliRunner().invoke(command, [str(file), *options], catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for file, message in ((tmp_path / "none", "cannot be read"), (binary, "is not text")):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(command, [str(file)], catch_exceptions=False)
