"""`timing.json`, read back: what `bn-compare time` measured, without a framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compare import environment, saved
from compare.errors import InputError, unknown
from compare.timing.samples import Measurements, Plan, Sample

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
