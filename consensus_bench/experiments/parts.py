"""Finished runs on disk: each is stored at once, so that an interruption loses nothing that was computed.

``DIR/.parts/run.json`` says what is being run (the scenario and the code); ``KEY.json`` is one run's result,
``KEY.npy`` its operations (where they are needed). The JSON comes last and by renaming: where it is, the run is whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

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
    """The finished runs in ``folder``, with results of type ``kind``. Opening it refuses a folder that holds a run
    of another scenario; runs of the same scenario by other code are dropped."""

    def __init__(self, folder: Path, scenario: dict[str, Any], code: str, kind: type[R]) -> None:
        self.folder = folder
        self.kind = kind
        self.path = folder / FOLDER
        _refuse_other(folder, scenario)
        known = _claim(folder)
        if known is None or known.code != code:
            self._clear()
            known = Claim(scenario, code, _now())
        self.created = known.created
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _write(self.path / "run.json", msgspec.json.encode(known))
        except OSError as error:
            raise ConfigError(f"out '{folder}': cannot be written: {error.strerror}") from error

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
    """The newest folder under ``results/runs`` in which this very run was interrupted."""
    for folder in sorted(RUNS.glob(f"*-{name}"), reverse=True):
        claim = _claim(folder)
        if claim is not None and claim.code == code and not different(claim.scenario, scenario):
            return folder
    return None


def new_folder(name: str) -> Path:
    """``results/runs/<time>-<name>``, not used yet."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{stamp}-{name}"
    number = 2
    while folder.exists():
        folder = RUNS / f"{stamp}-{number}-{name}"
        number += 1
    return folder
