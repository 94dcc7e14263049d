"""Going through the cases of a site one after another, without losing what was reviewed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from slicer.i18n import tr as _

from .caseNodes import CaseNodes
from .labelState import LabelState
from .reviewSession import ReviewSession
from .siteCase import CaseSummary

Decisions = Mapping[str, LabelState]


def casePath(caseNodes: CaseNodes | None) -> Path | None:
    """The folder that a case was opened from or exported to, or None."""
    case = caseNodes.state.read().get("case") if caseNodes is not None and caseNodes.state is not None else None
    return Path(case["path"]) if case and case.get("path") else None


def nextCase(cases: Iterable[CaseSummary], after: Path | None) -> CaseSummary | None:
    """The next case that is not reviewed to the end: those after ``after`` first, then from the start; or None."""
    cases = list(cases)
    places = [case.path for case in cases]
    start = places.index(after) + 1 if after in places else 0
    for case in (*cases[start:], *cases[:start]):
        if case.error is None and case.reviewed < case.total and case.path != after:
            return case
    return None


def decisions(session: ReviewSession | None) -> Decisions:
    """The labels as they are: equal to those of an export when nothing was done since."""
    return {item.id: item.state for item in session.queue.items} if session is not None else {}


def unsaved(session: ReviewSession | None, saved: Decisions | None) -> bool:
    """Would closing this case lose something a person decided since it was exported or opened?"""
    now = decisions(session)
    return any(state.reviewed for state in now.values()) and now != saved


def reviewedText(case: CaseSummary) -> str:
    """ "5 of 9", or that the case cannot be read."""
    if case.error is not None:
        return _("cannot be read")
    return _("{count} of {total}").format(count=case.reviewed, total=case.total)
