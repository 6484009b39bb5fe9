"""`bn-compare time --self`: measure the product's own cost, save after every part, show."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compare import environment
from compare.cost import bare, overhead, parity, scaling, study, table, variants
from compare.cost.plan import PARTS, CostPlan, Part
from compare.cost.records import FILE, FORMAT, CostRecords
from compare.errors import RunFolderError
from compare.frameworks import check_installed
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import check_writable, write_text
from compare.terminal import console
from compare.usage import OtherPrograms

Say = Callable[[str], None]
_MEASURES: Mapping[str, Callable[[CostPlan, Say], Iterable[dict[str, Any]]]] = {
    "overhead": overhead.measure,
    "study": study.measure,
    "scaling": scaling.measure,
    "bare": bare.measure,
    "variants": variants.measure,
    "parity": parity.measure,
}


def run(plan: CostPlan, path: Path, *, say: Say) -> list[Part]:
    """Carry out a plan; `self.json` is rewritten after every row, `self.md` after every part.

    Args:
        plan: What to measure.
        path: A new or empty folder; made once something was measured.
        say: Told what is under way.

    Raises:
        MissingDependencyError: A framework is not installed.
        RunFolderError: `path` cannot be used.
        WorkerError: A framework's process died or raised.
    """
    check_installed(FRAMEWORKS)
    check_writable(path)
    header = _header(plan)

    def save(parts: list[Part]) -> None:
        path.mkdir(parents=True, exist_ok=True)
        content = {**header, **to_json(plan, parts)}
        write_text(path / FILE, json.dumps(content, allow_nan=False, indent=1) + "\n")

    parts: list[Part] = []
    for name in plan.wanted:
        begin, rows = time.perf_counter(), list[dict[str, Any]]()
        with OtherPrograms(family=True) as others:
            for row in _MEASURES[name](plan, say):
                rows.append(row)
                save([*parts, Part(name, rows, time.perf_counter() - begin, None)])
        parts.append(Part(name, rows, time.perf_counter() - begin, others.cores))
        save(parts)
        write_text(path / "self.md", table.markdown(parts))
    return parts


def redo(path: Path, *, as_json: bool) -> None:
    """Write the page again from `self.json` alone, also of an interrupted measurement, and show it.

    Args:
        path: A folder of `bn-compare time --self`.
        as_json: Whether to print JSON instead of tables.

    Raises:
        RunFolderError: The records cannot be read, or the folder cannot be written to.
    """
    records = CostRecords.open(path / FILE)
    try:
        write_text(path / "self.md", table.markdown(records.parts))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot write the page: {error}") from error
    if as_json:
        print(json.dumps({"run_dir": str(path), **records.content}, allow_nan=False))
        return
    show(records.plan, records.parts, path, as_json=False)


def _header(plan: CostPlan) -> dict[str, Any]:
    return {
        **FORMAT.header(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["bn-compare", *sys.argv[1:]],
        "plan": plan.to_dict(),
        "settings": Settings().to_dict(),
        "hardware": environment.hardware(),
        "versions": environment.versions(),
        "git_commit": environment.git_commit(),
    }


def to_json(plan: CostPlan, parts: Sequence[Part]) -> dict[str, Any]:
    """The parts by name, the one under way included, with what their figures are."""
    finished = tuple(part.name for part in parts if part.other_cores is not None)
    return {
        "complete": finished == plan.wanted,
        "parts": {
            part.name: {
                **{key: value for key, value in asdict(part).items() if key != "name"},
                "about": table.about(part),
            }
            for part in parts
        },
    }


def show(plan: CostPlan, parts: Sequence[Part], path: Path, *, as_json: bool) -> None:
    """Print the tables, or the JSON, on stdout."""
    if as_json:
        print(json.dumps({"run_dir": str(path), **to_json(plan, parts)}, allow_nan=False))
        return
    from rich.table import Column, Table

    for part in parts:
        head, *lines = table.table(part)
        columns = [
            Column(
                name,
                justify="left" if name in ("variant", "framework", "study", "network") else "right",
            )
            for name in head
        ]
        grid = Table(*columns, title=PARTS[part.name], title_justify="left", padding=(0, 0, 0, 1))
        for line in lines:
            grid.add_row(*line)
        console().print(grid)
        print(f"{table.about(part)}\n{table.load(part)}\n")
    print(f"folder: {path}")


def interrupted(path: Path) -> str:
    """What Ctrl-C left, in one line."""
    file = path / FILE
    if not file.is_file():
        return "interrupted: nothing was measured."
    names = json.loads(file.read_text(encoding="utf-8"))["parts"]
    return (
        f"interrupted: {', '.join(names)} saved in {file}; "
        f"`bn-compare report {path}` makes tables of it."
    )
