"""All sites in this process, one after the other: a simulation, a test, one hospital. The default."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from fedkdtavi_core.errors import FedKDTAVIError

from .messages import SiteFailedError, Task, Update
from .site import Site
from .worker import SiteWorker


class PlainDriver:
    """A :class:`~.messages.Driver` that does the sites' work itself.

    Args:
        report: called with (site, done, to do) of the task in hand.
    """

    parallel = 1

    def __init__(
        self, sites: Sequence[Site], report: Callable[[str, int, int], None] = lambda site, done, todo: None
    ) -> None:
        self._workers = {
            site.name: SiteWorker(site, lambda done, todo, name=site.name: self._step(name, done, todo))
            for site in sites
        }
        self._report = report
        self._late_at = math.inf
        self.sites = tuple(self._workers)

    def send(self, site: str, task: Task) -> Update:
        """Do the task. Raises SiteFailedError with the reason when the site cannot, or not before the deadline."""
        limit = task.stage.deadline_s
        self._late_at = math.inf if limit is None else time.monotonic() + limit
        try:
            return self._workers[site].work(task)
        except SiteFailedError:
            raise
        except FedKDTAVIError as error:
            raise SiteFailedError(site, str(error)) from error

    def _step(self, site: str, done: int, todo: int) -> None:
        self._report(site, done, todo)
        if time.monotonic() > self._late_at and done < todo:
            raise SiteFailedError(site, f"no answer before the deadline ({done} of {todo} steps)")
