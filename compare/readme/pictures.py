"""A section's figures as files, and whether a file shows the same figure."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from matplotlib.testing.compare import compare_images
from matplotlib.testing.exceptions import ImageComparisonFailure

from compare.plots import figures as plots
from compare.readme.section import Section

_TOLERANCE = 1.0
"""Root mean square over pixels, of 255. With the versions in constraints.txt the same numbers give
the same pixels; this much is left for the last digit of a mean on another processor. A curve of one
framework that lies higher by 0.001 differs by 2.2 or more."""


def drawn(section: Section) -> Iterator[tuple[str, Path]]:
    """Name → the figure as PNG, in a place that is gone afterwards."""
    with tempfile.TemporaryDirectory() as place:
        for name, figure in section.figures():
            plots.save(figure, Path(place), name)
            yield name, Path(place) / f"{name}.png"


def gap(expected: Path, found: Path) -> str | None:
    """How a picture differs; None within the tolerance."""
    # Matplotlib leaves a picture of the difference beside the second one.
    shown = expected.with_name("shown.png")
    shutil.copyfile(found, shown)
    try:
        apart = compare_images(str(expected), str(shown), _TOLERANCE, in_decorator=True)
    except (ImageComparisonFailure, OSError) as error:
        return str(error).replace(str(expected.parent), "").strip()
    return None if apart is None else f"root mean square {apart['rms']:.1f}, at most {_TOLERANCE:g}"
