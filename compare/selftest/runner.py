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

from compare.backends.protocol import Framework
from compare.errors import unknown
from compare.parity import ladder as rungs
from compare.parity import tolerances, twins
from compare.parity.explain.explanations import divergence
from compare.parity.ladder import Divergence, Ladder
from compare.selftest.bugs import MUTATIONS, Mutated, Mutation, quick
from compare.spec import Run, Settings
from compare.study.runs import Outcome
from compare.study.train import execute
from compare.trace import Trace

_SMALLEST = 1e-18
"""Below this, no number of order 1 changes any more."""

Job = Callable[[Framework, Callable[[int], None]], Any]


class Call(Protocol):
    """Does a job with a framework, here or elsewhere, as `compare.study.workers.Worker.call`."""

    def __call__(self, job: Job, /) -> Any: ...


@dataclass(frozen=True)
class Caught:
    """What became of one mutation.

    Attributes:
        mutation: The bug.
        divergence: What the ladder found first; None where it found nothing.
        smallest_size: The smallest size, going down by factors of ten, at which the expected rung
            still caught it; None where it has no size, or none was looked for.
    """

    mutation: Mutation
    divergence: Divergence | None
    smallest_size: float | None = None

    @property
    def caught(self) -> bool:
        """Whether it was caught on the expected rung with the expected layer blamed."""
        found = self.divergence
        expected = (self.mutation.expected_rung, self.mutation.expected_layer)
        return found is not None and (found.rung, found.layer) == expected

    @property
    def misexplained(self) -> tuple[str, ...]:
        """Conventions that the ladder named and that do not explain this bug."""
        named = () if self.divergence is None else self.divergence.explained_by
        return tuple(name for name in named if name not in self.mutation.explained_by)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        found = self.divergence
        return {
            "name": self.mutation.name,
            "variant": self.mutation.variant,
            "description": self.mutation.description,
            "expected_rung": self.mutation.expected_rung,
            "caught_rung": None if found is None else found.rung,
            "expected_layer": self.mutation.expected_layer,
            "caught_layer": None if found is None else found.layer,
            "caught": self.caught,
            "step": None if found is None else found.step,
            "explained_by": [] if found is None else list(found.explained_by),
            "misexplained": list(self.misexplained),
            "size": self.mutation.size,
            "smallest_size": self.smallest_size,
            "unit": self.mutation.unit,
        }


def summary(results: Sequence[Caught]) -> dict[str, Any]:
    """The JSON of a self-test."""
    return {
        "caught": sum(result.caught for result in results),
        "total": len(results),
        "mutations": [result.to_json() for result in results],
    }


def chosen(names: Sequence[str] = (), *, only_quick: bool = False) -> tuple[Mutation, ...]:
    """The mutations to inject.

    Args:
        names: Names from `compare.selftest.bugs.MUTATIONS`; empty for all.
        only_quick: Whether all means one per rung.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in MUTATIONS:
            raise unknown("mutation", name, MUTATIONS)
    if names:
        return tuple(MUTATIONS[name] for name in dict.fromkeys(names))
    return quick() if only_quick else tuple(MUTATIONS.values())


def selftest(
    mutations: Iterable[Mutation], calls: Mapping[str, Call], *, shrink: bool = True
) -> Iterator[Caught]:
    """Inject one mutation after the other.

    Args:
        mutations: What to inject.
        calls: Framework → how to do a job with it, in float64.
        shrink: Whether to look for the smallest size that is still caught.

    Yields:
        What became of each, in the order given.
    """
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        references: dict[tuple[str, int], _Reference] = {}
        for mutation in mutations:
            key = (mutation.variant, mutation.epochs)
            if key not in references:
                folder = Path(scratch) / f"keras-{len(references)}"
                references[key] = _Reference(mutation, calls["keras"], folder)
            climber = _Climber(references[key], calls["torch"], Path(scratch))
            found = climber.climb(mutation)
            smallest = _smallest(climber, mutation, found) if shrink else None
            yield Caught(mutation, found, smallest)


def _smallest(climber: _Climber, mutation: Mutation, found: Divergence | None) -> float | None:
    # A threshold that bites less the larger it is has no smallest size, nor has one on rung 10:
    # each try would cost a training.
    if mutation.size is None or not mutation.unit:
        return None
    smallest, size = None, mutation.size
    while found is not None and found.rung == mutation.expected_rung and size > _SMALLEST:
        smallest, size = size, size / 10.0
        found = climber.climb(mutation, size, train=False)
    return smallest


class _Reference:
    """Keras' side of a variant: traced at once, trained when first needed."""

    def __init__(self, mutation: Mutation, call: Call, folder: Path) -> None:
        self.settings = Settings(dtype="float64", epochs=mutation.epochs)
        self._call, self._run = call, Run(mutation.variant, "keras", 0)
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


class _Climber:
    """Climbs the ladder with one Keras side and a Torch side that carries a bug."""

    def __init__(self, reference: _Reference, call: Call, scratch: Path) -> None:
        self._reference, self._call, self._scratch = reference, call, scratch

    def climb(
        self, mutation: Mutation, size: float | None = None, *, train: bool = True
    ) -> Divergence | None:
        """The first divergence; None where there is none.

        Args:
            mutation: The bug.
            size: How large it is; None for the size it is registered with.
            train: Whether to go on to the trajectory where nothing has differed before.
        """
        keras, settings = self._reference, self._reference.settings
        run = Run(mutation.variant, "torch", 0)
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            folder = Path(scratch) / "torch"
            trace = partial(twins.trace_side, run, settings, folder)
            plan = self._call(partial(mutated, mutation, size, trace))
            torch = Trace.open(folder)
            ladder = Ladder(tolerances.for_dtype(settings.dtype))
            twins.compare_plans(ladder, keras.plan, plan)
            rungs.climb(ladder, keras.trace, torch)
            outcomes = {}
            if ladder.passed and train:
                training = partial(execute, run, settings, record_weights=True)
                outcome = self._call(partial(mutated, mutation, size, training))
                outcomes = {"keras": keras.outcome(), "torch": outcome}
                twins.compare_trainings(ladder, keras.outcome(), outcome)
            plans = {"keras": keras.plan, "torch": plan}
            return divergence(ladder, keras.trace, torch, plans, outcomes)


def mutated(
    mutation: Mutation,
    size: float | None,
    job: Callable[..., Any],
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Any:
    """Do a job with a framework that has a bug."""
    return job(cast(Framework, Mutated(framework, mutation, size)), on_epoch)
