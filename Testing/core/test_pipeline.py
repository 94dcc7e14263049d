"""The whole way of a CT with real networks: every landmark at its place in millimetres, whatever the CT's axes."""

import json

import numpy as np
import pytest
import tiny_bundle
from tiny_bundle import CENTER, POINTS
from tube_phantom import nodule, struts, together, tube

from fedkdtavi_core import pipeline, schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.errors import Cancelled, NoRootError
from fedkdtavi_core.labels.record import volume_digest
from fedkdtavi_core.plausibility import UNSEEN
from fedkdtavi_core.progress import Progress
from fedkdtavi_core.volume import Volume


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("pipeline") / "bundle")


@pytest.fixture(scope="module")
def ct():
    return tiny_bundle.blob_volume()


@pytest.fixture(scope="module")
def annotated(ct, bundle):
    return pipeline.annotate(ct, bundle, device="cpu")


def _errors(annotation):
    return {i: float(np.linalg.norm(annotation.point(i) - point)) for i, point in POINTS.items()}


def test_all_landmarks_in_the_schemas_order(annotated):
    assert tuple(annotated.landmarks) == schema.LANDMARK_IDS
    assert max(_errors(annotated).values()) < 0.8
    for landmark in annotated.landmarks.values():
        assert landmark.status is Status.PREDICTED
        assert 0.5 < landmark.confidence < 1
        assert landmark.covariance.shape == (3, 3)


def test_the_provenance_tells_what_was_done_with_what(annotated, bundle, ct):
    told = json.loads(json.dumps(annotated.provenance))
    assert told["bundle"] == {"digest": bundle.digest, "name": "tiny", "version": "1"}
    assert told["ct"]["sha256"] == volume_digest(ct)
    assert told["ct"]["shape"] == list(ct.array.shape) and told["ct"]["path"] == "blobs.nii.gz"
    assert told["device"] == "cpu" and told["opset"] == {"coarse": 17, "student": 17}
    assert set(told["timings"]) == {"coarse", "fine", "decode", "plausibility", "calcium", "contour"}
    assert min(told["timings"].values()) >= 0
    assert told["coarse"]["source"] == "coarse network" and told["coarse"]["score"] > 0.9
    np.testing.assert_allclose(told["fine"]["crop_centers_ras"][-1], CENTER, atol=3.5)
    assert set(told["fine"]["raw_confidence"]) == set(POINTS)
    assert "synthetic phantoms" in told["trained_on"]
    assert annotated.warnings == [] or all(isinstance(w, str) for w in annotated.warnings)


def test_the_suggestion_of_calcium_is_handed_on(annotated):
    assert annotated.suggestion.dtype == np.uint8
    inside = np.argwhere(annotated.suggestion)
    ras = inside @ annotated.suggestion_affine[:3, :3].T + annotated.suggestion_affine[:3, 3]
    np.testing.assert_allclose(ras.mean(axis=0), CENTER + tiny_bundle.CALCIUM_OFFSET, atol=0.5)
    assert "calcium" in annotated.provenance and "contour" in annotated.provenance


def _reoriented(ct, axes, flips):
    """The same CT stored with its axes in another order and direction."""
    array, affine = ct.array.transpose(axes), ct.affine.copy()
    affine[:3, :3] = affine[:3, list(axes)]
    for axis in flips:
        array = np.flip(array, axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(array), affine, ct.info)


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0, 1)), ((2, 0, 1), (1,)), ((1, 2, 0), (0, 1, 2))])
def test_the_order_and_direction_of_the_axes_change_nothing(ct, bundle, annotated, axes, flips):
    found = pipeline.annotate(_reoriented(ct, axes, flips), bundle, device="cpu")
    for label_id in POINTS:
        np.testing.assert_allclose(found.point(label_id), annotated.point(label_id), atol=0.02)
    np.testing.assert_array_equal(
        _reoriented(Volume(annotated.calcification, ct.affine), axes, flips).array, found.calcification
    )


@pytest.mark.parametrize(("axis", "degrees"), [((1, 0, 0), 20), ((1, 2, -1), 35)])
def test_oblique_and_anisotropic_volumes(bundle, axis, degrees):
    shape = (120, 130, 80)
    affine = np.eye(4)
    affine[:3, :3] = tiny_bundle.rotation(axis, degrees) @ np.diag([-1.2, 1.1, 2.0])
    affine[:3, 3] = CENTER - affine[:3, :3] @ (np.array(shape) / 2)
    found = pipeline.annotate(tiny_bundle.blob_volume(affine, shape), bundle, device="cpu")
    assert max(_errors(found).values()) < 1.2


def test_points_of_a_person_stand_and_the_others_are_predicted(ct, bundle):
    moved = POINTS["hinge_rcc"] + np.array([1.5, 0.0, 0.0])
    points = {
        "hinge_rcc": moved,
        "ostium_rca": Landmark("ostium_rca", POINTS["ostium_rca"] + 1.0, status=Status.CONFIRMED),
        "ms_upper": Landmark("ms_upper", status=Status.ABSENT),
        "ms_lower": Landmark("ms_lower", np.zeros(3), status=Status.PREDICTED),
    }
    found = pipeline.annotate(ct, bundle, device="cpu", points=points)
    np.testing.assert_array_equal(found.point("hinge_rcc"), moved)
    assert found.landmarks["hinge_rcc"].status is Status.CORRECTED
    assert found.landmarks["hinge_rcc"].confidence is None
    np.testing.assert_array_equal(found.point("ostium_rca"), POINTS["ostium_rca"] + 1.0)
    assert found.landmarks["ostium_rca"].status is Status.CONFIRMED
    assert found.point("ms_upper") is None and found.landmarks["ms_upper"].status is Status.ABSENT
    assert np.linalg.norm(found.point("ms_lower") - POINTS["ms_lower"]) < 0.8
    assert np.linalg.norm(found.point("hinge_lcc") - POINTS["hinge_lcc"]) < 0.8
    assert tuple(found.landmarks) == schema.LANDMARK_IDS


def test_given_hinge_points_say_where_the_root_is(ct, bundle, tmp_path):
    blind = tiny_bundle.described(thresholds={"root_score": 1.0})
    other = tiny_bundle.write_bundle(tmp_path / "b", meta=blind)
    hinges = {i: POINTS[i] for i in schema.HINGE_IDS}
    with pytest.raises(NoRootError, match="no aortic root"):
        pipeline.annotate(ct, other, device="cpu")
    found = pipeline.annotate(ct, other, device="cpu", points=hinges)
    assert found.provenance["coarse"]["source"] == "given hinge points"
    assert max(_errors(found).values()) < 0.8
    elsewhere = {i: point + np.array([500.0, 0, 0]) for i, point in hinges.items()}
    with pytest.raises(NoRootError, match="outside this CT"):
        pipeline.annotate(ct, bundle, device="cpu", points=elsewhere)


def test_an_unsure_root_must_look_like_one(ct, bundle, tmp_path):
    thresholds = {**tiny_bundle.described()["thresholds"], "root_sure": 1.0}
    other = tiny_bundle.write_bundle(tmp_path / "b", meta=tiny_bundle.described(thresholds=thresholds))
    found = pipeline.annotate(ct, other, device="cpu")
    assert max(_errors(found).values()) < 0.8
    # The same spheres with left and right exchanged, as of a wrong header: no valve is built like that.
    mirrored = Volume(ct.array[::-1].copy(), ct.affine, ct.info)
    with pytest.raises(NoRootError, match=r"blobs.nii.gz: .* does not have the shape of one \(.*set the three hinge"):
        pipeline.annotate(mirrored, other, device="cpu")
    assert pipeline.annotate(mirrored, bundle, device="cpu").landmarks
    middle = other.metadata["thresholds"] | {"root_sure": 0.5}
    easy = tiny_bundle.write_bundle(tmp_path / "c", meta=tiny_bundle.described(thresholds=middle))
    assert pipeline.annotate(mirrored, easy, device="cpu").landmarks


def test_an_unknown_landmark_is_a_mistake_of_the_caller(ct, bundle):
    with pytest.raises(KeyError, match="unknown label id 'knee'"):
        pipeline.annotate(ct, bundle, device="cpu", points={"knee": np.zeros(3)})


def test_doubtful_landmarks_are_told_and_kept(ct, bundle, tmp_path):
    thresholds = {**tiny_bundle.described()["thresholds"], "min_confidence": 0.99}
    other = tiny_bundle.write_bundle(tmp_path / "b", meta=tiny_bundle.described(thresholds=thresholds))
    found = pipeline.annotate(ct, other, device="cpu")
    assert all(any("uncertain: confidence 0." in f for f in m.flags) for m in found.landmarks.values())
    assert max(_errors(found).values()) < 0.8


def test_no_heart_is_no_annotation(bundle):
    with pytest.raises(NoRootError):
        pipeline.annotate(tiny_bundle.blob_volume(heart=False), bundle, device="cpu")


def test_progress_rises_to_one_and_cancel_works_at_every_step(ct, bundle):
    told = []
    pipeline.annotate(ct, bundle, device="cpu", progress=Progress(lambda fraction, words: told.append(fraction)))
    assert told == sorted(told) and told[-1] == 1.0 and len(told) >= 8
    asked = []
    pipeline.annotate(ct, bundle, device="cpu", progress=Progress(cancelled=lambda: asked.append(None)))
    for step in {0, len(asked) // 2, len(asked) - 1}:
        count = iter(range(len(asked)))
        with pytest.raises(Cancelled):
            pipeline.annotate(
                ct, bundle, device="cpu", progress=Progress(cancelled=lambda c=count, s=step: next(c) >= s)
            )


def test_the_same_ct_gives_the_same_annotation_twice(ct, bundle, annotated):
    again = pipeline.annotate(ct, bundle, device="cpu")
    for label_id in POINTS:
        np.testing.assert_array_equal(again.point(label_id), annotated.point(label_id))
        assert again.landmarks[label_id].confidence == annotated.landmarks[label_id].confidence
    np.testing.assert_array_equal(again.calcification, annotated.calcification)


def test_deriving_anew_keeps_what_a_person_reviewed(ct, annotated):
    from copy import deepcopy

    reviewed = deepcopy(annotated)
    reviewed.calcification = np.zeros(ct.array.shape, np.uint8)
    reviewed.calcification_status = Status.CORRECTED
    reviewed.annulus_contour = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    reviewed.contour_status = Status.CONFIRMED
    pipeline.derive(ct, reviewed)
    assert not reviewed.calcification.any()
    assert reviewed.annulus_contour.shape == (3, 3)


def test_a_point_on_which_student_and_refiner_disagree_is_flagged(tmp_path):
    look = {"size": 48, "spacing_mm": 1.0}
    torn = tiny_bundle.write_bundle(
        tmp_path / "b",
        refiner=tiny_bundle.student_model(heads=("hps", "ms")),
        meta=tiny_bundle.described(aligned_look=look),
    )
    session = torn.session("refiner", "cpu")

    def elsewhere(image):
        outputs = session(image)
        outputs["hps"][:, 3] = np.roll(outputs["hps"][:, 3], 3, axis=2)  # the RCA's ostium, by 6 mm
        return outputs

    torn._sessions["refiner", "cpu"] = elsewhere
    found = pipeline.annotate(tiny_bundle.blob_volume(), torn, device="cpu")
    flagged = {i for i, mark in found.landmarks.items() if any("two looks put it 5 mm apart" in f for f in mark.flags)}
    assert flagged == {"ostium_rca"}
    told = found.provenance["fine"]["apart_mm"]
    assert told["ostium_rca"] == pytest.approx(5.2, abs=0.4) and max(told[i] for i in POINTS if i != "ostium_rca") < 1
    assert np.linalg.norm(found.point("ostium_rca") - POINTS["ostium_rca"]) < 1  # the student is believed

    given = {"ostium_rca": POINTS["ostium_rca"]}  # a person's point is nobody's doubt
    again = pipeline.annotate(tiny_bundle.blob_volume(), torn, device="cpu", points=given)
    assert not any("two looks" in flag for flag in again.landmarks["ostium_rca"].flags)


def test_what_the_calcium_network_holds_for_calcium_is_measured(tmp_path):
    network = tiny_bundle.student_model(heads=("calc",))
    meta = tiny_bundle.described(calcium_look={"size": 64, "spacing_mm": 0.85})
    meta["thresholds"]["calcium_score"] = 0.6
    ct = tiny_bundle.blob_volume()
    made = tiny_bundle.write_bundle(tmp_path / "b", calcium=network, meta=meta)
    found = pipeline.annotate(ct, made, device="cpu")
    assert found.provenance["fine"]["calcium_score"] == 0.6
    assert (
        "by the calcium network's probability, and by how far a voxel is on the way from the blood's"
        in found.provenance["calcium"]["rule"]
    )
    assert found.provenance["calcium"]["threshold_hu"] is None
    places = ct.grid.to_ras(np.argwhere(found.calcification))
    np.testing.assert_allclose(places.mean(axis=0), CENTER + tiny_bundle.CALCIUM_OFFSET, atol=0.8)
    assert found.suggestion.size < found.calcification.size / 50  # a box of the CT's voxels, not all of them

    before = found.calcification.copy()
    found.landmarks["ostium_rca"] = Landmark("ostium_rca", places.mean(axis=0), status=Status.CORRECTED)
    pipeline.derive(ct, found)  # a point that was moved: the same voxels, less those in the artery's mouth
    assert 0 < found.calcification.sum() < before.sum() and not np.any(found.calcification > before)


@pytest.mark.parametrize(("blood", "guessed"), [(420, False), (45, True)])
def test_flags_go_by_the_contrast(blood, guessed):
    root = tube(blood=blood, tissue=55, noise=15)
    annotation = root.annotation()
    annotation.landmarks["ostium_lca"].position = root.at(133, 4, 3)
    annotation.landmarks["ostium_lca"].confidence = 0.9
    pipeline.derive(root.volume, annotation)
    flags = annotation.landmarks["ostium_lca"].flags
    assert (flags == [UNSEEN]) is guessed
    assert annotation.landmarks["ostium_lca"].confidence == (None if guessed else 0.9)
    assert any("annulus plane" in words for words in flags) is not guessed


def test_a_prosthesis_is_told_first_and_once():
    """Struts all round, and a suggestion that takes them for calcium; derived again without them nothing is said."""
    frame = struts(range(0, 360, 30), range(-4, 13, 2))
    root = tube(change=together(*(nodule(*place, peak=2000) for place in frame)))
    annotation = root.annotation()
    annotation.suggestion = (root.volume.array > 1000).astype(np.uint8)
    annotation.suggestion_affine = root.volume.affine
    for _ in range(2):
        pipeline.derive(root.volume, annotation)
        assert annotation.calcification is None
        assert annotation.warnings.count(pipeline.PROSTHESIS) == 1
    native = tube()
    pipeline.derive(native.volume, annotation)
    assert pipeline.PROSTHESIS not in annotation.warnings
