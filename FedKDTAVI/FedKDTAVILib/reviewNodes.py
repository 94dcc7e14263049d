"""Label states as the nodes of a case hold them: read from there, and written back as undo needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Landmark, Status
from fedkdtavi_core.errors import InputError
from fedkdtavi_core.labels.record import LabelRecord, now

from . import calcificationNodes, contourNodes, landmarkNodes, reviewRecords
from .caseNodes import CaseNodes
from .labelState import Curve, LabelState, Point, Voxels, curve, point
from .reviewQueue import statesOf
from .transforms import toArray, transformed, worldFromNode
from .volumes import worldAffine

CALCIFICATION, CONTOUR = "calcification", "annulus_contour"
_OWN_CONFIDENCE = (Status.PREDICTED, Status.CONFIRMED)  # what the model was sure of holds for these only


class ReviewNodes:
    """The nodes of one case, as label states. All positions are world RAS mm.

    Args:
        case: its nodes; all must be there.

    Raises:
        InputError: a node is gone, a point is there twice, or a non-linear transform stands above one.
    """

    def __init__(self, case: CaseNodes) -> None:
        self.case = case
        self._predicted = case.predictedAnnotation()
        # A curve of a few control points stands for the finer one that was traced: the curve, and what was said of it.
        self._traced: dict[Curve | None, tuple[np.ndarray | None, dict[str, Any]]] = {}

    def annotation(self) -> Annotation:
        """The labels as they stand, the contour by its control points."""
        annotation = self.case.toAnnotation()
        return replace(annotation, annulus_contour=self.readCurve() or None)

    def predictions(self) -> dict[str, LabelState]:
        """label id -> what the model had said, for the labels of which that is known."""
        content = self.case.state.read()
        known, record = content.get("prediction", {}), content.get("provenance", {}).get("contour") or {}
        control = self.traced(self._predicted.annulus_contour, record).value
        states = statesOf(replace(self._predicted, annulus_contour=control))
        return {labelId: state for labelId, state in states.items() if labelId in known}

    def labelAt(self, index: int) -> str | None:
        """The landmark of a control point; None for a point that is none of ours."""
        for labelId in schema.LANDMARK_IDS:
            try:
                if landmarkNodes.pointIndex(self.case.landmarks, labelId) == index:
                    return labelId
            except InputError:
                continue
        return None

    def readPoint(self, labelId: str) -> Point | None:
        """Where a landmark is; None when it is not there."""
        try:
            return point(landmarkNodes.pointState(self.case.landmarks, labelId).position)
        except InputError:
            return None

    def readCurve(self) -> Curve | None:
        """The contour's control points; None when there are none."""
        return curve(contourNodes.readControlPoints(self.case.contour))

    def readVoxels(self) -> Voxels | None:
        """The calcification's voxels; None when its segment is gone.

        Reads the segment's own small box where it lies on the CT's voxels: after each stroke there is no time for more.
        """
        node, volume = self.case.segmentation, self.case.volume
        segmentId = calcificationNodes.LABEL.id
        if node.GetSegmentation().GetSegment(segmentId) is not None:
            image = slicer.vtkOrientedImageData()
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            logic.GetSegmentBinaryLabelmapRepresentation(node, segmentId, image, False)
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            scalars = image.GetPointData().GetScalars()
            if scalars is None or 0 in image.GetDimensions():
                return Voxels()
            if np.allclose(worldFromNode(node) @ toArray(matrix), worldAffine(volume), atol=1e-4):
                array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]).T
                return _within(Voxels.of(array, image.GetExtent()[::2]), volume.GetImageData().GetDimensions())
        try:
            return Voxels.of(calcificationNodes.readMask(node, volume))
        except InputError:
            return None

    def write(self, states: Mapping[str, LabelState]) -> None:
        """Put states into the nodes; who listens to them has to know that no person did it."""
        landmarks = {i: state for i, state in states.items() if i in schema.LANDMARK_IDS}
        if landmarks:
            now = landmarkNodes.readLandmarks(self.case.landmarks)
            now.update({i: self._landmark(i, state) for i, state in landmarks.items()})
            landmarkNodes.writeLandmarks(self.case.landmarks, now)
        if CALCIFICATION in states:
            self._writeVoxels(states[CALCIFICATION])
        if CONTOUR in states:
            self._writeCurve(states[CONTOUR])

    def keepRecords(self, states: Mapping[str, LabelState], reviewer: str | None) -> None:
        """Who decided on these labels, and that it was now; an undecided one has no record."""
        content = self.case.state.read()
        bundle = ((content.get("provenance") or {}).get("bundle") or {}).get("digest")
        decided = {i: LabelRecord(s.status, now(), reviewer, bundle) for i, s in states.items() if s.reviewed}
        # Voxels and the whole curve are read only when they were decided on: after a drag there is no time for it.
        whole = {CALCIFICATION, CONTOUR} & set(decided)
        annotation = self.case.toAnnotation() if whole else Annotation()
        annotation.landmarks |= {i: self._landmark(i, s) for i, s in states.items() if i in schema.LANDMARK_IDS}
        others = {i: record for i, record in (content.get("records") or {}).items() if i not in states}
        toLocal = np.linalg.inv(worldFromNode(self.case.volume))
        self.case.state.update(records={**others, **reviewRecords.keep(annotation, decided, toLocal)})

    def traced(self, fine: np.ndarray | None, record: Mapping[str, Any]) -> LabelState:
        """The state of a contour that was traced; changes nothing yet.

        Args:
            fine: (N, 3) world RAS mm, or None when it is not measurable.
            record: what tracing said of it, for the provenance.
        """
        control = None if fine is None else curve(contourNodes.controlPoints(fine))
        self._traced[control] = (fine, dict(record))
        return LabelState(Status.PREDICTED, control)

    def keepPredictedContour(self, value: Curve | None) -> None:
        """This traced contour is the prediction from now on: after a person moved its plane, or undid that."""
        content = self.case.state.read()
        if value not in self._traced:
            return
        fine, record = self._traced[value]
        toLocal = np.linalg.inv(worldFromNode(self.case.volume))
        prediction = {**content.get("prediction", {}), CONTOUR: None if fine is None else transformed(toLocal, fine)}
        self.case.state.update(prediction=prediction, provenance={**content.get("provenance", {}), "contour": record})

    def _landmark(self, labelId: str, state: LabelState) -> Landmark:
        predicted = self._predicted.landmarks[labelId]
        if state.status in _OWN_CONFIDENCE:
            return Landmark(labelId, state.value, predicted.confidence, None, state.status, list(predicted.flags))
        return Landmark(labelId, state.value, None, None, state.status)

    def _writeVoxels(self, state: LabelState) -> None:
        node, volume = self.case.segmentation, self.case.volume
        if state.value is None and not node.GetSegmentation().GetNumberOfSegments():
            return  # a person removed the segment: as it is now
        mask = None if state.value is None else state.value.mask(volume.GetImageData().GetDimensions())
        if self.readVoxels() != state.value:
            calcificationNodes.writeMask(node, volume, mask, state.status)
        calcificationNodes.setCalcificationStatus(node, None if mask is None else state.status)

    def _writeCurve(self, state: LabelState) -> None:
        node = self.case.contour
        if self.readCurve() != state.value:
            _setControlPoints(node, state.value or ())
        contourNodes.setContourStatus(node, state.status)


def _setControlPoints(node: Any, points: Curve) -> None:
    """Exactly these control points: not evenly laid anew, so that an undo brings back what was there."""
    wasModified = node.StartModify()
    while node.GetNumberOfControlPoints() > len(points):
        node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
    for index, position in enumerate(points):
        if index < node.GetNumberOfControlPoints():
            node.SetNthControlPointPositionWorld(index, *position)
        else:
            node.AddControlPointWorld(list(position), f"{contourNodes.LABEL.name}-{index + 1}")
    node.EndModify(wasModified)


def _within(voxels: Voxels, shape: tuple[int, int, int]) -> Voxels:
    """What lies on the CT: a segment may have been painted beyond its border."""
    ends = (first + size for first, size in zip(voxels.start, voxels.shape, strict=True))
    if min(voxels.start) >= 0 and all(end <= most for end, most in zip(ends, shape, strict=True)):
        return voxels
    return Voxels.of(voxels.mask(shape))
