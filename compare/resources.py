"""What a fit used: peak memory of this process, and how busy others kept the machine meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

QUIET = 0.1
"""Cores that may be busy with something else before a timing is in doubt."""

_LOOK_SECONDS = 0.25


def peak_bytes(pid: int | None = None) -> int | None:
    """Largest resident set of a process so far, in bytes; None where the system does not say.

    On Linux it is read from `/proc`: `getrusage` would report the parent's where that was larger,
    since a child begins with the parent's memory.

    Args:
        pid: The process; None for this one. Other systems than Linux know of this one alone.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if pid is not None:
        return None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class OtherPrograms:
    """A block, and how many cores others kept busy while it ran; use it as a context manager.

    Args:
        family: Whether this process' children count as its own.

    Attributes:
        cores: Mean number of cores that computed for other processes, ≥ 0; NaN until the block has
            ended. Systems count in hundredths of a second: of a short block it is coarse.
    """

    def __init__(self, *, family: bool = False) -> None:
        self.cores = float("nan")
        self._own = _family_seconds if family else time.process_time

    def __enter__(self) -> OtherPrograms:
        self._before = (_busy(), self._own(), time.perf_counter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        after = (_busy(), self._own(), time.perf_counter())
        busy, own, wall = (b - a for a, b in zip(self._before, after, strict=True))
        self.cores = max(0.0, busy - own) / wall


def wait_until_quiet(patience: float, say: Callable[[str], None]) -> float:
    """Wait until other programs use less than `QUIET` cores, or patience ends.

    Args:
        patience: Seconds to wait at most; 0 to look at nothing.
        say: Called when there is something to wait for.

    Returns:
        Seconds waited, 0 where it was quiet at once.
    """
    begin = time.perf_counter()
    waited = 0.0
    while waited < patience:
        with OtherPrograms() as others:
            time.sleep(_LOOK_SECONDS)
        if others.cores < QUIET:
            break
        if not waited:
            say(f"waiting: other programs keep {others.cores:.1f} cores busy")
        waited = time.perf_counter() - begin
    return waited


def _family_seconds() -> float:
    """Processor time of this process and of its children, those that have ended included."""
    seconds = 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
        # What has ended counts for the process that waited for it; not every system says.
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds


def _busy() -> float:
    times = psutil.cpu_times()._asdict()
    # Linux counts guests among user times, too.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(value for name, value in times.items() if name not in idle))
