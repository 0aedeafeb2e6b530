"""ResNet-50 as a grid encoder in PyTorch (He et al., 2016, arXiv:1512.03385).

Batch normalisation is always folded into the convolutions, so every convolution has a bias and there are no
statistics to keep. Both stride placements exist: the original (v1, the stride in the first 1x1 convolution of a
stage) and torchvision's v1.5 (in the 3x3). Knows nothing of files; `encoder_weights` fills it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 4
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Images that go through the stem and the first stages together on a CPU: their maps still fit its cache (more than
# twice as fast as 48 at once, measured with bfloat16).
SLICE = 8


@dataclass(frozen=True)
class EncoderConfig:
    """What distinguishes one ResNet from another.

    `stride_in`: "conv1" (v1) or "conv2" (v1.5). `pool`: the padding of the stem's max-pool, "right-bottom" (as in
    the Caffe original's ceil mode) or "symmetric" (torchvision). `width`: channels of the stem, 64 in ResNet-50;
    tests train a narrow one. `blocks`: bottleneck blocks in each stage.
    """

    stride_in: str = "conv1"
    pool: str = "right-bottom"
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    @property
    def channels(self) -> int:
        """Channels of the last feature map: 2048 in ResNet-50."""
        return self.stage_channels(STAGES)

    def stage_channels(self, stage: int) -> int:
        """Channels that stage `stage` (1..4) puts out."""
        return int(self.width * 2 ** (stage + 1))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and `torch.load(weights_only=True)` give them back."""
        return {**asdict(self), "blocks": list(self.blocks)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderConfig:
        return cls(
            stride_in=str(values["stride_in"]),
            pool=str(values["pool"]),
            width=int(values["width"]),
            blocks=tuple(int(count) for count in values["blocks"]),
        )


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int, stride_in: str) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "conv1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=first)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=second, padding=1)
        self.conv3 = nn.Conv2d(channels, channels * 4, 1)
        self.downsample: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels * 4:
            self.downsample = nn.Conv2d(in_channels, channels * 4, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.conv1(x))
        y = functional.relu(self.conv2(y))
        return functional.relu(self.conv3(y) + shortcut)


class ResNet50(nn.Module):
    """Images in, the grid of the last stage out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.width, 7, stride=2, padding=3)
        in_channels = config.width
        for stage, count in enumerate(config.blocks, start=1):
            channels = config.width * 2 ** (stage - 1)
            blocks = []
            for block in range(count):
                stride = 2 if block == 0 and stage > 1 else 1
                blocks.append(Bottleneck(in_channels, channels, stride, config.stride_in))
                in_channels = channels * 4
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        # Buffers, so that they follow the module's device and land in the exported graph, but not in checkpoints.
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        self.register_buffer("pixel_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("pixel_shift", -mean / std, persistent=False)

    def stage(self, number: int) -> nn.Module:
        return self.get_submodule(f"layer{number}")

    def stage_parameters(self, number: int) -> Iterator[nn.Parameter]:
        """Parameters of stage 1..4; 0 is the stem."""
        return (self.conv1 if number == 0 else self.stage(number)).parameters()

    def forward_until(self, images: Tensor, last_stage: int) -> Tensor:
        """Stem and stages 1..last_stage.

        Args:
            images: uint8 or float 0..255, shape [N, H, W, 3], RGB.
            last_stage: 1..4.
        Returns:
            float, shape [N, C, h, w].
        """
        scale, shift = self.get_buffer("pixel_scale"), self.get_buffer("pixel_shift")
        x = images.permute(0, 3, 1, 2).to(scale.dtype) * scale + shift
        x = functional.relu(self.conv1(x))
        # After a ReLU, padding with zeros is the same as padding with minus infinity.
        if self.config.pool == "right-bottom":
            x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, stride=2)
        else:
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for number in range(1, last_stage + 1):
            x = self.stage(number)(x)
        return x

    def forward_from(self, maps: Tensor, after_stage: int) -> Tensor:
        """Stages after_stage+1..4 over the maps that `forward_until(images, after_stage)` gave."""
        for number in range(after_stage + 1, STAGES + 1):
            maps = self.stage(number)(maps)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 [N, H, W, 3] to grid features float [N, h*w, channels], row by row."""
        return grid(self.forward_until(images, STAGES))


def grid(maps: Tensor) -> Tensor:
    """Feature maps [N, C, h, w] to grid features [N, h*w, C]."""
    return maps.flatten(2).transpose(1, 2)
