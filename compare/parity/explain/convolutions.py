"""What explains a convolution's output: how Torch pads its image, or crops what it transposes.

Torch's output is computed again from what the layer received there, with Keras' settings but for
the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from compare.parity.explain.evidence import Array, Evidence, double, explains
from compare.trace import Layer, Trace


@dataclass(frozen=True)
class Window:
    """A kernel, dilated, that moves along one axis of an image.

    Attributes:
        length: Of the image.
        reach: Of the kernel.
        stride: Of the kernel.
    """

    length: int
    reach: int
    stride: int

    def places(self, before: int, behind: int) -> int:
        """How many places it has on an image that is padded before and behind."""
        return max((self.length + before + behind - self.reach) // self.stride + 1, 0)

    def needed(self, begin: int, size: int) -> int:
        """How much must be padded behind for so many places that begin before the image."""
        return max((size - 1) * self.stride + self.reach - self.length - begin, 0)

    @property
    def same(self) -> tuple[int, int]:
        """Where a `same` padding begins, and its places: an odd pixel is padded at the end."""
        size = -(-self.length // self.stride)
        return self.needed(0, size) // 2, size


Padding = tuple[tuple[int, int], ...]
"""Of every axis: how far before the image a kernel begins, and how many places it has."""


def windows(
    x: Array, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int] = ()
) -> list[Window]:
    """The windows along all axes of images, (n, …, channels)."""
    sizes = x.shape[1:-1]
    each = zip(sizes, kernel, strides, dilation or [1] * len(sizes), strict=True)
    return [Window(n, (k - 1) * d + 1, s) for n, k, s, d in each]


def at_every_place(
    x: Array, along: Sequence[Window], offset: Sequence[int], padding: Padding, fill: float = 0.0
) -> Array:
    """The pixel at an offset within a window, at all places of the window.

    Args:
        x: Images, (n, …, channels).
        along: A window per axis.
        offset: Within the window, dilation counted.
        padding: Along every axis.
        fill: What is padded.
    """
    pads = [(b, w.needed(b, size)) for w, (b, size) in zip(along, padding, strict=True)]
    image = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill) if np.any(pads) else x
    taken = zip(offset, along, padding, strict=True)
    slices = [slice(o, o + w.stride * (size - 1) + 1, w.stride) for o, w, (_, size) in taken]
    return image[(slice(None), *slices)]


def keras_padding(along: Sequence[Window], padding: str) -> Padding:
    """What Keras makes of `"same"`, `"valid"` or `"causal"`."""
    if padding == "same":
        return tuple(window.same for window in along)
    before = [window.reach - 1 if padding == "causal" else 0 for window in along]
    return tuple((b, w.places(b, 0)) for b, w in zip(before, along, strict=True))


def _weights(trace: Trace, layer: Layer) -> tuple[Array, Array]:
    """A layer's kernel, and its bias, zero where it has none."""
    start = f"initial/{layer['name']}"
    return double(trace[f"{start}/kernel"]), double(trace.get(f"{start}/bias", np.zeros(())))


def _windows(x: Array, layer: Layer) -> list[Window]:
    settings, kernel = layer["settings"], layer["tensors"]["kernel"][:-2]
    return windows(x, kernel, settings["strides"], settings["dilation"])


def _convolved(x: Array, layer: Layer, trace: Trace, padding: Padding) -> Array:
    """What a layer of a trace makes of images."""
    kernel, bias = _weights(trace, layer)
    if layer["kind"] == "depthwise_conv":
        kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    groups, along, output = layer["settings"]["groups"], _windows(x, layer), bias
    for offset in np.ndindex(*kernel.shape[:-2]):
        dilated = [o * d for o, d in zip(offset, layer["settings"]["dilation"], strict=True)]
        seen = at_every_place(x, along, dilated, padding)
        parts = (np.split(a, groups, axis=-1) for a in (seen, kernel[offset]))
        output = output + np.concatenate([a @ b for a, b in zip(*parts, strict=True)], axis=-1)
    return output


@explains(4)
def _padded_otherwise(e: Evidence) -> Sequence[str]:
    """A convolution whose image is padded otherwise than `same` pads it.

    A separable convolution is two layers, and what passes between them may not be known.
    """
    start = f"{e.check.layer}/"
    layers = [layer for layer in e.keras.layers if f"{layer['name']}/".startswith(start)]
    if not {layer["kind"] for layer in layers} <= {"conv", "depthwise_conv"}:
        return ()
    image = f"training/{layers[0]['name']}/input"
    keras, torch = e.failed()

    def returned(x: Array, trace: Trace, ways: Sequence[Padding | None]) -> Array:
        for layer, way in zip(layers, ways, strict=True):
            own = keras_padding(_windows(x, layer), layer["settings"]["padding"])
            x = _convolved(x, layer, trace, way or own)
        return x

    if not e.known(returned(double(e.keras[image]), e.keras, [None] * len(layers)), keras):
        return ()
    x = double(e.torch[image])
    for place, layer in enumerate(layers):
        along = _windows(x, layer)  # The second of two layers does not pad.
        for way in _torch_paddings(e, along, layer):
            ways = [way if other == place else None for other in range(len(layers))]
            # One sample tells most ways from the right one.
            few = e.close(returned(x[:1], e.torch, ways), torch[:1])
            if few and e.holds(returned(x, e.torch, ways)):
                strided = any(window.stride > 1 for window in along)
                return ("same-padding-stride" if strided else "same-padding-size",)
    return ()


def _torch_paddings(e: Evidence, along: Sequence[Window], layer: Layer) -> Iterator[Padding]:
    """How Torch may pad an image for which Keras' padding is `same`."""
    if layer["settings"]["padding"] != "same":
        return
    keras = keras_padding(along, "same")
    padding = _partner(e, layer)["settings"].get("padding", "valid")
    ways: list[Padding] = []
    if not isinstance(padding, str):
        ways = [tuple((p, w.places(p, p)) for p, w in zip(padding, along, strict=True))]
    elif padding == "valid" and any(window.stride > 1 for window in along):
        # It may be padded before the layer, whose image is then read without its border.
        begins = product(*(range(window.reach) for window in along))
        ways = [tuple((b, n) for b, (_, n) in zip(each, keras, strict=True)) for each in begins]
    yield from (way for way in ways if way != keras)


def _partner(e: Evidence, layer: Layer) -> Layer:
    return next(other for other in e.torch.layers if other["name"] == layer["name"])


@explains(4, "transposed-padding", kinds=["conv_transpose"])
def _cropped_otherwise(e: Evidence) -> bool:
    """A transposed convolution of which Torch crops more at the beginning than Keras."""
    layer = e.layer
    theirs = _partner(e, layer)["settings"]
    crops, added = theirs["padding"], theirs["output_padding"]
    keras, _ = e.failed()
    image = f"training/{layer['name']}/input"
    if layer["settings"]["padding"] != "same" or isinstance(crops, str):
        return False
    full = _transposed(double(e.keras[image]), layer, e.keras)
    sizes = keras.shape[1:-1]
    begins = [max(n - size, 0) // 2 for n, size in zip(full.shape[1:-1], sizes, strict=True)]
    bias = _weights(e.keras, layer)[1]
    if begins == list(crops) or not e.known(_cut(full, begins, sizes) + bias, keras):
        return False
    full = _transposed(double(e.torch[image]), layer, e.torch)
    larger = [n - 2 * p + a for n, p, a in zip(full.shape[1:-1], crops, added, strict=True)]
    return e.holds(_cut(full, crops, larger) + _weights(e.torch, layer)[1])


def _transposed(x: Array, layer: Layer, trace: Trace) -> Array:
    """All that a transposed convolution spreads, without its bias."""
    kernel, settings = _weights(trace, layer)[0], layer["settings"]
    steps = list(zip(settings["strides"], settings["dilation"], strict=True))
    axes = zip(x.shape[1:-1], kernel.shape, steps, strict=False)
    size = [(n - 1) * s + (k - 1) * d + 1 for n, k, (s, d) in axes]
    output = np.zeros((len(x), *size, kernel.shape[-2]))
    for offset in np.ndindex(*kernel.shape[:-2]):
        each = zip(offset, x.shape[1:-1], steps, strict=True)
        places = [slice(o * d, o * d + (n - 1) * s + 1, s) for o, n, (s, d) in each]
        output[(slice(None), *places)] += x @ kernel[offset].T
    return output


def _cut(full: Array, begins: Sequence[int], sizes: Sequence[int]) -> Array:
    """So many pixels from where each axis begins; zeros behind the end."""
    axes = list(zip(full.shape[1:-1], begins, sizes, strict=True))
    padded = np.pad(full, [(0, 0), *((0, max(b + size - n, 0)) for n, b, size in axes), (0, 0)])
    return padded[(slice(None), *(slice(b, b + size) for _, b, size in axes))]
