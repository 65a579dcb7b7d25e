"""Finished runs on disk: each is stored at once, so that an interruption loses nothing that was computed.

``DIR/.parts/run.json`` says what is being run (the scenario and the code); ``KEY.json`` is one run's result,
``KEY.npy`` its operations (where they are needed). The JSON comes last and by renaming: where it is, the run is whole.
One process at a time writes a folder: it holds a lock on it, which the system releases however the process ends.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import msgspec

from consensus_bench.contract import ConfigError

if TYPE_CHECKING:
    from consensus_bench.experiments.statistics import Table

R = TypeVar("R", bound=msgspec.Struct)

RUNS: Final = Path("results/runs")
FOLDER: Final = ".parts"
MANIFEST: Final = "manifest.json"


class Claim(msgspec.Struct, frozen=True):
    """What a folder is for. ``code``: hash of the code that computes its numbers."""

    scenario: dict[str, Any]
    code: str
    created: str


class Parts(Generic[R]):
    """The finished runs in ``folder``, with results of type ``kind``. Entering it refuses a folder that holds a run
    of another scenario or in which another process is at work; runs of the same scenario by other code are dropped."""

    def __init__(self, folder: Path, scenario: dict[str, Any], code: str, kind: type[R]) -> None:
        self.folder = folder
        self.kind = kind
        self.path = folder / FOLDER
        self._claim = Claim(scenario, code, _now())
        self._lock: int | None = None

    @property
    def created(self) -> str:
        """When the first of these runs began."""
        return self._claim.created

    def __enter__(self) -> Self:
        scenario = self._claim.scenario
        _refuse_other(self.folder, scenario)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
        except BlockingIOError as error:
            raise ConfigError(
                f"out '{self.folder}': another process is at work there; wait for it or choose another folder"
            ) from error
        except OSError as error:
            raise ConfigError(f"out '{self.folder}': cannot be written: {error.strerror}") from error
        try:
            _refuse_other(self.folder, scenario)  # it may have changed until it was ours
            self._open()
        except BaseException:
            self._release()
            raise
        return self

    def _open(self) -> None:
        known = _claim(self.folder)
        if known is not None and known.code == self._claim.code:
            self._claim = known
        else:
            self._clear()
        try:
            self.path.mkdir(exist_ok=True)
            _write(self.path / "run.json", msgspec.json.encode(self._claim))
        except OSError as error:
            raise ConfigError(f"out '{self.folder}': cannot be written: {error.strerror}") from error

    def __exit__(self, *error: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def __getstate__(self) -> dict[str, Any]:
        """Workers save into the folder that this process holds."""
        return {**self.__dict__, "_lock": None}

    def _clear(self) -> None:
        for part in sorted(self.path.glob("*")):
            part.unlink()

    def save(self, key: str, result: R, table: Table | None = None) -> None:
        """Keep the finished run ``key``."""
        if table is not None:
            import numpy as np

            with (self.path / f"{key}.npy.new").open("wb") as file:
                np.save(file, table)
            (self.path / f"{key}.npy.new").replace(self.path / f"{key}.npy")
        _write(self.path / f"{key}.json", msgspec.json.encode(result))

    def result(self, key: str) -> R | None:
        """The result of the run ``key``, or None if it is not finished."""
        try:
            return msgspec.json.decode((self.path / f"{key}.json").read_bytes(), type=self.kind)
        except FileNotFoundError:
            return None

    def table(self, key: str) -> Table:
        """The table that was saved with the run ``key``."""
        import numpy as np

        table: Table = np.load(self.path / f"{key}.npy")
        return table

    def drop(self) -> None:
        """All is in the tables now."""
        self._clear()
        self.path.rmdir()


def _lock(folder: Path) -> int | None:
    """A descriptor that keeps ``folder`` to this process until it is closed; None where there are no such locks.
    ``BlockingIOError`` where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise
    except OSError:  # some network file systems
        os.close(held)
        return None
    return held


def _is_free(folder: Path) -> bool:
    try:
        held = _lock(folder)
    except OSError:
        return False
    if held is not None:
        os.close(held)
    return True


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _claim(folder: Path) -> Claim | None:
    try:
        return msgspec.json.decode((folder / FOLDER / "run.json").read_bytes(), type=Claim)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """The last thing that is written into a folder: where it says complete, the folder is."""
    _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def finished(folder: Path) -> dict[str, Any] | None:
    """The manifest in ``folder``, or None if there is none."""
    try:
        data: dict[str, Any] = msgspec.json.decode((folder / MANIFEST).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    return data


def _refuse_other(folder: Path, scenario: dict[str, Any]) -> None:
    """An output folder holds one scenario's run and no other."""
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"out '{folder}': is a file; name a folder")
    except OSError as error:  # a name that no file can have
        raise ConfigError(f"out '{folder}': cannot be a folder: {error.strerror}; name another") from error
    claim, manifest = _claim(folder), finished(folder)
    if claim is None and manifest is None and (folder / "report.html").exists():
        raise ConfigError(
            f"out '{folder}': holds the report of something else; choose another folder or remove this one"
        )
    held = claim.scenario if claim else manifest.get("scenario", {}) if manifest else scenario
    differs = different(held, scenario)
    if differs:
        raise ConfigError(
            f"out '{folder}': holds a different run (it differs in {', '.join(differs)}); "
            "choose another folder or remove this one"
        )


def different(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The keys in which two scenarios differ."""
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))


def unfinished(name: str, scenario: dict[str, Any], code: str) -> Path | None:
    """The newest folder under ``results/runs`` in which this very run was interrupted and is not going on."""
    for folder in sorted(RUNS.glob(f"*-{name}"), reverse=True):
        claim = _claim(folder)
        same = claim is not None and claim.code == code and not different(claim.scenario, scenario)
        if same and _is_free(folder):
            return folder
    return None


def new_folder(name: str) -> Path:
    """``results/runs/<time>-<name>``, made by this call and by no other."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{stamp}-{name}"
    number = 2
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            folder = RUNS / f"{stamp}-{number}-{name}"
            number += 1
        except OSError as error:
            raise ConfigError(f"out '{folder}': cannot be written: {error.strerror}; give --out DIR") from error
        else:
            return folder
