"""What is trained: the ten variants, and the settings of one study.

Names here are the neutral vocabulary of records and reports. A batch normalization's
smoothing is always a **decay**, the share of the old statistics that is kept (Keras'
`momentum`; Torch's is one minus it). Each framework's adapter converts at its border.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from compare.conventions import ALIGNMENTS, check_switches
from compare.errors import InputError, unknown
from compare.schema import convert

View = Literal["vector", "image", "sequence"]
Option = str | float | bool | None

FRAMEWORKS = ("keras", "torch")
DTYPES = ("float32", "float64")
PACES = ("fast", "idiomatic")


@dataclass(frozen=True)
class Variant:
    """One network of the tutorial.

    Attributes:
        name: How it is called everywhere, such as `"mlp-bn-after"`.
        family: Which builder of the twins makes it: `"mlp"`, `"cnn"` or `"lstm"`.
        view: How a point (two coordinates) is shown to the network; see `compare.data.view`.
        title: One line for tables and figures.
        baseline: The same network without batch normalization; None for a baseline.
        options: Keyword arguments of the builder, in the neutral vocabulary.
    """

    name: str
    family: str
    view: View
    title: str
    baseline: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network has a batch normalization layer."""
        return self.options.get("batch_norm") is not None


def _variant(name: str, view: View, title: str, **options: Option) -> Variant:
    family = name.partition("-")[0]
    baseline = family if options else None
    return Variant(name, family, view, title, baseline, MappingProxyType(options))


_TABLE = (
    _variant("mlp", "vector", "Dense 50 relu → Dense 1"),
    _variant("mlp-bn-after", "vector", "Dense 50 relu → BN → Dense 1", batch_norm="after"),
    _variant("mlp-bn-before", "vector", "Dense 50 → BN → relu → Dense 1", batch_norm="before"),
    _variant(
        "mlp-bn-no-affine", "vector", "as after, without γ and β", batch_norm="after", affine=False
    ),
    _variant("mlp-bn-no-momentum", "vector", "as after, decay 0", batch_norm="after", decay=0.0),
    _variant("mlp-bn-input", "vector", "BN → Dense 50 relu → Dense 1", batch_norm="input"),
    _variant("cnn", "image", "Conv 32 relu ×2 → MaxPool → Dense 1"),
    _variant("cnn-bn", "image", "Conv 32 relu ×2 → BN → MaxPool → Dense 1", batch_norm="after"),
    _variant("lstm", "sequence", "LSTM 32 → Dense 1"),
    _variant("lstm-bn", "sequence", "LSTM 32 → BN → Dense 1", batch_norm="after"),
)

VARIANTS: Mapping[str, Variant] = MappingProxyType({v.name: v for v in _TABLE})


@dataclass(frozen=True)
class Run:
    """What is to be trained: one variant, one framework, one seed."""

    variant: str
    framework: str
    seed: int


_LARGEST = sys.float_info.max
MANY = 1_000_000
Count = Annotated[int, Meta(ge=1, le=MANY, description=f"a whole number from 1 to {MANY:,}")]
Points = Annotated[int, Meta(ge=4, le=MANY, description=f"a whole number from 4 to {MANY:,}")]
DataSeed = Annotated[int, Meta(ge=0, lt=2**32, description="a whole number from 0 to 2³² − 1")]
Positive = Annotated[float, Meta(gt=0, le=_LARGEST, description="a positive number")]
NotNegative = Annotated[float, Meta(ge=0, le=_LARGEST, description="a number of at least 0")]
Momentum = Annotated[float, Meta(ge=0, lt=1, description="in [0, 1)")]
Target = Annotated[float, Meta(gt=0, le=1, description="in (0, 1]")]
Margin = Annotated[float, Meta(gt=0, lt=1, description="in (0, 1)")]
RatioBelow = Annotated[float, Meta(gt=0, lt=1, description="a first ratio in (0, 1)")]
RatioAbove = Annotated[float, Meta(gt=1, le=_LARGEST, description="a second ratio above 1")]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides the numbers of a study; checked when it is made.

    Attributes:
        variants: Names from `VARIANTS`, without repeats.
        frameworks: Names from `FRAMEWORKS`, without repeats.
        seeds: Number of seeds; the seeds are 0 … `seeds` − 1.
        epochs: Passes over the training half.
        batch_size: Samples per step; the short last batch is kept.
        learning_rate: Step size of SGD, > 0.
        sgd_momentum: Momentum of SGD, in [0, 1).
        n_samples: Points drawn; the first half trains, the second half tests.
        noise: Standard deviation of the noise on each coordinate.
        data_seed: Seed of the points.
        alignment: A name from `compare.conventions.ALIGNMENTS`.
        undo: Conventions whose remedy is left out, on top of the alignment's.
        dtype: `"float32"` or `"float64"`, of weights, data and arithmetic.
        pace: How a run is executed; see `PACES`.
        target: Test accuracy whose first crossing counts as "converged", in (0, 1].
        threads: Threads that each framework may use; results depend on it.
        accuracy_margin: Difference of test accuracies that counts as none, in (0, 1).
        loss_margin: Difference of test losses that counts as none, in nats, > 0.
        epochs_ratio_margin: Smallest and largest ratio of epochs to the target that counts as
            none; the first in (0, 1), the second above 1.

    Raises:
        InputError: A value is unknown or out of range.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    frameworks: tuple[str, ...] = FRAMEWORKS
    seeds: Count = 1
    epochs: Count = 100
    batch_size: Count = 32
    learning_rate: Positive = 0.01
    sgd_momentum: Momentum = 0.9
    n_samples: Points = 1000
    noise: NotNegative = 0.1
    data_seed: DataSeed = 1
    alignment: str = "exact"
    undo: tuple[str, ...] = ()
    dtype: str = "float32"
    pace: str = "idiomatic"
    target: Target = 0.8
    threads: Count = 1
    accuracy_margin: Margin = 0.01
    loss_margin: Positive = 0.01
    epochs_ratio_margin: tuple[RatioBelow, RatioAbove] = (0.9, 1.1)

    def __post_init__(self) -> None:
        _check_list("variant", self.variants, VARIANTS)
        _check_list("framework", self.frameworks, FRAMEWORKS)
        for kind, name, known in (
            ("alignment", self.alignment, ALIGNMENTS),
            ("dtype", self.dtype, DTYPES),
            ("pace", self.pace, PACES),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        check_switches(self.undo)
        for name, number in _numbers().items():
            _check_option(name, getattr(self, name), number)
        ends = self.epochs_ratio_margin
        if not isinstance(ends, tuple) or len(ends) != 2:
            received = ",".join(map(str, ends)) if isinstance(ends, tuple) else repr(ends)
            raise InputError(
                "--epochs-ratio-margin: expected two ratios such as 0.9,1.1, "
                f"received {received or 'none'}."
            )
        for end, number in zip(ends, (RatioBelow, RatioAbove), strict=True):
            _check_option("epochs_ratio_margin", end, number)
        if self.batch_size == 1 or self.n_train % self.batch_size == 1:
            raise InputError(
                f"batch_size {self.batch_size} would leave a batch of one sample "
                f"({self.n_train} training samples), and Torch's batch normalization refuses one: "
                "choose another --batch-size or --n-samples."
            )

    @property
    def n_train(self) -> int:
        """Number of training samples: the first half."""
        return self.n_samples // 2

    @property
    def undone(self) -> tuple[str, ...]:
        """The conventions whose remedy is off: the alignment's, then `undo`'s; no repeats."""
        return tuple(dict.fromkeys((*ALIGNMENTS[self.alignment], *self.undo)))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings from what `to_dict` made.

        Raises:
            InputError: A key is unknown, or a value cannot be used.
        """
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise unknown("setting", name, cls.__dataclass_fields__)
        return convert(values, cls, "settings")


def _check_list(kind: str, names: tuple[str, ...], known: Iterable[str]) -> None:
    choices = list(known)
    if not names:
        raise InputError(
            f"no {kind} named: expected at least one of {', '.join(choices)} in --{kind}s."
        )
    for name in names:
        if name not in choices:
            raise unknown(kind, name, choices)
    if len(set(names)) < len(names):
        raise InputError(f"--{kind}s names one twice: {', '.join(names)}.")


@cache
def _numbers() -> dict[str, Any]:
    """Setting → the type of its numbers, with their range and how a message names it."""
    kinds = get_type_hints(Settings, include_extras=True)
    return {name: kind for name, kind in kinds.items() if hasattr(kind, "__metadata__")}


def _check_option(name: str, value: object, kind: Any) -> None:
    """Raise, in the words of its type, unless a number has that type and lies in its range."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        option, (limits,) = name.replace("_", "-"), kind.__metadata__
        raise InputError(
            f"--{option}: expected {limits.description}, received {value!r}."
        ) from None
