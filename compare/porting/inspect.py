"""What is wrong with a pair, as far as it can be told before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.parity.report import Finding
from compare.porting.inspect_settings import image_sizes, inspect_layers, inspect_training
from compare.porting.matching import match, unpaired
from compare.porting.models import build_pair, first_samples
from compare.porting.options import Options
from compare.porting.structures import Structure


@dataclass(frozen=True)
class Inspection:
    """What inspecting a pair tells.

    Attributes:
        findings: Settings in which the two sides differ, in the order in which layers run.
        alone: Layers without a partner on the other side, in words.
    """

    findings: tuple[Finding, ...]
    alone: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [*self.alone, *map(str, self.findings)]
        if not lines:
            return "Nothing differs that inspection can see; compare.check_parity runs both."
        return "\n".join(lines)


def inspect_pair(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None = None,
    *,
    torch_loss: Callable[[Any, Any], Any] | None = None,
    torch_optimizer: Callable[[Any], Any] | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
) -> Inspection:
    """Compare how two models are set: epsilons, decays, paddings, biases, optimizers, losses.

    Nothing is trained. A finding is no verdict: something else may make up for it; the ladder of
    `compare.check_parity` decides.

    Args:
        keras_model: As in `compare.check_parity`.
        torch_module: As in `compare.check_parity`.
        x: Some samples in Keras' layout; None to make some up from the Keras model's inputs.
        torch_loss: As in `compare.check_parity`.
        torch_optimizer: As in `compare.check_parity`.
        pairs: As in `compare.check_parity`.
        to_torch: As in `compare.check_parity`.

    Raises:
        InputError: A model cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    options = Options(
        torch_loss=torch_loss, torch_optimizer=torch_optimizer, pairs=pairs, to_torch=to_torch
    )
    pair = build_pair(keras_model, torch_module, x, options)
    batches = [(first_samples(pair.x), None)]
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        keras = pair.keras.trace(batches, Path(scratch) / "keras")
        torch = pair.torch.trace(batches, Path(scratch) / "torch")
        sizes = image_sizes(keras)
    partners = match(keras.layers, torch.layers, pairs)
    alone = [
        f"{layer['name']} ({layer['kind']}) in {side} has no partner"
        for side, _, layer in unpaired(keras.layers, torch.layers, partners)
    ]
    findings = (
        *inspect_layers(partners, sizes),
        *inspect_training(pair.keras.training(), pair.torch.training()),
    )
    return Inspection(findings, tuple(alone))
