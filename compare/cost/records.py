"""`self.json`, read back: what `bn-compare time --self` measured, without a framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import environment, saved
from compare.cost.plan import PARTS, CostPlan, Part
from compare.errors import RunFolderError, unknown

FORMAT = saved.Format("bn-compare own cost")
FILE = "self.json"

_HEADER = {"plan": dict, "settings": dict, "complete": bool, "parts": dict}
_PART = {"rows": list[Any], "seconds": float, "other_cores": float | None}

_FIT = {"variant": str, "framework": str}
_RATIO = {"ratio": float, "low": float, "high": float, "repetitions": int, "target": float}
_PACES = {"fast_seconds": float, "idiomatic_seconds": float, "ratio": float}
_BYTES = dict[str, int | None]
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "overhead": {**_FIT, **_RATIO, "bare_seconds": float, "own_seconds": float, "own_share": float},
    "study": {
        **{"variants": list[str], "seeds": int, "epochs": int, "sampled_epochs": int},
        **{"start_seconds": float, "peak_bytes": _BYTES},
        **_PACES,
    },
    "scaling": {
        **{"variant": str, "seeds": int, "epochs": int, "seconds": float, "start_seconds": float},
        **{"by_framework": dict[str, float], "peak_bytes": _BYTES},
    },
    "bare": {**_FIT, **_RATIO, "seeds": int, "fast_seconds": float, "bare_seconds": float},
    "variants": {
        **{"variant": str, "seeds": int, "epochs": int, "few_seeds": int, "few_epochs": int},
        **_PACES,
    },
    "parity": {
        **{"network": str, "layers": int, "parameters": int, "samples": int, "pixels": int},
        **{"dtype": str, "threads": int, "passed": bool, "seconds": dict[str, float]},
        **{"peak_bytes": _BYTES},
        **{"differences": dict[str, float | None], "of_tolerance": dict[str, float | None]},
        **{"target": dict[str, float]},
    },
}
"""Part → the fields of its rows that tables are made of."""


@dataclass(frozen=True)
class CostRecords:
    """What is in the file.

    Attributes:
        path: The file.
        content: Everything in it; versions and hardware are here alone.
        plan: What was asked for.
        parts: What was found; the last one may be under way.
        complete: Whether the plan was carried out to its end.
    """

    path: Path
    content: Mapping[str, Any]
    plan: CostPlan
    parts: tuple[Part, ...]
    complete: bool

    @classmethod
    def open(cls, file: Path) -> CostRecords:
        """Read a file that `bn-compare time --self` wrote, also one that was cut short.

        Raises:
            RunFolderError: It is missing, foreign, corrupt or of another format version.
        """
        with saved.opened(file, FORMAT, "bn-compare time --self") as content:
            saved.check(content, _HEADER, "the file")
            environment.check_saved(content)
            plan = CostPlan.from_dict(content["plan"])
            parts = tuple(_part(name, values) for name, values in content["parts"].items())
        return cls(file, content, plan, parts, content["complete"])

    def part(self, name: str) -> Part:
        """One part.

        Raises:
            RunFolderError: It was not measured.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise self._lacks(f"the part {name}")

    def row(self, part: str, **fields: Any) -> Mapping[str, Any]:
        """The row of a part that has these values in its fields.

        Raises:
            RunFolderError: There is none.
        """
        for row in self.part(part).rows:
            if all(row[name] == value for name, value in fields.items()):
                return row
        named = ", ".join(f"{name} {value}" for name, value in fields.items())
        raise self._lacks(f"in the part {part} a row{f' with {named}' if named else ''}")

    def _lacks(self, what: str) -> RunFolderError:
        return RunFolderError(
            f"{self.path}: expected {what}, found none: "
            "pass a folder of `bn-compare time --self` that has it."
        )


def _part(name: str, values: Any) -> Part:
    if name not in PARTS:
        raise unknown("part", name, PARTS)
    saved.check(values, _PART, f"parts, {name}")
    for n, row in enumerate(values["rows"], 1):
        saved.check(row, _ROWS[name], f"parts, {name}, row {n}")
    return Part(name, values["rows"], values["seconds"], values["other_cores"])
