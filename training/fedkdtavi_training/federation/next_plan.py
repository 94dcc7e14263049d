"""The project of a next round between hospitals: from a bundle's own networks, which also label what nobody has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.errors import EXIT_OK, UsageError

from ..config import refused
from ..next_round import run as next_round
from ..next_round.settings import NextRound, training
from . import kits, project

_OF_EARLIER_JOBS = ("teacher", "teachers", "teacher_weights", "teacher_init", "refiner", "refiner_init")


def write(file: Path, parent: Path | None, out: Path, say: Callable[[str], None]) -> int:
    """Write ``out``: the federation of ``file``, whose one job trains the parent's student on.

    Crop, spacing, closer look, network and read-out are the parent's; the weights lie beside ``out``. The parent's
    refiner is taken over as it is when the new bundle is made.

    Args:
        parent: folder or zip of the bundle; None: the one in use.

    Raises:
        UsageError: the project file is wrong; ``out`` is there already, or the bundle cannot be trained on.
        BundleError: there is no such bundle, or it is refused.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; give another --out.")
    plan = project.read(file)
    bundle = bundles.resolve(parent)
    entries: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    wanted = {"pseudo": entries["pseudo"]} if "pseudo" in entries else {}
    try:
        settings = NextRound(
            sites=[{"name": site.name, "folder": site.name} for site in plan.sites],
            out=out.parent, new_bundle=out.parent, version="next", **wanted,
        )  # fmt: skip
    except ValidationError as error:
        raise refused(file, error) from error
    start, model, network = next_round.weights(bundle, out.parent.resolve(), "student")
    kept = {key: value for key, value in entries.items() if key not in _OF_EARLIER_JOBS}
    kept.setdefault("held_out", settings.held_out)
    labels = settings.pseudo is not None
    made = kept | {
        "jobs": [0],
        "student": training(settings, bundle, model, network).model_dump(mode="json"),
        "pseudo": settings.pseudo.model_dump(mode="json") if labels else None,
        "init": str(start),
    }
    if labels:
        given = next_round.teachers(bundle, out.parent.resolve(), start)
        made["teacher_weights"] = {head: str(path) for head, path in given.items()}
    part = out.with_name(f".{out.name}.part")
    try:
        kits.write(part, made)
        project.read(part)
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)
    say(f"{out}: the next round of {plan.name}, from {bundle.name}; its weights are {start}.")
    say(
        f"How long is trained stands in it as `student`. Found it with `fedkdtavi federation server init {out}`, or put"
    )
    say("it in the place of server/project.json, move server/out/task-0 away, and start the server again.")
    say(
        f"Nothing learns from {made['held_out']:.0%} of each site's cases (`held_out`): on these and on cases that are "
        "added later, `bundle compare` can judge."
    )
    say(f"After the job:\n{export_command(bundle.path)}")
    return EXIT_OK


def export_command(parent: Path) -> str:
    """What makes the new bundle of what the job has left; in its provenance it names the parent."""
    return (
        f"fedkdtavi export --coarse {parent} --refiner {parent} --calcium {parent} --parent {parent} "
        "--student server/out/task-0/federated/student.safetensors --version X.Y --out bundle"
    )
