"""The report: tables, figures and pages from the files of a run folder alone.

```
results.csv     one line per run
report.md       for a code host; links the figures below
report.html     one file without network or scripts, figures inline
figures/        circles, learning-curves-<variant>, decision-boundary-<variant>; PNG and SVG
```

The same records give the same bytes: nothing here reads a clock.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from compare import page
from compare.data import GRID_SIDE, Array, Split
from compare.errors import MissingDependencyError, RunFolderError
from compare.records import Record, RunFolder, run_name, write_text
from compare.runs import split_of
from compare.spec import FRAMEWORKS, VARIANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "running_train_loss",
    "running_train_accuracy",
    "batch_statistics_test_accuracy",
)
_IDENTITY = ("variant", "framework", "seed", "alignment", "pace", "dtype", "status")


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


@dataclass(frozen=True)
class Boundary:
    """The predictions of one seed over the plane: framework → (GRID_SIDE²,)."""

    seed: int
    grids: Mapping[str, Array]


def check_installed() -> None:
    """Raise unless the libraries that a report needs can be imported.

    Raises:
        MissingDependencyError: Matplotlib or Jinja is not installed.
    """
    try:
        import jinja2  # noqa: F401

        import compare.plots  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"a report needs {error.name}, which is not installed: "
            "pip install 'bn-compare[report]'."
        ) from error


def write(folder: RunFolder) -> None:
    """Write the report of a study into its run folder, over an older report if there is one.

    Args:
        folder: A run folder with at least one finished run.

    Raises:
        RunFolderError: There is no finished run, the data cannot be made again, an array is
            missing or corrupt, or the folder cannot be written to.
        MissingDependencyError: Matplotlib or Jinja is not installed.
    """
    check_installed()
    import jinja2

    records = _in_order(folder)
    split = _split(folder)
    words = page.words(folder, records)
    boundaries = {name: _boundary(folder, records, name) for name in page.variants(records)}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = _markdown
    try:
        write_text(folder.path / "results.csv", results_csv(records))
        words |= {"figures": _draw(folder, records, split, boundaries), "boundaries": boundaries}
        for name in ("report.md", "report.html"):
            text = environment.get_template(f"{name}.j2").render(words)
            write_text(folder.path / name, text)
    except OSError as error:
        raise RunFolderError(f"{folder.path}: cannot write the report: {error}") from error


def results_csv(records: Iterable[Record]) -> str:
    """One line per run: what it was, its final metrics, when it arrived, how fast it was.

    A number that is not known (a run that diverged, a clock that did not run) is an empty cell.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_IDENTITY, *METRICS, "epochs_to_target", "epoch_seconds_median"])
    for record in records:
        seconds = record.get("epoch_seconds")
        writer.writerow(
            [
                *(record[name] for name in _IDENTITY),
                *(record["final"].get(name) for name in METRICS),
                record.get("epochs_to_target"),
                median(seconds) if seconds else None,
            ]
        )
    return text.getvalue()


def inline_svg(svg: str, name: str, alt: str, theme: Mapping[str, str]) -> str:
    """Make a Matplotlib SVG file an element of a page that holds other figures.

    Args:
        svg: The whole file.
        name: Prefix of the ids, so that figures do not share one.
        alt: Text for `aria-label`.
        theme: Colour as `#rrggbb` → name of the page's own custom property for it.

    Returns:
        An `<svg>` element without a fixed size.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    # Matplotlib names everything, and two equal images alike: keep what is referred to.
    needed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for color, variable in theme.items():
        svg = svg.replace(color, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    opening = f'<svg {box[0]} role="img" aria-label="{_attribute(alt)}"'
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{opening} {links}>{svg[svg.index('>') + 1 :]}".strip()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _markdown(text: object) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", " ".join(str(text).split()))


def _in_order(folder: RunFolder) -> list[Record]:
    """The records by variant, framework and seed: the order of arrival says nothing."""
    records = folder.records()
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


def _boundary(folder: RunFolder, records: Iterable[Record], variant: str) -> Boundary | None:
    """The lowest seed with predictions: of both sides, and not diverged, where there is one."""
    seeds: dict[int, list[Record]] = {}
    for record in records:
        if record["variant"] == variant:
            seeds.setdefault(record["seed"], []).append(record)

    def rank(seed: int) -> tuple[int, int, int]:
        fine = sum(run["status"] == "ok" for run in seeds[seed])
        return -fine, -len(seeds[seed]), seed

    for seed in sorted(seeds, key=rank):
        grids = {run["framework"]: _grid(folder, run) for run in seeds[seed]}
        found = {framework: grid for framework, grid in grids.items() if grid is not None}
        if found:
            return Boundary(seed, found)
    return None


def _grid(folder: RunFolder, record: Record) -> Array | None:
    grid = folder.arrays(record).get("grid_probability")
    if grid is not None and grid.size != GRID_SIDE**2:
        raise RunFolderError(
            f"{folder.path / 'weights' / run_name(record)}.npz: grid_probability: "
            f"expected {GRID_SIDE**2} numbers, received {grid.size}."
        )
    return grid


def _draw(
    folder: RunFolder,
    records: Sequence[Record],
    split: Split,
    boundaries: Mapping[str, Boundary | None],
) -> dict[str, Illustration]:
    from compare import plots

    path = folder.path / "figures"
    path.mkdir(exist_ok=True)
    theme = {plots.INK: "ink", plots.PAPER: "paper"}
    theme |= {pen.color: framework for framework, pen in plots.PENS.items()}
    drawn = {}

    def add(name: str, alt: str, figure: Figure) -> None:
        plots.save(figure, path, name)
        svg = (path / f"{name}.svg").read_text(encoding="utf-8")
        drawn[name] = Illustration(name, alt, inline_svg(svg, name, alt, theme))

    add("circles", "The two noisy circles, train and test points.", plots.circles(split))
    for variant, boundary in boundaries.items():
        alt = f"Accuracy and loss of {variant} by epoch, train and test, in each framework."
        curves = plots.learning_curves(variant, records, folder.settings.target)
        add(f"learning-curves-{variant}", alt, curves)
        if boundary is not None:
            sides = [boundary.grids.get(framework) for framework in FRAMEWORKS]
            alt = f"Predictions of {variant} over the plane, with the 0.5 contour and test points."
            figure = plots.decision_boundaries(variant, split, sides[0], sides[1])
            add(f"decision-boundary-{variant}", alt, figure)
    return drawn
