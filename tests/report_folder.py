"""A run folder of made-up runs, small enough to draw in a blink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare.data import circles_split, grid_points
from compare.spec import VARIANTS, Settings
from compare.study.records import Record, RunFolder
from compare.study.runs import first_crossing

MANIFEST = {
    "created_at": "2025-01-02T03:04:05+00:00",
    "versions": {"keras": "3.1.4", "torch": "2.7.1", "ray": None},
    "hardware": {
        "cpu": "Model <X> | 1",
        "cores": 4,
        "memory_bytes": 8 * 2**30,
        "accelerator": {"keras": "cpu", "torch": "cpu"},
        "machine": "x86_64",
        "system": "Linux",
        "python": "3.11.9",
    },
    "keras_backend": "tensorflow",
    "git_commit": None,
    "command": ["bn-compare", "run", "--out", "a folder"],
}


def small_settings(**changes: Any) -> Settings:
    """Settings of a study over two variants, six epochs and few points."""
    small = {"variants": ("mlp", "mlp-bn-after"), "epochs": 6, "n_samples": 40}
    return Settings(**{**small, **changes})


def empty_folder(path: Path, settings: Settings) -> RunFolder:
    """A run folder whose study has not finished a run."""
    split = circles_split(
        n_samples=settings.n_samples, noise=settings.noise, seed=settings.data_seed
    )
    study = {"settings": settings.to_dict(), "data_digest": split.digest}
    return RunFolder.create(path, {**MANIFEST, **study})


def record(
    settings: Settings, variant: str, framework: str, seed: int, *, diverged: bool = False
) -> Record:
    """One made-up run; a diverged one loses its numbers half-way."""
    rng = np.random.default_rng(seed)
    rise = np.linspace(0.5, 0.85, settings.epochs) + 0.01 * rng.standard_normal(settings.epochs)
    curves = {
        "train_loss": 1.2 - rise,
        "train_accuracy": rise,
        "test_loss": 1.25 - rise,
        "test_accuracy": rise - 0.01,
        "running_train_loss": 1.3 - rise,
        "running_train_accuracy": rise - 0.05,
    }
    if VARIANTS[variant].has_batch_norm:
        curves["batch_statistics_test_accuracy"] = rise + 0.04
    history: dict[str, list[float | None]] = {name: c.tolist() for name, c in curves.items()}
    if diverged:
        half = settings.epochs // 2
        history = {name: c[:half] + [None] * len(c[half:]) for name, c in history.items()}
    return {
        "variant": variant,
        "framework": framework,
        "seed": seed,
        "alignment": settings.alignment,
        "undo": list(settings.undo),
        "pace": settings.pace,
        "dtype": settings.dtype,
        "status": "diverged" if diverged else "ok",
        "final": {name: values[-1] for name, values in history.items()},
        "history": history,
        "epoch_seconds": [0.25 if framework == "keras" else 0.125] * settings.epochs,
        "epochs_to_target": None
        if diverged
        else first_crossing(curves["test_accuracy"].tolist(), settings.target),
    }


def arrays(settings: Settings, framework: str, seed: int) -> dict[str, np.ndarray]:
    """Predictions of a network that knows the radius; Lightning's are off by a little."""
    off = 0.0 if framework == "keras" else 3e-7
    plane = 1 / (1 + np.exp(8 * (np.hypot(*grid_points().T) - 0.9 - 0.02 * seed)))
    test = np.random.default_rng(seed).random(settings.n_samples // 2)
    return {
        "hidden/kernel": np.full((2, 3), 0.5 + off),
        "test_probability": test + off,
        "grid_probability": plane + off * np.sin(np.arange(plane.size)),
    }


def filled_folder(
    path: Path, settings: Settings, *, diverged: Sequence[tuple[str, str, int]] = ()
) -> RunFolder:
    """A run folder with every run that the settings ask for; some of them diverged."""
    folder = empty_folder(path, settings)
    for variant in settings.variants:
        for framework in settings.frameworks:
            for seed in range(settings.seeds):
                lost = (variant, framework, seed) in diverged
                run = record(settings, variant, framework, seed, diverged=lost)
                content = arrays(settings, framework, seed)
                if lost:
                    content = {name: np.full_like(a, np.nan) for name, a in content.items()}
                folder.append(run, content)
    return folder
