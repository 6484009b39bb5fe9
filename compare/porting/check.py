"""Parity of any pair: a Keras model and a Torch module that should be the same computation."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from compare.backends import protocol
from compare.errors import InputError, unknown
from compare.porting.compare_traces import Request, judge, observe
from compare.porting.expected_differences import check_allowed
from compare.porting.models import Objective, Side, Structure, checked, live, samples
from compare.porting.report import ParityReport
from compare.porting.weights import SAMPLES, carry


def check_parity(
    keras_model: Any,
    torch_module: Any,
    x: Structure,
    y: Structure | None = None,
    *,
    torch_loss: Callable[[Any, Any], Any] | None = None,
    torch_optimizer: Callable[[Any], Any] | None = None,
    steps: int = 2,
    dtype: str | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
    allow: Collection[str] = (),
    weights_from: str | None = None,
    tolerances: Mapping[str, float] | None = None,
) -> ParityReport:
    """Climb the ladder with any Keras model and any Torch module, in lockstep.

    Both are traced over a few training steps, each on all of `x` and `y` as one batch: structure,
    data, initial weights, forward, loss, gradients, optimizer steps, moving statistics and
    evaluation are compared, element by element. Models, optimizers, modes and random state are left
    as they were found, but for the weights that `weights_from` carries over.

    Args:
        keras_model: A built and compiled Keras model, whose own loss, optimizer and `train_step`
            are used; or a function that returns one.
        torch_module: A LightningModule, with its own `training_step` and `configure_optimizers`,
            or a plain module with the next two arguments; or a function that returns one.
        x: Samples, (n, …), in Keras' layout (channels last); a tuple or dict of arrays where the
            models take several.
        y: Targets, (n, …), as both sides' losses take them; None to compare without training: then
            there is one forward pass in training mode and neither loss, gradients nor steps.
        torch_loss: `torch_loss(output, target)` of a plain module.
        torch_optimizer: `torch_optimizer(parameters)` of a plain module; what Lightning's
            `configure_optimizers` may return, schedules included.
        steps: Training steps, at least 1. A momentum rounded to float32 shows from the second on.
        dtype: `"float32"` or `"float64"`. Functions build their models in it, by default in
            float64, which sees most; models must have it already.
        pairs: Keras layer name → Torch module path, where names and order do not tell.
        to_torch: Puts samples, as they are structured, into the module's layout. By default,
            channels move to axis 1 where the module convolves or normalizes over space or time.
        allow: Conventions whose difference is accepted; what remains after the *predicted*
            difference must be within tolerance.
        weights_from: `"keras"` or `"torch"`: carry that side's weights over first, as
            `compare.port_weights` does; None to compare the weights as they are.
        tolerances: `"layer"` or `"layer/tensor"` → tolerance, where larger than the ladder's.

    Returns:
        The report; call its `raise_if_diverged`.

    Raises:
        InputError: An argument or a model cannot be used, or a side draws random numbers.
        MissingDependencyError: Keras or Torch is not installed.
    """
    __tracebackhide__ = True
    options = Options(
        torch_loss=torch_loss,
        torch_optimizer=torch_optimizer,
        steps=steps,
        dtype=dtype,
        pairs={} if pairs is None else pairs,
        to_torch=to_torch,
        allow=allow,
        weights_from=weights_from,
        tolerances={} if tolerances is None else tolerances,
    )
    pair = live(
        keras_model,
        torch_module,
        x,
        dtype=dtype,
        objective=options.objective,
        to_torch=to_torch,
    )
    options.check_objective(pair.torch.module, y)
    return climb(pair.keras, pair.torch, options.request(pair.x, y, pair.dtype))


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `check_parity`, described there."""

    torch_loss: Callable[[Any, Any], Any] | None = None
    torch_optimizer: Callable[[Any], Any] | None = None
    steps: int = 2
    dtype: str | None = None
    pairs: Mapping[str, str] = field(default_factory=dict)
    to_torch: Callable[[Structure], Structure] | None = None
    allow: Collection[str] = ()
    weights_from: str | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def objective(self) -> Objective | None:
        """Loss and optimizer of a plain module; None where there is neither."""
        if self.torch_loss is None and self.torch_optimizer is None:
            return None
        return self.torch_loss, self.torch_optimizer

    def request(self, x: Structure, y: Structure | None, dtype: str) -> Request:
        """What is asked of two sides.

        Args:
            x: Samples.
            y: Targets, or None.
            dtype: The dtype of both sides.

        Raises:
            InputError: An option, samples or targets cannot be used.
        """
        self._check_kinds()
        check_allowed(self.allow)
        if self.weights_from not in (None, *protocol.NAMES):
            raise unknown("weights_from", str(self.weights_from), protocol.NAMES)
        return Request(
            x=checked("x", x, dtype),
            y=None if y is None else checked("y", y, dtype),
            dtype=dtype,
            steps=self.steps,
            pairs=dict(self.pairs),
            allow=tuple(self.allow),
            weights_from=self.weights_from,
            tolerances=dict(self.tolerances),
        )

    def _check_kinds(self) -> None:
        """Raise where a value is of a kind that would be misunderstood, or fail far from here."""
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(
                f"steps: expected a whole number of at least 1, received {self.steps!r}."
            )
        if isinstance(self.allow, str):
            raise InputError(
                f'allow: expected a list, such as ["{self.allow}"], received a string.'
            )
        for name, values, example in (
            ("pairs", self.pairs, '{"keras_layer": "torch.module"}'),
            ("tolerances", self.tolerances, '{"layer/kernel": 1e-8}'),
        ):
            if not isinstance(values, Mapping):
                raise InputError(
                    f"{name}: expected a dict, such as {example}, received {values!r}."
                )
        for name, tolerance in self.tolerances.items():
            if not isinstance(tolerance, int | float) or not 0.0 <= tolerance < math.inf:
                raise InputError(
                    f"tolerances: expected a number of at least 0 for {name!r}, received "
                    f"{tolerance!r}."
                )

    def check_objective(self, module: Any, y: Structure | None) -> None:
        """Raise `InputError` unless a module is trained by itself, or by a loss and an optimizer.

        Args:
            module: The Torch module.
            y: Targets; None where nothing is trained.
        """
        given = self.torch_loss, self.torch_optimizer
        if cast(Any, protocol.load("torch")).is_lightning(module):
            if given != (None, None):
                raise InputError(
                    "torch_loss and torch_optimizer are for a plain module: a LightningModule "
                    "brings its own training_step and configure_optimizers."
                )
        elif y is not None and None in given:
            raise InputError(
                "a plain Torch module needs torch_loss=… and torch_optimizer=…, such as "
                "torch.optim.SGD with its arguments bound; or pass a LightningModule."
            )


def climb(keras: Side, torch: Side, request: Request) -> ParityReport:
    """Carry weights over where asked to, trace both sides, and climb the ladder.

    Raises:
        InputError: A side cannot be used, or draws random numbers.
    """
    carry_as_asked(keras, torch, request)
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        folders = Path(scratch) / "keras", Path(scratch) / "torch"
        return judge(
            observe(keras, request, folders[0]), observe(torch, request, folders[1]), request
        )


def carry_as_asked(keras: Side, torch: Side, request: Request, to: str | None = None) -> None:
    """Carry weights over, if any are to be.

    Args:
        keras: Keras' side.
        torch: Torch's side.
        request: Says which side's.
        to: Which side they go to whatever that says, where it alone is alive.
    """
    if request.weights_from is not None:
        other = "torch" if request.weights_from == "keras" else "keras"
        x = samples(request.x, SAMPLES) if to is None else request.x
        carry(keras, torch, x, to=to or other, pairs=request.pairs)
