"""Options of `bn-compare parity` for the user's own pair, and the command `init`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compare.commands.options import number, split_names
from compare.errors import InputError

INIT_EXAMPLES = """\b
Examples:
  bn-compare init parity                             a pair of its own, which passes
  bn-compare init tests --keras nets:keras_net --torch nets:torch_net --input-shape 28,28,1
"""

Pair = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KERAS TORCH",
        help="module:function, twice, to compare what these build instead of the variants; they "
        "are imported from the current folder.",
        show_default=False,
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B",
        help="Shape of one sample in Keras' layout (own pair only); name=A,B, once per input, "
        "where the models take several. By default, the Keras model's.",
        show_default=False,
    ),
]
Samples = Annotated[
    int,
    typer.Option(metavar="N", parser=number, help="Number of synthetic samples (own pair only)."),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N", parser=number, help="Seed of synthetic samples and targets (own pair only)."
    ),
]
Targets = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="Synthetic targets (own pair only): none, normal, binary or classes:N. With targets, "
        "both models train.",
    ),
]
Steps = Annotated[
    int, typer.Option(metavar="N", parser=number, help="Training steps (own pair only).")
]
Pairs = Annotated[
    str,
    typer.Option(
        metavar="A=B,C=D",
        help="Keras layer=Torch module, where order does not tell (own pair only).",
    ),
]
WeightsFrom = Annotated[
    str, typer.Option(metavar="SIDE", help="Copy weights from keras or torch (own pair only).")
]
Allow = Annotated[
    str,
    typer.Option(metavar="A,B", help="Conventions whose difference is accepted (own pair only)."),
]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write an HTML report (own pair only).")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print which weights would be copied where (own pair only)."),
]

_OF_PAIR = {
    "input_shape",
    "samples",
    "seed",
    "targets",
    "steps",
    "pairs",
    "weights_from",
    "allow",
    "html",
    "dry_run",
}
_OF_BOTH = {"pair", "dtype", "json_output"}


def check_options(given: set[str], pair: list[str]) -> None:
    """Refuse options that would have no effect.

    Args:
        given: Parameters that the command line names.
        pair: The two functions, or nothing.

    Raises:
        InputError: There are not two functions, or an option has no effect: one for the built-in
            variants beside a pair, or the other way round.
    """
    if pair and len(pair) != 2:
        raise InputError(
            f"parity: expected two functions, Keras' and Torch's, received {len(pair)}: "
            f"{' '.join(pair)}."
        )
    wrong = given - _OF_PAIR - _OF_BOTH if pair else given & _OF_PAIR
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        raise InputError(
            f"{names}: for the built-in variants only, not for your own pair {' '.join(pair)}. "
            "Leave it out."
            if pair
            else f"{names}: for a pair of your own only. Name it: module:keras_function "
            "module:torch_function."
        )


def check_pair(options: Mapping[str, Any]) -> int:
    """Compare two models that functions build; returns the exit code.

    Args:
        options: Parameter → value.

    Raises:
        InputError: An option, a function or a model cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    from compare.porting import command
    from compare.porting.options import Options

    keras, torch = options["pair"]
    pair = command.Command(
        keras=keras,
        torch=torch,
        input_shapes=tuple(options["input_shape"] or ()),
        samples=options["samples"],
        seed=options["seed"],
        targets=options["targets"],
        options=Options(
            steps=options["steps"],
            dtype=options["dtype"],
            pairs=_partners(options["pairs"]),
            allow=split_names(options["allow"]),
            weights_from=options["weights_from"] or None,
        ),
    )
    if options["dry_run"]:
        if options["json_output"] or options["html"]:
            raise InputError("--dry-run prints only a table: leave out --json and --html.")
        print(pair.propose())
        return 0
    return pair.run(html=options["html"], as_json=options["json_output"])


def _partners(text: str) -> dict[str, str]:
    pairs = {}
    for part in split_names(text):
        name, equals, other = part.partition("=")
        if not (name and equals and other):
            raise InputError(f"--pairs: expected keras_layer=torch.module, received {part!r}.")
        pairs[name] = other
    return pairs


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where test_parity.py goes.")],
    keras: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Builds the Keras model.")
    ] = "",
    torch: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Builds the Torch module.")
    ] = "",
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="As for `bn-compare parity`.", show_default=False),
    ] = None,
) -> None:
    """Write a test of parity for pytest, of your own two models or of a small pair that passes."""
    from compare.porting import scaffold

    file = scaffold.write(folder, keras, torch, tuple(input_shape or ()))
    print(f"{file}: written; run it: python -m pytest {file}", file=sys.stderr)
