"""Where things are in `tests/pairs`: partners of layers, and what runs between them."""

from __future__ import annotations

from collections.abc import Mapping

PARTNERS: Mapping[str, Mapping[str, str]] = {
    "autoencoder": {
        "encoder/down1": "encode.1",
        "encoder/down2": "encode.4",
        "decoder/up1": "decode.0",
        "decoder/up2": "decode.2",
    },
    "bilstm": {"both_ways": "encoder", "summary": "summary", "head": "head"},
    "gru": {"tokens": "embed", "gru": "rnn", "hidden": "hidden", "head": "out"},
    "nested": {
        "backbone/stem/conv": "net.stem.0",
        "backbone/stem/norm": "net.stem.1",
        "backbone/inner": "net.mix",
        "head": "out",
    },
    "residual": {
        "stem": "conv",
        "block1_conv1": "layer1.conv_a",
        "block1_bn1": "layer1.norm_a",
        "block1_conv2": "layer1.conv_b",
        "block1_bn2": "layer1.norm_b",
        "block1_shortcut": "layer1.down.0",
        "block1_shortcut_bn": "layer1.down.1",
        "block2_conv1": "layer2.conv_a",
        "block2_bn1": "layer2.norm_a",
        "block2_conv2": "layer2.conv_b",
        "block2_bn2": "layer2.norm_b",
        "block2_shortcut": "layer2.down.0",
        "block2_shortcut_bn": "layer2.down.1",
        "head": "fc",
    },
    "separable": {
        "stem": "features.1",
        "stem_bn": "features.2",
        "depthwise": "features.4",
        "depthwise_bn": "features.5",
        "separable/depthwise": "dw1",
        "separable/pointwise": "pw1",
        "dilated/depthwise": "dw2",
        "dilated/pointwise": "pw2",
        "head": "classifier",
    },
    "sequence": {
        "shorten": "down",
        "norm": "norm",
        "rnn": "rnn",
        "lengthen": "up",
        "head": "out",
    },
    "temporal": {
        "conv1": "first",
        "norm1": "norm_a",
        "conv2": "second",
        "norm2": "norm_b",
        "conv3": "third",
        "hidden": "fc.1",
        "head": "fc.3",
    },
    "transformer": {
        "embed/tokens": "wte",
        "embed/positions": "wpe",
        "block/attention": "h.attn",
        "block/norm1": "h.ln_1",
        "block/expand": "h.mlp.0",
        "block/reduce": "h.mlp.2",
        "block/norm2": "h.ln_2",
        "head": "classifier",
    },
    "two_inputs": {
        "features": "conv",
        "tabular": "table.0",
        "joint": "fuse",
        "head": "score",
    },
    "volume": {
        "conv": "encoder.conv",
        "norm": "encoder.norm",
        "deconv": "up",
        "head": "lin",
    },
}
"""Pair → Keras layer → path of the Torch module."""

CALLS: Mapping[str, Mapping[tuple[str, int], str]] = {
    "autoencoder": {
        ("relu", 0): "between encoder/down1 and encoder/down2",
        ("relu", 1): "between encoder/down2 and decoder/up1",
        ("elu", 0): "between decoder/up1 and decoder/up2",
    },
    "gru": {("relu", 0): "between hidden and head"},
    "nested": {
        ("relu", 0): "between backbone/stem/norm and backbone/inner",
        ("relu", 1): "between backbone/inner and head",
        ("adaptive_avg_pool2d", 0): "between backbone/inner and head",
    },
    "residual": {
        ("relu", 0): "between stem and block1_conv1",
        ("relu", 1): "between block1_bn1 and block1_conv2",
        ("relu", 2): "between block1_shortcut_bn and block2_conv1",
        ("relu", 3): "between block2_bn1 and block2_conv2",
        ("relu", 4): "between block2_shortcut_bn and head",
        ("mean", 0): "between block2_shortcut_bn and head",
    },
    "separable": {
        ("hardtanh", 0): "between stem_bn and depthwise",
        ("leaky_relu", 0): "between depthwise_bn and separable/depthwise",
        ("elu", 0): "between separable/pointwise and dilated/depthwise",
        ("avg_pool2d", 0): "between dilated/pointwise and head",
        ("amax", 0): "between dilated/pointwise and head",
    },
    "sequence": {
        ("softplus", 0): "between lengthen and head",
        ("mean", 0): "between lengthen and head",
    },
    "temporal": {
        ("relu", 0): "between conv1 and norm1",
        ("silu", 0): "between norm2 and conv3",
        ("tanh", 0): "between hidden and head",
    },
    "transformer": {
        ("relu", 0): "between block/expand and block/reduce",
        ("mean", 0): "between block/norm2 and head",
    },
    "two_inputs": {
        ("relu", 0): "between tabular and joint",
        ("tanh", 0): "between tabular and joint",
        ("relu", 1): "between joint and head",
        ("max_pool2d", 0): "between tabular and joint",
    },
    "volume": {
        ("tanh", 0): "between norm and deconv",
        ("amax", 0): "between deconv and head",
    },
}
"""Pair → Torch function, and which call of it in a forward pass → the span where it stands."""

BACKWARD: Mapping[tuple[str, str, int], str] = {
    ("two_inputs", "relu", 0): "between features and tabular",
    ("two_inputs", "max_pool2d", 0): "between features and tabular",
}
"""Pair, function and call → the span on the way back, where a branch makes it another one."""


def blamed(pair: str, layer: str) -> set[str]:
    """Who may be blamed for a fault of a layer: it, or the whole that it is half of.

    Keras shows neither what passes between the two halves of a separable convolution, nor what
    passes within an attention.
    """
    if pair == "separable" and "/" in layer:
        return {layer, layer.partition("/")[0]}
    if layer == "block/attention":
        parts = ("query", "key", "value", "attention_output")
        return {layer, *(f"{layer}/{part}" for part in parts)}
    return {layer}
