"""What is trained: the ten variants, and the settings of one study.

Names here are the neutral vocabulary of records and reports. A batch normalization's
smoothing is always a **decay**, the share of the old statistics that is kept (Keras'
`momentum`; Torch's is one minus it). Each framework's adapter converts at its border.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from compare.conventions import ALIGNMENTS, check_switches
from compare.errors import InputError, unknown

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


def _variants() -> dict[str, Variant]:
    def mlp(name: str, title: str, **options: Option) -> Variant:
        return Variant(name, "mlp", "vector", title, "mlp", MappingProxyType(options))

    table = [
        Variant("mlp", "mlp", "vector", "Dense 50 relu → Dense 1"),
        mlp("mlp-bn-after", "Dense 50 relu → BN → Dense 1", batch_norm="after"),
        mlp("mlp-bn-before", "Dense 50 → BN → relu → Dense 1", batch_norm="before"),
        mlp("mlp-bn-no-affine", "as after, without γ and β", batch_norm="after", affine=False),
        mlp("mlp-bn-no-momentum", "as after, decay 0", batch_norm="after", decay=0.0),
        mlp("mlp-bn-input", "BN → Dense 50 relu → Dense 1", batch_norm="input"),
        Variant("cnn", "cnn", "image", "Conv 32 relu ×2 → MaxPool → Dense 1"),
        Variant(
            "cnn-bn",
            "cnn",
            "image",
            "Conv 32 relu ×2 → BN → MaxPool → Dense 1",
            "cnn",
            MappingProxyType({"batch_norm": "after"}),
        ),
        Variant("lstm", "lstm", "sequence", "LSTM 32 → Dense 1"),
        Variant(
            "lstm-bn",
            "lstm",
            "sequence",
            "LSTM 32 → BN → Dense 1",
            "lstm",
            MappingProxyType({"batch_norm": "after"}),
        ),
    ]
    return {variant.name: variant for variant in table}


VARIANTS: Mapping[str, Variant] = MappingProxyType(_variants())


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
    seeds: int = 1
    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 0.01
    sgd_momentum: float = 0.9
    n_samples: int = 1000
    noise: float = 0.1
    data_seed: int = 1
    alignment: str = "exact"
    undo: tuple[str, ...] = ()
    dtype: str = "float32"
    pace: str = "idiomatic"
    target: float = 0.8
    threads: int = 1
    accuracy_margin: float = 0.01
    loss_margin: float = 0.01
    epochs_ratio_margin: tuple[float, float] = (0.9, 1.1)

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
        for name in ("seeds", "epochs", "batch_size", "threads"):
            _check_number(name, getattr(self, name), "a whole number of at least 1", low=1)
        _check_number("n_samples", self.n_samples, "a whole number of at least 4", low=4)
        _check_number("data_seed", self.data_seed, "a whole number of at least 0", low=0)
        _check_number("learning_rate", self.learning_rate, "a positive number", above=0.0)
        _check_number("noise", self.noise, "a number of at least 0", low=0.0)
        _check_number("sgd_momentum", self.sgd_momentum, "in [0, 1)", low=0.0, below=1.0)
        _check_number("target", self.target, "in (0, 1]", above=0.0, high=1.0)
        self._check_margins()
        self._check_last_batch()

    def _check_margins(self) -> None:
        _check_number("accuracy_margin", self.accuracy_margin, "in (0, 1)", above=0.0, below=1.0)
        _check_number("loss_margin", self.loss_margin, "a positive number", above=0.0)
        ends = self.epochs_ratio_margin
        if not isinstance(ends, tuple) or len(ends) != 2:
            received = ",".join(map(str, ends)) if isinstance(ends, tuple) else repr(ends)
            raise InputError(
                "--epochs-ratio-margin: expected two ratios such as 0.9,1.1, "
                f"received {received or 'none'}."
            )
        name = "epochs_ratio_margin"
        _check_number(name, ends[0], "a first ratio in (0, 1)", above=0.0, below=1.0)
        _check_number(name, ends[1], "a second ratio above 1", above=1.0)

    def _check_last_batch(self) -> None:
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
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)


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


def _check_number(
    name: str,
    value: object,
    expected: str,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    high: float = math.inf,
) -> None:
    """Raise unless `value` is a finite number with low ≤ value ≤ high and above < value < below.

    An integer `low` also asks for an integer.
    """
    kinds: tuple[type, ...] = (int,) if isinstance(low, int) else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if fits:
        assert isinstance(value, int | float)
        fits = math.isfinite(value) and low <= value <= high and above < value < below
    if not fits:
        option = name.replace("_", "-")
        raise InputError(f"--{option}: expected {expected}, received {value!r}.")
