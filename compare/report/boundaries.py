"""Which predictions over the plane a report shows for a variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compare.data import GRID_SIDE, Array
from compare.errors import RunFolderError
from compare.study.records import Record, RunFolder, run_name


@dataclass(frozen=True)
class Boundary:
    """The predictions of one seed over the plane: framework → (GRID_SIDE²,)."""

    seed: int
    grids: Mapping[str, Array]


def boundary(folder: RunFolder, records: Iterable[Record], variant: str) -> Boundary | None:
    """The lowest seed with predictions: of both sides, and not diverged, where there is one.

    Raises:
        RunFolderError: Arrays are missing or corrupt, or a grid has another size.
    """
    seeds: dict[int, list[Record]] = {}
    for record in records:
        if record["variant"] == variant:
            seeds.setdefault(record["seed"], []).append(record)

    def rank(seed: int) -> tuple[int, int, int]:
        fine = sum(run["status"] == "ok" for run in seeds[seed])
        return -fine, -len(seeds[seed]), seed

    for seed in sorted(seeds, key=rank):
        grids = {run["framework"]: _grid(folder, run) for run in seeds[seed]}
        found = {framework: grid for framework, grid in grids.items() if grid is not None}
        if found:
            return Boundary(seed, found)
    return None


def _grid(folder: RunFolder, record: Record) -> Array | None:
    grid = folder.arrays(record).get("grid_probability")
    if grid is not None and grid.size != GRID_SIDE**2:
        raise RunFolderError(
            f"{folder.path / 'weights' / run_name(record)}.npz: grid_probability: "
            f"expected {GRID_SIDE**2} numbers, received {grid.size}."
        )
    return grid
