"""A side of a pair, recorded: what it computed stands in for it where its framework is missing.

```
<folder>/keras.json    layers, settings, what was asked, versions, SHA-256 of the arrays; a seal
<folder>/keras.npz     the trace's arrays, no pickle
<folder>/torch.json, torch.npz, also the weights of Keras' that its steps started from
```

A step of the side that is alive starts where the recorded one has started.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from compare import schema
from compare.backends.loading import load
from compare.backends.protocol import Start
from compare.backends.structures import Structure, leaves
from compare.environment import versions
from compare.errors import GoldenError
from compare.parity.report import ParityReport
from compare.porting.check import observed, reporting
from compare.porting.compare_traces import Observed, compare_traces, observe
from compare.porting.models import KerasSide, Side, TorchSide, build_model, build_pair
from compare.porting.options import Options, Request
from compare.porting.same_start import LEFT, SameStart, Starting, weights_before
from compare.porting.weights import carry
from compare.scratch import scratch_folder
from compare.study.records import write_text
from compare.trace import Trace, TraceWriter

_FORMAT = 4
_AGAIN = "record it again with --parity-golden record"

Arrays = dict[str, NDArray[Any]]


class Asked(msgspec.Struct, frozen=True):
    """What both sides computed, to be asked again.

    Attributes:
        x: SHA-256 of the samples.
        y: SHA-256 of the targets; None where nothing was trained.
        steps: Training steps.
        dtype: `"float32"` or `"float64"`.
        allow: Conventions whose difference was accepted, in alphabetical order.
        randomness: What was done with dropout and noise.
    """

    x: str
    y: str | None
    steps: Annotated[int, msgspec.Meta(ge=1)]
    dtype: Annotated[str, msgspec.Meta(pattern="^float(32|64)$")]
    allow: list[str]
    randomness: str


class RecordedLayer(TypedDict):
    """A `compare.trace.Layer`."""

    name: str
    kind: str
    tensors: dict[str, list[int]]
    trained: int
    settings: NotRequired[dict[str, Any]]


class RecordedOperation(TypedDict):
    """A `compare.trace.Operation`."""

    name: str
    kind: str
    settings: dict[str, Any]


class Recording(msgspec.Struct, frozen=True):
    """What the JSON file of a side has, beside its seal.

    Attributes:
        format: Version of this format.
        framework: Which side it is.
        asked: What it computed.
        layers: Its weighted layers, in the order in which they ran.
        arrays: Name in the trace → member of the archive.
        started: Torch's side alone: name in Keras' trace → member, of the weights and statistics
            that its later steps and its evaluation started from.
        training: Settings of its optimizer and loss.
        operations: All that runs in it, in order, weighted or not.
        not_compared: What it has that no check looks at, in words.
        rounding: Torch's side alone: name in the trace → tolerance that rounding asks for.
        single: The same of rounding to float32 in float64.
        versions: Package → version; None where it was not installed.
        sha256: Of the archive.
    """

    format: int
    framework: Literal["keras", "torch"]
    asked: Asked
    layers: list[RecordedLayer]
    arrays: dict[str, str]
    started: dict[str, str]
    training: dict[str, dict[str, Any] | None]
    operations: list[RecordedOperation]
    not_compared: list[str]
    rounding: dict[str, Annotated[float, msgspec.Meta(ge=0)]]
    single: dict[str, Annotated[float, msgspec.Meta(ge=0)]]
    versions: dict[str, str | None]
    sha256: str


def record(
    folder: Path,
    models: tuple[Any, Any],
    data: tuple[Structure, Structure | None],
    options: Options,
) -> ParityReport:
    """Check a pair as `check_parity` does, and record both of its sides.

    Args:
        folder: Where the recordings go; made if need be. One there is replaced.
        models: The Keras model and the Torch module, or functions that return them.
        data: Samples and targets.
        options: Those of `check_parity`.

    Raises:
        InputError: As `check_parity` does.
    """
    __tracebackhide__ = True
    x, y = data
    pair = build_pair(*models, x, options)
    with observed(pair, y, options) as (keras, torch, request):
        report = compare_traces(keras, torch, request)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
            staging = Path(beside) / "new"
            staging.mkdir()
            save(staging, "keras", keras, request)
            save(staging, "torch", torch, request, keras.trace)
            # A recording takes the place of another one once all of it is written.
            if folder.exists():
                folder.rename(Path(beside) / "old")
            staging.rename(folder)
    return report


def replay(
    folder: Path,
    alive: str,
    models: tuple[Any, Any],
    data: tuple[Structure, Structure | None],
    options: Options,
) -> ParityReport:
    """Check the side that is alive against the recording of the other one.

    Args:
        folder: Where both were recorded.
        alive: `"keras"` or `"torch"`; the other model is not looked at.
        models: The Keras model and the Torch module, or functions that return them.
        data: Samples and targets; the very ones that were recorded.
        options: Those of `check_parity`.

    Raises:
        GoldenError: The recording cannot be read, or is of something else.
        InputError: As `check_parity` does.
    """
    __tracebackhide__ = True
    file = folder / ("keras.json" if alive == "torch" else "torch.json")
    recording, arrays = read(file)
    dtype = options.dtype or recording.asked.dtype
    model = build_model(alive, models[alive == "torch"], dtype)
    side: Side = KerasSide(model)
    if alive == "torch":
        side = TorchSide(model, options.objective, options.to_torch)
    side.check_dtype(dtype)
    request = options.request(*data, dtype)
    _check_asked(file, recording.asked, request)
    if isinstance(side, TorchSide):
        side.check_objective(request.y)
    threads = load("torch").with_threads(options.threads) if alive == "torch" else None
    with (
        threads or nullcontext(),
        scratch_folder() as scratch,
        reporting(options.progress) as progress,
    ):
        request = replace(request, progress=progress)
        recorded = unpack(recording, arrays, scratch / "recorded")
        if options.weights_from is not None:
            carry(recorded.trace, side, request.x, options.pairs)
        running = partial(observe, side, request, scratch / "alive")
        if alive == "torch":
            starting: Starting = partial(SameStart, recorded.trace, options.pairs)
            return compare_traces(recorded, running(starting, keras=recorded.trace), request)
        started = {key: arrays[member] for key, member in recording.started.items()}
        return compare_traces(running(lambda so_far: again(started)), recorded, request)


def again(started: Arrays) -> Start:
    """Keras' steps start from the weights that the recorded ones of Torch's started from.

    Args:
        started: Name in Keras' trace → array.
    """

    def start(step: int, layers: object) -> Arrays:
        return {} if step == 1 else weights_before(step, started)

    return start


def save(
    folder: Path, name: str, side: Observed, request: Request, started: Trace | None = None
) -> None:
    """Record one side.

    Args:
        folder: Where its two files go.
        name: `"keras"` or `"torch"`.
        side: The side.
        request: What was asked.
        started: Keras' trace, for Torch's side: its steps started from weights there.
    """
    trace = side.trace
    keras: Mapping[str, NDArray[Any]] = started or {}
    keys = {file: key for key, file in trace.files.items()}
    members = {file: str(number) for number, file in enumerate(keys)}
    arrays: Arrays = {members[file]: trace[key] for file, key in keys.items()}
    starts = {key: f"started{number}" for number, key in enumerate(filter(LEFT.match, keras))}
    arrays |= {member: keras[key] for key, member in starts.items()}
    packed = folder / f"{name}.npz"
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    rounding = side.rounding(False) if name == "torch" else {}
    single = side.rounding(True) if name == "torch" and request.dtype == "float64" else {}
    content = {
        "format": _FORMAT,
        "framework": name,
        "asked": msgspec.structs.asdict(_asked(request)),
        "layers": trace.layers,
        "arrays": {key: members[file] for key, file in trace.files.items()},
        "started": starts,
        "training": side.training,
        "operations": list(side.operations),
        "not_compared": list(side.not_compared),
        # A tolerance that is no number allows nothing.
        "rounding": {path: wide for path, wide in rounding.items() if math.isfinite(wide)},
        "single": {path: wide for path, wide in single.items() if math.isfinite(wide)},
        "versions": versions(),
        "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
    }
    sealed = {**content, "seal": _seal(content)}
    write_text(folder / f"{name}.json", json.dumps(sealed, indent=1, allow_nan=False) + "\n")


def _check_asked(file: Path, asked: Asked, request: Request) -> None:
    """Raise `GoldenError` unless the same is asked as when it was recorded."""
    for name, value in msgspec.structs.asdict(_asked(request)).items():
        recorded = getattr(asked, name)
        if recorded != value:
            values = f"{recorded!r} was recorded, {value!r} is asked"
            raise GoldenError(
                f"{file}: {name} differs from when it was recorded "
                f"({'other values' if name in ('x', 'y') else values}): {_AGAIN}."
            )


def unpack(recording: Recording, arrays: Arrays, folder: Path) -> Observed:
    """The side, as `compare_traces` takes it.

    Args:
        recording: What is in its file.
        arrays: Member of the archive → array.
        folder: Where the trace goes.
    """
    writer = TraceWriter(folder)
    for name, member in recording.arrays.items():
        writer(name, arrays[member])
    trace = writer.close([dict(layer) for layer in recording.layers])
    return Observed(
        trace,
        recording.training,
        [dict(operation) for operation in recording.operations],
        recording.not_compared,
        lambda single: recording.single if single else recording.rounding,
        lambda: None,
    )


def read(file: Path) -> tuple[Recording, Arrays]:
    """Read a recorded side, and the archive beside it.

    Args:
        file: `keras.json` or `torch.json`, where it was recorded.

    Raises:
        GoldenError: There is no recording, or it was changed or cut.
    """
    name = file.stem
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        packed = file.with_suffix(".npz").read_bytes()
    except FileNotFoundError as error:
        raise GoldenError(
            f"{file.parent}: no recording of the {name} side there ({Path(error.filename).name} is "
            "missing): record it with --parity-golden record, where both frameworks are installed; "
            "recordings are found by the name that pytest gives the test."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise GoldenError(f"{file}: cannot be read as JSON ({error}): {_AGAIN}.") from error
    seal = content.pop("seal", None) if isinstance(content, dict) else None
    if seal is None or seal != _seal(content):
        raise GoldenError(f"{file}: was changed after it was recorded: {_AGAIN}.")
    if content.get("format") != _FORMAT:
        raise GoldenError(
            f"{file}: expected format {_FORMAT}, received {content.get('format')}: {_AGAIN}."
        )
    recording = schema.convert(content, Recording, str(file), GoldenError, f" Please {_AGAIN}.")
    if recording.framework != name:
        raise GoldenError(
            f"{file}: expected the {name} side, but the file is a recording of the "
            f"{recording.framework} side: put the right file back, or {_AGAIN}."
        )
    return recording, _unpacked(file, packed, recording)


def _unpacked(file: Path, packed: bytes, recording: Recording) -> Arrays:
    """Member → array of the archive beside a recording."""
    archive = file.with_suffix(".npz")
    if hashlib.sha256(packed).hexdigest() != recording.sha256:
        raise GoldenError(
            f"{archive}: was changed or cut after it was recorded (its SHA-256 is another): "
            f"{_AGAIN}."
        )
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as members:
            arrays = {member: members[member] for member in members.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{archive}: cannot be read ({error}).") from error
    if not {*recording.arrays.values(), *recording.started.values()} <= arrays.keys():
        raise GoldenError(f"{archive}: lacks arrays that {file.name} names: {_AGAIN}.")
    return arrays


def _asked(request: Request) -> Asked:
    return Asked(
        x=digest(request.x, "x"),
        y=None if request.y is None else digest(request.targets("keras"), "y"),
        steps=request.options.steps,
        dtype=request.dtype,
        allow=sorted(request.options.allow),
        randomness=request.options.randomness,
    )


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest(structure: Structure, name: str) -> str:
    """SHA-256 over every array's name, dtype, shape and values."""
    sha = hashlib.sha256()
    for leaf, array in leaves(structure, name):
        sha.update(f"{leaf} {array.dtype.str} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
