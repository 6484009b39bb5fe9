"""The catalogue of conventions: every known difference between Keras and Torch, once.

A convention's **remedy** is what makes both sides agree. By default every remedy is on. An
**alignment** is a named set of remedies left out; any single one can be left out by name
(`--undo NAME`), which is how its effect is measured and its detection tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from compare.errors import unknown


@dataclass(frozen=True)
class Convention:
    """One difference between the frameworks.

    Attributes:
        name: How it is called in options, records and reports.
        keras: What Keras does.
        torch: What Torch or Lightning does when nobody intervenes.
        remedy: What the twins do so that both agree.
        source: Where the behaviour is written down.
    """

    name: str
    keras: str
    torch: str
    remedy: str
    source: str


_CATALOGUE = (
    Convention(
        name="bn-momentum",
        keras="momentum is the share of the old statistics that is kept; default 0.99",
        torch="momentum is the share of the new batch that is taken; default 0.1",
        remedy="torch momentum = 1.0 - keras momentum, written so, which is exact to the bit",
        source="keras layers/normalization/batch_normalization.py; torch nn/modules/batchnorm.py",
    ),
    Convention(
        name="bn-epsilon",
        keras="epsilon 1e-3 is added to the variance",
        torch="eps 1e-5 is added to the variance",
        remedy="pass eps=1e-3 to Torch",
        source="keras layers/normalization/batch_normalization.py; torch nn/modules/batchnorm.py",
    ),
    Convention(
        name="bn-biased-variance",
        keras="the tracked variance is the biased one (÷ n), like the one normalized with",
        torch="normalizes with the biased variance, tracks the unbiased one (÷ n − 1)",
        remedy="bn_torch.BiasedBatchNorm tracks the biased variance",
        source="keras backend/tensorflow/nn.py; aten/src/ATen/native/Normalization.cpp",
    ),
    Convention(
        name="flatten-order",
        keras="channels come last: Flatten yields height, width, channel",
        torch="channels come first: Flatten yields channel, height, width",
        remedy="permute to channels last before flattening",
        source="keras layers/reshaping/flatten.py; torch nn/modules/flatten.py",
    ),
    Convention(
        name="lstm-single-bias",
        keras="one bias per gate",
        torch="two biases per gate, both trained: their sum moves at twice the rate",
        remedy="bias_ih carries the bias; bias_hh is zero and not trained",
        source="keras layers/rnn/lstm.py; torch nn/modules/rnn.py",
    ),
    Convention(
        name="lstm-forget-bias",
        keras="the forget gate's bias starts at 1 (unit_forget_bias)",
        torch="the forget gate's bias starts like every other",
        remedy="start the forget gate's bias at 1",
        source="keras layers/rnn/lstm.py; torch nn/modules/rnn.py",
    ),
    Convention(
        name="initializers",
        keras="glorot_uniform kernels and zero biases, he_uniform where the tutorial says so",
        torch="kaiming_uniform(a=√5) kernels and uniform biases",
        remedy="both start from the same weights, drawn in NumPy",
        source="keras initializers/random_initializers.py; torch nn/modules/linear.py",
    ),
    Convention(
        name="batch-order",
        keras="fit(shuffle=True) draws from TensorFlow's generator",
        torch="DataLoader(shuffle=True) draws from Torch's generator",
        remedy="both follow one plan of batches, drawn in NumPy",
        source="keras trainers/data_adapters/array_data_adapter.py; torch utils/data/sampler.py",
    ),
    Convention(
        name="sgd-momentum-float32",
        keras="a Python float momentum is rounded to float32, in float64 training too",
        torch="momentum is used as the double it is",
        remedy="pass Keras momentum=np.float64(0.9)",
        source="keras optimizers/sgd.py; tensorflow/python/ops/math_ops.py",
    ),
)

CONVENTIONS: Mapping[str, Convention] = MappingProxyType({c.name: c for c in _CATALOGUE})

ALIGNMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "exact": (),
        "stock": ("bn-biased-variance",),
        "naive": (
            "bn-momentum",
            "bn-epsilon",
            "bn-biased-variance",
            "flatten-order",
            "lstm-single-bias",
            "lstm-forget-bias",
            "initializers",
            "batch-order",
            "sgd-momentum-float32",
        ),
    }
)
"""Alignment name → the conventions whose remedy is left out."""


def check_names(names: Iterable[str]) -> None:
    """Raise `InputError`, with the near match, if a name is not in the catalogue."""
    for name in names:
        if name not in CONVENTIONS:
            raise unknown("convention", name, CONVENTIONS)
