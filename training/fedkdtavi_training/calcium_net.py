"""The calcium network: which part of a crop around the root is the valve's calcium, at full resolution.

A threshold of HU cannot be right for a small and for a large deposit in the same picture: what the scanner has blurred
has no edge at one height. A network that has seen the same deposits sharp and blurred can take the blur back. It works
at half resolution, where convolutions are cheap; first and last layer see single voxels.
"""

from __future__ import annotations

import torch
from torch import nn

from .refiner import blocks


class CalciumNet(nn.Module):
    """A residual UNet of three levels from half resolution down, with the head of calcium alone.

    ``image`` (B, 1, S, S, S) float32 = ``intensity.normalise(HU)``, S a multiple of 8 -> ``calc`` (B, 1, S, S, S)
    logits.

    Args:
        in_channels: 1; the heart's segmentation is not taken.
        channels: at half, a quarter and an eighth of the resolution.
    """

    def __init__(self, in_channels: int = 1, channels: tuple[int, int, int] = (24, 32, 40)) -> None:
        super().__init__()
        self.arguments = {"in_channels": in_channels, "channels": list(channels)}
        first, second, third = channels
        self.stem = nn.Conv3d(in_channels, first, 6, stride=2, padding=2)  # a half voxel's eight, and their neighbours
        self.down_1 = blocks(first, 2)
        self.to_2 = nn.Conv3d(first, second, 2, stride=2)
        self.down_2 = blocks(second, 2)
        self.to_3 = nn.Conv3d(second, third, 2, stride=2)
        self.deepest = blocks(third, 2)
        self.from_3 = nn.ConvTranspose3d(third, second, 2, stride=2)
        self.up_2 = blocks(second, 1)
        self.from_2 = nn.ConvTranspose3d(second, first, 2, stride=2)
        self.up_1 = blocks(first, 2)
        self.parts = nn.Conv3d(first, 8, 3, padding=1)
        self.calc = nn.ConvTranspose3d(8, 1, 2, stride=2)  # a half voxel's eight, from as many channels
        # Calcium is one voxel in a thousand: start at sigmoid(-4.6) = 0.01 (Lin et al., ICCV 2017, section 4.1).
        with torch.no_grad():
            self.calc.bias.fill_(-4.6)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.down_1(nn.functional.leaky_relu(self.stem(image), 0.01))
        second = self.down_2(self.to_2(first))
        x = self.deepest(self.to_3(second))
        x = self.up_2(self.from_3(x) + second)
        x = self.up_1(self.from_2(x) + first)
        return {"calc": self.calc(self.parts(x))}
