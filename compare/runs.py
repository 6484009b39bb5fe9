"""One run: one variant, trained in one framework with one seed, and what it leaves.

The only clock is here. It runs while the framework trains and stands while epochs are evaluated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.data import Array, Split, circles_split, digest, grid_points, view
from compare.frameworks import Framework, Handle
from compare.initial import batch_orders, initial_weights
from compare.metrics import accuracy, binary_cross_entropy
from compare.records import Record, json_number
from compare.spec import VARIANTS, Settings
from compare.stats import first_crossing


@dataclass(frozen=True)
class Run:
    """What is to be trained: one variant, one framework, one seed."""

    variant: str
    framework: str
    seed: int


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


def execute(
    run: Run,
    settings: Settings,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    *,
    record_weights: bool = False,
) -> Outcome:
    """Train and evaluate one run in this process.

    Args:
        run: What to train.
        settings: How.
        framework: The loaded adapter of `run.framework`, configured for the dtype.
        on_epoch: Called after every epoch with its number, counted from 1.
        record_weights: Whether to keep all weights and moving statistics after every epoch.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    split = circles_split(
        n_samples=settings.n_samples, noise=settings.noise, seed=settings.data_seed
    )
    views = views_of(run, settings, split)
    handle, initial, drawn = prepare(run, settings, framework)
    orders = orders_of(run, settings, framework)
    watch = _Watch(framework, handle, views, VARIANTS[run.variant].has_batch_norm, on_epoch)
    watch.record_weights = record_weights
    framework.train(
        handle,
        (views.train, views.y_train),
        orders=orders,
        batch_size=settings.batch_size,
        on_epoch=watch,
    )
    final = framework.read_weights(handle)
    arrays = {
        **final,
        "test_probability": framework.predict_proba(handle, views.test),
        "grid_probability": framework.predict_proba(handle, views.grid),
    }
    finite = all(bool(np.isfinite(a).all()) for a in arrays.values()) and watch.finite
    history = {name: [json_number(v) for v in curve] for name, curve in watch.history.items()}
    record: Record = {
        "variant": run.variant,
        "framework": run.framework,
        "seed": run.seed,
        "alignment": settings.alignment,
        "undo": list(settings.undo),
        "pace": settings.pace,
        "dtype": settings.dtype,
        "status": "ok" if finite else "diverged",
        "epochs_to_target": first_crossing(watch.history["test_accuracy"], settings.target),
        "final": {name: curve[-1] for name, curve in history.items()},
        "history": history,
        "epoch_seconds": watch.seconds,
        "digests": {
            "data": split.digest,
            "initial_weights": digest(*initial.values()),
            "batch_orders": digest(orders),
            "final_weights": digest(*final.values()),
        },
        "settings": settings.to_dict(),
        "versions": {**framework.versions(), "numpy": np.__version__},
        "started_at": started_at,
    }
    trajectory = {name: np.stack(tensors) for name, tensors in watch.weights.items()}
    return Outcome(record, arrays, _replay(settings, orders, initial, drawn), trajectory)


def views_of(run: Run, settings: Settings, split: Split) -> Views:
    """The points as a run's variant sees them."""
    kind = VARIANTS[run.variant].view
    points = (split.x_train, split.x_test, grid_points())
    train, test, grid = (view(p, kind).astype(settings.dtype) for p in points)
    y_train, y_test = (y.astype(settings.dtype) for y in (split.y_train, split.y_test))
    return Views(train, y_train, test, y_test, grid)


def prepare(
    run: Run, settings: Settings, framework: Framework
) -> tuple[Handle, dict[str, Array], bool]:
    """A built model, its initial weights, and whether the framework drew them itself."""
    variant = VARIANTS[run.variant]
    handle = framework.build(
        variant.family,
        dict(variant.options),
        seed=run.seed,
        sgd={"learning_rate": settings.learning_rate, "momentum": settings.sgd_momentum},
        undone=settings.undone,
    )
    own = framework.read_weights(handle)
    if "initializers" in settings.undone:
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


def _replay(
    settings: Settings, orders: NDArray[np.int64], initial: dict[str, Array], drawn: bool
) -> dict[str, NDArray[Any]]:
    kept: dict[str, NDArray[Any]] = {f"initial/{k}": v for k, v in initial.items()} if drawn else {}
    if "batch-order" in settings.undone:
        kept["orders"] = orders
    return kept


class _Watch:
    """Called at the end of every epoch: stops the clock, evaluates, starts it again."""

    def __init__(
        self,
        framework: Framework,
        handle: Handle,
        views: Views,
        has_batch_norm: bool,
        on_epoch: Callable[[int], None],
    ) -> None:
        self._framework, self._handle, self._views = framework, handle, views
        self._has_batch_norm, self._on_epoch = has_batch_norm, on_epoch
        self.history: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self.record_weights = False
        self.weights: dict[str, list[Array]] = {}
        self._start = time.perf_counter()

    @property
    def finite(self) -> bool:
        return all(math.isfinite(value) for curve in self.history.values() for value in curve)

    def __call__(self, running_loss: float, running_accuracy: float) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        for name, value in self._evaluate(running_loss, running_accuracy).items():
            self.history.setdefault(name, []).append(value)
        if self.record_weights:
            for name, tensor in self._framework.read_weights(self._handle).items():
                self.weights.setdefault(name, []).append(tensor)
        self._on_epoch(len(self.seconds))
        self._start = time.perf_counter()

    def _evaluate(self, running_loss: float, running_accuracy: float) -> dict[str, float]:
        views, n = self._views, len(self._views.train)
        train = self._framework.predict_proba(self._handle, views.train)
        test = self._framework.predict_proba(self._handle, views.test)
        values = {
            "train_loss": binary_cross_entropy(train, views.y_train),
            "train_accuracy": accuracy(train, views.y_train),
            "test_loss": binary_cross_entropy(test, views.y_test),
            "test_accuracy": accuracy(test, views.y_test),
            "running_train_loss": running_loss,
            "running_train_accuracy": _share(running_accuracy, n),
        }
        if self._has_batch_norm:
            lagless = self._framework.predict_proba(self._handle, views.test, batch_statistics=True)
            values["batch_statistics_test_accuracy"] = accuracy(lagless, views.y_test)
        return values


def _share(value: float, n: int) -> float:
    """A share of n samples without the rounding of the framework's own dtype.

    Anything but a whole number of samples is left as it is: a loader that drops its last batch
    counts over fewer.
    """
    if not math.isfinite(value):
        return math.nan
    count = round(value * n)
    return count / n if abs(value * n - count) < 0.01 else value
