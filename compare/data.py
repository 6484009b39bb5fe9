"""The two concentric circles: the split, its digest, and the views that networks see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_circles

from compare.spec import View

Array = NDArray[np.floating]

EXTENT = 1.5
"""Views and decision boundaries cover [−EXTENT, EXTENT]²."""

IMAGE_SIDE = 8
IMAGE_SIGMA = 0.3
GRID_SIDE = 61


@dataclass(frozen=True)
class Split:
    """The points and their circle, halved in the order in which scikit-learn returns them.

    Attributes:
        x_train: Training points, (n_train, 2), float64.
        y_train: 0.0 for the outer circle, 1.0 for the inner one, (n_train,), float64.
        x_test: Test points, (n_test, 2), float64.
        y_test: As `y_train`, (n_test,).
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @property
    def digest(self) -> str:
        """SHA-256 of the four arrays, as 64 hexadecimal digits."""
        return digest(self.x_train, self.y_train, self.x_test, self.y_test)


def digest(*arrays: NDArray[np.generic]) -> str:
    """SHA-256 of the shapes, types and bytes of some arrays, as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def circles_split(*, n_samples: int = 1000, noise: float = 0.1, seed: int = 1) -> Split:
    """The tutorial's data: `make_circles`, first half for training, second half for the test.

    Args:
        n_samples: Number of points, at least 2.
        noise: Standard deviation of the Gaussian noise on each coordinate.
        seed: scikit-learn's `random_state`.

    Returns:
        The split, in float64.
    """
    points, labels = make_circles(n_samples=n_samples, noise=noise, random_state=seed)
    half = n_samples // 2
    labels = labels.astype(np.float64)
    return Split(points[:half], labels[:half], points[half:], labels[half:])


def view(points: Array, kind: View) -> Array:
    """What a network sees of some points, in Keras' layout (channels last).

    Args:
        points: Coordinates, (n, 2).
        kind: `"vector"`: the coordinates as they are, (n, 2). `"sequence"`: one coordinate per
            time step, (n, 2, 1). `"image"`: a Gaussian bump (σ 0.3, height 1) at the point, on an
            8×8 grid over [−1.5, 1.5]², rows along the second coordinate, (n, 8, 8, 1).

    Returns:
        A new array in the dtype of `points`.
    """
    if kind == "vector":
        return points.copy()
    if kind == "sequence":
        return points[:, :, np.newaxis].copy()
    axis = np.linspace(-EXTENT, EXTENT, IMAGE_SIDE)
    across = np.exp(-((axis - points[:, :1]) ** 2) / (2 * IMAGE_SIGMA**2))
    down = np.exp(-((axis - points[:, 1:]) ** 2) / (2 * IMAGE_SIGMA**2))
    image: Array = (down[:, :, np.newaxis] * across[:, np.newaxis, :])[..., np.newaxis]
    return image.astype(points.dtype)


def grid_points(side: int = GRID_SIDE) -> Array:
    """Points of a regular grid over [−1.5, 1.5]², (side², 2), first coordinate fastest."""
    axis = np.linspace(-EXTENT, EXTENT, side)
    first, second = np.meshgrid(axis, axis)
    return np.stack([first.ravel(), second.ravel()], axis=1)
