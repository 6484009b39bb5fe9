import numpy as np
import pytest

from compare.data import GRID_SIDE, circles_split, digest, grid_points, view


def test_the_tutorials_split():
    split = circles_split()
    assert split.x_train.shape == split.x_test.shape == (500, 2)
    radius = np.hypot(*split.x_train.T)
    assert radius[split.y_train == 1].mean() < 0.9 < radius[split.y_train == 0].mean()
    assert set(split.y_train) == set(split.y_test) == {0.0, 1.0}


def test_digest_tells_splits_apart_and_is_stable():
    assert circles_split().digest == circles_split().digest
    others = [circles_split(seed=2), circles_split(noise=0.2), circles_split(n_samples=998)]
    assert len({circles_split().digest, *(s.digest for s in others)}) == 4
    a = np.arange(6.0)
    assert len({digest(a), digest(a.reshape(2, 3)), digest(a.astype(np.float32))}) == 3


@pytest.mark.parametrize(
    ("kind", "shape"), [("vector", (2,)), ("image", (8, 8, 1)), ("sequence", (2, 1))]
)
def test_view_shapes_and_dtype(kind, shape):
    points = circles_split().x_train[:5].astype(np.float32)
    seen = view(points, kind)
    assert seen.shape == (5, *shape)
    assert seen.dtype == np.float32
    assert not np.shares_memory(seen, points)


def test_image_is_a_bump_at_the_point():
    axis = np.linspace(-1.5, 1.5, 8)
    image = view(np.array([[axis[6], axis[1]]]), "image")[0, :, :, 0]
    assert np.unravel_index(image.argmax(), image.shape) == (1, 6)
    assert image.max() == 1.0
    step = axis[1] - axis[0]
    assert image[1, 5] == pytest.approx(np.exp(-(step**2) / (2 * 0.3**2)), rel=1e-12)


def test_grid_has_the_first_coordinate_fastest():
    grid = grid_points()
    assert grid.shape == (GRID_SIDE**2, 2)
    assert grid[0].tolist() == [-1.5, -1.5]
    assert grid[1, 1] == -1.5
    assert grid[-1].tolist() == [1.5, 1.5]
