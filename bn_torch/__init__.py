"""The tutorial's networks in PyTorch and Lightning: an MLP, a CNN and an LSTM with batch norm.

```python
import lightning as L
import bn_torch

model = bn_torch.BinaryClassifier(bn_torch.build_mlp(batch_norm="after"))
data = bn_torch.CirclesDataModule(train=(x_train, y_train), test=(x_test, y_test))
L.Trainer(max_epochs=100).fit(model, data)
```

The files of the networks, of the data and of training have twins of the same name in `bn_keras`:
`diff -y bn_keras/mlp.py bn_torch/mlp.py` is the difference between the frameworks. Two files have
none: `module.py`, the LightningModule, and `norm.py`, batch normalization as Keras computes it.
"""

from bn_torch.cnn import build_cnn
from bn_torch.data import CirclesDataModule, PlannedSampler
from bn_torch.lstm import build_lstm
from bn_torch.mlp import build_mlp
from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from bn_torch.training import fit

__all__ = [
    "BiasedBatchNorm",
    "BinaryClassifier",
    "CirclesDataModule",
    "PlannedSampler",
    "build_cnn",
    "build_lstm",
    "build_mlp",
    "fit",
]
