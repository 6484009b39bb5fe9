"""`timing.json`, read back: what `bn-compare time` measured, without a framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from compare import environment, saved
from compare.errors import InputError, unknown
from compare.spec import Settings

T = TypeVar("T")

ACCELERATORS = ("cpu", "gpu")
WARM_UP_EPOCHS = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be timed; checked when it is made.

    Attributes:
        settings: Variants, epochs of a fit, dtype and threads.
        repetitions: Timed fits per variant, framework and configuration, after one that warms up.
        tuned: Whether to time what a tuner would try, too.
        scaling: Whether to time an MLP over batch sizes and widths.
        accelerator: `"cpu"` or `"gpu"`.
        patience: Seconds to wait, in all, for other programs to leave the machine alone.

    Raises:
        InputError: A value is unknown or out of range.
    """

    settings: Settings
    repetitions: int = 5
    tuned: bool = False
    scaling: bool = True
    accelerator: str = "cpu"
    patience: float = 30.0

    def __post_init__(self) -> None:
        # A word is refused like a number too small: the command line hands on what it was given.
        if not isinstance(self.repetitions, int) or self.repetitions < 2:
            raise InputError(
                "--repetitions: expected a whole number of at least 2, for an interval, "
                f"received {self.repetitions!r}."
            )
        if self.settings.epochs < 2:
            raise InputError(
                "--epochs: expected at least 2, because the first one is left out of the steady "
                f"state, received {self.settings.epochs}."
            )
        if not isinstance(self.patience, int | float) or not 0 <= self.patience < math.inf:
            raise InputError(
                f"--patience: expected seconds, at least 0, received {self.patience!r}."
            )
        if self.accelerator not in ACCELERATORS:
            raise unknown("accelerator", self.accelerator, ACCELERATORS)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the short last batch counts as one."""
        return -(-self.settings.n_train // self.settings.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return {
            **self.settings.to_dict(),
            **{name: value for name, value in vars(self).items() if name != "settings"},
            "steps_per_epoch": self.steps_per_epoch,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The plan from what `to_dict` made.

        Raises:
            InputError: A field is missing, unknown, or cannot be used.
        """
        own = {name: kind for name, kind in get_type_hints(cls).items() if name != "settings"}
        saved.check(values, own, "settings")
        rest = {k: v for k, v in values.items() if k not in (*own, "steps_per_epoch")}
        settings = saved.made(Settings, rest, "settings")
        return cls(settings=settings, **{name: values[name] for name in own})


DEFAULT = Plan(settings=Settings(variants=("mlp", "mlp-bn-after", "cnn-bn", "lstm-bn"), epochs=20))
"""What is timed where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One fit under the clock; all times in seconds since the fit was called.

    Attributes:
        variant: What was trained.
        framework: Where.
        configuration: How, such as `"idiomatic"`.
        kind: `"idiomatic"`, `"floor"` or `"tuned"`.
        repetition: From 1; 0 warms up and enters no figure but the cold first step.
        first_step: End of the first step; None for a floor.
        epoch_ends: End of every epoch.
        other_cores: Mean number of cores that other programs kept busy meanwhile.
        note: What the framework decided by itself.
        error: Why it could not run; None where it did.
    """

    variant: str
    framework: str
    configuration: str
    kind: str
    repetition: int
    first_step: float | None = None
    epoch_ends: tuple[float, ...] = ()
    other_cores: float = 0.0
    note: str = ""
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Process:
    """What was measured once per process, of one variant in one framework.

    Attributes:
        variant: What was trained.
        framework: Where.
        import_seconds: How long importing the framework took, NumPy and SciPy being there already.
        peak_rss_bytes: Largest resident set after the first idiomatic fit, when nothing else had
            run; None where the system does not say.
        epochs_to_target: Per seed, the first epoch at the target; None where it was not reached.
    """

    variant: str
    framework: str
    import_seconds: float
    peak_rss_bytes: int | None
    epochs_to_target: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Point:
    """Time per step of an MLP with batch normalization at one size.

    Attributes:
        framework: Where.
        configuration: How.
        kind: `"idiomatic"` or `"floor"`.
        axis: What grows: `"batch_size"` or `"units"`.
        size: How large it is.
        step_seconds: Median over epochs, seconds.
    """

    framework: str
    configuration: str
    kind: str
    axis: str
    size: int
    step_seconds: float


@dataclass
class Measurements:
    """Everything measured so far.

    Attributes:
        samples: Fits, in the order in which they ran.
        processes: One per variant and framework that is finished.
        points: Of the scaling figure.
        reports: Framework → versions and device, as its process said.
        left_out: What was not measured, and why; one line each.
        waited: Seconds spent waiting for other programs.
        complete: Whether the plan was carried out to its end.
    """

    samples: list[Sample] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    waited: float = 0.0
    complete: bool = False

    def raw(self) -> dict[str, Any]:
        """Samples, processes and points as JSON types."""
        return {
            "samples": [asdict(sample) for sample in self.samples],
            "processes": [asdict(process) for process in self.processes],
            "points": [asdict(point) for point in self.points],
        }

    @classmethod
    def from_raw(cls, values: Mapping[str, Any]) -> Measurements:
        """Samples, processes and points from what `raw` made.

        Raises:
            InputError: A field is missing, unknown, or of another type.
        """
        saved.check(values, dict.fromkeys(("samples", "processes", "points"), list[Any]), "raw")
        return cls(
            samples=_all_made(Sample, values["samples"], "sample"),
            processes=_all_made(Process, values["processes"], "process"),
            points=_all_made(Point, values["points"], "point"),
        )


def _all_made(kind: type[T], rows: list[Any], name: str) -> list[T]:
    return [saved.made(kind, row, f"{name} {n}") for n, row in enumerate(rows, start=1)]


FORMAT = saved.Format("bn-compare timing")
FILE = "timing.json"

KINDS = ("idiomatic", "floor", "tuned")
AXES = ("batch_size", "units")

_HEADER = {
    **{"settings": dict, "raw": dict, "complete": bool, "accelerator": dict[str, str]},
    **{"left_out": list[str], "waited_seconds": float},
}


@dataclass(frozen=True)
class TimingRecords:
    """What is in the file.

    Attributes:
        path: The file.
        content: Everything in it; versions and hardware are here alone.
        plan: What was asked for.
        measurements: What was found. Of what a process reported, the device alone.
    """

    path: Path
    content: Mapping[str, Any]
    plan: Plan
    measurements: Measurements

    @classmethod
    def open(cls, file: Path) -> TimingRecords:
        """Read a file that `bn-compare time` wrote, also one that an interruption cut short.

        Raises:
            RunFolderError: It is missing, foreign, corrupt or of another format version.
        """
        with saved.opened(file, FORMAT, "bn-compare time") as content:
            saved.check(content, _HEADER, "the file")
            environment.check_saved(content)
            plan = Plan.from_dict(content["settings"])
            raw = Measurements.from_raw(content["raw"])
            _check_names(plan, raw)
        found = replace(
            raw,
            reports={name: {"accelerator": at} for name, at in content["accelerator"].items()},
            left_out=content["left_out"],
            waited=content["waited_seconds"],
            complete=content["complete"],
        )
        return cls(file, content, plan, found)


def _check_names(plan: Plan, found: Measurements) -> None:
    variants, frameworks = plan.settings.variants, plan.settings.frameworks
    for sample in found.samples:
        _check_known("variant", sample.variant, variants)
        _check_known("framework", sample.framework, frameworks)
        _check_known("kind", sample.kind, KINDS)
        _check_ends(sample)
    for process in found.processes:
        _check_known("variant", process.variant, variants)
        _check_known("framework", process.framework, frameworks)
    for point in found.points:
        _check_known("axis", point.axis, AXES)
        _check_known("framework", point.framework, frameworks)
        _check_known("kind", point.kind, KINDS)


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise unknown(what, name, known)


def _check_ends(sample: Sample) -> None:
    """Raise unless a fit that could run has the epochs that a steady state is taken from."""
    ends = sample.epoch_ends
    if sample.error is None and (len(ends) < 2 or sorted(set(ends)) != list(ends)):
        raise InputError(
            f"{sample.variant}, {sample.framework}, {sample.configuration}, repetition "
            f"{sample.repetition}: expected at least 2 ends of epochs, each after the one before, "
            f"received {list(ends)}."
        )
