import keras
import numpy as np
import pytest
import tensorflow as tf

from compare.backends.keras import adapter
from compare.backends.keras.structures import to_numpy
from compare.backends.keras.weights import read_weights

K, OPT = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))


def traced(model, steps=2):
    found = {}
    adapter.trace(model, [(X, Y)] * steps, found.__setitem__)
    return found


def linear(optimizer, **options):
    model = keras.Sequential([keras.Input((3,)), K.Dense(2, use_bias=False, name="l")])
    model.compile(optimizer, "mse", **options)
    return model


def by_hand(update, w, steps=2):
    """Slots and weights after steps of `update(slots, gradient, t)` → change of the weights."""
    slots = {}
    for t in range(1, steps + 1):
        gradient = X.T @ (X @ w - Y) * 2.0 / Y.size
        w = w + update(slots, gradient, t)
    return w, slots


def sgd(slots, g, t):
    v = slots["velocity"] = 0.9 * slots.get("velocity", 0.0) - 0.1 * g
    return v


def adam(slots, g, t):
    m = slots["first_moment"] = 0.9 * slots.get("first_moment", 0.0) + 0.1 * g
    v = slots["second_moment"] = 0.99 * slots.get("second_moment", 0.0) + 0.01 * g * g
    top = slots["max_second_moment"] = np.maximum(slots.get("max_second_moment", 0.0), v)
    return -0.1 * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(top) + 1e-7)


def rmsprop(slots, g, t):
    v = slots["second_moment"] = 0.8 * slots.get("second_moment", 0.0) + 0.2 * g * g
    a = slots["average_gradient"] = 0.8 * slots.get("average_gradient", 0.0) + 0.2 * g
    m = 0.9 * slots.get("velocity", 0.0) + 0.1 * g / np.sqrt(v - a * a + 1e-7)
    slots["velocity"] = m
    return -m


def scheduled(slots, g, t):
    return -0.1 * 0.5 ** (t - 1) * g


BETAS = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.99), "amsgrad": True}
OPTIMIZERS = [
    (lambda: OPT.SGD(0.1, momentum=np.float64(0.9)), sgd),
    (lambda: OPT.Adam(0.1, **BETAS), adam),
    (lambda: OPT.AdamW(0.1, weight_decay=0.0, **BETAS), adam),
    (
        lambda: OPT.RMSprop(0.1, rho=np.float64(0.8), momentum=np.float64(0.9), centered=True),
        rmsprop,
    ),
    (lambda: OPT.SGD(OPT.schedules.ExponentialDecay(0.1, 1, 0.5)), scheduled),
]


@pytest.mark.parametrize(("build", "update"), OPTIMIZERS)
def test_slots_and_weights_are_those_of_a_hand_computation(build, update):
    model = linear(build())
    w, slots = by_hand(update, read_weights(model)["l/kernel"])
    found = traced(model)
    prefix = "step/2/slots/l/kernel/"
    assert sorted(k for k in found if k.startswith(prefix)) == sorted(prefix + s for s in slots)
    for slot, value in slots.items():
        assert np.allclose(found[prefix + slot], value, rtol=1e-7, atol=1e-12)
    # A schedule's rate is a float32 number: the weight is off by 6e-8 of its change, not of itself.
    assert np.allclose(found["step/2/weights/l/kernel"], w, rtol=1e-7, atol=1e-7)


def test_the_optimizer_goes_on_where_it_stands_and_is_left_there():
    model = linear(OPT.Adam(OPT.schedules.ExponentialDecay(0.1, 1, 0.5)))
    model.fit(X, Y, batch_size=6, epochs=3, shuffle=False, verbose=0)
    before = [to_numpy(v) for v in model.optimizer.variables]
    found = traced(model, steps=1)
    after = [to_numpy(v) for v in model.optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    model.fit(X, Y, batch_size=6, epochs=1, shuffle=False, verbose=0)
    after = read_weights(model)["l/kernel"]
    assert np.allclose(found["step/1/weights/l/kernel"], after, rtol=0, atol=1e-15)


def test_a_moving_average_of_the_weights_is_a_slot():
    found = traced(linear(OPT.SGD(0.1, use_ema=True, ema_momentum=0.5)))
    first, second = (found[f"step/{n}/weights/l/kernel"] for n in (1, 2))
    assert np.array_equal(found["step/1/slots/l/kernel/average"], first)
    assert np.allclose(found["step/2/slots/l/kernel/average"], (first + second) / 2, rtol=1e-14)


@pytest.mark.parametrize(
    "scaled",
    [
        lambda: OPT.SGD(0.1, loss_scale_factor=1024.0),
        lambda: OPT.LossScaleOptimizer(OPT.SGD(0.1), initial_scale=1024.0),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_of_a_scaled_loss_everything_is_recorded_unscaled(scaled, jit_compile):
    plain, found = {}, {}
    model = linear(OPT.SGD(0.1))
    adapter.trace(model, [(X, Y)] * 2, plain.__setitem__, jit_compile=jit_compile)
    model.compile(scaled(), "mse")
    adapter.trace(model, [(X, Y)] * 2, found.__setitem__, jit_compile=jit_compile)
    for name in plain.keys() - {"step/1/optimizer/learning_rate", "step/1/optimizer/iteration"}:
        if found[name].dtype.kind == "U":
            assert found[name] == plain[name]
        else:
            assert np.allclose(found[name], plain[name], rtol=1e-12, atol=1e-15), name
    assert not model.optimizer.built


class Own(keras.Model):
    """Trains as Keras does, but twice the loss; `report` says how it tells."""

    report = "compute_loss"

    def __init__(self):
        super().__init__()
        self.l = K.Dense(2, use_bias=False, name="l")
        self.build((None, 3))

    def build(self, shape):
        self.l.build(shape)
        self.built = True

    def call(self, x):
        return self.l(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            output = self(x, training=True)
            if self.report == "compute_loss":
                loss = self.compute_loss(x, y, 2.0 * output)
            else:
                loss = tf.reduce_mean((y - 2.0 * output) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        logs = self.compute_metrics(x, y, output)
        return {**logs, "loss": loss} if self.report == "logs" else {}


@pytest.mark.parametrize("report", ["compute_loss", "logs"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_train_step_of_ones_own_is_what_trains(report, compiled):
    model = Own()
    if compiled:
        model.__dict__["train_step"] = tf.function(model.train_step)
    model.report = report
    model.compile(OPT.SGD(0.1, momentum=np.float64(0.9)), "mse", metrics=["mae"])
    model.evaluate(X, Y, verbose=0)
    metrics = [to_numpy(v) for v in model.metrics_variables]
    w = read_weights(model)["l/kernel"]
    found = traced(model)
    error = 2.0 * X @ w - Y
    assert np.allclose(found["step/1/loss"], np.mean(error**2), rtol=0, atol=1e-14)
    gradient = X.T @ error * 4.0 / Y.size
    assert np.allclose(found["gradient/l/kernel"], gradient, rtol=0, atol=1e-14)
    assert np.allclose(found["step/1/slots/l/kernel/velocity"], -0.1 * gradient, atol=1e-14)
    assert np.allclose(found["step/1/weights/l/kernel"], w - 0.1 * gradient, atol=1e-14)
    assert np.allclose(found["backward/l/output"], error * 4.0 / Y.size, atol=1e-14)
    assert np.array_equal(read_weights(model)["l/kernel"], w)
    assert not model.optimizer.built
    after = [to_numpy(v) for v in model.metrics_variables]
    assert all(np.array_equal(a, b) for a, b in zip(metrics, after, strict=True))


def test_a_train_step_that_takes_no_gradient_is_refused():
    class Still(Own):
        def train_step(self, data):
            return {"loss": tf.reduce_mean((data[1] - self(data[0], training=True)) ** 2)}

    model = Still()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^the train_step of Still gives no loss to compare"):
        traced(model)


@pytest.mark.parametrize("fused", [True, False])
def test_a_saturated_sigmoid_is_still_trained_from_its_logits(fused):
    dense = K.Dense(1, name="l", activation="sigmoid" if fused else None)
    after = [] if fused else [K.Activation("sigmoid")]
    model = keras.Sequential([keras.Input((3,)), dense, *after])
    model.compile("sgd", "binary_crossentropy")
    dense.set_weights([np.zeros((3, 1)), np.array([50.0])])
    found = {}
    adapter.trace(model, [(X, np.zeros((6, 1)))], found.__setitem__)
    assert found["step/1/loss"] == 50.0
    assert np.allclose(found["gradient/l/bias"], 1.0, rtol=0, atol=1e-12)
    assert np.allclose(found["backward/l/output"], 1.0 / 6.0, rtol=0, atol=1e-12)
