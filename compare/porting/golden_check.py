"""Parity with a side that was recorded, or while both are recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from compare.porting.check import Options, carry_as_asked
from compare.porting.golden import open_golden, recording, save, staged
from compare.porting.judging import judge, observe
from compare.porting.live import built, check_dtype, live
from compare.porting.report import ParityReport
from compare.porting.sides import KerasSide, Side, TorchSide
from compare.porting.structures import Structure


def record(
    folder: Path,
    models: tuple[Any, Any],
    data: tuple[Structure, Structure | None],
    options: Options,
) -> ParityReport:
    """Check a pair as `check_parity` does, and record both of its sides.

    Args:
        folder: Where the recordings go.
        models: The Keras model and the Torch module, or functions that return them.
        data: Samples and targets.
        options: Those of `check_parity`.

    Raises:
        InputError: As `check_parity` does.
    """
    __tracebackhide__ = True
    pair = live(
        *models,
        data[0],
        dtype=options.dtype,
        objective=options.objective,
        to_torch=options.to_torch,
    )
    options.check_objective(pair.torch.module, data[1])
    request = options.request(pair.x, data[1], pair.dtype)
    carry_as_asked(pair.keras, pair.torch, request)
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        keras, evaluated = recording(observe(pair.keras, request, Path(scratch) / "keras"))
        torch = observe(pair.torch, request, Path(scratch) / "torch")
        report = judge(keras, torch, request)
        with staged(folder) as written:
            save(written, "keras", keras, request, evaluated=evaluated)
            save(written, "torch", torch, request)
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
        GoldenError: The recording cannot be read, or something else is asked.
        InputError: As `check_parity` does.
    """
    __tracebackhide__ = True
    golden = open_golden(folder, "keras" if alive == "torch" else "torch")
    dtype = options.dtype or golden.dtype
    model = built(alive, models[alive == "torch"], dtype)
    check_dtype(alive, model, dtype)
    request = options.request(*data, dtype)
    golden.check_asked(request)
    keras: Side = golden
    torch: Side = golden
    if alive == "torch":
        options.check_objective(model, data[1])
        torch = TorchSide(model, options.objective, options.to_torch)
    else:
        keras = KerasSide(model)
    carry_as_asked(keras, torch, request, to=alive)
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        found = observe(torch if alive == "torch" else keras, request, Path(scratch) / "alive")
        recorded = golden.observed(Path(scratch) / "recorded")
        sides = (recorded, found) if alive == "torch" else (found, recorded)
        return judge(*sides, request)
