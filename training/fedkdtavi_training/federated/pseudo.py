"""Teachers look at every CT of a site, the product's way: crop, network, refiner, sub-voxel decoding, plausibility.

What they see is stored as mean, covariance and confidence of each landmark and a probability map of calcium; what it
weighs in training is decided there (:mod:`.labels`), so one set serves soft and hard pseudo-labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedkdtavi_core import fine, geometry, heatmap, intensity, looks, plausibility, schema
from fedkdtavi_core.annotation import Annotation, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.measurements import landmark_points
from fedkdtavi_core.measurements.blood import no_contrast
from fedkdtavi_core.volume import Grid, Volume

from .. import cache, networks, train
from ..config import FINE_ENOUGH
from ..data import heart_channel
from ..networks import sees_heart
from ..seed_recipe.readout import HEATMAPS, OF_RECIPE, read
from .config import REFINER, Stage
from .labels import row_slice
from .messages import Teacher, Update
from .pseudo_store import FULL, Pseudo
from .site import Site

BELIEVED = 0.2  # confidence from which a landmark is compared with others: a wild guess must not accuse its neighbours
IN_QUESTION = 0.1  # probability from which a voxel is one that could be calcium


def label_site(
    site: Site,
    stage: Stage,
    number: int,
    teachers: Mapping[str, Teacher],
    report: Callable[[int, int], None] = lambda done, todo: None,
) -> Update:
    """Make set ``number`` of the site's pseudo-labels; cases that these teachers have seen so before are kept.

    Returns:
        An update without weights: ``metrics`` has the number of cases and the heads' mean certainty, ``digest`` stands
        for all pseudo-labels of the site.
    """
    device = stage.training.device
    train.check_device(device)
    train.prepare_torch(device)
    nets = {teacher.digest: _network(teacher).to(device) for teacher in teachers.values()}
    by_head = {head: nets[teacher.digest] for head, teacher in teachers.items() if head != REFINER}
    last = _LastLook.of(teachers[REFINER], nets) if REFINER in teachers else None
    made_by = {head: teachers[head].digest for head in sorted(teachers)}
    store, (cases, _) = site.pseudo(number), site.readable(stage.test_ratio, stage.held_out)
    digests, sums = [], dict.fromkeys(sorted(by_head), 0.0)
    loss = stage.training.loss
    view = (stage.training.crop, loss.spacing_mm, loss.recipe)
    closer = {head: one.closer_look_mm for head, one in teachers.items() if head in by_head and one.closer_look_mm}
    seen_as = (*view, *([closer] if closer else []), *([last.size, last.spacing_mm] if last else []))
    for done, (key, case) in enumerate(cases.items(), 1):
        if not store.holds(key, made_by, case.digest, seen_as):
            seen = look(cache.load(case.path), by_head, *view, closer=closer, last=last, device=device)
            store.save(key, Pseudo(**seen, teachers=made_by, case_digest=case.digest), seen_as)
        pseudo = store.load(key)
        digests.append((key, pseudo.digest))
        for head in sums:
            sums[head] += pseudo.calc_certainty if head == "calc" else float(pseudo.confidence[row_slice(head)].mean())
        report(done, len(cases))
    metrics = {f"certainty_{head}": total / max(len(cases), 1) for head, total in sums.items()}
    digest = train.digest({key: torch.frombuffer(bytearray.fromhex(d), dtype=torch.uint8) for key, d in digests})
    return Update(site.name, number, "", {}, {}, metrics | {"cases": float(len(cases))}, digest)


def look(
    case: cache.Case,
    by_head: Mapping[str, torch.nn.Module],
    crop: int,
    spacing_mm: float,
    recipe: str = HEATMAPS,
    *,
    closer: Mapping[str, float] | None = None,
    last: _LastLook | None = None,
    device: str = "cpu",
) -> dict[str, object]:
    """What the networks see in one case: the fields of :class:`.pseudo_store.Pseudo` but for the digests.

    The crop starts in the middle of the case, where the coarse network saw the root, and is centred anew once on the
    hinge points that are seen. Heads in ``closer`` (head -> voxel size in mm) are then seen that closely, too, if the
    case is cached that fine, and both looks become one as they do in use (:func:`fedkdtavi_core.looks.closer`). A
    refiner, if there is one, looks last, along the axes of the root that these show. A calcium network has one look,
    around the root that the others show, or else in the middle of the case. Axes of the case are R, A, S with its first
    voxel at 0 mm. The networks are on ``device``; all but they is done on the CPU.
    """
    if not case.heart_known and any(sees_heart(network.arguments) for network in by_head.values()):
        raise InputError("A case has no heart classes to condition on; crop it anew with a bundle's coarse network.")
    affine = np.diag([case.spacing, case.spacing, case.spacing, 1.0])
    volume = Volume(case.hu, affine)
    first = volume.grid.to_ras((np.array(case.hu.shape) - 1) / 2)

    def view(nets: Mapping[str, torch.nn.Module], grid: Grid) -> _View:
        return _View.of(volume, nets, grid, case.heart, device)

    usually = {head: net for head, net in by_head.items() if not isinstance(net, networks.CalciumNet)}
    usual = view(usually, geometry.crop_grid(first, crop, spacing_mm))
    decoded = usual.landmarks(recipe)
    better = fine.better_center(decoded, first, first) if "hps" in by_head else None
    if better is not None:
        usual = view(usually, geometry.crop_grid(better, crop, spacing_mm))
        decoded = usual.landmarks(recipe)
    views = [usual]
    middle = fine.root_center({i: one.position for i, one in decoded.items()})
    decoded = {i: one for i, one in decoded.items() if looks.within_reach(one, middle)}
    near = {head: mm for head, mm in (closer or {}).items() if head in by_head and case.spacing <= FINE_ENOUGH * mm}
    if middle is None:
        near, middle = {head: mm for head, mm in near.items() if head not in usually}, first
    for voxel_mm in sorted(set(near.values())):
        nets = {head: by_head[head] for head, mm in near.items() if mm == voxel_mm}
        close = view(nets, geometry.crop_grid(middle, crop, voxel_mm))
        closely = close.landmarks(recipe, times=usual)
        decoded |= {i: _as_one(decoded.get(i), one) for i, one in closely.items() if looks.within_reach(one, middle)}
        views += [close]
    if last is not None and (along := last.grid(decoded)) is not None:
        seen_last = view(dict.fromkeys(networks.LANDMARK_HEADS, last.network), along).landmarks(HEATMAPS)
        decoded |= {i: _refined(i, decoded[i], one) for i, one in seen_last.items() if i in decoded}
    calcium = [(one.calcium(), one.grid) for one in views if "calc" in one.logits]
    likely, contrast = _plausibility(case, decoded, volume)
    count = len(schema.LANDMARK_IDS)
    seen = {
        "mean": np.full((count, 3), np.nan, np.float32),
        "covariance": np.zeros((count, 3, 3), np.float32),
        "confidence": np.zeros(count, np.float32),
        "plausibility": likely,
        "calc": None,
        "calc_certainty": 0.0,
    }
    for row, label_id in enumerate(schema.LANDMARK_IDS):
        if label_id in decoded:
            seen["mean"][row] = decoded[label_id].position / case.spacing
            seen["covariance"][row] = decoded[label_id].covariance / case.spacing**2
            seen["confidence"][row] = decoded[label_id].confidence
    if calcium:
        seen["calc"] = np.rint(np.clip(_on_case(calcium, volume.grid), 0, 1) * FULL).astype(np.uint8)
        seen["calc_certainty"] = calcium_certainty(calcium[-1][0]) if contrast else 0.0
    return seen


def _on_case(views: list[tuple[np.ndarray, Grid]], grid: Grid) -> np.ndarray:
    """Probability on ``grid``: that of the closest look that shows a voxel.

    Outside the usual crop nothing is calcium of the valve: its faces are 40 mm from the root's centre.
    """
    (usual, crop), *closer = views
    found = geometry.resample(Volume(usual, crop.affine), grid, fill=0.0)
    for probability, crop in closer:
        there = geometry.resample(Volume(np.ones_like(probability), crop.affine), grid, fill=0.0) > 0.99
        found = np.where(there, geometry.resample(Volume(probability, crop.affine), grid, fill=0.0), found)
    return found


def calcium_certainty(probability: np.ndarray) -> float:
    """Mean of |2 p - 1| over the voxels in question (p over 0.1).

    0 when there are none: a teacher that sees no calcium in a valve that is to be replaced has more likely missed it.
    """
    asked = probability[probability > IN_QUESTION]
    return float(np.abs(2 * asked - 1).mean()) if asked.size else 0.0


def _as_one(usual: heatmap.Decoded | None, close: heatmap.Decoded) -> heatmap.Decoded:
    seen = None if usual is None else (usual.position, usual.covariance, usual.confidence)
    position, covariance, raw = looks.closer(seen, close)
    return replace(close, position=position, covariance=covariance, confidence=raw)


def _refined(label_id: str, seen: heatmap.Decoded, last: heatmap.Decoded) -> heatmap.Decoded:
    position, covariance, raw = looks.refined(label_id, (seen.position, seen.covariance, seen.confidence), last)
    return replace(seen, position=position, covariance=covariance, confidence=raw)


@dataclass(frozen=True)
class _LastLook:
    """A refiner, and the crop that it is given: ``size`` voxels of ``spacing_mm``."""

    network: torch.nn.Module
    size: int
    spacing_mm: float

    @classmethod
    def of(cls, teacher: Teacher, nets: Mapping[str, torch.nn.Module]) -> _LastLook:
        if teacher.crop is None or teacher.closer_look_mm is None:
            raise InputError("A refiner among the teachers does not say how large and how fine its look is.")
        return cls(nets[teacher.digest], teacher.crop, teacher.closer_look_mm)

    def grid(self, decoded: Mapping[str, heatmap.Decoded]) -> Grid | None:
        """Its crop along the axes of the root that is seen; None where there is no root."""
        points = {label_id: one.position for label_id, one in decoded.items()}
        return fine.aligned_grid(points, {"size": self.size, "spacing_mm": self.spacing_mm})


@dataclass(frozen=True)
class _View:
    """What the networks say of one crop: head -> (1, C, D, H, W) logits, and the crop's grid."""

    logits: dict[str, np.ndarray]
    grid: Grid

    @classmethod
    def of(
        cls, volume: Volume, by_head: Mapping[str, torch.nn.Module], grid: Grid, heart: np.ndarray, device: str
    ) -> _View:
        image = torch.from_numpy(intensity.normalise(geometry.resample(volume, grid)))[None, None]
        image = image.to(memory_format=torch.channels_last_3d)
        both = image
        if any(sees_heart(network.arguments) for network in by_head.values()):
            classes = geometry.resample_labels(heart, volume.affine, grid)
            both = torch.cat([image, torch.from_numpy(heart_channel(classes))[None, None]], dim=1)
            both = both.to(memory_format=torch.channels_last_3d)
        outputs: dict[int, dict[str, torch.Tensor]] = {}
        for network in {id(network): network for network in by_head.values()}.values():
            with torch.inference_mode():
                outputs[id(network)] = network((both if sees_heart(network.arguments) else image).to(device))
        return cls({h: outputs[id(network)][h].float().cpu().numpy() for h, network in by_head.items()}, grid)

    def landmarks(self, recipe: str, times: _View | None = None) -> dict[str, heatmap.Decoded]:
        """Landmark id -> Decoded, without the missing; heatmaps multiplied by those of the view ``times``, if given."""
        heads = {h: {"outputs": schema.HEADS[h], "readout": OF_RECIPE[recipe]} for h in self.logits if h != "calc"}
        logits = self.logits
        if times is not None:
            logits = logits | fine.both(times.logits, times.grid, self.logits, self.grid, heads)
        decoded: dict[str, heatmap.Decoded] = {}
        for head in heads:
            found = read(recipe, logits[head][0], fine.output_grid(self.grid, logits[head].shape[2]))
            pairs = zip(schema.HEADS[head], found, strict=True)
            decoded |= {label_id: one for label_id, one in pairs if one is not None}
        return decoded

    def calcium(self) -> np.ndarray:
        """(S, S, S) probability; for a view with that head."""
        return np.exp(-np.logaddexp(np.float32(0), -self.logits["calc"][0, 0]))


def _plausibility(case: cache.Case, decoded: Mapping[str, heatmap.Decoded], volume: Volume) -> tuple[np.ndarray, bool]:
    """(7,) scores beside the case's true labels, and whether the CT has contrast.

    0 for what cannot be, or is not believed; and for every prediction on a CT without contrast, where it is a guess.
    """
    annotation = Annotation()
    for row, (label_id, landmark) in enumerate(annotation.landmarks.items()):
        if np.isfinite(case.points[row]).all():
            landmark.position, landmark.status = volume.grid.to_ras(case.points[row]), Status.CONFIRMED
        elif label_id in decoded and decoded[label_id].confidence >= BELIEVED:
            landmark.position, landmark.confidence = decoded[label_id].position, decoded[label_id].confidence
    contrast = not no_contrast(volume, landmark_points(annotation, volume.grid))
    plausibility.check(annotation, volume.grid)
    scores = plausibility.plausibility_score(annotation)
    guesses = {i for i, mark in annotation.landmarks.items() if mark.status is Status.PREDICTED and not contrast}
    return np.array([0.0 if i in guesses else scores[i] for i in schema.LANDMARK_IDS], np.float32), contrast


def _network(teacher: Teacher) -> torch.nn.Module:
    network = networks.build(teacher.model, teacher.network)
    network.load_state_dict(network.state_dict() | teacher.weights)
    return network.eval()
