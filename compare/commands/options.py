"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from compare.spec import FRAMEWORKS, VARIANTS, Settings

DEFAULT = Settings()
_LISTS = {"variants", "frameworks", "undo"}


def number(text: str | float) -> int | float | str:
    """The number that a text spells; other text is returned as it is, for `Settings` to refuse."""
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


def given_options(context: typer.Context) -> set[str]:
    """The parameters that the command line names."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


def _number(text: str) -> object:
    return typer.Option(metavar="N", parser=number, help=text)


Variants = Annotated[str, typer.Option(metavar="A,B", help=f"Of: {', '.join(VARIANTS)}.")]
Frameworks = Annotated[str, typer.Option(metavar="A,B", help=f"Of: {', '.join(FRAMEWORKS)}.")]
Seeds = Annotated[int, _number("Seeds 0 … N-1.")]
Epochs = Annotated[int, _number("Passes over the training half.")]
BatchSize = Annotated[int, _number("Samples per step; the short last batch is kept.")]
LearningRate = Annotated[float, _number("Of SGD.")]
Samples = Annotated[int, _number("Points; the first half trains, the second tests.")]
Alignment = Annotated[
    str, typer.Option(help="How far the port matches Keras: exact, stock or naive.")
]
Undo = Annotated[str, typer.Option(metavar="A,B", help="Conventions to leave unmatched, by name.")]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]
Pace = Annotated[
    str,
    typer.Option(
        help="fast: many seeds at once, the same numbers; idiomatic: model.fit and Trainer.fit."
    ),
]
NoTiming = Annotated[
    bool,
    typer.Option("--no-timing", help="Leave out the timing pass that closes the fast pace."),
]
Target = Annotated[float, _number("Test accuracy that counts as converged.")]
AccuracyMargin = Annotated[float, _number("Test accuracies are equivalent within ±N.")]
LossMargin = Annotated[float, _number("Test losses are equivalent within ±N, in nats.")]
EpochsRatioMargin = Annotated[
    str,
    typer.Option(
        metavar="LOW,HIGH",
        help="Epochs to the target are equivalent where their ratio, Lightning / Keras, lies "
        "between the two: LOW below 1, HIGH above.",
    ),
]
Threads = Annotated[int, _number("Threads per framework; results depend on it.")]
Tensorboard = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write the curves of every run live, for `tensorboard --logdir DIR`; "
        "needs --pace idiomatic.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="New folder; a dated one in runs/ if left out."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]

ALL_VARIANTS = ",".join(DEFAULT.variants)
BOTH_FRAMEWORKS = ",".join(DEFAULT.frameworks)
EPOCHS_RATIO_MARGIN = ",".join(map(str, DEFAULT.epochs_ratio_margin))


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings among a command's options: those that are called alike.

    Args:
        options: Option → its value, with lists as text, separated by commas.

    Raises:
        InputError: A value is unknown or out of range.
    """
    names = {field.name for field in fields(Settings)}
    values = {name: value for name, value in options.items() if name in names}
    for name in _LISTS & values.keys():
        values[name] = split_names(values[name])
    if "epochs_ratio_margin" in values:
        values["epochs_ratio_margin"] = tuple(
            map(number, split_names(values["epochs_ratio_margin"]))
        )
    return Settings(**values)
