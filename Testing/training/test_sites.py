"""Site datasets as training samples: only what a person confirmed is a label, and no truth decides where to look."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.bundle import resolver, verify
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels.markups import read_landmarks, write_landmarks
from fedkdtavi_core.labels.record import LabelRecord, read_record, write_record
from fedkdtavi_core.site.dataset import SiteInfo, open_site, write_site
from fedkdtavi_core.volume import Grid
from fedkdtavi_training import cache, data, losses, sites
from fedkdtavi_training.config import LossConfig, TrainConfig
from fedkdtavi_training.phantom.command import main as phantom

SIZE, SPACING = 48, 2.5  # a crop of 120 mm, as in training, at half of its resolution


class Middle:
    """The centre of all positions in a case's files, truth or not: for tests, which may know the truth."""

    name = "middle of a test"

    def __call__(self, case, volume):
        points = [p.position for p in read_landmarks(case.path / "landmarks.mrk.json").landmarks.values()]
        return np.mean([p for p in points if p is not None], axis=0)


class Fixed:
    """The middle of the CT."""

    name = "middle of the CT"

    def __call__(self, case, volume):
        return volume.grid.to_ras((np.array(volume.grid.shape) - 1) / 2)


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory) -> Path:
    """Virtual hospitals made by the command itself: two cases each with all labels, then some labels are taken away."""
    out = tmp_path_factory.mktemp("hospitals")
    options = ["--sites", "2", "--cases", "2", "--seed", "5", "--fast", "--spacing", "4", "--kind", "heart", "--quiet"]
    assert phantom(["--out", str(out), "--labels", "all", *options]) == 0
    return out


@pytest.fixture
def copy(hospitals, tmp_path) -> Path:
    """The hospitals, to be changed."""
    return Path(shutil.copytree(hospitals, tmp_path / "hospitals"))


def dataset(folder: Path, centre=None) -> sites.SiteDataset:
    return sites.SiteDataset(folder, centre or Middle(), size=SIZE, spacing=SPACING)


def relabel(case: Path, statuses: dict[str, Status | None]) -> None:
    """Change what ``labels.json`` says of some labels; None: nothing."""
    record = read_record(case / "labels.json")
    for label_id, status in statuses.items():
        record.labels.pop(label_id, None)
        if status is not None:
            record.labels[label_id] = LabelRecord(status)
    write_record(case / "labels.json", record)


def cases(site: Path) -> list[Path]:
    return sorted((site / "cases").iterdir())


def test_labels_of_the_site_are_the_samples_labels(copy):
    first, second = cases(copy / "site-1")
    seen = {case: set(read_record(case / "labels.json").truth()) & set(schema.LANDMARK_IDS) for case in (first, second)}
    assert {"ms_upper", "hinge_ncc", "hinge_lcc"} < seen[first]  # an ostium that cannot be seen is no label
    relabel(first, {"calcification": None, "ms_upper": Status.PREDICTED, "hinge_ncc": Status.ABSENT})
    samples = {sample.case: sample for sample in dataset(copy / "site-1")}
    assert set(samples) == {first.name, second.name}
    sample = samples[first.name]
    assert sample.calc is None
    known = has(sample)
    assert known == seen[first] - {"ms_upper", "hinge_ncc"}
    assert {label_id for label_id, is_truth in sample.truth.items() if is_truth} == known
    expected = read_landmarks(first / "landmarks.mrk.json").landmarks["hinge_lcc"].position
    assert np.allclose(sample.points[schema.LANDMARK_IDS.index("hinge_lcc")], expected)
    assert sample.grid.contains(expected)
    assert sample.hu.dtype == np.int16
    assert sample.hu.shape == (SIZE,) * 3
    assert samples[second.name].calc is not None
    assert has(samples[second.name]) == seen[second]


def has(sample) -> set[str]:
    return {i for i, point in zip(schema.LANDMARK_IDS, sample.points, strict=True) if np.isfinite(point).all()}


def test_the_coarse_network_finds_where_to_crop(hospitals):
    shipped = next(found for folder in resolver.shipped_folders() if (found := resolver._bundle_in(folder)))
    case = open_site(hospitals / "site-1").cases[0]
    centre = sites.CoarseCentre(verify(shipped), "cpu")(case, case.read_volume())
    points = np.array([p.position for p in case.read_landmarks().values() if p.position is not None])
    assert np.linalg.norm(centre - points.mean(0)) < 25


def test_deleting_the_answer_key_changes_no_digest_and_no_sample(copy, tmp_path):
    before = {site: dataset(copy / site).digest() for site in ("site-1", "site-2")}
    first = dataset(copy / "site-1", Fixed()).write_cache(tmp_path / "one")
    shutil.rmtree(copy / "key")
    assert {site: dataset(copy / site).digest() for site in ("site-1", "site-2")} == before
    again = dataset(copy / "site-1", Fixed()).write_cache(tmp_path / "two")
    assert len(first) == 2
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_digest_follows_what_can_be_learned(copy):
    site, (first, second) = copy / "site-1", cases(copy / "site-1")
    relabel(second, dict.fromkeys((*schema.LANDMARK_IDS, "calcification")))  # an unlabelled CT
    seen = [dataset(site).digest()]

    def changes() -> bool:
        seen.append(dataset(site).digest())
        return seen[-1] != seen[-2]

    relabel(first, {"ms_upper": Status.PREDICTED})
    assert changes()  # a label less
    landmarks = read_landmarks(first / "landmarks.mrk.json").landmarks
    landmarks["ms_upper"].position = landmarks["ms_upper"].position + 1
    write_landmarks(first / "landmarks.mrk.json", landmarks)
    assert not changes()  # a prediction elsewhere
    landmarks["ms_lower"].position = landmarks["ms_lower"].position + 1
    write_landmarks(first / "landmarks.mrk.json", landmarks)
    assert changes()  # truth elsewhere
    relabel(first, {"ms_lower": Status.CONFIRMED})
    assert not changes()  # the same truth, confirmed instead of corrected
    shutil.rmtree(second)
    assert changes()  # an unlabelled CT less


def test_cases_that_cannot_be_used_are_named_and_skipped(copy):
    site, (first, second) = copy / "site-1", cases(copy / "site-1")
    shutil.copytree(first, site / "cases" / "twin")
    shutil.copytree(first, site / "cases" / "broken")
    (site / "cases" / "broken" / "labels.json").write_text("{")
    shutil.copy(cases(copy / "site-2")[0] / "ct.nii.gz", second / "ct.nii.gz")
    found = dataset(site)
    assert [sample.case for sample in found] == [first.name]
    assert set(found.skipped) == {second.name, "twin", "broken"}
    assert "is not the one that its labels were made on" in found.skipped[second.name]
    assert f"same CT as {first.name}" in found.skipped["twin"]


def test_a_case_without_a_root_is_skipped(hospitals):
    class Nowhere:
        name = "nowhere"

        def __call__(self, case, volume):
            return None

    found = dataset(hospitals / "site-1", Nowhere())
    assert list(found) == []
    assert all("no aortic root" in sentence for sentence in found.skipped.values())
    assert len(found.skipped) == 2


def test_a_site_without_labels_still_gives_its_cts(copy):
    for case in cases(copy / "site-1"):
        relabel(case, dict.fromkeys((*schema.LANDMARK_IDS, "calcification")))
    samples = list(dataset(copy / "site-1", Fixed()))
    assert len(samples) == 2
    assert all(np.isnan(sample.points).all() and sample.calc is None for sample in samples)


def test_the_predicted_centre_knows_no_truth(copy):
    case = cases(copy / "site-1")[0]
    site = open_site(copy / "site-1")
    centre = sites.PredictedCentre()
    assert centre(site.case(case.name), None) is None  # all labels are truth
    landmarks = read_landmarks(case / "landmarks.mrk.json").landmarks
    relabel(case, dict.fromkeys(schema.LANDMARK_IDS, Status.PREDICTED))
    found = centre(open_site(copy / "site-1").case(case.name), None)
    hinges = np.array([landmarks[i].position for i in schema.HINGE_IDS])
    assert np.linalg.norm(found - hinges.mean(0)) == pytest.approx(8.0, abs=1e-3)
    relabel(case, {"hinge_rcc": Status.CONFIRMED})
    assert centre(open_site(copy / "site-1").case(case.name), None) is None


def test_calcium_keeps_its_volume_from_thick_slices_to_the_crop():
    affine = np.diag([0.6, 0.6, 3.0, 1.0])
    mask = np.zeros((100, 100, 20), np.uint8)
    mask[48:56, 46:52, 10] = 1  # one slice
    mask[20:30, 20:30, 4:6] = 1
    grid = sites.geometry.crop_grid(np.array([30.0, 30.0, 30.0]), 64, 1.25)
    crop = sites._on_crop(mask, affine, np.array([30.0, 30.0, 30.0]), grid)
    volume = Grid(mask.shape, affine).voxel_volume
    assert crop.sum() * 1.25**3 == pytest.approx(mask.sum() * volume, rel=0.1)
    assert crop[tuple(np.round(grid.to_ijk([31.0, 29.0, 30.0])).astype(int))] == 1


# --- the cache, and what is learned of it ---


def config(folder: Path, **changes) -> TrainConfig:
    settings = {"task": "student", "cache": [folder], "out": folder, "steps": 2, "batch": 1, "crop": 32}
    return TrainConfig(**settings, loss=LossConfig(spacing_mm=SPACING), **changes)


def gradients(samples: list[dict]) -> dict[str, torch.Tensor]:
    """Gradients of the loss of one batch with respect to the heads' logits."""
    batch = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
    generator, count = torch.Generator().manual_seed(0), len(samples)
    shapes = {"hps": (count, 5, 16, 16, 16), "ms": (count, 2, 16, 16, 16), "calc": (count, 1, 32, 32, 32)}
    outputs = {head: torch.randn(shape, generator=generator).requires_grad_() for head, shape in shapes.items()}
    loss, _ = losses.total("student", outputs, batch, LossConfig(spacing_mm=SPACING))
    loss.backward()
    assert torch.isfinite(loss)
    return {head: value.grad for head, value in outputs.items()}


def test_training_reads_the_cache_and_learns_only_what_is_labelled(copy, tmp_path):
    first, second = cases(copy / "site-1")
    relabel(first, {"calcification": Status.PREDICTED, "ms_upper": None, "ms_lower": Status.ABSENT})
    paths = dataset(copy / "site-1").write_cache(tmp_path / "cache")
    assert paths == cache.files([tmp_path / "cache"])
    settings = config(tmp_path / "cache")
    samples = {path.stem: data.CropDataset([path], settings)[0] for path in paths}
    unlabelled, labelled = samples[f"case_{first.name}"], samples[f"case_{second.name}"]
    assert unlabelled["calc_mask"] == 0
    assert labelled["calc_mask"] == 1
    alone = gradients([unlabelled])
    assert not alone["calc"].any()
    assert not alone["ms"].any()
    assert alone["hps"].any()
    both = gradients([unlabelled, labelled])
    assert not both["calc"][0].any()
    assert both["calc"][1].any()
    assert not both["ms"][0].any()
    assert both["ms"][1].any()


def test_phantoms_of_a_cache_are_labelled_as_ever(crops):
    (path, *_) = cache.files([crops])
    assert cache.load(path).calc_labelled
    settings = TrainConfig(task="student", cache=[crops], out=crops, steps=1, crop=32)
    assert data.CropDataset([path], settings)[0]["calc_mask"] == 1


def test_a_case_without_any_label_teaches_nothing_and_breaks_nothing(copy, tmp_path):
    for case in cases(copy / "site-1"):
        relabel(case, dict.fromkeys((*schema.LANDMARK_IDS, "calcification")))
    paths = dataset(copy / "site-1", Fixed()).write_cache(tmp_path / "cache")
    sample = data.CropDataset(paths, config(tmp_path / "cache"))[0]
    assert not any(gradient.any() for gradient in gradients([sample]).values())


def test_only_what_changed_is_cropped_again(copy, tmp_path):
    first, second = cases(copy / "site-1")
    folder = tmp_path / "cache"

    def written() -> dict[str, int]:
        dataset(copy / "site-1").write_cache(folder)
        return {path.stem: path.stat().st_ino for path in cache.files([folder])}

    before = written()
    assert written() == before
    relabel(first, {"calcification": None})
    after = written()
    assert after[f"case_{first.name}"] != before[f"case_{first.name}"]
    assert after[f"case_{second.name}"] == before[f"case_{second.name}"]
    (folder / f"case_{first.name}.npz").write_bytes(b"cut off")
    assert not cache.load(folder / f"case_{second.name}.npz").info["truth"].get("annulus_contour")
    written()
    assert not cache.load(folder / f"case_{first.name}.npz").calc_labelled
    shutil.rmtree(second)
    assert list(written()) == [f"case_{first.name}"]


def test_the_cache_of_another_site_is_not_overwritten(hospitals, tmp_path):
    dataset(hospitals / "site-1").write_cache(tmp_path / "cache")
    with pytest.raises(UsageError, match=r"another cache \(crops of the site site-1\); remove that folder"):
        dataset(hospitals / "site-2").write_cache(tmp_path / "cache")
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["site"] == "site-1"


def test_what_is_left_of_a_site_that_could_not_be_cropped_is_in_nobodys_way(hospitals, tmp_path):
    write_site(tmp_path / "north", SiteInfo("north"))
    (tmp_path / "north" / "cases" / "a").mkdir()
    (tmp_path / "north" / "cases" / "a" / "labels.json").write_text("{")
    dataset(tmp_path / "north").write_cache(tmp_path / "crops")  # which cannot be cropped
    with pytest.raises(UsageError, match=r"holds no crop of any case of the site north; skipped\.txt there"):
        cache.files([tmp_path / "crops"])
    dataset(hospitals / "site-1").write_cache(tmp_path / "crops")  # the corrected configuration names another one
    assert len(cache.files([tmp_path / "crops"])) == 2


def test_sites_that_share_anything_are_refused(copy):
    one, two = (open_site(copy / site) for site in ("site-1", "site-2"))
    sites.check_distinct([one, two])
    again = open_site(copy / "site-2" / ".." / "site-1")
    with pytest.raises(InputError, match=r"site-1: is one dataset given twice \(also as .*site-1\); leave one of them"):
        sites.check_distinct([one, again])
    with pytest.raises(InputError, match="site-1: is one dataset given twice; leave"):
        sites.check_distinct([one, open_site(copy / "site-1")])
    with pytest.raises(InputError, match="the name in common"):
        sites.check_distinct([one, replace(two, info=one.info)])
    shutil.copytree(cases(copy / "site-1")[0], copy / "site-2" / "cases" / "renamed")
    with pytest.raises(InputError, match="a CT in common"):
        sites.check_distinct([one, open_site(copy / "site-2")])
    other = cases(copy / "site-2")[1]
    shutil.rmtree(copy / "site-2" / "cases" / "renamed")
    shutil.copytree(other, copy / "site-2" / "cases" / cases(copy / "site-1")[0].name)
    with pytest.raises(InputError, match="a case in common"):
        sites.check_distinct([one, open_site(copy / "site-2")])


def test_an_undefined_point_of_a_label_file_is_no_label(copy):
    case = cases(copy / "site-1")[0]
    landmarks = read_landmarks(case / "landmarks.mrk.json").landmarks
    write_landmarks(case / "landmarks.mrk.json", landmarks | {"hinge_lcc": Landmark("hinge_lcc")})
    sample = next(iter(dataset(copy / "site-1")))
    assert sample.case == case.name
    assert np.isnan(sample.points[schema.LANDMARK_IDS.index("hinge_lcc")]).all()
    assert not sample.truth["hinge_lcc"]
