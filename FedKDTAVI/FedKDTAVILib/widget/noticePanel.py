"""The top of the panel: what it is not for, and what is wrong at the moment."""

from __future__ import annotations

from .panel import Panel


class NoticePanel(Panel):
    """Shows the workspace's problem, or nothing."""

    def refresh(self) -> None:
        problem = self.workspace.problem
        self.ui.problemLabel.text = problem and f"\u26a0 {problem}"
        self.ui.problemLabel.setVisible(bool(problem))
