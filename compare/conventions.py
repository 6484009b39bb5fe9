"""The catalogue of conventions: every known difference between Keras and Torch, once.

A convention's **remedy** is what makes both sides agree. By default every remedy is on. An
**alignment** is a named set of remedies left out; any single one can be left out by name
(`--undo NAME`), which is how its effect is measured and its detection tested. The entries
themselves are in `conventions.toml`.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

from compare.errors import InputError, unknown

FOUND: Mapping[str, str] = MappingProxyType(
    {
        "numbers": "from the numbers that both sides compute",
        "inspection": "from the settings of both sides",
        "training": "from whole trainings of the built-in networks",
        "documentation": "not by itself: to be read here",
    }
)
"""How a convention is found."""

Numbers = Mapping[str, Any]
"""What fills a remedy: `keras` and `torch`, the values of either side, and what else it names."""

_WORDS = MappingProxyType(
    {
        "keras": "<Keras' value>",
        "torch": "<Torch's value>",
        "padding": "<what Keras crops>",
        "padded": "`F.pad(x, <what Keras pads>)`",
        "crop": "<what Keras keeps>",
        "argument": "<argument>",
        "setting": "<argument>",
        "affine": "affine=False",
        "axes": "(3, 2, 0, 1)",
        "clip": "p.grad *= clipnorm / max(p.grad.norm(), clipnorm)",
        "constraint": "<the constraint of weight>",
        "dropout": "nn.Dropout(<Keras' value>)",
        "optimizer": "<Keras' class>",
        "penalty": "loss + <the penalty of weight>",
        "place": "where Keras has it",
    }
)
"""What stands for what is not known: never the number of another pair."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One difference between the frameworks.

    Attributes:
        name: How it is called in options, records and reports.
        keras: What Keras does.
        torch: What Torch or Lightning does when nobody intervenes.
        to_torch: What to do on Torch's side so that it does as Keras does. A template: see
            `remedy`. What stands between back-ticks is code; where there is none, it says that
            no setting does it.
        to_keras: What to do on Keras' side so that it does as Torch does; a template as well.
        source: Where the behaviour is written down.
        found: How it is found, keys of `FOUND`.
        setting: The setting that it accuses, as inspection calls it; empty where it is none.
        rungs: Rungs of the ladder on which a difference of settings shows first; none where the
            numbers must tell.
        touches: Variants of the tutorial that show it; none where `switch` is false.
        switch: Whether the variants can be trained without the remedy (`--undo`). A convention
            without a switch has a demonstration of its own in both twins.
        side: Where the remedy sits that undoing leaves out: `"keras"`, `"torch"` or `"both"`.
    """

    name: str
    keras: str
    torch: str
    to_torch: str
    to_keras: str
    source: str
    found: tuple[str, ...] = ("documentation",)
    setting: str = ""
    rungs: tuple[int, ...] = ()
    touches: tuple[str, ...] = ()
    switch: bool = False
    side: str = "torch"

    def remedy(self, side: str, numbers: Numbers = MappingProxyType({})) -> str:
        """What to do on a side, in a pair's own numbers.

        Args:
            side: `"torch"` or `"keras"`.
            numbers: What is known of the pair; words stand for the rest.
        """
        known = {name: literal(value) for name, value in numbers.items() if value is not None}
        template = self.to_torch if side == "torch" else self.to_keras
        return template.format_map({**_WORDS, **known})


def literal(value: Any) -> str:
    """A value as one writes it in a program; text as it is."""
    if isinstance(value, float):
        written = float(f"{value:.6g}")
        # The shortest way to write a number that is rounded to float32.
        if written != value == _single(written):
            return f"float(np.float32({written!r}))"
    return value if isinstance(value, str) else repr(value)


def _single(value: float) -> float:
    """A number as float32 holds it; without NumPy, whose import costs as much as all the rest."""
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)


def _read() -> dict[str, Convention]:
    text = resources.files("compare").joinpath("conventions.toml").read_text(encoding="utf-8")
    content: dict[str, Any] = tomllib.loads(text)
    groups: dict[str, list[str]] = content.pop("variants")
    return {name: _convention(name, entry, groups) for name, entry in content.items()}


def _convention(name: str, entry: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Convention:
    touches = tuple(groups[entry["touches"]]) if "touches" in entry else ()
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    values = {**entry, **lists, "touches": touches, "switch": bool(touches)}
    return Convention(**{**values, "name": name})


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(_read())

ALIGNMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "exact": (),
        "stock": ("bn-biased-variance",),
        "naive": (
            "bn-momentum",
            "bn-momentum-copied",
            "bn-epsilon",
            "bn-biased-variance",
            "flatten-order",
            "lstm-single-bias",
            "lstm-forget-bias",
            "initializers",
            "batch-order",
            "sgd-momentum-float32",
        ),
    }
)
"""Alignment name → the conventions whose remedy is left out."""


def check_names(names: Iterable[str]) -> None:
    """Raise `InputError`, with the near match, if a name is not in the catalogue."""
    for name in names:
        if name not in CONVENTIONS:
            raise unknown("convention", name, CONVENTIONS)


def check_switches(names: Iterable[str]) -> None:
    """Raise `InputError` if a name is not in the catalogue, or cannot be undone in the variants."""
    for name in names:
        check_names([name])
        if not CONVENTIONS[name].switch:
            raise InputError(
                f"convention {name!r} cannot be undone: the tutorial's networks do not show it. "
                f"`bn-compare conventions --measure {name}` shows it on a small pair."
            )
