"""Right ports of the pairs of `tests/pairs`, as they are and with every optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pairs
import torch
from torch import nn

from bn_torch import BiasedBatchNorm
from verdicts.optimizers import OPTIMIZERS, with_optimizer
from verdicts.port import Port
from verdicts.wrong import original

KINDS = (
    "SGD, momentum",
    "SGD, Nesterov",
    "Adam",
    "AdamW, kernels alone decay",
    "RMSprop",
    "Adamax",
    "Nadam",
    "Adagrad",
    "Adadelta",
)
"""Optimizers that every pair is trained by; the others are on the perceptron alone."""

IN_FLOAT32 = ("SGD, Nesterov", "Adam", "RMSprop")
"""Optimizers that the pairs have in float32 too."""

NORMS = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
"""Axes of the samples → Torch's own batch norm."""


def right_ports() -> Iterator[Port]:
    """Every one."""
    for name, pair in pairs.discover().items():
        for dtype in ("float64", "float32"):
            yield Port(
                "as it is",
                original(name),
                pair.build_torch,
                objective=getattr(pair, "OBJECTIVE", {}),
                dtype=dtype,
            )
            if any(isinstance(m, BiasedBatchNorm) for m in pair.build_torch().modules()):
                yield _stock(name, pair, dtype)
        for kind in KINDS:
            trained = with_optimizer(original(name), pair, kind, OPTIMIZERS[kind])
            keras_side, build, objective = trained
            for dtype in ("float64", "float32") if kind in IN_FLOAT32 else ("float64",):
                yield Port("as it is", keras_side, build, objective=objective, dtype=dtype)


def _stock(name: str, pair: ModuleType, dtype: str) -> Port:
    return Port(
        "stock batch norms, allowed",
        original(name),
        _with_stock_norms(pair.build_torch, 5 if name == "volume" else 4),
        objective=getattr(pair, "OBJECTIVE", {}),
        allow=("bn-biased-variance",),
        dtype=dtype,
    )


def _with_stock_norms(build: Callable[[], nn.Module], axes: int) -> Callable[[], nn.Module]:
    """What builds a module with Torch's own batch norms in the place of the biased ones."""

    def built() -> nn.Module:
        module = build()
        for path, norm in list(module.named_modules()):
            if isinstance(norm, BiasedBatchNorm):
                stock = NORMS[axes](norm.num_features, norm.eps, norm.momentum)
                for tensor in ("weight", "bias"):
                    if getattr(norm, tensor) is None:
                        setattr(stock, tensor, None)
                module.set_submodule(path, stock.to(torch.get_default_dtype()))
        return module

    return built
