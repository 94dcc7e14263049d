"""The review: which labels there are, what was decided on each, and the buttons (and keys) to decide."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from fedkdtavi_core import schema

from ..placing import Placing
from ..reviewViews import ReviewViews
from .deleteKeys import DeleteKeys
from .panel import Panel
from .shortcuts import keyOf
from .tables import fillTable, setColumns


class ReviewPanel(Panel):
    """Shows the review queue, and what may be done with the label that is looked at."""

    def setup(self) -> None:
        self.views = ReviewViews(slicer.mrmlScene)
        self.placing = Placing(slicer.mrmlScene)
        self.deleteKeys = DeleteKeys(self.ui.reviewTable, self.onDelete, self.onDeleteAll)
        self._entered = False
        self._filling = False
        setColumns(self.ui.reviewTable, stretch=(3,))
        self._act("previousButton", lambda session: session.previous())
        self._act("nextButton", lambda session: session.next())
        self._act("acceptButton", lambda session: session.accept())
        self._act("absentButton", lambda session: session.markAbsent())
        self._act("restoreButton", lambda session: session.restorePrediction())
        self._act("undoButton", lambda session: session.undo())
        self._act("redoButton", lambda session: session.redo())
        self._act("placeButton", lambda session: self.placing.start(session, session.queue.current))
        self.ui.reviewTable.connect("itemSelectionChanged()", self.onRowSelected)
        self.ui.slabCheckBox.connect("toggled(bool)", self.views.setSlab)
        self.ui.ghostCheckBox.connect("toggled(bool)", self.onGhost)

    def refresh(self) -> None:
        session = self.workspace.session
        self.ui.reviewLabel.text = self._headline()
        self._fill()
        self._allowButtons()
        ghost = session.case.ghost if session else None
        if ghost is not None and ghost.GetDisplayNode() is not None:
            self.ui.ghostCheckBox.checked = bool(ghost.GetDisplayNode().GetVisibility())
        if self._entered:
            nodes = self.workspace.caseNodes
            self.deleteKeys.follow(nodes.landmarks if nodes is not None else None)
            with self.sayingProblems(keep=True):
                self.views.follow(session)

    def enter(self) -> None:
        self._entered = True
        self.deleteKeys.install()
        self.refresh()

    def exit(self) -> None:
        self._entered = False
        self._releaseKeys()
        self.placing.stop()
        self.views.release()

    def sceneStartClose(self) -> None:
        self.deleteKeys.follow(None)
        self.views.release()

    def cleanup(self) -> None:
        self._entered = False
        self._releaseKeys()
        self.views.release()

    def onRowSelected(self) -> None:
        """Another row was clicked: go to its label."""
        session, row = self.workspace.session, self.ui.reviewTable.currentRow()
        if self._filling or session is None or row < 0:
            return
        labelId = session.queue.order[row]
        if labelId != session.queue.current:
            session.select(labelId)

    def onGhost(self, shown: bool) -> None:
        """Show or hide where the model had put the points."""
        session = self.workspace.session
        ghost = session.case.ghost if session else None
        if ghost is not None and ghost.GetDisplayNode() is not None:
            ghost.GetDisplayNode().SetVisibility(shown)

    def onDelete(self, index: int) -> None:
        """Delete was pressed over a landmark."""
        session = self.workspace.session
        if session is None:
            self.onDeleteAll()
            return
        with self.sayingProblems():
            self.placing.stop()
            session.deletePoint(index)

    def onDeleteAll(self) -> None:
        """Landmarks were to be deleted that cannot be."""
        stay = _("The landmarks stay in their list; press Delete over one of them to mark it absent.")
        self.workspace.say(self.workspace.busy or (stay if self.workspace.session else self._headline()))

    def _releaseKeys(self) -> None:
        self.deleteKeys.follow(None)
        self.deleteKeys.remove()

    def _act(self, name: str, action) -> None:
        """Pressing this button does ``action`` with the review."""

        def pressed(checked: bool = False) -> None:
            session = self.workspace.session
            if session is not None:
                with self.sayingProblems():
                    self.placing.stop()
                    action(session)

        getattr(self.ui, name).connect("clicked(bool)", pressed)

    def _headline(self) -> str:
        session, other = self.workspace.session, self.workspace.otherVolume
        if session is not None:
            return session.queue.progressText
        if other:
            return _("The labels in this scene belong to {name}; choose it to go on with them.").format(name=other)
        return _("Nothing to review yet: run first, or open a case.")

    def _fill(self) -> None:
        session, table = self.workspace.session, self.ui.reviewTable
        items = session.queue.items if session else []
        self._filling = True
        try:
            rows = [(item.name, item.statusText, item.confidenceText, "; ".join(item.doubt.flags)) for item in items]
            colors = [schema.by_id(item.id).color for item in items]
            table.setVisible(bool(rows))
            fillTable(table, rows, bold=[not item.state.reviewed for item in items], colors=colors)
            if session is not None:
                table.selectRow(session.queue.order.index(session.queue.current))
        finally:
            self._filling = False

    def _allowButtons(self) -> None:
        session = self.workspace.session
        none = "" if session else _("There is nothing to review.")
        item = session.queue.item(session.queue.current) if session else None
        name = item.name if item else ""
        there = item is not None and item.state.value is not None
        landmark = item is not None and item.kind == "landmark"
        undo, redo = (session.undoText, session.redoText) if session else ("", "")
        place = "" if landmark and not there else _("Only a landmark that is missing is placed; drag the others.")
        for button, reason, does in (
            ("previousButton", none, _("Look at the label before")),
            ("nextButton", none, _("Look at the next label")),
            ("acceptButton", none or session.queue.whyNotAccept(), _("{name} is right as it is").format(name=name)),
            ("absentButton", none, _("{name} is not there, or cannot be seen").format(name=name)),
            ("restoreButton", none, _("{name} as the model had it").format(name=name)),
            ("placeButton", none or place, _("Place {name} with the next click in a view").format(name=name)),
            ("undoButton", none or ("" if undo else _("Nothing to undo.")), _("Undo: {what}").format(what=undo)),
            ("redoButton", none or ("" if redo else _("Nothing to redo.")), _("Redo: {what}").format(what=redo)),
        ):
            self.allow(getattr(self.ui, button), reason, _("{does} (key {key})").format(does=does, key=keyOf(button)))
        self.allow(self.ui.slabCheckBox, none, _("Show a slab of 8 mm as maximum intensity in the slice views"))
        self.allow(self.ui.ghostCheckBox, none, _("Show where the model had put the points"))
