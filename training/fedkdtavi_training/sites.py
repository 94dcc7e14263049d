"""A site dataset as training samples: one crop a case around a centre that no truth went into, labels where there are.

What nobody has confirmed or corrected is no label: its point is NaN, its calcium mask is None. Answer keys of phantoms
lie outside the site's folder and are not known here. Crops are kept in the format of :mod:`.cache`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedkdtavi_core import coarse, fine, geometry, schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.bundle import Bundle
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels.annotated import mask_digest
from fedkdtavi_core.labels.record import volume_digest
from fedkdtavi_core.labels.segmentation import bounding_box
from fedkdtavi_core.site.dataset import CaseLabels, Site, SiteCase, open_case, open_site
from fedkdtavi_core.volume import Grid, Volume

from . import cache
from .disk import make_folder, write_bytes

CROP_VOXELS = 96  # a crop of 64 with room to be shifted and turned in
LEARNED = tuple(row.id for row in schema.LABELS if row.head)
_PLACES = 3  # decimals of a mm that a digest tells apart


class Centre(Protocol):
    """Where a case is cropped: from the CT or from predictions, never from truth."""

    name: str  # enters the cache: crops around other centres are other crops

    def __call__(self, case: SiteCase, volume: Volume) -> np.ndarray | None:
        """(3,) RAS mm, or None when there is no root to be seen."""


class CoarseCentre:
    """The root's centre as the coarse network of a bundle sees it."""

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        # The heart's classes are kept beside the crop: crops of before, without them, are made anew.
        self.bundle, self.device, self.name = bundle, device, f"coarse {bundle.digest} heart"
        self.heart: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, case: SiteCase, volume: Volume) -> np.ndarray | None:
        seen = coarse.examine(volume, self.bundle, self.device, labels=True)
        self.heart = (seen.labels, seen.labels_affine)
        return seen.center_ras if seen.reason is None else None


class PredictedCentre:
    """The root's centre from hinge points that are still predictions; None where a person has set one of them."""

    name = "predicted landmarks"

    def __call__(self, case: SiteCase, volume: Volume) -> np.ndarray | None:
        landmarks = case.read_landmarks()
        hinges = {i: landmarks[i] for i in schema.HINGE_IDS}
        if any(one.position is None or one.status is not Status.PREDICTED for one in hinges.values()):
            return None
        return fine.root_center({i: one.position for i, one in landmarks.items() if one.status is Status.PREDICTED})


@dataclass(frozen=True)
class SiteSample:
    """One case to learn from.

    Attributes:
        site, case: ids.
        grid: of the crop; axes R, A, S, isotropic.
        hu: int16 (i, j, k) on ``grid``; -1024 outside the CT.
        points: (7, 3) RAS mm in schema order, NaN where there is no truth.
        calc: uint8 on ``grid``, or None where there is no truth.
        truth: label id -> is it ground truth? For every label that is learned.
        digest: of the CT and of all truth of the case.
        absent: ids that a reviewer has called absent: no label, and nothing that a prediction may fill in.
        heart: uint8 heart classes on ``grid`` as the coarse network sees them; None when the centre came without.
    """

    site: str
    case: str
    grid: Grid
    hu: np.ndarray
    points: np.ndarray
    calc: np.ndarray | None
    truth: dict[str, bool]
    digest: str
    absent: tuple[str, ...] = ()
    heart: np.ndarray | None = None


@dataclass(frozen=True)
class _Crop:
    """A sample as :func:`.cache.save` takes it."""

    grid: Grid
    hu: np.ndarray
    points: dict[str, np.ndarray]
    calc: np.ndarray
    heart: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)


class SiteDataset:
    """The cases of one site as :class:`SiteSample`; cases that cannot be used are named in ``skipped`` and left out.

    >>> samples = list(SiteDataset(Path("site-1"), CoarseCentre(bundle)))

    Args:
        folder: of the site.
        centre: where each case is cropped.
        size: voxels along a crop's side; larger than the network's crop, so that training can shift and turn it.
        spacing: mm.
        keep: which cases are read at all; those that are held out are not.

    Raises:
        UsageError: the folder is no site.
        InputError: its ``site.json`` is broken.
    """

    def __init__(
        self,
        folder: Path,
        centre: Centre,
        *,
        size: int = CROP_VOXELS,
        spacing: float = cache.CROP_SPACING_MM,
        keep: Callable[[SiteCase], bool] = lambda case: True,
    ) -> None:
        self.site: Site = open_site(Path(folder))
        self.centre, self.size, self.spacing = centre, size, spacing
        self.skipped: dict[str, str] = dict(self.site.unreadable)
        self._usable = [case for case in self._without_twins() if keep(case)]

    @property
    def cases(self) -> tuple[SiteCase, ...]:
        """The cases, as they were when the dataset was opened."""
        return tuple(self._usable)

    def __len__(self) -> int:
        """Number of cases whose labels can be read and whose CT no other case has; some may still be skipped."""
        return len(self._usable)

    def __iter__(self) -> Iterator[SiteSample]:
        for case in self._usable:
            sample = self._guarded(case, self._sample)
            if sample is not None:
                yield sample

    def digest(self) -> str:
        """SHA-256 over the CTs and all truth that can be learned from: who changes neither, changes no training."""
        digests = {case.id: self._guarded(case, _digest) for case in self._usable}
        text = json.dumps({i: found for i, found in sorted(digests.items()) if found is not None})
        return hashlib.sha256(text.encode()).hexdigest()

    def write_cache(self, folder: Path, report: Callable[[int, int], None] = lambda done, todo: None) -> list[Path]:
        """One crop a case into ``folder``, for :mod:`.data`; only what changed since the last time is cropped anew.

        Crops of cases that are gone, or skipped now, are removed.

        Raises:
            UsageError: the folder holds another cache.
        """
        make_folder(folder)
        label, description = folder / "cache.json", {"kind": "crop", "site": self.site.info.id}
        if any(folder.glob("case_*.npz")) and label.exists():  # a label alone, of a run that was refused, is nothing
            before = json.loads(label.read_text(encoding="utf-8"))
            if before != description:
                of = f"crops of the site {before['site']}" if "site" in before else "phantoms"
                raise UsageError(f"{folder}: holds another cache ({of}); remove that folder, or give another one.")
        write_bytes(label, (json.dumps(description) + "\n").encode())
        written = []
        for done, case in enumerate(self._usable, 1):
            path = self._guarded(case, lambda case: self._cached(folder, case))
            written += [path] if path is not None else []
            report(done, len(self._usable))
        for path in set(folder.glob("case_*.npz")) - set(written):
            path.unlink()
        return written

    def _cached(self, folder: Path, case: SiteCase) -> Path:
        path = folder / f"case_{case.id}.npz"
        wanted = f"{_digest(case)} {self.size} {self.spacing:g} {self.centre.name}"
        made = {"made_of": wanted, "ct": case.record.ct_sha256}
        if not (path.exists() and _told(path) == made):
            cache.save(path, _crop(self._sample(case), made | {"synthetic": self.site.info.synthetic}))
        return path

    def _sample(self, case: SiteCase) -> SiteSample:
        volume = case.read_volume()
        if volume_digest(volume) != case.record.ct_sha256:
            raise InputError(f"{case.path}: its CT is not the one that its labels were made on; it is skipped.")
        labels = case.read_labels(volume.grid)
        centre = self.centre(case, volume)
        if centre is None:
            raise InputError(f"{case.path}: no aortic root was found in its CT; it is skipped.")
        grid = geometry.crop_grid(centre, self.size, self.spacing)
        seen = getattr(self.centre, "heart", None)
        points = np.full((len(schema.LANDMARK_IDS), 3), np.nan)
        for row, label_id in enumerate(schema.LANDMARK_IDS):
            if label_id in labels.truth:
                points[row] = labels.landmarks[label_id].position
        calc = _on_crop(labels.mask, volume.affine, centre, grid) if "calcification" in labels.truth else None
        return SiteSample(
            self.site.info.id, case.id, grid, np.rint(geometry.resample(volume, grid)).astype(np.int16), points, calc,
            {label_id: label_id in labels.truth for label_id in LEARNED}, _content(case, labels),
            _absent(case), None if seen is None else geometry.resample_labels(*seen, grid),
        )  # fmt: skip

    def _guarded(self, case: SiteCase, work: Callable[[SiteCase], Any]) -> Any:
        """``work`` on the case as it is now; None for a case that cannot be used, which is then named."""
        try:
            result = work(open_case(case.path))
        except InputError as error:
            self.skipped[case.id] = str(error)
            return None
        self.skipped.pop(case.id, None)
        return result

    def _without_twins(self) -> list[SiteCase]:
        seen: dict[str, str] = {}
        kept = []
        for case in self.site.cases:
            twin = seen.setdefault(case.record.ct_sha256, case.id)
            if twin != case.id:
                self.skipped[case.id] = f"{case.path}: has the same CT as {twin}; it is skipped."
            else:
                kept.append(case)
        return kept


def cropped_for(usual_mm: float, closer_mm: float | None) -> dict[str, Any]:
    """``size`` and ``spacing`` of crops for a network that looks at ``usual_mm`` and, if it does, at ``closer_mm``."""
    finest = usual_mm if closer_mm is None else closer_mm
    return {"size": math.ceil(CROP_VOXELS * usual_mm / finest), "spacing": finest}


def check_distinct(sites: Sequence[Site]) -> None:
    """Refuse a site given twice, and sites that share a name, a case id or a CT: what is learned at one must not be
    tested at another.

    Raises:
        InputError: they do.
    """
    seen: dict[tuple[str, str], str] = {}
    folders: dict[Path, Path] = {}
    for number, site in enumerate(sites):
        if (twin := folders.setdefault(site.folder.resolve(), site.folder)) is not site.folder:
            also = "" if twin == site.folder else f" (also as {twin})"
            raise InputError(f"{site.folder}: is one dataset given twice{also}; leave one of them out.")
        ids = [("the name", site.info.id)]
        ids += [(kind, value) for c in site.cases for kind, value in (("a case", c.id), ("a CT", c.record.ct_sha256))]
        for kind, value in ids:
            other = seen.setdefault((kind, value), str(number))
            if other != str(number):
                where = sites[int(other)].folder
                raise InputError(f"{site.folder}: has {kind} in common with {where} ({value[:16]}); leave one out.")


def _on_crop(mask: np.ndarray, affine: np.ndarray, centre: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 on ``grid``: voxels of which at least half belongs to the mask, told by 27 places in each.

    Interpolating a mask would shrink deposits of one thick slice, and a single place misses thin ones.
    """
    box = bounding_box(mask)
    if box is None:
        return np.zeros(grid.shape, np.uint8)
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    size = grid.shape[0]
    dense = geometry.crop_grid(centre, 3 * size, float(grid.spacing[0]) / 3)
    inside = geometry.resample_labels((mask[box] != 0).astype(np.uint8), shifted, dense)
    count = inside.reshape(size, 3, size, 3, size, 3).sum(axis=(1, 3, 5))
    return (count >= 14).astype(np.uint8)


def _digest(case: SiteCase) -> str:
    return _content(case, case.read_labels(case.read_grid()))


def _content(case: SiteCase, labels: CaseLabels) -> str:
    """SHA-256 of what a case can teach: its CT, and the places of its truth; not who said so, nor when."""
    truth: dict[str, Any] = {}
    for label_id in labels.truth:
        if label_id in labels.landmarks:
            truth[label_id] = [round(float(x), _PLACES) + 0.0 for x in labels.landmarks[label_id].position]
        elif label_id == "calcification":
            truth[label_id] = mask_digest(labels.mask)
    truth |= dict.fromkeys(_absent(case), "absent")
    return hashlib.sha256(json.dumps([case.record.ct_sha256, truth]).encode()).hexdigest()


def _absent(case: SiteCase) -> tuple[str, ...]:
    return tuple(label_id for label_id, state in case.states().items() if state == "absent" and label_id in LEARNED)


def _crop(sample: SiteSample, info: Mapping[str, Any]) -> _Crop:
    points = {i: p for i, p in zip(schema.LANDMARK_IDS, sample.points, strict=True) if np.isfinite(p).all()}
    nothing = np.zeros(sample.grid.shape, np.uint8)
    labelled = sample.calc is not None
    told = {"site": sample.site, "case": sample.case, "truth": sample.truth, "calc_labelled": labelled}
    told |= {"absent": list(sample.absent)} if sample.absent else {}
    heart = nothing if sample.heart is None else sample.heart
    told |= {"heart_known": sample.heart is not None}
    return _Crop(sample.grid, sample.hu, points, sample.calc if labelled else nothing, heart, {**told, **info})


def _told(path: Path) -> dict[str, Any]:
    """What a crop was made of, as it says; nothing where it is cut off or of another version: it is written again."""
    try:
        info = cache.load(path).info
    except InputError:
        return {}
    return {key: info[key] for key in ("made_of", "ct") if key in info}
