"""What can be read of a module, its loss and its optimizer without running a step."""

import functools

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from compare.backends.torch import adapter
from compare.backends.torch.settings import settings
from compare.backends.torch.weights import weighted_layers


def of(module):
    return settings(next(iter(weighted_layers(module).values())))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            nn.BatchNorm2d(2, momentum=0.25),
            {"epsilon": 1e-5, "decay": 0.75, "biased": False, "frozen": False},
        ),
        (
            BiasedBatchNorm(2, eps=1e-3, momentum=1.0 - 0.99),
            {"epsilon": 1e-3, "decay": 1.0 - (1.0 - 0.99), "biased": True, "frozen": False},
        ),
        (
            nn.BatchNorm1d(2, momentum=None),
            {"epsilon": 1e-5, "decay": None, "biased": False, "frozen": False},
        ),
        (nn.LayerNorm(2), {"epsilon": 1e-5}),
        (nn.GroupNorm(2, 4), {"epsilon": 1e-5, "groups": 2}),
        (
            nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, padding_mode="reflect"),
            {
                "strides": [2, 2],
                "dilation": [1, 1],
                "groups": 2,
                "padding": [1, 1],
                "padding_mode": "reflect",
            },
        ),
        (
            nn.Conv1d(2, 4, 3, padding="same", dilation=2),
            {"strides": [1], "dilation": [2], "groups": 1, "padding": "same"},
        ),
        (
            nn.ConvTranspose1d(2, 4, 3, stride=2, output_padding=1),
            {"strides": [2], "dilation": [1], "padding": "valid", "output_padding": [1]},
        ),
        (
            nn.GRU(2, 3),
            {
                "activation": "tanh",
                "recurrent_activation": "sigmoid",
                "trained_biases": 2,
                "batch_first": False,
            },
        ),
        (
            nn.RNN(2, 3, nonlinearity="relu", bias=False, batch_first=True),
            {"activation": "relu", "trained_biases": 0, "batch_first": True},
        ),
        (nn.Embedding(5, 2, padding_idx=0), {"padding_idx": 0}),
        (nn.MultiheadAttention(4, 2, dropout=0.5), {"heads": 2, "key_dim": 2, "dropout": 0.5}),
        (nn.Linear(2, 2), {}),
    ],
)
def test_settings_are_named_as_in_keras(layer, expected):
    assert of(layer) == expected


def test_one_of_two_biases_may_be_frozen():
    layer = nn.LSTM(2, 3)
    layer.bias_hh_l0.requires_grad_(False)
    assert of(layer)["trained_biases"] == 1


def test_layers_are_described_in_the_order_in_which_they_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unused = nn.Linear(3, 1), nn.Linear(1, 1)
            self.norm, self.first = nn.BatchNorm1d(3), nn.Linear(2, 3)

        def forward(self, x):
            return self.last(self.norm(self.first(x)))

    model = Backwards().double()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = adapter.describe(model, np.ones((2, 2)))
    assert [layer["name"] for layer in layers] == ["first", "norm", "last", "unused"]
    assert layers[1]["settings"]["frozen"]
    assert layers[0] == {
        "name": "first",
        "kind": "dense",
        "tensors": {"kernel": [2, 3], "bias": [3]},
        "trained": 9,
        "settings": {},
    }
    assert model.training
    assert not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not adapter.describe(model.eval(), np.ones((2, 2)))[1]["settings"]["frozen"]
    with pytest.raises(ValueError, match=r"RuntimeError: .*shapes"):
        adapter.describe(model, np.ones((2, 5)))


LINEAR = nn.Linear(2, 1)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (
            functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
            {
                "kind": "sgd",
                "learning_rate": 0.1,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 0.0,
            },
        ),
        (
            torch.optim.AdamW,
            {
                "kind": "adamw",
                "learning_rate": 1e-3,
                "epsilon": 1e-8,
                "weight_decay": 0.01,
                "amsgrad": False,
                "beta_1": 0.9,
                "beta_2": 0.999,
            },
        ),
        (
            torch.optim.RMSprop,
            {
                "kind": "rmsprop",
                "learning_rate": 0.01,
                "momentum": 0.0,
                "epsilon": 1e-8,
                "weight_decay": 0.0,
                "rho": 0.99,
                "centered": False,
            },
        ),
    ],
)
def test_optimizers_are_named_as_in_keras(optimizer, expected):
    assert adapter.optimizer_settings(LINEAR, (F.mse_loss, optimizer)) == expected


class Keraslike(torch.optim.Adam):
    pass


def test_a_subclass_of_an_optimizer_says_so():
    found = adapter.optimizer_settings(LINEAR, (F.mse_loss, Keraslike))
    assert (found["kind"], found["class"]) == ("adam", "Keraslike")
    other = adapter.optimizer_settings(LINEAR, (F.mse_loss, torch.optim.Adagrad))
    assert other["kind"] == "adagrad"


def test_what_groups_do_not_share_has_all_their_values():
    def optimizer(parameters):
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias]}], lr=0.2)

    found = adapter.optimizer_settings(LINEAR, (F.mse_loss, optimizer))
    assert found["learning_rate"] == [0.2, 0.1]
    assert found["momentum"] == 0.0


def scheduled(shape):
    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            return {
                "pair": ([optimizer], [schedule]),
                "nested": ([optimizer], [{"scheduler": schedule, "interval": "step"}]),
                "dict": {"optimizer": optimizer, "lr_scheduler": schedule},
                "list": [{"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}],
            }[shape]

    return Module()


@pytest.mark.parametrize("shape", ["pair", "nested", "dict", "list"])
def test_a_schedule_stands_for_the_learning_rate(shape):
    module = scheduled(shape)
    found = adapter.optimizer_settings(module)
    assert found["learning_rate"] == {"schedule": "ExponentialLR"}
    assert found["momentum"] == 0.0
    assert all(p.grad is None for p in module.parameters())


def test_an_optimizer_that_needs_its_trainer_is_left_out():
    class Needy(L.LightningModule):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0 / self.trainer.max_steps)

    assert adapter.optimizer_settings(Needy()) == {}


def bespoke(output, target):
    return F.mse_loss(output, target)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            nn.BCEWithLogitsLoss(reduction="sum"),
            {"name": "BCEWithLogitsLoss", "from_logits": True, "reduction": "sum"},
        ),
        (F.cross_entropy, {"name": "cross_entropy", "from_logits": True, "reduction": "mean"}),
        (
            functools.partial(F.binary_cross_entropy, reduction="none"),
            {"name": "binary_cross_entropy", "from_logits": False, "reduction": "none"},
        ),
        (bespoke, {"name": "bespoke", "from_logits": None, "reduction": None}),
        (lambda output, target: output.sum(), {}),
    ],
)
def test_losses_are_read_where_they_can_be(loss, expected):
    assert adapter.loss_settings(LINEAR, (loss, torch.optim.SGD)) == expected
    assert adapter.loss_settings(scheduled("pair")) == {}


def test_what_draws_numbers_is_listed():
    model = nn.ModuleDict(
        {
            "block": nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.AlphaDropout(0.25)),
            "rnn": nn.GRU(2, 2, num_layers=2, dropout=0.1),
            "attention": nn.MultiheadAttention(4, 2, dropout=0.2),
            "relu": nn.RReLU(),
            "frozen": nn.Dropout(0.5),
        }
    )
    model["frozen"].eval()
    assert adapter.random_parts(model) == [
        "block/0 (Dropout, rate 0.5)",
        "block/2 (AlphaDropout, rate 0.25)",
        "rnn (GRU, rate 0.1)",
        "attention (MultiheadAttention, rate 0.2)",
        f"relu (RReLU, slope {1 / 8} to {1 / 3})",
    ]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (3, "expected a torch.nn.Module, received int"),
        (nn.Linear(1, 1).bfloat16(), r"computes in bfloat16.*module\.float\(\)"),
        (nn.Sequential(nn.Linear(1, 1).float(), nn.Linear(1, 1).double()), "several dtypes.*1.wei"),
    ],
)
def test_dtypes_that_cannot_be_compared_are_refused(module, message):
    with pytest.raises(TypeError, match=message):
        adapter.dtype_of(module)


def test_modules_are_built_in_a_dtype():
    before = torch.get_default_dtype()
    for dtype in ("float32", "float64"):
        with adapter.building(dtype):
            module = nn.Linear(1, 1)
        assert adapter.dtype_of(module) == dtype
        assert torch.get_default_dtype() == before
    assert adapter.is_model(module)
    assert not adapter.is_model(nn.Linear)
