"""One run: one variant, trained in one framework with one seed; what it starts from and leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Framework, Handle
from compare.data import Array, Split, circles_split, digest, grid_points, view
from compare.spec import VARIANTS, Run, Settings
from compare.study.initial import batch_orders, initial_weights
from compare.study.records import Record, json_number


def accuracy(probability: Array, label: Array) -> Array:
    """Share of samples on the right side of 0.5; exactly 0.5 counts as class 0, as in Keras.

    Args:
        probability: Probability of class 1, (…, n). A value that is not a number is never right.
        label: 0.0 or 1.0, (n,).

    Returns:
        One share for each leading index, (…).
    """
    right = np.where(label > 0.5, probability > 0.5, probability <= 0.5)
    return np.asarray(np.count_nonzero(right, axis=-1) / len(label))


def binary_cross_entropy(probability: Array, label: Array) -> Array:
    """Mean of −log of the probability given to the true class, in nats, computed in float64.

    A probability that its dtype has rounded to 0 or 1 is moved inside by the dtype's epsilon, as
    `sklearn.metrics.log_loss` does; NaN stays NaN.

    Args:
        probability: Probability of class 1, (…, n).
        label: 0.0 or 1.0, (n,).

    Returns:
        One mean for each leading index, (…).
    """
    epsilon = np.finfo(probability.dtype).eps
    inside = np.clip(probability.astype(np.float64), epsilon, 1.0 - epsilon)
    losses = -np.where(label > 0.5, np.log(inside), np.log1p(-inside))
    return np.asarray(losses.mean(axis=-1))


def first_crossing(curve: Sequence[float], target: float) -> int | None:
    """The first epoch, counted from 1, whose value is at least `target`; None if there is none."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), None)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes:
        record: Its line in `records.jsonl`.
        arrays: Final weights by canonical name, `test_probability` and `grid_probability`.
        replay: `orders` and `initial/…` weights, where the framework drew them; else empty.
        trajectory: Canonical name → the tensor after every epoch, (epochs, …); empty unless asked.
    """

    record: Record
    arrays: dict[str, Array]
    replay: dict[str, NDArray[Any]]
    trajectory: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Views:
    """The points as a variant sees them, in the dtype of the study and in Keras' layout."""

    train: Array
    y_train: Array
    test: Array
    y_test: Array
    grid: Array

    def evaluated(self, variant: str) -> dict[str, tuple[Array, bool]]:
        """What is evaluated after every epoch: name → samples, and whether with their statistics.

        Without batch normalization there is nothing that could use the statistics.
        """
        plain = {"train": (self.train, False), "test": (self.test, False)}
        lagless = {"batch_statistics_test": (self.test, True)}
        return plain | lagless if VARIANTS[variant].has_batch_norm else plain


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        run: The run.
        initial: Initial weights and moving statistics, by canonical name.
        drawn: Whether the framework drew them itself.
        orders: The order of the training samples in every epoch, (epochs, n_train).
        started_at: When it began: UTC, ISO 8601.
    """

    run: Run
    initial: dict[str, Array]
    drawn: bool
    orders: NDArray[np.int64]
    started_at: str


def begin(
    run: Run, settings: Settings, framework: Framework, *, reuse: Handle | None = None
) -> tuple[Handle, Start]:
    """A model with its initial weights, and what its run starts from.

    Args:
        run: The run.
        settings: How it will train.
        framework: The loaded adapter.
        reuse: A model of the same variant that may be written over; it saves building another.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    handle, initial, drawn = prepare(run, settings, framework, reuse=reuse)
    orders = orders_of(run, settings, framework)
    return handle, Start(run, initial, drawn, orders, started_at)


def outcome(
    start: Start,
    settings: Settings,
    framework: Framework,
    handle: Handle,
    history: Mapping[str, Sequence[float]],
) -> Outcome:
    """What a trained model leaves; its record has no seconds yet.

    Args:
        start: What the run started from.
        settings: How it was trained.
        framework: The loaded adapter.
        handle: The trained model.
        history: Its values after every epoch.
    """
    run, views = start.run, views_of(start.run.variant, settings)
    final = framework.read_weights(handle)
    arrays = {
        **final,
        "test_probability": framework.predict_proba(handle, views.test),
        "grid_probability": framework.predict_proba(handle, views.grid),
    }
    finite = all(bool(np.isfinite(a).all()) for a in arrays.values()) and all(
        math.isfinite(value) for curve in history.values() for value in curve
    )
    curves = {name: [json_number(value) for value in curve] for name, curve in history.items()}
    record: Record = {
        "variant": run.variant,
        "framework": run.framework,
        "seed": run.seed,
        "alignment": settings.alignment,
        "undo": list(settings.undo),
        "pace": settings.pace,
        "dtype": settings.dtype,
        "status": "ok" if finite else "diverged",
        "epochs_to_target": first_crossing(history["test_accuracy"], settings.target),
        "final": {name: curve[-1] for name, curve in curves.items()},
        "history": curves,
        "epoch_seconds": None,
        "digests": {
            "data": split_of(settings).digest,
            "initial_weights": digest(*start.initial.values()),
            "batch_orders": digest(start.orders),
            "final_weights": digest(*final.values()),
        },
        "settings": settings.to_dict(),
        "versions": {**framework.versions(), "numpy": np.__version__},
        "started_at": start.started_at,
    }
    replay: dict[str, NDArray[Any]] = {}
    if start.drawn:
        replay |= {f"initial/{name}": array for name, array in start.initial.items()}
    if "batch-order" in settings.undone:
        replay["orders"] = start.orders
    return Outcome(record, arrays, replay)


@lru_cache(maxsize=4)
def split_of(settings: Settings) -> Split:
    """The points of a study."""
    return circles_split(
        n_samples=settings.n_samples, noise=settings.noise, seed=settings.data_seed
    )


@lru_cache(maxsize=4)
def views_of(variant: str, settings: Settings) -> Views:
    """The points of a study as a variant sees them."""
    split, kind = split_of(settings), VARIANTS[variant].view
    points = (split.x_train, split.x_test, grid_points())
    train, test, grid = (view(p, kind).astype(settings.dtype) for p in points)
    y_train, y_test = (y.astype(settings.dtype) for y in (split.y_train, split.y_test))
    return Views(train, y_train, test, y_test, grid)


def prepare(
    run: Run, settings: Settings, framework: Framework, *, reuse: Handle | None = None
) -> tuple[Handle, dict[str, Array], bool]:
    """A built model, its initial weights, and whether the framework drew them itself."""
    variant, draws = VARIANTS[run.variant], "initializers" in settings.undone
    handle = reuse
    if handle is None or draws:
        handle = framework.build(
            variant.family,
            dict(variant.options),
            seed=run.seed,
            sgd={"learning_rate": settings.learning_rate, "momentum": settings.sgd_momentum},
            undone=settings.undone,
        )
    own = framework.read_weights(handle)
    if draws:
        return handle, own, True
    forget = run.framework == "keras" or "lstm-forget-bias" not in settings.undone
    shapes = {name: array.shape for name, array in own.items()}
    drawn = initial_weights(shapes, seed=run.seed, unit_forget_bias=forget)
    initial = {name: array.astype(settings.dtype) for name, array in drawn.items()}
    framework.write_weights(handle, initial)
    return handle, initial, False


def orders_of(run: Run, settings: Settings, framework: Framework) -> NDArray[np.int64]:
    """The order of the training samples in every epoch of a run, (epochs, n_train)."""
    if "batch-order" in settings.undone:
        drawn = framework.draw_orders(settings.n_train, epochs=settings.epochs, seed=run.seed)
        return np.asarray(drawn, dtype=np.int64)
    return batch_orders(settings.n_train, epochs=settings.epochs, seed=run.seed)


def epoch_values(
    seen: Mapping[str, Array], views: Views, running: tuple[Array, Array], *, batch_size: int
) -> dict[str, Array]:
    """The values of one epoch in the histories of many runs.

    Args:
        seen: Probabilities of the views of `Views.evaluated`, (runs, n) each.
        views: The points and their labels.
        running: Training losses and accuracies as the framework's own loop reports them, (runs,).
        batch_size: Samples per step.

    Returns:
        Name in the history → values, (runs,).
    """
    shares = [_share(float(share), len(views.train), batch_size) for share in running[1]]
    values = {
        "train_loss": binary_cross_entropy(seen["train"], views.y_train),
        "train_accuracy": accuracy(seen["train"], views.y_train),
        "test_loss": binary_cross_entropy(seen["test"], views.y_test),
        "test_accuracy": accuracy(seen["test"], views.y_test),
        "running_train_loss": running[0],
        "running_train_accuracy": np.array(shares),
    }
    if "batch_statistics_test" in seen:
        lagless = accuracy(seen["batch_statistics_test"], views.y_test)
        values["batch_statistics_test_accuracy"] = lagless
    return values


def _share(value: float, n: int, batch_size: int) -> float:
    """A share of n samples without the rounding of the framework's own dtype.

    A loader that drops its last batch counts over the others' samples. What is no whole number of
    either is left as it is.
    """
    if not math.isfinite(value):
        return math.nan
    for counted in (n, n - n % batch_size):
        right = round(value * counted)
        if counted and abs(value * counted - right) < 0.01:
            return right / counted
    return value
