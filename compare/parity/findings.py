"""Settings in which two sides differ, each once however many layers have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from compare.conventions import CONVENTIONS, Numbers
from compare.parity.ladder import Divergence

ARGUMENTS: Mapping[str, str] = {
    "learning_rate": "lr",
    "epsilon": "eps",
    "rho": "alpha",
    "decay": "momentum",
    "negative_slope": "negative_slope",
}
"""A setting → Torch's argument, where that is called otherwise."""

_NAMED = 3
"""So many layers are named; of more the first and the last."""


@dataclass(frozen=True)
class Finding:
    """A setting in which the two sides differ.

    Attributes:
        layer: Keras' name of the layer; `"optimizer"` or `"loss"`.
        setting: What differs.
        keras: Its value in Keras; None where it has none.
        torch: Its value in Torch, in Keras' conventions; None where it has none.
        convention: The convention that explains it; None where it is no matter of convention.
        more: What else the convention's remedy names.
    """

    layer: str
    setting: str
    keras: Any
    torch: Any
    convention: str | None = None
    more: Numbers = field(default_factory=dict)

    def __str__(self) -> str:
        return sentence([self])

    @property
    def numbers(self) -> Numbers:
        """What fills the remedy."""
        names = {"setting": self.setting, "argument": ARGUMENTS.get(self.setting, self.setting)}
        return {"keras": self.keras, "torch": self.torch, **names, **self.more}

    def is_of(self, layer: str) -> bool:
        """Whether it is about a layer, or about a part of it."""
        return f"{self.layer}/".startswith(f"{layer}/")

    def is_at(self, first: Divergence) -> bool:
        """Whether it is about what is blamed, or about one of the layers that run there."""
        return self.is_of(first.layer) or self.layer in first.runs

    @property
    def values(self) -> str:
        """What is set on either side."""
        return f"{self.setting} is {against(self.keras, self.torch)}"

    @property
    def remedy(self) -> str:
        """What to do about it, a sentence; empty where no convention says so."""
        return "" if self.convention is None else remedied(self.convention, self.numbers)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        content = asdict(self)
        del content["more"]
        return {**content, "remedy": self.remedy}


def against(keras: Any, torch: Any) -> str:
    """Both values in words, with as many digits as tell them apart."""
    short = [f"{v:.6g}" if isinstance(v, float) else v for v in (keras, torch)]
    if short[0] == short[1]:
        short = [keras, torch]
    words = ["not set" if value is None else value for value in short]
    words = [f"the schedule {v['schedule']}" if isinstance(v, Mapping) else v for v in words]
    return f"{words[0]} in Keras, {words[1]} in Torch"


def remedied(convention: str, numbers: Numbers) -> str:
    """A convention's remedy in Torch, a sentence."""
    return f"In Torch: {CONVENTIONS[convention].remedy('torch', numbers)}."


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several layers, in the order in which they first come."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key = (finding.convention or "", finding.values, finding.remedy)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def sentence(group: Sequence[Finding]) -> str:
    """A group in one sentence, and its remedy in a second."""
    first = group[0]
    name = f"{first.convention} at " if first.convention else ""
    return f"{name}{places([f.layer for f in group])}: {first.values}. {first.remedy}".strip()


def places(layers: Sequence[str]) -> str:
    """Layers by name: a few all of them, of many the first and the last."""
    names = list(dict.fromkeys(layers))
    if len(names) > _NAMED:
        return f"{len(names)} layers ({names[0]} … {names[-1]})"
    return listed(names)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
