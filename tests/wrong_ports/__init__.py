"""Wrong ports, one of each convention that a check of two models can find."""

from wrong_ports.dropout import DROPOUT
from wrong_ports.layers import LAYERS
from wrong_ports.losses import LOSSES
from wrong_ports.optimizers import OPTIMIZERS
from wrong_ports.sequences import SEQUENCES
from wrong_ports.wrong import Wrong

WRONG: dict[str, Wrong] = {**LAYERS, **SEQUENCES, **DROPOUT, **LOSSES, **OPTIMIZERS}
"""Name of a convention → a port that has it wrong, and nothing else of which it would be told.

Behind a colon: another way to have it wrong, with another remedy.
"""
