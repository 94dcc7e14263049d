"""A name in a hospital's data is in nothing that leaves the hospital, and in nothing that the server has."""

from __future__ import annotations

import base64
import gzip
import io
import os
import time
import zipfile
from pathlib import Path

import hospitals
import pytest
from privacy import name

from fedkdtavi_training.federation import kits, status
from fedkdtavi_training.federation.loopback import Loopback
from fedkdtavi_training.phantom.command import main as phantom

TAP = Path(name.__file__).with_name("tap")


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_the_name_is_found_in_whatever_it_is_packed(shift):
    said = b"x" * shift + name.NAME.encode() + b" was here"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", said)
    for content in (said, said.upper(), said.decode().encode("utf-16-le"), said.hex().encode(), base64.b64encode(said),
                    gzip.compress(said), packed.getvalue()):  # fmt: skip
        assert name.times_in(content) >= 1
    assert name.times_in(bytes(range(256)) * 100) == 0


@pytest.mark.processes
@pytest.mark.torch
def test_a_name_in_tags_file_names_and_case_ids_leaves_the_hospital_nowhere(tmp_path):
    made = ["--sites", "1", "--cases", "1", "--seed", "5", "--fast", "--spacing", "4", "--kind", "heart", "--quiet"]
    assert phantom(["--out", str(tmp_path / "phantom"), "--labels", "all", *made]) == 0
    planted = name.plant(tmp_path / "phantom" / "site-1", tmp_path / "secret")
    others = hospitals.write(tmp_path / "data", {"b": ("hps ms",)})
    training = hospitals.training(rounds=1)
    plan = {
        "name": "privacy", "k": 1, "jobs": [1, 2], "deadline_s": 300, "teacher": training,
        "sites": [{"name": one, "org": f"org_{one}", "labels": ["hps", "ms"]} for one in ("a", "b")],
    }  # fmt: skip
    tap = tmp_path / "tap"
    tap.mkdir()
    tapped = {
        "PYTHONPATH": os.pathsep.join([str(TAP), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FEDKDTAVI_TAP": str(tap),
    }
    loop = Loopback(tmp_path / "federation", {"a": planted, **others}, plan, lambda text: None)
    with loop:
        loop.enrol()
        loop.start("server", **tapped)
        loop.wait_until_open(180)
        for one in ("a", "b"):
            loop.start(one, **tapped)
        loop.wait_for_sites(["a", "b"], 180)
        loop.run(1)
        # What goes wrong names the case: the training of the next job finds its description broken.
        (planted / "cases" / name.CASE / "labels.json").write_text("{")
        loop.run(2)
        time.sleep(2)  # what is still to be said of the job's end

    own = name.times_in((loop.site("a") / kits.WORK / "fedkdtavi.log").read_bytes())
    assert own > 0, "the error did not name the case, so that nothing was tried"
    stages = {stage["name"]: stage["history"][-1] for stage in status.gather(loop.server)["stages"]}
    assert stages["teacher-hps"]["averaged"] == ["a", "b"]
    assert stages["teacher-ms"]["averaged"] == ["b"]
    assert "its own log says more" in stages["teacher-ms"]["left_out"]["a"]

    crossed = {path.name: path.read_bytes() for path in tap.iterdir()}
    wire = b"".join(content for one, content in crossed.items() if one.startswith("wire"))
    assert b"head_weights" in wire, "the tap has not seen the updates"
    assert b"fedkdtavi_code" in wire, "the tap has not seen the failure"
    assert {one: name.times_in(content) for one, content in crossed.items() if name.times_in(content)} == {}
    assert str(tmp_path).encode() not in b"".join(crossed.values()), "a path of this machine has crossed"
    assert name.times_in_folder(loop.server) == {}
    assert (loop.server / kits.OUT / "task-1" / "federated").is_dir()
