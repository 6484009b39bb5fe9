import keras
import numpy as np
import pytest
from tolerances import PACES

import bn_keras
from compare.analysis.frames import weight_gap
from compare.backends.keras import timing
from compare.spec import Run, Settings
from compare.study.runs import orders_of, prepare, views_of

SETTINGS = Settings(dtype="float64", epochs=3)


def trained(adapter, variant, train, orders=None, **options):
    """Final weights, and the running metrics of every epoch."""
    run = Run(variant, "keras", 0)
    views = views_of(variant, SETTINGS)
    handle, _, _ = prepare(run, SETTINGS, adapter)
    orders = orders_of(run, SETTINGS, adapter) if orders is None else orders
    metrics = []
    train(
        handle,
        (views.train, views.y_train),
        orders=orders,
        batch_size=SETTINGS.batch_size,
        on_epoch=lambda *both: metrics.append(both),
        **options,
    )
    return adapter.read_weights(handle), metrics


@pytest.mark.sampled(2)
@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("variant", ["mlp-bn-after", "cnn-bn", "lstm-bn"])
def test_the_floor_trains_as_fit_does(both, variant, jit_compile):
    weights, metrics = trained(both["keras"], variant, both["keras"].train)
    found, seen = trained(both["keras"], variant, timing.train, jit_compile=jit_compile)
    assert weight_gap(found, weights) <= PACES
    assert np.abs(np.subtract(seen, metrics)).max() <= PACES


def test_other_orders_end_elsewhere(both):
    orders = np.tile(np.arange(SETTINGS.n_train), (3, 1))
    weights, _ = trained(both["keras"], "mlp-bn-after", both["keras"].train)
    found, _ = trained(both["keras"], "mlp-bn-after", timing.train, orders)
    assert weight_gap(found, weights) > 1e-4


def test_another_optimizer_is_refused():
    model = bn_keras.build_mlp()
    model.compile(keras.optimizers.Adam(), "binary_crossentropy")
    data = np.zeros((4, 2)), np.zeros(4)
    with pytest.raises(TypeError, match="Adam"):
        timing.train(model, data, orders=np.array([[0, 1, 2, 3]]), batch_size=2, on_epoch=print)
