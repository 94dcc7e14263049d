"""One validated file per experiment: JSON, every key known, saved beside the results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from fedkdtavi_core.errors import UsageError

from . import architecture

# Heads that a network has only when asked for: the heart's classes (half resolution), the coronary arteries (full).
EXTRA_HEADS: tuple[str, ...] = ("heart", "coronary")
Optimizer = Literal["adamw", "muon"]
LARGEST_CROP = 256  # voxels along a side: more fill a site's memory
FINEST_MM = 0.4  # no CT is finer, and crops at 0.01 mm would fill a site's memory
LOOK = (
    "voxel size (mm) of the closer look; crops cached that fine are shown at it, and at loss.spacing_mm, too, where "
    "they are large enough"
)


FINE_ENOUGH = 1.05  # a crop cached at up to so many times the closer look's voxel size is fine enough for it
ROOMY = 1.2  # a cached crop's side over the network's, at least, to be turned and shifted in


Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def without_the_usual(dumped: dict[str, Any], **further: Any) -> dict[str, Any]:
    """So that the digests of usual runs are what they were before there was another device, look, scanner or
    optimiser; ``further``: what else is usual in this model alone."""
    usual = {
        "device": "cpu", "closer_look_mm": None, "scanner": 0.0, "voxels": 0.0, "optimizer": "adamw",
        "pseudo_teachers": None, **further,
    }  # fmt: skip
    return {key: value for key, value in dumped.items() if key not in usual or value != usual[key]}


class LossConfig(_Strict):
    """Weights of the loss's parts."""

    hps: float = Field(1.0, ge=0)
    ms: float = Field(0.4, ge=0)  # two points beside five
    calc: float = Field(0.5, ge=0)
    distance: float = Field(0.1, ge=0, description="per mm of soft-argmax error, beside 1 for the cross-entropy")
    sigma_mm: float = Field(2.2, gt=0, description="of the landmarks' Gaussian targets")
    spacing_mm: float = Field(1.25, ge=FINEST_MM, description="voxel size of the network's input")
    heart: float = Field(1.0, ge=0)
    root: float = Field(1.0, ge=0)
    coronary: float = Field(1.0, ge=0)
    calc_entropy: float = Field(10.0, ge=0, description="calcium: of the cross-entropy, beside 1 for the Dice")
    calc_dice: Literal["batch", "sample"] = Field(
        "batch", description="calcium's Dice over all samples of a batch, where large deposits decide; or of each"
    )
    recipe: Literal["heatmaps", "spheres"] = Field("heatmaps", description="spheres: as the published system")

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is usual and was added later, so that the digests of runs are what they were before."""
        usual = {"recipe": "heatmaps", "coronary": 1.0, "calc_entropy": 10.0, "calc_dice": "batch"}
        return {key: value for key, value in dump(self).items() if key not in usual or value != usual[key]}


class AugmentConfig(_Strict):
    """How far a sample may depart from its phantom. Mirroring is not offered: it would swap left and right."""

    rotation_deg: float = Field(20.0, ge=0)
    scale: float = Field(0.2, ge=0, lt=1)
    shear: float = Field(0.08, ge=0, lt=1, description="SD of each shear; leans the root against its own hinge plane")
    elastic_mm: float = Field(2.0, ge=0)
    jitter_near_mm: float = Field(4.0, ge=0, description="SD per axis of most shifts")
    jitter_far_mm: float = Field(20.0, ge=0, description="largest shift of the rest")
    jitter_far_share: float = Field(0.35, ge=0, le=1)
    contrast: float = Field(0.6, ge=0, le=1, description="share of samples with a random HU curve")
    motion: float = Field(0.25, ge=0, le=1)
    slices: float = Field(0.6, ge=0, le=1, description="share of samples with thick slices")
    in_plane: float = Field(0.5, ge=0, le=1, description="share of samples with an in-plane point spread")
    noise: float = Field(0.9, ge=0, le=1)
    noise_hu: tuple[float, float] = (5.0, 60.0)
    streaks: float = Field(0.2, ge=0, le=1)
    context: float = Field(0.2, ge=0, le=1, description="share of samples with random context around the root")
    scanner: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples that a virtual hospital's scanner takes; contrast and context as for all",
    )
    voxels: float = Field(0.0, ge=0, le=1, description="share of samples on large cubic voxels, and nothing but noise")

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_the_usual(dump(self))


class TrainConfig(_Strict):
    """One run of ``fedkdtavi train``."""

    task: Literal["coarse", "student", "teacher", "unetr", "refiner", "calcium"]
    cache: list[Path] = Field(min_length=1, description="folders written by `fedkdtavi phantom --cache`")
    out: Path
    held_out: int = Field(
        64,
        ge=0,
        description="so many of the last cases of the cache are for validation only, also where they are listed again",
    )
    seed: int = Field(0, ge=0)
    steps: int = Field(gt=0)
    batch: int = Field(2, gt=0)
    lr: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0, description="first steps, with a rising learning rate")
    weight_decay: float = Field(1e-2, ge=0)
    optimizer: Optimizer = Field("adamw", description="muon: Muon for the hidden layers, AdamW for the rest")
    ema: float = Field(0.998, ge=0, lt=1, description="moving average over the steps, which is the result")
    grad_clip: float = Field(2.0, gt=0)
    bad_steps: int = Field(20, gt=0, description="consecutive steps without a finite loss before the run stops")
    checkpoint_minutes: float = Field(3.0, gt=0)
    checkpoint_steps: int = Field(0, ge=0, description="also every so many steps; 0: by time alone")
    log_every: int = Field(20, gt=0)
    workers: int = Field(0, ge=0, description="loader processes; the samples are the same for any number")
    init: Path | None = Field(None, description="safetensors to start from")
    crop: int = Field(64, gt=0)
    closer_look_mm: float | None = Field(None, ge=FINEST_MM, description=LOOK)
    network: dict[str, Any] = Field(default_factory=dict)
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    device: Literal["cpu", "cuda"] = Field("cpu", description="cuda: mixed precision, not the same weights twice")

    @field_validator("network")
    @classmethod
    def _can_be_built(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return architecture.checked(info.data.get("task"), given)

    @model_serializer(mode="wrap")
    def _as_ever(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_the_usual(dump(self))

    @property
    def aligned(self) -> bool:
        """Is the network shown crops along the root's own axes?"""
        return self.task == "refiner"

    def looks_at(self, cached_mm: float, side: int) -> tuple[float, ...]:
        """Spacings (mm) at which the network may be shown a crop of ``side`` voxels that was cached at ``cached_mm``.

        A fine crop is for the closer look, and for the usual one, too, if it is large enough to be shifted and turned.
        """
        usual = self.loss.spacing_mm
        if self.closer_look_mm is None or cached_mm > FINE_ENOUGH * self.closer_look_mm:
            return (usual,)
        return (self.closer_look_mm, usual) if side * cached_mm >= ROOMY * self.crop * usual else (self.closer_look_mm,)

    def digest(self) -> str:
        """SHA-256 over everything that decides the result (not where it is written, nor how often)."""
        free = {"out", "checkpoint_minutes", "checkpoint_steps", "log_every", "workers"}
        text = json.dumps(self.model_dump(mode="json", exclude=free), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> TrainConfig:
    """Read and validate a config. Raises as :func:`read_as`."""
    return read_as(TrainConfig, path)


def read_as(kind: type[Model], path: Path, what: str = "config", changes: Mapping[str, Any] | None = None) -> Model:
    """Read and validate a JSON file of any of our kinds; relative paths in it are relative to the working directory.

    Args:
        what: what should have been given, for the sentence.
        changes: entries instead of the file's.

    Raises:
        UsageError: with one sentence that names the file and the key.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a JSON {what}.") from error
    except ValueError as error:  # bytes that are no text, too
        raise UsageError(f"{path} is no JSON ({error}); correct it and start again.") from error
    if not isinstance(entries, dict):
        raise UsageError(f"{path} holds no JSON object; give a JSON {what}.")
    try:
        return kind.model_validate(entries | dict(changes or {}))
    except ValidationError as error:
        raise refused(path, error) from error


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys in which two configurations differ, with dots for those inside others; not where the results lie."""
    found = []
    for key in {**before, **now}:
        one, two = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            found += [f"{key}.{inner}" for inner in differing(one, two)]
        elif one != two and key != "out":
            found.append(key)
    return found


def in_words(keys: list[str]) -> str:
    """What :func:`differing` has found, for a sentence; empty for nothing."""
    return f" ({', '.join(keys)} {'differs' if len(keys) == 1 else 'differ'})" if keys else ""


def refused(path: Path, error: ValidationError) -> UsageError:
    """What is wrong with a config, in one sentence that names the file and the keys."""
    found = error.errors()

    def keys(kind: str) -> str:
        return ", ".join(".".join(map(str, one["loc"])) for one in found if one["type"] == kind)

    if unknown := keys("extra_forbidden"):
        why = f"unknown: {unknown}"
    elif missing := keys("missing"):
        why = f"missing: {missing}"
    else:
        first = found[0]
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
        why = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {message}"
    return UsageError(f"{path}: {why}; correct it (examples are in training/configs) and start again.")
