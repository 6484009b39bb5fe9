"""The command that times: `time`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compare.cli_options import DEFAULT, Dtype, Json, Out, Variants, number, split_names
from compare.samples import Plan
from compare.spec import Settings

TIME_EXAMPLES = """\b
Examples:
  bn-compare time                                   four variants: some five minutes
  bn-compare time --variants mlp --repetitions 10 --no-scaling
  bn-compare time --variants mlp-bn-after --tuned --json
  bn-compare time --threads 4 --accelerator gpu
"""
VARIANTS = "mlp,mlp-bn-after,cnn-bn,lstm-bn"


def _count(text: str) -> object:
    return typer.Option(metavar="N", parser=number, help=text)


def time(
    variants: Variants = VARIANTS,
    repetitions: Annotated[int, _count("Timed fits of each, after one that warms up.")] = 5,
    epochs: Annotated[int, _count("Epochs of a timed fit; the first is not steady.")] = 20,
    dtype: Dtype = DEFAULT.dtype,
    threads: Annotated[int, _count("Threads per framework.")] = DEFAULT.threads,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Also what a tuner would try; takes a few times longer.")
    ] = False,
    no_scaling: Annotated[
        bool, typer.Option("--no-scaling", help="Leave out growing batches and widths.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    patience: Annotated[
        float,
        typer.Option(
            metavar="N", parser=number, help="Seconds to wait, in all, for a quiet machine."
        ),
    ] = 30.0,
    out: Out = None,
    json_output: Json = False,
) -> None:
    """Time model.fit and Trainer.fit as a user writes them, and a bare loop below each."""
    settings = Settings(variants=split_names(variants), epochs=epochs, dtype=dtype, threads=threads)
    plan = Plan(
        settings=settings,
        repetitions=repetitions,
        tuned=tuned,
        scaling=not no_scaling,
        accelerator=accelerator,
        patience=patience,
    )
    from compare import report as pages
    from compare import study, timing_report
    from compare.progress import announcing

    pages.check_installed()
    path = study.default_path(prefix="time-") if out is None else out
    try:
        with announcing() as say:
            measurements = timing_report.run(plan, path, say=say)
    except KeyboardInterrupt:
        print(f"bn-compare: {timing_report.interrupted(path)}", file=sys.stderr)
        raise typer.Exit(130) from None
    timing_report.show(plan, measurements, path, as_json=json_output)
