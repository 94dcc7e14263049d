"""A next round and all of its parent's networks: together they label, as in use, and each can be trained on."""

from __future__ import annotations

import sys
from pathlib import Path

import hospitals
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import tiny_bundle

from fedkdtavi_core import fine, schema
from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.bundle import seal, verify
from fedkdtavi_core.errors import InputError, UsageError
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, volume_digest, write_record
from fedkdtavi_core.labels.segmentation import write_segment
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.ctfile import write_ct
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_training import bundle_weights, cache, networks, train
from fedkdtavi_training.federated import experiment, pseudo
from fedkdtavi_training.next_round import run
from fedkdtavi_training.next_round.settings import NextRound, calcium_training

pytestmark = pytest.mark.torch
TINY = {"channels": [4, 8, 8]}
LOOK = {"size": 40, "spacing_mm": 1.25}


class OfBundle(torch.nn.Module):
    """A bundle's network, where one of a training is expected."""

    def __init__(self, bundle, role):
        super().__init__()
        self.session, self.arguments = bundle.session(role, "cpu"), {}

    def forward(self, image):
        return {name: torch.from_numpy(value) for name, value in self.session(image.numpy()).items()}


def quiet(_: str) -> None:
    pass


def shifted(volume):
    """The spheres as a cached case: axes R, A, S, its first voxel at 0 mm."""
    empty = np.zeros(volume.array.shape, np.uint8)
    unknown = np.full((len(schema.LANDMARK_IDS), 3), np.nan, np.float32)
    info = {"made_of": "ct", "calc_labelled": False}
    return cache.Case(volume.array, float(volume.grid.spacing[0]), unknown, empty, empty, info)


def test_training_sees_in_a_ct_what_the_program_does(tmp_path):
    bundle = tiny_bundle.write_bundle(
        tmp_path / "bundle",
        refiner=tiny_bundle.student_model(stride=1, heads=("hps", "ms")),
        meta=tiny_bundle.described(closer_look_mm=0.9, aligned_look=LOOK),
    )
    affine = np.diag([0.9, 0.9, 0.9, 1.0])
    volume = tiny_bundle.blob_volume(affine=affine_around(affine, (120, 116, 124)), shape=(120, 116, 124), noise_hu=40)
    case, origin = shifted(volume), volume.affine[:3, 3]
    heads = dict.fromkeys(("hps", "ms", "calc"), OfBundle(bundle, "student"))
    last = pseudo._LastLook(OfBundle(bundle, "refiner"), LOOK["size"], LOOK["spacing_mm"])

    def labelled(last):
        seen = pseudo.look(case, heads, 64, 1.25, closer=dict.fromkeys(heads, 0.9), last=last)
        return seen["mean"] * case.spacing + origin, seen

    together, seen = labelled(last)
    alone, _ = labelled(None)
    middle = volume.grid.to_ras((np.array(volume.array.shape) - 1) / 2)
    used = fine.predict(volume, bundle, middle, "cpu").predictions
    np.testing.assert_allclose(together, [used[i].position for i in schema.LANDMARK_IDS], atol=1e-3)
    np.testing.assert_allclose(seen["confidence"], [used[i].raw for i in schema.LANDMARK_IDS], atol=1e-4)
    spread = seen["covariance"] * case.spacing**2
    np.testing.assert_allclose(spread, [used[i].covariance for i in schema.LANDMARK_IDS], atol=1e-3)
    assert np.linalg.norm(together - alone, axis=1).max() > 0.02  # the refiner has had its say


def affine_around(affine, shape):
    centred = affine.copy()
    centred[:3, 3] = tiny_bundle.CENTER - affine[:3, :3] @ (np.array(shape) - 1) / 2 + [4, -3, 2]
    return centred


def test_where_no_root_is_seen_the_refiner_is_not_asked(tmp_path):
    hospitals.save(tmp_path / "case_000000.npz", 1, [])
    case = cache.load(tmp_path / "case_000000.npz")
    septum = {"ms": networks.build("teacher", hospitals.NET).eval()}
    last = pseudo._LastLook(networks.build("refiner", TINY).eval(), 16, 5.0)
    with_it = pseudo.look(case, septum, 32, hospitals.SPACING, last=last)
    np.testing.assert_array_equal(with_it["mean"], pseudo.look(case, septum, 32, hospitals.SPACING)["mean"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, task, network, told in (
        ("teacher", "teacher", hospitals.NET, {}),
        ("refiner", "refiner", TINY, {"crop_size": 16, "crop_spacing_mm": 5.0}),
        ("silent", "refiner", TINY, {}),
    ):
        networks.save(networks.build(task, network, seed=2), task, folder / f"{name}.safetensors", told)
    return folder


def test_a_refiner_among_the_teachers_is_in_the_chain_and_in_both_sets(weights, tmp_path):
    folders = hospitals.write(tmp_path / "hospitals")
    teachers = dict.fromkeys(("hps", "ms", "calc"), weights / "teacher.safetensors")
    shared = {"teacher": None, "pseudo": {"sets": 2}, "student": hospitals.training(rounds=1, local_steps=1)}

    def made(name, **more):
        given = hospitals.experiment(folders, tmp_path / name, teacher_weights=teachers | more, **shared)
        return experiment.run(given, say=quiet)["federated"]

    plain, both = made("plain"), made("both", refiner=weights / "refiner.safetensors")
    digest = train.digest(networks.load(weights / "refiner.safetensors")[0].state_dict())
    assert both["teachers"]["refiner"]["digest"] == digest and "refiner" not in plain["teachers"]
    assert [one["teachers"].get("refiner") for one in both["pseudo_labels"]] == [digest, digest]
    assert both["chain"] != plain["chain"]
    for told in both["pseudo_labels"][0]["certainty"].values():
        assert set(told) == {"hps", "ms", "calc"}


def test_who_cannot_have_the_last_look_is_refused(weights, tmp_path):
    folders = {"a": tmp_path}

    def refused(words, **given):
        settings = hospitals.experiment(folders, tmp_path / "out", pseudo={}, teacher_weights=given)
        with pytest.raises(UsageError, match=words):
            experiment.run(settings, say=quiet)

    refused("holds a teacher network, no refiner; give a refiner's weights", refiner=weights / "teacher.safetensors")
    refused("does not say how closely it looks", refiner=weights / "silent.safetensors")
    refused("holds a refiner network, which cannot teach ms", ms=weights / "refiner.safetensors")
    with pytest.raises(ValueError, match="there is no head 'coarse'"):
        hospitals.experiment(folders, tmp_path, teacher_weights={"coarse": weights / "teacher.safetensors"})
    teacher = pseudo.Teacher("refiner", TINY, {}, "d")
    with pytest.raises(InputError, match="does not say how large"):
        pseudo._LastLook.of(teacher, {})


def write_parent(folder):
    train.prepare_torch()
    tiny_bundle.write_bundle(
        folder,
        refiner=tiny_bundle.student_model(heads=("hps", "ms")),
        calcium=tiny_bundle.student_model(heads=("calc",)),
        meta=tiny_bundle.described(aligned_look=LOOK, calcium_look={"size": 32, "spacing_mm": 1.0}),
    )
    kinds = (("student", "teacher", hospitals.NET), ("refiner", "refiner", TINY), ("calcium", "calcium", TINY))
    for role, task, network in kinds:
        networks.save(networks.build(task, network, seed=3).half(), task, folder / f"models/{role}.safetensors")
    return seal(folder)


def test_all_networks_of_a_parent_label(tmp_path):
    parent = write_parent(tmp_path / "parent")
    student = run.weights(parent, tmp_path, "student")[0]
    found = run.teachers(parent, tmp_path, student)
    assert found["hps"] == found["ms"] == student
    kinds = {place: networks.load(path)[1] for place, path in found.items()}
    assert kinds == {"hps": "teacher", "ms": "teacher", "calc": "calcium", "refiner": "refiner"}
    told = networks.load(found["refiner"])[2]
    assert (told["crop_size"], told["crop_spacing_mm"]) == (LOOK["size"], LOOK["spacing_mm"])
    assert networks.load(found["calc"])[2]["crop_spacing_mm"] == 1.0

    bare = tiny_bundle.write_bundle(tmp_path / "bare")
    assert set(run.teachers(bare, tmp_path, student)) == {"hps", "ms", "calc"}


def reviewed_site(folder, *, calcium):
    """Two cases with corrected points, and with a drawn calcification if wanted."""
    write_site(folder, SiteInfo("clinic", synthetic=True))
    truth = (*schema.LANDMARK_IDS, "calcification") if calcium else schema.LANDMARK_IDS
    for n in range(2):
        case = folder / "cases" / f"case-{n}"
        case.mkdir(parents=True)
        write_ct(case / "ct.nii.gz", tiny_bundle.blob_volume(shape=(100, 104, 96 + n), noise_hu=12.0))
        volume = read_volume(case / "ct.nii.gz")
        points = {i: Landmark(i, at, None, None, Status.CORRECTED) for i, at in tiny_bundle.POINTS.items()}
        write_landmarks(case / "landmarks.mrk.json", points)
        if calcium:
            write_segment(case / "calcification.seg.nrrd", volume.array > 1200, volume.grid, status=Status.CORRECTED)
        write_record(
            case / "labels.json", CaseRecord(volume_digest(volume), dict.fromkeys(truth, LabelRecord(Status.CORRECTED)))
        )
    return folder


def next_round(parent, site, base, **changes):
    tiny = {"rounds": 1, "local_steps": 2, "warmup": 0, "lr": 0.01}
    entries = {
        "bundle": str(parent.path), "sites": [{"name": "north", "folder": str(site)}], "held_out": 0, "version": "2",
        "out": str(base / "work"), "new_bundle": str(base / "new"), "student": tiny, "calcium": tiny, "seed": 3,
    }  # fmt: skip
    return NextRound.model_validate(entries | changes)


def test_corrected_calcification_teaches_the_calcium_network(tmp_path):
    parent = write_parent(tmp_path / "parent")
    before = networks.load(parent.path / "models/calcium.safetensors")[0].state_dict()
    site = reviewed_site(tmp_path / "site", calcium=True)
    told = run.run(next_round(parent, site, tmp_path / "on", parent_share=0.5), say=quiet)
    made = verify(tmp_path / "on/new")
    link = made.provenance["calcium"]
    assert link["first_weights"] == train.digest(before) and link["taught"] == ["calc"]
    assert made.provenance["networks"]["calcium"]["digest"] == told["calcium"] != link["digest"]
    assert made.metadata["preprocessing"] == parent.metadata["preprocessing"]
    assert made.metadata["thresholds"] == parent.metadata["thresholds"]
    assert made.read("models/refiner.onnx") == parent.read("models/refiner.onnx")
    bundle_weights.write(made, "calcium", tmp_path / "calcium.safetensors")
    after = networks.load(tmp_path / "calcium.safetensors")[0].state_dict()
    assert any(not torch.equal(after[name].half(), value.half()) for name, value in before.items())
    # What it has become labels the unlabelled, and has learned by the loss of a calcium network.
    pseudo_labels = made.provenance["student"]["pseudo_labels"]["teachers"]
    assert pseudo_labels["calc"] == link["digest"] and "refiner" in pseudo_labels
    trained = calcium_training(next_round(parent, site, tmp_path), parent, TINY)
    assert (trained.loss.calc_dice, trained.loss.calc_entropy, trained.loss.spacing_mm, trained.crop) == (
        "sample", 100.0, 1.0, 32,
    )  # fmt: skip

    kept = run.run(next_round(parent, site, tmp_path / "kept", calcium=None), say=quiet)
    assert "calcium" not in kept
    assert verify(tmp_path / "kept/new").read("models/calcium.onnx") == parent.read("models/calcium.onnx")


def test_a_calcium_network_that_nothing_can_teach_is_one_sentence(tmp_path):
    parent = write_parent(tmp_path / "parent")
    bare = reviewed_site(tmp_path / "bare", calcium=False)
    with pytest.raises(UsageError, match="0 of the 1 sites that are needed have reviewed calcification"):
        run.run(next_round(parent, bare, tmp_path / "a"), say=quiet)
    with pytest.raises(ValueError, match="give `pseudo`, or leave `calcium` out"):
        next_round(parent, bare, tmp_path / "b", pseudo=None)
    with pytest.raises(ValueError, match=r"calcium\.crop is the bundle's own"):
        next_round(parent, bare, tmp_path / "c", calcium={"crop": 32})
    plain = tiny_bundle.write_bundle(tmp_path / "plain")
    networks.save(networks.build("teacher", hospitals.NET).half(), "teacher", plain.path / "models/student.safetensors")
    with pytest.raises(UsageError, match="has no network 'calcium', so it cannot be trained on"):
        run.run(next_round(seal(plain.path), bare, tmp_path / "d"), say=quiet)
    assert not any((tmp_path / name / "new").exists() for name in "abcd")


def test_a_teacher_starts_from_given_weights(weights, tmp_path):
    folders = hospitals.write(tmp_path / "hospitals")
    given = hospitals.experiment(folders, tmp_path / "out", teacher_init={"hps": weights / "teacher.safetensors"})
    found = experiment.run(given, say=quiet)["federated"]["teachers"]
    first = train.digest(networks.load(weights / "teacher.safetensors")[0].state_dict())
    assert found["hps"]["first_weights"] == first != found["ms"]["first_weights"]
    wrong = hospitals.experiment(folders, tmp_path / "wrong", teacher_init={"hps": weights / "refiner.safetensors"})
    with pytest.raises(UsageError, match="holds a refiner network, not the teacher"):
        experiment.run(wrong, say=quiet)
    with pytest.raises(ValueError, match="there is no head 'refiner'"):
        hospitals.experiment(folders, tmp_path, teacher_init={"refiner": weights / "refiner.safetensors"})
