"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `keras.demonstrations`, from the same numbers. With the
remedy in place both return the same float64 arrays, to rounding; without it they do not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compare.backends.torch import demonstrate_layers as layers
from compare.backends.torch import demonstrate_sequences as sequences
from compare.backends.torch import demonstrate_training as training

DEMONSTRATIONS: dict[str, Callable[[bool], dict[str, np.ndarray]]] = {
    "accuracy-threshold": training.accuracy_threshold,
    "adam-beta-float32": training.adam_beta_float32,
    "adam-epsilon": training.adam_epsilon,
    "average-pool-same": layers.average_pool_same,
    "bn-axis": layers.bn_axis,
    "bn-batch-of-one": layers.bn_batch_of_one,
    "bn-center-only": layers.bn_center_only,
    "bn-frozen": layers.bn_frozen,
    "bn-mask": layers.bn_mask,
    "bn-sync": layers.bn_sync,
    "broadcast-loss": training.broadcast_loss,
    "cross-entropy-logits": training.cross_entropy_logits,
    "float32-constants": layers.float32_constants,
    "float64-plumbing": layers.float64_plumbing,
    "gradient-clipping": training.gradient_clipping,
    "gru-gate-order": layers.gru_gate_order,
    "gru-reset-after": sequences.gru_reset_after,
    "leaky-relu-slope": layers.leaky_relu_slope,
    "learning-rate-schedule": training.learning_rate_schedule,
    "loss-from-logits": training.loss_from_logits,
    "mask-zero": sequences.mask_zero,
    "norm-epsilon": layers.norm_epsilon,
    "optimizer-defaults": training.optimizer_defaults,
    "padding-idx": sequences.padding_idx,
    "regularizers-in-loss": training.regularizers_in_loss,
    "rmsprop-epsilon": training.rmsprop_epsilon,
    "same-padding-stride": layers.same_padding_stride,
    "sgd-learning-rate-change": training.sgd_learning_rate_change,
    "shuffle-seed": layers.shuffle_seed,
    "sparse-gradients": sequences.sparse_gradients,
    "transposed-padding": layers.transposed_padding,
    "weight-decay": training.weight_decay,
}
"""Name of the convention → function of whether its remedy is in place."""
