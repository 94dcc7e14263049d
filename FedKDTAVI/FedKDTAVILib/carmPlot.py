"""The C-arm plot: all views perpendicular to the annulus plane as a curve, and the named views on it.

Nodes only (tables, series, one chart); whoever has a plot view shows the chart. They are found again through the
parameter node, so a saved scene has its plot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

if TYPE_CHECKING:
    from fedkdtavi_core.measurements import CArm, View

LAO, CRANIAL = "LAO", "Cranial"  # columns of the tables, degrees; RAO and caudal are negative
CHART_ROLE = "carmChart"
# Role of the table in the parameter node -> colour of its series. Dark enough on white and light enough on black.
_SERIES = {
    "carmCurve": (0.25, 0.55, 0.85),
    "carmThreeCusp": (0.90, 0.45, 0.10),
    "carmCuspOverlap": (0.20, 0.65, 0.30),
}


class CArmPlot:
    """The plot of one case.

    Args:
        parameterNode: holds the references to the plot's nodes; its scene gets them.
    """

    def __init__(self, parameterNode: Any) -> None:
        self._parameterNode = parameterNode

    @property
    def chartNode(self) -> Any | None:
        """vtkMRMLPlotChartNode, or None before :meth:`show`."""
        return self._parameterNode.GetNodeReference(CHART_ROLE)

    def show(self, carm: CArm | None, reason: str = "") -> Any:
        """Draw the curve and both views; without a plane an empty chart whose title gives the ``reason``.

        Returns:
            The chart node, the same one each time.
        """
        chart = self.chartNode or self._newChart()
        names, tables = self._content(carm)
        wasModified = chart.StartModify()
        for role, (lao, cranial) in tables.items():
            series = self._series(chart, role)
            series.SetName(names[role])
            _fill(series.GetTableNode(), lao, cranial)
        chart.SetTitle(
            _("C-arm: annulus seen edge-on") if carm else _("No C-arm views: {reason}").format(reason=reason)
        )
        chart.SetLegendVisibility(carm is not None)
        chart.EndModify(wasModified)
        return chart

    def remove(self) -> None:
        """Remove the plot's nodes from the scene; can be called again."""
        scene = self._parameterNode.GetScene()
        for role in _SERIES:
            for node in (
                self._parameterNode.GetNodeReference(f"{role}Series"),
                self._parameterNode.GetNodeReference(role),
            ):
                if node is not None:
                    scene.RemoveNode(node)
        if self.chartNode is not None:
            scene.RemoveNode(self.chartNode)

    @staticmethod
    def _content(carm: CArm | None) -> tuple[dict[str, str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Names and (LAO, cranial) in degrees of the series, by role."""
        nothing = np.empty(0)
        names = {
            "carmCurve": _("Perpendicular views"),
            "carmThreeCusp": _("Three-cusp"),
            "carmCuspOverlap": _("Cusp overlap"),
        }
        tables = dict.fromkeys(_SERIES, (nothing, nothing))
        if carm is not None:
            curve = np.asarray(carm.curve, float)
            tables["carmCurve"] = (curve[:, 0], curve[:, 1])
            for role, view in (("carmThreeCusp", carm.three_cusp), ("carmCuspOverlap", carm.cusp_overlap)):
                tables[role] = (np.array([view.lao]), np.array([view.cranial]))
                names[role] = viewText(names[role], view)
        return names, tables

    def _newChart(self) -> Any:
        chart = self._add("vtkMRMLPlotChartNode", CHART_ROLE, "C-arm")
        chart.SetXAxisTitle(_("RAO - / LAO + (degrees)"))
        chart.SetYAxisTitle(_("caudal - / cranial + (degrees)"))
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(-90.0, 90.0)
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(-90.0, 90.0)
        # The plot shows what was measured: its points are not to be dragged.
        chart.SetEnablePointMoveAlongX(False)
        chart.SetEnablePointMoveAlongY(False)
        return chart

    def _series(self, chart: Any, role: str) -> Any:
        series = self._parameterNode.GetNodeReference(f"{role}Series")
        if series is None:
            series = self._add("vtkMRMLPlotSeriesNode", f"{role}Series", role)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetXColumnName(LAO)
            series.SetYColumnName(CRANIAL)
            series.SetColor(*_SERIES[role])
            line = role == "carmCurve"
            series.SetLineStyle(series.LineStyleSolid if line else series.LineStyleNone)
            series.SetMarkerStyle(series.MarkerStyleNone if line else series.MarkerStyleCircle)
            series.SetMarkerSize(14.0)
            series.SetLineWidth(2.0)
        if series.GetTableNode() is None:
            table = self._parameterNode.GetNodeReference(role) or self._add("vtkMRMLTableNode", role, role)
            series.SetAndObserveTableNodeID(table.GetID())
        if not chart.HasPlotSeriesNodeID(series.GetID()):
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return series

    def _add(self, className: str, role: str, name: str) -> Any:
        node = self._parameterNode.GetScene().AddNewNodeByClass(className, name)
        self._parameterNode.SetNodeReferenceID(role, node.GetID())
        return node


def viewText(name: str, view: View) -> str:
    """A view as the legend says it: "Cusp overlap: RAO 12 CAU 30", and whether a usual C-arm gets there."""
    words = f"{name}: {view}"
    return words if view.reachable else _("{view} (out of a usual C-arm's reach)").format(view=words)


def _fill(tableNode: Any, lao: np.ndarray, cranial: np.ndarray) -> None:
    table = vtk.vtkTable()
    for name, values in ((LAO, lao), (CRANIAL, cranial)):
        column = numpy_to_vtk(np.ascontiguousarray(values, np.float64), deep=True)
        column.SetName(name)
        table.AddColumn(column)
    tableNode.SetAndObserveTable(table)
