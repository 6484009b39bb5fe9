"""The result of a climb, for a user's pair and for the built-in variants: text, JSON and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compare.conventions import CONVENTIONS
from compare.errors import MissingDependencyError
from compare.parity.accepted import ALLOWABLE, Accepted
from compare.parity.findings import Finding, against, grouped, listed, places, remedied, sentence
from compare.parity.ladder import FORWARD, Check, Divergence, RungResult, badness
from compare.study.records import json_number

FIRST_SCREEN = 15
"""Lines that a reader sees at once; a failure says the most important in them."""

LEAST_WORDS = 4
"""Lines above the ladder, however long that is: verdict, place, cause, what else differs."""


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
        allowed: Conventions that `allow` named.
        accepted: Differences that were accepted, with their measured sizes.
        findings: Settings in which the two sides differ, in the order in which layers run.
        checks: Every comparison.
        measured: Whether tolerances were widened to the rounding measured on this pair.
        error: What the Torch side raised, if it did; it was compared until then.
        notes: What the comparison put right first.
        not_compared: What a side has, and no rung looks at, in words.
    """

    passed: bool
    first_divergence: Divergence | None
    rungs: tuple[RungResult, ...]
    dtype: str
    allowed: tuple[str, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    measured: bool = False
    error: str = ""
    notes: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    def raise_if_diverged(self) -> None:
        """Raise `ParityError`, with the report, unless every rung passed."""
        __tracebackhide__ = True
        if not self.passed:
            raise ParityError(str(self))

    def __str__(self) -> str:
        ladder, end = self._ladder(), self._not_compared()
        # A blank line above the ladder; what it must show is never cut.
        room = max(FIRST_SCREEN - len(ladder) - len(end) - 1, LEAST_WORDS)
        return "\n".join([*self._words(room), "", *ladder, *end])

    def _ladder(self) -> list[str]:
        """A line per rung; those below the first that failed in one."""
        rungs = list(self.rungs)
        below: list[str] = []
        if self.first_divergence is not None:
            low = [rung for rung in rungs if rung.rung < self.first_divergence.rung]
            rungs = rungs[len(low) :]
            if low:
                names = ", ".join(rung.rung_name for rung in low)
                below = [f"ok  {low[0].rung} to {low[-1].rung}: {names}"]
        width = max((len(rung.rung_name) for rung in rungs), default=0)
        return [
            *below,
            *(
                f"{'ok ' if rung.passed else '✗  '} {rung.rung:>2} {rung.rung_name:<{width}}  "
                + numbers(rung)
                for rung in rungs
            ),
        ]

    def _not_compared(self) -> list[str]:
        return [f"Not compared: {'; '.join(self.not_compared)}."] if self.not_compared else []

    def verdict(self) -> list[str]:
        """What differs first, where and why, then what else is set differently; a line each."""
        return self._words(FIRST_SCREEN)

    def _words(self, room: int) -> list[str]:
        """The verdict in so many lines: of settings beside the cause, the last ones are counted."""
        accepted = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        first = self.first_divergence
        if first is None:
            return [*self._agreement(), *self.notes]
        step = "" if first.step is None else f", step {first.step}"
        raised = f"The Torch side raised {self.error}. " if self.error else ""
        runs = f", where {listed(first.runs)} run{'s' * (len(first.runs) == 1)}" * bool(first.runs)
        lines = [
            f"{raised}Keras and Torch differ first on rung {first.rung} ({first.rung_name}){step}: "
            f"{first.layer}{runs}{accepted}.{self._place()}",
            *(line for name in first.explained_by for line in self._explanation(name, first)),
            *(f"Explained by a setting: {setting}." for setting in first.settings),
            *_parts(first),
        ]
        end = []
        if first.explained_by and set(first.explained_by) <= set(ALLOWABLE):
            names = ", ".join(f'"{name}"' for name in (*self.allowed, *first.explained_by))
            end.append(f"To accept the difference: allow=[{names}]")
        others = grouped(self._other_findings(first))
        left = max(room - len(lines) - len(end), 1)
        if len(others) > left:
            cut = len(others) - left + 1
            others, more = others[: left - 1], [f"Also {cut} settings more: see `findings`."]
            end = [*more, *end]
        return [*lines, *(f"Also {sentence(group)}" for group in others), *end]

    @property
    def result(self) -> str:
        """`"identical"` to rounding, `"same"` but for accepted differences, or `"different"`."""
        if not self.passed:
            return "different"
        return "same" if self.accepted else "identical"

    def _agreement(self) -> list[str]:
        if not self.accepted:
            allowed = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
            return [f"Keras and Torch agree on every rung{allowed}."]
        names = ", ".join(dict.fromkeys(difference.convention for difference in self.accepted))
        return [
            f"Keras and Torch are the same on every rung, but for {names}.",
            *map(str, self.accepted),
        ]

    def _place(self) -> str:
        """The first check that failed, with both values."""
        failed = [check for check in self.checks if not check.passed]
        if not failed:
            return ""
        check = min(failed, key=lambda check: check.rung)
        return f" There: {check.path} {check.gap.where()}"

    def _explanation(self, name: str, first: Divergence) -> list[str]:
        """A convention in this pair's own numbers, as far as they are known: a line per setting."""
        same = [finding for finding in self.findings if finding.convention == name]
        there = [finding for finding in same if finding.is_at(first)]
        # What trains a layer is set elsewhere, and a layer's penalty shows in the loss.
        near = there or [f for f in same if {f.layer, first.layer} & {"loss", "optimizer"}]
        lines = []
        for group in grouped(same):
            if any(finding in near for finding in group):
                where = f", at {places([f.layer for f in group])}" if len(group) > 1 else ""
                lines.append(f"Explained by {name}: {group[0].values}{where}. {group[0].remedy}")
        values, known = first.values.get(name), first.numbers.get(name, {})
        if values and len(lines) < 2:
            # What a hook or a schedule does is no setting: the step tells it.
            remedy = near[0].remedy if lines else remedied(name, known)
            return [f"Explained by {name}: {values}. {remedy}"]
        if lines:
            return lines
        convention = CONVENTIONS[name]
        if known.get("keras") is not None and known.get("torch") is not None:
            what = f"{convention.setting} is {against(known['keras'], known['torch'])}"
        else:
            what = f"Keras: {convention.keras}; Torch: {convention.torch}"
        return [f"Explained by {name}: {what}. {remedied(name, known)}"]

    def _other_findings(self, first: Divergence) -> list[Finding]:
        """What the verdict has not named yet: of the blamed layer first, then what has a name."""
        named = {*first.explained_by, *self.allowed}
        others = [finding for finding in self.findings if finding.convention not in named]
        return sorted(others, key=lambda f: (not f.is_of(first.layer), f.convention is None))

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and explained in `where`."""
        first = self.first_divergence
        return {
            "passed": self.passed,
            "result": self.result,
            "dtype": self.dtype,
            "first_divergence": None if first is None else asdict(first),
            "verdict": self.verdict(),
            "allowed": list(self.allowed),
            "accepted": [difference.to_json() for difference in self.accepted],
            "findings": [{**finding.to_json(), "told": str(finding)} for finding in self.findings],
            "not_compared": list(self.not_compared),
            "rungs": [{**rung.to_json(), "told": numbers(rung)} for rung in self.rungs],
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


@dataclass(frozen=True, kw_only=True)
class VariantReport(ParityReport):
    """What the ladder found on a built-in variant.

    Attributes:
        variant: Name of the variant.
        seed: Seed of both runs.
        alignment: Alignment of the study.
        note: In float32, how the trajectory is to be read.
        heat: Layer → largest difference of its weights and statistics after every epoch, for a
            figure; None where a side could not be trained.
    """

    variant: str
    seed: int
    alignment: str
    note: str = ""
    heat: Mapping[str, Sequence[float]] | None = None

    @property
    def label(self) -> str:
        """Variant and seed."""
        return f"{self.variant}, seed {self.seed}"

    def verdict(self) -> list[str]:
        """What differs first, why, and by how much; nothing where the pair passed."""
        first = self.first_divergence
        if first is None:
            return []
        worst = next(rung for rung in self.rungs if rung.rung == first.rung)
        when = "" if first.step is None else f", {worst.unit} {first.step}"
        why = ", ".join(first.explained_by) or "no known convention"
        return [
            f"{self.label}: first differs on rung {first.rung} ({first.rung_name}{when}), "
            f"{first.layer}. Explained by: {why}.",
            f"  worst there: {worst.where}; allowed {worst.allowed:.1e}, required "
            f"{worst.required:.1e}",
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and explained in `where`."""
        first = self.first_divergence
        return {
            "variant": self.variant,
            "seed": self.seed,
            "dtype": self.dtype,
            "alignment": self.alignment,
            "passed": self.passed,
            "first_divergence": None if first is None else asdict(first),
            "rungs": [rung.to_json() for rung in self.rungs],
            "note": self.note,
        }


def _parts(first: Divergence) -> list[str]:
    """What accounts for a part of the difference alone."""
    if not first.parts:
        return []
    shares = ", ".join(f"{name} for {share:.0%}" for name, share in first.parts.items())
    return [f"Only a part is explained: {shares}. Nothing known explains the rest."]


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
    rows = []
    for (layer, rung), group in groups.items():
        worst = max(group, key=lambda check: badness(check)[0])
        passed = all(check.passed for check in group)
        max_abs, required = json_number(worst.gap.max_abs), json_number(worst.gap.required)
        rows.append(LayerResult(layer, rung, passed, max_abs, required, worst.allowed))
    return rows


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
    return template.render(reports=[(report, _by_layer(report["layers"])) for report in reports])


def _by_layer(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Layer → rung → result."""
    table: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        table.setdefault(row["layer"], {})[row["rung"]] = row
    return table
