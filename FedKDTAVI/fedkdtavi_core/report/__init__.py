"""One page for a person: warnings, views of the aortic root, measurements, confidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..annotation import Annotation
    from ..measurements import Measurements
    from ..volume import Volume


def draw(
    volume: Volume, annotation: Annotation, measurements: Measurements, path: str | Path, *, name: str | None = None
) -> None:
    """Draw the page as PNG (1920 x 1200 pixels).

    Only the planes that are shown are sampled from the CT. Whatever is missing is said where it would stand.

    Args:
        volume: the CT in HU.
        annotation: landmarks in RAS mm, calcification on the CT's grid, contour in RAS mm.
        measurements: what :func:`fedkdtavi_core.measurements.measure` made of both.
        path: file to write.
        name: of the case; the CT's file or folder name if None.
    """
    import matplotlib

    from . import style
    from .page import compose
    from .sheet import families

    with matplotlib.rc_context({**style.SETTINGS, "font.family": families()}):
        compose(volume, annotation, measurements, name).save(path)
