"""The label schema: one table that everything reads (screen, files, networks, losses, measurements).

To add a landmark, add a row to :data:`LABELS`; nothing else names landmarks one by one except the measurements
that are defined by them. Codes are SNOMED CT as 3D Slicer's terminologies use them, otherwise of the private scheme
``99FEDKDTAVI`` (shipped as a terminology file).
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = 1
PRIVATE_SCHEME = "99FEDKDTAVI"


@dataclass(frozen=True)
class Code:
    """A coded meaning: scheme, value, meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One row of the schema.

    Attributes:
        id: stable identifier in files and code.
        name: what is shown on screen.
        kind: ``landmark``, ``segment`` or ``contour``.
        head: network head that predicts it (``hps``, ``ms``, ``calc``), or empty when it is derived.
        color: sRGB, 0..1.
        code: its standard code.
        description: one phrase for tooltips and documentation.
    """

    id: str
    name: str
    kind: str
    head: str
    color: tuple[float, float, float]
    code: Code
    description: str


def _private(value: str, meaning: str) -> Code:
    return Code(PRIVATE_SCHEME, value, meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code("SCT", value, meaning)


LABELS: tuple[Label, ...] = (
    Label("hinge_rcc", "RCC", "landmark", "hps", (0.90, 0.25, 0.20), _private("HingeRCC", "Hinge point of right coronary cusp"), "nadir (hinge point) of the right coronary cusp"),
    Label("hinge_lcc", "LCC", "landmark", "hps", (0.20, 0.55, 0.95), _private("HingeLCC", "Hinge point of left coronary cusp"), "nadir (hinge point) of the left coronary cusp"),
    Label("hinge_ncc", "NCC", "landmark", "hps", (0.98, 0.80, 0.15), _private("HingeNCC", "Hinge point of non-coronary cusp"), "nadir (hinge point) of the non-coronary cusp"),
    Label("ostium_rca", "RCA", "landmark", "hps", (1.00, 0.50, 0.35), _sct("56789007", "Ostium of right coronary artery"), "centre of the ostium of the right coronary artery"),
    Label("ostium_lca", "LM", "landmark", "hps", (0.35, 0.80, 1.00), _sct("76862008", "Ostium of left main coronary artery"), "centre of the ostium of the left main coronary artery"),
    Label("ms_upper", "MS upper", "landmark", "ms", (0.55, 0.90, 0.45), _private("MSUpper", "Upper point of membranous septum"), "upper margin of the membranous septum"),
    Label("ms_lower", "MS lower", "landmark", "ms", (0.20, 0.65, 0.30), _private("MSLower", "Lower point of membranous septum"), "lower margin of the membranous septum"),
    Label("calcification", "Calcification", "segment", "calc", (0.95, 0.95, 0.80), _sct("18115005", "Pathologic calcification"), "calcification of the aortic valve"),
    Label("annulus_contour", "Annulus", "contour", "", (0.85, 0.40, 0.85), _private("AnnulusContour", "Contour of aortic annulus"), "edge of the lumen in the annulus plane"),
)  # fmt: skip

LANDMARKS: tuple[Label, ...] = tuple(label for label in LABELS if label.kind == "landmark")
LANDMARK_IDS: tuple[str, ...] = tuple(label.id for label in LANDMARKS)
HEADS: dict[str, tuple[str, ...]] = {
    head: tuple(label.id for label in LABELS if label.head == head)
    for head in dict.fromkeys(label.head for label in LABELS if label.head)
}
LANDMARK_HEADS: tuple[str, ...] = tuple(dict.fromkeys(label.head for label in LANDMARKS))
HINGE_IDS: tuple[str, ...] = ("hinge_rcc", "hinge_lcc", "hinge_ncc")
OSTIUM_IDS: tuple[str, ...] = ("ostium_rca", "ostium_lca")

# Classes of the coarse network, in the order of its output channels; 0 is background.
HEART_CLASSES: tuple[str, ...] = (
    "background",
    "left_ventricle",
    "right_ventricle",
    "left_atrium",
    "right_atrium",
    "myocardium",
    "aorta",
    "pulmonary_artery",
)

_BY_ID = {label.id: label for label in LABELS}
_BY_NAME = {label.name: label for label in LABELS}


def by_id(label_id: str) -> Label:
    """The row with this id. Raises KeyError naming the known ids when there is none."""
    try:
        return _BY_ID[label_id]
    except KeyError:
        raise KeyError(f"unknown label id {label_id!r}; known: {', '.join(_BY_ID)}") from None


def by_name(name: str) -> Label | None:
    """The row shown as ``name`` on screen, or None."""
    return _BY_NAME.get(name)
