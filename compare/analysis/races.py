"""Which of the two frameworks arrives at a target first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from compare.analysis.arrivals import MOVING, arrivals, log_rank
from compare.analysis.pairing import match
from compare.study.metrics import first_crossing
from compare.study.records import Record


@dataclass(frozen=True)
class Race:
    """Which of two frameworks arrives first, seed by seed.

    Attributes:
        variant: Name of the variant.
        pairs: Number of pairs that did not diverge.
        torch_first: Pairs in which Torch arrives in an earlier epoch; a miss is later than any.
        keras_first: Pairs in which Keras does.
        neither: Pairs in which neither arrives; where both do, in one epoch, they are together.
        sign_test: Two-sided p-value of the sign test, ties left out; None where all are ties.
        log_rank: Two-sided p-value of the log-rank test, which knows of no pairs; None where no
            run arrives.
        paired: Whether seeds make pairs; if not, the log-rank test is the one to read.
    """

    variant: str
    pairs: int
    torch_first: int
    keras_first: int
    neither: int
    sign_test: float | None
    log_rank: float | None
    paired: bool

    @property
    def together(self) -> int:
        """Pairs in which both arrive in one epoch."""
        return self.pairs - self.torch_first - self.keras_first - self.neither

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "together": self.together}


def sign_test(first: int, second: int) -> float | None:
    """Two-sided p-value that either side comes first equally often; None without any such pair."""
    decided = first + second
    return float(scipy_stats.binomtest(first, decided).pvalue) if decided else None


def races(
    records: Sequence[Record], target: float, *, paired: bool = True, curve: str = MOVING
) -> list[Race]:
    """One race per variant that both frameworks trained, in order of appearance.

    Args:
        records: The runs of a study.
        target: A test accuracy.
        paired: Whether equal seeds make a pair: not at the alignment naive.
        curve: Name of the curve that has to arrive.
    """
    found = []
    for variant in dict.fromkeys(str(r["variant"]) for r in records):
        runs = [r for r in records if r["variant"] == variant and curve in r["history"]]
        torch, keras = ([r for r in runs if r["framework"] == f] for f in ("torch", "keras"))
        if torch and keras:
            found.append(_race(variant, (torch, keras), target, curve, paired=paired))
    return found


def _race(
    variant: str,
    sides: tuple[Sequence[Record], Sequence[Record]],
    target: float,
    curve: str,
    *,
    paired: bool,
) -> Race:
    pairs = match(*sides).pairs if paired else ()
    hits = [[first_crossing(r["history"][curve], target) or np.inf for r in p] for p in pairs]
    first = sum(torch < keras for torch, keras in hits)
    second = sum(keras < torch for torch, keras in hits)
    neither = sum(torch == keras == np.inf for torch, keras in hits)
    groups = [arrivals(side, target, curve) for side in sides]
    return Race(
        variant=variant,
        pairs=len(pairs),
        torch_first=first,
        keras_first=second,
        neither=neither,
        sign_test=sign_test(first, second),
        log_rank=log_rank(groups[0], groups[1]),
        paired=paired,
    )
