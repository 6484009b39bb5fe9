"""The tutorial's recurrent network, with or without batch normalization."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm


class LSTMClassifier(nn.Module):
    """An LSTM of 32 units whose last output feeds one logit; see `build_lstm`."""

    def __init__(self, batch_norm: nn.Module | None, *, single_bias: bool = True) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 32, batch_first=True)
        if single_bias:
            # Torch adds two biases where Keras has one; training both doubles its learning rate.
            nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        self.batch_norm = batch_norm
        self.output = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.lstm(x)
        last = outputs[:, -1]
        if self.batch_norm is not None:
            last = self.batch_norm(last)
        return self.output(last)


def build_lstm(
    batch_norm: str | None = None,
    *,
    momentum: float = 1.0 - 0.99,
    eps: float = 1e-3,
    norm_layer: Callable[..., nn.Module] = BiasedBatchNorm,
    single_bias: bool = True,
) -> LSTMClassifier:
    """An LSTM of 32 units whose last output feeds one logit.

    Args:
        batch_norm: None, or `"after"` the LSTM: its last output is normalized.
        momentum: Share of the new batch in the running statistics, in [0, 1]: one minus Keras'.
        eps: Added to the variance.
        norm_layer: The layer to use; `nn.BatchNorm1d` tracks the unbiased variance, Keras does not.
        single_bias: Whether one of Torch's two biases is zero and not trained, as in Keras.

    Shape:
        - Input: (N, 2, 1): time steps, features; one coordinate of the point per step.
        - Output: (N, 1), the logit of the inner circle; its sigmoid is the probability.

    Raises:
        ValueError: `batch_norm` is neither None nor `"after"`.
    """
    if batch_norm not in (None, "after"):
        raise ValueError(f"batch_norm must be None or 'after', not {batch_norm!r}")
    norm = norm_layer(32, eps=eps, momentum=momentum) if batch_norm else None
    return LSTMClassifier(norm, single_bias=single_bias)
