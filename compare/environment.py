"""Where a study ran: versions, hardware, commit. Reads metadata; imports no framework."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

PACKAGES = (
    "bn-compare",
    "numpy",
    "scipy",
    "scikit-learn",
    "matplotlib",
    "keras",
    "tensorflow",
    "torch",
    "lightning",
    "torchmetrics",
)


class Hardware(TypedDict):
    """The machine; null where the system does not say. `accelerator` is by framework."""

    cpu: str
    cores: Annotated[int, Meta(ge=1)] | None
    memory_bytes: Annotated[int, Meta(ge=0)] | None
    python: str
    machine: NotRequired[str]
    system: NotRequired[str]
    accelerator: NotRequired[dict[str, str]]


class Versions(TypedDict):
    """The versions that every record must name; null where a package is absent."""

    keras: str | None
    tensorflow: str | None
    torch: str | None
    lightning: str | None


def versions() -> dict[str, str | None]:
    """Package → installed version, None where it is absent."""
    installed: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = None
    return installed


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def hardware() -> Hardware:
    """Processor, cores that this process may use, memory, system, and version of Python."""
    return {
        "cpu": _cpu(),
        "cores": available_cores(),
        "memory_bytes": _memory_bytes(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def git_commit() -> str | None:
    """Commit of this source tree, with `-dirty` after it where it has changes; None if installed.

    A checkout that merely contains the environment we are installed in is not ours: the commit
    counts only if git tracks this very file.
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + dirty
    except (OSError, subprocess.CalledProcessError):
        return None
