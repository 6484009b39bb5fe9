"""The command `selftest`."""

from __future__ import annotations

from typing import Annotated

import typer

from compare.commands.options import Json, split_names

EXAMPLES = """\b
Examples:
  bn-compare selftest
  bn-compare selftest --quick
  bn-compare selftest --only loss-summed,last-batch-dropped --json
"""


def selftest(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Do not look for the smallest size that is still caught."),
    ] = False,
    only: Annotated[str, typer.Option(metavar="A,B", help="Bugs to inject, by name.")] = "",
    json_output: Json = False,
) -> None:
    """Inject one port bug per rung: each must be caught there, with its layer blamed."""
    from compare.selftest import command

    raise typer.Exit(command.run(split_names(only), only_quick=quick, as_json=json_output))
