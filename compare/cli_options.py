"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compare.spec import VARIANTS, Settings

DEFAULT = Settings()


def number(text: str | float) -> int | float | str:
    """A number where it is one; what is none goes on as it is, for `Settings` to name."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def split_names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _count(text: str) -> object:
    return typer.Option(metavar="N", parser=number, help=text)


Variants = Annotated[str, typer.Option(metavar="A,B", help=f"Of: {', '.join(VARIANTS)}.")]
Seeds = Annotated[int, _count("Seeds 0 … N-1.")]
Epochs = Annotated[int, _count("Passes over the training half.")]
Alignment = Annotated[
    str, typer.Option(help="How far the port matches Keras: exact, stock or naive.")
]
Undo = Annotated[str, typer.Option(metavar="A,B", help="Conventions to leave unmatched, by name.")]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="New folder; a dated one in runs/ if left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]

ALL_VARIANTS = ",".join(DEFAULT.variants)
