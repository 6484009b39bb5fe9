"""The tutorial's multilayer perceptron, with batch normalization in one of three places."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from bn_torch.norm import BiasedBatchNorm


def build_mlp(
    batch_norm: str | None = None,
    *,
    affine: bool = True,
    momentum: float = 1.0 - 0.99,
    eps: float = 1e-3,
    units: int = 50,
    norm_layer: Callable[..., nn.Module] = BiasedBatchNorm,
) -> nn.Sequential:
    """A hidden layer of rectified units, 50 in the tutorial, and one logit.

    Batch normalization computes `weight * (x - mean) / sqrt(var + eps) + bias`. In training, mean
    and (biased) variance are those of the batch; in evaluation they are `running_mean` and
    `running_var`, which follow the batches as
    `running = (1 - momentum) * running + momentum * batch`.

    Args:
        batch_norm: Where to normalize: None for nowhere, `"after"` the activation of the hidden
            layer, `"before"` its activation, or the `"input"`.
        affine: Whether the normalization learns a scale (`weight`) and a shift (`bias`).
        momentum: Share of the new batch in the running statistics, in [0, 1]: one minus Keras'.
        eps: Added to the variance.
        units: Width of the hidden layer.
        norm_layer: The layer to use; `nn.BatchNorm1d` tracks the unbiased variance, Keras does not.

    Shape:
        - Input: (N, 2), the two coordinates of a point.
        - Output: (N, 1), the logit of the inner circle; its sigmoid is the probability.

    Raises:
        ValueError: `batch_norm` is none of the above.

    Reference:
        Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167
    """
    if batch_norm not in (None, "after", "before", "input"):
        raise ValueError(
            f"batch_norm must be None, 'after', 'before' or 'input', not {batch_norm!r}"
        )

    def normalization(features: int) -> nn.Module:
        return norm_layer(features, eps=eps, momentum=momentum, affine=affine)

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if batch_norm == "input":
        layers["batch_norm"] = normalization(2)
    layers["hidden"] = nn.Linear(2, units)
    if batch_norm == "before":
        layers["batch_norm"] = normalization(units)
    layers["relu"] = nn.ReLU()
    if batch_norm == "after":
        layers["batch_norm"] = normalization(units)
    layers["output"] = nn.Linear(units, 1)
    return nn.Sequential(layers)
