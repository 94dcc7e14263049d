"""Pseudo-labels of a site on disk: mean, covariance and confidence of each landmark, calcium as a probability map.

They belong to the site and stay there, one ``.npz`` a case, each with the digests of its teachers and of its CT.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkdtavi_core.errors import InputError, UsageError

from ..cache import UNREADABLE
from ..disk import write_bytes

FULL = 255  # of the probability map, stored as uint8


@dataclass(frozen=True)
class Pseudo:
    """What the teachers see in one case.

    Attributes:
        mean: (7, 3) voxel indices of the case; NaN where no teacher has looked, or what it saw cannot be.
        covariance: (7, 3, 3) voxels^2.
        confidence: (7,) 0..1, share of the heatmap near its peak.
        plausibility: (7,) 0..1, see :func:`fedkdtavi_core.plausibility.plausibility_score`.
        calc: uint8 probability map on the case's own grid, 255 is 1; or None without a teacher for it.
        calc_certainty: 0..1, see :func:`.pseudo.calcium_certainty`.
        teachers: head -> digest of the weights that made it.
        case_digest: of the case it was made for.
    """

    mean: np.ndarray
    covariance: np.ndarray
    confidence: np.ndarray
    plausibility: np.ndarray
    calc: np.ndarray | None
    calc_certainty: float
    teachers: dict[str, str]
    case_digest: str

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        total = hashlib.sha256(json.dumps([self.case_digest, self.teachers, self.calc_certainty]).encode())
        for array in (self.mean, self.covariance, self.confidence, self.plausibility):
            total.update(np.ascontiguousarray(array, np.float32).tobytes())
        if self.calc is not None:
            total.update(self.calc.tobytes())
        return total.hexdigest()


class PseudoStore:
    """A folder with one file a case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, key: str, pseudo: Pseudo, view: Sequence[Any] = ()) -> None:
        """Write the pseudo-labels of one case, whole or not at all; ``view``: how the teachers looked at it."""
        shape = None if pseudo.calc is None else pseudo.calc.shape
        info = {"teachers": pseudo.teachers, "case": pseudo.case_digest, "certainty": pseudo.calc_certainty}
        packed = b"" if pseudo.calc is None else zlib.compress(np.ascontiguousarray(pseudo.calc).tobytes(), 1)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            mean=pseudo.mean.astype(np.float32),
            covariance=pseudo.covariance.astype(np.float32),
            confidence=pseudo.confidence.astype(np.float32),
            plausibility=pseudo.plausibility.astype(np.float32),
            calc=np.frombuffer(packed, np.uint8),
            info=np.array(json.dumps(info | {"shape": shape, "view": list(view)})),
        )
        write_bytes(self._path(key), buffer.getvalue())

    def load(self, key: str) -> Pseudo:
        """The pseudo-labels of one case.

        Raises:
            UsageError: there are none.
            InputError: the file is damaged.
        """
        return self._read(key)[0]

    def _read(self, key: str) -> tuple[Pseudo, dict[str, Any]]:
        path = self._path(key)
        if not path.exists():
            raise UsageError(f"{path} is not there; make the pseudo-labels first.")
        try:
            with np.load(path, allow_pickle=False) as data:
                info: dict[str, Any] = json.loads(str(data["info"]))
                calc = None
                if info["shape"] is not None:
                    calc = np.frombuffer(zlib.decompress(data["calc"].tobytes()), np.uint8).reshape(info["shape"])
                arrays = [data[name] for name in ("mean", "covariance", "confidence", "plausibility")]
        except UNREADABLE as error:
            raise InputError(f"{path} holds no pseudo-labels ({error}); delete it and make them again.") from error
        return Pseudo(*arrays, calc, info["certainty"], info["teachers"], info["case"]), info

    def holds(self, key: str, teachers: Mapping[str, str], case_digest: str, view: Sequence[Any] = ()) -> bool:
        """Is there something usable of these teachers for this case, seen in this view?"""
        try:
            found, info = self._read(key)
        except (UsageError, InputError):
            return False
        seen = info.get("view", list(view))  # older ones do not say
        return (found.teachers, found.case_digest, seen) == (dict(teachers), case_digest, list(view))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
