"""The formulas of optimizers, held against the optimizers themselves on real models."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import nn

from compare.backends.keras import slots as keras_slots
from compare.backends.keras.structures import to_numpy
from compare.backends.keras.weights import named_tensors, read_weights
from compare.backends.loading import load
from compare.backends.optimizer_rule import read_rule
from compare.backends.torch import slots as torch_slots
from compare.backends.torch import weights as torch_weights
from compare.backends.torch.steps import learning_rates
from compare.parity.optimizers import Gradient, moved_one_by_one

K, O, T = keras.layers, keras.optimizers, torch.optim  # noqa: E741
UNITS = 3
"""Units in the last place of a tensor's largest value that a formula may be off."""

RNG = np.random.default_rng(0)
TOKENS, TARGETS = RNG.integers(0, 6, (8, 4)), RNG.normal(size=(8, 2))
EXACT = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}


def held(rules, gradients, slots, weights, after_weights, after_slots):
    """The largest error of the formulas, in units in the last place of the largest value."""
    worst = 0.0
    predicted = moved_one_by_one(
        rules,
        gradients.__getitem__,
        lambda name: slots.get(name, {}),
        weights.__getitem__,
    )
    for name, weight, kept in predicted:
        pairs = [(weight, after_weights[name])]
        waiting = rules[name].position < rules[name].accumulate
        pairs += [
            (kept[slot], value)
            for slot, value in after_slots.get(name, {}).items()
            if slot in kept or not waiting
        ]
        for ours, real in pairs:
            assert ours.dtype == real.dtype, name
            unit = float(np.finfo(real.dtype).eps) * float(np.abs(real).max())
            worst = max(worst, float(np.abs(ours - real).max()) / (unit or 1.0))
    return worst


def nested(pairs):
    tree = {}
    for path, value in pairs:
        name, _, slot = path.rpartition("/")
        tree.setdefault(name, {})[slot] = value
    return tree


def keras_state(optimizer, tensors):
    """Slots, with the gradients that wait and the averages of weights."""
    state = nested(keras_slots.slots(optimizer, tensors)) if optimizer.built else {}
    for attribute, slot in (
        ("_accumulated_gradients", "accumulated_gradient"),
        ("_model_variables_moving_average", "average"),
    ):
        for value, variable in zip(
            getattr(optimizer, attribute, []), optimizer._trainable_variables, strict=False
        ):
            name = next(n for n, t in tensors.items() if t.variable is variable)
            state.setdefault(name, {})[slot] = tensors[name].canonical(value)
    return state


KERAS = {
    "sgd": lambda **o: O.SGD(0.1, **o),
    "momentum": lambda **o: O.SGD(0.1, momentum=0.9, **o),
    "nesterov": lambda **o: O.SGD(0.1, momentum=0.9, nesterov=True, **o),
    "adam": lambda **o: O.Adam(0.01, **o),
    "adam-exact": lambda **o: O.Adam(0.01, **EXACT, **o),
    "amsgrad": lambda **o: O.Adam(0.01, amsgrad=True, **o),
    "adamw": lambda **o: O.AdamW(0.01, **o),
    "adamax": lambda **o: O.Adamax(0.01, **o),
    "nadam": lambda **o: O.Nadam(0.01, **o),
    "rmsprop": lambda **o: O.RMSprop(0.01, **o),
    "centered": lambda **o: O.RMSprop(0.01, momentum=0.9, centered=True, **o),
    "adagrad": lambda **o: O.Adagrad(0.01, **o),
    "adadelta": lambda **o: O.Adadelta(0.1, **o),
    "lion": lambda **o: O.Lion(0.01, **o),
    "schedule": lambda **o: O.SGD(O.schedules.ExponentialDecay(0.1, 2, 0.9), momentum=0.9, **o),
}
OPTIONS = [
    {},
    {"clipnorm": 0.05},
    {"clipvalue": 0.01},
    {"global_clipnorm": 0.05},
    {"weight_decay": 0.01},
    {"gradient_accumulation_steps": 2},
    {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2},
]


def occurrences(gradient):
    if not isinstance(gradient, tf.IndexedSlices):
        return ()
    return to_numpy(gradient.indices), to_numpy(gradient.values)


def keras_error(build, dtype, *, exclude=(), steps=3, embedding=True):
    with load("keras").building(dtype):
        keras.utils.set_random_seed(0)
        first = [K.Embedding(6, 3, name="e"), K.Flatten()] if embedding else []
        shape = keras.Input((4,), dtype="int32" if embedding else dtype)
        model = keras.Sequential(
            [shape, *first, K.Dense(5, "tanh", name="a"), K.Dense(2, name="b")]
        )
        optimizer, tensors, worst = build(), named_tensors(model), 0.0
        if exclude:
            optimizer.exclude_from_weight_decay(var_names=exclude)
        names = {id(t.variable): name for name, t in tensors.items()}
        for _ in range(steps):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(TOKENS, training=True) - TARGETS.astype(dtype)) ** 2)
            variables = model.trainable_variables
            raw = dict(
                zip([names[id(v)] for v in variables], tape.gradient(loss, variables), strict=True)
            )
            rules = {n: read_rule(t) for n, t in keras_slots.rules(optimizer, raw, tensors)}
            gradients = {
                n: Gradient(tensors[n].canonical(tf.convert_to_tensor(g)), *occurrences(g))
                for n, g in raw.items()
            }
            before, weights = keras_state(optimizer, tensors), read_weights(model)
            optimizer.apply(list(raw.values()), variables)
            after = read_weights(model), keras_state(optimizer, tensors)
            worst = max(worst, held(rules, gradients, before, weights, *after))
        assert rules.keys() == tensors.keys()
        return worst


@pytest.mark.sampled(20)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o), "plain"))
@pytest.mark.parametrize("name", KERAS)
def test_keras(name, options, dtype):
    steps = 4 if "gradient_accumulation_steps" in options else 3
    # The norm of all is a sum that TensorFlow adds up in another order.
    units = UNITS + 1 if "global_clipnorm" in options else UNITS
    assert keras_error(lambda: KERAS[name](**options), dtype, steps=steps) <= units


def test_keras_weights_that_do_not_decay():
    assert keras_error(KERAS["adamw"], "float64", exclude=["bias"]) <= UNITS


TORCH = {
    "sgd": lambda p: T.SGD(p, 0.1),
    "momentum": lambda p: T.SGD(p, 0.1, momentum=0.9, dampening=0.3),
    "nesterov": lambda p: T.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: T.Adam(p, 0.01),
    "adam-coupled": lambda p: T.Adam(p, 0.01, weight_decay=0.1, maximize=True),
    "amsgrad": lambda p: T.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: T.AdamW(p, 0.01, weight_decay=0.1),
    "adamax": lambda p: T.Adamax(p, 0.01, weight_decay=0.1),
    "nadam": lambda p: T.NAdam(p, 0.01),
    "nadam-decoupled": lambda p: T.NAdam(
        p, 0.01, momentum_decay=1.0, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "rmsprop": lambda p: T.RMSprop(p, 0.01, weight_decay=0.1),
    "centered": lambda p: T.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: T.Adagrad(p, 0.01, lr_decay=0.1, initial_accumulator_value=0.1),
    "adadelta": lambda p: T.Adadelta(p, weight_decay=0.1),
}


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.a, self.b = nn.Embedding(6, 3), nn.Linear(12, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(self.e(x).flatten(1))))


def torch_error(build, dtype, *, scheduled=False):
    with load("torch").building(dtype):
        torch.manual_seed(0)
        module, worst, rates = Reader(), 0.0, {}
        optimizer = build(module.parameters())
        schedule = T.lr_scheduler.ExponentialLR(optimizer, 0.5)
        x, y = torch.from_numpy(TOKENS), torch.from_numpy(TARGETS.astype(dtype))
        slots = lambda: nested(  # noqa: E731
            torch_slots.slots(module, optimizer, learning_rates(optimizer))
        )
        for step in range(3):
            optimizer.zero_grad()
            ((module(x) - y) ** 2).mean().backward()
            gradients = {
                n: Gradient(t.numpy().copy())
                for n, t in torch_weights.named_tensors(module, lambda p: p.grad).items()
            }
            before, weights = before_of(step, locals()), torch_weights.read_weights(module)
            optimizer.step()
            rules = {n: read_rule(t) for n, t in torch_slots.rules(module, optimizer, {})}
            rules = {n: replace(r, previous_rate=rates.get(n)) for n, r in rules.items()}
            rates, kept = {n: r.rate for n, r in rules.items()}, slots()
            worst = max(
                worst,
                held(rules, gradients, before, weights, torch_weights.read_weights(module), kept),
            )
            if scheduled:
                schedule.step()
        assert rules.keys() == torch_weights.read_weights(module).keys()
        return worst


def before_of(step, names):
    return names["kept"] if step else {}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TORCH)
def test_torch(name, dtype):
    assert torch_error(TORCH[name], dtype) <= UNITS


@pytest.mark.parametrize("name", ["momentum", "centered", "adam"])
def test_torch_with_a_rate_that_changes(name):
    assert torch_error(TORCH[name], "float64", scheduled=True) <= UNITS
