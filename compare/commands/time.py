"""The command that times: `time`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compare.commands.options import (
    Dtype,
    Json,
    Out,
    Variants,
    given_options,
    number,
    split_names,
)
from compare.cost.plan import PARTS, CostPlan
from compare.errors import InputError
from compare.spec import Settings
from compare.timing.samples import DEFAULT as FITS
from compare.timing.samples import Plan

TIME_EXAMPLES = """\b
Examples:
  bn-compare time                                   four variants: some five minutes
  bn-compare time --variants mlp --repetitions 10 --no-scaling
  bn-compare time --variants mlp-bn-after --tuned --json
  bn-compare time --threads 4 --accelerator gpu
  bn-compare time --self                            what this program itself costs
  bn-compare time --self --parts overhead,bare --repetitions 10
"""
VARIANTS = ",".join(FITS.settings.variants)
ALL_PARTS = "all"
_OF_BOTH = {"self_cost", "variants", "repetitions", "out", "json_output"}
_OF_SELF = {"parts", "seeds"}


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
_Self = Annotated[
    bool, typer.Option("--self", help="Instead: what this program itself costs; takes minutes.")
]
_Parts = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help=f"With --self: {ALL_PARTS}, or of {', '.join(PARTS)}.",
    ),
]
_Seeds = Annotated[int | None, _count("With --self: seeds of the part variants.")]


def time(
    context: typer.Context,
    variants: Variants = VARIANTS,
    repetitions: _Repetitions = FITS.repetitions,
    epochs: _Epochs = FITS.settings.epochs,
    dtype: Dtype = FITS.settings.dtype,
    threads: Annotated[int, _count("Threads per framework.")] = FITS.settings.threads,
    tuned: _Tuned = FITS.tuned,
    no_scaling: _NoScaling = False,
    accelerator: Annotated[str, typer.Option(help="cpu or gpu.")] = FITS.accelerator,
    patience: _Patience = FITS.patience,
    self_cost: _Self = False,
    parts: _Parts = ALL_PARTS,
    seeds: _Seeds = None,
    out: Out = None,
    json_output: Json = False,
) -> None:
    """Time model.fit and Trainer.fit as a user writes them, and a bare loop below each."""
    given = given_options(context)
    _check_options(given, self_cost=self_cost)
    chosen = split_names(variants)
    if self_cost:
        wanted = {} if parts == ALL_PARTS else {"parts": split_names(parts)}
        options = {"repetitions": repetitions, "seeds": seeds, **wanted}
        _time_self(
            {"variants": chosen if "variants" in given else None, **options}, out, json_output
        )
        return
    plan = Plan(
        settings=Settings(variants=chosen, epochs=epochs, dtype=dtype, threads=threads),
        repetitions=repetitions,
        tuned=tuned,
        scaling=not no_scaling,
        accelerator=accelerator,
        patience=patience,
    )
    _time_fits(plan, out, json_output)


def _time_fits(plan: Plan, out: Path | None, json_output: bool) -> None:
    from compare.report import pages
    from compare.study.grid import default_path

    pages.check_installed()
    from compare.timing import report

    path = default_path(prefix="time-") if out is None else out
    _carry_out(report, plan, path, as_json=json_output)


def _time_self(options: dict[str, Any], out: Path | None, json_output: bool) -> None:
    from compare.cost import report
    from compare.study.grid import default_path

    plan = CostPlan(**options)
    path = default_path(prefix="self-") if out is None else out
    _carry_out(report, plan, path, as_json=json_output)


def _carry_out(report: Any, plan: Plan | CostPlan, path: Path, *, as_json: bool) -> None:
    """Measure and show, with the module that does both for such a plan."""
    from compare.progress import announcing

    try:
        with announcing() as say:
            found = report.run(plan, path, say=say)
    except KeyboardInterrupt:
        print(f"bn-compare: {report.interrupted(path)}", file=sys.stderr)
        raise typer.Exit(130) from None
    report.show(plan, found, path, as_json=as_json)


def _check_options(given: set[str], *, self_cost: bool) -> None:
    """Raise where an option would be left aside without a word.

    Raises:
        InputError: An option is of the other kind of timing.
    """
    wrong = given - _OF_BOTH - _OF_SELF if self_cost else given & _OF_SELF
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(wrong))
        if self_cost:
            raise InputError(f"{names}: expected without --self alone: leave one of them out.")
        raise InputError(f"{names}: expected beside --self alone: add it, or leave {names} out.")
