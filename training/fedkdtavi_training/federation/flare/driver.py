"""Brings a task to one site through FLARE and waits for its answer, for the workflow that knows nothing of FLARE."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from nvflare.apis.controller_spec import ClientTask, TaskCompletionStatus
from nvflare.apis.controller_spec import Task as FlareTask
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedkdtavi_core.errors import FedKDTAVIError

from ...federated.messages import SiteFailedError, Task, Update
from .. import wire
from . import message

_POLL_S, _DOOR_S = 0.1, 2.0


class StoppedError(FedKDTAVIError):
    """The job was told to stop; its checkpoint stays, and the same job goes on from it."""

    code = "stopped"


class ReturnedError(StoppedError):
    """A site has come (back) that is not part of this job: the same job, submitted again, has it."""

    code = "returned"

    def __init__(self, site: str) -> None:
        super().__init__(f"{site} has come; the run goes on with it in a job of its own.")
        self.site = site


class FlareDriver:
    """A :class:`~fedkdtavi_training.federated.messages.Driver` over the sites that a FLARE job runs at.

    Args:
        controller: whose engine knows the sites.
        sites: in the order in which they are averaged.
        abort: triggered when the job has to stop.
        seen: called with a site's name whenever it has answered.
        returned: has this site come to the server since the job began? FLARE gives a running job no further sites.
    """

    def __init__(
        self,
        controller: Controller,
        sites: Sequence[str],
        abort: Signal,
        seen: Callable[[str], None] = lambda site: None,
        returned: Callable[[str], bool] = lambda site: False,
    ) -> None:
        self.sites = tuple(sites)
        self.parallel = len(self.sites)
        self._controller, self._abort, self._seen, self._returned = controller, abort, seen, returned

    def send(self, site: str, task: Task) -> Update:
        """Hand ``task`` to ``site``.

        Raises:
            SiteFailedError: it is not connected, failed with a code, sent nonsense, or did not answer in time.
            StoppedError: the job was stopped, or (ReturnedError) goes on in another one.
        """
        if self._returned(site):
            raise ReturnedError(site)
        if site not in self._connected():
            raise SiteFailedError(site, "it is not connected to this run")
        if self._controller.get_client_disconnect_time(site):
            raise SiteFailedError(site, _without_answer(TaskCompletionStatus.CLIENT_DEAD))
        answers: list[Shareable] = []

        def keep(client_task: ClientTask, fl_ctx: FLContext) -> None:
            answers.append(client_task.result)
            client_task.result = None  # or the engine would hold every update until the run ends

        limit = task.stage.deadline_s
        flare_task = FlareTask(
            message.TASK,
            message.pack(*wire.task_to_wire(task)),
            timeout=0 if limit is None else max(math.ceil(limit), 1),
            result_received_cb=keep,
        )
        with self._controller._engine.new_context() as fl_ctx:
            self._controller.send(flare_task, fl_ctx, targets=[site])
            self._wait(site, flare_task)
        if not answers:
            raise SiteFailedError(site, _without_answer(flare_task.completion_status))
        self._seen(site)
        code = message.code_in(answers[0])
        if code is not None:
            raise SiteFailedError(site, wire.sentence(code))
        try:
            return wire.update_from_wire(*message.unpack(answers[0]))
        except wire.WireError as error:
            raise SiteFailedError(site, f"its answer cannot be read: {error}") from error

    def _wait(self, site: str, flare_task: FlareTask) -> None:
        """Until the task has its answer, or will have none."""
        look = time.monotonic() + _DOOR_S
        while flare_task.completion_status is None:
            time.sleep(_POLL_S)
            if self._abort.triggered:
                self._controller.cancel_task(flare_task, TaskCompletionStatus.ABORTED)
                raise StoppedError("The run was stopped; start it again to go on from its last round.")
            if time.monotonic() > look:
                look += _DOOR_S
                if self._returned(site):
                    self._controller.cancel_task(flare_task)
                    raise ReturnedError(site)

    def _connected(self) -> set[str]:
        return {client.name for client in self._controller._engine.get_clients()}


def _without_answer(status: TaskCompletionStatus | None) -> str:
    if status == TaskCompletionStatus.CLIENT_DEAD:
        return "it has lost its connection"
    if status == TaskCompletionStatus.TIMEOUT:
        return "no answer before the deadline"
    return "no answer"
