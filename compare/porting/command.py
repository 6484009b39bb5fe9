"""`bn-compare parity a:b c:d`: parity of two models that functions build, from the shell."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.loading import NAMES, check_installed
from compare.backends.structures import Structure, mapped
from compare.console import CheckProgress
from compare.errors import CompareError, InputError, unknown
from compare.porting.check import observed
from compare.porting.compare_traces import compare_traces
from compare.porting.models import KerasSide, Pair, build_pair, first_samples
from compare.porting.options import Options
from compare.porting.weights import PortReport, carry
from compare.study.records import write_text

TARGETS = ("none", "normal", "binary", "classes:N")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the command line asks for.

    Attributes:
        keras: `module:function` that builds the Keras model.
        torch: The same of the Torch module.
        input_shapes: The shape of one sample, as `shapes` reads it; empty to ask the Keras model.
        samples: Number of synthetic samples.
        seed: Seed of synthetic samples and targets.
        targets: A kind of `TARGETS`.
        options: Those of `compare.check_parity`.

    Raises:
        InputError: A value cannot be used, as far as that is known before a framework is imported.
    """

    keras: str
    torch: str
    input_shapes: tuple[str, ...] = ()
    samples: int = 8
    seed: int = 0
    targets: str = "none"
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        shapes(self.input_shapes)
        if self.targets not in TARGETS[:-1] and not re.fullmatch(r"classes:[1-9]\d*", self.targets):
            raise unknown("kind of targets", self.targets, TARGETS)
        if self.samples < 1:
            raise InputError(f"--samples: expected at least 1, received {self.samples}.")

    def run(self, *, html: Path | None = None, as_json: bool = False) -> int:
        """Compare, and print the report.

        Args:
            html: Where to write a page.
            as_json: Whether to print JSON instead of text.

        Returns:
            The exit code: 0, or 1 where the two differ.

        Raises:
            InputError: A function, a model or an option cannot be used.
            MissingDependencyError: Keras or Torch is not installed.
        """
        if html is not None and not html.parent.is_dir():
            raise InputError(f"--html: {html.parent} is not a folder.")
        if html is not None and html.is_dir():
            raise InputError(f"--html: expected a file, received the folder {html}.")
        if self.targets == "none":
            print(
                "no --targets: only forward passes are compared, nothing is trained",
                file=sys.stderr,
            )
        # What a model prints while it is built is no result.
        with redirect_stdout(sys.stderr), CheckProgress() as say:
            pair = self._build(say)
            if self.targets != "none" and not pair.torch.is_lightning:
                raise InputError(
                    f"--targets {self.targets}: {self.torch} builds a plain module, and the "
                    "command line cannot name its loss and optimizer: build a LightningModule, or "
                    "write a test (bn-compare init)."
                )
            y = synthetic_targets(pair.keras, pair.x, self.targets, self.seed)
            with observed(pair, y, replace(self.options, progress=say)) as sides:
                report = compare_traces(*sides)
            if html is not None:
                say("writing the page")
                write_text(html, report.to_html())
        print(json.dumps(report.to_json(), allow_nan=False) if as_json else report)
        return 0 if report.passed else 1

    def propose(self) -> PortReport:
        """The table of `compare.port_weights`, with nothing written.

        Raises:
            InputError: As `run` does, or something would be left uncopied.
        """
        with redirect_stdout(sys.stderr), CheckProgress() as say:
            pair = self._build(say)
            to = "keras" if self.options.weights_from == "torch" else "torch"
            x, pairs = first_samples(pair.x), self.options.pairs
            return carry(*pair.towards(to), x, pairs, dry_run=True, must_run=True)

    def _build(self, say: Callable[[str], None]) -> Pair:
        check_installed(NAMES)
        say("importing the frameworks")
        factories = import_factory(self.keras), import_factory(self.torch)
        say("building both models")
        rng = np.random.default_rng(self.seed)
        x = shapes(self.input_shapes)
        if x is not None:
            x = mapped(lambda empty: rng.normal(size=(self.samples, *empty.shape[1:])), x)
        return build_pair(*factories, x, self.options, count=self.samples, seed=self.seed)


def shapes(texts: Sequence[str]) -> Structure | None:
    """The shapes of samples as they are written: `28,28,1`, or `name=28,28,1`.

    Args:
        texts: One per input; all named or none.

    Returns:
        Arrays of these shapes that hold no samples, (0, …): one, a tuple, or a dict of them; None
        where there are no texts.

    Raises:
        InputError: They cannot be read.
    """
    parts = [text.rpartition("=") for text in texts]
    named = {name.strip(): _empty(axes) for name, _, axes in parts}
    if not texts:
        return None
    if "" not in named:
        if len(named) < len(texts):
            raise InputError("--input-shape: expected every input once.")
        return named
    if set(named) != {""}:
        raise InputError("--input-shape: expected a name for every input, or for none.")
    unnamed = tuple(map(_empty, texts))
    return unnamed[0] if len(unnamed) == 1 else unnamed


def _empty(text: str) -> NDArray[np.float64]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(
            f"--input-shape: expected the shape of one sample, such as 28,28,1, received {text!r}."
        )
    return np.empty((0, *map(int, parts)))


def synthetic_targets(keras: KerasSide, x: Structure, kind: str, seed: int) -> Structure | None:
    """Targets of the shape of a Keras model's output.

    Args:
        keras: The model.
        x: Samples.
        kind: `none`, `normal`, `binary` (0 and 1), or `classes:10` (whole numbers below 10, without
            the last axis).
        seed: Seed of the numbers.

    Raises:
        InputError: The model cannot be run on the samples.
    """
    if kind == "none":
        return None
    rng = np.random.default_rng([seed, 1])

    def draw(output: Any) -> Any:
        if kind == "normal":
            return rng.normal(size=output.shape)
        if kind == "binary":
            return rng.integers(0, 2, output.shape).astype(np.float64)
        return rng.integers(0, int(kind.partition(":")[2]), output.shape[:-1])

    outputs: dict[str, NDArray[Any]] = {}

    def keep(name: str, array: NDArray[Any]) -> None:
        first, _, output = name.partition("/")
        if first == "prediction":
            outputs[output] = array

    keras.stream([(x, None)], keep)
    several = tuple(outputs.values()) if all(map(str.isdigit, outputs)) else outputs
    return mapped(draw, outputs.get("", several))


def import_factory(name: str) -> Callable[[], Any]:
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
    module = _import_module(path, name)
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


def _import_module(path: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # The module itself, or a package around it; else something that it imports.
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            problem = f"no module {error.name!r} in {here}, nor installed."
        else:
            problem = f"importing {path} failed: {error}."
    except Exception as error:
        problem = f"importing {path} failed: {type(error).__name__}: {error}"
    raise InputError(f"{name}: {problem}")
