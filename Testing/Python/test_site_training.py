"""From a review in the scene to a loss: only what a person confirmed or corrected there is learned."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Status
from fedkdtavi_core.cli.main import main
from fedkdtavi_core.site.check import check_site
from fedkdtavi_core.site.dataset import open_site
from FedKDTAVILib.landmarkNodes import pointState, setPointState
from FedKDTAVILib.siteCase import exportCase, openCase

torch = pytest.importorskip("torch", reason="needs the train extra")

REVIEWED = {"hinge_rcc": Status.CORRECTED, "hinge_lcc": Status.CONFIRMED}


@pytest.fixture
def exported(caseNodes, tmp_path):
    """A site with one case: two hinge points reviewed, one septum point absent, all else predicted."""
    node = caseNodes.landmarks
    for labelId, status in REVIEWED.items():
        shift = [2.0, 0.0, 0.0] if status is Status.CORRECTED else [0.0, 0.0, 0.0]
        setPointState(node, labelId, pointState(node, labelId).position + shift, status)
    setPointState(node, "ms_upper", None, Status.ABSENT)
    folder = exportCase(caseNodes, tmp_path / "site", reviewer="R1")
    return folder, {labelId: pointState(node, labelId).position for labelId in REVIEWED}


def test_an_exported_case_is_a_sound_case_of_a_site(exported):
    folder, places = exported
    site = open_site(folder.parents[1])
    assert check_site(site.folder) == []
    (case,) = site.cases
    states = case.states()
    assert {i for i, state in states.items() if state == "truth"} == set(REVIEWED)
    assert states["ms_upper"] == "absent"
    assert states["calcification"] == "predicted"
    labels = case.read_labels(case.read_grid())
    assert labels.truth == tuple(REVIEWED)
    for labelId, place in places.items():
        assert np.allclose(labels.landmarks[labelId].position, place, atol=1e-3)


def test_only_what_was_reviewed_in_the_scene_moves_the_networks(exported, tmp_path):
    from fedkdtavi_training import data, losses, sites
    from fedkdtavi_training.config import TrainConfig

    folder, _ = exported

    class Middle:
        name = "middle of the CT"

        def __call__(self, case, volume):
            return volume.grid.to_ras((np.array(volume.grid.shape) - 1) / 2)

    dataset = sites.SiteDataset(folder.parents[1], Middle())
    paths = dataset.write_cache(tmp_path / "cache")
    assert dataset.skipped == {}
    settings = TrainConfig(task="student", cache=[tmp_path / "cache"], out=tmp_path, steps=1, batch=1, seed=3)
    sample = data.CropDataset(paths, settings)[0]
    assert sample["mask"].tolist() == [float(label_id in REVIEWED) for label_id in schema.LANDMARK_IDS]
    size = settings.crop
    logits = {"hps": (5, size // 2), "ms": (2, size // 2), "calc": (1, size)}
    outputs = {head: torch.zeros(1, count, n, n, n).requires_grad_() for head, (count, n) in logits.items()}
    batch = {name: torch.from_numpy(np.asarray(value))[None] for name, value in sample.items()}
    loss, _ = losses.total("student", outputs, batch, settings.loss)
    loss.backward()
    moved = [bool(outputs["hps"].grad[0, channel].any()) for channel in range(5)]
    assert moved == [label_id in REVIEWED for label_id in schema.HEADS["hps"]]
    assert not outputs["ms"].grad.any()
    assert not outputs["calc"].grad.any()


def test_labels_imported_by_the_command_open_in_the_module_as_they_are(exported, caseNodes, tmp_path):
    """A prediction of a newer bundle comes onto an exported case: reviews stay, and nothing looks changed by hand."""
    folder, places = exported
    site = folder.parents[1]
    ct = tmp_path / "scan.nii.gz"
    shutil.copy(folder / "ct.nii.gz", ct)
    assert main(["annotate", str(ct), "--out", str(tmp_path / "new"), "--no-report", "--device", "cpu"]) == 0
    (result,) = (path for path in (tmp_path / "new").iterdir() if path.is_dir())
    assert main(["site", "import", str(site), str(result)]) == 0
    assert check_site(site) == []
    opened = openCase(folder, caseNodes.parameterNode)
    annotation = opened.toAnnotation()
    for labelId, place in places.items():
        assert annotation.landmarks[labelId].status is REVIEWED[labelId]
        assert np.allclose(annotation.landmarks[labelId].position, place, atol=1e-3)
    assert annotation.landmarks["ms_upper"].status is Status.ABSENT
    assert annotation.landmarks["ostium_lca"].status is Status.PREDICTED
    assert annotation.calcification_status is Status.PREDICTED
