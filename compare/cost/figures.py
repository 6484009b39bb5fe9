"""Extrapolating what is too long to measure, and setting seconds beside seconds; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compare.timing.summary import interval


def extrapolated(stamps: Sequence[float], epochs: int) -> float:
    """Seconds that a run of more epochs takes.

    Building, tracing and the first epoch count once, as do the last predictions; every other epoch
    counts with the mean of those measured, evaluation included.

    Args:
        stamps: Seconds from the start of a run to the end of every epoch, at least 2, and to its
            end, which comes last.
        epochs: How many epochs the run would have, at least 1.
    """
    first, last = stamps[0], stamps[-1] - stamps[-2]
    steady = float(np.mean(np.diff(stamps[:-1])))
    return first + (epochs - 1) * steady + last


def of_seeds(runs: Sequence[Sequence[float]], *, epochs: int, seeds: int) -> float:
    """Seconds that many runs take one after the other, from a few of them.

    Args:
        runs: The stamps of each; see `extrapolated`.
        epochs: How many epochs each would have.
        seeds: How many runs there would be.
    """
    return seeds * float(np.mean([extrapolated(stamps, epochs) for stamps in runs]))


def side_by_side(by_framework: Mapping[str, float]) -> float:
    """Seconds until the slower of two processes that run at the same time is done."""
    return max(by_framework.values())


def steady(ends: Sequence[float]) -> float:
    """Median duration of the epochs from the second on, in seconds.

    Args:
        ends: The clock at the ends of all epochs, at least 2.
    """
    return float(np.median(np.diff(ends)))


def compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | int]:
    """Ours by theirs: the median of paired ratios and its interval.

    Args:
        ours: Seconds, one per repetition, at least 2.
        theirs: The same, in the same repetitions.

    Returns:
        `ratio`, `low`, `high` and `repetitions`.
    """
    ratio, low, high = interval(np.array(ours), np.array(theirs))
    return {"ratio": ratio, "low": low, "high": high, "repetitions": len(ours)}


def own_share(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What the judge's callbacks take of an epoch, from interleaved fits.

    Args:
        rounds: Per repetition: `bare`, seconds of an epoch without the judge; `around`, seconds
            between two stamps with the judge's callbacks between them; `nothing`, with nothing.

    Returns:
        `bare_seconds`, `own_seconds` and `own_share`, medians over repetitions.
    """
    bare = np.array([r["bare"] for r in rounds])
    own = np.array([r["around"] - r["nothing"] for r in rounds])
    return {
        "bare_seconds": float(np.median(bare)),
        "own_seconds": float(np.median(own)),
        "own_share": float(np.median(own / bare)),
    }
