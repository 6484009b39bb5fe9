"""Random numbers that two models share: drawn where one asks for them, and again for the other.

The numbers of a draw follow from the training step and from its place in the order of draws, so
that a step which is taken again, by either framework, gets the same ones. Keras' side asks first.
Each draw of Torch's side is a partner of one of Keras': what the numbers fall on tells which, and
in which layout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compare.backends.reordering import Reordering, Values, agreeing, nearest, reorderings, usual

EVALUATION = 0
"""The pass in inference mode, beside the training steps 1, 2, …"""

Kind = Literal["uniform", "normal"]

_LEVELS, _PARTS, _PART = 2**18, 8, 3
"""Uniform numbers are (8 m + 3) / 2²¹: exact in float32 and float64, and none is so near a rate of
two digits that one dtype's rounding of the rate would drop what the other's keeps."""


@dataclass(frozen=True)
class Draw:
    """Numbers that a part of a model asks for.

    Attributes:
        kind: Their distribution: from 0 to 1, or standard normal.
        shape: Theirs, in the framework's own layout.
        path: The part that asks, `"block/drop"`; empty where it is no layer.
        part: Its type, `"SpatialDropout2D"`.
        rate: The share that is dropped, where the part says so.
        thresholded: Whether zeros and ones are made of them by the framework, dropping the smallest
            numbers; a user's own comparison may drop the largest.
        partner: On Torch's side, the place of Keras' draw with these numbers; None for none.
        agrees: On Torch's side, whether both sides' numbers fall on the same values.
        after: What was recorded last before it, a name in the trace: empty where nothing was, None
            where that is not known.
    """

    kind: Kind
    shape: tuple[int, ...]
    path: str = ""
    part: str = ""
    rate: float | None = None
    thresholded: bool = False
    partner: int | None = None
    agrees: bool = False
    after: str | None = ""

    def to_json(self) -> dict[str, Any]:
        """JSON types; `Draw(**…)` reads them."""
        return asdict(self)


@dataclass
class Pass:
    """The draws of one pass, in order.

    Attributes:
        draws: What was asked for.
        entered: What the numbers fall on, per draw; None where that is not known.
        returned: What the part that asked returned, per draw.
        output: What the model returned.
    """

    draws: list[Draw] = field(default_factory=list)
    entered: list[Values | None] = field(default_factory=list)
    returned: dict[int, Values] = field(default_factory=dict)
    output: Values | None = None


class Draws:
    """What one side asks for, recorded; the first side's numbers are those of each place.

    Attributes:
        passes: Of the first training step and of the evaluation, what was drawn.
        unshared: Parts that ask for numbers of other kinds, which cannot be shared.
        repeated: Whether all training steps have the same numbers, as where a step is compiled
            once.
        after: What was recorded last, a name in the trace; None where that is not known.
    """

    def __init__(self) -> None:
        self.passes: dict[int, Pass] = {1: Pass(), EVALUATION: Pass()}
        self.unshared: list[str] = []
        self.repeated = False
        self.after: str | None = ""
        self._step: int | None = None
        self._count = 0

    def begin(self, step: int | None) -> None:
        """A training step begins, or the evaluation; its numbers are those that it had before.

        Args:
            step: Counted from 1; None for what comes before the first, and is not recorded.
        """
        self._step, self._count, self.after = step, 0, ""
        if step in self.passes:
            self.passes[step] = Pass()

    @property
    def drawn(self) -> bool:
        """Whether anything was."""
        return any(each.draws for each in self.passes.values())

    @property
    def observing(self) -> bool:
        """Whether what the numbers fall on is to be told: it is the same in every later step."""
        return self._step in self.passes

    def take(self, draw: Draw, entered: Values | None = None) -> tuple[int, Values]:
        """The next numbers.

        Args:
            draw: What is asked for.
            entered: What the numbers fall on; not looked at unless `observing`.

        Returns:
            The draw's place in this pass, and the numbers, float64, of its shape.
        """
        place = self._count
        self._count += 1
        draw, values = self._numbers(replace(draw, after=self.after), entered, place)
        if (current := self._current) is not None:
            current.draws.append(draw)
            current.entered.append(entered)
        return place, values

    def returned(self, place: int, array: Values) -> None:
        """What the part that asked returned."""
        if (current := self._current) is not None:
            current.returned[place] = array

    def output(self, array: Values) -> None:
        """What the model returned."""
        if (current := self._current) is not None:
            current.output = array

    def refuse(self, part: str) -> None:
        """Note that a part asks for numbers of a kind that is not shared."""
        if self._step is not None and part not in self.unshared:
            self.unshared.append(part)

    @property
    def _current(self) -> Pass | None:
        return None if self._step is None else self.passes.get(self._step)

    def _key(self, *place: int) -> tuple[int, ...]:
        step = self._step or 0
        return (min(step, 1) if self.repeated else step, *place)

    def _numbers(self, draw: Draw, entered: Values | None, place: int) -> tuple[Draw, Values]:
        return draw, numbers(draw.kind, draw.shape, self._key(place))

    # Kept in a trace.

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All of it by name, as a trace keeps it; nothing where nothing was drawn."""
        if not self.drawn:
            return
        passes = {s: [draw.to_json() for draw in p.draws] for s, p in self.passes.items()}
        yield "draws", np.array(json.dumps({"passes": passes, "repeated": self.repeated}))
        for step, each in self.passes.items():
            if each.output is not None:
                yield f"draws/{step}/output", each.output
            for place, entered in enumerate(each.entered):
                if entered is not None:
                    yield f"draws/{step}/{place}/entered", entered
                if place in each.returned:
                    yield f"draws/{step}/{place}/returned", each.returned[place]

    @classmethod
    def read(cls, trace: Mapping[str, NDArray[Any]]) -> Draws:
        """What `arrays` gave, from a trace."""
        draws = cls()
        if "draws" not in trace:
            return draws
        kept = json.loads(str(trace["draws"]))
        draws.repeated = kept["repeated"]
        for name, listed in kept["passes"].items():
            under = f"draws/{name}"
            places = range(len(listed))
            returned = {
                p: trace[f"{under}/{p}/returned"]
                for p in places
                if f"{under}/{p}/returned" in trace
            }
            draws.passes[int(name)] = Pass(
                [Draw(**{**draw, "shape": tuple(draw["shape"])}) for draw in listed],
                [trace.get(f"{under}/{p}/entered") for p in places],
                returned,
                trace.get(f"{under}/output"),
            )
        return draws


class SameDraws(Draws):
    """Every draw of a shape gets the same numbers: what then differs is not drawn through here."""

    def _numbers(self, draw: Draw, entered: Values | None, place: int) -> tuple[Draw, Values]:
        return draw, numbers(draw.kind, draw.shape, (0, 0))


class SharedDraws(Draws):
    """The second side's draws: each gets the numbers of its partner.

    The pairs, and the layout of each, are those of the first time that a pass is observed.

    Args:
        first: What the other side drew.
        mirrored: Places whose numbers are taken from one: a user's own comparison may keep the
            small ones where the other side keeps the large.
    """

    def __init__(self, first: Draws, mirrored: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.first = first.passes
        self.repeated = first.repeated
        self.mirrored = mirrored
        self._found: dict[int, list[_Partner | None]] = {}

    def begin(self, step: int | None) -> None:
        super().begin(step)
        if step is not None and step in self.passes:
            self._found[step] = []

    def left(self, step: int = 1) -> list[int]:
        """Places of the first side's draws that nothing of this side has the numbers of."""
        used = {draw.partner for draw in self.passes[step].draws}
        return [place for place in range(len(self.first[step].draws)) if place not in used]

    def missing(self, step: int = 1) -> list[int]:
        """Places of this side's draws without a partner."""
        return [i for i, draw in enumerate(self.passes[step].draws) if draw.partner is None]

    @property
    def undecided(self) -> list[int]:
        """Places where one side may keep the small numbers and the other the large ones."""
        draws, first = self.passes[1].draws, self.first[1].draws
        return [
            place
            for place, draw in enumerate(draws)
            if draw.kind == "uniform"
            and draw.partner is not None
            and not (draw.thresholded and first[draw.partner].thresholded)
        ]

    def agreement(self) -> tuple[int, int]:
        """How many places of the first step agree in what goes in and comes out, of how many."""
        first, second = self.first[1], self.passes[1]
        same = [_same(first.output, second.output)]
        for place, (draw, partner) in enumerate(zip(second.draws, self._found[1], strict=True)):
            if partner is not None:
                outputs = first.returned.get(partner.place), second.returned.get(place)
                same += [draw.agrees, _same(*outputs)]
        return sum(same), len(same)

    def _numbers(self, draw: Draw, entered: Values | None, place: int) -> tuple[Draw, Values]:
        step = self._step
        if step is not None and step in self.passes:
            partner = self._partner(step, draw, entered)
            self._found[step].append(partner)
        else:
            found = self._found.get(1, [])
            partner = found[place] if place < len(found) else None
        values: Values | None = None
        if partner is not None and partner.fits(draw):
            draw = replace(draw, partner=partner.place, agrees=partner.agrees)
            first = numbers(draw.kind, partner.shape, self._key(partner.place))
            values = partner.reordering.numbers(first, draw.shape)
        if values is None:
            # Numbers of its own, the same each time.
            values = numbers(draw.kind, draw.shape, self._key(place, 1))
        return draw, 1.0 - values if place in self.mirrored else values

    def _partner(self, step: int, draw: Draw, entered: Values | None) -> _Partner | None:
        """The first free draw that falls on the same values, else the first of a fitting shape."""
        first = self.first[step]
        fitting: list[tuple[_Partner, bool]] = []
        for place in self.left(step):
            other = first.draws[place]
            if other.kind != draw.kind:
                continue
            candidates, agrees = _reordered(other, first.entered[place], draw, entered)
            if not candidates:
                continue
            shapes = other.shape, draw.shape
            partner = _Partner(place, other.kind, *shapes, candidates[0], agrees)
            if agrees:
                return partner
            fitting.append((partner, len(candidates) > 1))
        if not fitting:
            return None
        partner, ambiguous = fitting[0]
        if ambiguous:
            self.refuse(f"{draw.path or draw.part} (which axis is which cannot be told)")
        return partner


@dataclass(frozen=True)
class _Partner:
    """A draw of the first side, and how its numbers stand on the second."""

    place: int
    kind: Kind
    shape: tuple[int, ...]
    asked: tuple[int, ...]
    reordering: Reordering
    agrees: bool

    def fits(self, draw: Draw) -> bool:
        return (self.kind, self.asked) == (draw.kind, draw.shape)


def _reordered(
    first: Draw, keras: Values | None, second: Draw, torch: Values | None
) -> tuple[list[Reordering], bool]:
    """How the second side may hold what the first does, and whether the values prove it."""
    if keras is not None and torch is not None and keras.size == torch.size:
        best = nearest(list(reorderings(keras.shape, torch.shape)), keras, torch)
        return [best], agreeing(best, keras, torch)
    return usual(first.shape, second.shape), False


def _same(keras: Values | None, torch: Values | None) -> bool:
    """Whether two outputs hold the same values, in whichever order of axes."""
    if keras is None or torch is None or keras.size != torch.size:
        return False
    return any(agreeing(each, keras, torch) for each in reorderings(keras.shape, torch.shape))


def numbers(kind: Kind, shape: Sequence[int], key: Sequence[int]) -> NDArray[np.float64]:
    """The numbers of a place: the same for the same place and shape, in every framework.

    Uniform ones are spread evenly: of n numbers, as near to `rate` · n as can be are below a rate,
    so that even a small mask drops something.

    Args:
        kind: Their distribution.
        shape: Theirs.
        key: Step and place.
    """
    rng = np.random.default_rng([*key])
    size = math.prod(shape)
    if kind == "normal":
        return rng.standard_normal(size).reshape(shape)
    spread = (rng.permutation(size) + rng.random(size)) / max(size, 1)
    level = np.minimum(np.floor(spread * _LEVELS), _LEVELS - 1)
    return ((_PARTS * level + _PART) / (_PARTS * _LEVELS)).reshape(shape)


def rehearsed(first: Draws, run: Callable[[SharedDraws], None]) -> SharedDraws:
    """The second side's draws, once their pairs and the sense of each comparison are known.

    Args:
        first: What the other side drew.
        run: Takes the first training step with some draws, and leaves everything as it was.
    """
    best = SharedDraws(first)
    run(best)
    agreed, of = best.agreement()
    for place in best.undecided if agreed < of else ():
        other = SharedDraws(first, best.mirrored | {place})
        run(other)
        if other.agreement()[0] > best.agreement()[0]:
            best = other
    return best
