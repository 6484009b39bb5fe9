"""Any pair, not ours: small models that the ladder has never heard of."""

import keras
import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

import compare
from bn_torch import BiasedBatchNorm
from compare.backends.keras.weights import read_weights
from compare.backends.torch.weights import named_tensors, weighted_layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6, 6, 2))
Y = RNG.integers(0, 2, (24, 1)).astype(np.float64)


def keras_model(momentum=0.9):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, activation="relu", name="features"),
            keras.layers.BatchNormalization(momentum=momentum, name="norm"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid", name="head"),
        ]
    )
    sgd = keras.optimizers.SGD(0.05, momentum=np.float64(0.9))
    model.compile(sgd, "binary_crossentropy")
    return model


class Port(nn.Module):
    """The port, with a name of its own for every layer."""

    def __init__(self, norm=None, *, channels_last=True):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.bn = norm or BiasedBatchNorm(4, eps=1e-3, momentum=1.0 - 0.9)
        self.linear = nn.Linear(64, 1)
        self.channels_last = channels_last

    def forward(self, x):
        x = self.bn(self.conv(x).relu())
        return self.linear((x.permute(0, 2, 3, 1) if self.channels_last else x).flatten(1))


def ported(module, model):
    """The module in float64 with the model's weights, matched in order."""
    module.double()
    ours = iter(weighted_layers(module))
    names = dict(zip(("features", "norm", "head"), ours, strict=True))
    tensors = named_tensors(module)
    for key, value in read_weights(model).items():
        layer, _, name = key.partition("/")
        tensors[f"{names[layer]}/{name}"].copy_(torch.from_numpy(value + 0.01))
    weights = read_weights(model)
    for key, variable in zip(weights, model.weights, strict=True):
        variable.assign(weights[key] + 0.01)
    return module


OBJECTIVE = {
    "torch_loss": nn.functional.binary_cross_entropy_with_logits,
    "torch_optimizer": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
}


def check(model, module, **changes):
    return compare.check_parity(model, module, X, Y, **{**OBJECTIVE, **changes})


def test_a_right_port_passes_and_is_left_as_it_was(parity):
    model, module = keras_model(), Port()
    ported(module, model)
    module.bn.eval()
    module.bn.train()
    before = read_weights(model), {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    report = parity(model, module, X, Y, **OBJECTIVE)
    assert report.passed
    assert report.first_divergence is None
    assert [rung.rung for rung in report.rungs] == list(range(1, 10))
    assert "agree on every rung" in str(report)
    assert all(np.array_equal(a, before[0][k]) for k, a in read_weights(model).items())
    assert all(torch.equal(v, before[1][k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in module.parameters())
    assert not model.optimizer.built or int(model.optimizer.iterations) == 0


def test_a_lightning_module_that_logs_and_reads_its_trainer_passes():
    class Logging(L.LightningModule):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = nn.functional.binary_cross_entropy_with_logits(self(x), y)
            self.log("loss", loss, prog_bar=True)
            assert self.trainer.max_epochs
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    model = keras_model()
    module = Logging(ported(Port(), model))
    report = compare.check_parity(model, module, X, Y)
    assert report.passed, str(report)
    assert module._trainer is None


@pytest.mark.parametrize(
    ("port", "rung", "step", "layer", "explained"),
    [
        (lambda: Port(nn.BatchNorm2d(4, eps=1e-3)), 8, 1, "norm", ("bn-biased-variance",)),
        (lambda: Port(BiasedBatchNorm(4)), 4, 1, "norm", ("bn-epsilon",)),
        (
            lambda: Port(BiasedBatchNorm(4, eps=1e-3, momentum=0.9)),
            8,
            1,
            "norm",
            ("bn-momentum-copied",),
        ),
        (lambda: Port(channels_last=False), 4, 1, "between norm and head", ("flatten-order",)),
    ],
)
def test_a_wrong_port_is_blamed_where_it_is_wrong(port, rung, step, layer, explained):
    model = keras_model()
    report = check(model, ported(port(), model))
    first = report.first_divergence
    assert (first.rung, first.step, first.layer) == (rung, step, layer)
    assert first.explained_by == explained
    with pytest.raises(compare.ParityError, match=f"rung {rung} .*{layer}"):
        report.raise_if_diverged()


def test_an_allowed_difference_is_predicted_and_the_rest_is_judged():
    model = keras_model()
    stock = ported(Port(nn.BatchNorm2d(4, eps=1e-3)), model)
    refused = check(model, stock)
    assert 'allow=["bn-biased-variance"]' in str(refused)
    accepted = check(model, stock, allow=["bn-biased-variance"])
    assert accepted.passed, str(accepted)

    slower = ported(Port(nn.BatchNorm2d(4, eps=1e-3, momentum=0.2)), keras_model())
    model = keras_model()
    ported(slower, model)
    still = check(model, slower, allow=["bn-biased-variance"])
    assert still.first_divergence.rung == 8
    assert still.first_divergence.explained_by == ("bn-momentum",)
    both = check(model, slower, allow=["bn-biased-variance", "bn-momentum"])
    assert both.passed, str(both)


STATISTICS = ["bn-biased-variance", "bn-momentum", "bn-momentum-copied"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("norm", "listed"),
    [
        (lambda: BiasedBatchNorm(4, eps=1e-3, momentum=0.1), []),
        (lambda: nn.BatchNorm2d(4, eps=1e-3, momentum=0.1), ["bn-biased-variance"]),
        (lambda: BiasedBatchNorm(4, eps=1e-3, momentum=0.2), ["bn-momentum"]),
        (lambda: BiasedBatchNorm(4, eps=1e-3, momentum=0.9), ["bn-momentum-copied"]),
        (
            lambda: nn.BatchNorm2d(4, eps=1e-3, momentum=0.2),
            ["bn-biased-variance", "bn-momentum"],
        ),
    ],
)
def test_what_is_allowed_is_accepted_only_where_it_accounts_for_a_difference(norm, listed, dtype):
    options = {"allow": STATISTICS, "weights_from": "keras", "dtype": dtype, **OBJECTIVE}
    report = compare.check_parity(keras_model, lambda: Port(norm()), X, Y, **options)
    assert report.passed, str(report)
    assert [accepted.convention for accepted in report.accepted] == listed
    assert report.result == ("same" if listed else "identical")


def test_one_of_two_normalizations_may_differ_by_what_is_allowed():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.BatchNormalization(momentum=0.9, name="first"),
            keras.layers.BatchNormalization(momentum=0.9, name="second"),
            keras.layers.Dense(1, name="head"),
        ]
    )
    options = {"eps": 1e-3, "momentum": 1.0 - 0.9}
    module = nn.Sequential(
        BiasedBatchNorm(5, **options), nn.BatchNorm1d(5, **options), nn.Linear(5, 1)
    ).double()
    x = RNG.normal(size=(8, 5))
    allow = ["bn-biased-variance"]
    report = compare.check_parity(model, module, x, weights_from="keras", allow=allow)
    assert report.passed, str(report)
    assert [accepted.convention for accepted in report.accepted] == allow
    other = compare.check_parity(model, module, x, allow=["bn-momentum"])
    assert other.first_divergence.layer == "second"
    assert other.first_divergence.explained_by == ("bn-biased-variance",)


def test_without_targets_the_forward_passes_are_compared():
    model = keras_model()
    report = compare.check_parity(model, ported(Port(), model), X)
    assert report.passed
    compared = {rung.rung for rung in report.rungs if rung.max_abs is not None}
    assert compared == {1, 2, 3, 4, 7, 8, 9}  # on rung 7, that weights stay


def test_models_that_do_not_match_get_a_structural_report():
    model = keras_model()
    other = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    report = check(model, other, to_torch=lambda x: x)
    first = report.first_divergence
    assert (first.rung, first.rung_name) == (1, "structure")
    assert "no partner in Torch" in str(report)


def test_pairs_settle_what_order_does_not():
    class Swapped(Port):
        def __init__(self):
            super().__init__()
            self.linear, self.extra = nn.Linear(64, 1), nn.Linear(64, 1)

    model = keras_model()
    right = ported(Port(), model)
    pairs = {"features": "conv", "norm": "bn", "head": "linear"}
    assert check(model, right, pairs=pairs).passed
    with pytest.raises(compare.InputError, match=r"unknown Torch layer 'linea'.*'linear'"):
        check(model, right, pairs={"head": "linea"})
    with pytest.raises(compare.InputError, match=r"unknown Keras layer 'hed'.*'head'"):
        check(model, right, pairs={"hed": "linear"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allow": ["bn-biased-varianc"]}, "unknown convention.*'bn-biased-variance'"),
        ({"allow": ["flatten-order"]}, "cannot be predicted"),
        ({"steps": 0}, "steps: expected"),
        ({"dtype": "float16"}, "dtype: expected"),
        ({"dtype": "float32"}, "computes in float64, expected float32"),
        ({"torch_loss": None}, "needs torch_loss"),
    ],
)
def test_bad_input_is_refused(changes, message):
    model = keras_model()
    with pytest.raises(compare.InputError, match=message):
        check(model, ported(Port(), model), **changes)


def test_bad_models_and_samples_are_refused():
    model = keras_model()
    module = ported(Port(), model)
    with pytest.raises(compare.InputError, match=r"expected a keras\.Model"):
        check(module, module)
    with pytest.raises(compare.InputError, match="expected finite numbers"):
        compare.check_parity(model, module, X * np.nan, Y, **OBJECTIVE)
    with pytest.raises(compare.InputError, match="no rule for the weights of Bilinear"):
        check(model, nn.Sequential(module, nn.Bilinear(1, 1, 1).double()))
    uncompiled = keras.Sequential(model.layers)
    with pytest.raises(compare.InputError, match="not compiled"):
        check(uncompiled, module)


def test_in_float32_the_variance_is_still_told_from_rounding():
    keras.config.set_dtype_policy("float32")
    try:
        model = keras_model()
    finally:
        keras.config.set_dtype_policy("float64")
    stock = ported(Port(nn.BatchNorm2d(4, eps=1e-3)), model).float()
    weights = iter(weighted_layers(stock))
    names = dict(zip(("features", "norm", "head"), weights, strict=True))
    tensors = named_tensors(stock)
    for key, value in read_weights(model).items():
        layer, _, name = key.partition("/")
        tensors[f"{names[layer]}/{name}"].copy_(torch.from_numpy(value))
    refused = check(model, stock)
    assert refused.dtype == "float32"
    assert refused.first_divergence.explained_by == ("bn-biased-variance",)
    accepted = check(model, stock, allow=["bn-biased-variance"])
    assert accepted.passed, str(accepted)


def test_a_tolerance_of_a_layer_is_that_of_all_its_runs():
    shared = keras.layers.Dense(3, name="shared")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(shared(inputs)))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(3, 3)

        def forward(self, x):
            return self.shared(self.shared(x))

    x = RNG.normal(size=(4, 3))
    for name, wide in (("shared", {"shared", "shared#2"}), ("shared#2", {"shared#2"})):
        options = {"weights_from": "keras", "tolerances": {name: 1e-3}}
        report = compare.check_parity(model, Twice().double(), x, **options)
        allowed = {c.path.split("/")[1] for c in report.checks if c.allowed == 1e-3}
        assert allowed & {"shared", "shared#2"} == wide
