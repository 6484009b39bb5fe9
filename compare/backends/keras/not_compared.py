"""What a model has that no trace sees. Callbacks belong to `fit`: a model does not know them."""

from __future__ import annotations

from typing import Any

import keras

_K = keras.layers
_AUGMENTATIONS = tuple(
    getattr(_K, name) for name in dir(_K) if name.startswith("Random") and name != "RandomState"
)


def not_compared(model: keras.Model) -> list[str]:
    """See `Framework.not_compared`."""
    return [
        *_metrics(model),
        *_augmentation(model),
        *_recurrent_dropout(model),
        *_averages(getattr(model, "optimizer", None)),
    ]


def _metrics(model: Any) -> list[str]:
    compiled = getattr(model, "_compile_metrics", None)
    if compiled is None:
        return []
    given = [*(compiled._user_metrics or ()), *(compiled._user_weighted_metrics or ())]
    names = [_name(metric) for metric in keras.tree.flatten(given) if metric is not None]
    return [f"Keras' metrics ({', '.join(names)})"] if names else []


def _name(metric: Any) -> str:
    return str(getattr(metric, "name", None) or getattr(metric, "__name__", metric))


def _augmentation(model: keras.Model) -> list[str]:
    names = [x.name for x in model._flatten_layers() if isinstance(x, _AUGMENTATIONS)]
    return [f"Keras' augmentation ({', '.join(names)})"] if names else []


def _recurrent_dropout(model: keras.Model) -> list[str]:
    names = [
        x.name
        for x in model._flatten_layers()
        if isinstance(x, _K.RNN) and getattr(x.cell, "recurrent_dropout", False)
    ]
    return [
        f"Keras' recurrent dropout ({name}), which was off: Torch's layers have none"
        for name in names
    ]


def _averages(optimizer: Any) -> list[str]:
    if optimizer is None or not optimizer.use_ema:
        return []
    return ["the averaged weights that Keras' use_ema puts in place at the end of fit"]
