"""From a bundle and its reviewers' labels to the next one: small networks, real folders, the commands a site types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import site_cases
import tiny_bundle

from fedkdtavi_core.annotation import Landmark, Status
from fedkdtavi_core.bundle import held_out, resolver, seal, verify
from fedkdtavi_core.cli import main as cli
from fedkdtavi_core.errors import UsageError
from fedkdtavi_core.labels.markups import write_landmarks
from fedkdtavi_core.labels.record import CaseRecord, LabelRecord, read_record, volume_digest, write_record
from fedkdtavi_core.readers import read_volume
from fedkdtavi_core.site.ctfile import write_ct
from fedkdtavi_core.site.dataset import SiteInfo, write_site
from fedkdtavi_training import bundle_weights, cache, commands, data, export, networks, train
from fedkdtavi_training.config import TrainConfig
from fedkdtavi_training.federated import pseudo
from fedkdtavi_training.federated.messages import SiteFailedError
from fedkdtavi_training.federated.plain import PlainDriver
from fedkdtavi_training.next_round import lessons, run, settings

pytestmark = pytest.mark.torch
TINY = {"rounds": 1, "local_steps": 2, "warmup": 0, "lr": 0.01}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A coarse network that sees the spheres, and a student that has learned nothing but can be trained on."""
    return write_parent(tmp_path_factory.mktemp("parent") / "bundle")


def write_parent(folder, *, refiner=None, **fed):
    train.prepare_torch()
    tiny_bundle.write_bundle(
        folder, meta=tiny_bundle.described(**fed), refiner=refiner and tiny_bundle.student_model(heads=("hps", "ms"))
    )
    if refiner is not None:
        networks.save(export.round_to_half(refiner.eval()).half(), "refiner", folder / "models/refiner.safetensors")
    network = export.round_to_half(networks.build("teacher", {"channels": [4, 8]}, seed=1).eval())
    (folder / "models/student.onnx").write_bytes(export.to_onnx(network, shape=(64,) * 3, dynamic=False))
    networks.save(network.half(), "teacher", folder / "models/student.safetensors")
    return seal(folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory, parent):
    """Three cases reviewed (one on the parent's predictions), one that nobody has looked at."""
    folder = tmp_path_factory.mktemp("north")
    write_site(folder, SiteInfo("clinic", synthetic=True))
    for n, name in enumerate("abcd"):
        write_case(folder / "cases" / name, n, Status.PREDICTED if name == "d" else Status.CORRECTED, parent.digest)
    return folder


def write_case(case, n, status, digest):
    case.mkdir(parents=True)
    write_ct(case / "ct.nii.gz", tiny_bundle.blob_volume(shape=(100, 104, 96 + n), noise_hu=12.0))
    points = {i: Landmark(i, place, None, None, status) for i, place in tiny_bundle.POINTS.items()}
    write_landmarks(case / "landmarks.mrk.json", points)
    records = {i: LabelRecord(status, bundle=digest if n == 0 else None) for i in points}
    write_record(case / "labels.json", CaseRecord(volume_digest(read_volume(case / "ct.nii.gz")), records))


def digests(site):
    return {case.name: read_record(case / "labels.json").ct_sha256 for case in sorted((site / "cases").iterdir())}


def config(parent, site, base, **changes):
    entries = {
        "bundle": str(parent.path),
        "sites": [{"name": "north", "folder": str(site)}],
        "out": str(base / "work"),
        "new_bundle": str(base / "new"),
        "version": "2",
        "student": TINY,
        "pseudo": {"min_certainty": 0.0, "min_plausibility": 0.0},
        "held_out": 0.0,
    }
    base.mkdir(exist_ok=True)
    path = base / "next.json"
    path.write_text(json.dumps(entries | changes))
    return path


def test_from_reviewed_labels_to_a_bundle_that_is_compared_with_its_parent(parent, site, tmp_path, capsys):
    found = digests(site)
    # Exactly one of the three reviewed cases is held out.
    share = next(n / 100 for n in range(101) if sum(held_out.is_held_out(found[case], n / 100) for case in "abc") == 1)
    (kept,) = (case for case in "abc" if held_out.is_held_out(found[case], share))
    assert commands.next_round([str(config(parent, site, tmp_path, held_out=share))]) == 0
    told = json.loads(capsys.readouterr().out)
    made = verify(tmp_path / "new")
    assert made.digest == told["digest"] != parent.digest and made.name == "tiny 2"

    link = made.provenance
    assert link["parent"] == {"digest": parent.digest, "name": "tiny", "version": "1"}
    lesson = link["taught"]["sites"]["north"]
    assert (lesson["id"], lesson["held_out"] >= 1) == ("clinic", True)
    assert lesson["labels"] == dict.fromkeys(tiny_bundle.POINTS, 2)
    assert lesson["of_parent"] == (0 if kept == "a" else 7)
    assert "case" not in json.dumps(link["taught"]).replace('"cases"', "")  # numbers of cases, never their names

    start, _, _ = networks.load(parent.path / "models/student.safetensors")
    assert link["student"]["first_weights"] == train.digest(start.state_dict())
    assert link["student"]["digest"] != link["student"]["first_weights"]
    assert link["student"]["pseudo_labels"]["sites"]["north"]  # the case nobody has looked at
    assert made.read("models/coarse.onnx") == parent.read("models/coarse.onnx")
    for key in ("preprocessing", "thresholds", "calibration", "heads", "trained_on"):
        assert made.metadata[key] == parent.metadata[key]
    card = made.read("docs/README.md").decode()
    assert "confidences is the parent bundle's" in card and "Not evaluated" in card
    assert "| student | 1 rounds of a federation | 1 sites |" in card

    # Evaluated and calibrated, the same weights are written once more, and the card says so.
    (tmp_path / "results.json").write_text(json.dumps({"all": {"hinges and ostia": {"median": 1.23}}}))
    table = {head: {"raw": [0.0, 1.0], "p_within_5mm": [0.1, 0.9]} for head in ("hps", "ms")}
    (tmp_path / "table.json").write_text(json.dumps(table))
    more = {"results": str(tmp_path / "results.json"), "calibration": str(tmp_path / "table.json")}
    assert commands.next_round([str(config(parent, site, tmp_path, held_out=share, **more)), "--force"]) == 0
    again = verify(tmp_path / "new")
    card = again.read("docs/README.md").decode()
    assert "| hinges and ostia | 1.23 |" in card and "parent bundle's" not in card
    assert again.read("models/student.onnx") == made.read("models/student.onnx")
    assert again.metadata["calibration"] == table
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(UsageError, match="is no summary of results"):
        commands.next_round([str(config(parent, site, tmp_path, **more)), "--force"])
    for command in (("--force",), ()):  # as it was, and the parent's table again
        again = commands.next_round([str(config(parent, site, tmp_path, held_out=share)), *command])
        assert again == 0 and verify(tmp_path / "new").digest == made.digest
    capsys.readouterr()

    assert cli.main(["bundle", "compare", str(parent.path), str(tmp_path / "new"), str(site), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["cases"], compared["learned_from"]) == (1, {"old": 0, "new": 2})
    assert compared["verdict"].startswith("too few cases (1")


def test_the_same_again_gives_the_same_bundle_and_a_third_generation_remembers(parent, site, tmp_path):
    first = run.run(settings.read(config(parent, site, tmp_path)), say=lambda text: None)
    (tmp_path / "work" / "federated" / "student.safetensors").unlink()
    assert run.run(settings.read(config(parent, site, tmp_path)), say=lambda text: None) == first
    child = verify(tmp_path / "new")
    with pytest.raises(UsageError, match="taught all of these labels already"):
        run.run(settings.read(config(child, site, tmp_path / "again")), say=lambda text: None)
    assert not (tmp_path / "again" / "new").exists()
    lineage = export.lineage(child)
    assert lineage["digest"] == child.digest and lineage["parent"]["digest"] == parent.digest
    one = next(iter(digests(site).values()))
    assert held_out.has_learned_from({"taught": {}, "parent": lineage}, "clinic", one)


def test_cases_without_reviewed_labels_are_not_counted_as_reviewed(parent, site, tmp_path):
    said = []
    north = settings.SiteFolder(name="north", folder=site)
    (found,) = lessons.gather((north,), parent, 0.0, tmp_path, said.append)
    assert any("north: 21 reviewed labels in 3 of 4 cases, 7 of them" in sentence for sentence in said)
    assert found.told["cases"] == 4


def test_another_bundle_at_its_place_is_replaced_only_when_asked_for(parent, site, tmp_path, monkeypatch, capsys):
    first = run.run(settings.read(config(parent, site, tmp_path)), say=lambda text: None)
    other = write_parent(tmp_path / "other", closer_look_mm=0.9)
    changed = config(parent, site, tmp_path, version="3")
    with monkeypatch.context() as patch:
        patch.setattr(lessons, "gather", lambda *given: pytest.fail("went on"))
        with pytest.raises(UsageError, match="new: holds a bundle with another name, tiny 2; add --force to replace"):
            commands.next_round([str(changed)])
        with pytest.raises(UsageError, match="holds a bundle of another parent"):
            commands.next_round([str(config(other, site, tmp_path))])
    again = {"out": str(tmp_path / "again"), "seed": 5}
    with pytest.raises(UsageError, match="holds a bundle that was taught something else"):
        run.run(settings.read(config(parent, site, tmp_path, **again)), say=lambda text: None)
    assert verify(tmp_path / "new").digest == first["digest"]
    assert commands.next_round([str(config(parent, site, tmp_path, version="3")), "--force"]) == 0
    assert verify(tmp_path / "new").name == "tiny 3"


def test_a_share_of_the_parent_stays_in_the_new_student(parent, site, tmp_path, capsys):
    whole = run.run(settings.read(config(parent, site, tmp_path / "whole")), say=lambda text: None)
    half = run.run(settings.read(config(parent, site, tmp_path / "half", parent_share=0.5)), say=lambda text: None)
    old, new, mean = (
        networks.load(folder / "models/student.safetensors")[0].state_dict()
        for folder in (parent.path, tmp_path / "whole/new", tmp_path / "half/new")
    )
    for name, value in mean.items():
        torch.testing.assert_close(value, (old[name] + new[name]) / 2, atol=1e-3, rtol=1e-2)  # both kept as fp16
    made = verify(tmp_path / "half/new")
    assert made.provenance["student"]["digest"] == whole["student"] != half["student"]
    assert made.provenance["networks"]["student"]["digest"] == half["student"]
    assert [part["share"] for part in made.provenance["networks"]["student"]["mean_of"]] == [0.5, 0.5]
    assert "weights are a mean: 0.5 of" in made.read("docs/README.md").decode()
    with pytest.raises(UsageError, match="parent_share"):
        settings.read(config(parent, site, tmp_path / "none", parent_share=1.0))


class OneFails(PlainDriver):
    """The site ``south`` cannot train, and says why with names of its own."""

    def send(self, site, task):
        if site == "south" and task.kind == "train":
            raise SiteFailedError(site, "/home/secret/cases/patient-7/ct.nii.gz cannot be read")
        return super().send(site, task)


def test_nothing_of_a_sites_files_is_in_the_bundle(parent, site, tmp_path):
    south = tmp_path / "south"
    write_site(south, SiteInfo("other", synthetic=False))
    write_case(south / "cases" / "patient-8", 7, Status.CONFIRMED, parent.digest)
    sites_of_it = [{"name": "north", "folder": str(site)}, {"name": "south", "folder": str(south)}]
    chosen = settings.read(config(parent, site, tmp_path, sites=sites_of_it, pseudo=None))
    run.run(chosen, say=lambda text: None, driver=OneFails)
    made = verify(tmp_path / "new")
    assert made.provenance["student"]["left_out"] == ["round 1: south: failed"]
    for name in made.files:
        content = made.read(name)
        for word in (b"secret", b"patient-", str(tmp_path).encode(), str(site).encode()):
            assert word not in content, (name, word)
    assert made.metadata["trained_on"] == "synthetic phantoms, then reviewed CTs of 1 site; not for clinical use"
    assert "No patient's CT was used" not in made.read("docs/README.md").decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": 0.999999999}, "no confirmed|not held out"),
        ({"student": TINY | {"network": {}}}, "student.network is the bundle's own"),
        ({"student": TINY | {"tempo": 1}}, "tempo"),
        (
            {"student": TINY | {"loss": {"recipe": "spheres"}}},
            "loss.recipe is 'spheres', but the bundle needs 'heatmaps'",
        ),
        ({"speed": 1}, "speed"),
        ({"pseudo": {"sets": 2}}, "one set"),
        ({"calibration": "nowhere.json"}, "nowhere.json: is no calibration"),
        ({"results": "nowhere.json"}, "nowhere.json: is no summary of results"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_no_bundle(parent, site, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        run.run(settings.read(config(parent, site, tmp_path, **changes)), say=lambda text: None)
    assert not (tmp_path / "new").exists()


def test_a_child_looks_as_closely_as_its_parent(site, tmp_path, monkeypatch):
    twice = write_parent(tmp_path / "twice", closer_look_mm=0.9)
    looked, look = [], pseudo.look
    monkeypatch.setattr(pseudo, "look", lambda *a, **how: looked.append(how["closer"]) or look(*a, **how))
    run.run(settings.read(config(twice, site, tmp_path)), say=lambda text: None)
    assert looked and all(closer == {"hps": 0.9, "ms": 0.9, "calc": 0.9} for closer in looked)
    made = verify(tmp_path / "new")
    assert made.metadata["preprocessing"] == twice.metadata["preprocessing"]
    assert networks.load(tmp_path / "new/models/student.safetensors")[2]["closer_look_mm"] == 0.9
    (case, *_) = (cache.load(path) for path in sorted((tmp_path / "work/crops/north").glob("case_*.npz")))
    assert case.spacing == pytest.approx(0.9)
    # Large enough for the usual look as well: both are drawn.
    found = settings.training(settings.read(config(twice, site, tmp_path)), twice, "teacher", {"channels": [4, 8]})
    shown = TrainConfig(task="teacher", cache=[tmp_path], out=tmp_path, steps=8, closer_look_mm=found.closer_look_mm)
    assert set(shown.looks_at(case.spacing, case.hu.shape[0])) == {0.9, 1.25}
    samples = data.CropDataset([tmp_path], shown)
    drawn = {round(float(samples.sample(n, case, data.Labels.of(case))["voxel_mm"]), 3) for n in range(8)}
    assert drawn == {0.9, 1.25}


def test_a_parents_refiner_is_taken_over_or_trained_on(parent, site, tmp_path):
    look = {"size": 32, "spacing_mm": 1.25}
    first = networks.build("refiner", {"channels": [4, 8, 8]}, seed=4)
    careful = write_parent(tmp_path / "careful", refiner=first, aligned_look=look)
    run.run(settings.read(config(careful, site, tmp_path / "kept")), say=lambda text: None)
    kept = verify(tmp_path / "kept/new")
    assert kept.read("models/refiner.onnx") == careful.read("models/refiner.onnx")
    assert kept.metadata["preprocessing"] == careful.metadata["preprocessing"]

    told = run.run(
        settings.read(config(careful, site, tmp_path / "on", refiner=TINY, parent_share=0.5)), say=lambda text: None
    )
    made = verify(tmp_path / "on/new")
    link = made.provenance["refiner"]
    assert link["first_weights"] == train.digest(
        networks.load(careful.path / "models/refiner.safetensors")[0].state_dict()
    )
    assert made.provenance["networks"]["refiner"]["digest"] == told["refiner"] != link["digest"]
    assert made.metadata["preprocessing"]["aligned_look"] == look
    bundle_weights.write(made, "refiner", tmp_path / "refiner.safetensors")
    again, _, spoken = networks.load(tmp_path / "refiner.safetensors")
    assert (spoken["crop_size"], spoken["crop_spacing_mm"], spoken["digest"]) == (32, 1.25, told["refiner"])
    torch.testing.assert_close(
        again.state_dict(),
        export.round_to_half(networks.load(tmp_path / "on/work/refiner.safetensors")[0]).state_dict(),
        rtol=0,
        atol=0,
    )
    assert kept.read("models/student.onnx") != made.read("models/student.onnx")  # half of it is the parent's

    with pytest.raises(UsageError, match="has no network 'refiner', so it cannot be trained on"):
        run.run(settings.read(config(parent, site, tmp_path / "none", refiner=TINY)), say=lambda text: None)
    with pytest.raises(UsageError, match=r"refiner\.crop is the bundle's own"):
        settings.read(config(careful, site, tmp_path / "crop", refiner=TINY | {"crop": 48}))


def test_what_cannot_be_a_parent_or_a_site_is_refused(parent, site, tmp_path):
    def refused(words, **changes):
        with pytest.raises(UsageError, match=words):
            run.run(settings.read(config(parent, site, tmp_path, **changes)), say=lambda text: None)

    refused("the parent itself", new_bundle=str(parent.path))
    bare = tiny_bundle.write_bundle(tmp_path / "bare")
    refused("cannot be trained on", bundle=str(bare.path))
    refused("is no site dataset", sites=[{"name": "x", "folder": str(tmp_path / "bare")}])
    empty = site_cases.make_site(tmp_path / "empty")
    refused("No site has a confirmed or corrected label", sites=[{"name": "x", "folder": str(empty)}])


def test_the_shipped_configuration_fits_the_shipped_bundle():
    chosen = settings.read(Path(__file__).resolve().parents[2] / "training" / "configs" / "next-round.json")
    shipped = resolver.shipped_bundle()
    found = settings.training(chosen, verify(shipped), "student", {})
    fed = verify(shipped).metadata["preprocessing"]
    assert (found.crop, found.loss.spacing_mm) == (fed["crop_size"], fed["crop_spacing_mm"])
    assert found.loss.recipe == "heatmaps" and chosen.pseudo is not None
