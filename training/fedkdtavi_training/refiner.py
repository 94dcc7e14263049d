"""The refiner: looks once more at the landmarks, in a crop that lies as the annulus plane does.

The student finds the root in any pose, at half resolution with 12 channels. Once it is found its pose is known:
the crop is turned so that the plane of the hinge points lies flat and the right cusp's hinge point is where it always
is (:func:`fedkdtavi_core.geometry.aligned_grid`). What is left is a small question that always looks alike, for which
a plain convolutional network with twice as many channels is enough; spatial transformers in front of a network do
the same (Jaderberg et al., NeurIPS 2015).
"""

from __future__ import annotations

import torch
from torch import nn

from fedkdtavi_core import schema


class _Residual(nn.Module):
    """Two 3x3x3 convolutions with affine instance norm, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.InstanceNorm3d(channels, affine=True)
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.InstanceNorm3d(channels, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = nn.functional.leaky_relu(self.first_norm(self.first(x)), 0.01)
        return nn.functional.leaky_relu(x + self.second_norm(self.second(inner)), 0.01)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels) for _ in range(count)))


class HalfResolutionUNet(nn.Module):
    """A residual UNet of three levels that begins and ends at half resolution, of refiner and calcium network.

    Args:
        in_channels: of the image.
        channels: at half, a quarter and an eighth of the resolution.
        kernel: of the stem, even: half voxel h covers the voxels 2 h and 2 h + 1, and kernel / 2 - 1 on either side.
        deepest: residual blocks at an eighth of the resolution.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], kernel: int, deepest: int) -> None:
        super().__init__()
        self.arguments = {"in_channels": in_channels, "channels": list(channels)}
        first, second, third = channels
        self.stem = nn.Conv3d(in_channels, first, kernel, stride=2, padding=kernel // 2 - 1)
        self.down_1 = _blocks(first, 2)
        self.to_2 = nn.Conv3d(first, second, 2, stride=2)
        self.down_2 = _blocks(second, 2)
        self.to_3 = nn.Conv3d(second, third, 2, stride=2)
        self.deepest = _blocks(third, deepest)
        self.from_3 = nn.ConvTranspose3d(third, second, 2, stride=2)
        self.up_2 = _blocks(second, 1)
        self.from_2 = nn.ConvTranspose3d(second, first, 2, stride=2)
        self.up_1 = _blocks(first, 2)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, S, S, S) -> (B, channels[0], S/2, S/2, S/2); S a multiple of 8."""
        first = self.down_1(nn.functional.leaky_relu(self.stem(image), 0.01))
        second = self.down_2(self.to_2(first))
        x = self.deepest(self.to_3(second))
        x = self.up_2(self.from_3(x) + second)
        return self.up_1(self.from_2(x) + first)


class Refiner(HalfResolutionUNet):
    """The trunk with the landmark heads alone.

    ``image`` (B, 1, S, S, S) float32 = ``intensity.normalise(HU)``, S a multiple of 8 -> ``hps`` (B, 5, S/2, ...) and
    ``ms`` (B, 2, S/2, ...) logits.

    Args:
        in_channels: 1; the heart's segmentation is not taken.
        channels: at half, a quarter and an eighth of the resolution.
    """

    def __init__(self, in_channels: int = 1, channels: tuple[int, int, int] = (24, 48, 64)) -> None:
        super().__init__(in_channels, channels, kernel=4, deepest=3)
        self.heads = nn.ModuleDict(
            {head: nn.Conv3d(channels[0], len(schema.HEADS[head]), 1) for head in schema.LANDMARK_HEADS}
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(image)
        return {head: layer(features) for head, layer in self.heads.items()}
