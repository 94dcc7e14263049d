"""Phantoms rendered once, read many times: one uncompressed ``.npz`` a case, written whole or not at all.

A folder holds cases of one kind: ``crop`` (dense cubes around a root, for student and teacher) or ``chest`` (whole
chests on the coarse grid). Label maps are deflated (they are almost empty), HU are not.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core import schema
from fedkdtavi_core.errors import InputError, UsageError

from .disk import write_bytes
from .phantom import PHANTOM_VERSION

# What NumPy raises at an .npz that is cut off, empty, damaged, or none.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
CROP_KINDS = {"heart": 0.80, "bicuspid": 0.06, "low_ostia": 0.07, "prosthesis": 0.04, "noncontrast": 0.03}
CROP_SPACING_MM = 1.25
CHEST_KINDS = {"heart": 0.66, "noheart": 0.1, "truncated": 0.12, "prosthesis": 0.04, "noncontrast": 0.08}


@dataclass(frozen=True)
class Case:
    """One cached phantom: HU int16, its spacing in mm, points (7, 3) voxel indices (NaN: none), label maps uint8."""

    hu: np.ndarray
    spacing: float
    points: np.ndarray
    calc: np.ndarray
    heart: np.ndarray
    info: dict[str, Any]
    coronary: np.ndarray | None = None  # mask of the arteries near the root; only in caches that were asked for it

    @property
    def heart_known(self) -> bool:
        """Does ``heart`` say anything? Phantoms know their own; a site's crop if the coarse network has drawn it."""
        return self.info.get("heart_known", "made_of" not in self.info) is True

    @property
    def calc_labelled(self) -> bool:
        """Is ``calc`` a label? False: nobody has looked, and its zeros mean nothing. Phantoms are always labelled."""
        return self.info.get("calc_labelled", True) is not False

    @property
    def absent(self) -> tuple[str, ...]:
        """Ids of labels that a reviewer has called absent: no prediction may fill them in."""
        return tuple(self.info.get("absent", ()))


def save(path: Path, phantom: Any) -> None:
    """Write a rendered ``Crop`` or ``Chest`` (axes R, A, S; isotropic), atomically."""
    affine = phantom.grid.affine
    spacing = float(affine[0, 0])
    if not np.allclose(affine[:3, :3], spacing * np.eye(3), atol=1e-6):
        raise ValueError(f"{path}: a cached phantom needs isotropic voxels along R, A, S")
    points = np.full((len(schema.LANDMARK_IDS), 3), np.nan, np.float32)
    for row, name in enumerate(schema.LANDMARK_IDS):
        place = phantom.points.get(name)
        if place is not None:
            points[row] = (np.asarray(place, float) - affine[:3, 3]) / spacing
    coronary = getattr(phantom, "coronary", None)
    more = {} if coronary is None else {"coronary": _pack(coronary)}
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(
            file,
            hu=np.ascontiguousarray(phantom.hu, np.int16),
            spacing=np.float64(spacing),
            points=points,
            calc=_pack(phantom.calc),
            heart=_pack(phantom.heart),
            info=np.array(json.dumps(phantom.info)),
            **more,
        )
    part.replace(path)


def load(path: Path, *, heart: bool = True) -> Case:
    """Read one case. Raises InputError naming the file when it is not one.

    Without ``heart`` the heart's classes are left packed, which takes as long as all the rest; the case's are empty.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            hu = data["hu"]
            return Case(
                hu,
                float(data["spacing"]),
                data["points"],
                _unpack(data["calc"], hu.shape),
                _unpack(data["heart"], hu.shape) if heart else np.zeros((0, 0, 0), np.uint8),
                json.loads(str(data["info"])),
                _unpack(data["coronary"], hu.shape) if "coronary" in data else None,
            )
    except UNREADABLE as error:
        raise InputError(f"{path} is not a cached phantom ({error}); delete it and write the cache again.") from error


def files(folders: list[Path]) -> list[Path]:
    """All cases of the folders, in the order given and by number.

    Raises:
        UsageError: there are none, or the folders hold phantoms of different versions, where labels mean other places.
    """
    versions = {folder: version for folder in folders if (version := _phantom_of(folder)) is not None}
    if len(set(versions.values())) > 1:
        older, newer = min(versions, key=versions.__getitem__), max(versions, key=versions.__getitem__)
        raise UsageError(
            f"{older} was made by an older phantom than {newer}, where hinge points lie elsewhere; make it anew with "
            "`fedkdtavi phantom --cache`, or leave one of them out."
        )
    found = [path for folder in folders for path in sorted(folder.glob("case_*.npz"))]
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        if sites := {folder: name for folder in folders if (name := site_of(folder)) is not None}:
            folder, name = next(iter(sites.items()))
            raise UsageError(
                f"{folder}: holds no crop of any case of the site {name}; skipped.txt there says why cases were left "
                "out, if there were any: add CTs to the site with `fedkdtavi site add`."
            )
        raise UsageError(f"{names} holds no cached phantoms; write them with `fedkdtavi phantom --cache` first.")
    return found


def site_of(folder: Path) -> str | None:
    """Id of the site whose cases a cache holds, or was made for; None for a cache of phantoms, or none at all."""
    return label_of(folder).get("site")


def _phantom_of(folder: Path) -> int | None:
    """Version of the phantom that made a cache (1 where it does not say); None for a site's cases, or unknown ones."""
    told = label_of(folder)
    return None if "site" in told or not told else int(told.get("phantom", 1))


def label_of(folder: Path) -> dict[str, Any]:
    """What a cache's ``cache.json`` says: kind, and site or seed, size and phantom; empty where none can be read."""
    try:
        content = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(
    folder: Path,
    kind: str,
    count: int,
    seed: int,
    *,
    processes: int = 1,
    size: int = 96,
    spacing: float = CROP_SPACING_MM,
    first: int = 0,
    coronary: bool = False,
    report: Callable[[int, int], None] = lambda done, todo: None,
) -> int:
    """Render the cases ``first``..``count`` - 1 that are not there yet; returns how many were rendered.

    Case n of seed s is the same whoever renders it and when. ``kind`` is ``crop`` or ``chest``.
    ``spacing`` (mm) is that of crops; a student's closer look learns from finer ones.
    With ``coronary`` crops also hold the arteries' mask; all else in them is the same.
    """
    description = {"kind": kind, "seed": seed, "size": size if kind == "crop" else None, "phantom": PHANTOM_VERSION}
    if coronary:
        if kind != "crop":
            raise UsageError("Coronary arteries are labelled in crops only; give --cache crop.")
        description["coronary"] = True
    if spacing != CROP_SPACING_MM:
        if kind != "crop":
            raise UsageError("Chests are made at the coarse network's 4 mm; give --spacing with --cache crop only.")
        description["spacing_mm"] = spacing
    label = folder / "cache.json"
    if label.exists() and json.loads(label.read_text()) != description:
        raise UsageError(f"{folder} holds another cache ({label.read_text().strip()}); give an empty folder.")
    write_bytes(label, (json.dumps(description) + "\n").encode())
    jobs = [
        (folder, kind, seed, n, size, spacing, coronary) for n in range(first, count) if not _path(folder, n).exists()
    ]
    from .phantom.workers import over

    for done, _ in enumerate(over(_render, jobs, processes), 1):
        report(done, len(jobs))
    return len(jobs)


def _render(job: tuple[Path, str, int, int, int, float, bool]) -> None:
    from .phantom import render

    folder, kind, seed, number, size, spacing, coronary = job
    # A stream of its own for each case: no anatomy is shared between seeds.
    stream = [seed, number]
    rng = np.random.default_rng([*stream, 1])
    kinds = CROP_KINDS if kind == "crop" else CHEST_KINDS
    which = str(rng.choice(list(kinds), p=np.array(list(kinds.values())) / sum(kinds.values())))
    if kind == "crop":
        phantom = render.render_crop(stream, size=size, spacing=spacing, kind=which, coronary=coronary)
    else:
        phantom = render.render_chest(stream, spacing=4.0, kind=which)
    save(_path(folder, number), phantom)


def _path(folder: Path, number: int) -> Path:
    return folder / f"case_{number:06d}.npz"


def _pack(labels: np.ndarray) -> np.ndarray:
    return np.frombuffer(zlib.compress(np.ascontiguousarray(labels, np.uint8).tobytes(), 1), np.uint8)


def _unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(packed.tobytes()), np.uint8).reshape(shape)
