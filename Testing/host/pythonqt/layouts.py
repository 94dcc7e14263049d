"""Slicer's views without their pictures: widgets that hold the real slice, 3D and plot nodes."""

from __future__ import annotations

import slicer
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from .standin import StandIn, declare

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


class qMRMLSliceWidget(QWidget, StandIn):
    """One slice view, with the logic that Slicer gives it."""

    locals().update(declare("qMRMLSliceWidget"))
    _logic = None

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


class qMRMLThreeDWidget(QWidget, StandIn):
    """The 3D view."""

    locals().update(declare("qMRMLThreeDWidget"))
    _node = None

    def mrmlViewNode(self):
        return self._node


class qMRMLPlotWidget(QWidget, StandIn):
    """The plot view."""

    locals().update(declare("qMRMLPlotWidget"))
    _node = None

    def mrmlPlotViewNode(self):
        return self._node


class qMRMLLayoutManager(QObject, StandIn):
    """The conventional layout's views; ``layout`` is kept and told on."""

    locals().update({key: value for key, value in declare("qMRMLLayoutManager").items() if key != "layout"})
    _layout = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._threeD = qMRMLThreeDWidget()
        self._plot = qMRMLPlotWidget()

    def _makeViews(self) -> None:
        """Real nodes and logics for every view; the nodes are singletons, so they outlive a closed scene."""
        scene = slicer.mrmlScene
        for name, orientation in SLICE_VIEWS.items():
            widget = qMRMLSliceWidget()
            widget._logic = slicer.vtkMRMLSliceLogic()
            widget._logic.SetMRMLScene(scene)
            node = widget._logic.AddSliceNode(name)
            node.SetOrientation(orientation)
            slicer.app.applicationLogic().GetSliceLogics().AddItem(widget._logic)
            self._slices[name] = widget
        for widget, className in ((self._threeD, "vtkMRMLViewNode"), (self._plot, "vtkMRMLPlotViewNode")):
            node = scene.CreateNodeByClass(className)
            node.UnRegister(None)
            node.SetSingletonTag("1")
            node.SetLayoutName("1")
            widget._node = scene.AddNode(node)

    @property
    def layout(self) -> int:
        return self._layout

    @layout.setter
    def layout(self, layout: int) -> None:
        self.setLayout(layout)

    def setLayout(self, layout: int) -> None:
        if layout != self._layout:
            self._layout = layout
            self.layoutChanged.emit(layout)

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str):
        return self._slices.get(name)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def mrmlScene(self):
        return slicer.mrmlScene

    def threeDWidget(self, _index):
        return self._threeD

    def plotWidget(self, _index):
        return self._plot

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()


WRITTEN = {cls.__name__: cls for cls in (qMRMLSliceWidget, qMRMLThreeDWidget, qMRMLPlotWidget, qMRMLLayoutManager)}
