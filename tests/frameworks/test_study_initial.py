import keras
import numpy as np
import pytest

from compare.study.initial import (
    batch_orders,
    glorot_uniform,
    he_uniform,
    initial_weights,
    orthogonal,
)

SHAPES = {
    "hidden/kernel": (2, 50),
    "hidden/bias": (50,),
    "lstm/kernel": (1, 128),
    "lstm/recurrent_kernel": (32, 128),
    "lstm/bias": (128,),
    "batch_norm/gamma": (50,),
    "batch_norm/moving_variance": (50,),
}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(glorot_uniform, "glorot_uniform"), (he_uniform, "he_uniform")]
)
@pytest.mark.parametrize("shape", [(2, 50), (3, 3, 8, 32)])
def test_uniform_initializers_have_keras_limits(ours, theirs, shape):
    drawn = ours((*shape[:-1], 20000), np.random.default_rng(0))
    reference = keras.ops.convert_to_numpy(
        keras.initializers.get(theirs)((*shape[:-1], 20000), dtype="float64")
    )
    assert np.abs(drawn).max() == pytest.approx(np.abs(reference).max(), rel=1e-3)
    assert drawn.std() == pytest.approx(reference.std(), rel=1e-2)


@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (5, 5)])
def test_orthogonal_rows_or_columns(shape):
    matrix = orthogonal(shape, np.random.default_rng(0))
    product = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    assert matrix.shape == shape
    assert np.abs(product - np.eye(min(shape))).max() <= 1e-14  # measured 1.1e-15


def test_defaults_of_every_tensor():
    weights = initial_weights(SHAPES, seed=0)
    assert list(weights) == list(SHAPES)
    assert not weights["hidden/bias"].any()
    assert weights["batch_norm/gamma"].all()
    forget = np.zeros(128)
    forget[32:64] = 1.0
    assert np.array_equal(weights["lstm/bias"], forget)
    assert not initial_weights(SHAPES, seed=0, unit_forget_bias=False)["lstm/bias"].any()


def test_a_tensor_depends_on_seed_and_name_alone():
    whole = initial_weights(SHAPES, seed=4)
    part = initial_weights({"hidden/kernel": (2, 50)}, seed=4)
    other = initial_weights(SHAPES, seed=5)
    assert np.array_equal(whole["hidden/kernel"], part["hidden/kernel"])
    assert not np.array_equal(whole["hidden/kernel"], other["hidden/kernel"])
    with pytest.raises(KeyError, match="scale"):
        initial_weights({"norm/scale": (2,)}, seed=0)


def test_orders_are_permutations_and_differ_between_epochs_and_seeds():
    orders = batch_orders(50, epochs=4, seed=1)
    assert orders.shape == (4, 50)
    assert all(sorted(row) == list(range(50)) for row in orders.tolist())
    assert len({tuple(row) for row in orders.tolist()}) == 4
    assert np.array_equal(orders[:2], batch_orders(50, epochs=2, seed=1))
    assert not np.array_equal(orders, batch_orders(50, epochs=4, seed=2))
