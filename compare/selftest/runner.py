"""The self-test: known port bugs are injected, and the ladder must catch every one where it is.

Keras is traced and trained once for each variant; for every bug Torch climbs anew. A bug that the
first nine rungs catch is not trained any more: the lowest rung decides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from compare.backends.bugs import Bug
from compare.backends.protocol import Framework
from compare.errors import unknown
from compare.parity import ladder as rungs
from compare.parity import tolerances, twins
from compare.parity.explain.explanations import divergence as first_divergence
from compare.parity.ladder import Divergence, Ladder
from compare.scratch import scratch_folder
from compare.selftest.bugs import faulty, one_per_rung
from compare.spec import Run, Settings
from compare.study.runs import Outcome
from compare.study.train import execute
from compare.trace import Trace

_SMALLEST = 1e-18
"""Below this, no number of order 1 changes any more."""


class Call(Protocol):
    """Does a job with a framework, here or elsewhere, as `compare.study.workers.Worker.call`."""

    def __call__(self, job: Callable[[Framework, Callable[[int], None]], Any], /) -> Any: ...


@dataclass(frozen=True)
class Caught:
    """What became of one bug.

    Attributes:
        bug: What was injected.
        divergence: What the ladder found first; None where it found nothing.
        smallest_size: The smallest size, going down by factors of ten, at which the expected rung
            still caught it; None where it has no size, or none was looked for.
    """

    bug: Bug
    divergence: Divergence | None
    smallest_size: float | None = None

    @property
    def caught(self) -> bool:
        """Whether it was caught on the expected rung with the expected layer blamed."""
        first = self.divergence
        return first is not None and (first.rung, first.layer) == (self.bug.rung, self.bug.blame)

    @property
    def misexplained(self) -> tuple[str, ...]:
        """Conventions that the ladder named and that do not explain this bug."""
        named = () if self.divergence is None else self.divergence.explained_by
        return tuple(name for name in named if name not in self.bug.explained_by)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        first = self.divergence
        return {
            "name": self.bug.name,
            "variant": self.bug.variant,
            "description": self.bug.description,
            "expected_rung": self.bug.rung,
            "caught_rung": None if first is None else first.rung,
            "expected_layer": self.bug.blame,
            "caught_layer": None if first is None else first.layer,
            "caught": self.caught,
            "step": None if first is None else first.step,
            "explained_by": [] if first is None else list(first.explained_by),
            "misexplained": list(self.misexplained),
            "size": self.bug.size,
            "smallest_size": self.smallest_size,
            "unit": self.bug.unit,
        }


def chosen(names: Sequence[str] = ()) -> tuple[Bug, ...]:
    """The bugs of these names, or all of the package's, which are one per rung.

    Raises:
        InputError: A name is unknown.
    """
    bugs = one_per_rung()
    for name in names:
        if name not in bugs:
            raise unknown("mutation", name, bugs)
    return tuple(bugs[name] for name in dict.fromkeys(names or bugs))


def selftest(
    bugs: Iterable[Bug], calls: Mapping[str, Call], *, shrink: bool = True
) -> Iterator[Caught]:
    """Inject one bug after the other.

    Args:
        bugs: What to inject.
        calls: Framework → how to do a job with it, in float64.
        shrink: Whether to look for the smallest size that is still caught.

    Yields:
        What became of each, in the order of `bugs`.
    """
    with scratch_folder() as scratch:
        injector = Injector(calls, scratch)
        for bug in bugs:
            yield injector.inject(bug, shrink=shrink)


class Injector:
    """Injects bugs into Torch; Keras' side is computed once per variant and number of epochs.

    Args:
        calls: Framework → how to do a job with it, in float64.
        scratch: A folder for traces; whoever made it removes it.
    """

    def __init__(self, calls: Mapping[str, Call], scratch: Path) -> None:
        self._calls, self._scratch = calls, scratch
        self._references: dict[tuple[str, int], _Reference] = {}

    def inject(self, bug: Bug, *, shrink: bool = True) -> Caught:
        """Climb the ladder with a bug, and again with a smaller one for as long as it is caught.

        Args:
            bug: What to inject.
            shrink: Whether to look for the smallest size that is still caught.
        """
        first = divergence = self._climb(bug)
        # A threshold that bites less the larger it is has no smallest size, nor has a bug on
        # rung 10: each try would cost a training.
        if not shrink or bug.size is None or not bug.unit:
            return Caught(bug, first)
        smallest, size = None, bug.size
        while divergence is not None and divergence.rung == bug.rung and size > _SMALLEST:
            smallest, size = size, size / 10.0
            divergence = self._climb(bug, size, train=False)
        return Caught(bug, first, smallest)

    def _reference(self, bug: Bug) -> _Reference:
        key = (bug.variant, bug.epochs)
        if key not in self._references:
            folder = self._scratch / f"keras-{bug.variant}-{bug.epochs}"
            self._references[key] = _Reference(*key, self._calls["keras"], folder)
        return self._references[key]

    def _climb(
        self, bug: Bug, size: float | None = None, *, train: bool = True
    ) -> Divergence | None:
        """The first divergence; `train` goes on to the trajectory where nothing has differed."""
        keras = self._reference(bug)
        run, settings = Run(bug.variant, "torch", 0), keras.settings
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            folder = Path(scratch) / "torch"
            plan = self._with_bug(bug, size, partial(twins.trace_side, run, settings, folder))
            torch = Trace.open(folder)
            ladder = Ladder(tolerances.for_dtype(settings.dtype))
            twins.compare_plans(ladder, keras.plan, plan)
            rungs.climb(ladder, keras.trace, torch)
            outcomes = {}
            if ladder.passed and train:
                training = partial(execute, run, settings, record_weights=True)
                outcome = self._with_bug(bug, size, training)
                outcomes = {"keras": keras.outcome(), "torch": outcome}
                twins.compare_trainings(ladder, keras.outcome(), outcome)
            plans = {"keras": keras.plan, "torch": plan}
            return first_divergence(ladder, keras.trace, torch, plans, outcomes)

    def _with_bug(self, bug: Bug, size: float | None, job: Callable[..., Any]) -> Any:
        return self._calls["torch"](partial(_do, bug, size, job))


def _do(
    bug: Bug,
    size: float | None,
    job: Callable[..., Any],
    framework: Framework,
    on_epoch: Callable[[int], None],
) -> Any:
    return job(faulty(framework, bug, size), on_epoch)


class _Reference:
    """Keras' side of a variant: traced at once, trained when first needed."""

    def __init__(self, variant: str, epochs: int, call: Call, folder: Path) -> None:
        self.settings = Settings(dtype="float64", epochs=epochs)
        self._call, self._run = call, Run(variant, "keras", 0)
        self.plan: NDArray[np.int64] = call(
            partial(twins.trace_side, self._run, self.settings, folder)
        )
        self.trace = Trace.open(folder)
        self._outcome: Outcome | None = None

    def outcome(self) -> Outcome:
        """The whole training."""
        if self._outcome is None:
            job = partial(execute, self._run, self.settings, record_weights=True)
            self._outcome = cast(Outcome, self._call(job))
        return self._outcome
