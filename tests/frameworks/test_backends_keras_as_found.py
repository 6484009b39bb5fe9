"""Nobody can tell from a Keras model that it was traced, nor from how it trains on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from compare.backends.keras import adapter
from compare.backends.keras.structures import to_numpy

K, OPT = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))


def excluding():
    optimizer = OPT.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


OPTIMIZERS = {
    "sgd": lambda: OPT.SGD(0.1, momentum=0.9, nesterov=True),
    "schedule": lambda: OPT.SGD(OPT.schedules.ExponentialDecay(0.1, 1, 0.5)),
    "adam": lambda: OPT.Adam(0.01, amsgrad=True, clipnorm=0.1),
    "adamw": excluding,
    "adamax": lambda: OPT.Adamax(0.01, clipvalue=0.1),
    "nadam": lambda: OPT.Nadam(0.01),
    "rmsprop": lambda: OPT.RMSprop(0.01, centered=True, momentum=0.5),
    "adagrad": lambda: OPT.Adagrad(0.1, global_clipnorm=0.1),
    "adadelta": lambda: OPT.Adadelta(0.1),
    "adafactor": lambda: OPT.Adafactor(0.01),
    "ftrl": lambda: OPT.Ftrl(0.1),
    "lion": lambda: OPT.Lion(0.01, weight_decay=0.1),
    "averaged": lambda: OPT.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "accumulating": lambda: OPT.Adam(0.01, gradient_accumulation_steps=3),
    "scaled": lambda: OPT.SGD(0.1, momentum=0.9, loss_scale_factor=64.0),
    "scaling": lambda: OPT.LossScaleOptimizer(OPT.Adam(0.01), dynamic_growth_steps=2),
}


def built(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            K.Dense(4, name="first"),
            K.BatchNormalization(name="norm"),
            K.Dropout(0.5),
            K.Dense(2, kernel_constraint="unit_norm", name="second"),
        ]
    )
    # One that compiles its functions is enough: they are slow to compile.
    eager = optimizer != "sgd"
    model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"], run_eagerly=eager)
    return model


def fit(model, epochs):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


def state(model):
    """Everything by name: values of variables, and attributes that are none."""
    optimizer = model.optimizer
    variables = [*model.variables, *model.metrics_variables, *optimizer.variables]
    objects = [model, optimizer, getattr(optimizer, "inner_optimizer", optimizer)]
    objects += model._flatten_layers(include_self=False)
    return {
        **{f"{i} {v.path}": to_numpy(v).tolist() for i, v in enumerate(variables)},
        **{f"{i}.{k}": repr(v) for i, o in enumerate(objects) for k, v in vars(o).items()},
    }


def looked_at(model):
    adapter.trace(model, [(X, Y)] * 3, lambda name, array: None)
    adapter.real_step(model, X, Y, lambda name, array: None)
    adapter.repeats(model, X)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_model_is_left_as_found_and_trains_on_as_if_nobody_had_looked(optimizer, trained):
    model, untouched = built(optimizer), built(optimizer)
    for each in (model, untouched) if trained else ():
        fit(each, 2)
    before = state(model)
    looked_at(model)
    assert state(model) == before
    assert model.optimizer.built == trained
    keras.utils.set_random_seed(1)
    fit(model, 3)
    keras.utils.set_random_seed(1)
    fit(untouched, 3)
    for a, b in zip(model.variables, untouched.variables, strict=True):
        assert np.array_equal(to_numpy(a), to_numpy(b)), a.path
    for a, b in zip(model.optimizer.variables, untouched.optimizer.variables, strict=True):
        assert np.array_equal(to_numpy(a), to_numpy(b)), a.path


def test_what_a_train_step_counts_and_collects_is_put_back():
    class Counting(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = K.Dense(2, name="layer")
            self.calls, self.losses_seen, self.raw = 0, [], tf.Variable(0.0)

        def call(self, x):
            return self.layer(x)

        def train_step(self, data):
            self.calls += 1
            self.raw.assign_add(1.0)
            self.losses_seen.append(self.calls)
            return super().train_step(data)

    model = Counting()
    model.compile("adam", "mse")
    model(X)
    looked_at(model)
    assert (model.calls, list(model.losses_seen), float(model.raw)) == (0, [], 0.0)


def test_it_is_left_so_where_a_step_raises():
    class Failing(OPT.SGD):
        def update_step(self, gradient, variable, learning_rate):
            raise RuntimeError("no step today")

    model = built("sgd")
    model.compile(Failing(0.1, momentum=0.9), "mse")
    before = state(model)
    for look in (adapter.trace, lambda m, b, sink: adapter.real_step(m, *b[0], sink)):
        with pytest.raises(ValueError, match=r"^RuntimeError: no step today$"):
            look(model, [(X, Y)], lambda name, array: None)
        assert state(model) == before


def test_a_checkpoint_of_tensorflow_is_written_as_before(tmp_path):
    model = built("adam")
    looked_at(model)
    fit(model, 1)
    assert tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "x"))
