"""The command that keeps the README true: `readme`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

README_EXAMPLES = """\b
Examples:
  bn-compare readme runs/20260101-120000
  bn-compare readme --check
"""


def readme(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Folder of a default run; docs/study beside the README if left out."
        ),
    ] = None,
    path: Annotated[
        Path, typer.Option("--readme", metavar="FILE", help="The README, with both marks in it.")
    ] = Path("README.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 with what differs, if anything.")
    ] = False,
) -> None:
    """Write the README's table, text and figures from a default run, and keep its records."""
    from compare.report import pages as report

    report.check_installed()
    from compare.readme import page, screen
    from compare.study.records import RunFolder

    opened = RunFolder.open(page.docs_beside(path) / screen.KEPT if folder is None else folder)
    if not check:
        page.write([screen.section(opened)], path)
        print(f"{path}: written from {opened.path}")
        return
    found = page.faults([screen.section(opened)], path)
    print("\n".join(found) or f"{path}: as {opened.path} has it")
    raise typer.Exit(1 if found else 0)
