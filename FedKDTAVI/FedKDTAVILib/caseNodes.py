"""The nodes of one case - CT, landmarks, ghost, calcification, contour - and the core's Annotation in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from slicer.i18n import tr as _

from fedkdtavi_core import schema
from fedkdtavi_core.annotation import Annotation, Landmark, Status
from fedkdtavi_core.errors import InputError

from . import calcificationNodes, contourNodes, landmarkNodes
from .caseState import CaseState, packedMask, unpackedMask
from .ghostNodes import createGhostNode
from .labelState import MOVED_MM, REVIEWED
from .prediction import movedPrediction, predicted, predictedLandmark
from .transforms import transformed, worldFromNode
from .volumes import fingerprint

VOLUME, LANDMARKS, GHOST, CALCIFICATION, CONTOUR, STATE = (
    "inputVolume", "landmarks", "ghost", "calcification", "annulus", "caseState",
)  # fmt: skip
# What the C-arm plot adds to the parameter node; it goes when the case goes.
_PLOT_ROLES = "carm"
_SAME_MM = 1e-3
# A label that differs from the prediction although these say that it is the prediction was changed by a person.
_AS_PREDICTED = (Status.PREDICTED, Status.CONFIRMED)


class CaseNodes:
    """The nodes of a case, held by node references of a parameter node: ids and names may change.

    Args:
        parameterNode: vtkMRMLScriptedModuleNode, or a parameter node wrapper around one.
    """

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = getattr(parameterNode, "parameterNode", parameterNode)

    @staticmethod
    def find(parameterNode: Any) -> CaseNodes:
        """The case of a parameter node; it may still have no nodes."""
        return CaseNodes(parameterNode)

    @property
    def volume(self) -> Any:
        """The CT the labels belong to; before there are labels the chosen input volume; None when it is gone."""
        state = self._reference(STATE)
        return self._reference(VOLUME) if state is None else state.GetNodeReference(VOLUME)

    @property
    def landmarks(self) -> Any:
        """vtkMRMLMarkupsFiducialNode with seven points, or None."""
        return self._reference(LANDMARKS)

    @property
    def ghost(self) -> Any:
        """vtkMRMLMarkupsFiducialNode with the predicted points, or None."""
        return self._reference(GHOST)

    @property
    def segmentation(self) -> Any:
        """vtkMRMLSegmentationNode with the calcification, or None."""
        return self._reference(CALCIFICATION)

    @property
    def contour(self) -> Any:
        """vtkMRMLMarkupsClosedCurveNode of the annulus, without points where it is not measurable; or None."""
        return self._reference(CONTOUR)

    @property
    def state(self) -> CaseState | None:
        """What the nodes cannot carry, or None before there are labels."""
        node = self._reference(STATE)
        return None if node is None else CaseState(node)

    @property
    def notes(self) -> list[str]:
        """Sentences on what was not as expected when the case was opened from files."""
        case = self.state.read().get("case") if self.state else None
        return [str(note) for note in case.get("notes", [])] if case else []

    @property
    def isComplete(self) -> bool:
        """Are all nodes there? A person may have deleted one."""
        return None not in (self.volume, self.landmarks, self.segmentation, self.contour, self.state)

    def showAnnotation(self, annotation: Annotation) -> None:
        """Show an annotation of the input volume in the scene: makes the nodes, or changes those that are there.

        Raises:
            InputError: no volume, or a non-linear transform above one of the nodes.
        """
        volume = self._reference(VOLUME)
        if volume is None:
            raise InputError(_("No volume is chosen; load a CT and choose it."))
        toWorld = worldFromNode(volume)
        state = self.state
        content = state.read() if state and state.node.GetNodeReference(VOLUME) is volume else {}
        state = state or CaseState.create(volume.GetScene())
        self._hold(STATE, state.node)
        state.node.SetNodeReferenceID(VOLUME, volume.GetID())
        self._show(annotation, volume)
        provenance = dict(annotation.provenance)
        prediction = {
            **content.get("prediction", {}),
            **predicted(annotation, np.linalg.inv(toWorld)),
            **movedPrediction(provenance.pop("prediction", {}), np.linalg.inv(toWorld)),
        }
        suggestion = packedMask(annotation.suggestion)
        if suggestion is not None:
            suggestion["affine"] = (np.linalg.inv(toWorld) @ annotation.suggestion_affine).tolist()
        contour = annotation.annulus_contour
        state.write(
            {
                "provenance": provenance,
                "voxels": fingerprint(volume),
                "warnings": annotation.warnings,
                "prediction": prediction,
                "shown": None if contour is None else transformed(np.linalg.inv(toWorld), contour),
                "suggestion": suggestion,
                "records": content.get("records", {}),
                "case": content.get("case"),
            }
        )
        self._showGhost(prediction, toWorld)

    def checkVolume(self) -> None:
        """Are the CT's voxels still those that were annotated? Those of a sequence's proxy change with the phase shown.

        Raises:
            InputError: they are others.
        """
        known = self.state.read().get("voxels") if self.state else None  # scenes of older versions hold none
        if known is not None and self.volume is not None and fingerprint(self.volume) != known:
            raise InputError(
                _(
                    "{name} no longer holds the CT that was annotated; is another phase of a sequence shown? Show that "
                    "phase again, or run on this one."
                ).format(name=self.volume.GetName())
            )

    def toAnnotation(self) -> Annotation:
        """The labels as they stand in the scene, in world RAS mm, with provenance.

        A label that says predicted or confirmed but is not where the prediction was counts as corrected: nothing a
        person set is taken for the model's.

        Raises:
            InputError: a node or point is gone, given twice, or under a non-linear transform.
        """
        for node, name in (
            (self.volume, _("CT")),
            (self.landmarks, _("landmarks")),
            (self.segmentation, _("calcification")),
            (self.contour, _("annulus contour")),
            (self.state, _("case")),
        ):
            if node is None:
                raise InputError(_("The {name} of this case was deleted; undo that or run again.").format(name=name))
        content = self.state.read()
        prediction, toWorld = content.get("prediction", {}), worldFromNode(self.volume)
        annotation = Annotation(provenance=dict(content.get("provenance", {})))
        annotation.warnings = [str(warning) for warning in content.get("warnings", [])]
        found = landmarkNodes.readLandmarks(self.landmarks)
        annotation.landmarks = {i: _compared(found[i], prediction.get(i), toWorld) for i in schema.LANDMARK_IDS}
        self._readCalcification(annotation, prediction)
        self._readContour(annotation, content, toWorld)
        suggestion = content.get("suggestion")
        if suggestion is not None:
            annotation.suggestion = unpackedMask(suggestion)
            annotation.suggestion_affine = toWorld @ np.array(suggestion["affine"], float)
        return annotation

    def predictedAnnotation(self) -> Annotation:
        """The prediction as far as it is known, in world RAS mm: what "back to the prediction" goes back to."""
        prediction, toWorld = self.state.read().get("prediction", {}), worldFromNode(self.volume)
        annotation = Annotation()
        for labelId in schema.LANDMARK_IDS:
            if labelId in prediction:
                annotation.landmarks[labelId] = predictedLandmark(labelId, prediction[labelId], toWorld)
        annotation.calcification = unpackedMask(prediction.get("calcification"))
        contour = prediction.get("annulus_contour")
        annotation.annulus_contour = None if contour is None else transformed(toWorld, contour)
        return annotation

    def hasReviewedLabels(self) -> bool:
        """Would anything a person decided be lost, were the labels predicted anew?"""
        if self.landmarks is None and self.segmentation is None and self.contour is None:
            return False
        if not self.isComplete:  # what is left of them; what a label differs from is not known any more
            return self._anyStatusReviewed()
        annotation = self.toAnnotation()
        statuses = [landmark.status for landmark in annotation.landmarks.values()]
        return bool(REVIEWED & {*statuses, annotation.calcification_status, annotation.contour_status})

    def remove(self, *, withVolume: bool = False) -> None:
        """Remove all nodes of the case from the scene, except the CT.

        Args:
            withVolume: remove the CT, too, with what ``scene.RemoveNode(volume)`` leaves behind: its storage node, and
                its display node, which holds all of its voxels.
        """
        volume = self.volume
        roles = [LANDMARKS, GHOST, CALCIFICATION, CONTOUR, STATE]
        held: list[str] = []
        self.parameterNode.GetNodeReferenceRoles(held)
        for role in [*roles, *(role for role in held if role.startswith(_PLOT_ROLES))]:
            for index in reversed(range(self.parameterNode.GetNumberOfNodeReferences(role))):
                node = self.parameterNode.GetNthNodeReference(role, index)
                if node is not None:
                    removeNode(node)
            self.parameterNode.RemoveNodeReferenceIDs(role)
        if withVolume and volume is not None:
            removeNode(volume)

    def _reference(self, role: str) -> Any:
        return self.parameterNode.GetNodeReference(role)

    def _hold(self, role: str, node: Any) -> None:
        self.parameterNode.SetNodeReferenceID(role, node.GetID())

    def _show(self, annotation: Annotation, volume: Any) -> None:
        scene, transformId = volume.GetScene(), volume.GetTransformNodeID()
        if self.landmarks is None:
            self._hold(LANDMARKS, landmarkNodes.createLandmarkNode(scene))
        self.landmarks.SetAndObserveTransformNodeID(transformId)  # the labels move with the CT
        landmarkNodes.writeLandmarks(self.landmarks, annotation.landmarks)
        if self.segmentation is None:
            self._hold(CALCIFICATION, calcificationNodes.createSegmentation(volume, None))
        self.segmentation.SetAndObserveTransformNodeID(transformId)
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        calcificationNodes.writeMask(
            self.segmentation, volume, annotation.calcification, annotation.calcification_status
        )
        if self.contour is None:
            self._hold(CONTOUR, contourNodes.createContour(None, scene))
        self.contour.SetAndObserveTransformNodeID(transformId)
        contourNodes.writeContour(self.contour, annotation.annulus_contour)
        contourNodes.setContourStatus(self.contour, annotation.contour_status)

    def _showGhost(self, prediction: dict[str, Any], toWorld: np.ndarray) -> None:
        if self.ghost is None:
            self._hold(GHOST, createGhostNode(self.landmarks))
        self.ghost.SetAndObserveTransformNodeID(self.landmarks.GetTransformNodeID())
        known = {i: predictedLandmark(i, prediction[i], toWorld) for i in schema.LANDMARK_IDS if i in prediction}
        landmarkNodes.writeLandmarks(self.ghost, known)

    def _readCalcification(self, annotation: Annotation, prediction: dict[str, Any]) -> None:
        mask = calcificationNodes.readMask(self.segmentation, self.volume)
        status = calcificationNodes.calcificationStatus(self.segmentation)
        if status is None:  # not assessed, until somebody paints
            if mask.any():
                annotation.calcification, annotation.calcification_status = mask, Status.CORRECTED
            return
        if status in _AS_PREDICTED and "calcification" in prediction:
            digest = calcificationNodes.maskDigest
            if digest(mask) != digest(unpackedMask(prediction["calcification"])):
                status = Status.CORRECTED
        annotation.calcification, annotation.calcification_status = mask, status

    def _readContour(self, annotation: Annotation, content: dict[str, Any], toWorld: np.ndarray) -> None:
        status = contourNodes.contourStatus(self.contour)
        control = contourNodes.readControlPoints(self.contour)
        contour = contourNodes.readContour(self.contour)
        predicted = content.get("prediction", {}).get("annulus_contour")
        # Sixteen control points stand for a finer curve, which counts as long as nobody moved one of them.
        for fine in (predicted, content.get("shown")):
            if fine is not None and _sameCurve(control, contourNodes.controlPoints(transformed(toWorld, fine))):
                contour = transformed(toWorld, fine)
                break
        moved = predicted is None or not _sameCurve(
            control, contourNodes.controlPoints(transformed(toWorld, predicted)), MOVED_MM
        )
        if "annulus_contour" in content.get("prediction", {}) and status in _AS_PREDICTED and contour is not None:
            status = Status.CORRECTED if moved else status
        if contour is None and status is not Status.ABSENT:
            status = Status.PREDICTED  # it was deleted: nothing is known of it
        annotation.annulus_contour, annotation.contour_status = contour, status

    def _anyStatusReviewed(self) -> bool:
        statuses = set()
        if self.landmarks is not None:
            statuses |= {landmark.status for landmark in landmarkNodes.readLandmarks(self.landmarks).values()}
        if self.segmentation is not None:
            statuses.add(calcificationNodes.calcificationStatus(self.segmentation))
        if self.contour is not None:
            statuses.add(contourNodes.contourStatus(self.contour))
        return bool(REVIEWED & statuses)


def removeNode(node: Any) -> None:
    """Remove a node from its scene, and its display and storage nodes, which Slicer would leave behind."""
    scene = node.GetScene()
    if scene is None:
        return
    parts = []
    if node.IsA("vtkMRMLDisplayableNode"):
        parts += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        parts += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for part in parts:
        if part is not None:
            scene.RemoveNode(part)


def _compared(landmark: Landmark, kept: dict[str, Any] | None, toWorld: np.ndarray) -> Landmark:
    """The landmark as it is in the scene, set against the prediction where it claims to be the prediction."""
    if kept is None or landmark.status not in _AS_PREDICTED or landmark.position is None:
        return landmark
    before = predictedLandmark(landmark.id, kept, toWorld)
    if before.position is None or float(np.linalg.norm(landmark.position - before.position)) > MOVED_MM:
        return Landmark(landmark.id, landmark.position, None, None, Status.CORRECTED)
    landmark.confidence, landmark.covariance, landmark.flags = before.confidence, before.covariance, before.flags
    return landmark


def _sameCurve(first: np.ndarray, second: np.ndarray, tolerance: float = _SAME_MM) -> bool:
    return first.shape == second.shape and bool(np.linalg.norm(first - second, axis=1).max() <= tolerance)
