"""Through FLARE's simulator the same rounds end in the same weights as in one process, digest for digest."""

from __future__ import annotations

import json

import hospitals
import pytest

from fedkdtavi_training.federation import simulation
from fedkdtavi_training.federation.flare import job

TWO = {"a": ("hps ms calc", ""), "b": ("hps calc", "ms")}


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return hospitals.write(tmp_path_factory.mktemp("hospitals"), TWO)


def test_the_simulator_ends_in_the_weights_of_the_plain_loop(folders, tmp_path):
    refiner = hospitals.training(model="refiner", network={"channels": [4, 8, 8]})
    plain, flare = (
        simulation.run(hospitals.experiment(folders, tmp_path / engine, refiner=refiner), engine, say=quiet)[
            "federated"
        ]
        for engine in ("plain", "flare")
    )
    for role in ("student", "refiner"):
        assert flare[role]["digest"] == plain[role]["digest"]
    assert flare["chain"] == plain["chain"]
    for head, link in plain["teachers"].items():
        assert flare["teachers"][head]["digest"] == link["digest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flare", "plain"]
    for engine, stage in (("flare", "student"), ("plain", "federated/student")):
        assert (tmp_path / engine / "status.html").exists()
        status = json.loads((tmp_path / engine / "status.json").read_text())
        assert {row["round"] for row in status["stages"][stage]["history"]} == {1, 2}
    status = json.loads((tmp_path / "flare" / "status.json").read_text())
    assert set(status["sites"]) == {"a", "b"} and all(site["seen"] for site in status["sites"].values())


def test_a_job_holds_no_code_and_no_word_on_where_data_lies(folders, tmp_path):
    settings = hospitals.experiment(folders, tmp_path / "secret" / "out", bundle=tmp_path / "bundle")
    written = job.write_job(settings, tmp_path / "job")
    names = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    assert names == ["meta.json", "server/config/config_fed_server.json", "site/config/config_fed_client.json"]
    text = "".join((written / name).read_text() for name in names)
    assert str(tmp_path) not in text and "hospitals" not in text
    client = json.loads((written / names[2]).read_text())
    assert client["executors"][0]["executor"]["args"] == {} and not client["components"]
