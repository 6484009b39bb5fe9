"""Ports of small networks over sequences: recurrent layers, masks, packing, attention, axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn, optim
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from verdicts.optimizers import K, trained
from verdicts.port import Original, Port, fault
from verdicts.training_ports import BOTH

OBJECTIVE = {
    "torch_loss": F.mse_loss,
    "torch_optimizer": lambda p: optim.SGD(trained(p), lr=0.05),
}
MASK, FIRST, BIAS = "mask-zero", "lstm-batch-first", "lstm-single-bias"


def sequence_ports() -> Iterator[Port]:
    """Every one."""
    for ports in (_packed, _averaged, _both_ways, _recurrent, _attention, _normalized):
        yield from ports()


def tokens(rng: np.random.Generator) -> tuple[Any, Any]:
    """Eight rows of at most six tokens, zeros behind them, and two numbers each."""
    x = rng.integers(1, 12, (8, 6))
    for row, length in enumerate((6, 5, 4, 3, 2, 6, 1, 4)):
        x[row, length:] = 0
    return x, rng.normal(size=(8, 2))


def steps(rng: np.random.Generator) -> tuple[Any, Any]:
    """Eight sequences of six steps and six numbers, and two numbers each."""
    return rng.normal(size=(8, 6, 6)), rng.normal(size=(8, 2))


def _model(name: str, inputs: Any, *parts: Callable[[], Any], integers: bool = False) -> Original:
    """A sequence of layers that ends in a dense one."""

    def build() -> keras.Model:
        entered = keras.Input((6,), dtype="int32") if integers else keras.Input((6, 6))
        head = layers.Dense(2, name="head")
        model = keras.Sequential([entered, *(part() for part in parts), head])
        model.compile(K.SGD(0.05), "mse")
        return model

    return Original(name, build, inputs)


def single_bias(recurrent: Any) -> Any:
    """Keras has one bias per gate: the second stays at zero."""
    for name, p in recurrent.named_parameters():
        if name.startswith("bias_hh"):
            nn.init.zeros_(p).requires_grad_(False)
    return recurrent


class Reader(nn.Module):
    """Embedded tokens, an LSTM, and what it makes of the last step.

    Args:
        packed: Whether padding is packed away.
        last: Takes the outputs, the state and the tokens to what goes on.
        bidirectional: Whether the LSTM reads both ways.
        twice: Whether both biases are trained.
    """

    def __init__(
        self,
        *,
        packed: bool = True,
        last: Callable[..., Any] | None = None,
        bidirectional: bool = False,
        twice: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 5)
        self.rnn = nn.LSTM(5, 4, batch_first=True, bidirectional=bidirectional)
        if not twice:
            single_bias(self.rnn)
        self.head = nn.Linear(8 if bidirectional else 4, 2)
        self.packed, self.last = packed, last

    def forward(self, x: torch.Tensor) -> Any:
        z = self.embed(x)
        if self.packed:
            lengths = (x != 0).sum(1).cpu()
            z = nn.utils.rnn.pack_padded_sequence(
                z, lengths, batch_first=True, enforce_sorted=False
            )
        z, (state, _) = self.rnn(z)
        if self.packed:
            z, _ = nn.utils.rnn.pad_packed_sequence(z, batch_first=True, total_length=x.shape[1])
        return self.head(torch.cat([*state], -1) if self.last is None else self.last(z, state, x))


def _last_step(z: torch.Tensor, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return z[:, -1]


def _mean_of_all(z: torch.Tensor, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return z.mean(1)


def _masked_mean(z: torch.Tensor, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    keep = (x != 0).unsqueeze(-1)
    return (z * keep).sum(1) / keep.sum(1)


def _packed() -> Iterator[Port]:
    embedding = partial(layers.Embedding, 12, 5, mask_zero=True, name="embed")
    original = _model(
        "masked LSTM", tokens, embedding, partial(layers.LSTM, 4, name="rnn"), integers=True
    )
    for dtype in BOTH:
        yield Port("packed", original, Reader, objective=OBJECTIVE, dtype=dtype)
    mask = fault("rnn", cause=MASK)
    yield Port("not packed", original, partial(Reader, packed=False), mask, OBJECTIVE)
    span = fault("between rnn and head", also=[MASK])
    behind = partial(Reader, last=_last_step)
    yield Port("the last step, padded or not", original, behind, span, OBJECTIVE)
    biases = fault("rnn", cause=BIAS)
    yield Port("both biases", original, partial(Reader, twice=True), biases, OBJECTIVE)


def _averaged() -> Iterator[Port]:
    embedding = partial(layers.Embedding, 12, 5, mask_zero=True, name="embed")
    both = partial(layers.Bidirectional, name="rnn")
    original = _model(
        "masked mean",
        tokens,
        embedding,
        lambda: both(layers.LSTM(4, return_sequences=True)),
        layers.GlobalAveragePooling1D,
        integers=True,
    )
    reader = partial(Reader, bidirectional=True)
    for dtype in BOTH:
        module = partial(reader, last=_masked_mean)
        yield Port("packed, masked mean", original, module, objective=OBJECTIVE, dtype=dtype)
    module = partial(reader, last=_mean_of_all)
    span = fault("between rnn and head", cause=MASK)
    yield Port("the mean of the padding too", original, module, span, OBJECTIVE)
    module = partial(reader, last=_masked_mean, packed=False)
    yield Port("not packed", original, module, fault("rnn", cause=MASK), OBJECTIVE)


class Steps(nn.Module):
    """A recurrent layer over steps, and what it makes of its outputs and states.

    Args:
        rnn: Makes the layer, of six numbers.
        last: Takes the outputs and the states to what goes on; the last state if it is None.
        first: Whether the batch comes first.
        size: How many numbers go on.
    """

    def __init__(
        self,
        rnn: Callable[..., Any],
        last: Callable[[Any, Any], Any] | None = None,
        *,
        first: bool = True,
        size: int = 4,
    ) -> None:
        super().__init__()
        self.rnn, self.head, self.last = rnn(batch_first=first), nn.Linear(size, 2), last

    def forward(self, x: torch.Tensor) -> Any:
        z, state = self.rnn(x)
        state = state[0] if isinstance(state, tuple) else state
        return self.head(state[-1] if self.last is None else self.last(z, state))


def _lstm(**options: Any) -> nn.Module:
    return single_bias(nn.LSTM(6, 4, **options))


def _gru(**options: Any) -> nn.Module:
    return nn.GRU(6, 4, **options)


def _rnn(nonlinearity: str, **options: Any) -> nn.Module:
    return single_bias(nn.RNN(6, 4, nonlinearity=nonlinearity, **options))


def _both_ways() -> Iterator[Port]:
    original = _model("both ways", steps, lambda: layers.Bidirectional(layers.LSTM(4), name="rnn"))
    both = partial(Steps, partial(_lstm, bidirectional=True), size=8)
    right = partial(both, lambda z, state: torch.cat([state[0], state[1]], -1))
    for dtype in BOTH:
        yield Port("both last states", original, right, objective=OBJECTIVE, dtype=dtype)
    span = fault("between rnn and head", also=["bidirectional-last-step"])
    for name, last in (
        ("the last output", lambda z, state: z[:, -1]),
        ("directions swapped", lambda z, state: torch.cat([state[1], state[0]], -1)),
        ("the mean of the outputs", lambda z, state: z.mean(1)),
    ):
        yield Port(name, original, partial(both, last), span, OBJECTIVE)


def _recurrent() -> Iterator[Port]:
    span = "between rnn and head"
    lstm = _model("LSTM", steps, partial(layers.LSTM, 4, name="rnn"))
    for dtype in BOTH:
        yield Port("as it is", lstm, partial(Steps, _lstm), objective=OBJECTIVE, dtype=dtype)
    for name, module, told in (
        (
            "batch for time",
            partial(Steps, _lstm, lambda z, state: z[:, -1], first=False),
            fault("between the input and rnn", "rnn", cause=FIRST),
        ),
        ("first step", partial(Steps, _lstm, lambda z, state: z[:, 0]), fault(span)),
        ("mean of the steps", partial(Steps, _lstm, lambda z, state: z.mean(1)), fault(span)),
        (
            "both biases",
            partial(Steps, partial(nn.LSTM, 6, 4)),
            fault("rnn", cause=BIAS),
        ),
    ):
        yield Port(name, lstm, module, told, OBJECTIVE)

    hard = _model(
        "LSTM, hard sigmoid",
        steps,
        partial(layers.LSTM, 4, recurrent_activation="hard_sigmoid", name="rnn"),
    )
    yield Port(
        "sigmoid", hard, partial(Steps, _lstm), fault("rnn", also=["hard-sigmoid"]), OBJECTIVE
    )

    gru = _model("GRU", steps, partial(layers.GRU, 4, name="rnn"))
    for dtype in BOTH:
        yield Port("as it is", gru, partial(Steps, _gru), objective=OBJECTIVE, dtype=dtype)

    rnn = _model("SimpleRNN, relu", steps, partial(layers.SimpleRNN, 4, "relu", name="rnn"))
    for dtype in BOTH:
        relu = partial(Steps, partial(_rnn, "relu"))
        yield Port("relu", rnn, relu, objective=OBJECTIVE, dtype=dtype)
    yield Port("tanh", rnn, partial(Steps, partial(_rnn, "tanh")), fault("rnn"), OBJECTIVE)


class Attending(nn.Module):
    """Attention over the steps, and their mean.

    Args:
        attention: Takes the layer and the steps to what it returns.
        heads: Number of heads.
    """

    def __init__(self, attention: Callable[[Any, Any], Any], heads: int = 2) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, heads, batch_first=True)
        self.head, self.attend = nn.Linear(6, 2), attention

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.attend(self.attention, x).mean(1))


def _attended(attention: Any, x: torch.Tensor, mask: Any = None, **options: Any) -> Any:
    return attention(x, x, x, attn_mask=mask, need_weights=False, **options)[0]


def _causal(size: int, *, later: bool) -> torch.Tensor:
    """Torch leaves out what is True: the later steps, or the earlier ones."""
    ones = torch.ones(size, size, dtype=torch.bool)
    return torch.triu(ones, 1) if later else torch.tril(ones, -1)


def _attention() -> Iterator[Port]:
    class Attention(layers.Layer):
        def __init__(self, *, causal: bool, **options: Any) -> None:
            super().__init__(**options)
            self.attention = layers.MultiHeadAttention(2, 3, name="attention")
            self.causal = causal

        def build(self, shape: Any) -> None:
            self.attention.build(shape, shape)

        def call(self, x: Any) -> Any:
            return self.attention(x, x, use_causal_mask=self.causal)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    place = ("block/attention", "between block/attention and head")
    for causal in (False, True):
        block = partial(Attention, causal=causal, name="block")
        name = "causal attention" if causal else "attention"
        original = _model(name, steps, block, layers.GlobalAveragePooling1D)
        mask = _causal(6, later=True) if causal else None
        right = partial(Attending, partial(_attended, mask=mask))
        for dtype in BOTH:
            yield Port("as it is", original, right, objective=OBJECTIVE, dtype=dtype)
        other = partial(_attended, mask=_causal(6, later=not causal))
        told = fault(*place, also=["attention-mask"])
        yield Port("another mask", original, partial(Attending, other), told, OBJECTIVE)
        if causal:
            unmasked = partial(Attending, _attended)
            yield Port("no mask", original, unmasked, told, OBJECTIVE)
        residual = partial(Attending, lambda a, x, mask=mask: x + _attended(a, x, mask))
        span = fault("between block/attention and head")
        yield Port("a residual too many", original, residual, span, OBJECTIVE)
        swapped = partial(
            Attending, lambda a, x, mask=mask: _attended(a, x.transpose(0, 1)[:6], mask)[:6]
        )
        told = fault("between the input and block/attention", also=[FIRST])
        yield Port("batch for time", original, swapped, told, OBJECTIVE)


class Normalized(nn.Module):
    """A convolution over the steps, a batch norm, and the mean over the steps."""

    def __init__(self, *, axis: str = "channels") -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(6, 6, 1), nn.Linear(6, 2)
        self.norm, self.axis = BiasedBatchNorm(6, eps=1e-3, momentum=1.0 - 0.99), axis

    def forward(self, x: torch.Tensor) -> Any:
        x = self.conv(x)
        if self.axis == "channels":
            return self.head(self.norm(x).mean(-1))
        return self.head(self.norm(x.transpose(1, 2)).mean(1))


def _normalized() -> Iterator[Port]:
    conv = partial(layers.Conv1D, 6, 1, name="conv")
    norm = partial(layers.BatchNormalization, name="norm")
    original = _model("batch norm in time", steps, conv, norm, layers.GlobalAveragePooling1D)
    for dtype in BOTH:
        yield Port("over the steps", original, Normalized, objective=OBJECTIVE, dtype=dtype)
    told = fault("norm", "between conv and norm", cause="bn-axis")
    yield Port("over the channels", original, partial(Normalized, axis="time"), told, OBJECTIVE)
