"""What a site, or the server, has told its own engine: in ``local/fedkdtavi.json`` of its kit, never in a job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError, UsageError

from ..config import _Strict

FILE = "fedkdtavi.json"
ELSEWHERE = "FEDKDTAVI_SETTINGS"
"""Environment variable: a folder of <name>.json for the simulator, whose kits are made anew in each run."""

Settings = TypeVar("Settings", bound="_Own")


class _Own(_Strict):
    name: str
    schema_version: int


class Privacy(_Strict):
    """A filter of the engine on what the site changes in the weights; the names are the engine's.

    Attributes:
        filter: ``percentile`` sends only the larger changes (Shokri and Shmatikov 2015), which is no differential
            privacy; ``svt`` sends a noisy part of them (sparse vector technique), with a budget for each round.
        percentile: of the changes by size, those below it are not sent.
        fraction, epsilon, noise_var, tau: of ``svt``: the part that is sent, and its noise.
        gamma: no weight changes by more than this in a round.
    """

    filter: Literal["percentile", "svt"]
    percentile: float = Field(10.0, ge=0, le=100)
    fraction: float = Field(0.1, gt=0, le=1)
    epsilon: float = Field(0.1, gt=0)
    noise_var: float = Field(0.1, gt=0)
    tau: float = Field(1e-6, gt=0)
    gamma: float = Field(0.01, gt=0)


class SiteSettings(_Own):
    """A site's own.

    Attributes:
        folders: site datasets, or caches of crops.
        work: what it keeps for itself: crops, optimiser's state, its log. Never sent.
        threads: of its training.
        deadline_s: longest time for one task, whatever the server asks; None: no limit.
        bundle: whose coarse network crops its CTs; None: the released one.
        privacy: filter on what it sends; None: the update as it was trained.
        least_cases: a round that would learn from fewer of its cases is not trained: an update of one step on one case
            shows the case (``training/docs/what-leaves.md``).
    """

    folders: tuple[Path, ...] = Field(min_length=1)
    work: Path
    threads: int = Field(1, ge=1)
    deadline_s: float | None = Field(None, gt=0)
    bundle: Path | None = None
    privacy: Privacy | None = None
    least_cases: int = Field(1, ge=1)


class ServerSettings(_Own):
    """The server's own: ``out`` is where checkpoints, results and the status for people lie."""

    out: Path


def read(kind: type[Settings], local: Path, name: str) -> Settings:
    """The settings in ``local``, or in the folder that ``FEDKDTAVI_SETTINGS`` names.

    Raises:
        UsageError: there are none, they are of another site, or of another schema.
        InputError: they cannot be read.
    """
    elsewhere = os.environ.get(ELSEWHERE)
    path = Path(elsewhere) / f"{name}.json" if elsewhere else Path(local) / FILE
    try:
        found = kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); set this side up first.") from error
    except ValidationError as error:
        raise InputError(
            f"{path} is not what this version writes ({error.error_count()} errors); set up again."
        ) from error
    if found.name != name:
        raise UsageError(f"{path} is that of {found.name}, not of {name}; join again.")
    if found.schema_version != schema.SCHEMA_VERSION:
        raise UsageError(
            f"{path} is for label schema {found.schema_version}, not {schema.SCHEMA_VERSION}; set up again."
        )
    return found
