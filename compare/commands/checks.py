"""Commands that check: `parity`, `conventions`, `selftest`."""

from __future__ import annotations

from typing import Annotated

import typer

from compare.commands import pair as pair_options
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
    split_names,
)
from compare.errors import InputError
from compare.spec import Settings

PARITY_EXAMPLES = """\b
Examples:
  bn-compare parity                                  ten variants, float64, 100 epochs
  bn-compare parity --variants mlp-bn-after,cnn-bn --seeds 5
  bn-compare parity --variants lstm --undo lstm-single-bias
  bn-compare parity --alignment stock --epochs 5 --json
  bn-compare parity nets:keras_net nets:torch_net --input-shape 28,28,1    your own pair
  bn-compare parity nets:keras_net nets:torch_net --targets classes:10 --html parity.html
  bn-compare parity nets:keras_net nets:torch_net --dry-run
"""
CONVENTIONS_EXAMPLES = """\b
Examples:
  bn-compare conventions
  bn-compare conventions bn-momentum adam-epsilon
  bn-compare conventions --measure                   every one of them: some ten minutes
  bn-compare conventions --measure bn-epsilon --variants cnn-bn --epochs 10 --json
"""
SELFTEST_EXAMPLES = """\b
Examples:
  bn-compare selftest
  bn-compare selftest --quick
  bn-compare selftest --only loss-summed,last-batch-dropped --json
"""


def parity(
    context: typer.Context,
    pair: pair_options.Pair = None,
    variants: Variants = ALL_VARIANTS,
    seeds: Seeds = DEFAULT.seeds,
    epochs: Epochs = DEFAULT.epochs,
    dtype: Dtype = "float64",
    alignment: Alignment = DEFAULT.alignment,
    undo: Undo = "",
    out: Out = None,
    json_output: Json = False,
    input_shape: pair_options.InputShape = None,
    samples: pair_options.Samples = 8,
    seed: pair_options.Seed = 0,
    targets: pair_options.Targets = "none",
    steps: pair_options.Steps = 2,
    pairs: pair_options.Pairs = "",
    weights_from: pair_options.WeightsFrom = "",
    allow: pair_options.Allow = "",
    html: pair_options.Html = None,
    dry_run: pair_options.DryRun = False,
) -> None:
    """Climb the ladder with every variant, or with a pair of your own. Exit 1 if any differs."""
    pair_options.check_options(given_options(context), pair or [])
    if pair:
        raise typer.Exit(pair_options.check_pair(context.params))
    settings = Settings(
        variants=split_names(variants),
        seeds=seeds,
        epochs=epochs,
        dtype=dtype,
        alignment=alignment,
        undo=split_names(undo),
    )
    from compare.parity import report as parity_report

    reports = parity_report.run(settings, out)
    parity_report.show(reports, as_json=json_output)
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def conventions(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these; all if left out.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Leave out one remedy at a time, train, and rank.")
    ] = False,
    variants: Annotated[
        str, typer.Option(metavar="A,B", help="Where to measure; one of each family if left out.")
    ] = "",
    epochs: Epochs = DEFAULT.epochs,
    json_output: Json = False,
) -> None:
    """Every known difference between the frameworks; with --measure, what each one costs."""
    from compare.parity import ablation

    if variants and not measure:
        raise InputError("--variants says where to measure: give --measure too.")
    if measure:
        ablation.print_effects(
            names or (), split_names(variants), epochs=epochs, as_json=json_output
        )
    else:
        ablation.print_catalogue(names or (), as_json=json_output)


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
