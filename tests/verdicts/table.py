"""The confusion table, its bounds, and the ports that miss them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compare.console import Table
from verdicts.run import Verdict


@dataclass(frozen=True)
class Line:
    """One bound.

    Attributes:
        what: What is counted.
        of: All that it is counted among.
        missing: Those that miss it.
        bound: The share of `of` that may miss it.
        forbidden: Whether what is counted is what must not be.
    """

    what: str
    of: Sequence[Verdict]
    missing: Sequence[Verdict]
    bound: float
    forbidden: bool = False

    @property
    def held(self) -> bool:
        """Whether the bound is kept."""
        return len(self.missing) <= self.bound * len(self.of)

    def row(self) -> list[str]:
        """Cells of the table."""
        total, missing = len(self.of), len(self.missing)
        count = missing if self.forbidden else total - missing
        bound = "0" if self.forbidden else f"≥ {1.0 - self.bound:.0%}"
        share = f"{count / total:.1%}" if total else "–"
        return [self.what, str(count), str(total), share, bound, "" if self.held else "missed"]


def lines(verdicts: Sequence[Verdict]) -> list[Line]:
    """Every bound."""
    wrong, right = ([v for v in verdicts if v.right is side] for side in (False, True))
    caused = [v for v in wrong if v.cause is not None]
    return [
        Line("wrong ports: caught", wrong, [v for v in wrong if not v.caught], 0.0),
        Line("  blamed in the right place", wrong, [v for v in wrong if not v.placed], 0.02),
        Line("  a wrong name first", wrong, [v for v in wrong if v.misnamed], 0.0, True),
        Line("  named, if a convention", caused, [v for v in caused if not v.named], 0.05),
        Line("right ports: failing", right, [v for v in right if v.came != "passed"], 0.0, True),
    ]


def table(verdicts: Sequence[Verdict]) -> Table:
    """The table."""
    headings = ("", "ports", "of", "share", "bound", "")
    return Table(headings, [line.row() for line in lines(verdicts)], left=1)


def misses(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A line for every port that misses a bound, in the order of the bounds."""
    said = set()
    for line in lines(verdicts):
        for verdict in sorted(line.missing, key=lambda v: v.label):
            if verdict.label not in said:
                said.add(verdict.label)
                yield f"{line.what.strip()} | {verdict.label} | {came(verdict)}"


def came(verdict: Verdict) -> str:
    """What was wanted of a port, and what came."""
    if not verdict.caught:
        return verdict.came if verdict.came == "passed" else f"{verdict.came}: {verdict.text}"
    names = ", ".join(verdict.names) or "nothing"
    if verdict.right:
        return f"failed at {verdict.place}, named {names}"
    wanted = " or ".join(verdict.places)
    at = verdict.place if verdict.placed else f"{verdict.place}, wanted {wanted}"
    cause = " or ".join(verdict.causes) or "nothing"
    return f"at {at}; named {names}, wanted {cause}"
