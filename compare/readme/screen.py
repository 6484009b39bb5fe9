"""The README's first screen, from the records of a default study."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from compare.plots.accuracy import accuracies
from compare.plots.boundary import decision_boundaries
from compare.readme.records import check_default, drawn, keep
from compare.readme.section import Section
from compare.readme.words import ACCURACY, BASELINE, BOUNDARY, NETWORK, block
from compare.report.results import Results
from compare.spec import FRAMEWORKS
from compare.study.records import RunFolder
from compare.study.runs import split_of

NAME = "Results"

KEPT = "study"
"""The folder in `docs` with its records."""


def section(folder: RunFolder) -> Section:
    """The section of a study.

    Args:
        folder: A whole study at the defaults of `bn-compare run`.

    Raises:
        InputError: It is no such study.
        RunFolderError: Records cannot be read.
    """
    check_default(folder)
    # Without distances: they would need the weights of every run.
    results = Results(folder.settings, folder.manifest, folder.records(), folder.timings(), ())
    return Section(
        name=NAME,
        source=folder.path,
        block=block(results),
        figures=partial(_figures, folder, results),
        keep=partial(_keep, folder),
    )


def _keep(folder: RunFolder, docs: Path) -> None:
    keep(folder, docs / KEPT, NETWORK)


def _figures(folder: RunFolder, results: Results) -> Iterator[tuple[str, Figure]]:
    settings = results.settings
    yield ACCURACY, accuracies(results.records, (BASELINE, NETWORK), settings.target)
    grids = drawn(folder, NETWORK).grids
    sides = [grids.get(framework) for framework in FRAMEWORKS]
    yield BOUNDARY, decision_boundaries(NETWORK, split_of(settings), *sides)
