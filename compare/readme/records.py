"""The part of a run folder that the README rests on, small enough to keep in the repository.

```
manifest.json      as it was, without the command, which names a folder of the machine
records.jsonl      as it was
timings.jsonl      as it was
weights/*.npz      of the one seed whose predictions over the plane are drawn
```
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from compare.errors import InputError, RunFolderError
from compare.report.boundaries import Boundary, boundary
from compare.spec import Settings
from compare.study.records import RunFolder, run_name, write_text


def check_default(folder: RunFolder) -> None:
    """Raise unless a folder holds a whole study at the defaults of `bn-compare run`.

    Raises:
        InputError: Settings differ from the defaults, or runs are missing.
        RunFolderError: Records cannot be read.
    """
    settings = folder.settings
    expected = Settings(seeds=settings.seeds, pace=settings.pace)
    changed = [k for k, v in expected.to_dict().items() if settings.to_dict()[k] != v]
    if changed:
        raise InputError(
            f"{folder.path}: expected a study at the defaults, received other "
            f"{', '.join(changed)}: pass a folder of `bn-compare run` without options."
        )
    runs = len(settings.variants) * len(settings.frameworks) * settings.seeds
    found = len(folder.records())
    if found != runs or not folder.timings():
        raise InputError(
            f"{folder.path}: expected {runs} runs and a timing pass, received {found} runs and "
            f"{len(folder.timings())} timed fits: pass the folder of a study that has ended."
        )


def drawn(folder: RunFolder, variant: str) -> Boundary:
    """The predictions over the plane that are drawn of a variant.

    Raises:
        RunFolderError: There are none.
    """
    found = boundary(folder, folder.records(), variant)
    if found is None:
        raise RunFolderError(f"{folder.path}: expected predictions of {variant}, found none.")
    return found


def keep(folder: RunFolder, path: Path, variant: str) -> None:
    """Copy what the README rests on; nothing to do where the folder is the copy.

    Args:
        folder: A run folder.
        path: Where to; an older copy there is replaced.
        variant: The variant whose predictions over the plane are drawn.

    Raises:
        RunFolderError: Something cannot be read or written.
    """
    if path.exists() and path.samefile(folder.path):
        return
    seed = drawn(folder, variant).seed
    weights = [
        f"weights/{run_name(run)}.npz"
        for run in folder.records()
        if (run["variant"], run["seed"]) == (variant, seed)
    ]
    manifest = {name: value for name, value in folder.manifest.items() if name != "command"}
    try:
        for old in (path / "weights").glob("*.npz"):
            old.unlink()
        (path / "weights").mkdir(parents=True, exist_ok=True)
        for name in ("records.jsonl", "timings.jsonl", *weights):
            shutil.copyfile(folder.path / name, path / name)
        write_text(path / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        raise RunFolderError(f"{path}: cannot keep the records there: {error}") from error
