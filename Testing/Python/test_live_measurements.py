"""Measurements follow the labels on real nodes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from test_review_tracker import drag, observedEvents

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation
from fedkdtavi_core.geometry import resample
from fedkdtavi_core.measurements import measure
from fedkdtavi_core.volume import Grid, Volume
from FedKDTAVILib import landmarkNodes
from FedKDTAVILib.liveMeasurements import LiveMeasurements, measureRows, measureTable
from FedKDTAVILib.reviewSession import ReviewSession
from FedKDTAVILib.volumeCache import VolumeCache, around
from FedKDTAVILib.volumes import volumeFromNode


@pytest.fixture
def tables() -> list:
    return []


@pytest.fixture
def live(caseNodes, tables):
    live = LiveMeasurements(caseNodes, VolumeCache(), tables.append)
    yield live
    live.end()


def value(table, rowId: str) -> float | None:
    return next(row["value"] for row in table.rows if row["id"] == rowId)


def row(table, rowId: str) -> dict:
    return next(row for row in table.rows if row["id"] == rowId)


def begin(node, index: int) -> np.ndarray:
    node.SetAttribute("Markups.MovingMarkupIndex", str(index))
    node.InvokeCustomModifiedEvent(node.PointStartInteractionEvent)
    return np.array(node.GetNthControlPointPositionWorld(index))


def finish(node) -> None:
    node.InvokeCustomModifiedEvent(node.PointEndInteractionEvent)
    node.SetAttribute("Markups.MovingMarkupIndex", "")


def test_the_same_as_the_core(caseNodes) -> None:
    expected = measure(volumeFromNode(caseNodes.volume), caseNodes.toAnnotation())
    table = measureTable(caseNodes, VolumeCache())
    assert {r["id"]: r for r in table.rows} == {r["id"]: r for r in expected.rows()}
    assert table.warnings == expected.warnings
    assert measureRows(caseNodes, VolumeCache()) == table.rows
    warned = [bool(r["warning"]) for r in table.rows]
    assert warned == sorted(warned, reverse=True)


def test_a_doubt_follows_the_points(caseNodes) -> None:
    """An ostium that is put beside the other raises a doubt about that one, which is predicted; and only then."""
    node, cache = caseNodes.landmarks, VolumeCache()
    moved, other = (schema.LANDMARK_IDS.index(i) for i in ("ostium_rca", "ostium_lca"))

    def told() -> set[str]:
        return {
            r["id"] for r in measureTable(caseNodes, cache).rows if "flagged points: check ostium LM" in r["warning"]
        }

    assert told() == set()
    there, beside = (np.array(node.GetNthControlPointPositionWorld(index)) for index in (moved, other))
    node.SetNthControlPointPositionWorld(moved, *(beside + [5.0, 5.0, 0.0]))
    assert told() == {"height_lca"}
    node.SetNthControlPointPositionWorld(moved, *there)
    assert told() == set()


def test_a_part_measures_as_the_whole(caseNodes) -> None:
    """On a CT that goes on for 80 mm beyond the sample on every side."""
    sample = volumeFromNode(caseNodes.volume)
    annotation = caseNodes.toAnnotation()
    pad = np.ceil(80 / sample.spacing).astype(int)
    affine = np.array(sample.affine, float)
    affine[:3, 3] = sample.grid.to_ras(-pad)
    shape = tuple(int(n) for n in np.array(sample.array.shape) + 2 * pad)
    array = np.full(shape, -1000, np.int16)
    inner = tuple(slice(p, p + n) for p, n in zip(pad, sample.array.shape, strict=True))
    array[inner] = sample.array
    mask = np.zeros(shape, np.uint8)
    mask[inner] = annotation.calcification
    whole = Volume(array, affine, sample.info)
    part, labels = around(whole, Annotation(**{**vars(annotation), "calcification": mask}))
    assert part.array.size < array.size / 2
    assert np.array_equal(part.array, resample(whole, Grid(part.array.shape, part.affine)).round())
    measured = measure(whole, Annotation(**{**vars(annotation), "calcification": mask})).to_dict()
    assert measure(part, labels).to_dict() == measured


def test_follows_a_drag_and_ends_whole(caseNodes, live, tables) -> None:
    live.refresh()
    node = caseNodes.landmarks
    index = landmarkNodes.pointIndex(node, "ostium_lca")
    position = begin(node, index)
    up = tables[0].carm is not None
    for step in (1, 2, 3):
        node.SetNthControlPointPositionWorld(index, *(position + [0, 0, step]))
    assert up
    assert len(tables) == 4
    heights = [value(table, "height_lca") for table in tables]
    assert len(set(heights)) == 4
    assert [table.whole for table in tables] == [True, False, False, False]
    # The plane did not move: sizes and calcium stand during the drag.
    assert value(tables[-1], "annulus_area") == value(tables[0], "annulus_area")
    assert value(tables[-1], "calcium_total") == value(tables[0], "calcium_total")
    finish(node)
    assert len(tables) == 5
    assert tables[-1].whole
    assert value(tables[-1], "height_lca") == heights[-1]


def test_a_contour_of_another_plane_is_no_number(caseNodes, live, tables) -> None:
    live.refresh()
    node = caseNodes.landmarks
    position = begin(node, 0)
    node.SetNthControlPointPositionWorld(0, *(position + [0, 0, 4.0]))
    area = row(tables[-1], "annulus_area")
    assert area["value"] is None
    assert area["reason"] == "measured when the drag ends"
    assert not any("marked so by the reviewer" in warning for warning in tables[-1].warnings)
    assert value(tables[-1], "root_angulation") != value(tables[0], "root_angulation")
    assert tables[-1].carm.three_cusp != tables[0].carm.three_cusp
    finish(node)
    whole = measure(volumeFromNode(caseNodes.volume), caseNodes.toAnnotation())
    assert value(tables[-1], "annulus_area") == pytest.approx(whole.value("annulus_area"), abs=1e-3)


def test_the_contour_itself_is_measured_as_drawn(caseNodes, live, tables) -> None:
    live.refresh()
    position = begin(caseNodes.contour, 0)
    outwards = position - np.mean([caseNodes.contour.GetNthControlPointPositionWorld(i) for i in range(16)], axis=0)
    caseNodes.contour.SetNthControlPointPositionWorld(0, *(position + 0.3 * outwards))
    assert value(tables[-1], "annulus_area") > value(tables[0], "annulus_area") + 2
    finish(caseNodes.contour)


def test_a_missing_hinge_point_leaves_no_number(caseNodes, live, tables) -> None:
    caseNodes.landmarks.UnsetNthControlPointPosition(1)
    live.refresh()
    table = tables[-1]
    assert "LCC" in table.planeReason
    assert table.carm is None
    for rowId in ("height_lca", "annulus_area", "calcium_lcc", "three_cusp_lao"):
        assert row(table, rowId)["value"] is None
        assert row(table, rowId)["reason"]


def test_low_ostium_is_told_first(caseNodes, live, tables) -> None:
    hinge = landmarkNodes.pointState(caseNodes.landmarks, "hinge_lcc").position
    node = caseNodes.landmarks
    index = landmarkNodes.pointIndex(node, "ostium_lca")
    begin(node, index)
    node.SetNthControlPointPositionWorld(index, *(hinge + [0, 0, 3.0]))
    assert "LOW OSTIUM" in tables[-1].rows[0]["warning"]
    assert "LOW OSTIUM" in tables[-1].warnings[0]
    finish(node)


def test_with_a_review_each_end_is_measured_once(caseNodes, tables) -> None:
    cache = VolumeCache()
    session = ReviewSession(caseNodes, cache=cache)
    live = LiveMeasurements(caseNodes, cache, tables.append)
    session.onChange = live.refresh
    drag(caseNodes.landmarks, 0, 3.0)  # two steps and the end
    assert [table.whole for table in tables] == [False, False, True]
    assert value(tables[-1], "annulus_area") is not None
    drag(caseNodes.landmarks, 0, 0.0)  # a click: nothing is corrected, and the table is whole again
    assert tables[-1].whole
    live.end()
    session.end()


def test_too_many_events_are_made_up_for(caseNodes, tables) -> None:
    waiting = []
    live = LiveMeasurements(caseNodes, VolumeCache(), tables.append, later=lambda ms, call: waiting.append(call))
    node = caseNodes.landmarks
    position = begin(node, 3)
    for step in range(1, 9):
        node.SetNthControlPointPositionWorld(3, *(position + [0, 0, step]))
    assert len(tables) < 8
    assert len(waiting) >= 1
    waiting.pop()()
    expected = measureTable(caseNodes, VolumeCache())
    assert value(tables[-1], "height_rca") == value(expected, "height_rca")
    finish(node)
    live.end()


def test_dragged_far_away(caseNodes, live, tables) -> None:
    node = caseNodes.landmarks
    position = begin(node, 3)
    node.SetNthControlPointPositionWorld(3, *(position + [500.0, 0, 0]))
    assert any(schema.by_id("ostium_rca").name in warning for warning in tables[-1].warnings)
    finish(node)


def test_a_deleted_node_is_a_sentence(caseNodes, tables) -> None:
    told = []
    live = LiveMeasurements(caseNodes, VolumeCache(), tables.append, told.append)
    slicer.mrmlScene.RemoveNode(caseNodes.segmentation)
    live.refresh()
    assert tables == []
    assert "was deleted" in told[0]
    live.end()


def test_the_volume_is_read_once(caseNodes) -> None:
    cache = VolumeCache()
    first = cache.volume(caseNodes.volume)
    assert cache.volume(caseNodes.volume) is first
    caseNodes.volume.SetOrigin(1.0, 2.0, 3.0)
    moved = cache.volume(caseNodes.volume)
    assert moved is not first
    assert np.allclose(moved.affine[:3, 3], [1.0, 2.0, 3.0])
    slicer.util.arrayFromVolume(caseNodes.volume)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(caseNodes.volume)
    assert cache.volume(caseNodes.volume).array[0, 0, 0] == 77


def test_no_observer_left(caseNodes, tables) -> None:
    nodes = (caseNodes.landmarks, caseNodes.contour)
    before = [observedEvents(node) for node in nodes]
    live = LiveMeasurements(caseNodes, VolumeCache(), tables.append)
    assert [observedEvents(node) for node in nodes] != before
    live.end()
    live.end()
    assert [observedEvents(node) for node in nodes] == before
