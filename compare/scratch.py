"""Folders for what a check needs while it runs; the next one removes what a killed one left."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_PREFIX = f"bn-compare-{platform.node()}-"
"""Processes of another machine, or container, are not known here."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is removed when the block ends.

    Traces of a large network take a gigabyte, and a process that is killed leaves them behind: so
    every folder carries the id of its process, and those whose process has ended are removed first.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = re.match(r"(\d+)-", folder.name.removeprefix(_PREFIX))
        if owner is not None and not psutil.pid_exists(int(owner[1])):
            # It may be another user's, or another check may be at it.
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as name:
        yield Path(name)
