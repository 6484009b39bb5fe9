"""The README's first screen from the records of a default study, and whether it still is that.

The README holds the text between two marks; `docs/` beside it holds the figures, and `docs/study`
the records themselves.
"""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from matplotlib.testing.exceptions import ImageComparisonFailure

from compare.errors import InputError
from compare.plots import figures as plots
from compare.plots.accuracy import accuracies
from compare.plots.boundary import decision_boundaries
from compare.readme.records import check_default, drawn, keep
from compare.readme.words import ACCURACY, BASELINE, BOUNDARY, NETWORK, block
from compare.report.results import Results
from compare.spec import FRAMEWORKS
from compare.study.records import RunFolder, write_text
from compare.study.runs import split_of

START = "<!-- From here: written by `bn-compare readme`, checked by tests/test_readme.py. -->"
END = "<!-- To here. -->"

_TOLERANCE = 1.0
"""Root mean square over pixels, of 255. With the versions in constraints.txt the same numbers give
the same pixels; this much is left for the last digit of a mean on another processor. A curve of one
framework that lies higher by 0.001 differs by 2.2 or more."""


def study_beside(readme: Path) -> Path:
    """Where the records are kept that a README rests on."""
    return readme.parent / "docs" / "study"


def write(folder: RunFolder, readme: Path) -> None:
    """Write the README's block, its figures, and the records beside it.

    Args:
        folder: A whole study at the defaults of `bn-compare run`.
        readme: A file with both marks in it.

    Raises:
        InputError: It is no such study, or the marks are missing.
        RunFolderError: Something cannot be read or written.
    """
    before, _, after = _parts(readme)
    results = _results(folder)
    study = study_beside(readme)
    study.parent.mkdir(exist_ok=True)
    for name, picture in _draw(folder, results):
        shutil.copyfile(picture, study.parent / f"{name}.png")
    keep(folder, study, NETWORK)
    write_text(readme, f"{before}{START}\n\n{block(results)}\n\n{END}{after}")


def faults(folder: RunFolder, readme: Path) -> list[str]:
    """What a README says or shows that its records do not; empty where all is well.

    Args:
        folder: The records.
        readme: A file with both marks in it; its figures are in `docs` beside it.

    Returns:
        Lines of a unified diff from the README to the records, and one line per figure that is
        missing or looks different.

    Raises:
        InputError: The records are no whole default study, or the marks are missing.
        RunFolderError: Records cannot be read.
    """
    _, found, _ = _parts(readme)
    results = _results(folder)
    expected = f"\n\n{block(results)}\n\n"
    ends = (str(readme), str(folder.path))
    lines = list(difflib.unified_diff(found.split("\n"), expected.split("\n"), *ends, lineterm=""))
    for name, picture in _draw(folder, results):
        shown = readme.parent / "docs" / f"{name}.png"
        if not shown.is_file():
            lines.append(f"{shown}: expected a figure, found none")
        elif (gap := _gap(picture, shown)) is not None:
            lines.append(f"{shown}: not the figure of these records: {gap}")
    return lines


def _results(folder: RunFolder) -> Results:
    check_default(folder)
    # Without distances: they would need the weights of every run.
    return Results(folder.settings, folder.manifest, folder.records(), folder.timings(), ())


def _parts(readme: Path) -> tuple[str, str, str]:
    """What is before, between and after the marks."""
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--readme {readme}: cannot be read: {error}") from error
    before, start, rest = text.partition(START)
    between, end, after = rest.partition(END)
    if not (start and end):
        raise InputError(
            f"--readme {readme}: expected the lines {START!r} and {END!r} in it, in this order: "
            "put them where the table shall stand."
        )
    return before, between, after


def _figures(folder: RunFolder, results: Results) -> Iterator[tuple[str, Figure]]:
    settings = results.settings
    yield ACCURACY, accuracies(results.records, (BASELINE, NETWORK), settings.target)
    grids = drawn(folder, NETWORK).grids
    sides = [grids.get(framework) for framework in FRAMEWORKS]
    yield BOUNDARY, decision_boundaries(NETWORK, split_of(settings), *sides)


def _draw(folder: RunFolder, results: Results) -> Iterator[tuple[str, Path]]:
    """Name → the figure as PNG, in a place that is gone afterwards."""
    with tempfile.TemporaryDirectory() as place:
        for name, figure in _figures(folder, results):
            plots.save(figure, Path(place), name)
            yield name, Path(place) / f"{name}.png"


def _gap(expected: Path, found: Path) -> str | None:
    """How a picture differs; None within the tolerance."""
    # Matplotlib leaves a picture of the difference beside the second one.
    shown = expected.with_name("shown.png")
    shutil.copyfile(found, shown)
    try:
        gap = compare_images(str(expected), str(shown), _TOLERANCE, in_decorator=True)
    except (ImageComparisonFailure, OSError) as error:
        return str(error).replace(str(expected.parent), "").strip()
    return None if gap is None else f"root mean square {gap['rms']:.1f}, at most {_TOLERANCE:g}"
