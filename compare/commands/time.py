"""The command that times: `time`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compare.commands.options import Dtype, Json, Out, Variants, number, split_names
from compare.spec import Settings
from compare.timing.records import DEFAULT, Plan

TIME_EXAMPLES = """\b
Examples:
  bn-compare time                                   four variants: some five minutes
  bn-compare time --variants mlp --repetitions 10 --no-scaling
  bn-compare time --variants mlp-bn-after --tuned --json
  bn-compare time --threads 4 --accelerator gpu
"""
VARIANTS = ",".join(DEFAULT.settings.variants)


def _count(text: str) -> object:
    return typer.Option(metavar="N", parser=number, help=text)


_Repetitions = Annotated[int, _count("Timed fits of each, after one that warms up.")]
_Epochs = Annotated[int, _count("Epochs of a timed fit; the first is not steady.")]
_Tuned = Annotated[
    bool, typer.Option("--tuned", help="Also what a tuner would try; takes a few times longer.")
]
_NoScaling = Annotated[
    bool, typer.Option("--no-scaling", help="Leave out growing batches and widths.")
]
_Patience = Annotated[
    float,
    typer.Option(metavar="N", parser=number, help="Seconds to wait, in all, for a quiet machine."),
]


def time(
    variants: Variants = VARIANTS,
    repetitions: _Repetitions = DEFAULT.repetitions,
    epochs: _Epochs = DEFAULT.settings.epochs,
    dtype: Dtype = DEFAULT.settings.dtype,
    threads: Annotated[int, _count("Threads per framework.")] = DEFAULT.settings.threads,
    tuned: _Tuned = DEFAULT.tuned,
    no_scaling: _NoScaling = False,
    accelerator: Annotated[str, typer.Option(help="cpu or gpu.")] = DEFAULT.accelerator,
    patience: _Patience = DEFAULT.patience,
    out: Out = None,
    json_output: Json = False,
) -> None:
    """Time model.fit and Trainer.fit as a user writes them, and a bare loop below each."""
    plan = Plan(
        settings=Settings(
            variants=split_names(variants), epochs=epochs, dtype=dtype, threads=threads
        ),
        repetitions=repetitions,
        tuned=tuned,
        scaling=not no_scaling,
        accelerator=accelerator,
        patience=patience,
    )
    from compare.console import announcing
    from compare.report import pages
    from compare.study.run import default_path

    pages.check_installed()
    from compare.timing import report

    path = default_path(prefix="time-") if out is None else out
    try:
        with announcing() as say:
            measurements = report.run(plan, path, say=say)
    except KeyboardInterrupt:
        print(f"bn-compare: {report.interrupted(path)}", file=sys.stderr)
        raise typer.Exit(130) from None
    report.show(plan, measurements, path, as_json=json_output)
