"""The model card that lies in every bundle: what it is for, what it learned from, what was measured and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedkdtavi_core import readout
from fedkdtavi_core.bundle import metadata as metadata_of
from fedkdtavi_core.errors import UsageError

from . import given

_HEAD = """# {name} {version}

{intended_use}

## What it does

Finds the aortic root in a cardiac CT and suggests the hinge points of the three cusps, both coronary ostia, two points
of the membranous septum, and the region of aortic valve calcification. Every suggestion has to be reviewed by a person.

## Trained on

{trained_on}. {whose}Images that real scanners make differ from phantoms in ways nobody has listed;
errors measured on phantoms are no estimate of errors on patients.
"""


def text(
    metadata: dict[str, Any],
    runs: dict[str, Any],
    report: dict[str, Any],
    results: dict[str, Any],
    further: Sequence[str] = (),
) -> str:
    """Markdown of the card.

    Args:
        metadata: the bundle's ``configs/metadata.json``.
        runs: network -> what its training run tells of itself.
        report: network -> ``difference`` between torch and ONNX Runtime, ``bytes``.
        results: summary of ``fedkdtavi evaluate``: group -> measure -> number; may be empty.
        further: sentences on this bundle's limits.
    """
    told = {key: metadata[key] for key in ("name", "version", "intended_use", "trained_on")}
    whose = "No patient's CT was used. " if metadata["trained_on"] == metadata_of.TRAINED_ON else ""
    lines = [_HEAD.format(**told, whose=whose)]
    if any(how == readout.CENTROID for how in metadata_of.readouts(metadata).values()):
        lines.append("Landmarks are segmented as spheres and read as centroids of the largest component.\n")
    fed = metadata["preprocessing"]
    if near := fed.get("closer_look_mm"):
        sides = [f"{fed['crop_size'] * mm:.0f} mm at {mm:g} mm" for mm in (fed["crop_spacing_mm"], near)]
        lines.append(f"The student looks twice: at a crop of {sides[0]}, then at one of {sides[1]} around the root.\n")
    if look := fed.get("aligned_look"):
        lines.append(
            f"The refiner has the last look: at a crop of {look['size'] * look['spacing_mm']:.0f} mm at "
            f"{look['spacing_mm']:g} mm that lies along the root's own axes.\n"
        )
    if look := fed.get("calcium_look"):
        lines.append(
            f"Calcium is told by a network of its own, at a crop of {look['size'] * look['spacing_mm']:.0f} mm at "
            f"{look['spacing_mm']:g} mm, and by how far a voxel's HU are on the way from blood to its deposit's peak.\n"
        )
    lines.append("| network | trained for | on | weights' digest | ONNX bytes | largest difference to torch |")
    lines.append("|---|---|---|---|---|---|")
    for role, run in runs.items():
        made = report[role]
        digest = str(run.get("digest", "unknown"))[:16]
        numbers = f"{_length(run)} | {digest}"
        lines.append(f"| {role} | {numbers} | {made['bytes']} | {made['difference']:.1e} of the largest logit |")
    for role, run in runs.items():
        if parts := run.get("mean_of"):
            shares = ", ".join(f"{part['share']:g} of {part['digest'][:16]}" for part in parts)
            lines += ["", f"The {role}'s weights are a mean: {shares}; how long it was trained is said of the first."]
    lines += ["", "## Measured", ""]
    if not results:
        lines.append("Not evaluated. Run `fedkdtavi evaluate` before trusting any of it.")
    else:
        lines.append(
            "On virtual hospitals (synthetic), the whole way from CT to labels: `fedkdtavi evaluate`. A missing point "
            "counts as an infinite error."
        )
    for group, measures in results.items():
        lines += ["", f"### {group.replace('_', ' ')}", "", "| measure | " + " | ".join(_columns(measures)) + " |"]
        lines.append("|---" * (1 + len(_columns(measures))) + "|")
        for name, values in measures.items():
            lines.append(f"| {name} | " + " | ".join(str(values.get(key, "")) for key in _columns(measures)) + " |")
    lines += [
        "",
        "## Limits",
        "",
        "- Not a medical device; not for clinical use.",
        "- Confidence is calibrated on held-out phantoms: it is P(error < 5 mm) there, not on patients.",
        *(f"- {sentence}" for sentence in further),
        "- Prostheses, pacemaker leads, strong motion, CT without contrast and slices over 3 mm make errors likelier.",
        "",
    ]
    return "\n".join(lines)


def read_results(path: Path) -> dict[str, Any]:
    """The summary that ``evaluate`` has written. Raises UsageError when it is none."""
    found = given.table(path, "summary of results", "evaluate")
    if not all(isinstance(one, dict) and all(isinstance(v, dict) for v in one.values()) for one in found.values()):
        raise UsageError(f"{path}: is no summary of results; give the .summary.json that `fedkdtavi evaluate` wrote.")
    return found


def _length(run: dict[str, Any]) -> str:
    """How long it was trained, and on what: two cells."""
    if "rounds" in run:
        return f"{run['rounds']} rounds of a federation | {run.get('sites', 'unknown')} sites"
    return f"{run.get('steps', 'unknown')} steps | {run.get('cases', 'unknown')} phantoms"


def _columns(measures: dict[str, dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for values in measures.values() for key in values))
