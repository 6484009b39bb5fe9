"""The run folder: what a study leaves on disk, and the only thing a report reads.

```
manifest.json      settings, data digest, versions, hardware, git commit
records.jsonl      one run per line, self-contained, appended as runs end
timings.jsonl      one timed fit per line, where a study at the fast pace took the time
weights/*.npz      final weights and moving statistics, test and grid probabilities
replay/*.npz       initial weights and batch orders, where a framework drew its own
```

Formats are JSON and `.npz` without pickles. A line is on disk as soon as its run has ended, so an
interrupted study loses at most the runs that train together.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from compare.data import Array
from compare.errors import InputError, RunFolderError
from compare.saved import Format
from compare.saved import read as read_saved
from compare.spec import Settings
from compare.study.npz import read_npz

FORMAT = Format("bn-compare run folder")

Record = dict[str, Any]
"""One run: `variant, framework, seed, alignment, undo, pace, dtype, status` (`"ok"`, or
`"diverged"` where a loss or a weight is not finite), `final` and `history` (`train_loss,
train_accuracy, test_loss, test_accuracy, running_train_loss, running_train_accuracy`, and
`batch_statistics_test_accuracy` where there is batch normalization: a number, and a list with one
per epoch), `epoch_seconds` (a list), `epochs_to_target` (1-based, or null), `digests`, `settings`,
`versions`, `started_at`."""

Timing = dict[str, Any]
"""One fit under the clock, as a user writes it: `variant, framework, repetition,
first_step_seconds` (from the call to the end of the first step), `epoch_seconds` (a list without
the first epoch), `other_cores` (kept busy by other programs meanwhile)."""

CLOCKS = ("epoch_seconds", "started_at")
"""The fields of a record that differ between two executions of one command."""

_REQUIRED = (
    *("variant", "framework", "seed", "alignment", "pace", "dtype", "status"),
    *("final", "history", "epochs_to_target"),
)


_TIMING = ("variant", "framework", "epoch_seconds")


def json_number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: null stands for both."""
    return value if value is not None and math.isfinite(value) else None


def run_name(record: Mapping[str, Any]) -> str:
    """`<variant>-<framework>-<seed>`: how files of a run are called."""
    return f"{record['variant']}-{record['framework']}-{record['seed']}"


@dataclass(frozen=True)
class RunFolder:
    """A folder with the results of one study.

    Attributes:
        path: Where it is.
        manifest: The content of `manifest.json`.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def create(cls, path: Path, manifest: Mapping[str, Any]) -> RunFolder:
        """Make a new folder.

        Raises:
            RunFolderError: The path exists and is not an empty folder, or cannot be written to.
        """
        check_writable(path)
        path.mkdir(parents=True, exist_ok=True)
        (path / "weights").mkdir()
        manifest = {**FORMAT.header(), **manifest}
        write_text(path / "manifest.json", json.dumps(manifest, indent=2) + "\n")
        (path / "records.jsonl").touch()
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing folder.

        Raises:
            RunFolderError: It is missing, foreign, corrupt or of a newer format.
        """
        file = path / "manifest.json"
        if not file.is_file():
            raise RunFolderError(
                f"{path}: not a run folder: expected manifest.json in it. "
                "Pass a folder that `bn-compare run` wrote."
            )
        manifest = read_saved(file, FORMAT)
        try:
            Settings.from_dict(manifest["settings"])
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise RunFolderError(f"{file}: unusable settings: {error}") from error
        return cls(path, manifest)

    @property
    def settings(self) -> Settings:
        """The settings of the study."""
        return Settings.from_dict(self.manifest["settings"])

    def append(
        self,
        record: Record,
        arrays: Mapping[str, Array],
        replay: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Save one run: its arrays and what its framework drew for itself, then its line."""
        if replay:
            (self.path / "replay").mkdir(exist_ok=True)
            _save_npz(self.path / "replay" / f"{run_name(record)}.npz", replay)
        _save_npz(self.path / "weights" / f"{run_name(record)}.npz", arrays)
        _append_line(self.path / "records.jsonl", record)

    def append_timing(self, timing: Timing) -> None:
        """Save one timed fit."""
        _append_line(self.path / "timings.jsonl", timing)

    def records(self) -> list[Record]:
        """All runs by variant, framework and seed, in the order of the settings.

        At the fast pace runs end in another order every time; what reads them shall not notice. A
        last line without its line break is a run that was interrupted while it was saved; it is
        left out.

        Raises:
            RunFolderError: The file is missing or a line is not a record.
        """
        found = _lines(self.path / "records.jsonl", _REQUIRED)
        settings = self.settings
        places = {
            (variant, framework): place
            for place, (variant, framework) in enumerate(
                product(settings.variants, settings.frameworks)
            )
        }
        # What the settings do not name comes last, as it came.
        return sorted(
            found,
            key=lambda r: (places.get((r["variant"], r["framework"]), len(places)), r["seed"]),
        )

    def timings(self) -> list[Timing]:
        """All timed fits, in the order in which they ran; none where nothing was timed.

        Raises:
            RunFolderError: A line is not a timing.
        """
        file = self.path / "timings.jsonl"
        return _lines(file, _TIMING) if file.exists() else []

    def arrays(self, record: Mapping[str, Any], *, plane: bool = True) -> dict[str, Array]:
        """The arrays of a run: canonical weight names, `test_probability`, `grid_probability`.

        Args:
            record: The run.
            plane: Whether to read `grid_probability`, the largest of them.

        Raises:
            RunFolderError: The file is missing, corrupt or without the probabilities.
        """
        file = self.path / "weights" / f"{run_name(record)}.npz"
        left_out = () if plane else ("grid_probability",)
        try:
            names, arrays = read_npz(file, left_out)
        except Exception as error:  # zipfile, zlib, struct and NumPy each raise their own
            raise RunFolderError(f"{file}: cannot be read: {error}") from error
        for name in ("test_probability", "grid_probability"):
            if name not in names:
                raise RunFolderError(f"{file}: expected an array {name!r}, found none.")
        return arrays


def check_writable(path: Path) -> None:
    """Raise unless a run folder can be made at `path`; leaves nothing behind.

    Raises:
        RunFolderError: The path exists and is not an empty folder, or cannot be written to.
    """
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"--out {path}: expected a folder, found a file.")
    if path.is_dir() and any(path.iterdir()):
        raise RunFolderError(
            f"--out {path}: the folder is not empty, and nothing saved is ever overwritten: "
            "choose another one."
        )
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunFolderError(f"--out {path}: cannot write to {parent}: choose another folder.")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _append_line(file: Path, content: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(content, allow_nan=False) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


def _lines(file: Path, required: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a file, one per line; a last line that was cut short is left out."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{file}: cannot be read: {error}") from error
    return [_parse(line, f"{file}, line {n}", required) for n, line in enumerate(lines, start=1)]


def _parse(line: str, where: str, required: Sequence[str]) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise RunFolderError(f"{where}: corrupt: {error}") from error
    missing = [k for k in required if not isinstance(content, dict) or k not in content]
    if missing:
        raise RunFolderError(f"{where}: not a record: {', '.join(missing)} missing.")
    assert isinstance(content, dict)
    return content
