"""`bn-compare parity a:b c:d`: parity of two models that functions build, from the shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from compare.backends import protocol
from compare.errors import InputError
from compare.porting.check import Options, climb
from compare.porting.factories import factory
from compare.porting.live import LivePair, live
from compare.porting.made_up import check_targets, samples_for, samples_of, shapes, targets_for
from compare.porting.porting import PortReport, carry
from compare.porting.report import ParityReport
from compare.porting.structures import Structure, checked
from compare.progress import announcing
from compare.study.records import write_text


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        keras: `module:function` that builds the Keras model.
        torch: The same of the Torch module.
        input_shapes: As `compare.porting.made_up.shapes` reads them; empty to ask the Keras model.
        samples: How many are made up.
        seed: Of made-up numbers.
        targets: A kind of `compare.porting.made_up.TARGETS`.
        options: Those of `compare.check_parity`.
    """

    keras: str
    torch: str
    input_shapes: tuple[str, ...] = ()
    samples: int = 8
    seed: int = 0
    targets: str = "none"
    options: Options = field(default_factory=Options)


def run(asked: Asked, *, html: Path | None = None, as_json: bool = False) -> int:
    """Compare, and print what was found.

    Args:
        asked: What to compare.
        html: Where to write a page.
        as_json: Whether to print JSON instead of text.

    Returns:
        The exit code: 0, or 1 where the two differ.

    Raises:
        InputError: A function, a model or an option cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    _check(asked, html)
    if asked.targets == "none":
        print(
            "no --targets: forward passes alone are compared, nothing is trained", file=sys.stderr
        )
    # What a model prints while it is built is no result.
    with announcing() as say, redirect_stdout(sys.stderr):
        report = _climbed(asked, say)
        if html is not None:
            write_text(html, report.to_html())
    print(json.dumps(report.to_json(), allow_nan=False) if as_json else report)
    return 0 if report.passed else 1


def proposed(asked: Asked) -> PortReport:
    """The table of `compare.port_weights` for a pair, with nothing written.

    Raises:
        InputError: As `run` does, or something would be left uncopied.
    """
    _check(asked, None)
    with announcing() as say, redirect_stdout(sys.stderr):
        pair = _built(asked, say)
        x = checked("x", _data(asked, pair)[0], pair.dtype)
        to = "keras" if asked.options.weights_from == "torch" else "torch"
        return carry(
            pair.keras,
            pair.torch,
            x,
            to=to,
            pairs=asked.options.pairs,
            dry_run=True,
            must_run=True,
        )


def _check(asked: Asked, html: Path | None) -> None:
    """What can be told before a framework is imported."""
    shapes(asked.input_shapes)
    check_targets(asked.targets)
    if asked.samples < 1:
        raise InputError(f"--samples: expected at least 1, received {asked.samples}.")
    if html is not None and not html.parent.is_dir():
        raise InputError(f"--html: {html.parent} is not a folder.")


def _built(asked: Asked, say: Callable[[str], None]) -> LivePair:
    protocol.check_installed(protocol.NAMES)
    say("importing the frameworks")
    builders = factory(asked.keras), factory(asked.torch)
    say("building both models")
    given = shapes(asked.input_shapes)
    x = None if given is None else samples_of(given, asked.samples, asked.seed)
    return live(*builders, x, dtype=asked.options.dtype)


def _data(asked: Asked, pair: LivePair) -> tuple[Structure, Structure | None]:
    model, x = pair.keras.model, pair.x
    if not asked.input_shapes:
        x = samples_for(model, asked.samples, asked.seed)
    return x, targets_for(model, x, asked.targets, asked.seed)


def _climbed(asked: Asked, say: Callable[[str], None]) -> ParityReport:
    pair = _built(asked, say)
    if asked.targets != "none" and not cast(Any, protocol.load("torch")).is_lightning(
        pair.torch.module
    ):
        raise InputError(
            f"--targets {asked.targets}: {asked.torch} builds a plain module, and the command line "
            "cannot name its loss and optimizer: build a LightningModule, or write a test "
            "(bn-compare init)."
        )
    x, y = _data(asked, pair)
    say("running both models")
    return climb(pair.keras, pair.torch, asked.options.request(x, y, pair.dtype))
