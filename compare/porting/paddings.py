"""How much Keras pads or crops along every axis, and whether Torch's padding comes to the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compare.conventions import Numbers

Settings = Mapping[str, Any]


def centred(keras: Settings, padding: Sequence[int]) -> bool:
    """Whether padding on both sides is what `same` means for a stride of one."""
    axes = zip(padding, keras["dilation"], keras["kernel_size"], strict=True)
    return all(2 * p == d * (k - 1) for p, d, k in axes)


def begins_alike(keras: Settings, padding: Sequence[int]) -> bool:
    """Whether a strided `same` may begin its padding as Torch does, along every axis."""
    for begin, totals in zip(padding, _totals(keras), strict=True):
        if all(total // 2 != begin for total in totals):
            return False
    return True


def _totals(keras: Settings) -> Iterator[list[int]]:
    """All that `same` may pad along each axis: one number where the size of the image is known."""
    known = keras["image_size"]
    axes = zip(keras["kernel_size"], keras["strides"], keras["dilation"], strict=True)
    for axis, (kernel, stride, dilation) in enumerate(axes):
        reach = dilation * (kernel - 1) + 1
        # TensorFlow pads as little as the size of the image, modulo the stride, asks for.
        sizes = range(reach, reach + stride) if known is None else [known[axis]]
        yield [max((-(-size // stride) - 1) * stride + reach - size, 0) for size in sizes]


def padded(keras: Settings) -> Numbers:
    """How to pad as `same` does; empty where the size of the image decides it."""
    totals = [set(total) for total in _totals(keras)]
    if any(len(total) > 1 for total in totals):
        return {}
    # The last axis comes first.
    ends = [(t // 2, t - t // 2) for (t,) in map(tuple, reversed(totals))]
    return {"padded": f"`F.pad(x, {tuple(amount for pair in ends for amount in pair)})`"}


def crops(keras: Settings) -> list[int]:
    """All that a transposed `same` crops along each axis; negative where it adds."""
    axes = zip(keras["kernel_size"], keras["strides"], keras["dilation"], strict=True)
    return [dilation * (kernel - 1) + 1 - stride for kernel, stride, dilation in axes]


def cropped(keras: Settings) -> Numbers:
    """The padding of a transposed convolution, and what to keep of its output."""
    totals = crops(keras)
    if min(totals) < 0:
        return {}
    kept = [":-1" if total % 2 else ":" for total in totals]
    return {"padding": tuple(t // 2 for t in totals), "crop": ", ".join(["...", *kept])}
