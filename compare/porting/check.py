"""Parity of any pair: a Keras model and a Torch module that should be the same computation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from compare.backends.loading import load
from compare.backends.structures import Structure
from compare.console import CheckProgress
from compare.parity.report import ParityReport
from compare.porting.compare_traces import Observed, compare_traces, observe
from compare.porting.models import Pair, build_pair, first_samples
from compare.porting.options import DEFAULT_THREADS, Options, Request
from compare.porting.same_start import SameStart
from compare.porting.weights import carry
from compare.progress import Listener, Progress
from compare.scratch import scratch_folder


def check_parity(
    keras_model: Any,
    torch_module: Any,
    x: Structure,
    y: Structure | None = None,
    *,
    torch_loss: Callable[..., Any] | None = None,
    torch_optimizer: Callable[[Any], Any] | None = None,
    steps: int = 2,
    dtype: str | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
    allow: Collection[str] = (),
    weights_from: str | None = None,
    tolerances: Mapping[str, float] | None = None,
    randomness: str = "shared",
    strict: bool = False,
    threads: int = DEFAULT_THREADS,
    progress: bool | Listener = False,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
) -> ParityReport:
    """Climb the ladder with any Keras model and any Torch module, in lockstep.

    Both are traced over a few training steps, each on all of `x` and `y` as one batch: structure,
    data, initial weights, forward, loss, gradients, optimizer steps, moving statistics and
    evaluation are compared, element by element. Every later step, and the evaluation, starts from
    Keras' weights on both sides. The first step is held against one that each side takes unwatched,
    with `model.fit`, and with `Trainer.fit` or in a plain loop. Models, optimizers, modes and
    random state are left as they were, except for the weights that `weights_from` carries over.

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
        pairs: Keras layer name → Torch module path, where names and order do not match them.
        to_torch: Puts samples, as they are structured, into the module's layout. By default,
            channels move to axis 1 where the module convolves or normalizes over space or time.
        allow: Conventions whose difference is accepted; what remains after the *predicted*
            difference must be within tolerance. What no setting of Torch's optimizers remedies,
            such as where Adam adds its epsilon, is accepted without being named here.
        weights_from: `"keras"` or `"torch"`: carry that side's weights over first, as
            `compare.port_weights` does; None to compare the weights as they are.
        tolerances: `"layer"` or `"layer/tensor"` → tolerance, where larger than the ladder's.
        randomness: What is done with dropout, noise and whatever else draws numbers in training
            mode: `"shared"` has both sides draw the same ones; `"off"` sets rates and deviations to
            zero for the check; `"refuse"` raises where there is any.
        strict: Whether only what `allow` names is accepted.
        threads: Threads of Torch while it is checked, put back afterwards. By default half of the
            cores: where another program keeps one busy, threads that wait for each other cost ten
            times as much as they bring. TensorFlow's are set before its first operation, by the
            user.
        progress: True to tell on stderr, once the check takes longer than two seconds, which side,
            pass and layer is under way: one line on a terminal, elsewhere a line every two seconds.
            A function is called with every such text. Nothing is told by default.
        sample_weight: What each sample's loss is multiplied by, (n,), as `model.fit` takes it. In
            Torch, `training_step` gets `(x, y, sample_weight)` as its batch, and `torch_loss` is
            called with the output, the target and the weights.
        class_weight: Label → weight, as `model.fit` takes it. In Torch weights of classes are a
            part of the loss: the port brings its own.

    Returns:
        The report; call its `raise_if_diverged`.

    Raises:
        InputError: An argument or a model cannot be used, a side draws random numbers, or trains
            otherwise when it is watched.
        MissingDependencyError: Keras or Torch is not installed.
    """
    __tracebackhide__ = True
    options = Options(
        torch_loss=torch_loss,
        torch_optimizer=torch_optimizer,
        steps=steps,
        dtype=dtype,
        pairs=pairs,
        to_torch=to_torch,
        allow=allow,
        weights_from=weights_from,
        tolerances=tolerances,
        randomness=randomness,
        strict=strict,
        threads=threads,
        progress=progress,
        sample_weight=sample_weight,
        class_weight=class_weight,
    )
    pair = build_pair(keras_model, torch_module, x, options)
    with observed(pair, y, options) as sides:
        return compare_traces(*sides)


@contextmanager
def observed(
    pair: Pair, y: Structure | None, options: Options
) -> Iterator[tuple[Observed, Observed, Request]]:
    """Carry weights over where asked to, and trace both sides, whose traces last as long.

    Args:
        pair: Both models, and their samples.
        y: Targets; None to compare without training.
        options: Those of `check_parity`.

    Yields:
        Keras' side, Torch's side, and what both computed.

    Raises:
        InputError: As `check_parity` does.
    """
    pair.torch.check_objective(y)
    request = options.request(pair.x, y, pair.dtype)
    if options.weights_from is not None:
        to = "torch" if options.weights_from == "keras" else "keras"
        carry(*pair.towards(to), first_samples(pair.x), options.pairs)
    threads = load("torch").with_threads(options.threads)
    with reporting(options.progress) as progress, threads, scratch_folder() as folder:
        request = replace(request, progress=progress)
        keras = observe(pair.keras, request, folder / "keras")
        starting = partial(SameStart, keras.trace, options.pairs)
        torch = observe(pair.torch, request, folder / "torch", starting, keras=keras.trace)
        yield keras, torch, request


@contextmanager
def reporting(progress: bool | Listener) -> Iterator[Progress]:
    """Tell on stderr what is under way while the block runs, or whoever listens.

    Args:
        progress: The option of `check_parity`.

    Yields:
        What says it.
    """
    if progress is True:
        with CheckProgress() as listener:
            yield Progress(listener)
    else:
        yield Progress(progress or None)
