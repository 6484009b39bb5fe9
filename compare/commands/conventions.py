"""The command `conventions`."""

from __future__ import annotations

from typing import Annotated

import typer

from compare.commands.options import DEFAULT, Epochs, Json, split_names
from compare.errors import InputError

EXAMPLES = """\b
Examples:
  bn-compare conventions
  bn-compare conventions bn-momentum adam-epsilon
  bn-compare conventions --measure                   every one of them: some ten minutes
  bn-compare conventions --measure bn-epsilon --variants cnn-bn --epochs 10 --json
"""


def conventions(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names of conventions; all by default."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Leave out one remedy at a time, train, and rank.")
    ] = False,
    variants: Annotated[
        str,
        typer.Option(metavar="A,B", help="Networks to measure on; by default one of each family."),
    ] = "",
    epochs: Epochs = DEFAULT.epochs,
    json_output: Json = False,
) -> None:
    """Every known difference between the frameworks; with --measure, what each one costs."""
    from compare.parity import ablation

    if variants and not measure:
        raise InputError(
            "--variants works only with --measure. Add --measure or remove --variants."
        )
    if measure:
        ablation.print_effects(
            names or (), split_names(variants), epochs=epochs, as_json=json_output
        )
    else:
        ablation.print_catalogue(names or (), as_json=json_output)
