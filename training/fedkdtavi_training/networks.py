"""The networks: coarse (where is the root), student and teacher (landmarks and calcium in a crop), refiner, calcium.

All take ``image`` (B, 1, X, Y, Z) float32 = ``intensity.normalise(HU)`` and return a dict of named logits, in the
layout of the bundle: coarse ``heart`` (B, 8, ...) and ``root`` (B, 1, ...) at input resolution; student and teacher
``hps`` (B, 5, X/2, ...), ``ms`` (B, 2, X/2, ...) at half resolution over the same field of view, and ``calc``
(B, 1, X, Y, Z). The refiner (:mod:`.refiner`) has the landmark heads alone, the calcium network (:mod:`.calcium_net`)
``calc`` alone.

Speed on one CPU core decides how much can be learned: convolutions take PyTorch's fast path only in the
channels-last layout and with at least two samples a batch (a 3x3x3 convolution with 12 channels on 32^3 costs 0.103 s
a sample forward and backward with one sample, 0.0095 s with two), so training uses both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedkdtavi_core import schema
from fedkdtavi_core.atomic import replace_file

from .calcium_net import CalciumNet
from .config import EXTRA_HEADS
from .refiner import Refiner

CROP_HEADS: dict[str, int] = {head: len(ids) for head, ids in schema.HEADS.items()}
LANDMARK_HEADS: tuple[str, ...] = schema.LANDMARK_HEADS


def extras(arguments: dict[str, Any]) -> dict[str, bool]:
    """The extra heads among a network's arguments; nothing for networks without, whose arguments are as ever."""
    return {name: True for name in EXTRA_HEADS if arguments.get(name)}


def sees_heart(arguments: dict[str, Any]) -> bool:
    """Is the heart's segmentation a second input channel of the network with these arguments?"""
    return arguments.get("in_channels", 1) == 2


class CropHeads(nn.Module):
    """The named heads on top of a trunk, as (half-resolution features, image at full resolution) -> logits.

    Landmarks are read at half resolution (2.5 mm; the read-out is sub-voxel, and this saves the two decoder levels
    that cost most). Calcium needs full resolution: its features are brought up once, by a transposed convolution, and
    meet the image itself.

    ``heart`` and ``coronary`` are one 1x1x1 convolution each on the half-resolution features and there only if asked
    for; the coronary logit is brought to full resolution by linear interpolation, so that only the last layer learns.
    """

    def __init__(self, features: int, in_channels: int = 1, *, heart: bool = False, coronary: bool = False) -> None:
        super().__init__()
        self.hps = nn.Conv3d(features, CROP_HEADS["hps"], 1)
        self.ms = nn.Conv3d(features, CROP_HEADS["ms"], 1)
        self.calc_up = nn.ConvTranspose3d(features, 8 - in_channels, 2, stride=2)
        self.calc_mix = nn.Conv3d(8, 8, 3, padding=1)
        self.calc = nn.Conv3d(8, CROP_HEADS["calc"], 1)
        # Calcium is one voxel in a thousand: start at sigmoid(-4.6) = 0.01 (Lin et al., ICCV 2017, section 4.1).
        with torch.no_grad():
            self.calc.bias.fill_(-4.6)
        # After all others, so that their first weights are the same with and without these.
        self.heart = nn.Conv3d(features, len(schema.HEART_CLASSES), 1) if heart else None
        self.coronary = nn.Conv3d(features, 1, 1) if coronary else None
        if self.coronary is not None:
            with torch.no_grad():
                self.coronary.bias.fill_(-4.6)

    def forward(self, features: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        full = torch.cat([self.calc_up(features), image], dim=1)
        full = nn.functional.leaky_relu(self.calc_mix(nn.functional.leaky_relu(full, 0.01)), 0.01)
        outputs = {"hps": self.hps(features), "ms": self.ms(features), "calc": self.calc(full)}
        if self.heart is not None:
            outputs["heart"] = self.heart(features)
        if self.coronary is not None:
            logit = self.coronary(features)
            outputs["coronary"] = nn.functional.interpolate(logit, scale_factor=2, mode="trilinear")
        return outputs


class Student(nn.Module):
    """MONAI's SwinUNETR up to its half-resolution decoder level, with the named heads.

    Args:
        in_channels: 1, or 2 with a heart segmentation as second channel.
        feature_size: width of the first level, a multiple of 12.
        window_size: attention window in tokens.
        num_heads: attention heads per stage. One head of 12 channels at the first stage (MONAI's default is three of 4)
            makes the attention matrices a third as large; they are what the transformer's time goes into.
        depths: transformer blocks per stage; every second one has shifted windows.
    """

    def __init__(
        self,
        in_channels: int = 1,
        feature_size: int = 12,
        window_size: int = 4,
        num_heads: tuple[int, ...] = (1, 2, 4, 8),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        heart: bool = False,
        coronary: bool = False,
    ) -> None:
        from monai.networks.nets import SwinUNETR

        super().__init__()
        self.arguments = {
            "in_channels": in_channels,
            "feature_size": feature_size,
            "window_size": window_size,
            "num_heads": list(num_heads),
            "depths": list(depths),
            **extras({"heart": heart, "coronary": coronary}),
        }
        self.backbone = SwinUNETR(
            in_channels=in_channels,
            out_channels=1,
            feature_size=feature_size,
            window_size=window_size,
            num_heads=tuple(num_heads),
            depths=tuple(depths),
            spatial_dims=3,
        )
        # The full-resolution level is not used (see CropHeads): without parameters it cannot be mistaken for trained.
        for unused in ("encoder1", "decoder1", "out"):
            setattr(self.backbone, unused, nn.Identity())
        self.heads = CropHeads(feature_size, in_channels, heart=heart, coronary=coronary)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, X, Y, Z) -> (B, feature_size, X/2, Y/2, Z/2); X, Y, Z multiples of 32, at least 64."""
        net = self.backbone
        hidden = net.swinViT(image, net.normalize)
        x = net.decoder5(net.encoder10(hidden[4]), hidden[3])
        x = net.decoder4(x, net.encoder4(hidden[2]))
        x = net.decoder3(x, net.encoder3(hidden[1]))
        return net.decoder2(x, net.encoder2(hidden[0]))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.heads(self.features(image), image)


class Teacher(nn.Module):
    """A plain residual UNet with the same heads; its half-resolution features come from a strided convolution."""

    def __init__(
        self,
        in_channels: int = 1,
        channels: tuple[int, ...] = (8, 16, 32, 64, 128),
        heart: bool = False,
        coronary: bool = False,
    ) -> None:
        super().__init__()
        self.arguments = {
            "in_channels": in_channels,
            "channels": list(channels),
            **extras({"heart": heart, "coronary": coronary}),
        }
        self.backbone = _unet(in_channels, channels[0], channels, norm="INSTANCE")
        self.down = nn.Conv3d(channels[0], 2 * channels[0], 2, stride=2)
        self.heads = CropHeads(2 * channels[0], in_channels, heart=heart, coronary=coronary)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, X, Y, Z) -> (B, 2 * channels[0], X/2, Y/2, Z/2)."""
        return nn.functional.leaky_relu(self.down(self.backbone(image)), 0.01)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.heads(self.features(image), image)


class Unetr(nn.Module):
    """MONAI's UNETR up to its half-resolution decoder level, with the named heads; a student of another kind.

    Hatamizadeh et al., WACV 2022. Its place embeddings fit one crop size only.

    Args:
        in_channels: 1, or 2 with a heart segmentation as second channel.
        img_size: side of the crop in voxels, a multiple of 16.
        feature_size: width of the unused first level; the features have twice as many channels.
        hidden_size: width of a token, a multiple of ``num_heads``.
        mlp_dim: width between the two layers of a block.
        num_heads: attention heads.
    """

    def __init__(
        self,
        in_channels: int = 1,
        img_size: int = 64,
        feature_size: int = 8,
        hidden_size: int = 144,
        mlp_dim: int = 288,
        num_heads: int = 6,
        heart: bool = False,
        coronary: bool = False,
    ) -> None:
        from monai.networks.nets import UNETR

        super().__init__()
        sizes = {
            "img_size": img_size,
            "feature_size": feature_size,
            "hidden_size": hidden_size,
            "mlp_dim": mlp_dim,
            "num_heads": num_heads,
        }
        self.arguments = {"in_channels": in_channels, **sizes, **extras({"heart": heart, "coronary": coronary})}
        self.backbone = UNETR(in_channels=in_channels, out_channels=1, spatial_dims=3, **sizes)
        for unused in ("encoder1", "decoder2", "out"):  # as in the other student: nothing untrained is carried along
            setattr(self.backbone, unused, nn.Identity())
        self.heads = CropHeads(2 * feature_size, in_channels, heart=heart, coronary=coronary)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, S, S, S) -> (B, 2 * feature_size, S/2, S/2, S/2); S is ``img_size``."""
        net = self.backbone
        x, hidden = net.vit(image.contiguous())
        volumes = [net.proj_feat(tokens.contiguous()) for tokens in (hidden[3], hidden[6], hidden[9], x)]
        x = net.decoder5(volumes[3], net.encoder4(volumes[2]))
        x = net.decoder4(x, net.encoder3(volumes[1]))
        return net.decoder3(x, net.encoder2(volumes[0]))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.heads(self.features(image), image)


class Coarse(nn.Module):
    """A residual UNet over the whole CT at 4 mm: heart classes, and where the aortic root is (if it is there).

    Affine instance norm. Dimensions must be multiples of 16.
    """

    def __init__(self, channels: tuple[int, ...] = (8, 16, 32, 64, 128)) -> None:
        super().__init__()
        self.arguments = {"channels": list(channels)}
        self.backbone = _unet(1, len(schema.HEART_CLASSES) + 1, channels, norm=("INSTANCE", {"affine": True}))
        # A root is one voxel in a thousand: start at sigmoid(-4.6) = 0.01 (Lin et al., ICCV 2017, section 4.1).
        last = [module for module in self.backbone.modules() if isinstance(module, nn.Conv3d)][-1]
        with torch.no_grad():
            last.bias[-1] = -4.6

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.backbone(image)
        classes = len(schema.HEART_CLASSES)
        return {"heart": out[:, :classes], "root": out[:, classes:]}


NETWORKS: dict[str, type[nn.Module]] = {
    "coarse": Coarse,
    "student": Student,
    "teacher": Teacher,
    "unetr": Unetr,
    "refiner": Refiner,
    "calcium": CalciumNet,
}


def build(task: str, arguments: dict[str, Any] | None = None, *, seed: int = 0) -> nn.Module:
    """A new network for ``task`` with weights drawn from ``seed`` (on the CPU, channels-last)."""
    torch.manual_seed(seed)
    return NETWORKS[task](**(arguments or {})).to(memory_format=torch.channels_last_3d)


def save(network: nn.Module, task: str, path: Path, metadata: dict[str, Any] | None = None) -> None:
    """Write weights as safetensors, whole or not at all; task, arguments and ``metadata`` go into the header as JSON.

    Raises OSError.
    """
    from .tensor_file import to_bytes

    header = {"task": task, "arguments": json.dumps(network.arguments), "metadata": json.dumps(metadata or {})}
    replace_file(path, to_bytes(network.state_dict(), header))


def load(path: Path) -> tuple[nn.Module, str, dict[str, Any]]:
    """The network of a file written by :func:`save`, in evaluation mode: (network, task, metadata).

    fp16 weights are widened to float32. Raises ValueError naming the file when it is not one of ours or does not fit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); give weights written by this project") from error
    if header.get("task") not in NETWORKS:
        raise ValueError(f"{path} does not say which network it holds; give weights written by `fedkdtavi train`")
    network = build(header["task"], json.loads(header["arguments"]))
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its own network description: {error}") from error
    return network.eval(), header["task"], json.loads(header.get("metadata", "{}"))


def _unet(in_channels: int, out_channels: int, channels: tuple[int, ...], norm: Any) -> nn.Module:
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
        norm=norm,
    )
