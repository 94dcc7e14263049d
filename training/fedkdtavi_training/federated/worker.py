"""What a site does with a task, whoever brought it."""

from __future__ import annotations

from collections.abc import Callable

from fedkdtavi_core.errors import FedKDTAVIError, UsageError

from ..disk import write_bytes
from . import site_state
from .local_train import local_round
from .messages import Task, Update
from .pseudo import label_site
from .samples import SiteSamples
from .site import Cases, Site, gather, inventory

SKIPPED = "skipped.txt"  # in the site's own folder


class TooFewError(FedKDTAVIError):
    """A round would learn from fewer cases than the site allows."""


class SiteWorker:
    """One site at work; what its cases are is found out once a stage.

    Args:
        report: called with (done, to do) of the task in hand.
        least_cases: a round that would learn from fewer different cases is refused.
    """

    def __init__(
        self,
        site: Site,
        report: Callable[[int, int], None] = lambda done, todo: None,
        least_cases: int = 1,
    ) -> None:
        self.site, self.report, self.least_cases = site, report, least_cases
        self._cases: tuple[str, Cases] | None = None

    def work(self, task: Task) -> Update:
        """Do it. Raises a FedKDTAVIError of one sentence when it cannot be done."""
        if task.kind == "count":
            found, number, digest = inventory(self.site, task.stage.test_ratio, task.stage.held_out)
            heads = {head: count for head, count in found.items() if count > 0}
            metrics = {"cases": float(number), "unreadable": float(self._log_unreadable(task.stage.test_ratio))}
            return Update(self.site.name, task.round_number, "", {}, heads, metrics, digest)
        if task.kind == "label":
            if not 1 <= task.round_number <= 2:
                raise UsageError(f"{self.site.name}: pseudo-labels have no set {task.round_number}, only 1 and 2.")
            self._cases = None
            # What these labels are made with is done; what learns from them may have begun before a server's restart.
            site_state.forget(self.site.work / "state", ["teacher-*", f"student-{task.round_number - 1}"])
            return label_site(self.site, task.stage, task.round_number, task.teachers, self.report)
        stage = task.stage.digest()
        if self._cases is None or self._cases[0] != stage:
            self._cases = (stage, gather(self.site, task.stage))
        found = len(self._cases[1].paths)
        if found and self.least_cases > 1 and self._shown(task, self._cases[1]) < self.least_cases:
            raise TooFewError(
                f"{self.site.name}: round {task.round_number + 1} of {task.stage.name} would learn from fewer than "
                f"{self.least_cases} cases (it has {found}); nothing was trained, nothing is sent."
            )
        return local_round(
            task.stage, self.site, task.weights, task.round_number, cases=self._cases[1], report=self.report
        )

    def _shown(self, task: Task, cases: Cases) -> int:
        """How many different cases the samples of this round show."""
        training = task.stage.training
        config = task.stage.for_site(self.site.name, len(cases.paths), self.site.work)
        samples, steps = SiteSamples(cases, config, task.stage.pseudo), training.steps(len(cases.paths))
        first = task.round_number * steps * training.batch
        return len({samples.key(n) for n in range(first, first + steps * training.batch)})

    def _log_unreadable(self, test_ratio: float) -> int:
        """Name the cases that are skipped in the site's own log; only their number is told."""
        skipped = self.site.readable(test_ratio)[1]
        if skipped:
            lines = "".join(f"{key}: {reason}\n" for key, reason in skipped.items())
            write_bytes(self.site.work / SKIPPED, lines.encode())
        return len(skipped)
