"""What a report says about its table and its figures, whatever the study."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from compare.spec import Settings

OVERVIEWS: Mapping[str, str] = MappingProxyType(
    {
        "epochs-to-target": "Epochs to the target",
        "parity": "Parity",
        "seconds-per-epoch": "Seconds per epoch",
    }
)
"""Name of a figure over all variants → the title of its section."""

_VERDICTS = (
    "Each number of a run is compared between the frameworks, Lightning − Keras (Lightning ÷ Keras "
    "for epochs), paired by seed. Identical: all pairs agree to rounding. Equivalent: the 90 % "
    "interval lies inside the margins that the settings name, which is two one-sided tests at 5 %. "
    "Different: the 95 % interval excludes no difference, and the pair is not equivalent. "
    "Refused: too few pairs, or too few distinct values, for an interval to mean anything."
)

_EFFECTS = (
    "Each variant with batch normalization against the same network without it, paired by seed "
    "within a framework. Better and worse are what a verdict “different” means for the number: a "
    "higher accuracy, a lower loss, fewer epochs."
)

EXPLAINED: Mapping[str, str] = MappingProxyType(
    {
        "effects": _EFFECTS,
        "tutorial": "The tutorial prints one run of each; here is where it lies in the range of "
        "our seeds, from the smallest to the largest.",
        "verdicts": _VERDICTS,
        "races": "Seed by seed: which framework reaches the target in an earlier epoch; a run that "
        "never does comes after every other. The two-sided sign test asks whether either comes "
        "first equally often; seeds in which they arrive together, or never, say nothing of it.",
        "epochs-to-target": "The share of seeds whose test accuracy has reached the target, by "
        "epoch. A curve that ends below 1 has runs that never reached it. Where the dashed curve, "
        "evaluated with the statistics of the batch, rises long before the solid one, the network "
        "has learned and its moving statistics lag behind.",
        "parity": "The largest difference of the test loss between the two frameworks over all "
        "pairs, by epoch, on a log scale. Rounding grows from 1e-16 (float64) or 1e-7 (float32); "
        "what starts far above it is a difference of conventions.",
        "seconds-per-epoch": "Epochs of model.fit and Trainer.fit under the clock: the dot is "
        "the median, the line holds 5 to 95 % of the epochs. Networks and "
        "batches are small: this is the overhead of a step, not throughput.",
        "learning-curves": "Keras is the wide pale line, Lightning the thin one over it; each is "
        "the mean over seeds. The shade around the test curves is a pointwise 95 % interval of the "
        "mean (Student’s t). “Train, while training” is the accuracy of the batches as they are "
        "trained on; the other curves are evaluated after each epoch, with the moving statistics. "
        "Where “test, batch statistics” is far above “test”, the network has learned and its "
        "moving statistics lag behind.",
    }
)


def legend(settings: Settings, *, timed: bool) -> str:
    """How to read the table of results.

    Args:
        settings: Settings of the study.
        timed: Whether fits were timed apart.
    """
    return (
        "Test accuracy: mean over seeds after the last epoch, [95 % interval of the mean, "
        "Student’s t] (± standard deviation below three seeds). "
        f"Epochs to {100 * settings.target:g} %: median over seeds; “(4 of 5)” means that "
        "not every run arrived. "
        f"s/epoch: {_seconds(settings, timed=timed)} max |Δp|: largest difference between the two "
        "sides’ test probabilities, over all pairs and points; NaN where a run of a pair diverged. "
        "Difference: Lightning − Keras of the test accuracy, mean over pairs [95 % interval]."
    )


def _seconds(settings: Settings, *, timed: bool) -> str:
    """What the column of seconds means."""
    if settings.pace == "idiomatic":
        return "median over all epochs of all runs."
    if not timed:
        return "not measured: runs at the fast pace are not timed."
    return "median over steady epochs of model.fit and Trainer.fit, timed apart, in turns."
