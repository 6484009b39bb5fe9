"""A trace of a user's module: structures, optimizers, and what is left behind."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from compare.backends.optimizer_rule import read_rule
from compare.backends.torch import adapter

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 1))


def dense():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def trace(module, batches=((X, Y),) * 2, optimizer=sgd, loss=F.mse_loss, **changes):
    """Everything traced, by name, with the layers under `layers`."""
    found = {}
    if not isinstance(module, L.LightningModule) and batches[0][1] is not None:
        changes["objective"] = (loss, optimizer)
    found["layers"] = adapter.trace_any(module, batches, found.__setitem__, **changes)
    assert "error" not in found, found["error"]
    return found


def by_hand(module, steps, update):
    """Slots of the first kernel after some steps of `update(kernel, gradient, slots)`."""
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    slots = [{} for _ in module.parameters()]
    for step in range(1, steps + 1):
        gradients = torch.autograd.grad(F.mse_loss(module(x), y), list(module.parameters()))
        with torch.no_grad():
            for p, g, kept in zip(module.parameters(), gradients, slots, strict=True):
                p -= update(g, kept, step)
    return {name: value.t().numpy() for name, value in slots[0].items()}


def momentum_sgd(g, s, step):
    s["velocity"] = 0.9 * s.get("velocity", 0.0) - 0.1 * g
    return -s["velocity"]


def adam(g, s, step):
    s["first_moment"] = 0.9 * s.get("first_moment", 0.0) + 0.1 * g
    s["second_moment"] = 0.999 * s.get("second_moment", 0.0) + 0.001 * g * g
    s["max_second_moment"] = torch.maximum(s.get("max_second_moment", g * 0.0), s["second_moment"])
    largest = s["max_second_moment"] / (1 - 0.999**step)
    return 0.1 * s["first_moment"] / (1 - 0.9**step) / (largest.sqrt() + 1e-8)


def rmsprop(g, s, step):
    s["second_moment"] = 0.9 * s.get("second_moment", 0.0) + 0.1 * g * g
    s["average_gradient"] = 0.9 * s.get("average_gradient", 0.0) + 0.1 * g
    scale = (s["second_moment"] - s["average_gradient"] ** 2).sqrt() + 1e-8
    s["velocity"] = 0.5 * s.get("velocity", 0.0) + 0.1 * g / scale
    return s["velocity"]


@pytest.mark.parametrize(
    ("optimizer", "update"),
    [
        (sgd, momentum_sgd),
        (lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True), adam),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True, weight_decay=0.0), adam),
        (
            lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.5, centered=True),
            rmsprop,
        ),
    ],
)
def test_slots_are_those_of_keras(optimizer, update):
    module = dense()
    found = trace(module, optimizer=optimizer)
    expected = by_hand(module, 2, update)
    prefix = "step/2/slots/0/kernel/"
    assert {k.removeprefix(prefix) for k in found if k.startswith(prefix)} == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"{prefix}{name}"], value, rtol=1e-7, atol=1e-15)


def in_shape(shape):
    def optimizer(parameters):
        optimizer = sgd(parameters)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        per_step = {"scheduler": schedule, "interval": "step"}
        return {
            "list": [optimizer],
            "pair": ([optimizer], [per_step]),
            "dict": {"optimizer": optimizer, "lr_scheduler": per_step},
            "plateau": {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"},
            },
        }[shape]

    return optimizer


@pytest.mark.parametrize("shape", ["list", "pair", "dict", "plateau"])
def test_optimizers_and_schedules_come_in_all_shapes_of_lightning(shape):
    module = dense()
    batches = ((X, Y),) * 3
    plain, found = trace(module, batches), trace(module, batches, in_shape(shape))
    same = [
        np.array_equal(plain[key], found[key])
        for key in (f"step/{n}/weights/2/kernel" for n in (1, 2))
    ]
    halved = shape in ("pair", "dict")
    assert same == [True, not halved]
    if halved:
        # The velocity has the rate that its step was taken with.
        moved = found["step/2/weights/2/bias"] - found["step/1/weights/2/bias"]
        np.testing.assert_allclose(found["step/2/slots/2/bias/velocity"], moved, rtol=1e-9)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 1)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls = self.calls + 1
        x = self.relu(self.norm(self.first(x)))
        y = self.second(x)
        y += x
        return self.head(self.relu(y).mean((2, 3)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trace_is_the_training_that_it_records_and_leaves_nothing(dtype):
    module = Residual().to(getattr(torch, dtype))
    module.norm.eval()
    module.first.weight.requires_grad_(False)
    x, y = RNG.normal(size=(4, 5, 5, 2)).astype(dtype), Y.astype(dtype)
    calls, state = module.calls, torch.get_rng_state()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    gradients = {p: torch.ones_like(p) for p in module.parameters()}
    for p, gradient in gradients.items():
        p.grad = gradient
    found = trace(module, ((x, y),) * 2)

    assert torch.equal(torch.get_rng_state(), state)
    assert module.calls is calls
    assert not calls
    assert module.training
    assert not module.norm.training
    assert not module.first.weight.requires_grad
    assert all(p.grad is gradients[p] and bool((p.grad == 1).all()) for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())

    optimizer = sgd(module.parameters())
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    for step in (1, 2):
        optimizer.zero_grad()
        loss = F.mse_loss(module(images), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        assert found[f"step/{step}/loss"] == loss.detach().numpy()
    kernel = module.second.weight.detach().permute(2, 3, 1, 0).numpy()
    assert np.array_equal(found["step/2/weights/second/kernel"], kernel)
    assert "gradient/first/kernel" not in found
    norm = next(layer for layer in found["layers"] if layer["name"] == "norm")
    assert norm["settings"]["frozen"]


def test_a_module_that_raises_is_left_as_found_too():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            self.norm(x)
            raise RuntimeError("no more")

    module, found = Failing().double(), {}
    objective = (F.mse_loss, sgd)
    adapter.trace_any(module, [(X, Y)], found.__setitem__, objective=objective)
    assert str(found["error"]) == "RuntimeError: no more"
    assert "training/norm/output" in found
    assert not module.norm.running_mean.any()


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.table = nn.Conv2d(2, 3, 3), nn.Linear(5, 3)
        self.embed = nn.Embedding(7, 3)

    def forward(self, image, table, token):
        both = self.image(image).mean((2, 3)) + self.table(table) + self.embed(token)
        return {"sum": both, "parts": (both * 2.0, both * 3.0)}


IMAGE, TABLE = RNG.normal(size=(4, 5, 6, 2)), RNG.normal(size=(4, 5))
TOKEN = np.arange(4, dtype=np.int32)


def summed(output, target):
    return F.mse_loss(output["sum"], target["a"]) + F.mse_loss(output["parts"][0], target["b"])


@pytest.mark.parametrize("keyed", [True, False])
def test_several_inputs_targets_and_outputs(keyed):
    module = TwoInputs().double()
    x = {"image": IMAGE, "table": TABLE, "token": TOKEN} if keyed else (IMAGE, TABLE, TOKEN)
    y = {"a": np.zeros((4, 3)), "b": np.ones((4, 3))}
    found = trace(module, ((x, y),), loss=summed)
    names = ("image", "table", "token") if keyed else (0, 1, 2)
    for name, value in zip(names, (IMAGE, TABLE, TOKEN), strict=True):
        np.testing.assert_array_equal(found[f"step/1/data/x/{name}"], value)
    np.testing.assert_array_equal(found["training/image/input"], IMAGE)
    assert found["training/embed/input"].dtype == np.int64
    assert "backward/embed/input" not in found
    outputs = {k.removeprefix("prediction/") for k in found if "prediction/" in k}
    assert outputs == {"sum", "parts/0", "parts/1"}
    assert {"step/1/data/y/a", "step/1/data/y/b"} <= found.keys()


def test_other_keys_than_forward_has_are_named():
    found = {}
    x = {"picture": IMAGE, "table": TABLE, "token": TOKEN}
    adapter.trace_any(TwoInputs().double(), [(x, None)], found.__setitem__)
    error = str(found["error"])
    assert "TwoInputs.forward takes image, table, token" in error
    assert "received the keys picture, table, token" in error


class Stepping(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, x):
        return self.net(x["table"])

    def training_step(self, batch, batch_idx):
        x, y = batch
        assert isinstance(x["more"], tuple)
        loss = F.mse_loss(self(x), y)
        self.log("loss", loss)
        return {"loss": loss, "extra": 1}

    def configure_optimizers(self):
        return sgd(self.parameters())


def test_a_lightning_module_gets_the_batch_as_it_stands():
    x = {"table": TABLE, "more": (TABLE, TOKEN)}
    module = Stepping().double()
    found = trace(module, ((x, np.ones((4, 3))),) * 2)
    assert found["step/2/loss"] < found["step/1/loss"]
    assert [layer["name"] for layer in found["layers"]] == ["net"]
    assert module._trainer is None


class ByHand(Stepping):
    """Optimizes by hand, and returns no loss."""

    def __init__(self, losses=1, every=1):
        super().__init__()
        self.automatic_optimization, self.losses, self.every = False, losses, every

    def training_step(self, batch, batch_idx):
        for _ in range(self.losses):
            self.optimizers().zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx)["loss"])
            if (batch_idx + 1) % self.every == 0:
                self.optimizers().step()


def test_a_module_that_optimizes_by_hand_is_followed():
    batches = (({"table": TABLE, "more": (TABLE,)}, np.ones((4, 3))),) * 2
    by_hand, automatic = ByHand().double(), Stepping().double()
    automatic.load_state_dict(by_hand.state_dict())
    found, alike = trace(by_hand, batches), trace(automatic, batches)
    for key in ("gradient/net/kernel", "step/2/loss", "step/2/weights/net/kernel"):
        np.testing.assert_array_equal(found[key], alike[key])


def test_a_batch_without_a_step_is_refused():
    with pytest.raises(ValueError, match="ByHand takes no step in some batches"):
        trace(
            ByHand(every=2).double(), (({"table": TABLE, "more": (TABLE,)}, np.ones((4, 3))),) * 2
        )


class InTwoParts(L.LightningModule):
    """Optimizes by hand, each layer with an optimizer of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 1)
        self.automatic_optimization = False

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(F.mse_loss(self(batch[0]), batch[1]))
        for optimizer in optimizers:
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.first, self.second)]


def test_each_weight_has_the_rule_of_the_optimizer_that_moves_it():
    found = trace(InTwoParts().double())
    for layer in ("first", "second"):
        assert read_rule(found[f"step/1/rule/{layer}/kernel"]).kind == "sgd"


def test_a_step_with_two_losses_is_refused():
    with pytest.raises(ValueError, match="ByHand calls manual_backward more than once"):
        trace(ByHand(losses=2).double(), [({"table": TABLE, "more": (TABLE,)}, np.ones((4, 3)))])


def test_a_step_without_a_loss_is_an_error():
    class Lossless(Stepping):
        def training_step(self, batch, batch_idx):
            return None

    found = {}
    adapter.trace_any(Lossless().double(), [({"table": TABLE}, Y)], found.__setitem__)
    assert "training_step returned no loss" in str(found["error"])


def test_a_plain_module_needs_something_to_train_with():
    with pytest.raises(ValueError, match="takes a loss and an optimizer"):
        adapter.trace_any(dense(), [(X, Y)], {}.__setitem__)


def test_callbacks_of_the_module_neither_stop_it_nor_write_files(tmp_path):
    class Watched(Stepping):
        def configure_callbacks(self):
            return [EarlyStopping("val_loss"), ModelCheckpoint(tmp_path)]

    trace(Watched().double(), (({"table": TABLE, "more": ()}, np.ones((4, 3))),) * 2)
    assert not list(tmp_path.iterdir())


def test_a_module_elsewhere_is_refused():
    with pytest.raises(ValueError, match=r"Linear \(0\) is on meta"):
        adapter.trace_any(nn.Sequential(nn.Linear(2, 1, device="meta")), [(X, None)], {}.get)


def test_what_is_computed_again_on_the_way_back_is_noted_once():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 1)

        def forward(self, x):
            return checkpoint(self.second, self.first(x), use_reentrant=False)

    found = trace(Checkpointed().double())
    assert [layer["name"] for layer in found["layers"]] == ["first", "second"]
    assert {"backward/second/input", "backward/first/output"} <= found.keys()
    assert not [key for key in found if "#" in key]


@pytest.mark.parametrize("lightning", [False, True])
def test_what_is_evaluated_is_what_the_last_step_has_left(lightning):
    class Linear(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return F.mse_loss(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return sgd(self.parameters())

    found = trace(Linear().double() if lightning else nn.Sequential(nn.Linear(2, 1)).double())
    name = "net" if lightning else "0"
    kernel, bias = (found[f"step/2/weights/{name}/{tensor}"] for tensor in ("kernel", "bias"))
    np.testing.assert_allclose(found["prediction"], X @ kernel + bias, rtol=1e-14)
