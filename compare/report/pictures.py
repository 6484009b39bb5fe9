"""Every figure of a report, with its text for who cannot see it and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from compare.analysis.summary import epoch_seconds, gaps
from compare.console import LABELS
from compare.data import Split
from compare.report import figure_numbers
from compare.report.figure_boundary import decision_boundaries
from compare.report.figure_curves import learning_curves
from compare.report.figures import circles, difference_curves, drift, hitting_times, seconds
from compare.report.results import Boundary, Lines, Results
from compare.spec import FRAMEWORKS


@dataclass(frozen=True)
class Picture:
    """A figure that is not drawn yet.

    Attributes:
        name: Name of its files without their ending; unique within the report.
        alt: What there is to see; no square brackets.
        draw: Makes the figure.
        numbers: The numbers that it shows, headings first.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]
    numbers: Lines


def pictures(
    results: Results, split: Split, boundaries: Mapping[str, Boundary | None]
) -> Iterator[Picture]:
    """The figures of a study, one after the other: those that there is something to draw for."""
    text = "The two noisy circles, train and test points."
    yield Picture("circles", text, partial(circles, split), figure_numbers.circles(split))
    yield from _overviews(results)
    for variant in results.variants:
        yield from _of_variant(results, variant)
        boundary = boundaries[variant]
        if boundary is not None:
            sides = [boundary.grids.get(framework) for framework in FRAMEWORKS]
            yield Picture(
                f"decision-boundary-{variant}",
                f"Predictions of {variant} over the plane, with the 0.5 contour and test points.",
                partial(decision_boundaries, variant, split, *sides),
                figure_numbers.boundary(boundary.grids),
            )


def _overviews(results: Results) -> Iterator[Picture]:
    """One figure for all variants each."""
    found = [one for one in results.convergences if one.runs]
    if found:
        yield Picture(
            "epochs-to-target",
            f"Share of seeds at {100 * found[0].target:g} % test accuracy by epoch, by variant.",
            partial(hitting_times, found, results.settings.epochs),
            figure_numbers.hitting_times(found),
        )
    losses = {name: np.abs(gaps(group, "test_loss")) for name, group in results.pairs.items()}
    worst = {name: apart.max(axis=0) for name, apart in losses.items() if apart.size}
    if worst:
        sides = " and ".join(LABELS.values())
        yield Picture(
            "parity",
            f"Largest difference of the test loss between {sides}, by variant and epoch.",
            partial(drift, worst),
            figure_numbers.drift(worst),
        )
    took = epoch_seconds(results.timings or results.records)
    if took:
        yield Picture(
            "seconds-per-epoch",
            "Seconds per epoch by variant, in each framework.",
            partial(seconds, took),
            figure_numbers.seconds(took),
        )


def _of_variant(results: Results, variant: str) -> Iterator[Picture]:
    runs = [record for record in results.records if record["variant"] == variant]
    yield Picture(
        f"learning-curves-{variant}",
        f"Accuracy and loss of {variant} by epoch, train and test, in each framework.",
        partial(learning_curves, variant, runs, results.settings.target),
        figure_numbers.learning_curves(runs),
    )
    if variant in results.pairs:
        group = results.pairs[variant]
        yield Picture(
            f"differences-{variant}",
            f"Lightning minus Keras by epoch for {variant}: test accuracy and test loss.",
            partial(difference_curves, group),
            figure_numbers.differences(group),
        )
