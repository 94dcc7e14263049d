"""A bundle is verified before anything of it runs: every way to tamper with it is refused by name and reason."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.bundle import layout, metadata, sessions
from fedkdtavi_core.errors import BundleError, UsageError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("good") / "bundle").path


@pytest.fixture
def folder(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "bundle"))


def _relist(folder):
    """Make the checksums fit again, as somebody who means harm would."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != layout.SUMS)
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / layout.SUMS).write_bytes(layout.format_sums(sums))


def test_a_sound_bundle_passes_as_folder_and_as_zip(good, tmp_path):
    folder = bundles.verify(good)
    packed = bundles.pack(good, tmp_path / "tiny.zip")
    assert folder.digest == packed.digest == hashlib.sha256((good / layout.SUMS).read_bytes()).hexdigest()
    assert folder.metadata == packed.metadata and folder.name == "tiny 1"
    assert bundles.verify(tmp_path / "tiny.zip").read("models/coarse.onnx") == folder.read("models/coarse.onnx")


def test_sums_are_those_of_sha256sum(good):
    for line in (good / layout.SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((good / name).read_bytes()).hexdigest()


def test_info_tells_what_it_is(good):
    told = bundles.info(good)
    assert told["name"] == "tiny" and told["has_model_card"] and told["calibrated_heads"] == ["hps", "ms"]
    assert told["heads"]["ms"] == ["ms_upper", "ms_lower"]
    assert told["readouts"] == {"hps": "heatmap", "ms": "heatmap"} and told["bundle_version"] == 1
    assert told["networks"]["student"]["opset"] == 17
    assert told["files"]["provenance.json"]["bytes"] == (good / "provenance.json").stat().st_size
    assert told["provenance"] == {"made_by": "tests"}
    json.dumps(told)


@pytest.mark.parametrize("name", ["models/student.onnx", "configs/metadata.json", "docs/README.md"])
def test_an_altered_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} was altered"):
        bundles.verify(folder)


def test_a_missing_an_extra_and_a_truncated_file_are_refused(folder):
    (folder / "docs/extra.md").write_text("x")
    with pytest.raises(BundleError, match=r"docs/extra\.md is not listed"):
        bundles.verify(folder)
    (folder / "docs/extra.md").unlink()
    model = folder / "models/coarse.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    with pytest.raises(BundleError, match=r"coarse\.onnx was altered"):
        bundles.verify(folder)
    model.unlink()
    with pytest.raises(BundleError, match=r"models/coarse\.onnx is missing"):
        bundles.verify(folder)
    _relist(folder)
    with pytest.raises(BundleError, match=r"models/coarse\.onnx is missing"):
        bundles.verify(folder)


@pytest.mark.parametrize("sums", [b"", b"nonsense\n", b"\xff\xfe", b"abc  models/coarse.onnx\n"])
def test_damaged_sums_are_refused(folder, sums):
    (folder / layout.SUMS).write_bytes(sums)
    with pytest.raises(BundleError, match="SHA256SUMS"):
        bundles.verify(folder)


@pytest.mark.parametrize(
    "name", ["../escape.md", "/etc/passwd.txt", "a/../../b.md", "C:/x.md", "a\\b.md", "a//b.md", "con.md", "x .md/y ."]
)
def test_names_that_leave_the_bundle_are_refused(folder, name):
    with (folder / layout.SUMS).open("ab") as stream:
        stream.write(f"{'0' * 64}  {name}\n".encode())
    with pytest.raises(BundleError, match="do not use this bundle"):
        bundles.verify(folder)


def test_links_are_refused(folder, tmp_path):
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    (folder / "docs/link.md").symlink_to(secret)
    _relist(folder)
    with pytest.raises(BundleError, match=r"docs/link\.md is a link"):
        bundles.verify(folder)
    (folder / "docs/link.md").unlink()
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(BundleError, match="more is a link"):
        bundles.verify(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused(folder):
    os.mkfifo(folder / "docs/pipe.md")
    with pytest.raises(BundleError, match="no plain file"):
        bundles.verify(folder)


@pytest.mark.parametrize("name", ["models/student.pt", "scripts/run.py", "models/weights.pkl", "lib.so"])
def test_pickles_and_programs_have_no_place(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    _relist(folder)
    with pytest.raises(BundleError, match="no place in a bundle"):
        bundles.verify(folder)


def test_a_network_that_is_refused_is_named_with_the_reason(folder):
    (folder / "models/student.onnx").write_bytes(b"not a network")
    _relist(folder)
    with pytest.raises(BundleError, match=r"models/student\.onnx is no ONNX network"):
        bundles.verify(folder)
    model = tiny_bundle.student_model()
    model.graph.node[0].op_type = "Loop"
    (folder / "models/student.onnx").write_bytes(model.SerializeToString())
    _relist(folder)
    with pytest.raises(BundleError, match=r"models/student\.onnx uses the unknown operator Loop; it is not run"):
        bundles.verify(folder)


def test_a_network_without_a_promised_head_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"student\.onnx has no output 'ms'"):
        tiny_bundle.write_bundle(tmp_path / "b", student=tiny_bundle.student_model(heads=("hps", "calc")))
    with pytest.raises(BundleError, match=r"coarse\.onnx has no output 'heart'"):
        tiny_bundle.write_bundle(tmp_path / "c", coarse=tiny_bundle.student_model())


def _changed(path, value):
    """Metadata with one entry replaced, or removed when the value is None."""
    meta = tiny_bundle.described()
    *parents, last = path.split(".")
    entry = meta
    for key in parents:
        entry = entry[key]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    return meta


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("bundle_version", 6, "bundle_version is 6, known are 1, 2, 3, 4, 5"),
        ("preprocessing.closer_look_mm", 0.8, "closer_look_mm needs bundle_version 3"),
        ("preprocessing.closer_look_mm", 1.3, "finer than crop_spacing_mm"),
        ("preprocessing.aligned_look", {"size": 48, "spacing_mm": 1.0}, "aligned_look needs bundle_version 4"),
        ("preprocessing.aligned_look", {"size": 44, "spacing_mm": 1.0}, "must hold size, a multiple of 8"),
        ("preprocessing.aligned_look", {"size": 48}, "must hold size, a multiple of 8"),
        ("preprocessing.aligned_look", 1.0, "must hold size, a multiple of 8"),
        ("preprocessing.calcium_look", {"size": 64, "spacing_mm": 0.85}, "calcium_look needs bundle_version 5"),
        ("preprocessing.calcium_look", {"size": 64, "spacing_mm": 9}, "calcium_look must hold size, a multiple of 8"),
        ("thresholds.calcium_score", 0, "thresholds.calcium_score must be a number from 0.05 to 0.95"),
        ("schema_version", None, "schema_version is None"),
        ("name", "", "name must be a text"),
        ("trained_on", None, "trained_on must be a text"),
        ("heads", [], "heads must be an object"),
        ("heads.hps.outputs", ["hinge_rcc", "knee"], "heads.hps names 'knee'"),
        ("heads.ms.outputs", ["ms_upper", "ms_upper"], "names a label twice"),
        ("heads.heart.outputs", ["background"], "heads.heart must be the classes"),
        ("heads.hps.readout", "guess", "heads.hps.readout is 'guess', known are heatmap, centroid"),
        ("heads.hps.readout", ["centroid"], "heads.hps.readout is"),
        ("heads.hps.readout", "centroid", "heads.hps.readout needs bundle_version 2"),
        ("heads.calc.readout", "centroid", "only hps, ms are read as landmarks"),
        ("heads.liver", {"outputs": ["x"]}, "the head 'liver'"),
        ("preprocessing.crop_size", 20, "crop_size must be a whole number"),
        ("preprocessing.crop_spacing_mm", "1", "crop_spacing_mm must be a number"),
        ("preprocessing.clip", [-100, 700], "this version normalises with"),
        ("preprocessing.views", [[1, 2]], "views must be"),
        ("thresholds.root_score", None, "root_score is missing"),
        ("thresholds.root_score", 7, "thresholds.root_score must be a number from 0 to 1"),
        ("calibration.hps", {"raw": [0.5, 0.1], "p_within_5mm": [0, 1]}, "raw must rise"),
        ("calibration.hps", {"raw": [0.1, 0.5], "p_within_5mm": [1, 0]}, "must not fall"),
        ("calibration.ms", {"raw": [0.1]}, "equally long"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(path, value, words):
    with pytest.raises(BundleError, match=words):
        metadata.parse(json.dumps(_changed(path, value)).encode(), "m")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": NaN}', b"[" * 100_000, b"\xff"])
def test_metadata_that_is_no_json_object_is_refused(content):
    with pytest.raises(BundleError, match="JSON"):
        metadata.parse(content, "m")


def test_a_place_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        bundles.verify(tmp_path / "nothing")
    with pytest.raises(BundleError, match="holds no SHA256SUMS"):
        bundles.verify(tmp_path)
    (tmp_path / "text.zip").write_text("this is no zip")
    with pytest.raises(BundleError, match="no readable zip"):
        bundles.verify(tmp_path / "text.zip")


def _zip(path, good, *, prefix="", extra=(), change=None):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in good.rglob("*") if p.is_file()):
            archive.writestr(prefix + file.relative_to(good).as_posix(), file.read_bytes())
        for entry, content in extra:
            archive.writestr(entry, content)
    return path


def test_a_zipped_folder_is_taken_too(good, tmp_path):
    packed = _zip(tmp_path / "b.zip", good, prefix="my bundle/")
    assert bundles.verify(packed).digest == bundles.verify(good).digest


def test_zip_tricks_are_refused(good, tmp_path):
    link = zipfile.ZipInfo("docs/link.md")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    for entry, words in (
        ("../outside.md", "leaves the bundle"),
        ("/abs.md", "not a path inside"),
        (link, "is a link"),
        ("MODELS/student.onnx", "one file on some systems"),
    ):
        with pytest.raises(BundleError, match=words):
            bundles.verify(_zip(tmp_path / "b.zip", good, extra=[(entry, b"/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = _zip(tmp_path / "b.zip", good, extra=[("docs/README.md", b"other")])
    with pytest.raises(BundleError, match="twice"):
        bundles.verify(twice)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(good, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_FILE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(layout.SUMS, f"{'0' * 64}  bomb.txt\n")
        archive.writestr("bomb.txt", bytes(4 << 20))
    with pytest.raises(BundleError, match=r"bomb\.txt would unpack to 4194304 bytes"):
        bundles.verify(tmp_path / "bomb.zip")
    monkeypatch.undo()
    monkeypatch.setattr(layout, "MOST_FILES", 3)
    with pytest.raises(BundleError, match="more than 3 files"):
        bundles.verify(_zip(tmp_path / "many.zip", good))
    with pytest.raises(BundleError, match="more than 3 files"):
        bundles.verify(good)


def test_a_zip_damaged_inside_is_refused(good, tmp_path):
    packed = _zip(tmp_path / "b.zip", good)
    content = bytearray(packed.read_bytes())
    position = content.index((good / "models/student.onnx").read_bytes()[:200]) + 100
    content[position] ^= 1
    packed.write_bytes(content)
    with pytest.raises(BundleError, match=r"models/student\.onnx cannot be read"):
        bundles.verify(packed)
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match="no readable zip"):
        bundles.verify(packed)


def test_a_file_exchanged_after_verifying_is_not_run(folder):
    bundle = bundles.verify(folder)
    (folder / "models/coarse.onnx").write_bytes((folder / "models/student.onnx").read_bytes())
    with pytest.raises(BundleError, match="has changed since it was verified"):
        bundle.session("coarse", "cpu")


def test_packing_is_the_same_every_time_and_atomic(folder, tmp_path):
    first = bundles.pack(folder, tmp_path / "a.zip")
    os.utime(folder / "docs/README.md", (1, 1))
    bundles.pack(folder, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    (folder / "docs/README.md").write_text("A better card.\n")
    assert bundles.pack(folder, tmp_path / "c.zip").digest != first.digest
    (folder / "models/coarse.onnx").write_bytes(b"broken")
    with pytest.raises(BundleError):
        bundles.pack(folder, tmp_path / "d.zip")
    with pytest.raises(UsageError, match="cannot lie inside"):
        bundles.pack(folder, folder / "e.zip")
    with pytest.raises(UsageError, match="no such folder"):
        bundles.pack(tmp_path / "none", tmp_path / "f.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip", "bundle", "c.zip"]


def test_a_session_runs_and_says_where(good):
    bundle = bundles.verify(good)
    session = bundle.session("student", "cpu")
    assert session is bundle.session("student", "cpu")
    outputs = session(np.zeros((1, 1, 64, 64, 64), "float32"))
    assert {name: value.shape for name, value in outputs.items()} == {
        "hps": (1, 5, 32, 32, 32),
        "ms": (1, 2, 32, 32, 32),
        "calc": (1, 1, 64, 64, 64),
    }
    assert session.device == "cpu" and session.notes == []
    with pytest.raises(BundleError, match=r"student\.onnx: the network cannot be run"):
        session(np.zeros((1, 3, 64, 64, 64), "float32"))
    with pytest.raises(UsageError, match="'tpu' is unknown"):
        bundle.session("student", "tpu")


def test_cuda_that_is_not_there_is_said_never_silent(good):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    session = bundles.verify(good).session("coarse", "cuda")
    assert session.device == "cpu"
    assert len(session.notes) == 1
    assert session.notes[0].startswith("CUDA was asked for") and session.notes[0].endswith("so the CPU computes.")


def test_a_full_gpu_falls_back_to_the_cpu_with_a_note(good):
    session = sessions.Session((good / "models/coarse.onnx").read_bytes(), "coarse.onnx", "cpu")
    image = np.zeros((1, 1, 16, 16, 16), "float32")
    expected = session(image)["root"]

    class Full:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9\nmore")

        def get_inputs(self):
            return session_inputs

    session_inputs = session._session.get_inputs()
    session._session, session.device = Full(), "cuda"
    np.testing.assert_array_equal(session(image)["root"], expected)
    assert session.device == "cpu"
    assert session.notes == [
        "The GPU failed (Failed to allocate memory for requested buffer of size 9), so the CPU computes."
    ]


def test_threads_follow_the_machine_and_the_environment(monkeypatch):
    monkeypatch.setattr(sessions, "_physical_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert sessions.default_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert sessions.default_threads() == 2
    monkeypatch.setattr(sessions, "_physical_cores", lambda: 1)
    assert sessions.default_threads() == 1


def test_a_fine_crop_needs_no_closer_look():
    assert metadata.parse(json.dumps(_changed("preprocessing.crop_spacing_mm", 0.5)).encode(), "m")
