"""Made-up runs with the numbers that statistics look at, and nothing else."""

from __future__ import annotations

from typing import Any

from compare.study.records import Record


def run(framework: str = "keras", seed: int = 0, **changes: Any) -> Record:
    """One run; `accuracy`, `loss`, `hit` and `curve` change its numbers, the rest its fields."""
    accuracy = changes.pop("accuracy", 0.8)
    hit = changes.pop("hit", 3)
    curve = changes.pop("curve", [accuracy] * 4)
    return {
        "variant": "mlp",
        "framework": framework,
        "seed": seed,
        "alignment": "exact",
        "status": "ok",
        "final": {"test_accuracy": accuracy, "test_loss": changes.pop("loss", 0.4)},
        "history": {"test_accuracy": curve},
        "epochs_to_target": hit,
        **changes,
    }


def diverged(framework: str = "keras", seed: int = 0, **changes: Any) -> Record:
    """A run that diverged: its numbers are null."""
    lost = {"accuracy": None, "loss": None, "hit": None, "curve": [0.8, None]}
    return run(framework, seed, **lost, status="diverged", **changes)
