"""Open a site's folder, list its cases, and read a case: its CT, its labels, and which of them are ground truth."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .. import schema
from ..annotation import Landmark, Status
from ..errors import InputError, UsageError
from ..labels.annotated import CALCIFICATION, CONTOUR, LANDMARKS, PROVENANCE
from ..labels.case import moved_away, recover
from ..labels.jsonfile import read_json, replace_json
from ..labels.markups import read_contour, read_landmarks
from ..labels.record import CaseRecord, read_record
from ..volume import Grid

if TYPE_CHECKING:
    from ..progress import Progress
    from ..volume import Volume

SITE, CASES, CT, LABELS = "site.json", "cases", "ct.nii.gz", "labels.json"
CASE_FILES = (CT, LABELS, LANDMARKS, CALCIFICATION, CONTOUR, PROVENANCE)
# What is known of a label, as tables show it; a label without a record is unlabelled.
STATES = ("truth", "predicted", "absent", "unlabelled")
_TRIES = 5
_T = TypeVar("_T")


@dataclass(frozen=True)
class SiteInfo:
    """The content of ``site.json``.

    Attributes:
        id: name of the site in tables and provenance.
        synthetic: its CTs are phantoms.
        note: a sentence for people.
    """

    id: str
    synthetic: bool = False
    note: str = ""


def write_site(folder: Path, info: SiteInfo) -> None:
    """Write ``site.json`` and make ``cases/``; what is there of both is kept or replaced whole."""
    (folder / CASES).mkdir(parents=True, exist_ok=True)
    content = {"schema_version": schema.SCHEMA_VERSION, "id": info.id, "synthetic": info.synthetic, "note": info.note}
    replace_json(folder / SITE, content)


def read_site(folder: Path) -> SiteInfo:
    """Read ``site.json``; a folder that has ``cases`` alone is a site of the folder's name.

    Raises:
        InputError: broken, or of an unknown schema version.
        UsageError: the folder is no site.
    """
    if not (folder / SITE).is_file():
        if (folder / CASES).is_dir():
            return SiteInfo(folder.resolve().name)
        raise UsageError(f"{folder}: is no site dataset; make one with `fedkdtavi site init {folder}`.")
    content = read_json(folder / SITE, "a site.json")
    version, name = content.get("schema_version"), content.get("id")
    if version != schema.SCHEMA_VERSION:
        raise InputError(
            f"{folder / SITE}: its schema version is {version}, known is {schema.SCHEMA_VERSION}; update fedkdtavi."
        )
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder / SITE}: names no site; write it again with `fedkdtavi site init {folder}`.")
    return SiteInfo(name, content.get("synthetic") is True, str(content.get("note") or ""))


@dataclass(frozen=True)
class CaseLabels:
    """The labels of a case, as its label files and ``labels.json`` say together.

    Attributes:
        landmarks: id -> Landmark (RAS mm), one for every landmark of the schema; statuses are those of ``labels.json``.
        mask: uint8 calcification on the CT's grid, or None when there is none.
        contour: (N, 3) RAS mm, or None.
        truth: ids of the labels to learn from: corrected or confirmed, and there is something to learn.
        problems: sentences on labels that ``labels.json`` calls truth and that cannot be learned from.
    """

    landmarks: dict[str, Landmark]
    mask: np.ndarray | None
    contour: np.ndarray | None
    truth: tuple[str, ...]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SiteCase:
    """One case of a site: its folder and its ``labels.json``."""

    path: Path
    record: CaseRecord

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    def states(self) -> dict[str, str]:
        """Label id -> one of :data:`STATES`, for every row of the schema."""
        return {row.id: _state(self.record, row.id) for row in schema.LABELS}

    def read_volume(self, progress: Progress | None = None) -> Volume:
        """The CT. Raises InputError when it is missing or cannot be read."""
        from ..progress import SILENT
        from ..readers import read_volume

        return read_volume(self.path / CT, progress=progress or SILENT)

    def read_grid(self) -> Grid:
        """The CT's grid, from its header alone. Raises InputError when it is missing or cannot be read."""
        import nibabel

        try:
            image = nibabel.load(self.path / CT)
        except (OSError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
            raise InputError(f"{self.path / CT}: cannot be read as NIfTI; export the case again.") from error
        return Grid(tuple(int(n) for n in image.shape[:3]), np.array(image.affine, float))

    def read_landmarks(self) -> dict[str, Landmark]:
        """All landmarks of the schema with the statuses of ``labels.json``; without a record: no position.

        Raises:
            InputError: the file is broken.
        """
        path, found = self.path / LANDMARKS, {}
        if path.is_file():
            found = settled(self.path, lambda: read_landmarks(path)).landmarks
        result = {}
        for label_id in schema.LANDMARK_IDS:
            record, read = self.record.labels.get(label_id), found.get(label_id)
            if record is None or read is None or record.status is Status.ABSENT:
                result[label_id] = Landmark(label_id, status=record.status if record else Status.PREDICTED)
            else:
                result[label_id] = Landmark(label_id, read.position, read.confidence, None, record.status)
        return result

    def read_labels(self, grid: Grid) -> CaseLabels:
        """All labels on the CT's grid.

        Raises:
            InputError: a label file is broken, or somebody is writing the case all the time.
        """
        return settled(self.path, lambda: self._read_labels(grid))

    def _read_labels(self, grid: Grid) -> CaseLabels:
        from ..labels.segmentation import read_segment

        if read_record(self.path / LABELS) != self.record:
            raise InputError(f"{self.path}: its labels changed since they were listed; run again.")
        problems: list[str] = []
        landmarks, mask, contour = self.read_landmarks(), None, None
        if "calcification" in self.record.labels and (self.path / CALCIFICATION).is_file():
            segment = read_segment(self.path / CALCIFICATION, grid)
            mask = segment.mask
            problems += [note for note in segment.notes if "outside the CT" in note]
        if "annulus_contour" in self.record.labels and (self.path / CONTOUR).is_file():
            contour, _ = read_contour(self.path / CONTOUR)
        truth = []
        for label_id in self.record.truth():
            problem = self._unfit(label_id, landmarks, mask, contour, grid)
            if problem is None:
                truth.append(label_id)
            else:
                problems.append(problem)
        return CaseLabels(landmarks, mask, contour, tuple(truth), problems)

    def _unfit(
        self,
        label_id: str,
        landmarks: dict[str, Landmark],
        mask: np.ndarray | None,
        contour: np.ndarray | None,
        grid: Grid,
    ) -> str | None:
        """Why a reviewed label cannot be learned from, or None."""
        label = schema.by_id(label_id)
        values = {"landmark": lambda: landmarks[label_id].position, "segment": lambda: mask, "contour": lambda: contour}
        value = values[label.kind]()
        if value is None:
            return f"{label.name} is {self.record.labels[label_id].status} in {LABELS} but in no label file"
        if label.kind != "segment" and not np.all(grid.contains(value)):
            return f"{label.name} lies outside the CT"
        return None


@dataclass(frozen=True)
class Site:
    """An opened site.

    Attributes:
        folder: of the site.
        info: from ``site.json``.
        cases: those that can be read, by id.
        unreadable: case id -> one sentence why it is skipped.
    """

    folder: Path
    info: SiteInfo
    cases: tuple[SiteCase, ...]
    unreadable: dict[str, str]

    def case(self, case_id: str) -> SiteCase:
        """One case. Raises UsageError when there is none of this id, InputError when it cannot be read."""
        if case_id in self.unreadable:
            raise InputError(self.unreadable[case_id])
        for case in self.cases:
            if case.id == case_id:
                return case
        raise UsageError(
            f"{self.folder}: has no case {case_id}; `fedkdtavi site worklist {self.folder}` lists those left to label."
        )


def open_site(folder: Path) -> Site:
    """Open a site and the ``labels.json`` of its cases; CTs are not read.

    Raises:
        UsageError: the folder is no site.
        InputError: its ``site.json`` is broken, or the folder cannot be listed.
    """
    folder = Path(folder)
    info = read_site(folder)
    for name in moved_away(folder / CASES) if (folder / CASES).is_dir() else ():
        with contextlib.suppress(UsageError, OSError):  # somebody is at it, or it cannot be written: `check` tells
            recover(folder / CASES / name)
    cases, unreadable = [], {}
    for path in case_folders(folder):
        try:
            cases.append(open_case(path))
        except InputError as error:
            unreadable[path.name] = str(error)
    return Site(folder, info, tuple(cases), unreadable)


def open_case(path: Path) -> SiteCase:
    """One case's folder. Raises InputError when its ``labels.json`` is missing or broken."""
    return SiteCase(path, settled(path, lambda: read_record(path / LABELS)))


def case_folders(folder: Path) -> list[Path]:
    """Folders of a site's cases, by id; what is being written (its name starts with a dot) is not among them.

    Raises:
        InputError: the folder cannot be listed.
    """
    place = Path(folder) / CASES
    try:
        entries = sorted(place.iterdir()) if place.is_dir() else []
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror or error}); check its permissions.") from error
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def settled(path: Path, read: Callable[[], _T]) -> _T:
    """What ``read`` reads from a case's folder, again when the folder was replaced meanwhile: never half old, half new.

    Raises:
        InputError: ``read`` fails, or the folder is replaced again and again.
    """
    for _ in range(_TRIES):
        before = _stamp(path)
        try:
            result = read()
        except InputError:
            if _stamp(path) == before:
                raise
            continue
        if _stamp(path) == before:
            return result
    raise InputError(f"{path}: is being written all the time; wait for that to end and try again.")


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _state(record: CaseRecord, label_id: str) -> str:
    found = record.labels.get(label_id)
    if found is None:
        return "unlabelled"
    if found.is_truth:
        return "truth"
    return "absent" if found.status is Status.ABSENT else "predicted"
