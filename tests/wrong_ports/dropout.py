"""Wrong ports of dropout."""

from keras import layers as K
from torch import nn
from torch.nn import functional as F

from wrong_ports.wrong import Computed, Wrong, as_keywords, as_value, compiled, mlp, port, value

DROPPED = mlp([lambda: K.Dropout(0.5)])


def three(*middle):
    """Three layers, with something before the last."""
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), *middle, nn.Linear(4, 2))


DROPOUT = {
    "dropout-rate": as_keywords(DROPPED, lambda **o: port(nn.Dropout(**o)), {"p": 0.25}),
    "dropout-kind": as_value(DROPPED, port, nn.AlphaDropout(0.5)),
    "dropout-in-eval": Wrong(
        DROPPED,
        lambda: port(Computed(lambda self, x: F.dropout(x, 0.5))),
        remedied=lambda code: {
            "module": lambda: port(Computed(lambda self, x: value(code, x=x, p=0.5, self=self)))
        },
    ),
    "dropout-missing": as_value(DROPPED, port, nn.Identity()),
    "dropout-missing: in Keras, and there in Torch": as_value(mlp(), port, nn.Dropout(0.5)),
    "dropout-place": Wrong(
        lambda: compiled(
            K.Dense(4, name="a"), K.Dropout(0.5), K.Dense(4, name="middle"), K.Dense(2, name="b")
        ),
        lambda: three(nn.Dropout(0.5)),
        # The remedy says "between a and middle".
        remedied=lambda *codes: {
            "module": lambda: nn.Sequential(
                nn.Linear(5, 4), *map(value, codes), nn.Linear(4, 4), nn.Linear(4, 2)
            )
        },
    ),
}
