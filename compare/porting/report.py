"""What the ladder found on a user's pair, as text, JSON and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compare.conventions import CONVENTIONS
from compare.errors import MissingDependencyError
from compare.parity.ladder import FORWARD, Check, Divergence, RungResult, nan_last
from compare.porting.expected_differences import PREDICTABLE
from compare.porting.inspect_settings import Finding
from compare.study.records import json_number


class ParityError(AssertionError):
    """Two models that should be the same computation are not; the message is the report."""

    __module__ = "compare"  # The name to import it by, which a failed test shows.


@dataclass(frozen=True)
class ParityReport:
    """What the ladder found on a pair of models.

    Attributes:
        passed: Whether every rung passed.
        first_divergence: What differs first; None where nothing does.
        rungs: One result per rung climbed, in order.
        dtype: Dtype of the comparison.
        allowed: Conventions whose predicted difference was accepted.
        findings: Settings in which the two sides differ, in the order in which layers run.
        checks: Every comparison.
        measured: Whether tolerances were widened to the rounding measured on this pair.
        error: What the Torch side raised, if it did; it was compared until then.
        notes: What the comparison put right first.
    """

    passed: bool
    first_divergence: Divergence | None
    rungs: tuple[RungResult, ...]
    dtype: str
    allowed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    measured: bool = False
    error: str = ""
    notes: tuple[str, ...] = ()

    def raise_if_diverged(self) -> None:
        """Raise `ParityError`, with the report, unless every rung passed."""
        __tracebackhide__ = True
        if not self.passed:
            raise ParityError(str(self))

    def __str__(self) -> str:
        width = max((len(rung.rung_name) for rung in self.rungs), default=0)
        lines = [
            f"{'ok ' if rung.passed else '✗  '} {rung.rung:>2} {rung.rung_name:<{width}}  "
            + numbers(rung)
            for rung in self.rungs
        ]
        return "\n".join([*self.verdict(), "", *lines])

    def verdict(self) -> list[str]:
        """What differs first and why, then what else is set otherwise; a line each."""
        accepted = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        first = self.first_divergence
        if first is None:
            return [f"Keras and Torch agree on every rung{accepted}.", *self.notes]
        step = "" if first.step is None else f", step {first.step}"
        raised = f"The Torch side raised {self.error}. " if self.error else ""
        lines = [
            f"{raised}Keras and Torch differ first on rung {first.rung} ({first.rung_name}){step}: "
            f"{first.layer}{accepted}."
        ]
        lines += [self._explanation(name) for name in first.explained_by]
        told = set(first.explained_by)
        lines += [f"Also {found}" for found in self._others(told)]
        if first.explained_by and set(first.explained_by) <= set(PREDICTABLE):
            names = ", ".join(f'"{name}"' for name in (*self.allowed, *first.explained_by))
            lines.append(f"To accept the difference: allow=[{names}]")
        return lines

    def _explanation(self, name: str) -> str:
        """A convention in this pair's own numbers, where inspection knows them."""
        assert self.first_divergence is not None
        for found in self.findings:
            if found.is_of(self.first_divergence.layer) and found.convention == name:
                return f"Explained by {name}: {found.values()}"
        convention = CONVENTIONS[name]
        return (
            f"Explained by {name}: Keras: {convention.keras}; Torch: {convention.torch}. "
            f"Remedy in Torch: {convention.to_torch}."
        )

    def _others(self, told: set[str]) -> list[Finding]:
        assert self.first_divergence is not None
        layer = self.first_divergence.layer
        left = [
            found
            for found in self.findings
            if found.convention not in {*told, *self.allowed} or found.convention is None
        ]
        return sorted(left, key=lambda found: not found.is_of(layer))

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and told in `where`."""
        rungs = [{**asdict(rung), "told": numbers(rung)} for rung in self.rungs]
        for rung in rungs:
            for name in ("max_abs", "max_rel", "required"):
                rung[name] = json_number(rung[name])
        first = self.first_divergence
        return {
            "passed": self.passed,
            "dtype": self.dtype,
            "first_divergence": None if first is None else asdict(first),
            "verdict": self.verdict(),
            "allowed": list(self.allowed),
            "findings": [{**found.to_json(), "told": str(found)} for found in self.findings],
            "rungs": rungs,
            "layers": [asdict(row) for row in layers(self.checks)],
            "tolerances_measured": self.measured,
            "error": self.error,
        }

    def to_html(self) -> str:
        """One page without network: the verdict, the rungs, and every layer on every rung.

        Raises:
            MissingDependencyError: Jinja is not installed.
        """
        return page([{"test": "", **self.to_json()}])


def refused(message: str) -> dict[str, Any]:
    """What `ParityReport.to_json` has, of a check that could not be made.

    Args:
        message: Why not.
    """
    empty = ParityReport(False, None, (), "")
    return {**empty.to_json(), "dtype": None, "verdict": [message]}


@dataclass(frozen=True)
class LayerResult:
    """One layer, or whoever else could be blamed, on one rung: its worst check.

    Attributes:
        layer: Name.
        rung: Number of the rung.
        passed: Whether all its checks passed there.
        max_abs: Largest difference of the worst check; None where it is no number.
        required: Tolerance that would have let it pass; None likewise.
        allowed: Tolerance that it had.
    """

    layer: str
    rung: int
    passed: bool
    max_abs: float | None
    required: float | None
    allowed: float


def layers(checks: Sequence[Check]) -> list[LayerResult]:
    """Who was compared on which rung, in the order in which layers run, then everything else."""
    groups: dict[tuple[str, int], list[Check]] = {}
    for check in sorted(checks, key=lambda check: check.rung != FORWARD):
        groups.setdefault((check.layer, check.rung), []).append(check)
    found = []
    for (layer, rung), group in groups.items():
        worst = max(group, key=_excess)
        found.append(
            LayerResult(
                layer,
                rung,
                all(check.passed for check in group),
                json_number(worst.gap.max_abs),
                json_number(worst.gap.required),
                worst.allowed,
            )
        )
    return found


def _excess(check: Check) -> float:
    required = nan_last(check.gap.required)
    return required / check.allowed if check.allowed > 0.0 else (math.inf if required else 0.0)


def numbers(rung: RungResult) -> str:
    """A rung's worst difference in words."""
    if rung.max_abs is None or rung.required is None:
        return "nothing to compare"
    return (
        f"max |Δ| {rung.max_abs:.1e}, tolerance {rung.allowed:.1e}, would need {rung.required:.1e}"
        + ("" if rung.passed else f"; worst: {rung.where}")
    )


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """One HTML page of one or several reports.

    Args:
        reports: What `ParityReport.to_json` returns, each with the name of its `test`.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "a page needs jinja2: pip install 'bn-compare[report]'; to_json() works without."
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"), autoescape=True, trim_blocks=True
    )
    template = environment.get_template("parity.html.j2")
    return template.render(reports=[(report, _table(report["layers"])) for report in reports])


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Layer → rung → result."""
    table: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        table.setdefault(row["layer"], {})[row["rung"]] = row
    return table
