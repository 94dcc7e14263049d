"""What a federation holds out at every site: nothing learns from it, and a bundle tells which cases these are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import hospitals
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

import tiny_bundle

from fedkdtavi_core.bundle import held_out, verify
from fedkdtavi_training import cache, export, networks
from fedkdtavi_training.federated import experiment
from fedkdtavi_training.federated.site import Site, inventory

pytestmark = pytest.mark.torch
SHARE = 0.3
DIGESTS = [f"{n:064x}" for n in range(60)]
OUT = [digest for digest in DIGESTS if held_out.is_held_out(digest, SHARE)]
IN = [digest for digest in DIGESTS if digest not in OUT]


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sites with three cases, of which the last is held out; one that says nothing of its CTs."""
    base, found = tmp_path_factory.mktemp("sites"), {}
    for number, name in enumerate("ab"):
        found[name] = base / name
        found[name].mkdir()
        for n, ct in enumerate([*IN[2 * number :][:2], OUT[number]]):
            hospitals.save(found[name] / f"case_{n:06d}.npz", 10 * number + n, ["hps", "ms", "calc"], ct)
    return found | hospitals.write(base, {"c": ("hps", "")})


def test_it_is_as_if_they_were_not_there(folders, tmp_path):
    fewer = {name: shutil.copytree(folder, tmp_path / name) for name, folder in folders.items()}
    for name in "ab":
        (fewer[name] / "case_000002.npz").unlink()
    plain = experiment.run(hospitals.experiment(fewer, tmp_path / "fewer"), say=quiet)["federated"]
    kept = experiment.run(hospitals.experiment(folders, tmp_path / "kept", held_out=SHARE), say=quiet)["federated"]
    assert kept["student"]["digest"] == plain["student"]["digest"]
    assert kept["student"]["held_out"] == SHARE and "held_out" not in plain["student"]
    assert not list((tmp_path / "kept").rglob("pseudo-1/*case_000002.npz"))  # no teacher has looked at them

    every = experiment.run(hospitals.experiment(folders, tmp_path / "every"), say=quiet)["federated"]
    assert every["student"]["digest"] != plain["student"]["digest"]


def test_they_are_not_counted(folders, tmp_path):
    site = Site("a", (folders["a"],), tmp_path)
    assert [inventory(site, held_out=share)[1] for share in (0.0, SHARE, 1 - 1e-9)] == [3, 2, 0]
    assert inventory(Site("c", (folders["c"],), tmp_path), held_out=SHARE)[1] == 2


def test_the_bundle_tells_a_site_which_they_are(folders, tmp_path):
    told = experiment.run(
        hospitals.experiment(folders, tmp_path / "out", held_out=SHARE, task=0), say=quiet
    )["federated"]["student"]  # fmt: skip
    weights = tmp_path / "out/federated/student.safetensors"
    assert networks.load(weights)[2]["digest"] == told["digest"]
    coarse = tiny_bundle.write_bundle(tmp_path / "coarse")
    export.assemble(tmp_path / "made", coarse, weights, name="x", version="1", partly=True)
    made = verify(tmp_path / "made").provenance
    assert held_out.has_learned_from(made, "any clinic", IN[0])
    assert not held_out.has_learned_from(made, "any clinic", OUT[0])

    # With a network of a federation that has held nothing out, all cases count as learned from.
    refiner = networks.build("refiner", {"channels": [4, 8, 8]})
    networks.save(refiner, "refiner", tmp_path / "refiner.safetensors", told | {"held_out": 0.0, "crop_size": 32})
    export.assemble(
        tmp_path / "both", coarse, weights, refiner=tmp_path / "refiner.safetensors", name="x", version="2", partly=True
    )
    assert held_out.has_learned_from(verify(tmp_path / "both").provenance, "any clinic", OUT[0])


def test_cases_without_a_ct_of_their_own_are_never_held_out(folders):
    assert all("ct" not in cache.load(path).info for path in cache.files([folders["c"]]))
