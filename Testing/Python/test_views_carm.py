"""The C-arm plot's nodes."""

from __future__ import annotations

import numpy as np
import pytest

from fedkdtavi_core.measurements import View, annulus_plane
from fedkdtavi_core.measurements.carm import carm_views
from FedKDTAVILib.carmPlot import CArmPlot, viewText

KINDS = ("PlotChart", "PlotSeries", "Table")
POINTS = {
    "hinge_rcc": np.array([10.0, 12.0, 3.0]),
    "hinge_lcc": np.array([-11.4, -3.7, 5.0]),
    "hinge_ncc": np.array([8.3, -8.7, -4.0]),
}


@pytest.fixture
def parameterNode(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def values(series) -> np.ndarray:
    """(N, 2) what a series plots, degrees."""
    table = series.GetTableNode().GetTable()
    columns = [table.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
    return np.array([[column.GetValue(row) for column in columns] for row in range(table.GetNumberOfRows())])


def seriesOf(chart) -> list:
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def test_curve_and_named_views(parameterNode) -> None:
    carm = carm_views(annulus_plane(POINTS))
    chart = CArmPlot(parameterNode).show(carm)
    curve, three, overlap = seriesOf(chart)
    assert np.allclose(values(curve), carm.curve)
    assert np.allclose(values(three), [[carm.three_cusp.lao, carm.three_cusp.cranial]])
    assert np.allclose(values(overlap), [[carm.cusp_overlap.lao, carm.cusp_overlap.cranial]])
    assert three.GetName().startswith(f"Three-cusp: {carm.three_cusp}")
    assert not chart.GetEnablePointMoveAlongX()


def test_out_of_reach_is_said() -> None:
    assert viewText("Cusp overlap", View(-12.0, -30.0)) == "Cusp overlap: RAO 12 CAU 30"
    assert "out of a usual C-arm's reach" in viewText("Cusp overlap", View(-80.0, -30.0))


def test_no_plane_no_views(scene, parameterNode) -> None:
    plot = CArmPlot(parameterNode)
    first = plot.show(carm_views(annulus_plane(POINTS)))
    count = scene.GetNumberOfNodes()
    chart = plot.show(None, "the LCC hinge point is missing")
    assert chart is first
    assert scene.GetNumberOfNodes() == count
    assert all(values(series).size == 0 for series in seriesOf(chart))
    assert "the LCC hinge point is missing" in chart.GetTitle()


def test_found_again_and_removed(scene, parameterNode) -> None:
    chart = CArmPlot(parameterNode).show(carm_views(annulus_plane(POINTS)))
    again = CArmPlot(parameterNode)
    assert again.chartNode is chart
    scene.RemoveNode(seriesOf(chart)[1])  # a person may delete one
    assert len(seriesOf(again.show(carm_views(annulus_plane(POINTS))))) == 3
    for _ in range(2):
        again.remove()
        assert [scene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") for kind in KINDS] == [0, 0, 0]
