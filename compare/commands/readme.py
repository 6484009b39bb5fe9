"""The command that keeps the README true: `readme`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

README_EXAMPLES = """\b
Examples:
  bn-compare readme                                 again from what is kept in docs
  bn-compare readme runs/20260101-120000
  bn-compare readme --timing runs/time-20260101-120000 --cost runs/self-20260101-120000
  bn-compare readme --check
"""


def readme(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Folder of a default run; docs/study beside the README if left out."
        ),
    ] = None,
    timing: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of `bn-compare time`; docs/timing.json if left out."
        ),
    ] = None,
    cost: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of `bn-compare time --self`; docs/cost.json if left out."
        ),
    ] = None,
    path: Annotated[
        Path, typer.Option("--readme", metavar="FILE", help="The README, with all marks in it.")
    ] = Path("README.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 with what differs, if anything.")
    ] = False,
) -> None:
    """Write the README's numbers and figures from a default run and timings, and keep these."""
    from compare.report import pages

    pages.check_installed()
    from compare.readme import page
    from compare.readme.sections import sections

    found = sections(page.docs_beside(path), study=folder, timing=timing, cost=cost)
    sources = ", ".join(str(section.source) for section in found)
    if not check:
        page.write(found, path)
        print(f"{path}: written from {sources}")
        return
    faults = page.faults(found, path)
    print("\n".join(faults) or f"{path}: as {sources} have it")
    raise typer.Exit(1 if faults else 0)
