"""A residual network of bottleneck blocks: 50 layers and 25.6 million parameters by default."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm

_EXPANSION = 4
"""A block returns four times as many channels as it computes with."""


class ResNet(nn.Module):
    """Residual blocks of three convolutions behind a 7×7 one, and a logit per class.

    The first block of every stage but the first halves the image, in its first convolution.

    Args:
        blocks: Blocks per stage; the channels double from stage to stage.
        width: Channels within a block of the first stage.
        classes: Number of classes.

    Shape:
        - Input: (N, 3, H, W): channel, height, width.
        - Output: (N, classes), logits; their softmax is the probability of every class.

    Reference:
        He et al., 2015, https://arxiv.org/abs/1512.03385
    """

    def __init__(self, blocks: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.stem = _normed(3, width, 7, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1)
        stages, received = [], width
        for stage, count in enumerate(blocks):
            channels, stride = width * 2**stage, 2 if stage else 1
            first = Bottleneck(received, channels, stride=stride)
            received = _EXPANSION * channels
            rest = [Bottleneck(received, channels) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(received, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.max_pool(self.relu(self.stem(x)))
        return self.head(self.stages(x).mean((2, 3)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, and a shortcut: `x` itself if it has the shape, else 1×1.

    Args:
        received: Channels of the input.
        channels: Channels within; four times as many are returned.
        stride: Of the first convolution and of the shortcut.

    Shape:
        - Input: (N, received, H, W).
        - Output: (N, 4 · channels, H / stride, W / stride).
    """

    def __init__(self, received: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        returned = _EXPANSION * channels
        self.reduce = _normed(received, channels, 1, stride=stride)
        self.within = _normed(channels, channels, 3)
        self.expand = _normed(channels, returned, 1)
        same = stride == 1 and received == returned
        self.shortcut = nn.Identity() if same else _normed(received, returned, 1, stride=stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.within(self.relu(self.reduce(x))))
        return self.relu(self.expand(y) + self.shortcut(x))


def _normed(received: int, channels: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution without a bias, which the batch normalization behind it would take off."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        received, channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    layers["norm"] = BiasedBatchNorm(channels, eps=1e-3, momentum=1.0 - 0.99)
    return nn.Sequential(layers)


def build_resnet(
    blocks: Sequence[int] = (3, 4, 6, 3), *, width: int = 64, classes: int = 1000
) -> ResNet:
    """The twin of `bn_keras.build_resnet`; arguments as in `ResNet`."""
    return ResNet(blocks, width, classes)


def build_resnet50() -> ResNet:
    """The network with 50 layers for 1,000 classes; see `build_resnet`."""
    return build_resnet()
