"""What the suites of the Slicer module share: a real MRML scene, the sample CT in it, and its annotation."""

from __future__ import annotations

import copy
import sys
import traceback
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Testing" / "host"))

from slicerhost import start  # noqa: E402

start()
try:
    import pythonqt
except ImportError as error:  # PySide6, or a library of the system that it needs (libEGL)
    print(f"No tests of the window: {error}", file=sys.stderr)
else:
    pythonqt.start()

SAMPLE_CT = REPOSITORY / "Resources" / "SampleData" / "phantom-tavi.nii.gz"


@pytest.fixture(autouse=True)
def hiddenErrors(monkeypatch):
    """Exceptions in slots and observers, which Qt and VTK only print; a test that leaves one in the list fails."""
    errors: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: errors.append(error))
    yield errors
    told = "\n".join("".join(traceback.format_exception(error)) for error in errors)
    assert errors == [], f"an exception in a slot or an observer:\n{told}"


@pytest.fixture
def scene():
    """``slicer.mrmlScene``, empty but for what Slicer puts into every scene, and emptied again afterwards."""
    mrmlScene = start()
    yield mrmlScene
    mrmlScene.Clear(0)


@pytest.fixture
def ctVolumeNode(scene):
    """The sample CT as Slicer loads it: a vtkMRMLScalarVolumeNode."""
    import slicer

    return slicer.util.loadVolume(str(SAMPLE_CT))


@pytest.fixture(scope="session")
def sampleAnnotation():
    """What the shipped bundle finds in the sample CT; computed once, to be copied before it is changed."""
    from fedkdtavi_core.bundle import resolver, verify
    from fedkdtavi_core.pipeline import annotate
    from fedkdtavi_core.readers import read_volume

    shipped = next(found for folder in resolver.shipped_folders() if (found := resolver._bundle_in(folder)))
    return annotate(read_volume(SAMPLE_CT), verify(shipped), device="cpu")


@pytest.fixture
def annotation(sampleAnnotation):
    """The annotation of the sample CT, a copy that a test may change."""
    return copy.deepcopy(sampleAnnotation)


@pytest.fixture
def caseNodes(ctVolumeNode, annotation):
    """The nodes of the sample CT and of its annotation, held by a parameter node."""
    import slicer

    from FedKDTAVILib.caseNodes import CaseNodes

    parameterNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "FedKDTAVI")
    parameterNode.SetNodeReferenceID("inputVolume", ctVolumeNode.GetID())
    nodes = CaseNodes.find(parameterNode)
    nodes.showAnnotation(annotation)
    return nodes
