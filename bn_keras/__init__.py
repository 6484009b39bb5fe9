"""The tutorial's networks in Keras 3: an MLP, a CNN and an LSTM with batch normalization.

```python
import bn_keras

model = bn_keras.build_mlp(batch_norm="after")
bn_keras.compile_model(model)
model.fit(x_train, y_train, validation_data=(x_test, y_test), epochs=100, batch_size=32)
```

The files of the networks and of training have twins of the same name in `bn_torch`:
`diff -y bn_keras/mlp.py bn_torch/mlp.py` is the difference between the frameworks.
"""

import os

# TensorFlow reads it once, on import: errors pass, notes on its build and its graphs do not.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from bn_keras.cnn import build_cnn
from bn_keras.data import PlannedBatches
from bn_keras.lstm import build_lstm
from bn_keras.mlp import build_mlp
from bn_keras.training import compile_model, fit

__all__ = [
    "PlannedBatches",
    "build_cnn",
    "build_lstm",
    "build_mlp",
    "compile_model",
    "fit",
]
