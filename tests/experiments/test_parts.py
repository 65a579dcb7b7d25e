"""Folders of finished runs: one process at a time, nothing lost, nothing left behind by what was refused."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus_bench.contract import ConfigError
from consensus_bench.experiments import parts as module
from consensus_bench.experiments.parts import Parts, new_folder, unfinished
from consensus_bench.experiments.runner import _uninterrupted

SCENARIO: dict[str, Any] = {"name": "x"}


class Number(msgspec.Struct, frozen=True):
    value: int


def parts_in(folder: Path, code: str = "code") -> Parts[Number]:
    return Parts(folder, SCENARIO, code, Number)


def test_what_was_saved_is_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    with parts_in(tmp_path / "run") as parts:
        parts.save("a", Number(1))
    with parts_in(tmp_path / "run") as again:
        assert again.result("a") == Number(1)
        assert again.created == parts.created
    with parts_in(tmp_path / "run", code="other code") as other:
        assert other.result("a") is None


def test_a_folder_in_which_a_process_is_at_work_is_refused(tmp_path: Path) -> None:
    with parts_in(tmp_path / "run") as parts:
        parts.save("a", Number(1))
        with pytest.raises(ConfigError, match="another process is at work"), parts_in(tmp_path / "run"):
            pass
        assert parts.result("a") == Number(1)
    with parts_in(tmp_path / "run") as again:
        assert again.result("a") == Number(1)


def test_an_error_releases_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), parts_in(tmp_path / "run"):
        raise KeyboardInterrupt
    with parts_in(tmp_path / "run"):
        pass


def test_a_worker_saves_into_the_folder_that_another_process_holds(tmp_path: Path) -> None:
    with parts_in(tmp_path / "run") as parts:
        pickle.loads(pickle.dumps(parts)).save("a", Number(1))
        assert parts.result("a") == Number(1)


def test_a_run_that_is_going_on_is_not_taken_for_an_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS", tmp_path)
    with parts_in(new_folder("x")) as parts:
        assert unfinished("x", SCENARIO, "code") is None
    assert unfinished("x", SCENARIO, "code") == parts.folder


def test_two_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS", tmp_path)
    assert len({new_folder("x") for _ in range(3)}) == 3


def test_a_folder_with_the_report_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of attacks")
    with pytest.raises(ConfigError, match="holds the report of something else"), parts_in(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "RUNS", tmp_path / "file" / "runs")
    with pytest.raises(ConfigError, match="cannot be written"):
        new_folder("x")


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """As on a terminal: a process in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interruption_while_workers_are_started_is_held_up_and_not_lost() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), _uninterrupted():
        signal.raise_signal(signal.SIGINT)
        reached.append(True)
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
