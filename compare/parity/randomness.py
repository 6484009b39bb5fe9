"""What two sides draw while they train and evaluate, compared: dropout and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compare.backends.draws import EVALUATION, Draw, Draws
from compare.conventions import Numbers, literal
from compare.parity.findings import Finding
from compare.parity.ladder import FORWARD, Ladder
from compare.parity.tolerances import EQUAL, unequal
from compare.trace import Trace, rename

_RATES = 1e-6
"""Two rates are equal if they differ by no more: a share that is kept was taken from one."""

_PASSES = ((1, "training", FORWARD), (EVALUATION, "evaluation", 9))
"""Pass, its group in a trace, its rung."""


@dataclass(frozen=True)
class _Placed(Draw):
    """A draw, and where it is among Keras' layers; empty where that is not known."""

    place: str = ""


@dataclass(frozen=True)
class _Drawn:
    """The draws of one pass on both sides."""

    keras: list[_Placed]
    torch: list[_Placed]

    def pairs(self) -> list[tuple[_Placed, _Placed]]:
        """Partners."""
        partners = ((self.keras[t.partner], t) for t in self.torch if t.partner is not None)
        return [(replace(k, place=k.place or t.place), t) for k, t in partners]

    def alone(self) -> tuple[list[_Placed], list[_Placed]]:
        """What Keras and what Torch draws alone."""
        used = {draw.partner for draw in self.torch}
        keras = [draw for place, draw in enumerate(self.keras) if place not in used]
        return keras, [draw for draw in self.torch if draw.partner is None]


def climb_draws(ladder: Ladder, keras: Trace, torch: Trace, names: Mapping[str, str]) -> None:
    """Check what both sides draw, on the rung of the pass: masks may be alike by chance.

    Args:
        ladder: Where the checks go.
        keras: Keras' trace.
        torch: Torch's, with its own names.
        names: Torch's layers → Keras'.
    """
    for step, mode, rung in _PASSES:
        drawn = _drawn(keras, torch, names, step, mode)
        for draw, other in drawn.pairs():
            same = _same_rate(draw, other) and _same_kind(draw, other)
            gap = EQUAL if same else unequal(f"{_told(draw)} in Keras, {_told(other)} in Torch")
            ladder.add(rung, f"draws/{draw.path}", draw.place, gap, step or None)
        for side, alone in zip(("Keras", "Torch"), drawn.alone(), strict=True):
            for draw in alone:
                gap = unequal(f"{_told(draw)} in {side} alone")
                ladder.add(rung, f"draws/{draw.path or draw.part}", draw.place, gap, step or None)


def inspect_draws(keras: Trace, torch: Trace, names: Mapping[str, str]) -> list[Finding]:
    """What differs in dropout and noise, in the order in which it is drawn.

    Args:
        keras: Keras' trace.
        torch: Torch's, with its own names.
        names: Torch's layers → Keras'.
    """
    step, mode, _ = _PASSES[0]
    drawn = _drawn(keras, torch, names, step, mode)
    findings = []
    for draw, other in drawn.pairs():
        if not _same_kind(draw, other):
            told = _told(draw), _told(other)
            findings.append(Finding(draw.place, "kind", *told, "dropout-kind", _code(draw)))
        elif not _same_rate(draw, other):
            rates = draw.rate, other.rate
            at = other.place if draw.part in _RECURRENT else draw.place
            findings.append(Finding(at, "rate", *rates, "dropout-rate"))
        elif not (_same_place(draw, other) or other.agrees):
            places = draw.place, other.place
            where = Finding(draw.place, "place of dropout", *places, "dropout-place", _code(draw))
            findings.append(where)
    keras_alone, torch_alone = drawn.alone()
    moved = list(zip(keras_alone, torch_alone, strict=False))
    for draw, other in moved:
        told, places = (_told(draw), _told(other)), (draw.place, other.place)
        if draw.place == other.place:
            findings.append(Finding(draw.place, "kind", *told, "dropout-kind", _code(draw)))
        else:
            findings += [
                Finding(place, "place of dropout", *places, "dropout-place", _code(draw))
                for place in places
            ]
    missing = [(draw, _told(draw), "none", _code(draw)) for draw in keras_alone[len(moved) :]]
    none = {"dropout": "nn.Identity()"}
    missing += [(draw, "none", _told(draw), none) for draw in torch_alone[len(moved) :]]
    findings += [
        Finding(draw.place, "dropout", ours, theirs, "dropout-missing", code)
        for draw, ours, theirs, code in missing
    ]
    step, mode, _ = _PASSES[1]
    for draw in _drawn(keras, torch, names, step, mode).alone()[1]:
        told = "none", _told(draw)
        findings.append(Finding(draw.place, "dropout in evaluation", *told, "dropout-in-eval"))
    return findings


_RECURRENT = ("LSTM", "GRU", "SimpleRNN")

_IN_TORCH = {
    "Dropout": "nn.Dropout({0})",
    **{f"SpatialDropout{n}D": f"nn.Dropout{n}d({{0}})" for n in (1, 2, 3)},
    "AlphaDropout": "nn.AlphaDropout({0})",
    # One mask for all steps: of (batch, features, time) that drops whole features.
    **dict.fromkeys(_RECURRENT, "nn.Dropout1d({0})(x.mT).mT"),
    "MultiHeadAttention": "dropout={0}",
}
"""What draws in Keras → the same in Torch."""


def _code(draw: _Placed) -> Numbers:
    """What fills a remedy: Torch's layer for one of Keras', and where it stands there."""
    code = _IN_TORCH.get(draw.part)
    known = {} if code is None else {"dropout": code.format(literal(draw.rate))}
    where = "the output" if draw.place == "output" else draw.place
    if where and not where.startswith("between "):
        where = f"at {where}"
    return {**known, "place": where or None}


def _told(draw: Draw) -> str:
    name = draw.part or "numbers"
    rate = "" if draw.rate is None else f" {draw.rate:.6g}"
    few = sum(length > 1 for length in draw.shape) < len(draw.shape)
    return f"{name}{rate}{f' of shape {draw.shape}' if few else ''}"


def _same_place(ours: _Placed, theirs: _Placed) -> bool:
    # The masks of Keras' recurrent layers fall on what these receive.
    before = ours.part in _RECURRENT and theirs.place.endswith(f" and {ours.place}")
    return before or ours.place == theirs.place


def _same_rate(ours: Draw, theirs: Draw) -> bool:
    if ours.rate is None or theirs.rate is None:
        return True
    return math.isclose(ours.rate, theirs.rate, abs_tol=_RATES)


def _same_kind(ours: Draw, theirs: Draw) -> bool:
    """Whether there are as many numbers, for the same formula as far as the names tell."""
    alpha = {"Alpha" in draw.part for draw in (ours, theirs) if "Dropout" in draw.part}
    return math.prod(ours.shape) == math.prod(theirs.shape) and len(alpha) < 2


def _drawn(keras: Trace, torch: Trace, names: Mapping[str, str], step: int, mode: str) -> _Drawn:
    passed = (key.removeprefix(f"{mode}/") for key in keras if key.startswith(f"{mode}/"))
    layers = list(dict.fromkeys(key.rpartition("/")[0] for key in passed))
    unchanged: Mapping[str, str] = {}

    def placed(trace: Trace, renamed: Mapping[str, str]) -> list[_Placed]:
        draws = Draws.read(trace).passes[step].draws
        places = (
            "" if draw.after is None else _place(rename(draw.after, renamed), mode, layers)
            for draw in draws
        )
        return [_Placed(**vars(d), place=at) for d, at in zip(draws, places, strict=True)]

    return _Drawn(placed(keras, unchanged), placed(torch, names))


def _place(after: str, mode: str, layers: list[str]) -> str:
    """Where among the layers numbers are drawn, as the ladder blames it."""
    layer, _, end = after.removeprefix(f"{mode}/").rpartition("/")
    if end.startswith("input"):
        return layer
    following = layers[layers.index(layer) + 1 :] if layer in layers else layers
    if not following:
        return "output"
    return f"between {layer or 'the input'} and {following[0]}"
