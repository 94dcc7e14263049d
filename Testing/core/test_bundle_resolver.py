"""Which bundle is used: the explicit one, the user's, the shipped one; a bad one is never passed over."""

import shutil

import pytest
import tiny_bundle

from fedkdtavi_core import bundle as bundles
from fedkdtavi_core.bundle import layout, resolver
from fedkdtavi_core.errors import BundleError, UsageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(resolver, "user_folder", lambda: tmp_path / "user" / "bundles")
    monkeypatch.setattr(resolver, "shipped_folders", lambda: [tmp_path / "module", tmp_path / "repository"])
    return tmp_path / "user" / "bundles"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("made")
    one = tiny_bundle.write_bundle(base / "one")
    meta = tiny_bundle.described()
    meta["version"] = "2"
    return one, tiny_bundle.write_bundle(base / "two", meta=meta)


def test_the_order(home, made, tmp_path):
    one, two = made
    with pytest.raises(BundleError, match="No model bundle was found"):
        bundles.resolve()
    shutil.copytree(one.path, tmp_path / "repository" / "inside")
    assert bundles.resolve().digest == one.digest
    shutil.copytree(two.path, tmp_path / "module")
    assert bundles.resolve().digest == two.digest
    bundles.import_bundle(one.path)
    assert bundles.resolve().path == home / one.digest
    assert bundles.resolve(two.path).path == two.path


def test_a_bad_bundle_is_refused_not_skipped(home, made, tmp_path):
    one, _ = made
    shutil.copytree(one.path, tmp_path / "module")
    imported = bundles.import_bundle(one.path)
    (imported.path / "models/student.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="was altered"):
        bundles.resolve()
    assert "problem" in bundles.list_bundles()[0]
    assert bundles.import_bundle(one.path).digest == one.digest  # importing again mends it
    assert bundles.resolve().digest == one.digest


def test_importing_a_zip_listing_and_taking_the_old_one_back(home, made, tmp_path):
    one, two = made
    packed = bundles.pack(one.path, tmp_path / "one.zip")
    assert bundles.import_bundle(packed.path).path == home / one.digest
    bundles.import_bundle(two.path)
    assert {e["digest"]: (e["active"], e["version"]) for e in bundles.list_bundles()} == {
        one.digest: (False, "1"),
        two.digest: (True, "2"),
    }
    bundles.activate(one.digest)
    assert bundles.resolve().digest == one.digest
    with pytest.raises(UsageError, match="No bundle"):
        bundles.activate("0" * 64)
    bundles.deactivate()
    with pytest.raises(BundleError, match="No model bundle was found"):
        bundles.resolve()
    assert sorted(p.name for p in home.iterdir()) == sorted([one.digest, two.digest])


def test_a_refused_bundle_leaves_nothing_behind(home, made, tmp_path):
    bad = shutil.copytree(made[0].path, tmp_path / "bad")
    (bad / "provenance.json").write_text("[]")
    with pytest.raises(BundleError, match="altered"):
        bundles.import_bundle(bad)
    assert not home.exists()


def test_an_interrupted_import_leaves_the_old_state(home, made, monkeypatch):
    one, two = made
    bundles.import_bundle(one.path)

    def disk_full(bundle, folder):
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
        raise OSError("No space left on device")

    monkeypatch.setattr(resolver, "_write_files", disk_full)
    with pytest.raises(UsageError, match="No space left"):
        bundles.import_bundle(two.path)
    assert sorted(p.name for p in home.iterdir()) == sorted(["active", one.digest])
    assert bundles.resolve().digest == one.digest


def test_several_shipped_bundles_must_be_named(home, made, tmp_path):
    for number, bundle in enumerate(made):
        shutil.copytree(bundle.path, tmp_path / "repository" / str(number))
    with pytest.raises(BundleError, match="several bundles"):
        bundles.resolve()


def test_a_damaged_pointer_is_told(home, made):
    bundles.import_bundle(made[0].path)
    (home / "active").write_text("../../somewhere")
    with pytest.raises(BundleError, match="names no bundle"):
        bundles.resolve()


def test_shipped_places_are_the_modules_the_repositorys_and_the_wheels():
    places = resolver.shipped_folders()
    assert [p.parts[-2:] for p in places] == [("Resources", "Models")] * 2 + [("fedkdtavi_core", "released_bundle")]
    assert (places[1].parent.parent / "pyproject.toml").is_file() or places[1] != places[0]
    assert layout.SUMS == "SHA256SUMS"
