"""Traces of made-up arrays."""

from compare.traces import TraceWriter


def written(folder, arrays, layers=()):
    """A trace that holds some arrays."""
    writer = TraceWriter(folder)
    for name, array in arrays.items():
        writer(name, array)
    return writer.close(list(layers))
