"""How much memory this process needed at most."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_bytes() -> int | None:
    """Largest resident set of this process so far, in bytes; None where the system does not say.

    On Linux it is read from `/proc`: `getrusage` would report the parent's where that was larger,
    since a child begins with the parent's memory.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
