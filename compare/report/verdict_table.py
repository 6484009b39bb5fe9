"""Comparisons as text: the columns of a difference, and the table of every verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compare.analysis.benefit import Benefit
from compare.analysis.endpoints import ENDPOINTS
from compare.analysis.verdicts import Comparison
from compare.wording import LABELS, MISSING

EFFECT_HEADINGS = (
    "variant",
    "framework",
    "against",
    "what",
    "pairs",
    "difference",
    "effect",
    "why",
)
HEADINGS = ("variant", "what", "pairs", "difference", "verdict", "why")


def by_variant(comparisons: Iterable[Comparison], metric: str) -> dict[str, Comparison]:
    """Variant → its comparison in one endpoint."""
    return {found.variant: found for found in comparisons if found.metric == metric}


def lines(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """One line per comparison, in the order of `HEADINGS`."""
    return [
        [
            found.variant,
            ENDPOINTS[found.metric].title,
            _pairs(found),
            difference(found),
            found.verdict,
            _why(found),
        ]
        for found in comparisons
    ]


def effect_lines(benefits: Sequence[Benefit]) -> list[list[str]]:
    """One line per effect of batch normalization, in the order of `EFFECT_HEADINGS`."""
    return [
        [variant, LABELS[found.framework], found.baseline, *middle, found.effect, why]
        for found, line in zip(benefits, lines([b.comparison for b in benefits]), strict=True)
        for variant, *middle, _, why in [line]
    ]


def difference(found: Comparison | None) -> str:
    """The estimate with its interval, such as `+0.002 [−0.001, +0.005]`; ratios as `×1.05`."""
    if found is None or found.estimate is None:
        return MISSING
    show = _ratio if ENDPOINTS[found.metric].is_ratio else signed
    if found.low is None or found.high is None:
        return show(found.estimate)
    return f"{show(found.estimate)} [{show(found.low)}, {show(found.high)}]"


def signed(value: float) -> str:
    """A difference with its sign, to four decimals, or to two digits where that shows nothing."""
    if value == 0:
        return "0"
    text = f"{value:+.4f}" if abs(value) >= 5e-5 else f"{value:+.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def _ratio(value: float) -> str:
    return f"×{value:.3f}"


def _pairs(found: Comparison) -> str:
    return str(found.n) if found.paired else f"{found.n} (unpaired)"


def _why(found: Comparison) -> str:
    left_out = [f"{found.missed} never reached it"] if found.missed else []
    if found.diverged:
        left_out.append(f"{len(found.diverged)} diverged")
    method = [found.method] if found.method else []
    return "; ".join([found.reason, *method, *left_out])
