"""The one thing that a site runs for the federation: installed there, told what to do by the site's own settings."""

from __future__ import annotations

import json
import time
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedkdtavi_core.errors import FedKDTAVIError

from .. import wire
from ..settings import SiteSettings, read
from . import message, privacy
from .worker_process import WorkerProcess


class FedKDTAVIExecutor(Executor):
    """Takes our tasks and nothing else; a job cannot give it arguments, paths or code."""

    def __init__(self) -> None:
        super().__init__()
        self._worker: WorkerProcess | None = None
        self._settings: SiteSettings | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start the training process with the run, and end it with it."""
        if event_type == EventType.START_RUN:
            self._prepared(fl_ctx)
        if event_type in (EventType.END_RUN, EventType.ABORT_TASK) and self._worker is not None:
            self._worker.end()

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """One task; failures are answered with a code."""
        if task_name != message.TASK:
            return message.failure(wire.Code.TASK)
        if not self._prepared(fl_ctx):
            return message.failure(wire.Code.NOT_SET_UP)
        try:
            header, arrays = message.unpack(shareable)
            limit, began = self._limit(header), time.monotonic()
            done = self._worker.work(header, arrays, limit, lambda: abort_signal.triggered)
            if done is wire.Code.CRASHED:  # once more: a round done again is the same round
                left = None if limit is None else limit - (time.monotonic() - began)
                done = self._worker.work(header, arrays, left, lambda: abort_signal.triggered)
            if self._settings.privacy is not None and not isinstance(done, wire.Code):
                done = done[0], privacy.applied(self._settings.privacy, arrays, done[1], fl_ctx)
        except wire.WireError as error:
            self.log_error(fl_ctx, str(error))
            return message.failure(wire.Code.TASK)
        except FedKDTAVIError as error:
            self.log_error(fl_ctx, str(error))
            return message.failure(wire.Code.DISK)
        if isinstance(done, wire.Code):
            self.log_error(fl_ctx, f"{wire.sentence(done)}: see {self._settings.work}")
            return message.failure(done)
        return message.pack(*done)

    def _prepared(self, fl_ctx: FLContext) -> bool:
        """Is there a training process with this site's own settings?"""
        try:
            if self._worker is None:
                local = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_site_config_dir()
                self._settings = read(SiteSettings, local, fl_ctx.get_identity_name())
                self._worker = WorkerProcess(self._settings)
                self._worker.start()
        except (FedKDTAVIError, OSError) as error:
            self._worker = None
            self.log_error(fl_ctx, str(error))
        return self._worker is not None

    def _limit(self, header: str) -> float | None:
        """The shorter of the server's deadline and the site's own."""
        limits = [self._settings.deadline_s, _deadline(header)]
        return min((limit for limit in limits if limit is not None), default=None)


def _deadline(header: str) -> float | None:
    try:
        told: Any = json.loads(header)["stage"]["deadline_s"]
    except (ValueError, KeyError, TypeError) as error:
        raise wire.WireError("The task's header cannot be read.") from error
    return float(told) if isinstance(told, int | float) else None
