"""Compare how two models are set: some differences show before anything is computed.

The settings are those that `describe` and a trace carry along, in Keras' conventions. A finding is
no verdict: a setting may differ and something else make up for it. The ladder decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compare.backends.structures import Structure
from compare.parity.findings import Finding, grouped, sentence
from compare.parity.randomness import inspect_draws
from compare.parity.stretches import stretches
from compare.porting.matching import Partners, match, partners, unpaired
from compare.porting.models import build_pair, first_samples
from compare.porting.options import Options
from compare.porting.randomness import shared_trace
from compare.porting.remedies import numbers_of
from compare.porting.setting_rules import (
    EXACT,
    GEOMETRY,
    NEUTRAL,
    NO_DIFFERENCE,
    OF_LAYERS,
    OF_LOSSES,
    OF_OPERATIONS,
    OF_OPTIMIZERS,
    Rule,
    biases,
    convention,
    neutral,
)
from compare.scratch import scratch_folder
from compare.trace import Operation, Trace

Settings = Mapping[str, Any]

SINGLE = 1e-6
"""Two settings are equal within this of their size: float32 holds a learning rate rounded."""


@dataclass(frozen=True)
class Inspection:
    """What inspecting a pair tells.

    Attributes:
        findings: Settings in which the two sides differ, in the order in which layers run.
        alone: Layers without a partner on the other side, in words.
        not_compared: What a side has that no check looks at, in words.
    """

    findings: tuple[Finding, ...]
    alone: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [*self.alone, *map(sentence, grouped(self.findings))]
        lines = lines or [
            "Nothing differs that inspection can see; compare.check_parity runs both."
        ]
        beside = [f"Not compared: {'; '.join(self.not_compared)}."] if self.not_compared else []
        return "\n".join([*lines, *beside])


def inspect_pair(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None = None,
    *,
    torch_loss: Callable[..., Any] | None = None,
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
        x: Some samples in Keras' layout; None for synthetic ones of the Keras model's input shapes.
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
    few = first_samples(pair.x)
    batches = [(few, None)]
    with scratch_folder() as scratch:
        keras = shared_trace(pair.keras, batches, scratch / "keras")
        torch = shared_trace(pair.torch, batches, scratch / "torch", keras)
        sizes = image_sizes(keras)
        pairing = match(keras.layers, torch.layers, pairs)
        draws = inspect_draws(keras, torch, partners(pairing))
    alone = [
        f"{layer['name']} ({layer['kind']}) in {side} has no partner"
        for side, _, layer in unpaired(keras.layers, torch.layers, pairing)
    ]
    findings = (
        *inspect_layers(pairing, sizes),
        *inspect_operations(
            pair.keras.operations(few), pair.torch.operations(few), partners(pairing)
        ),
        *draws,
        *inspect_training(pair.keras.training(), pair.torch.training()),
    )
    beside = (*pair.keras.not_compared(), *pair.torch.not_compared())
    return Inspection(findings, tuple(alone), beside)


def inspect_layers(pairs: Iterable[Partners], sizes: Mapping[str, Sequence[int]]) -> list[Finding]:
    """What the settings of partners tell, in the order in which layers run.

    Args:
        pairs: Partners, each layer with its `settings`.
        sizes: Keras layer → the size of the images that it receives, as in `image_sizes`. Where it
            is not known, a padding that is right for some sizes is no finding.
    """
    return [finding for pair in pairs for finding in _of_partners(pair, sizes)]


def _of_partners(pair: Partners, sizes: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    name, kind = pair.keras["name"], pair.keras["kind"]
    keras, torch = (dict(side.get("settings", {})) for side in (pair.keras, pair.torch))
    kernels = [side["tensors"].get("kernel", ()) for side in (pair.keras, pair.torch)]
    if len(kernels[0]) != len(kernels[1]):
        # One works on images, the other on series: the shapes tell.
        keras = {setting: keras[setting] for setting in keras if setting not in GEOMETRY}
    if kind == "embedding":
        # A row that is not trained, and steps that are left out, are two ways to pad.
        keras.setdefault("padding_idx", None)
        torch.setdefault("mask_zero", False)
        if keras.get("mask_zero") and torch.get("padding_idx") is not None:
            del keras["padding_idx"], keras["mask_zero"]
    keras |= {"kernel_size": kernels[0][:-2], "image_size": sizes.get(name)}
    yield from _differing(name, keras, torch, {"trained_biases": biases, **OF_LAYERS.get(kind, {})})
    yield from _shapes(pair)


def _shapes(pair: Partners) -> Iterator[Finding]:
    """Tensors that one side has alone, and widths."""
    name, keras, torch = pair.keras["name"], pair.keras["tensors"], pair.torch["tensors"]
    if keras.keys() != torch.keys():
        sides = {"tensors": list(keras)}, {"tensors": list(torch)}
        yield from _differing(name, *sides, OF_LAYERS.get(pair.keras["kind"], {}))
    for tensor in (t for t in keras if t in torch and list(keras[t]) != list(torch[t])):
        yield Finding(name, f"shape of {tensor}", list(keras[tensor]), list(torch[tensor]))


def inspect_operations(
    keras: Sequence[Operation], torch: Sequence[Operation], partners: Mapping[str, str]
) -> list[Finding]:
    """What the settings of layers without weights tell.

    Two are partners if they are of a kind, and each the only one of it between the same two layers
    with weights.

    Args:
        keras: All that runs in Keras, in order.
        torch: All that runs in Torch, in order.
        partners: Torch's name of a layer with weights → Keras'.
    """
    ours, theirs = stretches(keras), stretches(torch, partners)
    findings: list[Finding] = []
    for place, stretch in ours.items():
        for operation in stretch:
            mine = _only(stretch, operation["kind"])
            other = _only(theirs.get(place, []), operation["kind"])
            if mine and other:
                rules = OF_OPERATIONS.get(operation["kind"], {})
                sides = operation["settings"], other["settings"]
                findings += _differing(operation["name"], *sides, rules)
    return findings


def _only(stretch: Sequence[Operation], kind: str) -> Operation | None:
    fitting = [operation for operation in stretch if operation["kind"] == kind]
    return fitting[0] if len(fitting) == 1 else None


def inspect_training(keras: Settings, torch: Settings) -> list[Finding]:
    """What the two sides' losses and optimizers tell.

    Args:
        keras: `optimizer` and `loss`, each a mapping of settings, None or left out where unknown.
        torch: The same of the other side.
    """
    parts = (("loss", OF_LOSSES), ("optimizer", OF_OPTIMIZERS))
    return [
        finding
        for part, rules in parts
        # Where one side is not known at all, nothing of the other has a counterpart.
        if keras.get(part) and torch.get(part)
        for finding in _differing(part, keras[part], torch[part], rules)
    ]


def image_sizes(keras: Trace) -> dict[str, tuple[int, ...]]:
    """Layer → the shape of its input in Keras' trace without samples and channels."""
    keys = {layer["name"]: f"training/{layer['name']}/input" for layer in keras.layers}
    return {name: keras[key].shape[1:-1] for name, key in keys.items() if key in keras}


def _differing(
    name: str, keras: Settings, torch: Settings, rules: Mapping[str, Rule]
) -> Iterator[Finding]:
    """Settings that both have, or one alone whose absence is known to mean something."""
    for setting in dict.fromkeys((*keras, *torch)):
        if not neutral(setting) and not (setting in keras and setting in torch):
            continue
        k, t = (side.get(setting, NEUTRAL.get(setting)) for side in (keras, torch))
        if _equal(k, t):
            continue
        rule = convention(setting, rules)
        sides = {**keras, setting: k}, {**torch, setting: t}
        explained = rule(*sides) if callable(rule) else rule
        if explained != NO_DIFFERENCE:
            yield Finding(name, setting, k, t, explained, numbers_of(explained, setting, sides))


def _equal(keras: Any, torch: Any) -> bool:
    numbers = (int, float)
    if isinstance(keras, numbers) and isinstance(torch, numbers):
        return math.isclose(keras, torch, rel_tol=SINGLE, abs_tol=EXACT)
    if isinstance(keras, Mapping) and isinstance(torch, Mapping):
        return True  # Two schedules: their names differ between the frameworks.
    return bool(keras == torch)
