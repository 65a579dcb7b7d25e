"""Where a number comes from: the code's hash and commit, the versions of what it runs on."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import consensus_bench
from consensus_bench.experiments.setup import Setup

_LIBRARIES = ("simpy", "numpy", "msgspec", "pyarrow")


def code_hash(setup: Setup) -> str:
    """SHA-256 over the source files that make the numbers: this package, the protocols', and the matrix in use."""
    digest = sha256()
    for name, path in sorted(_sources(setup)):
        digest.update(f"{name}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
    digest.update(repr((setup.topology.sites, setup.topology.columns, setup.topology.values)).encode())
    return digest.hexdigest()


def _sources(setup: Setup) -> Iterator[tuple[str, Path]]:
    """(a name that does not depend on where it is installed, file), in no order."""
    packages = {"consensus_bench": Path(consensus_bench.__file__).parent}
    for contestant in setup.contestants:
        module = sys.modules[contestant.protocol.__module__]
        top = sys.modules[module.__name__.partition(".")[0]]
        assert module.__file__ is not None
        if hasattr(top, "__path__"):
            packages[top.__name__] = Path(next(iter(top.__path__)))
        else:
            yield Path(module.__file__).name, Path(module.__file__)
    for package, folder in packages.items():
        for path in folder.rglob("*.py"):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path


def code_state(setup: Setup) -> dict[str, Any]:
    """``code`` of the manifest. ``commit`` and ``dirty`` are None outside a git checkout of this project."""
    commit, dirty = _git()
    return {"version": version("consensus-bench"), "commit": commit, "dirty": dirty, "sha256": code_hash(setup)}


def _git() -> tuple[str | None, bool | None]:
    package = Path(consensus_bench.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else the repository around us is not this project's
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "..", ":!../results"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def versions() -> dict[str, str]:
    """Python's and the libraries' versions."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
