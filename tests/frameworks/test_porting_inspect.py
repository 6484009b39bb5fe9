"""What settings tell: each rule where it must speak, and where a remedy is in place."""

import keras
import lightning as L
import numpy as np
import pairs
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import EarlyStopping

import compare
from compare.porting.inspect import inspect_layers, inspect_training
from compare.porting.matching import Partners

PAIRS = pairs.discover()
STRIDED = {"strides": [2, 2], "dilation": [1, 1], "padding": "same", "groups": 1}
PADDED = {**STRIDED, "padding": [1, 1]}
UP = {"strides": [2], "dilation": [1], "padding": "same", "output_padding": None}
NORM = {"epsilon": 1e-3, "decay": 0.99, "biased": True, "frozen": False}
ONE_BIAS = {"trained_biases": 1}


def layer(kind, settings, kernel=()):
    tensors = {"kernel": list(kernel)} if kernel else {}
    return {"name": "layer", "kind": kind, "tensors": tensors, "settings": settings}


def told(kind, keras, torch, kernel=(), size=None):
    pair = Partners(layer(kind, keras, kernel), layer(kind, torch, kernel), "name")
    sizes = {} if size is None else {"layer": size}
    return [(found.setting, found.convention) for found in inspect_layers([pair], sizes)]


@pytest.mark.parametrize(
    ("kind", "keras", "torch", "expected"),
    [
        ("batch_norm", NORM, {**NORM, "epsilon": 1e-5}, ("epsilon", "bn-epsilon")),
        ("batch_norm", NORM, {**NORM, "decay": 0.9}, ("decay", "bn-momentum")),
        ("batch_norm", NORM, {**NORM, "decay": 0.01}, ("decay", "bn-momentum-copied")),
        ("batch_norm", NORM, {**NORM, "decay": None}, ("decay", None)),
        ("batch_norm", NORM, {**NORM, "biased": False}, ("biased", "bn-biased-variance")),
        ("batch_norm", {**NORM, "frozen": True}, NORM, ("frozen", "bn-frozen")),
        ("layer_norm", {"epsilon": 1e-3}, {"epsilon": 1e-5}, ("epsilon", "norm-epsilon")),
        ("group_norm", {"epsilon": 1e-3}, {"epsilon": 1e-5}, ("epsilon", "norm-epsilon")),
        ("group_norm", {"groups": 2}, {"groups": 4}, ("groups", None)),
        (
            "lstm",
            {"trained_biases": 1},
            {"trained_biases": 2},
            ("trained_biases", "lstm-single-bias"),
        ),
        ("gru", {"trained_biases": 2}, {"trained_biases": 1}, ("trained_biases", None)),
        ("simple_rnn", {"activation": "tanh"}, {"activation": "relu"}, ("activation", None)),
        ("embedding", {"mask_zero": False}, {"padding_idx": 0}, ("padding_idx", "padding-idx")),
    ],
)
def test_a_setting_is_told(kind, keras, torch, expected):
    assert told(kind, keras, torch) == [expected]


@pytest.mark.parametrize(
    ("kind", "keras", "torch"),
    [
        ("batch_norm", NORM, {**NORM, "decay": 1.0 - (1.0 - 0.99)}),
        ("batch_norm", NORM, {"epsilon": 1e-3, "decay": 0.99, "frozen": False}),
        ("embedding", {"mask_zero": True}, {"padding_idx": 0}),
        ("embedding", {"mask_zero": False}, {"padding_idx": None}),
        ("lstm", ONE_BIAS, {}),
    ],
)
def test_a_remedy_is_not_told(kind, keras, torch):
    assert told(kind, keras, torch) == []


@pytest.mark.parametrize(
    ("kernel", "size", "wrong"),
    [
        ((3, 3), (6, 6), True),  # TensorFlow pads an even side by (0, 1), an odd one by (1, 1).
        ((3, 3), (7, 7), False),
        ((3, 3), (7, 6), True),
        ((3, 3), None, False),
        ((4, 4), None, False),
        ((5, 5), (7, 7), True),
        ((7, 7), None, True),
    ],
)
def test_a_strided_padding_depends_on_the_size(kernel, size, wrong):
    found = told("conv", STRIDED, PADDED, (*kernel, 1, 1), size)
    assert found == ([("padding", "same-padding-stride")] if wrong else [])


def test_what_is_padded_before_the_layer_is_not_told():
    assert told("conv", STRIDED, {**STRIDED, "padding": "valid"}, (3, 3, 1, 1), (6, 6)) == []
    causal = {**STRIDED, "padding": "causal"}
    assert told("conv", causal, {**causal, "padding": "valid"}, (3, 1, 1)) == []


def test_a_padding_of_a_stride_of_one():
    plain = {**STRIDED, "strides": [1, 1]}
    for padding, expected in (([1, 1], []), ([2, 2], [("padding", "same-padding-size")])):
        assert told("conv", plain, {**plain, "padding": padding}, (3, 3, 1, 1)) == expected


@pytest.mark.parametrize(
    ("kernel", "padding", "wrong"),
    [(3, [1], True), (3, "valid", False), (4, [1], False), (4, [2], True), (5, [1], False)],
)
def test_a_transposed_padding(kernel, padding, wrong):
    found = told(
        "conv_transpose", UP, {**UP, "padding": padding, "output_padding": [0]}, (kernel, 1, 1)
    )
    assert found == ([("padding", "transposed-padding")] if wrong else [])


ADAM = {"kind": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "weight_decay": 0.0}
SGD = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0}
RMSPROP = {"kind": "rmsprop", "learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7}
ADAMW = {**ADAM, "kind": "adamw", "weight_decay": 0.004}


@pytest.mark.parametrize(
    ("keras", "torch", "expected"),
    [
        (ADAM, {**ADAM, "epsilon": 1e-8}, [("epsilon", "adam-epsilon")]),
        (ADAM, {**ADAM, "epsilon": 1e-8, "class": "KerasAdam"}, []),
        ({**ADAMW, "kind": "denseadamw"}, {**ADAMW, "class": "KerasAdamW"}, []),
        (ADAMW, {**ADAMW, "kind": "adam"}, [("kind", "weight-decay")]),
        (ADAMW, {**ADAMW, "kind": "adam", "class": "KerasAdam"}, []),
        ({**ADAMW, "kind": "adam"}, ADAMW, []),
        (ADAMW, {**ADAMW, "weight_decay": 0.01}, [("weight_decay", "optimizer-defaults")]),
        (ADAMW, {**ADAMW, "weight_decay": 0.0}, [("weight_decay", None)]),
        (ADAM, {**SGD, "learning_rate": 1e-3}, [("kind", "optimizer-kind"), ("momentum", None)]),
        ({**ADAM, "kind": "mine"}, ADAM, []),
        (RMSPROP, {**RMSPROP, "rho": 0.99}, [("rho", "optimizer-defaults")]),
        (RMSPROP, {**RMSPROP, "learning_rate": 0.01}, [("learning_rate", "optimizer-defaults")]),
        (RMSPROP, {**RMSPROP, "epsilon": 1e-8, "class": "KerasRMSprop"}, []),
        (SGD, {**SGD, "learning_rate": 1e-3}, [("learning_rate", "sgd-default-learning-rate")]),
        (SGD, {**SGD, "learning_rate": 0.02}, [("learning_rate", None)]),
        (SGD, {**SGD, "momentum": 0.0}, [("momentum", None)]),
        (SGD, {**SGD, "learning_rate": {"schedule": "LambdaLR"}}, [("learning_rate", None)]),
        (
            {**SGD, "learning_rate": {"schedule": "ExponentialDecay"}},
            SGD,
            [("learning_rate", "learning-rate-schedule")],
        ),
        (
            {**SGD, "weight_decay": 0.1},
            {**SGD, "weight_decay": 0.2},
            [("weight_decay", "weight-decay")],
        ),
    ],
)
def test_optimizers(keras, torch, expected):
    found = inspect_training({"optimizer": keras}, {"optimizer": torch})
    assert [(f.setting, f.convention) for f in found] == expected


def test_losses():
    mean = {"name": "mse", "from_logits": None, "reduction": "sum_over_batch_size"}
    torch = {"name": "MSELoss", "from_logits": True, "reduction": "mean"}
    assert inspect_training({"loss": mean}, {"loss": torch}) == []
    [found] = inspect_training({"loss": mean}, {"loss": {**torch, "reduction": "sum"}})
    assert found.convention == "loss-reduction"


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_has_nothing_to_tell(name):
    pair = PAIRS[name]
    module = pair.build_torch().double()
    options = {"to_torch": pair.to_torch} if hasattr(pair, "to_torch") else {}
    found = compare.inspect_pair(
        pair.build_keras(),
        module,
        pair.inputs(np.random.default_rng(2))[0],
        pairs=getattr(pair, "PAIRS", None),
        **getattr(pair, "OBJECTIVE", {}),
        **options,
    )
    assert [str(f) for f in found.findings if f.convention] == []


@pytest.mark.parametrize("kind", ["conv", "depthwise_conv", "conv_transpose"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_shapes_alone_tell_of_a_series_and_an_image(kind, stride):
    def side(axes, padding):
        each = {"strides": [stride] * axes, "dilation": [1] * axes, "padding": padding}
        settings = each if kind != "conv_transpose" else {**each, "output_padding": [0] * axes}
        return layer(kind, settings, (3,) * axes + (1, 1))

    for ours, theirs in ((1, 2), (2, 1)):
        pair = Partners(side(ours, "same"), side(theirs, [1] * theirs), "order")
        findings = inspect_layers([pair], {"layer": (6,) * ours})
        assert [f.setting for f in findings] == ["shape of kernel"]


def test_a_loss_counts_without_an_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    summed = torch.nn.MSELoss(reduction="sum")
    found = compare.inspect_pair(model, torch.nn.Linear(2, 1).double(), torch_loss=summed)
    assert [f.convention for f in found.findings] == ["loss-reduction"]


def dense(*, optimizer="sgd", loss="mse", **options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden", **options)])
    model.add(keras.layers.Dense(1, name="output"))
    model.compile(optimizer, loss)
    return model


def mlp(width=3):
    return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Linear(width, 1)).double()


def findings(model, module, optimizer=lambda p: torch.optim.SGD(p, lr=0.01), **options):
    inspection = compare.inspect_pair(model, module, torch_optimizer=optimizer, **options)
    return {(f.layer, f.setting): (f.keras, f.torch, f.convention) for f in inspection.findings}


def test_widths_are_told():
    seen = findings(dense(), mlp(2))
    assert seen["hidden", "shape of kernel"] == ([4, 3], [4, 2], None)
    assert seen["output", "shape of kernel"] == ([3, 1], [2, 1], None)
    assert findings(dense(), mlp()) == {}


@pytest.mark.parametrize(
    ("setting", "value", "convention"),
    [
        ("clipnorm", 1.0, "gradient-clipping"),
        ("clipvalue", 0.5, "gradient-clipping"),
        ("global_clipnorm", 2.0, "gradient-clipping"),
        ("use_ema", True, None),
        ("gradient_accumulation_steps", 4, "gradient-accumulation"),
        ("loss_scale_factor", 8.0, None),
        ("weight_decay", 0.1, None),
    ],
)
def test_what_a_keras_optimizer_alone_does_is_told(setting, value, convention):
    seen = findings(dense(optimizer=keras.optimizers.SGD(0.01, **{setting: value})), mlp())
    assert list(seen) == [("optimizer", setting)]
    assert seen["optimizer", setting][::2] == (value, convention)


def test_what_a_torch_optimizer_alone_does_is_told():
    def optimizer(parameters):
        made = torch.optim.SGD(parameters, lr=0.01, maximize=True)
        made.register_step_pre_hook(lambda *args: None)
        return made

    assert set(findings(dense(), mlp(), optimizer)) == {
        ("optimizer", "maximize"),
        ("optimizer", "step_hooks"),
    }

    def by_group(parameters):
        weight, *others = parameters
        groups = [{"params": [weight], "weight_decay": 0.1}, {"params": others}]
        return torch.optim.SGD(groups, lr=0.01)

    assert findings(dense(), mlp(), by_group) == {
        ("optimizer", "weight_decay"): (0.0, [0.1, 0.0], None)
    }


def test_constraints_and_penalties_are_told():
    model = dense(
        kernel_constraint=keras.constraints.MaxNorm(2.0),
        bias_regularizer=keras.regularizers.L2(0.125),
    )
    seen = findings(model, mlp())
    assert seen["hidden", "kernel_constraint"] == (
        "MaxNorm(max_value=2.0, axis=0)",
        None,
        "constraint-axis",
    )
    assert seen["hidden", "bias_regularizer"][::2] == ("L2(l2=0.125)", "regularizers-in-loss")


class Own(keras.constraints.Constraint):
    """A constraint whose configuration is no Python literal."""

    def get_config(self):
        return {"bound": np.ones(2), "function": len}


@pytest.mark.parametrize("constraint", [Own(), keras.constraints.MaxNorm(np.float32(2.0))])
def test_a_constraint_that_is_no_literal_is_told_without_code_of_its_own(constraint):
    seen = findings(dense(kernel_constraint=constraint), mlp())
    written, _, convention = seen["hidden", "kernel_constraint"]
    assert written.startswith(type(constraint).__name__)
    assert convention == "constraint-axis"


class Lit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = mlp()
        self.accuracy = torchmetrics.MeanMetric()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.accuracy(self(batch[0]))

    def configure_gradient_clipping(self, optimizer, *args):
        pass

    def configure_callbacks(self):
        return [EarlyStopping("loss")]

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "loss"}}


def test_what_lightning_does_beside_is_told_and_what_nothing_compares_is_listed():
    module = Lit()
    module.automatic_optimization = False
    module._trainer = L.Trainer(
        gradient_clip_val=0.5, accumulate_grad_batches=2, logger=False, accelerator="cpu"
    )
    model = dense(optimizer=keras.optimizers.SGD(0.01, use_ema=True))
    model.compile(model.optimizer, "mse", metrics=["mae"])
    inspection = compare.inspect_pair(model, module)
    seen = {f.setting: (f.keras, f.torch) for f in inspection.findings}
    assert seen == {
        "learning_rate": (pytest.approx(0.01), {"schedule": "ReduceLROnPlateau"}),
        "use_ema": (True, False),
        "hooks": (None, ["configure_gradient_clipping"]),
        "automatic_optimization": (True, False),
        "global_clipnorm": (None, 0.5),
        "gradient_accumulation_steps": (None, 2),
    }
    listed = "; ".join(inspection.not_compared)
    for words in (
        "Keras' metrics (mae)",
        "use_ema",
        "ReduceLROnPlateau",
        "Torch's metrics (accuracy)",
        "validation_step",
        "EarlyStopping",
        "gradient_clip_val=0.5",
    ):
        assert words in listed
    assert f"Not compared: {listed}." in str(inspection)


def test_a_plain_pair_has_nothing_that_is_not_compared():
    assert compare.inspect_pair(dense(), mlp()).not_compared == ()


def test_a_report_lists_what_was_not_compared():
    x, y = np.ones((4, 4)), np.ones((4, 1))
    model = dense()
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    report = compare.check_parity(
        model,
        mlp(),
        x,
        y,
        weights_from="keras",
        torch_loss=torch.nn.functional.mse_loss,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
    )
    assert report.passed
    assert report.not_compared == ("Keras' metrics (mae)",)
    assert str(report).endswith("Not compared: Keras' metrics (mae).")


K = keras.layers


@pytest.mark.parametrize(
    ("ours", "theirs", "setting", "convention"),
    [
        (K.LeakyReLU(0.3), torch.nn.LeakyReLU(), "negative_slope", "leaky-relu-slope"),
        (
            K.AveragePooling2D(2, padding="same"),
            torch.nn.AvgPool2d(2, padding=1),
            "count_include_pad",
            "average-pool-same",
        ),
        (
            K.UpSampling2D(2, interpolation="bilinear"),
            torch.nn.UpsamplingBilinear2d(scale_factor=2),
            "align_corners",
            "align-corners",
        ),
        (K.MaxPooling2D(2), torch.nn.MaxPool2d(2, 1), "strides", None),
        (K.Activation("gelu"), torch.nn.GELU("tanh"), "approximate", None),
    ],
)
def test_layers_without_weights_are_told(ours, theirs, setting, convention):
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), K.Conv2D(3, 3, name="conv"), ours, K.Flatten(), K.Dense(1)]
    )

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.theirs = torch.nn.Conv2d(2, 3, 3), theirs
            self.head = torch.nn.LazyLinear(1)

        def forward(self, x):
            return self.head(self.theirs(self.conv(x)).permute(0, 2, 3, 1).flatten(1))

    module = Module()
    module(torch.zeros(1, 2, 6, 6))
    inspection = compare.inspect_pair(model, module.double())
    seen = [(f.layer, f.setting, f.convention) for f in inspection.findings]
    assert (ours.name, setting, convention) in seen
