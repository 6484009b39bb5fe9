"""The report: tables, figures and pages from the files of a run folder alone.

```
report.html     one file without network, figures inline
report.md       for a code host; links the figures below
report.json     every number that the pages show
results.csv     one line per run
pairs.csv       one line per pair
figures/        each figure as PNG and SVG, and as CSV the numbers behind it
```

The same records give the same bytes: nothing here reads a clock.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compare.analysis.pairing import counted
from compare.data import Split
from compare.errors import MissingDependencyError, RunFolderError
from compare.report.boundaries import Boundary, boundary
from compare.report.captions import OVERVIEWS
from compare.report.inline import inline_svg
from compare.report.results import Results, csv_text, pairs_csv, report_json, results_csv
from compare.report.words import facts, words
from compare.spec import VARIANTS
from compare.study.records import Record, RunFolder, write_text
from compare.study.runs import split_of


@dataclass(frozen=True)
class Illustration:
    """A figure of the report.

    Attributes:
        name: Name of its files without their ending; unique within the report.
        alt: What there is to see, for who cannot see it; no square brackets.
        svg: The figure as an element of an HTML page.
    """

    name: str
    alt: str
    svg: str


def check_installed() -> None:
    """Raise unless the libraries that a report needs can be imported.

    Raises:
        MissingDependencyError: Matplotlib or Jinja is not installed.
    """
    try:
        import jinja2  # noqa: F401

        import compare.report.pictures  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"a report needs {error.name}, which is not installed: "
            "pip install 'bn-compare[report]'."
        ) from error


def write(folder: RunFolder) -> Results:
    """Write the report of a study into its run folder, over an older report if there is one.

    Args:
        folder: A run folder with at least one finished run.

    Returns:
        What the report says.

    Raises:
        RunFolderError: There is no finished run, the data cannot be made again, an array is
            missing or corrupt, or the folder cannot be written to.
        MissingDependencyError: Matplotlib or Jinja is not installed.
    """
    check_installed()
    with _uncollected():
        return _write(folder)


def _write(folder: RunFolder) -> Results:
    records = _in_order(folder)
    split = _split(folder)
    results = Results.read(folder, records)
    boundaries = {name: boundary(folder, records, name) for name in results.variants}
    context = words(results) | {"boundaries": boundaries}
    try:
        write_text(folder.path / "results.csv", results_csv(records))
        write_text(folder.path / "pairs.csv", pairs_csv(results))
        write_text(folder.path / "report.json", report_json(results, facts(results)))
        figures = _draw(folder, results, split, boundaries)
        overviews = {n: title for n, title in OVERVIEWS.items() if n in figures}
        context |= {"figures": figures, "overviews": overviews}
        for name, text in _pages(context).items():
            write_text(folder.path / name, text)
    except OSError as error:
        raise RunFolderError(f"{folder.path}: cannot write the report: {error}") from error
    return results


@contextmanager
def _uncollected() -> Iterator[None]:
    """Do not look for unreachable objects meanwhile.

    Every look goes through the lists of all records: an eighth of the time of a large study, for
    the little that figures leave behind.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _pages(context: Mapping[str, Any]) -> dict[str, str]:
    """File name → text of both pages."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = _markdown
    names = ("report.md", "report.html")
    return {name: environment.get_template(f"{name}.j2").render(context) for name in names}


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", " ".join(str(text).split()))


def _in_order(folder: RunFolder) -> list[Record]:
    """The records by variant, framework and seed: the order of arrival says nothing."""
    records = [counted(record) for record in folder.records()]
    if not records:
        raise RunFolderError(
            f"{folder.path}: no finished run to report: expected at least one line in "
            "records.jsonl. The study was interrupted before its first run ended; run it again."
        )
    order = [*folder.settings.variants, *VARIANTS]

    def place(record: Record) -> tuple[int, str, str, int]:
        name = record["variant"]
        index = order.index(name) if name in order else len(order)
        return index, name, record["framework"], record["seed"]

    return sorted(records, key=place)


def _split(folder: RunFolder) -> Split:
    """The data of the study, made again; refuses other data than was trained on."""
    split = split_of(folder.settings)
    expected = folder.manifest.get("data_digest")
    if split.digest != expected:
        raise RunFolderError(
            f"{folder.path / 'manifest.json'}: the data made again from its settings differ from "
            f"those trained on: expected data_digest {expected}, received {split.digest}. "
            "Use the versions of NumPy and scikit-learn that the manifest names."
        )
    return split


def _draw(
    folder: RunFolder,
    results: Results,
    split: Split,
    boundaries: Mapping[str, Boundary | None],
) -> dict[str, Illustration]:
    from compare.report import figures as plots
    from compare.report import pictures

    path = folder.path / "figures"
    path.mkdir(exist_ok=True)
    theme = {plots.INK: "ink", plots.PAPER: "paper"}
    theme |= {pen.color: framework for framework, pen in plots.PENS.items()}
    drawn = {}
    for picture in pictures.pictures(results, split, boundaries):
        name, alt = picture.name, picture.alt
        plots.save(picture.draw(), path, name)
        write_text(path / f"{name}.csv", csv_text(picture.numbers))
        svg = (path / f"{name}.svg").read_text(encoding="utf-8")
        drawn[name] = Illustration(name, alt, inline_svg(svg, name, alt, theme))
    return drawn
