"""Small hospitals of stand-ins with the gaps of real ones, and experiments over them that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import standin

from fedkdtavi_training import cache
from fedkdtavi_training.federated import config

SPACING = 2.5
NET = {"channels": [4, 8]}
# Site -> per case, the heads that are labelled in it ("" for none).
GAPS = {
    "a": ("hps ms calc", "hps ms calc", ""),
    "b": ("hps calc", "hps", ""),
    "c": ("hps ms", "ms", ""),
    "d": ("", "", ""),
}


def write(folder: Path, gaps: dict[str, tuple[str, ...]] | None = None) -> dict[str, Path]:
    """One cache of 40^3 crops a site; returns site -> folder."""
    folders = {}
    for number, (name, cases) in enumerate((gaps or GAPS).items()):
        folders[name] = folder / name
        folders[name].mkdir(parents=True)
        for n, heads in enumerate(cases):
            save(folders[name] / f"case_{n:06d}.npz", 10 * number + n, heads.split())
    return folders


def save(path: Path, seed: int, heads: list[str], ct: str = "") -> None:
    """One stand-in with labels for ``heads`` only; ``ct``: digest of the CT that it was cropped from."""
    made = standin.make(seed, 40, SPACING)
    for name in made.points:
        if ("ms" if name.startswith("ms") else "hps") not in heads:
            made.points[name] = None
    made.info["calc_labelled"] = "calc" in heads
    if ct:
        made.info["ct"] = ct
    cache.save(path, made)


def training(**changes: Any) -> dict[str, Any]:
    """Two rounds of two steps of a very small UNet."""
    quiet = {"context": 0, "motion": 0, "streaks": 0, "slices": 0, "in_plane": 0}
    settings = {"model": "teacher", "network": NET, "rounds": 2, "local_steps": 2, "warmup": 0, "crop": 32, "lr": 0.01}
    return settings | {"loss": {"spacing_mm": SPACING}, "augment": quiet} | changes


def experiment(folders: dict[str, Path], out: Path, **changes: Any) -> config.Experiment:
    """The whole chain over ``folders``; teachers that have learned nothing are believed all the same."""
    entries = {
        "sites": [{"name": name, "folder": folder} for name, folder in folders.items()],
        "out": out,
        "teacher": training(),
        "student": training(),
        "pseudo": {"min_certainty": 0.0, "min_plausibility": 0.0},
    }
    return config.Experiment.model_validate(entries | changes)


def stage(heads: tuple[str, ...] = ("hps", "ms", "calc"), **changes: Any) -> config.Stage:
    """A stage for the parts of the rounds."""
    entries = {"name": "test", "heads": heads, "training": training(), "aggregation": {}, "seed": 3}
    return config.Stage.model_validate(entries | changes)
