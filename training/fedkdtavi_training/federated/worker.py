"""What a site does with a task, whoever brought it."""

from __future__ import annotations

from collections.abc import Callable

from .local_train import local_round
from .messages import Task, Update
from .pseudo import label_site
from .site import Cases, Site, gather, inventory


class SiteWorker:
    """One site at work; what its cases are is found out once a stage.

    Args:
        report: called with (done, to do) of the task in hand.
    """

    def __init__(self, site: Site, report: Callable[[int, int], None] = lambda done, todo: None) -> None:
        self.site, self.report = site, report
        self._cases: tuple[str, Cases] | None = None

    def work(self, task: Task) -> Update:
        """Do it. Raises a FedKDTAVIError of one sentence when it cannot be done."""
        if task.kind == "count":
            found, number, digest = inventory(self.site, task.stage.test_ratio)
            heads = {head: count for head, count in found.items() if count > 0}
            return Update(self.site.name, task.round_number, "", {}, heads, {"cases": float(number)}, digest)
        if task.kind == "label":
            self._cases = None
            return label_site(self.site, task.stage, task.round_number, task.teachers, self.report)
        stage = task.stage.digest()
        if self._cases is None or self._cases[0] != stage:
            self._cases = (stage, gather(self.site, task.stage))
        return local_round(
            task.stage, self.site, task.weights, task.round_number, cases=self._cases[1], report=self.report
        )
