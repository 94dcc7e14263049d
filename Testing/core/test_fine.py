"""The fine look: landmarks come back in millimetres whatever the CT's axes, crops re-centre, views are averaged."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
from tiny_bundle import CENTER, POINTS

from fedkdtavi_core import fine, geometry, heatmap, looks, schema
from fedkdtavi_core.errors import BundleError, Cancelled
from fedkdtavi_core.progress import Progress

OFF = np.array([9.0, -7.0, 6.0])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("fine") / "bundle")


@pytest.fixture(scope="module")
def ct():
    return tiny_bundle.blob_volume()


def _errors(result, points=POINTS):
    return {i: float(np.linalg.norm(one.position - points[i])) for i, one in result.predictions.items()}


def test_all_landmarks_are_found_with_calibrated_confidence(bundle, ct):
    result = fine.predict(ct, bundle, CENTER, "cpu")
    assert list(result.predictions) == list(POINTS)
    assert max(_errors(result).values()) < 0.8
    for one in result.predictions.values():
        assert one.raw > 0.5
        assert one.confidence == pytest.approx(np.interp(one.raw, [0, 0.5, 1], [0, 0.6, 0.98]))
        assert np.all(np.linalg.eigvalsh(one.covariance) > 0)
    assert len(result.centers) == 1 and result.device == "cpu"


def test_the_calcification_lies_where_it_is(bundle, ct):
    result = fine.predict(ct, bundle, CENTER, "cpu")
    inside = np.argwhere(result.calcification.probability > 0.5)
    truth = CENTER + tiny_bundle.CALCIUM_OFFSET
    np.testing.assert_allclose(result.grid.to_ras(inside).mean(axis=0), truth, atol=0.5)
    assert len(inside) * result.grid.voxel_volume == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.3)


@pytest.mark.parametrize("stride", [1, 2])
def test_heatmaps_may_be_coarser_than_the_crop(ct, tmp_path, stride):
    bundle = tiny_bundle.write_bundle(tmp_path / "b", student=tiny_bundle.student_model(stride))
    assert max(_errors(fine.predict(ct, bundle, CENTER, "cpu")).values()) < 0.8


def test_the_output_grid_has_the_crops_field_of_view():
    crop = geometry.crop_grid(CENTER, 64, 1.25)
    half = fine.output_grid(crop, 32)
    np.testing.assert_allclose(half.to_ras([-0.5] * 3), crop.to_ras([-0.5] * 3))
    np.testing.assert_allclose(half.to_ras([31.5] * 3), crop.to_ras([63.5] * 3))


def test_a_crop_that_is_off_is_centred_anew_once(bundle, ct):
    result = fine.predict(ct, bundle, CENTER + OFF, "cpu")
    assert len(result.centers) == 2
    np.testing.assert_allclose(result.centers[1], fine.root_center(POINTS), atol=0.7)
    assert max(_errors(result).values()) < 0.8


def test_a_crop_that_is_nearly_right_stays(bundle, ct):
    assert len(fine.predict(ct, bundle, CENTER + np.array([1.0, 1.0, -1.0]), "cpu").centers) == 1


def test_hinge_points_that_are_not_believed_move_nothing(bundle, ct):
    without = tiny_bundle.blob_volume(leave_out=("hinge_ncc",))
    result = fine.predict(without, bundle, CENTER + OFF, "cpu")
    assert len(result.centers) == 1
    assert result.predictions["hinge_ncc"].raw < 0.2 < result.predictions["hinge_rcc"].raw


def test_the_root_centre_is_8_mm_towards_the_aorta_from_the_hinge_points():
    np.testing.assert_allclose(fine.root_center(POINTS), CENTER, atol=1e-9)
    turn = tiny_bundle.rotation([1, 2, 3], 140)
    turned = {i: turn @ (point - CENTER) for i, point in POINTS.items()}
    np.testing.assert_allclose(fine.root_center(turned), 0, atol=1e-9)
    assert fine.root_center(POINTS | {"hinge_lcc": None}) is None


def test_views_are_averaged_and_heads_may_be_missing(ct, tmp_path):
    meta = tiny_bundle.described(views=[[2.0, 1.0, -1.5], [-1.5, 2.0, 1.0]], heads={"ms": ("ms_upper", "ms_lower")})
    student = tiny_bundle.student_model(heads=("ms",))
    bundle = tiny_bundle.write_bundle(tmp_path / "b", student=student, meta=meta)
    result = fine.predict(ct, bundle, CENTER, "cpu")
    assert list(result.predictions) == ["ms_upper", "ms_lower"] and result.calcification is None
    assert max(_errors(result).values()) < 0.6


def _decoded(position, confidence=0.9):
    return heatmap.Decoded(np.array(position, float), np.eye(3), confidence, (0, 0, 0))


def test_views_that_disagree_cost_confidence_and_widen_the_covariance():
    same = looks.combine([_decoded([1, 2, 3])] * 3)
    np.testing.assert_allclose(same[0], [1, 2, 3])
    np.testing.assert_allclose(same[1], np.eye(3))
    assert same[2] == pytest.approx(0.9)
    near = looks.combine([_decoded([0, 0, 0]), _decoded([2, 0, 0]), _decoded([1, 0, 0])])
    np.testing.assert_allclose(near[0], [1, 0, 0])
    np.testing.assert_allclose(near[1], np.diag([1 + 2 / 3, 1, 1]))
    torn = looks.combine([_decoded([0, 0, 0]), _decoded([0.5, 0, 0]), _decoded([60, 0, 0])])
    np.testing.assert_allclose(torn[0], [0.25, 0, 0])
    assert torn[2] == pytest.approx(0.6)
    lost = looks.combine([_decoded([0, 0, 0]), _decoded([40, 0, 0])])
    assert lost[2] == 0 and lost[1][0, 0] > 400


def test_a_closer_look_says_where_the_landmarks_are(bundle, ct, tmp_path):
    meta = tiny_bundle.described(closer_look_mm=0.8)
    twice = tiny_bundle.write_bundle(tmp_path / "b", meta=meta)
    result = fine.predict(ct, twice, CENTER, "cpu")
    assert max(_errors(result).values()) < 0.8
    assert result.grid.spacing[0] == pytest.approx(0.8) and len(result.centers) == 1
    inside = result.grid.to_ras(np.argwhere(result.calcification.probability > 0.5))
    np.testing.assert_allclose(inside.mean(axis=0), CENTER + tiny_bundle.CALCIUM_OFFSET, atol=0.5)
    once = fine.predict(ct, bundle, CENTER, "cpu")
    assert any(np.any(one.position != once.predictions[i].position) for i, one in result.predictions.items())


ALIGNED = {"size": 48, "spacing_mm": 1.0}


def test_the_refiner_looks_along_the_roots_own_axes(bundle, ct, tmp_path):
    meta = tiny_bundle.described(aligned_look=ALIGNED)
    assert meta["bundle_version"] == 4
    refiner = tiny_bundle.student_model(heads=("hps", "ms"))
    refined = tiny_bundle.write_bundle(tmp_path / "b", refiner=refiner, meta=meta)
    looked = []
    session = refined.session("refiner", "cpu")
    refined._sessions["refiner", "cpu"] = lambda image: looked.append(image) or session(image)
    result = fine.predict(ct, refined, CENTER, "cpu")
    assert max(_errors(result).values()) < 0.8
    assert [image.shape for image in looked] == [(1, 1, 48, 48, 48)]
    once = fine.predict(ct, bundle, CENTER, "cpu")
    assert all(np.any(one.position != once.predictions[i].position) for i, one in result.predictions.items())
    np.testing.assert_array_equal(result.calcification.probability, once.calcification.probability)

    # However the patient lies, the refiner is shown the same picture.
    turned = np.eye(4)
    turned[:3, :3] = tiny_bundle.rotation([1, 2, -1], 25)
    turned[:3, 3] = CENTER - turned[:3, :3] @ CENTER
    fine.predict(replace(ct, affine=turned @ ct.affine), refined, CENTER, "cpu")
    difference = np.abs(looked[1] - looked[0])
    assert np.median(difference) < 0.01 and difference.mean() < 0.05


def test_the_aligned_grid_lies_on_the_root():
    grid = fine.aligned_grid(tiny_bundle.POINTS, ALIGNED)
    middle = (np.array(grid.shape) - 1) / 2
    np.testing.assert_allclose(grid.to_ras(middle), fine.root_center(tiny_bundle.POINTS))
    hinges = grid.to_ijk(np.array([tiny_bundle.POINTS[i] for i in schema.HINGE_IDS]))
    np.testing.assert_allclose(hinges[:, 2], middle[2] - fine.ROOT_SHIFT_MM)
    assert grid.to_ijk(tiny_bundle.POINTS["ostium_rca"])[2] > middle[2] - fine.ROOT_SHIFT_MM
    half = fine.output_grid(grid, 24)
    np.testing.assert_allclose(half.to_ras(np.zeros(3)), grid.to_ras(np.full(3, 0.5)))
    np.testing.assert_allclose(half.spacing, 2.0)
    assert fine.aligned_grid({i: tiny_bundle.POINTS[i] for i in ("hinge_rcc", "hinge_lcc")}, ALIGNED) is None


def test_without_three_hinge_points_the_refiner_is_not_asked(tmp_path):
    meta = tiny_bundle.described(heads={"ms": ("ms_upper", "ms_lower")}, aligned_look=ALIGNED)
    refiner = tiny_bundle.student_model(heads=("ms",))
    partly = tiny_bundle.write_bundle(tmp_path / "b", refiner=refiner, meta=meta)
    result = fine.predict(tiny_bundle.blob_volume(), partly, CENTER, "cpu")
    assert set(result.predictions) == {"ms_upper", "ms_lower"} and ("refiner", "cpu") not in partly._sessions


def test_a_bundle_that_asks_for_a_refiner_has_one(tmp_path):
    meta = tiny_bundle.described(aligned_look=ALIGNED)
    with pytest.raises(BundleError, match=r"models/refiner\.onnx is missing"):
        tiny_bundle.write_bundle(tmp_path / "a", meta=meta)
    with pytest.raises(BundleError, match=r"models/refiner\.onnx has no output 'ms'"):
        tiny_bundle.write_bundle(tmp_path / "b", refiner=tiny_bundle.student_model(heads=("hps",)), meta=meta)


def with_calcium_network(folder, **changes):
    """A tiny bundle whose calcium network sees the student's spots one voxel of 0.85 mm larger."""
    model = tiny_bundle.student_model(heads=("calc",))
    look = {"size": 64, "spacing_mm": 0.85}
    return tiny_bundle.write_bundle(folder, calcium=model, meta=tiny_bundle.described(calcium_look=look, **changes))


def test_a_calcium_network_looks_around_the_root_that_was_found(bundle, ct, tmp_path):
    made = with_calcium_network(tmp_path / "b")
    assert made.metadata["bundle_version"] == 5
    asked = []
    result = fine.predict(ct, made, CENTER, "cpu", Progress(lambda share, text: asked.append((share, text))))
    seen = result.calcification
    assert (seen.model, seen.grid.shape) == ("calcium", (64, 64, 64))
    middle = seen.grid.to_ras(np.full(3, 31.5))
    np.testing.assert_allclose(middle, fine.root_center({i: one.position for i, one in result.predictions.items()}))
    inside = seen.grid.to_ras(np.argwhere(seen.probability > 0.5))
    np.testing.assert_allclose(inside.mean(axis=0), CENTER + tiny_bundle.CALCIUM_OFFSET, atol=0.5)
    assert "Looking for calcium" in [text for _, text in asked]
    shares = [share for share, _ in asked]
    assert shares == sorted(shares) and shares[-1] == 1.0
    once = fine.predict(ct, bundle, CENTER, "cpu")
    assert once.calcification.model == "student"
    assert all(np.all(one.position == once.predictions[i].position) for i, one in result.predictions.items())


def test_without_three_hinge_points_calcium_is_the_students(ct, tmp_path):
    septum = {"ms": ("ms_upper", "ms_lower"), "calc": ("calcification",)}
    made = with_calcium_network(tmp_path / "b", heads=septum)
    assert fine.predict(ct, made, CENTER, "cpu").calcification.model == "student"


def test_a_bundle_that_asks_for_a_calcium_network_has_one(tmp_path):
    meta = tiny_bundle.described(calcium_look={"size": 64, "spacing_mm": 0.85})
    with pytest.raises(BundleError, match=r"models/calcium\.onnx is missing"):
        tiny_bundle.write_bundle(tmp_path / "a", meta=meta)
    with pytest.raises(BundleError, match=r"models/calcium\.onnx has no output 'calc'"):
        tiny_bundle.write_bundle(tmp_path / "b", calcium=tiny_bundle.student_model(heads=("hps",)), meta=meta)


def test_two_looks_are_multiplied_on_the_closer_grid():
    crops = geometry.crop_grid(CENTER, 64, 1.25), geometry.crop_grid(CENTER + 2.0, 64, 0.85)
    heads = {"ms": {"outputs": ["ms_upper", "ms_lower"]}, "hps": {"outputs": ["hinge_rcc"], "readout": "centroid"}}

    def ramp(crop):
        ras = fine.output_grid(crop, 32).to_ras(np.stack(np.indices((32,) * 3), axis=-1))
        return (ras @ np.array([0.1, -0.2, 0.3]))[None, None].astype(np.float32).repeat(2, axis=1)

    usual, close = ({"ms": ramp(crop), "hps": ramp(crop)[:, :1]} for crop in crops)
    product = fine.both(usual, crops[0], close, crops[1], heads)
    assert list(product) == ["ms"]  # a segmentation's logits are no heatmap
    np.testing.assert_allclose(product["ms"], 2 * ramp(crops[1]), atol=1e-4)  # a ramp is read exactly


def test_of_two_looks_that_disagree_the_surer_is_believed_half():
    usual = (np.zeros(3), 4 * np.eye(3), 0.8)
    position, covariance, raw = looks.closer(usual, _decoded([0, 3, 0], 0.9))
    np.testing.assert_allclose(position, [0, 3, 0])
    np.testing.assert_allclose(covariance, np.eye(3))
    assert raw == pytest.approx(0.85)
    position, covariance, raw = looks.closer(usual, _decoded([0, 12, 0], 0.7))
    np.testing.assert_allclose(position, 0)
    assert covariance[0, 0] == 4 and raw == pytest.approx(0.4)
    position, covariance, raw = looks.closer(usual, _decoded([0, 12, 0], 0.9))
    np.testing.assert_allclose(position, [0, 12, 0])
    assert covariance[0, 0] == 1 and raw == pytest.approx(0.45)


def test_a_look_that_puts_a_landmark_out_of_reach_is_not_believed():
    middle = np.array([10.0, 0.0, 0.0])
    assert looks.within_reach(_decoded([40, 0, 20]), middle) and not looks.within_reach(None, middle)
    assert not looks.within_reach(_decoded([40, 0, 30]), middle)  # in a corner of the crop
    assert looks.within_reach(_decoded([40, 0, 30]), None)  # nobody knows where the root is
    position, covariance, raw = looks.closer(None, _decoded([0, 3, 0], 0.9))  # of the two looks the closer one alone
    np.testing.assert_allclose(position, [0, 3, 0])
    assert covariance[0, 0] == 1 and raw == pytest.approx(0.45)


@pytest.mark.parametrize("again", [None, 0.9])
def test_what_looks_like_a_landmark_in_a_corner_of_the_crop_is_none(tmp_path, again):
    """The left ostium cannot be seen, but 58 mm from the root something looks like it."""
    model = tiny_bundle.write_bundle(tmp_path / "b", meta=tiny_bundle.described(closer_look_mm=again))
    volume = tiny_bundle.blob_volume(leave_out=("ostium_lca",))
    place = volume.grid.to_ijk(CENTER + 33.5)
    ball = np.linalg.norm(np.stack(np.indices(volume.array.shape), -1) - place, axis=-1) <= 3
    volume.array[ball] = tiny_bundle.LEVELS_HU["ostium_lca"]
    seen = fine.predict(volume, model, CENTER, "cpu").predictions
    others = set(tiny_bundle.POINTS) - {"ostium_lca"}
    assert all(np.linalg.norm(seen[i].position - tiny_bundle.POINTS[i]) < 1 for i in others)
    if again is None:
        assert "ostium_lca" not in seen
    else:  # the closer look does not reach so far; what it sees instead it is not sure of
        assert np.linalg.norm(seen["ostium_lca"].position - CENTER) < 42 and seen["ostium_lca"].raw < 0.1


def test_student_and_refiner_meet_half_way_unless_they_mean_different_places():
    seen = (np.zeros(3), 4 * np.eye(3), 0.8)
    position, covariance, raw = looks.refined("hinge_rcc", seen, _decoded([0, 2, 0], 0.9))
    np.testing.assert_allclose(position, [0, 1, 0])
    np.testing.assert_allclose(covariance, np.diag([2.5, 3.5, 2.5]))
    assert raw == pytest.approx(0.85)
    position, covariance, raw = looks.refined("ostium_rca", seen, _decoded([0, 4, 0], 0.99))
    np.testing.assert_allclose(position, 0)
    assert covariance[0, 0] == 4 and raw == pytest.approx(0.4)


def test_a_refiner_is_read_as_heatmaps_also_beside_a_student_of_classes(ct, tmp_path):
    readouts = dict.fromkeys(("hps", "ms"), "centroid")
    classes = tiny_bundle.write_bundle(
        tmp_path / "b",
        student=tiny_bundle.student_model(classes=True),
        refiner=tiny_bundle.student_model(heads=("hps", "ms")),
        meta=tiny_bundle.described(aligned_look=ALIGNED, readouts=readouts),
    )
    assert max(_errors(fine.predict(ct, classes, CENTER, "cpu")).values()) < 0.8


def test_calibration_is_piecewise_linear_and_optional():
    table = {"raw": [0.2, 0.6], "p_within_5mm": [0.1, 0.9]}
    assert fine.calibrated(0.4, table) == pytest.approx(0.5)
    assert fine.calibrated(0.0, table) == pytest.approx(0.1)
    assert fine.calibrated(1.0, table) == pytest.approx(0.9)
    assert fine.calibrated(0.37, None) == 0.37


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: {k: v for k, v in o.items() if k != "ms"}, "'ms' is missing"),
        (lambda o: o | {"hps": o["hps"][:, :4]}, r"'hps' is \(1, 4, "),
        (lambda o: o | {"hps": o["hps"] * np.nan}, "'hps' is unusable .* channel 0 holds nan"),
        (lambda o: o | {"calc": o["calc"] * np.nan}, "'calc' is .* not finite"),
    ],
)
def test_unusable_outputs_are_the_bundles_fault(bundle, ct, monkeypatch, change, words):
    session = bundle.session("student", "cpu")

    class Broken:
        device, notes = "cpu", ()

        def __call__(self, image):
            return change(session(image))

    monkeypatch.setattr(type(bundle), "session", lambda *_: Broken())
    with pytest.raises(BundleError, match=words):
        fine.predict(ct, bundle, CENTER, "cpu")


def test_it_can_be_cancelled_between_the_crops(bundle, ct):
    asked = []

    def stop():
        asked.append(None)
        return len(asked) > 1

    with pytest.raises(Cancelled):
        fine.predict(ct, bundle, CENTER + OFF, "cpu", Progress(cancelled=stop))
