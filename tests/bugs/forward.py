"""Rung 4: a forward pass that computes something else."""

import torch
from torch import nn
from torch.nn import functional as F

from bugs.register import bug
from compare.backends.bugs import AFTER, RELATIVE
from compare.backends.torch.bugs import override


def move(model, name, after):
    """Move a layer of a sequence behind another one."""
    layers = dict(model.named_children())
    moved = layers.pop(name)
    for key in [*layers, name]:
        delattr(model, key)
    for key, layer in layers.items():
        model.add_module(key, layer)
        if key == after:
            model.add_module(name, moved)


def normalize(handle, normalized):
    """Make training normalize otherwise, with γ and β as they should be."""
    norm = handle.model.batch_norm
    tracked = type(norm).forward

    def forward(self, x):
        expected = tracked(self, x)
        if not self.training:
            return expected
        channels = [1, -1] + [1] * (x.ndim - 2)
        return normalized(x, self.eps) * self.weight.view(channels) + self.bias.view(channels)

    override(norm, forward=forward)


@bug(
    "epsilon is too small",
    variant=AFTER,
    rung=4,
    blame="batch_norm",
    explained_by=("bn-epsilon",),
    size=0.00099,
    unit="epsilon",
)
def bn_epsilon(handle, size):
    handle.model.batch_norm.eps -= size


@bug("epsilon added to the deviation", variant=AFTER, rung=4, blame="batch_norm")
def bn_epsilon_outside(handle, size):
    def normalized(x, eps):
        variance, mean = torch.var_mean(x, 0, correction=0)
        return (x - mean) / (torch.sqrt(variance) + eps)

    normalize(handle, normalized)


@bug("normalizes over the features", variant=AFTER, rung=4, blame="batch_norm")
def bn_wrong_axis(handle, size):
    normalize(handle, lambda x, eps: F.layer_norm(x, x.shape[1:], eps=eps))


@bug("normalizes over each image", variant="cnn-bn", rung=4, blame="batch_norm")
def bn_per_image(handle, size):
    normalize(handle, lambda x, eps: F.instance_norm(x, eps=eps))


@bug("normalizes over the batch alone", variant="cnn-bn", rung=4, blame="batch_norm")
def bn_per_pixel(handle, size):
    def normalized(x, eps):
        variance, mean = torch.var_mean(x, 0, correction=0)
        return (x - mean) / torch.sqrt(variance + eps)

    normalize(handle, normalized)


@bug("normalizes with ÷ (n − 1)", variant=AFTER, rung=4, blame="batch_norm")
def bn_unbiased_normalization(handle, size):
    def normalized(x, eps):
        variance, mean = torch.var_mean(x, 0, correction=1)
        return (x - mean) / torch.sqrt(variance + eps)

    normalize(handle, normalized)


@bug(
    "stays in evaluation mode",
    variant=AFTER,
    rung=4,
    blame="batch_norm",
    explained_by=("train-mode",),
)
def bn_frozen(handle, size):
    norm = handle.model.batch_norm.eval()
    norm.train = lambda mode=True: norm


@bug("relu after, not before", variant=AFTER, rung=4, blame="between hidden and batch_norm")
def bn_before_relu(handle, size):
    move(handle.model, "relu", after="batch_norm")


@bug(
    "relu before, not after", variant="mlp-bn-before", rung=4, blame="between hidden and batch_norm"
)
def bn_after_relu(handle, size):
    move(handle.model, "batch_norm", after="relu")


@bug("no activation", variant="mlp", rung=4, blame="between hidden and output")
def relu_forgotten(handle, size):
    handle.model.relu = nn.Identity()


@bug(
    "leaky relu",
    variant="mlp",
    rung=4,
    blame="between hidden and output",
    size=0.01,
    unit="slope",
    explained_by=("leaky-relu-slope",),
)
def relu_leaky(handle, size):
    handle.model.relu = nn.LeakyReLU(size)


@bug("gelu for relu", variant="mlp", rung=4, blame="between hidden and output")
def relu_gelu(handle, size):
    handle.model.relu = nn.GELU()


@bug("dropout of 0.1", variant="mlp", rung=4, blame="between hidden and output")
def dropout_added(handle, size):
    handle.model.relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.1))


@bug(
    "the input is scaled",
    variant="mlp",
    rung=4,
    blame="between the input and hidden",
    size=0.001,
    unit=RELATIVE,
)
def input_scaled(handle, size):
    handle.model.register_forward_pre_hook(lambda model, inputs: (inputs[0] * (1.0 + size),))


@bug(
    "flattens channels first",
    variant="cnn",
    rung=4,
    blame="between conv2 and output",
    explained_by=("flatten-order",),
)
def flatten_channels_first(handle, size):
    handle.model.flatten = nn.Flatten()


@bug(
    "max pool with stride 1: Torch raises", variant="cnn", rung=4, blame="between conv2 and output"
)
def pool_stride(handle, size):
    handle.model.max_pool = nn.MaxPool2d(2, stride=1)


@bug("max pool over 3 × 3, padded", variant="cnn", rung=4, blame="between conv2 and output")
def pool_kernel(handle, size):
    handle.model.max_pool = nn.MaxPool2d(3, stride=2, padding=1)


@bug("average pool for max pool", variant="cnn-bn", rung=4, blame="between batch_norm and output")
def pool_average(handle, size):
    handle.model.max_pool = nn.AvgPool2d(2)


@bug("true convolution for cross-correlation", variant="cnn", rung=4, blame="conv1")
def conv_flipped(handle, size):
    def forward(self, x):
        return F.conv2d(x, self.weight.flip(2, 3), self.bias)

    override(handle.model.conv1, forward=forward)


@bug('padding "same": Torch raises', variant="cnn", rung=4, blame="conv1")
def conv_padding(handle, size):
    handle.model.conv1.padding = (1, 1)


@bug("reads the sequence from its end", variant="lstm", rung=4, blame="lstm")
def lstm_time_reversed(handle, size):
    def forward(self, x, hx=None):
        return nn.LSTM.forward(self, x.flip(1), hx)

    override(handle.model.lstm, forward=forward)


@bug("the first output goes on", variant="lstm", rung=4, blame="between lstm and output")
def lstm_first_output(handle, size):
    def forward(self, x, hx=None):
        outputs, state = nn.LSTM.forward(self, x, hx)
        return outputs.flip(1), state

    override(handle.model.lstm, forward=forward)


@bug("computes gates in the order i, f, o, g", variant="lstm", rung=4, blame="lstm")
def lstm_gates_computed_swapped(handle, size):
    def forward(self, x, hx=None):
        parts = [p.chunk(4) for p in self._flat_weights]
        swapped = [torch.cat([i, f, o, g]) for i, f, g, o in parts]
        zeros = x.new_zeros(1, len(x), self.hidden_size)
        outputs, h, c = torch.lstm(
            x, (zeros, zeros), swapped, True, 1, 0.0, self.training, False, True
        )
        return outputs, (h, c)

    override(handle.model.lstm, forward=forward)


@bug(
    "batch_first forgotten",
    variant="lstm",
    rung=4,
    blame="between the input and lstm",
    explained_by=("lstm-batch-first",),
)
def lstm_not_batch_first(handle, size):
    handle.model.lstm.batch_first = False
