"""What TensorBoard would show: event files read back."""

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray


def curves(folder):
    """Tag → its (step, value), in the order in which they were written, from one event file."""
    (path,) = folder.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    found = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            point = event.step, make_ndarray(value.tensor).item()
            found.setdefault(value.tag, []).append(point)
    return found
