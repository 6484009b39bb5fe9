"""Rungs 1 and 2: another network, or other batches than Keras has. Training is never reached."""

import numpy as np
from torch import nn

from bn_torch.norm import BiasedBatchNorm
from bugs.register import bug, to_float32
from compare.backends.bugs import AFTER


@bug("64 hidden units", variant="mlp", rung=1, blame="hidden")
def hidden_too_wide(handle, size):
    handle.model.hidden = nn.Linear(2, 64)
    handle.model.output = nn.Linear(64, 1)


@bug("no batch normalization", variant=AFTER, rung=1, blame="batch_norm")
def bn_forgotten(handle, size):
    handle.model.batch_norm = nn.Identity()


@bug("gamma is not trained", variant=AFTER, rung=1, blame="batch_norm")
def bn_gamma_frozen(handle, size):
    handle.model.batch_norm.weight.requires_grad_(False)


@bug(
    "gamma and beta where Keras has none",
    variant="mlp-bn-no-affine",
    rung=1,
    blame="batch_norm",
    explained_by=("bn-affine",),
)
def bn_affine_kept(handle, size):
    norm = handle.model.batch_norm
    handle.model.batch_norm = BiasedBatchNorm(norm.num_features, norm.eps, norm.momentum)


@bug(
    "one batch of epoch 57 in another order",
    changes="plan",
    variant="mlp",
    rung=2,
    blame="data",
    epochs=60,
)
def batch_57_reordered(plan, size):
    epoch = [*plan[56][:5], plan[56][5][::-1], *plan[56][6:]]
    return [*plan[:56], epoch, *plan[57:]]


@bug("one step more per epoch", changes="plan", variant="mlp", rung=2, blame="data")
def batch_repeated(plan, size):
    return [[*row, row[0]] for row in plan]


@bug("batches of 64", changes="plan", variant="mlp", rung=2, blame="data")
def batch_size_doubled(plan, size):
    return [[np.concatenate(row[at : at + 2]) for at in range(0, len(row), 2)] for row in plan]


@bug("every epoch in the order of the first", changes="plan", variant="mlp", rung=2, blame="data")
def order_repeated(plan, size):
    return [plan[0] for _ in plan]


@bug(
    "batches in an order of Torch's own",
    changes="plan",
    variant="mlp",
    rung=2,
    blame="data",
    explained_by=("batch-order",),
)
def order_own(plan, size):
    rng = np.random.default_rng(0)
    own = []
    for row in plan:
        samples = rng.permutation(np.concatenate(row))
        own.append(np.split(samples, np.cumsum([len(batch) for batch in row])[:-1]))
    return own


@bug("inner and outer circle swapped", changes="batch", variant="mlp", rung=2, blame="data")
def labels_flipped(batch, size):
    x, y = batch
    return x, 1.0 - y


@bug("samples rounded to float32", changes="batch", variant="mlp", rung=2, blame="data")
def data_float32(batch, size):
    x, y = batch
    return to_float32(x), y


@bug("height and width of the images swapped", changes="batch", variant="cnn", rung=2, blame="data")
def image_transposed(batch, size):
    x, y = batch
    return np.ascontiguousarray(x.swapaxes(1, 2)), y
