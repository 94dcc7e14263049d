"""The calcium network: which part of a crop around the root is the valve's calcium, at full resolution.

A threshold of HU cannot be right for a small and for a large deposit in the same picture: what the scanner has blurred
has no edge at one height. A network that has seen the same deposits sharp and blurred can take the blur back. It works
at half resolution, where convolutions are cheap; first and last layer see single voxels.
"""

from __future__ import annotations

import torch
from torch import nn

from .refiner import HalfResolutionUNet


class CalciumNet(HalfResolutionUNet):
    """The refiner's trunk with the head of calcium alone.

    ``image`` (B, 1, S, S, S) float32 = ``intensity.normalise(HU)``, S a multiple of 8 -> ``calc`` (B, 1, S, S, S)
    logits.

    Args:
        in_channels: 1; the heart's segmentation is not taken.
        channels: at half, a quarter and an eighth of the resolution.
    """

    def __init__(self, in_channels: int = 1, channels: tuple[int, int, int] = (24, 32, 40)) -> None:
        super().__init__(in_channels, channels, kernel=6, deepest=2)
        self.parts = nn.Conv3d(channels[0], 8, 3, padding=1)
        self.calc = nn.ConvTranspose3d(8, 1, 2, stride=2)  # a half voxel's eight, from as many channels
        # Calcium is one voxel in a thousand: start at sigmoid(-4.6) = 0.01 (Lin et al., ICCV 2017, section 4.1).
        with torch.no_grad():
            self.calc.bias.fill_(-4.6)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"calc": self.calc(self.parts(self.features(image)))}
