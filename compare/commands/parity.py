"""The command `parity`, for the built-in networks or a pair of one's own, and `init`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compare.commands.options import (
    ALL_VARIANTS,
    DEFAULT,
    Alignment,
    Dtype,
    Epochs,
    Json,
    Out,
    Seeds,
    Undo,
    Variants,
    given_options,
    number,
    split_names,
)
from compare.errors import InputError
from compare.spec import Settings

EXAMPLES = """\b
Examples:
  bn-compare parity                                  ten variants, float64, 100 epochs
  bn-compare parity --variants mlp-bn-after,cnn-bn --seeds 5
  bn-compare parity --variants lstm --undo lstm-single-bias
  bn-compare parity --alignment stock --epochs 5 --json
  bn-compare parity nets:keras_net nets:torch_net --input-shape 28,28,1    your own pair
  bn-compare parity nets:keras_net nets:torch_net --targets classes:10 --html parity.html
  bn-compare parity nets:keras_net nets:torch_net --dry-run
"""
INIT_EXAMPLES = """\b
Examples:
  bn-compare init parity                             a pair of its own, which passes
  bn-compare init tests --keras nets:keras_net --torch nets:torch_net --input-shape 28,28,1
"""


def _own(metavar: str | None, text: str, *flags: str, **options: Any) -> Any:
    """An option that applies to a pair of one's own."""
    return typer.Option(*flags, metavar=metavar, help=f"{text} (your own pair only).", **options)


def parity(
    context: typer.Context,
    pair: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KERAS TORCH",
            help="module:function, twice: compare the models that these build instead of the "
            "built-in networks. They are imported from the current folder.",
            show_default=False,
        ),
    ] = None,
    variants: Variants = ALL_VARIANTS,
    seeds: Seeds = DEFAULT.seeds,
    epochs: Epochs = DEFAULT.epochs,
    dtype: Dtype = "float64",
    alignment: Alignment = DEFAULT.alignment,
    undo: Undo = "",
    out: Out = None,
    json_output: Json = False,
    input_shape: Annotated[
        list[str] | None,
        _own(
            "A,B",
            "Shape of one sample in Keras' layout; by default that of the Keras model. If the "
            "models take several inputs, give name=A,B for each",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, _own("N", "Number of synthetic samples", parser=number)] = 8,
    seed: Annotated[int, _own("N", "Seed of the synthetic data", parser=number)] = 0,
    targets: Annotated[
        str,
        _own(
            "KIND",
            "Synthetic targets: none, normal, binary or classes:N. With targets, both models train",
        ),
    ] = "none",
    steps: Annotated[int, _own("N", "Number of training steps", parser=number)] = 2,
    pairs: Annotated[
        str, _own("A=B,C=D", "Keras layer = Torch module, if their order does not match")
    ] = "",
    weights_from: Annotated[str, _own("SIDE", "Copy the weights of keras or torch")] = "",
    allow: Annotated[str, _own("A,B", "Conventions whose difference is accepted")] = "",
    randomness: Annotated[
        str, _own("HOW", "Dropout and noise: shared (the same on both sides), off or refuse")
    ] = "shared",
    strict: Annotated[bool, _own(None, "Accept only what --allow names", "--strict")] = False,
    threads: Annotated[
        int, _own("N", "Threads of Torch; by default half of the cores", parser=number)
    ] = 0,
    html: Annotated[Path | None, _own("FILE", "Write the result as a page")] = None,
    dry_run: Annotated[
        bool, _own(None, "Print which weights would be copied where", "--dry-run")
    ] = False,
) -> None:
    """Climb the ladder with every variant, or with a pair of your own. Exit 1 if any differs."""
    _check_options(given_options(context), pair or [])
    if pair:
        raise typer.Exit(_check_pair(context.params))
    settings = Settings(
        variants=split_names(variants),
        seeds=seeds,
        epochs=epochs,
        dtype=dtype,
        alignment=alignment,
        undo=split_names(undo),
    )
    from compare.parity import command

    reports = command.run(settings, out)
    command.show(reports, as_json=json_output)
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


_BUILT_IN_ONLY = {"variants", "seeds", "epochs", "alignment", "undo", "out"}
_FOR_BOTH = {"pair", "dtype", "json_output"}


def _check_options(given: set[str], pair: list[str]) -> None:
    """Raise where an option would be ignored without a word.

    Args:
        given: Parameters that the command line names.
        pair: The two functions, or nothing.

    Raises:
        InputError: There are not two functions, or an option does not apply.
    """
    if pair and len(pair) != 2:
        raise InputError(
            f"parity: expected two functions, Keras' and Torch's, received {len(pair)}: "
            f"{' '.join(pair)}."
        )
    wrong = given & _BUILT_IN_ONLY if pair else given - _BUILT_IN_ONLY - _FOR_BOTH
    if not wrong:
        return
    names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
    verb, pronoun = ("applies", "it") if len(wrong) == 1 else ("apply", "them")
    if pair:
        raise InputError(
            f"{names} {verb} to the built-in networks, not to your own pair. Remove {pronoun}."
        )
    raise InputError(
        f"{names} {verb} to your own pair, not to the built-in networks. Name the pair, as "
        f"module:keras_function module:torch_function, or remove {pronoun}."
    )


def _check_pair(options: Mapping[str, Any]) -> int:
    """Compare two models that functions build; returns the exit code.

    Args:
        options: Parameter → value.

    Raises:
        InputError: An option, a function or a model cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    from compare.porting.command import Command
    from compare.porting.options import DEFAULT_THREADS, Options

    keras, torch = options["pair"]
    command = Command(
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
            strict=options["strict"],
            threads=options["threads"] or DEFAULT_THREADS,
            randomness=options["randomness"],
        ),
    )
    if options["dry_run"]:
        if options["json_output"] or options["html"]:
            raise InputError("--dry-run only prints a table: leave out --json and --html.")
        print(command.propose())
        return 0
    return command.run(html=options["html"], as_json=options["json_output"])


def _partners(text: str) -> dict[str, str]:
    partners = {}
    for part in split_names(text):
        name, equals, other = part.partition("=")
        if not (name and equals and other):
            raise InputError(f"--pairs: expected keras_layer=torch.module, received {part!r}.")
        partners[name] = other
    return partners


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
        typer.Option(metavar="A,B", help="As of `bn-compare parity`.", show_default=False),
    ] = None,
) -> None:
    """Write a test of parity for pytest, of your own two models or of a small pair that passes."""
    from compare.porting import scaffold

    file = scaffold.write(folder, keras, torch, tuple(input_shape or ()))
    print(f"{file}: written; run it: python -m pytest {file}", file=sys.stderr)
