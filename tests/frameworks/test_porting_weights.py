import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

import compare
from bn_torch import BiasedBatchNorm
from compare.backends.keras.rules import forget_rule
from compare.backends.keras.weights import read_weights
from compare.backends.torch.rules import RULES


def keras_model(units=3):
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, name="features"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(units, name="head"),
        ]
    )


def port(units=3):
    """Flattens channels first, as Torch does when nobody intervenes."""
    layers = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=1e-3), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(16, units)).double()


def outputs(model, module):
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 2))
    module.eval()
    with torch.no_grad():
        ours = module(torch.from_numpy(x).movedim(-1, 1)).numpy()
    return model.predict_on_batch(x), ours


def test_weights_go_over_with_the_rows_in_torch_s_order():
    model, module = keras_model(), port()
    report = compare.port_weights(model, module)
    keras_output, torch_output = outputs(model, module)
    np.testing.assert_allclose(torch_output, keras_output, atol=1e-14)
    assert "head      4      dense       kernel (16, 3), bias (3,)" in str(report)
    assert "rows in Torch's order" in str(report)
    assert str(report).endswith("8 tensors of 3 layers were carried over to Torch.")


def test_and_come_back_the_same():
    model, module, other = keras_model(), port(), keras_model()
    compare.port_weights(model, module)
    compare.port_weights(module, other)
    found = read_weights(other)
    assert all(np.array_equal(value, found[key]) for key, value in read_weights(model).items())


def test_a_dry_run_writes_nothing():
    model, module = keras_model(), port()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    report = compare.port_weights(model, module, dry_run=True)
    assert str(report).endswith("would be carried over to Torch.")
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: port(4), r"head has kernel \(16, 3\), bias \(3,\) in Keras, its partner 4 kernel"),
        (lambda: port()[:2], r"head \(dense kernel \(16, 3\), bias \(3,\)\) in Keras has no part"),
        (
            lambda: nn.Sequential(port(), nn.Linear(3, 3).double()),
            r"1 \(dense kernel \(3, 3\), bias \(3,\)\) in Torch has no partner in Keras",
        ),
        (lambda: port().float(), "the Torch module computes in float32, expected float64"),
        (lambda: 3, r"expected a torch\.nn\.Module or a function that returns one, received int"),
        (
            lambda: nn.Sequential(port(), nn.Bilinear(3, 3, 3).double()),
            r"no rule for the weights of Bilinear.*weight_rule",
        ),
    ],
)
def test_nothing_is_left_uncopied(module, message):
    model, module = keras_model(), module()
    with pytest.raises(compare.InputError, match=message):
        compare.port_weights(model, module)


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(shape[-1], 2))

    def call(self, x):
        return x * self.factor[:, 0] + self.factor[:, 1]


class TorchScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return x * self.inner.weight[0] + self.inner.weight[1]


def test_a_rule_of_the_user_s_own_carries_and_compares():
    model = keras.Sequential([keras.Input((3,)), Scale(name="scale")])
    module = nn.Sequential(TorchScale()).double()
    with pytest.raises(compare.InputError, match="no rule for the weights of Scale"):
        compare.port_weights(model, module)

    @compare.weight_rule(Scale, TorchScale)
    def scale():
        return {"factor": ("inner.weight", (1, 0))}

    try:
        compare.port_weights(model, module)
        report = compare.check_parity(model, module, np.ones((4, 3)))
        assert report.passed, str(report)
        assert np.array_equal(
            module[0].inner.weight.detach().numpy().T, read_weights(model)["scale/factor"]
        )
    finally:
        forget_rule(Scale)
        del RULES[TorchScale]


@pytest.mark.parametrize("given", [(3, TorchScale), (Scale, "b")])
def test_a_rule_is_for_two_types(given):
    with pytest.raises(compare.InputError, match="expected a Keras layer type and a Torch module"):
        compare.weight_rule(*given)


class Flattened(nn.Module):
    """A convolution, flattened channels first, with norms and dropout before the last layer."""

    def __init__(self, *between):
        super().__init__()
        self.conv, self.between = nn.Conv2d(2, 4, 3), nn.Sequential(*between)
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.between(self.conv(x).flatten(1)))


def flattened(*between):
    whole = (layers.Conv2D(4, 3), layers.Flatten(), *between, layers.Dense(3))
    return keras.Sequential([keras.Input((6, 6, 2)), *whole])


def test_dropout_does_not_hide_in_which_order_an_image_is_flattened():
    model = flattened(keras.layers.Dropout(0.5))
    module = Flattened(nn.Dropout(0.5)).double()
    compare.port_weights(model, module)
    np.testing.assert_allclose(*outputs(model, module), atol=1e-14)


def test_norms_over_a_flattened_image_go_over_in_its_order():
    model = flattened(layers.BatchNormalization(), layers.LayerNormalization())
    rng = np.random.default_rng(0)
    for number, trained in enumerate((False, True)):
        if trained:
            for variable in model.weights:
                variable.assign(variable + 0.1 * rng.random(variable.shape))
        norm = BiasedBatchNorm(64, eps=1e-3, momentum=1.0 - 0.99)
        module = Flattened(norm, nn.LayerNorm(64, eps=1e-3)).double()
        x = rng.normal(size=(5, 6, 6, 2))
        report = compare.check_parity(model, module, x, weights_from="keras")
        assert report.passed, (number, str(report))
        np.testing.assert_allclose(*outputs(model, module), atol=1e-13)
        other = flattened(layers.BatchNormalization(), layers.LayerNormalization())
        compare.port_weights(module, other)
        for ours, theirs in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_module_that_raises_is_refused_with_what_it_raised():
    with pytest.raises(compare.InputError, match=r"the Torch side raised RuntimeError: .*to_torch"):
        compare.port_weights(keras_model(), port(), to_torch=lambda x: x)


def test_outputs_that_are_compared_as_logits_are_said_to_be():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    module = nn.Sequential(nn.Linear(3, 1)).double()
    report = compare.check_parity(model, module, np.ones((4, 3)), weights_from="keras")
    assert str(report).splitlines()[:2] == [
        "Keras and Torch agree on every rung.",
        "One returns logits, the other probabilities: compared as logits.",
    ]
    module.append(nn.Sigmoid())
    assert compare.check_parity(model, module, np.ones((4, 3))).notes == ()
