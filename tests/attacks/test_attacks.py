"""The catalogue of attacks: every verdict and every control, computed anew; traces that can be run again."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus_bench.attacks.attack import HOLDS, LIVENESS, SAFETY, UNDECIDED, Attack, Finding, Outcome
from consensus_bench.attacks.deposed import Deposed
from consensus_bench.attacks.duel import Duel
from consensus_bench.attacks.explored import Explored, same_schedule
from consensus_bench.attacks.registry import ATTACKS, find_attack, run_attack
from consensus_bench.attacks.simulated import _together
from consensus_bench.cli import break_
from consensus_bench.contract import ConfigError, PropertyViolated
from consensus_bench.contract.registry import find_protocol, make_options
from consensus_bench.exploration.exhaustive.bounds import Bounds
from consensus_bench.exploration.replay import replay
from consensus_bench.exploration.trace import read_trace
from consensus_bench.report.attacks import picture_of, table_rows, words, write_attack_report
from consensus_bench.report.spacetime import Picture


@cache
def outcome_of(name: str) -> Outcome:
    return run_attack(find_attack(name))


STEPS = {
    "dueling-proposers": 42,
    "promise-not-on-disk": 11,
    "acceptance-not-on-disk": 11,
    "own-value": 10,
    "any-reported-value": 13,
    "no-phase-1": 6,
    "no-ballot-check": 10,
    "old-promises": 11,
    "old-votes": 13,
    "ballots-collide": 10,
    "disjoint-quorums": 10,
    "flexible-quorums-disjoint": 6,
    "one-vote": 6,
    "promise-not-on-disk-multi-paxos": 12,
    "acceptance-not-on-disk-multi-paxos": 12,
    "quorums-disjoint-multi-paxos": 7,
    "new-leader-serves-early": 10,
    "retry-executed-twice-multi-paxos": 9,
    "retry-executed-twice-epaxos": 7,
    "new-leader-skips-phase-1": 7,
    "new-leader-own-value": 11,
    "new-leader-leaves-gaps": 13,
    "old-leader-served": 11,
    "raft-vote-not-on-disk": 7,
    "epochs-not-checked": 40,
    "raft-term-not-on-disk": 7,
    "raft-any-log": 8,
    "raft-old-leader-obeyed": 8,
    "raft-early-acknowledgement": 9,
    "raft-figure-8": 31,
    "raft-leaders-deposed": 31,
    "raft-retry-executed-twice": 9,
    "epaxos-pre-acceptance-not-on-disk": 7,
    "epaxos-fast-path-although-replies-differ": 6,
    "epaxos-executed-as-committed": 6,
    "epaxos-cycle-in-order-of-arrival": 11,
    "epaxos-single-ballot": 16,
    "epaxos-published-fast-quorum": 31,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_ends_as_expected_and_its_control_is_green(name: str) -> None:
    outcome = outcome_of(name)
    assert (outcome.found.verdict, outcome.control.verdict) == (outcome.attack.expected, HOLDS), outcome.found.detail
    assert "not confirmed" not in outcome.found.detail
    assert outcome.found.steps == STEPS.get(name, outcome.found.steps)
    if outcome.found.trace is not None:
        trace = outcome.found.trace
        protocol = find_protocol(trace.protocol)
        execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
        assert tuple(execution.steps) == trace.steps, "the last step shows the state of its replica's disk"


def test_the_catalogue_says_all_it_has_to() -> None:
    for attack in ATTACKS.values():
        assert attack.assumption and attack.guarantee and attack.change and attack.source
        assert attack.expected in (SAFETY, LIVENESS, HOLDS)
    assert {attack.expected for attack in ATTACKS.values()} == {SAFETY, LIVENESS, HOLDS}


def test_a_trace_file_ends_in_the_same_state_in_the_explorer(tmp_path: Path) -> None:
    write_attack_report([outcome_of("promise-not-on-disk")], tmp_path)
    trace = read_trace(tmp_path / "traces" / "promise-not-on-disk.json")
    protocol = find_protocol(trace.protocol)
    execution = replay(trace, protocol, make_options(protocol, trace.options, trace.replicas))
    recorded = {step.replica: (step.disk, step.holds) for step in trace.steps}
    found = {step.replica: (step.disk, step.holds) for step in execution.steps}
    assert recorded == found and execution.violation == trace.violation


def test_the_report_has_table_words_and_picture(tmp_path: Path) -> None:
    page = write_attack_report([outcome_of("no-phase-1"), outcome_of("flexible-quorums")], tmp_path)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    assert "2 of 2 attacks end as expected" in text and "figures/no-phase-1.png" in text
    assert "figures/flexible-quorums.png" not in text, "nothing is violated there: there is no picture"
    assert (tmp_path / "figures" / "no-phase-1.svg").stat().st_size > 1000
    assert str(Path.cwd()) not in text + (tmp_path / "traces" / "no-phase-1.json").read_text(encoding="utf-8")


def test_what_is_not_as_expected_is_shown() -> None:
    outcome = outcome_of("no-phase-1")
    wrong = msgspec.structs.replace(outcome, attack=msgspec.structs.replace(outcome.attack, expected=HOLDS))
    assert outcome.as_expected and not wrong.as_expected
    assert "(expected: both hold)" in table_rows([wrong])[0][2]
    red = msgspec.structs.replace(outcome, control=outcome.found)
    assert not red.as_expected


def test_a_control_that_is_red_is_found() -> None:
    """The same schedule under the same broken protocol is no control."""
    outcome = outcome_of("no-phase-1")
    assert outcome.found.trace is not None
    runner = outcome.attack.runner
    assert isinstance(runner, Explored)
    assert same_schedule(outcome.found.trace, runner.unsafe, {}).verdict == SAFETY
    assert same_schedule(outcome.found.trace, runner.safe, {}).verdict == HOLDS
    broken = msgspec.structs.replace(runner, safe=runner.unsafe)
    assert broken.control(outcome.found).verdict == SAFETY


def test_an_attack_that_finds_nothing_is_not_as_expected() -> None:
    """Two ballots are too few to see why the highest one matters."""
    attack = find_attack("any-reported-value")
    assert isinstance(attack.runner, Explored)
    few = msgspec.structs.replace(attack.runner.bounds, ballots=2)
    found = msgspec.structs.replace(attack.runner, bounds=few).attack()
    assert found.verdict == HOLDS != attack.expected
    cut = msgspec.structs.replace(attack.runner, bounds=Bounds(states=1000)).attack()
    assert cut.verdict == UNDECIDED


def test_the_duel_is_one_only_while_there_are_two() -> None:
    duel = Duel()
    found = duel.attack()
    assert (found.verdict, found.falls) == (LIVENESS, "a decision")
    assert "after step 42 the state is that after step 24" in found.detail
    picture = picture_of(found)
    assert picture is not None and picture.length <= 16
    sent = [e.fields["ballot"] for e in picture.messages if e.kind == "Prepare" and e.source != e.to]
    assert sent[::2] == [[1, 0], [2, 1], [3, 0], [4, 1]]
    assert duel.control(found).verdict == HOLDS


def test_a_duel_in_which_something_falls_says_so() -> None:
    found = Duel(spec="consensus_bench.attacks.rules.basic_paxos:UnsafeHalves").attack()
    assert (found.verdict, found.falls) == (SAFETY, "agreement")


def test_leaders_are_deposed_only_without_pre_vote_and_check_quorum() -> None:
    found = find_attack("raft-leaders-deposed").runner.attack()
    assert (found.verdict, found.falls) == (LIVENESS, "the commit of a request")
    assert "after step 31 all that decides is as after step 20" in found.detail
    assert picture_of(found) is not None
    assert found.trace is not None
    fired = {step.replica for step in found.trace.steps if step.kind == "timer"}
    delivered = {step.message for step in found.trace.steps if step.kind == "deliver"}
    lost = {e.number for e in found.trace.messages if {e.source, e.to} != {0, 2}} - delivered
    assert fired == {0, 2}, "the server between is reset by every vote that it gives"
    last = max(step.number for step in found.trace.steps if not step.own)
    assert {found.trace.messages[number - 1].step for number in lost} == {last}, "nothing is lost, only under way"
    assert Deposed().control(found).verdict == HOLDS


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.story])
def test_a_story_tells_every_column_of_its_diagram(name: str) -> None:
    """If the execution changes, what is said of it must be read again."""
    picture = picture_of(outcome_of(name).found)
    assert picture is not None
    told = re.findall(r"\b(\d+)-(\d+): ", " ".join(ATTACKS[name].story))
    columns = [column for first, last in told for column in range(int(first), int(last) + 1)]
    assert columns == list(range(1, Picture(picture).last + 1))


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([LIVENESS, LIVENESS], LIVENESS),
        ([LIVENESS, HOLDS], UNDECIDED),
        ([HOLDS, SAFETY, LIVENESS], SAFETY),
        ([UNDECIDED, HOLDS], UNDECIDED),
    ],
)
def test_several_runs_have_one_verdict(verdicts: list[Any], together: str) -> None:
    assert _together([Finding(verdict=verdict) for verdict in verdicts]).verdict == together


# --- the command ------------------------------------------------------------------------------------------------------


def run_command(*arguments: str) -> None:
    break_.command.main(list(arguments), standalone_mode=False)


def test_the_command_runs_one(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("no-phase-1")
    output = capsys.readouterr().out
    assert "verdict:    safety violated: agreement in 6 steps" in output and "control:    both hold" in output
    trace = outcome_of("no-phase-1").found.trace
    assert trace is not None
    assert all(line in output for line in words(trace))


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("--list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ATTACKS)


def test_all_end_with_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    few: dict[str, Attack] = {name: ATTACKS[name] for name in ("no-phase-1", "one-vote")}
    monkeypatch.setattr("consensus_bench.attacks.registry.ATTACKS", few)
    run_command("--all")
    table = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert table[0].split() == ["assumption", "protocol", "what", "falls", "steps", "control"]
    assert len(table) == 3 and all(line.endswith("both hold") for line in table[1:])
    few["one-vote"] = msgspec.structs.replace(few["one-vote"], expected=LIVENESS)
    with pytest.raises(PropertyViolated, match="one-vote"):
        run_command("--all")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["no-phase-2"], "did you mean no-phase-1"), (["xyzzy"], "--list"), ([], "--all"),
     (["one-vote", "--all"], "--all"), (["--list", "--out", "x"], "--out")],
)  # fmt: skip
def test_bad_input_is_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run_command(*arguments)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out: .* cannot be made"):
        run_command("one-vote", "--out", str(tmp_path / "file" / "folder"))


def test_an_unknown_attack_is_one_line_and_status_2() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from consensus_bench.cli import main; main()", "break", "xyzzy"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "xyzzy" in done.stderr


@pytest.mark.parametrize(
    "spec", ["consensus_bench.attacks.rules.raft:Nothing", "no.such.module:Raft", ":Raft", "a b:C"]
)
def test_a_module_without_the_class_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"does not import|no subclass"):
        find_protocol(spec)


def test_the_page_names_every_attack_with_its_number_of_steps() -> None:
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(ATTACKS)
    for name, steps in STEPS.items():
        assert name == "dueling-proposers" or rows[name].endswith(f"| {steps} |")
