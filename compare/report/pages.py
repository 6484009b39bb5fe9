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
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compare import console
from compare.analysis.frames import counted
from compare.conventions import CONVENTIONS
from compare.data import Split
from compare.errors import MissingDependencyError, RunFolderError
from compare.report import tables, text
from compare.report.results import (
    Boundary,
    Results,
    boundary,
    csv_text,
    pairs_csv,
    report_json,
    results_csv,
)
from compare.report.text import OVERVIEWS
from compare.spec import VARIANTS, Settings
from compare.study.records import Record, RunFolder, write_text
from compare.study.runs import split_of

_USES = re.compile(r"<g([^>]*)>\s*((?:<use [^>]*/>\s*)+)</g>")
_COORDINATES = re.compile(r' (d|x|y)="([^"]*)"')
_MANY = 20
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def inline_svg(svg: str, name: str, alt: str, theme: Mapping[str, str]) -> str:
    """Make a Matplotlib SVG file an element of a page that holds other figures.

    Args:
        svg: The whole file.
        name: Prefix of the ids, so that figures do not share one.
        alt: Text for who cannot see the figure: its title.
        theme: Colour as `#rrggbb` → name of the page's own custom property for it.

    Returns:
        An `<svg>` element without a fixed size.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    # Matplotlib names everything, and two equal images alike: keep what is referred to.
    needed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = _COORDINATES.sub(_rounded, _USES.sub(_dotted, svg))
    for color, variable in theme.items():
        svg = svg.replace(color, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {box[0]} role="img" aria-labelledby="{name}-title" {links}>'
    title = f'<title id="{name}-title">{_escaped(alt)}</title>'
    body = re.sub(r"\s*\n\s*", "\n", svg[svg.index(">") + 1 :])
    return f"{opening}{title}{body}".strip()


def _dotted(group: re.Match[str]) -> str:
    """Many markers that look alike, as one path with a marker at every point."""
    looks = set(re.findall(r'href="#([^"]*)"[^>]*? style="([^"]*)"', group[2]))
    places = re.findall(r' x="([^"]*)" y="([^"]*)"', group[2])
    if len(looks) != 1 or len(places) != group[2].count("<use ") or len(places) < _MANY:
        return group[0]
    ((marker, style),) = looks
    name = f"{marker}-dot"
    ends = " ".join(f'marker-{place}="url(#{name})"' for place in ("start", "mid", "end"))
    points = "L".join(f"{x} {y}" for x, y in places)
    return (
        f'<g{group[1]}><marker id="{name}" overflow="visible" markerUnits="userSpaceOnUse">'
        f'<use href="#{marker}" style="{style}"/></marker>'
        f'<path d="M{points}" fill="none" stroke="none" {ends}/></g>'
    )


def _rounded(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point."""
    text = _NUMBER.sub(lambda number: f"{float(number[0]):.2f}", attribute[2])
    return f' {attribute[1]}="{" ".join(text.split())}"'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def words(results: Results) -> dict[str, Any]:
    """What both pages show, figures left out.

    Args:
        results: What was found.

    Returns:
        Variables of the template: tables, strings and containers of strings.
    """
    settings, records = results.settings, results.records
    rows, differences = results.rows, results.differences
    return {
        "summary": _summary(results),
        "warnings": _warnings(settings, records),
        "results": _results_table(results),
        "answers": _answers(results),
        "verdicts": console.Table(
            tables.VERDICT_HEADINGS,
            tables.verdict_lines(results.comparisons),
            title="Verdicts, one line per variant and endpoint",
        ),
        "effects": console.Table(
            tables.EFFECT_HEADINGS,
            tables.effect_lines(results.benefits),
            title="Effects of batch normalization",
        ),
        "gains": text.in_full(results.benefits, results.lags),
        "races": console.Table(
            tables.RACE_HEADINGS,
            tables.race_lines(results.races),
            title="Who reaches the target first",
        ),
        "legend": text.legend(settings, timed=bool(results.timings)),
        "explained": text.EXPLAINED,
        "tutorial_lines": tables.tutorial_lines(rows),
        "tutorial": console.Table(
            tables.TUTORIAL_HEADINGS,
            tables.tutorial_cells(results.tutorial),
            left=2,
            title="The tutorial’s accuracies and ours",
        ),
        "variants": {
            name: VARIANTS[name].title if name in VARIANTS else "" for name in results.variants
        },
        "gaps": {
            gap.variant: (
                gap.seeds,
                console.magnitude(gap.probability),
                console.magnitude(gap.weights),
            )
            for gap in differences
        },
        "conventions": console.Table(
            ("convention", "Keras", "Torch", "here"),
            _conventions(settings, results.variants),
            title="Conventions",
        ),
        "settings": {name: _text(value) for name, value in settings.to_dict().items()},
        **_environment(results.manifest),
    }


def facts(results: Results) -> dict[str, Any]:
    """What `report.json` says beside its numbers, as JSON types."""
    manifest = results.manifest
    return {
        "summary": _summary(results),
        "warnings": _warnings(results.settings, results.records),
        "answers": _answers(results),
        "effects_in_words": text.in_full(results.benefits, results.lags),
        "settings": results.settings.to_dict(),
        "data_digest": manifest.get("data_digest"),
        "hardware": manifest.get("hardware") or {},
        "versions": manifest.get("versions") or {},
    }


def _text(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _results_table(results: Results) -> console.Table:
    """The table of the terminal, with the difference of the test accuracy and its verdict."""
    accuracies = tables.by_variant(results.comparisons, "test_accuracy")
    rows = []
    for line in tables.cells(results.rows, results.differences):
        accuracy = accuracies.get(line[0])
        verdict = accuracy.verdict if accuracy else console.MISSING
        rows.append(tables.judged(line, tables.difference(accuracy), verdict))
    names = tables.judged(tables.headings(results.settings.target), "difference", "verdict")
    return console.Table(names, rows, left=1, title="Results, one line per variant")


def _stacked(heading: str) -> str:
    """A heading in lines as short as the cells below it."""
    short = heading.replace("test accuracy", "accuracy").replace("epochs to ", "epochs\nto ")
    for label in (*console.LABELS.values(), "|Δp|"):
        short = short.replace(f" {label}", f"\n{label}")
    return short.replace(" %", "\N{NO-BREAK SPACE}%")


def _answers(results: Results) -> dict[str, str]:
    return {
        text.SAME: text.same(results.comparisons),
        text.HELPS: text.helps(results.benefits),
    }


def _conventions(settings: Settings, variants: Sequence[str]) -> list[tuple[str, ...]]:
    """What the frameworks do differently in these networks, and what was done about it."""
    return [
        (one.name, one.keras, one.torch, "left out" if one.name in settings.undone else "matched")
        for one in CONVENTIONS.values()
        if set(one.touches) & set(variants)
    ]


def _summary(results: Results) -> str:
    settings, records = results.settings, results.records
    sides = [
        label
        for name, label in console.LABELS.items()
        if any(r["framework"] == name for r in records)
    ]
    where = " and in ".join(sides) if len(sides) > 1 else f"{sides[0]} alone"
    undone = settings.undone
    matched = (
        f"remedies left out: {', '.join(undone)}" if undone else "every known difference matched"
    )
    return (
        f"{console.plural(len(results.variants), 'variant')} of the batch normalization tutorial's "
        f"networks trained in {where}: {console.plural(settings.seeds, 'seed')}, "
        f"{console.plural(settings.epochs, 'epoch')}, {settings.dtype}, "
        f"alignment “{settings.alignment}” ({matched})."
    )


def _warnings(settings: Settings, records: Sequence[Record]) -> list[str]:
    """Runs that are not what the settings promise, by name."""
    found = {(r["variant"], r["framework"], r["seed"]) for r in records}
    planned = (
        (variant, framework, seed)
        for variant in settings.variants
        for framework in settings.frameworks
        for seed in range(settings.seeds)
    )
    missing = [run for run in planned if run not in found]
    diverged = [(r["variant"], r["framework"], r["seed"]) for r in records if r["status"] != "ok"]
    notes = []
    if missing:
        notes.append(f"The study is incomplete. Missing runs: {_names(missing)}.")
    if diverged:
        notes.append(f"Diverged, and left out of means and medians: {_names(diverged)}.")
    return notes


def _names(runs: Iterable[tuple[str, str, int]]) -> str:
    """`mlp Keras (seeds 0, 2), …`: a long list stays readable."""
    seeds: dict[str, list[int]] = {}
    for variant, framework, seed in runs:
        seeds.setdefault(f"{variant} {console.LABELS[framework]}", []).append(seed)
    return "; ".join(
        f"{side} ({'seed' if len(group) == 1 else 'seeds'} {_ranges(group)})"
        for side, group in seeds.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """`0, 2, 5–9`: three or more in a row are shortened."""
    rows: list[list[int]] = []
    for number in sorted(numbers):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(
        f"{row[0]}–{row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows
    )


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    hardware, versions = manifest.get("hardware") or {}, manifest.get("versions") or {}
    installed = {name: version for name, version in versions.items() if version}
    memory, cores = hardware.get("memory_bytes"), hardware.get("cores")
    parts = [
        hardware.get("cpu"),
        console.plural(cores, "core") if cores else None,
        f"{memory / 2**30:.0f} GiB of memory" if memory else None,
        " and ".join(sorted(set((hardware.get("accelerator") or {}).values()))),
        " ".join(filter(None, (hardware.get("system"), hardware.get("machine")))),
        f"Python {hardware['python']}" if hardware.get("python") else None,
    ]
    facts = {
        "started": manifest.get("created_at"),
        "command": shlex.join(manifest.get("command") or []),
        "git commit": manifest.get("git_commit"),
        "Keras backend": manifest.get("keras_backend"),
        "data digest": manifest.get("data_digest"),
        **installed,
    }
    return {
        "hardware": ", ".join(str(part) for part in parts if part),
        "versions": ", ".join(f"{name} {version}" for name, version in installed.items()),
        "environment": {name: value for name, value in facts.items() if value},
    }


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
        MissingDependencyError: Matplotlib, Jinja or markdown-it is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import markdown_it  # noqa: F401

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
        MissingDependencyError: Matplotlib, Jinja or markdown-it is not installed.
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
    """File name → text of both pages: one template, tables and figures as each needs them."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": console.markdown_text, "stacked": _stacked}

    def render(blocks: str) -> str:
        return environment.get_template("report.md.j2").render(context, blocks=blocks)

    title, main = _html(render("blocks.html.j2"))
    html = environment.get_template("page.html.j2").render(title=title, main=main)
    return {"report.md": render("blocks.md.j2"), "report.html": html}


def _html(markdown: str) -> tuple[str, str]:
    """A page in Markdown as HTML, with links to its sections before the first one.

    Args:
        markdown: The page, a heading of the first level first; tables and figures are HTML.

    Returns:
        Its title, and the HTML.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True})
    tokens = parser.parse(markdown)
    links, first = [], len(tokens)
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            text = "".join(part.content for part in tokens[place + 1].children or ())
            name = re.sub(r"\W+", "-", text.lower())
            token.attrSet("id", name if token.tag == "h2" else f"variant-{name}")
            links.append(f'<li><a href="#{token.attrGet("id")}">{_escaped(text)}</a></li>')
            first = min(first, place)
        elif token.type == "fence":
            # Not markdown-it's own: a box that scrolls must be reachable with the keyboard.
            token.type = "html_block"
            region = 'class="scroll" tabindex="0" role="region" aria-label="The tutorial’s lines"'
            token.content = f"<div {region}>\n<pre>{_escaped(token.content)}</pre>\n</div>\n"
    title = tokens[1].content
    parts = [
        parser.renderer.render(some, parser.options, {})
        for some in (tokens[:first], tokens[first:])
    ]
    nav = "\n".join(['<nav aria-label="Sections"><ul>', *links, "</ul></nav>\n"])
    return title, nav.join(parts)


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
