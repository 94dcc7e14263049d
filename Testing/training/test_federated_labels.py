"""True labels always win; pseudo-labels weigh their certainty and are as wide as their teacher was unsure."""

from __future__ import annotations

import hospitals
import numpy as np
import pytest
import standin
import torch

from fedkdtavi_core import fine, geometry, heatmap, schema
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.volume import Grid, Volume
from fedkdtavi_training import cache, data, losses, networks, targets
from fedkdtavi_training.federated import config, pseudo, pseudo_store
from fedkdtavi_training.federated.labels import merge
from fedkdtavi_training.federated.messages import Task
from fedkdtavi_training.federated.samples import SiteSamples
from fedkdtavi_training.federated.site import Site, examined, gather, inventory
from fedkdtavi_training.federated.worker import SiteWorker, TooFewError

pytestmark = pytest.mark.torch
SOFT = config.Pseudo(cap=0.7, min_certainty=0.2, min_plausibility=0.1)


@pytest.fixture
def case(tmp_path):
    hospitals.save(tmp_path / "case_000000.npz", 1, ["hps"])
    return cache.load(tmp_path / "case_000000.npz")


def guess(case, **changes) -> pseudo_store.Pseudo:
    fields = {
        "mean": np.full((7, 3), 20.0, np.float32),
        "covariance": np.tile(np.diag([4.0, 1.0, 1.0]), (7, 1, 1)).astype(np.float32),
        "confidence": np.full(7, 0.5, np.float32),
        "plausibility": np.ones(7, np.float32),
        "calc": np.full(case.hu.shape, 204, np.uint8),
        "calc_certainty": 0.9,
        "teachers": {"hps": "x"},
        "case_digest": "y",
    }
    return pseudo_store.Pseudo(**(fields | changes))


def test_true_labels_win(case):
    merged = merge(case, guess(case), SOFT)
    np.testing.assert_array_equal(merged.labels.points[:5], case.points[:5])
    np.testing.assert_array_equal(merged.labels.weights, [1, 1, 1, 1, 1, 0.5, 0.5])
    assert not merged.labels.covariance[:5].any()
    np.testing.assert_array_equal(merged.labels.points[5:], 20)
    assert merged.labels.calc_weight == 0.7  # its certainty, capped
    labelled = cache.Case(case.hu, case.spacing, case.points, case.calc, case.heart, {"calc_labelled": True})
    truth = merge(labelled, guess(case), SOFT).labels
    assert (truth.calc is labelled.calc, truth.calc_weight, truth.calc_scale) == (True, 1.0, 1.0)


def test_uncertain_and_implausible_ones_are_left_out(case):
    doubtful = guess(
        case,
        confidence=np.array([0.5] * 5 + [0.1, 0.95], np.float32),
        plausibility=np.array([0.0] * 6 + [0.2], np.float32),
        calc_certainty=0.1,
    )
    merged = merge(case, doubtful, SOFT).labels
    np.testing.assert_allclose(merged.weights, [1, 1, 1, 1, 1, 0, 0.7], rtol=1e-6)
    assert np.isnan(merged.points[5]).all()
    assert merged.calc_weight == 0
    unseen = guess(case, mean=np.full((7, 3), np.nan, np.float32))
    assert (merge(case, unseen, SOFT).labels.weights[5:] == 0).all()


def test_what_a_reviewer_has_called_absent_is_not_filled_in(case):
    absent = cache.Case(case.hu, case.spacing, case.points, case.calc, case.heart,
                        {"calc_labelled": False, "absent": ["ms_upper", "calcification"]})  # fmt: skip
    merged = merge(absent, guess(case), SOFT).labels
    assert merged.weights.tolist() == [1, 1, 1, 1, 1, 0, 0.5]
    assert np.isnan(merged.points[5]).all()
    assert merged.calc_weight == 0


def test_hard_ones_weigh_like_true_ones(case):
    merged = merge(case, guess(case), SOFT.model_copy(update={"kind": "hard"})).labels
    assert (merged.weights == 1).all()
    assert not merged.covariance.any()
    assert (merged.calc == 1).all()  # 204 of 255 is over a half
    assert (merged.calc_weight, merged.calc_scale) == (1.0, 1.0)


def test_what_is_stored_comes_back(case, tmp_path):
    store = pseudo_store.PseudoStore(tmp_path / "p")
    made = guess(case)
    store.save("00-x", made)
    back = store.load("00-x")
    assert back.digest == made.digest
    assert store.holds("00-x", made.teachers, made.case_digest)
    assert not store.holds("00-x", {"hps": "other"}, made.case_digest)
    assert not store.holds("00-x", made.teachers, "changed")
    store.save("00-x", made, (64, 1.25))
    assert store.holds("00-x", made.teachers, made.case_digest, (64, 1.25))
    assert not store.holds("00-x", made.teachers, made.case_digest, (96, 1.25))
    assert guess(case, calc_certainty=0.8).digest != made.digest
    with pytest.raises(UsageError, match="make the pseudo-labels first"):
        store.load("00-y")
    whole = (tmp_path / "p" / "00-x.npz").read_bytes()
    for broken in (b"", b"nothing", whole[: len(whole) // 2]):
        (tmp_path / "p" / "00-z.npz").write_bytes(broken)
        assert not store.holds("00-z", made.teachers, made.case_digest)


@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.999])
def test_an_unreadable_case_is_skipped_and_counted(tmp_path, kept):
    folders = hospitals.write(tmp_path)
    broken = folders["a"] / "case_000000.npz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: kept if kept in (0, 7) else int(kept * len(whole))])
    site = Site("a", (folders["a"],), tmp_path / "work")
    assert list(gather(site, hospitals.stage()).paths) == ["00-case_000001"]
    update = SiteWorker(site).work(Task("count", hospitals.stage()))
    assert (update.metrics, update.head_weights) == ({"cases": 2, "unreadable": 1}, {"hps": 1, "ms": 1, "calc": 1})
    assert "case_000000" in (site.work / "skipped.txt").read_text()


def test_a_target_is_as_wide_as_its_teacher_was_unsure_but_never_narrower_than_a_label():
    wide = targets.widened(np.array([[9.0, 2.0, 0], [2.0, 4.0, 0], [0, 0, 0.01]]), 1.0)
    values = np.linalg.eigvalsh(wide)
    assert values.min() == pytest.approx(1.0)
    np.testing.assert_allclose(wide[:2, :2], [[9, 2], [2, 4]], atol=1e-9)
    density = targets.gaussian(np.array([15.3, 16.0, 14.8]), wide, (32, 32, 32))
    assert density.sum() == pytest.approx(1, abs=1e-4)
    axes = np.meshgrid(*(np.arange(32),) * 3, indexing="ij")
    mean = np.array([(density * a).sum() for a in axes])
    np.testing.assert_allclose(mean, [15.3, 16.0, 14.8], atol=0.02)
    spread = np.array([[(density * (a - m) * (b - n)).sum() for b, n in zip(axes, mean, strict=True)]
                       for a, m in zip(axes, mean, strict=True)])  # fmt: skip
    np.testing.assert_allclose(spread, wide, atol=0.05)


def test_a_sample_carries_the_weights_and_turns_the_spread_with_the_picture(case, tmp_path):
    settings = hospitals.stage().for_site("a", 3, tmp_path)
    crops = data.CropDataset([], settings)
    plain = crops.sample(5, case, data.Labels.of(case))
    soft = crops.sample(5, case, merge(case, guess(case), SOFT).labels)
    np.testing.assert_array_equal(plain["image"], soft["image"])
    np.testing.assert_array_equal(plain["target"][:5], soft["target"][:5])
    np.testing.assert_array_equal(plain["mask"][:5], soft["mask"][:5])
    assert (plain["mask"][5:] == 0).all()
    assert (plain["calc_mask"], soft["calc_mask"]) == (0, np.float32(0.7))
    assert soft["calc"].max() == np.float32(0.8)
    shown = [row for row in (5, 6) if soft["mask"][row]]
    for row in shown:
        assert soft["mask"][row] == 0.5
        assert soft["target"][row].sum() == pytest.approx(1, abs=1e-3)


def test_a_soft_calcium_target_is_learned_as_it_is():
    target = torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    exact = target.logit().requires_grad_()
    best = losses.calcium_loss(exact, target, torch.ones(1)).detach()
    for shift in (-1.0, -0.1, 0.1, 1.0):
        assert losses.calcium_loss(exact + shift, target, torch.ones(1)) > best
    halved = losses.calcium_loss(exact, target, torch.tensor([0.5])).detach()
    assert float(halved) == pytest.approx(float(best) / 2, rel=0.05)


def test_every_batch_has_a_true_label_and_every_case_is_shown(tmp_path):
    folder = hospitals.write(tmp_path)["a"]
    site = Site("a", (folder,), tmp_path / "work")
    for key, path in site.cases().items():
        site.pseudo(1).save(key, guess(cache.load(path), case_digest=examined(path).digest))
    stage = hospitals.stage(pseudo=SOFT, pseudo_set=1)
    cases = gather(site, stage)
    assert cases.labelled == ("00-case_000000", "00-case_000001")
    assert cases.head_weights == {"hps": 2.5, "ms": 2.5, "calc": 2.7}
    samples = SiteSamples(cases, stage.for_site("a", 3, tmp_path), SOFT)
    shown = [samples.key(n) for n in range(40)]
    for first, second in zip(shown[::2], shown[1::2], strict=True):
        assert {first, second} & set(cases.labelled)
        assert {first, second} - set(cases.labelled)
    assert set(shown) == set(cases.paths)


def test_pseudo_labels_of_other_teachers_are_not_learned_from(tmp_path):
    """A site that was left out when labels were made still has those of a job before."""
    site = Site("a", (hospitals.write(tmp_path)["a"],), tmp_path / "work")
    for key, path in site.cases().items():
        site.pseudo(1).save(key, guess(cache.load(path), case_digest=examined(path).digest))
    made_by = site.pseudo(1).load(next(iter(site.cases()))).teachers
    known = hospitals.stage(pseudo=SOFT, pseudo_set=1, pseudo_teachers=made_by)
    assert gather(site, known).head_weights
    others = hospitals.stage(pseudo=SOFT, pseudo_set=1, pseudo_teachers=dict.fromkeys(("hps", "ms", "calc"), "new"))
    with pytest.raises(UsageError, match="made by other teachers"):
        gather(site, others)


def test_a_site_that_allows_no_round_on_few_cases_counts_those_that_are_shown(tmp_path):
    site = Site("a", (hospitals.write(tmp_path)["a"],), tmp_path / "work")
    stage = hospitals.stage(("ms",), training=hospitals.training(local_steps=1, batch=4, rounds=2))
    found = gather(site, stage)
    samples = SiteSamples(found, stage.for_site("a", len(found.paths), tmp_path), None)
    shown = [len({samples.key(n) for n in range(first, first + 4)}) for first in (0, 4)]
    assert max(shown) < 4  # samples repeat
    weights = networks.build("teacher", stage.training.network, seed=1).state_dict()
    for number, count in enumerate(shown):
        with pytest.raises(TooFewError):
            SiteWorker(site, least_cases=count + 1).work(Task("train", stage, number, weights))
    assert SiteWorker(site, least_cases=shown[0]).work(Task("train", stage, 0, weights)).weights


def test_stage_one_sees_only_what_is_labelled(tmp_path):
    folders = hospitals.write(tmp_path)
    site = Site("b", (folders["b"],), tmp_path / "work")
    assert inventory(site)[:2] == ({"hps": 2.0, "ms": 0.0, "calc": 1.0}, 3)
    assert list(gather(site, hospitals.stage(("calc",))).paths) == ["00-case_000000"]
    assert gather(site, hospitals.stage(("ms",))).head_weights == {}
    assert inventory(site, 0.5)[1] == 1
    assert len(site.test_cases(0.5)) == 2


def seen_in(known: cache.Case, grid: Grid, heads, off_mm: float = 0.0, sigma: float = 0.5) -> pseudo._View:
    """What a network would say that knows the answer, ``off_mm`` too far along the first axis."""
    half = fine.output_grid(grid, grid.shape[0] // 2)
    places = np.array([half.to_ijk(point * known.spacing + [off_mm, 0, 0]) for point in known.points])
    landmarks = np.log(heatmap.target(places, half.shape, sigma, normalised=True) + 1e-12)
    calc = geometry.resample_labels(known.calc, np.diag([known.spacing] * 3 + [1.0]), grid)
    all_logits = {"hps": landmarks[None, :5], "ms": landmarks[None, 5:], "calc": 40.0 * calc[None, None] - 20.0}
    return pseudo._View({head: all_logits[head].astype(np.float32) for head in heads}, grid)


def test_teachers_predict_in_the_voxels_of_the_case(tmp_path, monkeypatch):
    """A heatmap around a known place comes back as that place, however the crop was centred."""
    hospitals.save(tmp_path / "case_000000.npz", 1, ["hps", "ms", "calc"])
    known = cache.load(tmp_path / "case_000000.npz")
    hospitals.save(tmp_path / "case_000001.npz", 1, [])
    case = cache.load(tmp_path / "case_000001.npz")

    monkeypatch.setattr(pseudo._View, "of", lambda volume, by_head, grid, heart, device: seen_in(known, grid, by_head))
    seen = pseudo.look(case, {"hps": None, "ms": None, "calc": None}, 32, hospitals.SPACING)
    np.testing.assert_allclose(seen["mean"], known.points, atol=0.1)
    assert (seen["confidence"] > 0.9).all()
    assert (seen["plausibility"] > 0).all()
    spread = seen["covariance"][0] * case.spacing**2
    np.testing.assert_allclose(spread, np.eye(3) * (0.5 * 5.0) ** 2, atol=1.5)
    overlap = (seen["calc"] > 127) & (known.calc > 0)
    assert overlap.sum() > 0.8 * known.calc.sum()
    assert seen["calc_certainty"] == 1


def test_a_teacher_that_looks_twice_labels_as_it_is_used(tmp_path, monkeypatch):
    """Its usual look is 3 mm off, its closer look is right and surer."""
    hospitals.save(tmp_path / "case_000000.npz", 1, ["hps", "ms", "calc"])
    case = cache.load(tmp_path / "case_000000.npz")
    looks = []

    def of(volume, by_head, grid, heart, device):
        usual = grid.spacing[0] > 4.5
        looks.append(float(grid.spacing[0]))
        return seen_in(case, grid, by_head, 3.0 if usual else 0.0, 1.0 if usual else 0.5)

    monkeypatch.setattr(pseudo._View, "of", of)
    heads = {"hps": None, "ms": None, "calc": None}
    once = pseudo.look(case, heads, 32, 5.0)
    twice = pseudo.look(case, heads, 32, 5.0, closer=dict.fromkeys(heads, 4.0))
    coarse = pseudo.look(case, heads, 32, 5.0, closer=dict.fromkeys(heads, 0.5 * case.spacing))
    off = [np.abs((seen["mean"] - case.points)[:, 0]).mean() * case.spacing for seen in (once, twice, coarse)]
    assert off[0] == pytest.approx(3, abs=0.3) and off[2] == pytest.approx(off[0])
    assert off[1] < 1
    assert set(looks) == {5.0, 4.0}


def test_a_wild_guess_does_not_accuse_its_neighbours(tmp_path):
    hospitals.save(tmp_path / "case_000000.npz", 1, [])
    case = cache.load(tmp_path / "case_000000.npz")
    middle = (np.array(case.hu.shape) - 1) / 2 * case.spacing

    def scores(confidence: float) -> np.ndarray:
        seen = {
            label_id: heatmap.Decoded(middle + standin.PLACES[label_id], np.eye(3), 0.9, (0, 0, 0))
            for label_id in schema.LANDMARK_IDS
        }
        wild = middle + [30.0, -30.0, 25.0]
        seen["hinge_rcc"] = heatmap.Decoded(wild, np.eye(3), confidence, (0, 0, 0))
        return pseudo._plausibility(case, seen, Volume(case.hu, np.diag([case.spacing] * 3 + [1.0])))[0]

    assert (scores(0.9)[1:5] < 0.05).any()
    assert (scores(0.05)[1:5] > 0.05).all()
    assert scores(0.05)[0] == 0


def test_calcium_that_a_teacher_does_not_see_teaches_nothing():
    assert pseudo.calcium_certainty(np.full((4, 4, 4), 0.01)) == 0
    assert pseudo.calcium_certainty(np.array([0.5, 0.01])) == 0
    assert pseudo.calcium_certainty(np.array([0.95, 0.01])) == pytest.approx(0.9)


def test_a_network_that_has_learned_nothing_is_read_without_failing(tmp_path):
    made = standin.make(0, 40, hospitals.SPACING)
    cache.save(tmp_path / "case_000000.npz", made)
    network = networks.build("teacher", hospitals.NET).eval()
    seen = pseudo.look(cache.load(tmp_path / "case_000000.npz"), {"ms": network}, 32, hospitals.SPACING)
    assert np.isnan(seen["mean"][:5]).all()
    assert np.isfinite(seen["mean"][5:]).all()
    assert seen["calc"] is None
