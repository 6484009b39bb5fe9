"""Known port bugs beyond the package's one per rung; `test_bugs.py` injects every one of them."""

from bugs import forward, structure_and_data, training, trajectory, weights
from bugs.register import BUGS

__all__ = ["BUGS", "forward", "structure_and_data", "training", "trajectory", "weights"]
