"""The tutorial's convolutional network, with or without batch normalization."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm


class FlattenChannelsLast(nn.Module):
    """Flatten (N, C, H, W) to (N, H·W·C), the order in which Keras flattens.

    `nn.Flatten` yields C·H·W: a dense kernel copied from Keras would then meet the wrong inputs.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def build_cnn(
    batch_norm: str | None = None,
    *,
    momentum: float = 1.0 - 0.99,
    eps: float = 1e-3,
    norm_layer: Callable[..., nn.Module] = BiasedBatchNorm,
    flatten_layer: Callable[[], nn.Module] = FlattenChannelsLast,
) -> nn.Sequential:
    """Two convolutions of 32 filters, max pooling and one logit.

    Args:
        batch_norm: None, or `"after"` the second convolution's activation. Statistics are taken
            per channel, over the batch and both spatial axes.
        momentum: Share of the new batch in the running statistics, in [0, 1]: one minus Keras'.
        eps: Added to the variance.
        norm_layer: The layer to use; `nn.BatchNorm2d` tracks the unbiased variance, Keras does not.
        flatten_layer: The layer to use; `nn.Flatten` where no dense kernel comes from Keras.

    Shape:
        - Input: (N, 1, 8, 8): channel, height, width.
        - Output: (N, 1), the logit of the inner circle; its sigmoid is the probability.

    Raises:
        ValueError: `batch_norm` is neither None nor `"after"`.
    """
    if batch_norm not in (None, "after"):
        raise ValueError(f"batch_norm must be None or 'after', not {batch_norm!r}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(1, 32, 3)
    layers["relu1"] = nn.ReLU()
    layers["conv2"] = nn.Conv2d(32, 32, 3)
    layers["relu2"] = nn.ReLU()
    if batch_norm:
        layers["batch_norm"] = norm_layer(32, eps=eps, momentum=momentum)
    layers["max_pool"] = nn.MaxPool2d(2)
    layers["flatten"] = flatten_layer()
    layers["output"] = nn.Linear(2 * 2 * 32, 1)
    return nn.Sequential(layers)
