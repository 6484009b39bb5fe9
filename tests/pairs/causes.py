"""Which convention is the cause of a wrong port; other bugs are no matter of convention."""

CAUSES = {
    ("autoencoder", "cropped at the beginning"): "transposed-padding",
    ("autoencoder", "symmetric padding at stride 2"): "same-padding-stride",
    ("autoencoder", "summed loss"): "loss-reduction",
    ("bilstm", "batch for time"): "lstm-batch-first",
    ("bilstm", "two biases trained"): "lstm-single-bias",
    ("bilstm", "two biases in the second"): "lstm-single-bias",
    ("gru", "gate order"): "gru-gate-order",
    ("gru", "padding_idx"): "padding-idx",
    ("gru", "learning rate left at Torch's"): "sgd-default-learning-rate",
    ("nested", "a schedule per epoch"): "learning-rate-schedule",
    ("nested", "momentum left at Torch's"): "bn-momentum",
    ("nested", "an epsilon too large"): "bn-epsilon",
    ("residual", "symmetric padding at stride 2"): "same-padding-stride",
    ("residual", "Torch's epsilon in one norm"): "bn-epsilon",
    ("residual", "momentum copied"): "bn-momentum-copied",
    ("residual", "unbiased variance"): "bn-biased-variance",
    ("separable", "padding averaged in"): "average-pool-same",
    ("separable", "a norm with a scale too many"): "bn-center-only",
    ("separable", "Torch's slope"): "leaky-relu-slope",
    ("sequence", "Torch's epsilon"): "norm-epsilon",
    ("sequence", "batch for time"): "lstm-batch-first",
    ("sequence", "two biases trained"): "lstm-single-bias",
    ("temporal", "Torch's epsilon"): "norm-epsilon",
    ("temporal", "flatten order"): "flatten-order",
    ("temporal", "Torch's Adam"): "adam-epsilon",
    ("transformer", "batch for time"): "lstm-batch-first",
    ("transformer", "Torch's epsilon"): "norm-epsilon",
    ("transformer", "forgotten schedule"): "learning-rate-schedule",
    ("transformer", "weight decay through the gradient"): "weight-decay",
    ("two_inputs", "flatten order"): "flatten-order",
    ("two_inputs", "weight decay through the gradient"): "weight-decay",
    ("two_inputs", "Torch's AdamW"): "adam-epsilon",
    ("volume", "unbiased variance"): "bn-biased-variance",
    ("volume", "a norm with a shift too many"): "bn-affine",
    ("volume", "Torch's RMSprop"): "rmsprop-epsilon",
    ("volume", "Torch's epsilon in Keras' place"): "rmsprop-epsilon",
}
"""Pair and name of the bug → the convention."""

ALSO = {("separable", "padding averaged in"): ("same-padding-stride",)}
"""Further conventions of a wrong port in which several things are wrong in one place."""
