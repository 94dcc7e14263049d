"""From weights to a bundle: the exported networks compute the same, the weights in the bundle rebuild them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from fedkdtavi_core.bundle import metadata, seal, verify
from fedkdtavi_core.errors import UsageError
from fedkdtavi_training import calibrate, commands, export, networks, tally

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.set_num_threads(1)
    networks.save(networks.build("coarse", {"channels": [4, 8, 16]}, seed=1), "coarse", folder / "coarse.safetensors")
    networks.save(networks.build("student", seed=2), "student", folder / "student.safetensors", {"steps": 3})
    return folder


@pytest.fixture(scope="module")
def bundle(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle")
    report = export.assemble(
        out, weights / "coarse.safetensors", weights / "student.safetensors", name="test", version="0.0.1"
    )
    assert max(report[role]["difference"] for role in ("coarse", "student")) <= export.TOLERANCE
    return out


def test_the_bundle_is_sound_and_small(bundle):
    found = verify(bundle)
    assert found.metadata["name"] == "test"
    assert {"models/student.safetensors", "docs/README.md"} < set(found.files)
    assert "models/coarse.safetensors" not in found.files  # its graph holds them
    parameters = sum(p.numel() for p in networks.build("student").parameters())
    assert len(found.read("models/student.onnx")) < 2.5 * parameters  # two bytes each, and the graph
    assert "not for clinical use" in found.read("docs/README.md").decode().lower()


def test_the_weights_in_the_bundle_rebuild_its_network(bundle):
    network, task, trained = networks.load(bundle / "models/student.safetensors")
    assert (task, trained) == ("student", {"steps": 3})
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 64, 64, 64)).astype(np.float32)
    answer = verify(bundle).session("student", "cpu")(image)
    with torch.inference_mode():
        for name, value in network(torch.from_numpy(image)).items():
            np.testing.assert_allclose(answer[name], value.numpy(), atol=1e-3 * float(value.abs().max()))
    assert export.to_onnx(network, shape=(64,) * 3, dynamic=False) == verify(bundle).read("models/student.onnx")


def test_the_coarse_network_takes_any_shape(bundle):
    session = verify(bundle).session("coarse", "cpu")
    for shape in ((32, 48, 64), (64, 64, 32)):
        assert session(np.zeros((1, 1, *shape), np.float32))["root"].shape == (1, 1, *shape)


def test_a_network_that_differs_is_refused(weights):
    network = export.round_to_half(networks.load(weights / "coarse.safetensors")[0])
    onnx = export.to_onnx(network, shape=(32,) * 3, dynamic=True)
    with torch.no_grad():
        list(network.parameters())[-1].add_(1.0)  # the outputs' bias
    with pytest.raises(export.ExportError, match="differs"):
        export.compare(network, onnx, [(32, 32, 32)])


def test_swapped_networks_and_foreign_folders_are_refused(weights, tmp_path):
    coarse, student = weights / "coarse.safetensors", weights / "student.safetensors"
    with pytest.raises(UsageError, match="coarse network is needed"):
        export.assemble(tmp_path / "b", student, coarse, name="x", version="1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export.assemble(tmp_path / "mine", coarse, student, name="x", version="1")


def test_calibration_rises_and_tells_the_share():
    raw = (np.arange(4000) + 0.5) / 4000
    even = np.arange(4000) * 0.6180339887 % 1  # evenly spread over 0..1 in every stretch of raw
    error = np.where(even < raw**2, 1.0, np.inf)
    table = calibrate.table(raw, error)
    assert table["raw"][0] == 0
    assert table["raw"][-1] == 1
    assert (np.diff(table["raw"]) > 0).all()
    assert (np.diff(table["p_within_5mm"]) >= 0).all()
    places = np.array([0.3, 0.5, 0.8])
    np.testing.assert_allclose(np.interp(places, table["raw"], table["p_within_5mm"]), places**2, atol=0.02)
    with pytest.raises(UsageError, match="at least"):
        calibrate.table(raw[:10], error[:10])


def test_weights_say_how_they_are_read_and_a_half_written_bundle_is_none(weights, tmp_path):
    coarse, student = weights / "coarse.safetensors", tmp_path / "spheres.safetensors"
    told = {"readout": "centroid", "closer_look_mm": 0.8}
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student, told)
    with pytest.raises(UsageError, match="to be read as centroid, not as heatmap"):
        export.assemble(tmp_path / "b", coarse, student, name="x", version="1", how_read="heatmap")
    assert [path.name for path in tmp_path.iterdir()] == ["spheres.safetensors"]
    export.assemble(tmp_path / "b", coarse, student, name="x", version="1")
    found = verify(tmp_path / "b")
    assert metadata.readouts(found.metadata) == {"hps": "centroid", "ms": "centroid"}
    assert (
        "looks twice: at a crop of 80 mm at 1.25 mm, then at one of 51 mm at 0.8 mm"
        in found.read("docs/README.md").decode()
    )
    assert "centroids of the largest component" in found.read("docs/README.md").decode()
    assert networks.load(tmp_path / "b/models/student.safetensors")[2] == told
    assert found.metadata["preprocessing"]["closer_look_mm"] == 0.8 and found.metadata["bundle_version"] == 3
    export.assemble(tmp_path / "b", coarse, weights / "student.safetensors", name="x", version="2")
    assert verify(tmp_path / "b").name == "x 2" and len(list(tmp_path.iterdir())) == 2


def test_another_bundle_is_replaced_only_when_asked_for(weights, tmp_path, capsys):
    out, student = tmp_path / "b", tmp_path / "s.safetensors"
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student)
    words = ["--coarse", str(weights / "coarse.safetensors"), "--student", str(student), "--out", str(out)]
    assert commands.export([*words, "--version", "1"]) == 0
    assert commands.export([*words, "--version", "1"]) == 0  # the same again
    first = verify(out).digest
    with pytest.raises(UsageError, match="b: holds another bundle; add --force to replace it or choose another --out"):
        commands.export([*words, "--version", "2"])
    assert verify(out).digest == first and {path.name for path in tmp_path.iterdir()} == {"b", "s.safetensors"}
    assert commands.export([*words, "--version", "2", "--force"]) == 0
    assert verify(out).name == "fedkdtavi 2"
    (out / "models/student.onnx").write_bytes(b"broken")
    with pytest.raises(UsageError, match="holds another bundle"):
        commands.export([*words, "--version", "2"])
    with pytest.raises(UsageError, match="is there already and is no folder"):
        commands.export([*words[:-1], str(student), "--version", "2"])


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_that_fp16_does_not_hold_are_no_bundle(weights, tmp_path, value):
    network = networks.build("teacher", {"channels": [4, 8]})
    with torch.no_grad():
        network.heads.hps.weight.fill_(value)
    networks.save(network, "teacher", tmp_path / "w.safetensors")
    with pytest.raises(export.ExportError, match=r"heads\.hps\.weight are not finite"):
        export.assemble(
            tmp_path / "b", weights / "coarse.safetensors", tmp_path / "w.safetensors", name="x", version="1"
        )
    assert not (tmp_path / "b").exists()


def test_a_student_is_fed_as_it_has_learned_and_a_bundle_lends_its_coarse_network(weights, tmp_path, capsys):
    student = tmp_path / "wide.safetensors"
    told = {"crop_size": 96, "crop_spacing_mm": 0.8}
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student, told)
    first, second = tmp_path / "first", tmp_path / "second"
    export.assemble(
        first, weights / "coarse.safetensors", weights / "student.safetensors", name="x", version="1",
        thresholds={"root_sure": 0.4},
    )  # fmt: skip
    fed = verify(first).metadata["preprocessing"]
    assert (fed["crop_size"], fed["crop_spacing_mm"]) == (64, 1.25)
    words = ["--coarse", str(first), "--student", str(student), "--version", "2", "--out", str(second)]
    assert commands.export(words) == 0
    made = verify(second)
    fed = made.metadata["preprocessing"]
    assert (fed["crop_size"], fed["crop_spacing_mm"]) == (96, 0.8)
    assert made.metadata["thresholds"] == verify(first).metadata["thresholds"]
    assert made.read("models/coarse.onnx") == verify(first).read("models/coarse.onnx")


@pytest.mark.parametrize(
    "told",
    [{"stage": "teacher-hps", "taught": ["hps"]}, {"stage": "student", "taught": ["hps"], "untaught": ["ms", "calc"]}],
    ids=["teacher", "student"],
)
def test_weights_with_heads_that_nobody_has_taught_are_no_bundle_without_a_word(weights, tmp_path, told):
    student, out = tmp_path / "w.safetensors", tmp_path / "b"
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student, told)
    coarse = weights / "coarse.safetensors"
    words = ["--coarse", str(coarse), "--student", str(student), "--version", "1", "--out", str(out)]
    with pytest.raises(UsageError, match=r"w\.safetensors: has not learned ms, calc; give weights that have"):
        commands.export(words)
    assert not out.exists()
    export.assemble(out, coarse, student, name="x", version="1", partly=True)
    assert "- The student has not learned ms, calc:" in verify(out).read("docs/README.md").decode()
    told = {"stage": "finetuned", "taught": ["hps"]}  # from weights that had learned the others
    networks.save(networks.build("teacher", {"channels": [4, 8]}), "teacher", student, told)
    export.assemble(tmp_path / "whole", coarse, student, name="x", version="1")


def test_the_same_weights_are_the_same_bytes(tmp_path):
    network, told = networks.build("teacher", {"channels": [4, 8]}), {"digest": "ä", "steps": 3}
    made = set()
    for n in range(8):
        networks.save(network, "teacher", tmp_path / f"{n}.safetensors", told)
        made.add((tmp_path / f"{n}.safetensors").read_bytes())
    assert len(made) == 1
    again, task, read = networks.load(tmp_path / "0.safetensors")
    assert (task, read) == ("teacher", told)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


def test_missing_landmarks_have_no_confidence_and_a_head_with_few_gets_no_table(tmp_path):
    hps, ms = (networks.schema.HEADS[head] for head in ("hps", "ms"))
    given = {f"{i}_raw": 0.9 for i in hps} | {f"{i}_mm": 1.0 for i in hps}
    missing = {f"{i}_raw": None for i in (*hps, *ms)} | {f"{i}_mm": float("inf") for i in (*hps, *ms)}
    rows = [{"case": str(n), **(given | {f"{i}_mm": float("inf") for i in ms})} for n in range(20)]
    tally.write_rows(tmp_path / "some.csv", [{**missing, "case": "none"}, *rows])
    said = []
    tables = calibrate.from_csv([tmp_path / "some.csv"], said.append)
    assert list(tables) == ["hps"] and said == [
        "ms: 0 landmarks with confidence and error, at least 40 are needed: no table"
    ]
    assert np.interp(0.9, tables["hps"]["raw"], tables["hps"]["p_within_5mm"]) > 0.9  # the 5 missing ones are not in it
    tally.write_rows(tmp_path / "none.csv", [{**missing, "case": str(n)} for n in range(50)])
    with pytest.raises(UsageError, match="no head has 40 landmarks"):
        calibrate.main([str(tmp_path / "none.csv"), "--out", str(tmp_path / "c.json")])
    assert not (tmp_path / "c.json").exists()


def test_the_few_least_sure_are_told_apart():
    """Of 300 points only the ten least sure are wrong: they are not lost among the 15 that are surer."""
    raw = np.linspace(0.3, 0.99, 300)
    table = calibrate.table(raw, np.where(np.arange(300) < 10, 20.0, 1.0))
    low, high = np.interp([raw[4], raw[40]], table["raw"], table["p_within_5mm"])
    assert low < 0.4 and high > 0.9


def test_few_perfect_cases_promise_no_certainty():
    table = calibrate.table(np.linspace(0.9, 0.99, 60), np.ones(60))
    assert 0.8 < table["p_within_5mm"][-1] < 1


def test_a_graph_without_weights_beside_it_holds_them_by_their_names(bundle, weights, tmp_path):
    """What a bundle keeps as ONNX alone can be trained on: the same numbers, as fp16 holds them."""
    for role, told in (("coarse", {}), ("student", {"steps": 3})):
        expected = export.round_to_half(networks.load(weights / f"{role}.safetensors")[0]).state_dict()
        assert commands.weights([str(bundle), "--network", role, "--out", str(tmp_path / "w.safetensors")]) == 0
        again, task, spoken = networks.load(tmp_path / "w.safetensors")
        assert (task, spoken) == (role, told)
        for name, value in again.state_dict().items():
            torch.testing.assert_close(value, expected[name].to(value.dtype), rtol=0, atol=0)
    with pytest.raises(UsageError, match=r"has no network 'refiner', .* it has coarse, student\."):
        commands.weights([str(bundle), "--network", "refiner", "--out", str(tmp_path / "r.safetensors")])


def test_a_graph_without_names_is_not_guessed_at(bundle, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(bundle, folder)
    described = json.loads((folder / "configs/network.json").read_text())
    described["coarse"]["arguments"]["channels"] = [4, 8, 32]
    (folder / "configs/network.json").write_text(json.dumps(described))
    seal(folder)
    with pytest.raises(UsageError, match="is not enough to rebuild it"):
        commands.weights([str(folder), "--network", "coarse", "--out", str(tmp_path / "w.safetensors")])
    assert not (tmp_path / "w.safetensors").exists()
