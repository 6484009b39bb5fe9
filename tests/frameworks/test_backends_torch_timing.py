import numpy as np
import pytest
from tolerances import PACES

from compare.analysis.frames import weight_gap
from compare.backends.torch import timing
from compare.spec import Run, Settings
from compare.study.runs import orders_of, prepare, views_of

SETTINGS = Settings(dtype="float64", epochs=3)


def trained(adapter, variant, on_floor, orders=None):
    """Final weights, and the running metrics of every epoch."""
    run = Run(variant, "torch", 0)
    views = views_of(variant, SETTINGS)
    handle, _, _ = prepare(run, SETTINGS, adapter)
    x = views.train
    if on_floor and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    metrics = []
    (timing.train if on_floor else adapter.train)(
        handle,
        (x, views.y_train),
        orders=orders_of(run, SETTINGS, adapter) if orders is None else orders,
        batch_size=SETTINGS.batch_size,
        on_epoch=lambda *both: metrics.append(both),
    )
    return adapter.read_weights(handle), metrics


@pytest.mark.parametrize("variant", ["mlp-bn-after", "cnn-bn", "lstm-bn"])
def test_the_floor_trains_as_fit_does(both, variant):
    weights, metrics = trained(both["torch"], variant, on_floor=False)
    found, seen = trained(both["torch"], variant, on_floor=True)
    assert weight_gap(found, weights) <= PACES
    # torchmetrics and Lightning keep their means in float32.
    assert np.abs(np.subtract(seen, metrics)).max() <= 1e-6


def test_other_orders_end_elsewhere(both):
    orders = np.tile(np.arange(SETTINGS.n_train), (3, 1))
    weights, _ = trained(both["torch"], "mlp-bn-after", on_floor=False)
    found, _ = trained(both["torch"], "mlp-bn-after", on_floor=True, orders=orders)
    assert weight_gap(found, weights) > 1e-4
