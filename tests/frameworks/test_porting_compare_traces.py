from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up_trace import written
from torch import nn

from compare.porting.floors import CEILING, LEAST, MARGIN, measure
from compare.porting.models import TorchSide

PATHS = ("prediction", "training/a/output")
X = np.random.default_rng(0).normal(size=(8, 4))


def traced(tmp_path, module, dtype):
    side = TorchSide(module)
    batches = [(X.astype(dtype), None)]
    return side, batches, side.trace(batches, tmp_path / "found")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_is_measured_on_the_network_itself(tmp_path, dtype):
    module = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)]).to(getattr(torch, dtype))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    side, batches, found = traced(tmp_path, module, dtype)
    wide = measure(side, batches, found)
    unit = np.finfo(dtype).eps
    assert 0.0 < wide["prediction"] < MARGIN * 30 * unit
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_what_is_given_is_not_widened_and_nothing_beyond_the_ceiling(tmp_path):
    module = nn.Linear(4, 4).double()
    module.weight.data *= 1e12
    side, batches, _ = traced(tmp_path, module, "float64")
    module.register_forward_hook(lambda m, args, output: torch.sin(output))
    wide = measure(side, batches, side.trace(batches, tmp_path / "again"))
    assert not [path for path in wide if path.startswith("initial/") or "/data/" in path]
    assert wide["prediction"] == CEILING["float64"]


def test_nan_widens_nothing(tmp_path):
    def stream(batches, sink, start):
        sink("prediction", np.array([np.nan]))
        sink("training/a/output", np.array([np.nan]))

    found = written(tmp_path / "a", {path: np.array([np.nan]) for path in PATHS})
    framework = SimpleNamespace(rounded_otherwise=lambda seed, dtype: nullcontext())
    side = SimpleNamespace(stream=stream, framework=framework, dtype="float64")
    side.during = lambda work: side
    wide = measure(side, [], found)
    assert wide == {"prediction": LEAST * np.finfo("float64").eps, "training/a/output": 0.0}


def test_an_array_that_is_another_one_is_measured_once(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double()
    side, batches, found = traced(tmp_path, module, "float64")
    assert found.files["training/1/input"] == found.files["training/0/output"]
    wide = measure(side, batches, found)
    assert wide["training/1/input"] == wide["training/0/output"] > 0.0


def test_a_module_that_cannot_be_copied_is_measured_as_well_and_put_back(tmp_path):
    module = nn.Linear(4, 4).double()
    side, batches, found = traced(tmp_path, module, "float64")
    expected = measure(side, batches, found)
    module.seen = [module(torch.ones(1, 4, dtype=torch.float64))]
    before = module.weight.clone()
    assert measure(side, batches, found) == expected
    assert torch.equal(module.weight, before)
