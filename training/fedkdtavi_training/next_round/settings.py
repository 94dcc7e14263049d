"""One validated file for a next round. What the bundle decides (network, crop, read-out) cannot be said otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from fedkdtavi_core.bundle import Bundle, metadata
from fedkdtavi_core.errors import UsageError

from ..config import _Strict, read_as, refused
from ..federated.config import Aggregation, Pseudo, SiteFolder, Training
from ..seed_recipe.readout import OF_RECIPE

_CALCIUM_LOSS = {"calc": 1.0, "calc_entropy": 100.0, "calc_dice": "sample"}  # as in training/configs/calcium.json
_OF_THE_BUNDLE = ("model", "network", "crop", "closer_look_mm")


class NextRound(_Strict):
    """One run of ``fedkdtavi next-round``."""

    bundle: Path | None = Field(None, description="the parent, folder or zip; the one in use if not given")
    sites: tuple[SiteFolder, ...] = Field(min_length=1, description="site datasets with reviewed labels")
    out: Path = Field(description="crops, checkpoints, curves; a run that was cut off goes on from here")
    new_bundle: Path = Field(description="folder of the new bundle, written when all is done")
    version: str = Field(min_length=1, description="of the new bundle")
    name: str | None = Field(None, description="of the new bundle; its parent's if not given")
    seed: int = Field(0, ge=0)
    held_out: float = Field(
        0.2, ge=0, lt=1, description="share of each site's cases that is kept for `fedkdtavi bundle compare`"
    )
    aggregation: Aggregation = Aggregation()
    deadline_s: float | None = Field(None, gt=0, description="a site that answers later is left out of the round")
    student: dict[str, Any] = Field(
        default_factory=lambda: {"rounds": 4, "local_epochs": 2, "lr": 3e-4, "warmup": 20},
        description="how it is trained, as in `fedkdtavi distill`; network and crop are the bundle's",
    )
    refiner: dict[str, Any] | None = Field(
        None, description="how the bundle's refiner is trained on, as `student`; null: it is taken over as it is"
    )
    calcium: dict[str, Any] | None = Field(
        None,
        description="how the bundle's calcium network is trained on, as `student`; null: it is taken over as it is",
    )
    pseudo: Pseudo | None = Field(
        Pseudo(), description="the parent labels what nobody has; null: reviewed labels alone, and it may forget"
    )
    parent_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="of the parent's weights in the new ones, beside the trained ones; 0: those alone",
    )
    calibration: Path | None = Field(None, description="JSON written by calibrate; the parent's if not given")
    results: Path | None = Field(None, description="summary written by evaluate, for the new bundle's card")

    @model_validator(mode="after")
    def _makes_sense(self) -> NextRound:
        roles = (("student", self.student), ("refiner", self.refiner or {}), ("calcium", self.calcium or {}))
        for role, entries in roles:
            for key in _OF_THE_BUNDLE:
                if key in entries:
                    raise ValueError(f"{role}.{key} is the bundle's own: leave it out")
        if self.pseudo is None and self.calcium is not None:
            raise ValueError("the calcium network is trained to label calcium: give `pseudo`, or leave `calcium` out")
        if self.pseudo is not None and self.pseudo.sets != 1:
            raise ValueError("pseudo.sets: a next round has one set, the parent's")
        return self


def read(path: Path) -> NextRound:
    """Read and validate a config. Raises as :func:`..config.read_as`."""
    return read_as(NextRound, path)


def training(settings: NextRound, bundle: Bundle, model: str, network: dict[str, Any]) -> Training:
    """How the student is trained: as the settings say, fed and read as the bundle is.

    Raises:
        UsageError: a key is unknown, or contradicts the bundle.
    """
    fed, ways = bundle.metadata["preprocessing"], set(metadata.readouts(bundle.metadata).values())
    recipes = [recipe for recipe, how in OF_RECIPE.items() if ways == {how}]
    if not recipes:
        raise UsageError(f"{bundle.path}: its heads are read in different ways, which no recipe trains.")
    own = {"spacing_mm": fed["crop_spacing_mm"], "recipe": recipes[0]}
    shape = {"crop": fed["crop_size"], "closer_look_mm": fed.get("closer_look_mm")}
    return _of_bundle("student", settings.student, own, {"model": model, "network": network, **shape})


def refiner_training(settings: NextRound, bundle: Bundle, network: dict[str, Any]) -> Training:
    """How the refiner is trained on: as the settings say, fed as in the bundle. Raises as :func:`training`."""
    look = bundle.metadata["preprocessing"]["aligned_look"]
    shape = {"model": "refiner", "network": network, "crop": look["size"]}
    return _of_bundle("refiner", settings.refiner or {}, {"spacing_mm": look["spacing_mm"]}, shape)


def calcium_training(settings: NextRound, bundle: Bundle, network: dict[str, Any]) -> Training:
    """How the calcium network is trained on: as the settings say, fed as in the bundle, and by the loss it has learned
    with unless they name another. Raises as :func:`training`."""
    look, entries = bundle.metadata["preprocessing"]["calcium_look"], settings.calcium or {}
    loss = entries.get("loss", {})
    if isinstance(loss, dict):
        entries = {**entries, "loss": {**_CALCIUM_LOSS, **loss}}
    shape = {"model": "calcium", "network": network, "crop": look["size"]}
    return _of_bundle("calcium", entries, {"spacing_mm": look["spacing_mm"]}, shape)


def _of_bundle(role: str, given: dict[str, Any], own: dict[str, Any], shape: dict[str, Any]) -> Training:
    loss = given.get("loss", {})
    for key, value in own.items():
        if isinstance(loss, dict) and loss.get(key, value) != value:
            raise UsageError(f"{role}.loss.{key} is {loss[key]!r}, but the bundle needs {value!r}; leave it out.")
    try:
        return Training.model_validate({**given, **shape, "loss": {**loss, **own} if isinstance(loss, dict) else loss})
    except ValidationError as error:
        raise refused(Path(role), error) from error
