"""Wrong ports of what reads tokens and series."""

import keras
import numpy as np
import torch
from keras import layers as K
from torch import nn

import compare
from bn_torch import BiasedBatchNorm
from wrong_ports.wrong import RNG, Wrong, as_keywords, compiled, done, sgd, value

TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]] * 2)
SERIES = RNG(0).normal(size=(8, 5, 3))
AS_THEY_ARE = {"weights_from": None}


def tokens(**options):
    return lambda: compiled(
        K.Embedding(5, 3, name="tokens", **options),
        K.LSTM(4, name="rnn"),
        K.Dense(2, name="head"),
        size=(4,),
        dtype="int32",
    )


def single_bias(rnn):
    rnn.bias_hh_l0.requires_grad_(False).zero_()
    return rnn


class Reader(nn.Module):
    """Tokens, a recurrent layer, two outputs."""

    def __init__(self, read=lambda x, tokens: x, biases=single_bias, **options):
        super().__init__()
        self.tokens = nn.Embedding(5, 3, **options)
        self.rnn, self.read = nn.LSTM(3, 4, batch_first=True), read
        biases(self.rnn)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(self.read(self.tokens(x), x))[1][0][-1])


class BothWays(nn.Module):
    def __init__(self, taken=lambda output, h: output[:, -1]):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.head, self.taken = nn.Linear(8, 2), taken

    def forward(self, x):
        return self.head(self.taken(*self.rnn(x)))


class Averaged(nn.Module):
    """The mean of the steps of a recurrent layer, two outputs."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


def averaged(rnn):
    return lambda: compiled(
        rnn(4, return_sequences=True, name="rnn"),
        K.GlobalAveragePooling1D(),
        K.Dense(2, name="head"),
        size=(5, 3),
    )


def without_forget_bias(model, module):
    compare.port_weights(model, module, x=TOKENS)
    module.rnn.bias_ih_l0.chunk(4)[1].zero_()


def keras_gates(model, module):
    """A GRU whose gates are in Keras' order: update before reset."""
    compare.port_weights(model, module, x=SERIES)
    for weight in module.rnn.parameters():
        reset, update, new = weight.clone().chunk(3)
        weight.copy_(torch.cat([update, reset, new]))


def loaded_then(load, change):
    """Loaded as in the wrong port, then changed by the code of the remedy."""

    def remedied(code):
        def loaded(model, module):
            load(model, module)
            change(code, module.rnn)

        return {"load": loaded}

    return remedied


def in_every_weight(code, rnn):
    for weight in rnn.parameters():
        done(code, weight=weight)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def attention():
    x = keras.Input((3, 4))
    seen = K.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(x, K.Dense(2, name="head")(keras.ops.mean(seen, axis=1)))
    model.compile(sgd(), "mse")
    return model


class Normalized(nn.Module):
    """Five numbers in each of five steps, normalized; the mean of the steps, two outputs."""

    def __init__(self, swapped=lambda x: x):
        super().__init__()
        self.widen, self.head, self.swapped = nn.Linear(3, 5), nn.Linear(5, 2), swapped
        self.norm = BiasedBatchNorm(5, eps=1e-3, momentum=1.0 - 0.99)

    def forward(self, x):
        return self.head(self.swapped(self.norm(self.swapped(self.widen(x)))).mean(1))


def normalized():
    return compiled(
        K.Dense(5, name="widen"),
        K.BatchNormalization(name="norm"),
        K.GlobalAveragePooling1D(),
        K.Dense(2, name="head"),
        size=(5, 3),
    )


SEQUENCES = {
    "bn-axis": Wrong(
        normalized,
        Normalized,
        SERIES,
        remedied=lambda code: {"module": lambda: Normalized(lambda x: value(code, x=x))},
    ),
    "mask-zero": Wrong(
        tokens(mask_zero=True),
        Reader,
        TOKENS,
        remedied=lambda code: {
            "module": lambda: Reader(lambda x, tokens: value(code, x=x, tokens=tokens))
        },
    ),
    "padding-idx": as_keywords(tokens(), Reader, {"padding_idx": 0}, TOKENS),
    "lstm-forget-bias": Wrong(
        tokens(),
        Reader,
        TOKENS,
        options=AS_THEY_ARE,
        load=without_forget_bias,
        remedied=loaded_then(without_forget_bias, lambda code, rnn: done(code, rnn=rnn)),
    ),
    "lstm-batch-first": as_keywords(
        averaged(K.LSTM), lambda **o: Averaged(single_bias(nn.LSTM(3, 4, **o))), {}, SERIES
    ),
    "gru-gate-order": Wrong(
        averaged(K.GRU),
        lambda: Averaged(nn.GRU(3, 4, batch_first=True)),
        SERIES,
        options=AS_THEY_ARE,
        load=keras_gates,
        remedied=loaded_then(keras_gates, in_every_weight),
    ),
    "lstm-single-bias": Wrong(
        tokens(),
        lambda: Reader(biases=lambda rnn: None),
        TOKENS,
        remedied=lambda code: {
            "module": lambda: Reader(biases=lambda rnn: done(code, rnn=rnn)),
        },
    ),
    "bidirectional-last-step": Wrong(
        lambda: compiled(
            K.Bidirectional(K.GRU(4), name="rnn"), K.Dense(2, name="head"), size=(5, 3)
        ),
        BothWays,
        SERIES,
        remedied=lambda code: {
            "module": lambda: BothWays(lambda output, h: value(code, h=h)),
        },
    ),
    "attention-key-dim": Wrong(
        attention,
        Attention,
        RNG(0).normal(size=(8, 3, 4)),
        # Heads of another size cannot be carried over.
        options={"weights_from": None},
    ),
}
