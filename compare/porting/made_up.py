"""Samples and targets that are made up for a pair, where a user has none at hand."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from compare.backends import protocol
from compare.errors import InputError, unknown
from compare.porting.sides import KerasSide, usable
from compare.porting.structures import Structure, map_leaves

TARGETS = ("none", "normal", "binary", "classes:N")


def shapes(texts: Sequence[str]) -> Structure | None:
    """The shape of one sample, as it is written: `28,28,1`, or `name=28,28,1`.

    Args:
        texts: One per input; all named or none.

    Returns:
        A shape, a tuple of them, or a dict of them; None where there are no texts.

    Raises:
        InputError: It cannot be read.
    """
    named = {name: _shape(text) for name, _, text in map(_parted, texts)}
    if not texts:
        return None
    if "" not in named:
        if len(named) < len(texts):
            raise InputError("--input-shape: expected every input once.")
        return named
    if set(named) != {""}:
        raise InputError("--input-shape: expected a name for every input, or for none.")
    found = [_shape(text) for text in texts]
    return found[0] if len(found) == 1 else found


def _parted(text: str) -> tuple[str, str, str]:
    name, equals, rest = text.rpartition("=")
    return name.strip(), equals, rest


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(
            f"--input-shape: expected the shape of one sample, such as 28,28,1, received {text!r}."
        )
    return tuple(map(int, parts))


def samples_of(shape: Structure, count: int, seed: int) -> Structure:
    """Standard normal samples of given shapes.

    Args:
        shape: What `shapes` returns.
        count: How many samples.
        seed: Of the numbers.
    """
    rng = np.random.default_rng(seed)
    if isinstance(shape, dict):
        return {name: rng.normal(size=(count, *one)) for name, one in shape.items()}
    if isinstance(shape, list):
        return tuple(rng.normal(size=(count, *one)) for one in shape)
    return rng.normal(size=(count, *shape))


def samples_for(model: Any, count: int, seed: int) -> Structure:
    """Samples of the shapes that a built Keras model takes; whole numbers for embeddings.

    Raises:
        InputError: Its inputs are unknown.
    """
    with usable():
        return cast(Any, protocol.load("keras")).sample_input(model, count, seed)


def check_targets(kind: str) -> None:
    """Raise `InputError` unless targets of this kind can be made up."""
    if kind not in TARGETS[:-1] and not re.fullmatch(r"classes:[1-9]\d*", kind):
        raise unknown("kind of targets", kind, TARGETS)


def targets_for(model: Any, x: Structure, kind: str, seed: int) -> Structure | None:
    """Targets of the shape of a Keras model's output.

    Args:
        model: A built Keras model.
        x: Samples.
        kind: `none`, `normal`, `binary` (0 and 1), or `classes:10` (whole numbers below 10, without
            the last axis).
        seed: Of the numbers.

    Raises:
        InputError: The model cannot be run on the samples.
    """
    if kind == "none":
        return None
    rng = np.random.default_rng([seed, 1])

    def drawn(output: Any) -> Any:
        if kind == "normal":
            return rng.normal(size=output.shape)
        if kind == "binary":
            return rng.integers(0, 2, output.shape).astype(np.float64)
        return rng.integers(0, int(kind.partition(":")[2]), output.shape[:-1])

    return map_leaves(drawn, _output(model, x))


def _output(model: Any, x: Structure) -> Structure:
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        trace = KerasSide(model).trace([(x, None)], Path(scratch) / "keras")
        found = {
            name.partition("/")[2]: np.array(trace[name])
            for name in trace
            if name == "prediction" or name.startswith("prediction/")
        }
    if "" in found:
        return found[""]
    ordered = all(name.isdigit() for name in found)
    return tuple(found.values()) if ordered else found
