"""`bn-compare parity a:b c:d`: parity of two models that functions build, from the shell."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from compare.backends import protocol
from compare.console import announcing
from compare.errors import CompareError, InputError, unknown
from compare.porting.check import Options, climb
from compare.porting.models import KerasSide, LivePair, Structure, checked, live, map_leaves, usable
from compare.porting.report import ParityReport
from compare.porting.weights import PortReport, carry
from compare.study.records import write_text

TARGETS = ("none", "normal", "binary", "classes:N")


def shapes(texts: Sequence[str]) -> Structure | None:
    """The shape of one sample, as it is written: `28,28,1`, or `name=28,28,1`.

    Args:
        texts: One per input; all named or none.

    Returns:
        A shape, a tuple of them, or a dict of them; None where there are no texts.

    Raises:
        InputError: It cannot be read.
    """
    named = {name: _shape(text) for name, _, text in map(_parted, texts)}
    if not texts:
        return None
    if "" not in named:
        if len(named) < len(texts):
            raise InputError("--input-shape: expected every input once.")
        return named
    if set(named) != {""}:
        raise InputError("--input-shape: expected a name for every input, or for none.")
    found = [_shape(text) for text in texts]
    return found[0] if len(found) == 1 else found


def _parted(text: str) -> tuple[str, str, str]:
    name, equals, rest = text.rpartition("=")
    return name.strip(), equals, rest


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(
            f"--input-shape: expected the shape of one sample, such as 28,28,1, received {text!r}."
        )
    return tuple(map(int, parts))


def samples_of(shape: Structure, count: int, seed: int) -> Structure:
    """Standard normal samples of given shapes.

    Args:
        shape: What `shapes` returns.
        count: How many samples.
        seed: Of the numbers.
    """
    rng = np.random.default_rng(seed)
    if isinstance(shape, dict):
        return {name: rng.normal(size=(count, *one)) for name, one in shape.items()}
    if isinstance(shape, list):
        return tuple(rng.normal(size=(count, *one)) for one in shape)
    return rng.normal(size=(count, *shape))


def samples_for(model: Any, count: int, seed: int) -> Structure:
    """Samples of the shapes that a built Keras model takes; whole numbers for embeddings.

    Raises:
        InputError: Its inputs are unknown.
    """
    with usable():
        return cast(Any, protocol.load("keras")).sample_input(model, count, seed)


def check_targets(kind: str) -> None:
    """Raise `InputError` unless targets of this kind can be made up."""
    if kind not in TARGETS[:-1] and not re.fullmatch(r"classes:[1-9]\d*", kind):
        raise unknown("kind of targets", kind, TARGETS)


def targets_for(model: Any, x: Structure, kind: str, seed: int) -> Structure | None:
    """Targets of the shape of a Keras model's output.

    Args:
        model: A built Keras model.
        x: Samples.
        kind: `none`, `normal`, `binary` (0 and 1), or `classes:10` (whole numbers below 10, without
            the last axis).
        seed: Of the numbers.

    Raises:
        InputError: The model cannot be run on the samples.
    """
    if kind == "none":
        return None
    rng = np.random.default_rng([seed, 1])

    def drawn(output: Any) -> Any:
        if kind == "normal":
            return rng.normal(size=output.shape)
        if kind == "binary":
            return rng.integers(0, 2, output.shape).astype(np.float64)
        return rng.integers(0, int(kind.partition(":")[2]), output.shape[:-1])

    return map_leaves(drawn, _output(model, x))


def _output(model: Any, x: Structure) -> Structure:
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        trace = KerasSide(model).trace([(x, None)], Path(scratch) / "keras")
        found = {
            name.partition("/")[2]: np.array(trace[name])
            for name in trace
            if name == "prediction" or name.startswith("prediction/")
        }
    if "" in found:
        return found[""]
    ordered = all(name.isdigit() for name in found)
    return tuple(found.values()) if ordered else found


def factory(name: str) -> Callable[[], Any]:
    """Import a function that builds a model, from the current folder or from what is installed.

    Args:
        name: `module:function`; the module may be within packages.

    Returns:
        The function; what it raises becomes an `InputError` with type and text.

    Raises:
        InputError: There is no such module or function, or the module raised.
    """
    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise InputError(f"{name!r}: expected module:function, such as models.net:build.")
    module = _imported(path, name)
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown(f"function of {path}", attribute, known)
    function = getattr(module, attribute)
    if not callable(function):
        raise InputError(
            f"{name}: expected a function that builds a model, received {type(function).__name__}."
        )

    def build() -> Any:
        try:
            return function()
        except CompareError:
            raise
        except Exception as error:
            raise InputError(f"{name} raised {type(error).__name__}: {error}") from None

    build.__name__ = name
    return build


def _imported(path: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # The module itself, or a package around it; else something that it imports.
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise InputError(
                f"{name}: no module {error.name!r} in {here}, nor installed."
            ) from None
        raise InputError(f"{name}: importing {path} failed: {error}.") from None
    except Exception as error:
        raise InputError(
            f"{name}: importing {path} failed: {type(error).__name__}: {error}"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        keras: `module:function` that builds the Keras model.
        torch: The same of the Torch module.
        input_shapes: As `compare.porting.command.shapes` reads them; empty to ask the Keras model.
        samples: How many are made up.
        seed: Of made-up numbers.
        targets: A kind of `compare.porting.command.TARGETS`.
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
