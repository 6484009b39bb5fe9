"""Rung 3: weights that are copied wrongly."""

import numpy as np

from bugs.register import bug, to_float32
from compare.backends.bugs import AFTER


def changed(weights, change, *endings):
    """The weights, with a change to every tensor whose name has one of these endings."""
    return {name: change(w) if name.endswith(endings) else w for name, w in weights.items()}


def misread(kernel):
    """The numbers of a kernel in Torch's layout, (out, in, …), taken as they lie in memory."""
    native = (*kernel.shape[:-3:-1], *kernel.shape[:-2])
    return np.moveaxis(kernel.reshape(native), (0, 1), (-1, -2))


@bug(
    "kernels read in Torch's layout",
    changes="weights",
    variant=AFTER,
    rung=3,
    blame="hidden",
    explained_by=("kernel-layout",),
)
def kernel_transposed(weights, size):
    return changed(weights, misread, "/kernel")


@bug(
    "convolution kernels read as OIHW",
    changes="weights",
    variant="cnn",
    rung=3,
    blame="conv1",
    explained_by=("kernel-layout",),
)
def conv_kernel_not_permuted(weights, size):
    return changed(weights, misread, "conv1/kernel", "conv2/kernel")


@bug("height and width of kernels swapped", changes="weights", variant="cnn", rung=3, blame="conv1")
def conv_kernel_transposed(weights, size):
    return changed(weights, lambda k: k.swapaxes(0, 1), "conv1/kernel", "conv2/kernel")


@bug(
    "gates copied in the order i, f, o, g", changes="weights", variant="lstm", rung=3, blame="lstm"
)
def lstm_gates_swapped(weights, size):
    def swapped(tensor):
        i, f, g, o = np.split(tensor, 4, axis=-1)
        return np.concatenate([i, f, o, g], axis=-1)

    return changed(weights, swapped, "lstm/kernel", "lstm/recurrent_kernel", "lstm/bias")


@bug(
    "recurrent kernels transposed gate by gate",
    changes="weights",
    variant="lstm",
    rung=3,
    blame="lstm",
)
def lstm_recurrent_transposed(weights, size):
    def transposed(tensor):
        return np.concatenate([gate.T for gate in np.split(tensor, 4, axis=-1)], axis=-1)

    return changed(weights, transposed, "/recurrent_kernel")


@bug(
    "the forget gate's bias starts at 0",
    changes="weights",
    variant="lstm",
    rung=3,
    blame="lstm",
    explained_by=("lstm-forget-bias",),
)
def lstm_forget_bias_missing(weights, size):
    def lowered(bias):
        return bias - np.repeat([0.0, 1.0, 0.0, 0.0], len(bias) // 4)

    return changed(weights, lowered, "lstm/bias")


@bug(
    "moving mean and variance swapped", changes="weights", variant=AFTER, rung=3, blame="batch_norm"
)
def bn_statistics_swapped(weights, size):
    mean, variance = "batch_norm/moving_mean", "batch_norm/moving_variance"
    return {**weights, mean: weights[variance], variance: weights[mean]}


@bug("gamma left at 1", changes="weights", variant=AFTER, rung=3, blame="batch_norm")
def bn_gamma_not_copied(weights, size):
    return changed(weights, np.ones_like, "/gamma")


@bug("beta left at 0", changes="weights", variant=AFTER, rung=3, blame="batch_norm")
def bn_beta_not_copied(weights, size):
    return changed(weights, np.zeros_like, "/beta")


@bug("moving statistics not loaded", changes="weights", variant=AFTER, rung=3, blame="batch_norm")
def bn_buffers_stale(weights, size):
    without_mean = changed(weights, np.zeros_like, "/moving_mean")
    return changed(without_mean, np.ones_like, "/moving_variance")


@bug(
    "the variance is loaded as deviation",
    changes="weights",
    variant=AFTER,
    rung=3,
    blame="batch_norm",
)
def bn_deviation_loaded(weights, size):
    return changed(weights, np.sqrt, "/moving_variance")


@bug("the output's bias left at 0", changes="weights", variant=AFTER, rung=3, blame="output")
def output_bias_not_copied(weights, size):
    return changed(weights, np.zeros_like, "output/bias")


@bug("weights saved as float32", changes="weights", variant=AFTER, rung=3, blame="hidden")
def weights_float32(weights, size):
    return changed(weights, to_float32, "")
