"""Measurements of the labels as they are: warnings first, the table, copy, CSV, and the C-arm plot."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..carmPlot import CArmPlot
from ..liveMeasurements import LiveMeasurements, Table
from ..measurementTable import panelLines, tableText, writeCsv
from ..siteWalk import Decisions, decisions
from ..words import warningsText
from . import dialogs
from .panel import Panel
from .tables import alignRight, fillTable, setColumns, spanHeadings


class MeasurePanel(Panel):
    """Follows the labels: during a drag too. Measures nothing before there are labels."""

    def setup(self) -> None:
        self.table: Table | None = None
        self._cache = self.workspace.cache
        self._live: LiveMeasurements | None = None
        self._session = None
        self._measured: Decisions | None = None
        self._plotShown = False
        self._headings: list[bool] = []
        setColumns(self.ui.measureTable, stretch=(2,))
        self._clear()
        self.ui.copyButton.connect("clicked(bool)", self.onCopy)
        self.ui.csvButton.connect("clicked(bool)", self.onCsv)
        self.ui.plotButton.connect("clicked(bool)", self.onPlot)

    def refresh(self) -> None:
        session = self.workspace.session
        if session is not self._session:
            self._follow(session)
        elif self._live is not None and not session.interacting and decisions(session) != self._measured:
            self._measure()
        none = "" if self.table else _("There is nothing to measure yet.")
        self.allow(self.ui.copyButton, none, _("Copy the table with its warnings to the clipboard"))
        self.allow(self.ui.csvButton, none, _("Save the table as CSV"))
        self.allow(self.ui.plotButton, none, _("Show the C-arm views perpendicular to the annulus in a plot view"))

    def sceneStartClose(self) -> None:
        self._follow(None)

    def cleanup(self) -> None:
        self._follow(None)

    def onMeasured(self, table: Table) -> None:
        """There are new numbers."""
        self.table = table
        self._say(table.suitability)
        self.ui.measureTable.setVisible(True)
        self.ui.warningsLabel.text = warningsText(table.warnings)
        self.ui.warningsLabel.setVisible(bool(table.warnings))
        lines, shown = panelLines(table.rows), self.ui.measureTable
        headings = [line.isHeading for line in lines]
        fillTable(shown, [line.cells for line in lines], [line.tip for line in lines], headings)
        if headings != self._headings:
            self._headings = headings
            spanHeadings(shown, headings)
            alignRight(shown, 1)
        if self._plotShown and table.whole:
            self._plot().show(table.carm, table.planeReason)

    def onProblem(self, sentence: str) -> None:
        """Nothing can be measured."""
        self._clear()
        self._say(sentence)

    def onCopy(self, checked: bool = False) -> None:
        """Put the table on the clipboard."""
        dialogs.copy(tableText(self.table.rows, self.table.warnings))

    def onCsv(self, checked: bool = False) -> None:
        """Save the table."""
        place = dialogs.saveFile(_("Save measurements"), "measurements.csv", _("Table (*.csv)"))
        if place is not None:
            with self.sayingProblems():
                writeCsv(place, self.table.rows)

    def onPlot(self, checked: bool = False) -> None:
        """Show the plot in the layout; it follows the labels from then on."""
        chart = self._plot().show(self.table.carm, self.table.planeReason)
        self._plotShown = True
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _follow(self, session) -> None:
        if self._live is not None:
            self._live.end()
        self._live, self._session, self._plotShown = None, session, False
        if session is None:
            self._clear()
            return
        later = qt.QTimer.singleShot
        self._live = LiveMeasurements(session.case, self._cache, self.onMeasured, self.onProblem, later)
        self._measure()

    def _measure(self) -> None:
        self._measured = decisions(self._session)
        self._live.refresh()

    def _clear(self) -> None:
        self.table = None
        self._say(_("Nothing to measure yet: run first, or open a case."))
        self.ui.warningsLabel.setVisible(False)
        self.ui.measureTable.setVisible(False)
        fillTable(self.ui.measureTable, [])
        self._headings = []

    def _say(self, sentence: str) -> None:
        self.ui.suitabilityLabel.text = sentence

    def _plot(self) -> CArmPlot:
        return CArmPlot(self.workspace.parameterNode.parameterNode)
