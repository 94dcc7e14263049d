"""The annulus contour as a closed curve that sixteen points reproduce."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from test_scene_volumes import bent

from fedkdtavi_core.annotation import Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.markups import read_contour
from fedkdtavi_core.measurements import measure_curve
from FedKDTAVILib.contourNodes import (
    CONTROL_POINTS,
    contourStatus,
    controlPoints,
    createContour,
    readContour,
    readControlPoints,
    setContourStatus,
    writeContour,
)


@pytest.fixture
def oval() -> np.ndarray:
    """An annulus of 28 x 22 mm, tilted, 180 points."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    flat = np.stack([14 * np.cos(angle), 11 * np.sin(angle) + np.cos(3 * angle), 0 * angle], axis=1)
    tilt = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    return flat @ tilt.T + [5.0, -20.0, 130.0]


def area(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)) / 2)


def test_sixteen_points_reproduce_the_curve(scene, oval):
    node = createContour(oval)
    assert node.GetNumberOfControlPoints() == CONTROL_POINTS
    dense = readContour(node)
    apart = np.linalg.norm(dense[:, None] - oval[None], axis=2).min(axis=1)
    assert len(dense) > 100
    assert apart.max() < 0.3  # neighbours of the 180 points are 0.45 mm apart
    centre = oval.mean(axis=0)
    assert area(dense - centre) == pytest.approx(area(oval - centre), rel=0.003)
    assert np.linalg.norm(dense[0] - dense[-1]) > 1e-3  # the first point is not repeated


def test_the_real_contour_measures_the_same(scene, annotation):
    from fedkdtavi_core.measurements import annulus_plane, landmark_points

    plane = annulus_plane(landmark_points(annotation))
    dense = readContour(createContour(annotation.annulus_contour))
    before = measure_curve(annotation.annulus_contour, plane.normal)
    after = measure_curve(dense, plane.normal)
    assert after.area == pytest.approx(before.area, rel=0.005)
    assert after.perimeter == pytest.approx(before.perimeter, rel=0.01)


def test_written_again_the_points_stay(scene, oval):
    node = createContour(oval)
    ids = [node.GetNthControlPointID(i) for i in range(CONTROL_POINTS)]
    writeContour(node, oval + [0, 0, 1])
    assert [node.GetNthControlPointID(i) for i in range(CONTROL_POINTS)] == ids
    assert np.allclose(readControlPoints(node), controlPoints(oval) + [0, 0, 1])
    writeContour(node, None)
    assert node.GetNumberOfControlPoints() == 0
    assert readContour(node) is None
    writeContour(node, oval[::30])
    assert np.allclose(readControlPoints(node), oval[::30])


def test_undefined_points_do_not_count(scene, oval):
    node = createContour(oval)
    for index in range(2, CONTROL_POINTS):
        node.UnsetNthControlPointPosition(index)
    assert readContour(node) is None
    assert len(readControlPoints(node)) == 2


def test_the_status_goes_into_the_scene_and_the_file(scene, oval, tmp_path):
    node = createContour(oval)
    assert contourStatus(node) is Status.PREDICTED
    setContourStatus(node, Status.CONFIRMED)
    assert contourStatus(node) is Status.CONFIRMED
    path = tmp_path / "annulus.mrk.json"
    assert slicer.util.saveNode(node, str(path))
    points, status = read_contour(path)
    assert status is Status.CONFIRMED
    assert np.abs(points - controlPoints(oval)).max() < 1e-3
    setContourStatus(createContour(), Status.ABSENT)  # a curve without points keeps it as well


def test_a_bent_space_is_refused(scene, oval):
    node = createContour(oval)
    node.SetAndObserveTransformNodeID(bent().GetID())
    with pytest.raises(InputError, match="non-linear"):
        readContour(node)
