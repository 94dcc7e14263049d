"""From a bundle and its reviewers' labels to the next bundle: weights out, trained on, exported, parent named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.bundle import Bundle, layout, metadata
from fedkdtavi_core.errors import BundleError, UsageError

from .. import bundle_weights, card, export, given, networks
from ..average import average
from ..federated import experiment
from ..federated.config import HEADS, REFINER, Experiment
from ..federated.pace import to_stderr
from ..federated.plain import PlainDriver
from . import lessons
from .settings import NextRound, calcium_training, refiner_training, training

_KEPT_CONFIDENCE = (
    "The table of confidences is the parent bundle's: it was measured with other weights. Measure it anew with "
    "`fedkdtavi evaluate` and `fedkdtavi calibrate`."
)


def run(
    settings: NextRound,
    *,
    say: Callable[[str], None] = to_stderr,
    driver: experiment.MakeDriver = PlainDriver,
    force: bool = False,
) -> dict[str, Any]:
    """Train on and write the new bundle; returns its digest, its parent and what it was taught.

    A run that was cut off goes on; one that is done gives the same bundle again. ``force``: another bundle that lies
    where the new one is to lie is replaced.

    Raises:
        UsageError, InputError, BundleError, TrainingError, ExportError: one sentence; there is no new bundle then.
    """
    parent = bundles.resolve(settings.bundle)
    calibration = _calibration(settings, parent)
    results = None if settings.results is None else card.read_results(settings.results)
    doubt = [_KEPT_CONFIDENCE] if calibration is None and parent.metadata["calibration"] else []
    starts, how = _trained_on_from(settings, parent)
    if settings.new_bundle.resolve() == parent.path.resolve():
        raise UsageError(f"{settings.new_bundle}: is the parent itself; choose another new_bundle.")
    name = settings.name or parent.metadata["name"]
    export.check_place(settings.new_bundle)
    if not force:  # before hours of training
        _check_own(settings.new_bundle, parent, f"{name} {settings.version}")
    found = lessons.gather(settings.sites, parent, settings.held_out, settings.out / "crops", say)
    if settings.calcium is not None:
        lessons.check_calcium(found, settings.aggregation.k)
    links = experiment.run(
        Experiment(
            sites=[{"name": one.name, "folder": one.crops} for one in found],
            out=settings.out,
            seed=settings.seed,
            aggregation=settings.aggregation,
            deadline_s=settings.deadline_s,
            pseudo=settings.pseudo,
            **how,
        ),
        say=say,
        driver=driver,
    )["federated"]
    shipped, made_of = {}, {}
    learned = {role: links["teachers"]["calc"] if role == "calcium" else links[role] for role in starts}
    for role, before in starts.items():
        made_of[role] = settings.out / "federated" / f"{learned[role]['stage']}.safetensors"
        shipped[role] = learned[role]["digest"]
        if settings.parent_share:
            mean = settings.out / f"{role}.safetensors"
            parts = {made_of[role]: 1 - settings.parent_share, before: settings.parent_share}
            shipped[role], made_of[role] = average(parts, mean)["digest"], mean
    taught = {"held_out": settings.held_out, "sites": {one.name: one.told for one in found}}
    real = sum(not one.told["synthetic"] for one in found)
    if not force:
        _check_own(settings.new_bundle, parent, f"{name} {settings.version}", links["chain"])
    made = export.assemble(
        settings.new_bundle,
        parent,
        made_of["student"],
        refiner=made_of.get("refiner", parent),
        calcium=made_of.get("calcium", parent),
        name=name,
        version=settings.version,
        calibration=calibration or parent.metadata["calibration"],
        trained_on=_trained_on(parent, real),
        results=results,
        provenance={
            "parent": export.lineage(parent),
            "taught": taught,
            **learned,
            "parent_share": settings.parent_share,
            "chain": links["chain"],
            "calibration": "the parent's" if doubt else "its own" if calibration else "none",
        },
        limits=doubt,
        partly=True,  # no less than its parent knows
    )
    say(f"{settings.new_bundle}: digest {made['digest'][:16]}; adopt it only if `fedkdtavi bundle compare` says so")
    return {
        "bundle": str(settings.new_bundle),
        "digest": made["digest"],
        "parent": parent.digest,
        "taught": taught,
        **shipped,
        "export": made["student"],
        "compare": [
            f"fedkdtavi bundle compare {parent.path} {settings.new_bundle} {site.folder}" for site in settings.sites
        ],
    }


def _trained_on_from(settings: NextRound, parent: Bundle) -> tuple[dict[str, Path], dict[str, Any]]:
    """The parent's weights of each network that is trained on, and the entries of the experiment that say how."""
    start, model, network = weights(parent, settings.out, "student")
    starts, how = {"student": start}, {"student": training(settings, parent, model, network), "init": start}
    if settings.pseudo is not None:
        how["teacher_weights"] = teachers(parent, settings.out, start)
    if settings.refiner is not None:
        starts["refiner"], _, network = weights(parent, settings.out, "refiner")
        how |= {"refiner": refiner_training(settings, parent, network), "refiner_init": starts["refiner"]}
    if settings.calcium is not None:  # it is the teacher of calcium: trained before the student, whom it then teaches
        starts["calcium"], _, network = weights(parent, settings.out, "calcium")
        how["teachers"] = {"calc": calcium_training(settings, parent, network)}
        how["teacher_init"] = {"calc": how["teacher_weights"].pop("calc")}
    return starts, how


def _check_own(folder: Path, parent: Bundle, name: str, chain: str | None = None) -> None:
    """Is what lies there this round's own bundle, of an earlier run? Raises UsageError when it is another one."""
    if not export.is_bundle(folder):
        return
    try:
        there = bundles.verify(folder)
    except BundleError as error:
        raise UsageError(f"{folder}: holds a broken bundle; add --force to replace it or remove it.") from error
    told, of = there.provenance, there.provenance.get("parent")
    if not isinstance(of, dict) or of.get("digest") != parent.digest:
        why = "of another parent"
    elif there.name != name:
        why = f"with another name, {there.name}"
    elif chain not in (None, told.get("chain")):
        why = "that was taught something else"
    else:
        return
    raise UsageError(f"{folder}: holds a bundle {why}; add --force to replace it or choose another new_bundle.")


def teachers(parent: Bundle, out: Path, student: Path) -> dict[str, Path]:
    """Who labels what nobody has, as files: all networks of the parent that have a say in use.

    Its student, its refiner's last look at the landmarks, and its calcium network instead of the student's calcium.

    Args:
        student: the file that :func:`weights` wrote of it.

    Raises:
        UsageError: as :func:`weights`.
    """
    named = dict.fromkeys(HEADS, student)
    for role, place in (("refiner", REFINER), ("calcium", "calc")):
        if role in parent.scans:
            named[place] = weights(parent, out, role)[0]
    return named


def weights(parent: Bundle, out: Path, role: str) -> tuple[Path, str, dict[str, Any]]:
    """The weights of one of its networks as a file in ``out``, which network it is, and its description.

    Args:
        role: ``student``, ``refiner`` or ``calcium``.

    Raises:
        UsageError: the bundle has no such weights, or they cannot be written.
    """
    held = parent.files[bundle_weights.source(parent, role)]
    path = out / "parent" / f"{held[:16]}.safetensors"
    bundle_weights.write(parent, role, path)
    try:
        network, model, told = networks.load(path)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    said = told | _looks(parent, role)  # the bundle says how its networks look; as teachers they look alike
    if told != said:
        networks.save(network, model, path, said)
    return path, model, network.arguments


def _looks(parent: Bundle, role: str) -> dict[str, Any]:
    fed = parent.metadata["preprocessing"]
    if role == "student":
        return {"closer_look_mm": fed.get("closer_look_mm")}
    look = fed[layout.OPTIONAL[role]]
    return {"crop_size": look["size"], "crop_spacing_mm": look["spacing_mm"]}


def _calibration(settings: NextRound, parent: Bundle) -> dict[str, Any] | None:
    if settings.calibration is None:
        return None
    found = given.table(settings.calibration, "calibration", "calibrate")
    metadata.check({**parent.metadata, "calibration": found}, str(settings.calibration))
    return found


def _trained_on(parent: Bundle, real: int) -> str:
    """What the parent was trained on, and the number of sites whose CTs are no phantoms, if there are any."""
    if not real:
        return parent.metadata["trained_on"]
    before = parent.metadata["trained_on"].split(";")[0]
    if "reviewed CTs" in before:
        before = before.split(", then")[0]
    return f"{before}, then reviewed CTs of {real} {'site' if real == 1 else 'sites'}; not for clinical use"
