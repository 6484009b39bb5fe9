"""Where records were made: hardware, threads and versions, as the README says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def machine(content: Mapping[str, Any], *, devices: Iterable[str], threads: int) -> str:
    """A phrase without a full stop.

    Args:
        content: Records with `hardware` and `versions`; see `compare.environment`.
        devices: What the frameworks computed on, such as `"cpu"`.
        threads: Of each framework.
    """
    hardware, versions = content["hardware"], content["versions"]
    accelerators = sorted(set(devices) - {"cpu"})
    return (
        f"{hardware['cpu']}, {_count(hardware['cores'], 'core')}, {_memory(hardware)}"
        f"{' and '.join(accelerators) or 'no GPU'}, "
        f"{_count(threads, 'thread')} per framework; Python {hardware['python']}, "
        f"Keras {versions['keras']} on TensorFlow {versions['tensorflow']}, "
        f"Torch {versions['torch']}, Lightning {versions['lightning']}"
    )


def elsewhere(here: str, above: str) -> Iterator[str]:
    """A sentence on where something was measured, unless that was said before.

    Args:
        here: What `machine` says of it.
        above: What it said last.
    """
    if here != above:
        yield f"Measured on {here}."


def _memory(hardware: Mapping[str, Any]) -> str:
    found = hardware["memory_bytes"]
    return "" if found is None else f"{found / 2**30:.0f} GiB, "


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
