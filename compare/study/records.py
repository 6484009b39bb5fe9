"""The run folder: what a study leaves on disk, and the only thing a report reads.

```
manifest.json           settings, data digest, versions, hardware, git commit
records.jsonl           one run per line, self-contained, appended as runs end
timings.jsonl           one timed fit per line, where a study at the fast pace took the time
weights/*.safetensors   final weights and moving statistics, test and grid probabilities
replay/*.safetensors    initial weights and batch orders, where a framework drew its own
```

A line is on disk as soon as its run has ended, so an interrupted study loses at most the runs that
train together. Every array is saved beside its digest. Weights in `.npz` files, as earlier versions
wrote them, can be read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import numpy as np
from msgspec import Meta
from safetensors import numpy as safetensors
from safetensors import safe_open

from compare.data import Array, digest
from compare.environment import Hardware
from compare.errors import InputError, RunFolderError
from compare.schema import Format, encode, read, read_lines
from compare.spec import Settings

FORMAT = Format("bn-compare run folder")

Name = Annotated[str, Meta(pattern=r"^[\w-]+$")]
"""Part of a file's name, so it leads to no other folder."""

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)] | None
Nats = Annotated[float, Meta(ge=0, le=37)] | None
"""At most −log of float64's epsilon, to which probabilities are clipped."""
RunningNats = Annotated[float, Meta(ge=0)] | None
"""As the framework's own loop reports it, which clips as it likes."""

S = TypeVar("S")
N = TypeVar("N")
R = TypeVar("R")


class Values(TypedDict, Generic[S, N, R]):
    """What is evaluated after an epoch; null where it is not finite."""

    train_loss: N
    train_accuracy: S
    test_loss: N
    test_accuracy: S
    running_train_loss: R
    running_train_accuracy: S
    batch_statistics_test_accuracy: NotRequired[S]


class RecordLine(TypedDict):
    """One run: a line of `records.jsonl`.

    A variant that this version does not know is accepted: a newer one wrote it. `status` is
    `"diverged"` where a loss or a weight is not finite. `epoch_seconds` is null at the fast pace,
    and `epochs_to_target`, counted from 1, where the target was not reached.
    """

    variant: Name
    framework: Literal["keras", "torch"]
    seed: Annotated[int, Meta(ge=0)]
    alignment: str
    undo: NotRequired[list[str]]
    pace: Literal["fast", "idiomatic"]
    dtype: Literal["float32", "float64"]
    status: Literal["ok", "diverged"]
    epochs_to_target: Count | None
    final: Values[Share, Nats, RunningNats]
    history: Values[list[Share], list[Nats], list[RunningNats]]
    epoch_seconds: NotRequired[list[Seconds] | None]
    digests: NotRequired[dict[str, str]]
    settings: NotRequired[dict[str, Any]]
    versions: NotRequired[dict[str, str | None]]
    started_at: NotRequired[str]


class TimingLine(TypedDict):
    """One fit under the clock, as a user writes it: a line of `timings.jsonl`.

    `first_step_seconds` is from the call to the end of the first step; `epoch_seconds` leaves out
    the first epoch; `other_cores` were kept busy by other programs meanwhile.
    """

    variant: Name
    framework: Literal["keras", "torch"]
    repetition: NotRequired[Count]
    first_step_seconds: NotRequired[Seconds]
    epoch_seconds: list[Seconds]
    other_cores: NotRequired[Seconds]


class Manifest(TypedDict):
    """Everything about a study that is not a result."""

    settings: dict[str, Any]
    created_at: NotRequired[str]
    command: NotRequired[list[str]]
    data_digest: NotRequired[str]
    versions: NotRequired[dict[str, str | None]]
    keras_backend: NotRequired[str | None]
    hardware: NotRequired[Hardware]
    threads: NotRequired[Count]
    git_commit: NotRequired[str | None]


Record = dict[str, Any]
"""A `RecordLine` in memory, whose values may be looked up by a name that is computed."""

Timing = dict[str, Any]
"""A `TimingLine` in memory."""

CLOCKS = ("epoch_seconds", "started_at")
"""The fields of a record that differ between two executions of one command."""


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
        write_text(path / "manifest.json", encode(manifest, indent=2) + "\n")
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
        manifest = read(file, Manifest, FORMAT)
        try:
            Settings.from_dict(manifest["settings"])
        except InputError as error:
            raise RunFolderError(f"{file}: {error}") from error
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
            _save(self.path / "replay" / f"{run_name(record)}.safetensors", replay)
        _save(self.path / "weights" / f"{run_name(record)}.safetensors", arrays)
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
        file = self.path / "records.jsonl"
        records: list[Any] = [*read_lines(file, RecordLine)]
        for line, record in enumerate(records, start=1):
            if problem := _inconsistent(record):
                raise RunFolderError(f"{file}:{line}: {problem}")
        settings = self.settings
        places = {
            (variant, framework): place
            for place, (variant, framework) in enumerate(
                product(settings.variants, settings.frameworks)
            )
        }
        # What the settings do not name comes last, as it came.
        return sorted(
            records,
            key=lambda r: (places.get((r["variant"], r["framework"]), len(places)), r["seed"]),
        )

    def timings(self) -> list[Timing]:
        """All timed fits, in the order in which they ran; none where nothing was timed.

        Raises:
            RunFolderError: A line is not a timing.
        """
        file = self.path / "timings.jsonl"
        return [{**timing} for timing in read_lines(file, TimingLine)] if file.exists() else []

    def arrays_file(self, record: Mapping[str, Any]) -> Path:
        """Where the arrays of a run are; `.npz` where an earlier version wrote them."""
        folder, name = self.path / "weights", run_name(record)
        earlier = folder / f"{name}.npz"
        return earlier if earlier.exists() else folder / f"{name}.safetensors"

    def arrays(self, record: Mapping[str, Any], *, plane: bool = True) -> dict[str, Array]:
        """The arrays of a run: canonical weight names, `test_probability`, `grid_probability`.

        Args:
            record: The run.
            plane: Whether to read `grid_probability`, the largest of them.

        Raises:
            RunFolderError: The file is missing, corrupt or without the probabilities.
        """
        file = self.arrays_file(record)
        unread = () if plane else ("grid_probability",)
        try:
            names, arrays = (_load_npz if file.suffix == ".npz" else _load)(file, unread)
        except Exception as error:  # zipfile, zlib, NumPy and safetensors each raise their own
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
    check_parent(path, "--out")
    if path.is_dir() and any(path.iterdir()):
        raise RunFolderError(
            f"--out {path}: the folder is not empty, and nothing saved is ever overwritten: "
            "choose another one."
        )


def check_parent(path: Path, option: str) -> None:
    """Raise `RunFolderError` unless a folder can be made at `path`, or be written to there."""
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise RunFolderError(f"{option} {path}: expected a folder, found a file: {nearest}.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunFolderError(f"{option} {path}: cannot write to {nearest}: choose another folder.")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a reader never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _inconsistent(record: Record) -> str | None:
    """What is wrong with a record whose fields are each as they should be; None if nothing is."""
    epochs = sorted({len(curve) for curve in record["history"].values()})
    if len(epochs) > 1:
        return f"$.history: expected curves of one length, received {epochs} epochs."
    if (record["epochs_to_target"] or 0) > epochs[0]:
        return "$.epochs_to_target: expected no more than the epochs of $.history."
    return None


def _save(file: Path, arrays: Mapping[str, Any]) -> None:
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # One entry, since several are written in an order of chance.
    digests = json.dumps({name: digest(array) for name, array in arrays.items()})
    file.write_bytes(safetensors.save(arrays, {"sha256": digests}))


def _load(file: Path, unread: Collection[str]) -> tuple[Collection[str], dict[str, Array]]:
    """The names of all arrays in a file, in the order in which they were saved, and the arrays."""
    with safe_open(file, framework="numpy") as opened:
        digests = json.loads((opened.metadata() or {}).get("sha256", "{}"))
        arrays = {name: opened.get_tensor(name) for name in digests if name not in unread}
    for name, array in arrays.items():
        if digest(array) != digests[name]:
            raise ValueError(f"{name!r} is not as it was saved")
    return digests, arrays


def _load_npz(file: Path, unread: Collection[str]) -> tuple[Collection[str], dict[str, Array]]:
    with file.open("rb") as opened, np.load(opened) as archive:
        return archive.files, {name: archive[name] for name in archive.files if name not in unread}


def _append_line(file: Path, content: Mapping[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write(encode(content) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
