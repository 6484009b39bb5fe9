"""What `bn-compare time` is asked for, what it measures, and `timing.json`, which holds both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from compare import schema
from compare.environment import Hardware, Versions
from compare.errors import InputError, RunFolderError, unknown
from compare.spec import Settings

ACCELERATORS = ("cpu", "gpu")
WARM_UP_EPOCHS = 2

FORMAT = schema.Format("bn-compare timing")
FILE = "timing.json"

KINDS = ("idiomatic", "floor", "tuned")
AXES = ("batch_size", "units")

NotNegative = Annotated[float, Meta(ge=0)]
Seconds = NotNegative
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


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
        # A word is refused like a number too small: the command line passes on what was typed.
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
        own = {part.name for part in fields(cls)} - {"settings"}
        needed = own | {part.name for part in fields(Settings)}
        for name in sorted(needed - values.keys()):
            raise InputError(f"settings: expected a field {name!r}, found none.")
        for name in values.keys() - needed - {"steps_per_epoch"}:
            raise InputError(f"settings: expected no field {name!r}.")
        plan = {"settings": values, **{name: values[name] for name in own}}
        return schema.convert(plan, cls, "settings")


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
        epoch_ends: End of every epoch, each after the one before; at least 2 unless `error`.
        other_cores: Mean number of cores that other programs kept busy meanwhile.
        note: What the framework decided by itself.
        error: Why it could not run; None where it did.

    Raises:
        InputError: There are too few ends of epochs for a steady state, or they are out of order.
    """

    variant: str
    framework: str
    configuration: str
    kind: str
    repetition: Whole
    first_step: Seconds | None
    epoch_ends: tuple[Seconds, ...]
    other_cores: NotNegative
    note: str
    error: str | None

    def __post_init__(self) -> None:
        ends = self.epoch_ends
        if self.error is None and (len(ends) < 2 or sorted(set(ends)) != list(ends)):
            raise InputError(
                f"{self.variant}, {self.framework}, {self.configuration}, repetition "
                f"{self.repetition}: expected at least 2 ends of epochs, each after the one "
                f"before, received {list(ends)}."
            )


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
    import_seconds: Seconds
    peak_rss_bytes: Whole | None
    epochs_to_target: tuple[Positive | None, ...]


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
    size: Positive
    step_seconds: Seconds


class Raw(TypedDict):
    """The measurements as `timing.json` has them."""

    samples: list[Sample]
    processes: list[Process]
    points: list[Point]


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


class _File(TypedDict):
    """The fields of `timing.json` that are checked; everything else follows from them."""

    settings: dict[str, Any]
    raw: Raw
    complete: bool
    accelerator: dict[str, str]
    left_out: list[str]
    waited_seconds: Seconds
    hardware: Hardware
    versions: Versions


@dataclass(frozen=True)
class TimingRecords:
    """What is in the file.

    Attributes:
        plan: What was asked for.
        measurements: What was found. Of what a process reported, the device alone.
    """

    plan: Plan
    measurements: Measurements

    @classmethod
    def open(cls, file: Path) -> TimingRecords:
        """Read a file that `bn-compare time` wrote, also one that an interruption cut short.

        Raises:
            RunFolderError: It is missing, foreign, corrupt or of another format version.
        """
        content = schema.read(file, _File, FORMAT)
        measurements = Measurements(
            **content["raw"],
            reports={name: {"accelerator": at} for name, at in content["accelerator"].items()},
            left_out=content["left_out"],
            waited=content["waited_seconds"],
            complete=content["complete"],
        )
        try:
            plan = Plan.from_dict(content["settings"])
            _check_names(plan.settings, measurements)
        except InputError as error:
            raise RunFolderError(f"{file}: {error} Measure again.") from error
        return cls(plan, measurements)


def _check_names(settings: Settings, measurements: Measurements) -> None:
    known = {
        "variant": settings.variants,
        "framework": settings.frameworks,
        "kind": KINDS,
        "axis": AXES,
    }
    for rows in (measurements.samples, measurements.processes, measurements.points):
        for row in rows:
            for name, names in known.items():
                value = getattr(row, name, names[0])
                if value not in names:
                    raise unknown(name, value, names)
