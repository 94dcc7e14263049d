"""``labels.json``: what is known of every label of a case, who looked at it, and which CT and bundle it belongs to.

Only corrected and confirmed labels are ground truth, and that is kept per label: a case with some reviewed labels is
the normal case. No patient identity enters this file: reviewers appear by pseudonym, the CT by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import schema
from ..annotation import Status
from ..errors import InputError
from .jsonfile import read_json, write_json

if TYPE_CHECKING:
    from ..volume import Volume

TRUTH = frozenset({Status.CORRECTED, Status.CONFIRMED})


@dataclass(frozen=True)
class LabelRecord:
    """What is known of one label.

    Attributes:
        status: see :class:`~fedkdtavi_core.annotation.Status`.
        time: when that was decided, ISO 8601 with time zone; None when unknown.
        reviewer: pseudonym of the reviewer; None for a prediction.
        bundle: digest of the bundle the prediction came from; None for a label made without one.
    """

    status: Status
    time: str | None = None
    reviewer: str | None = None
    bundle: str | None = None

    @property
    def is_truth(self) -> bool:
        """May this label be learned as ground truth?"""
        return self.status in TRUTH


@dataclass
class CaseRecord:
    """The content of ``labels.json``: the CT's digest and a record per label id.

    A label without a record is not labelled at all: nobody looked and nothing predicted it.
    """

    ct_sha256: str
    labels: dict[str, LabelRecord] = field(default_factory=dict)

    def truth(self) -> tuple[str, ...]:
        """Ids of the labels that are ground truth, in the schema's order."""
        return tuple(row.id for row in schema.LABELS if row.id in self.labels and self.labels[row.id].is_truth)


def now() -> str:
    """This moment as the records write it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def volume_digest(volume: Volume) -> str:
    """SHA-256 of a CT as it is in memory: shape, voxel values and affine (to 1e-4), whatever file it came from."""
    import numpy as np

    array = volume.array
    digest = hashlib.sha256(repr((array.shape, array.dtype.kind, array.dtype.itemsize)).encode())
    digest.update((np.round(np.asarray(volume.affine, "<f8"), 4) + 0.0).tobytes())
    little = array.dtype.newbyteorder("<")
    # Slice by slice, i fastest, as files hold it: no whole copy of the CT is made, in whatever order it lies.
    for k in range(array.shape[2]):
        digest.update(np.ascontiguousarray(array[:, :, k].T, dtype=little).data)
    return digest.hexdigest()


def write_record(path: Path, record: CaseRecord) -> None:
    """Write ``labels.json``."""
    labels = {i: asdict(record.labels[i]) for i in _known(record.labels)}
    write_json(path, {"schema_version": schema.SCHEMA_VERSION, "ct_sha256": record.ct_sha256, "labels": labels})


def read_record(path: Path) -> CaseRecord:
    """Read ``labels.json``.

    Raises:
        InputError: broken, of an unknown schema version, or with a label or status that is not in the schema.
    """
    content = read_json(path, "a labels.json")
    version = content.get("schema_version")
    if version != schema.SCHEMA_VERSION:
        raise InputError(
            f"{path}: its schema version is {version}, known is {schema.SCHEMA_VERSION}; update fedkdtavi."
        )
    digest, labels = content.get("ct_sha256"), content.get("labels")
    if not isinstance(digest, str) or not isinstance(labels, dict):
        raise InputError(f"{path}: has no CT digest or no labels; export the case again.")
    return CaseRecord(
        digest, {str(label_id): _record(path, str(label_id), entry) for label_id, entry in labels.items()}
    )


def _known(ids: Iterable[str]) -> list[str]:
    """``ids`` in the schema's order. Raises KeyError for one that is not in the schema."""
    order = [row.id for row in schema.LABELS]
    return sorted(ids, key=lambda i: order.index(schema.by_id(i).id))


def _record(path: Path, label_id: str, entry: object) -> LabelRecord:
    if label_id not in {row.id for row in schema.LABELS}:
        raise InputError(
            f"{path}: the label '{label_id}' is not in the schema; export the case again or update fedkdtavi."
        )
    if not isinstance(entry, dict):
        raise InputError(f"{path}: its entry for {label_id} is broken; export the case again.")
    try:
        status = Status(entry.get("status"))
    except ValueError:
        known = ", ".join(Status)
        raise InputError(
            f"{path}: {label_id} has the status '{entry.get('status')}', known are {known}; correct it."
        ) from None
    texts = {name: entry.get(name) for name in ("time", "reviewer", "bundle")}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{path}: the {name} of {label_id} is no text; export the case again.")
    return LabelRecord(status, **texts)
