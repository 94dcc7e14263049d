"""The server's side of a job: the same rounds as in one process, over the sites that are connected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.fuel.utils.memory_utils import cleanup_memory

from fedkdtavi_core.errors import FedKDTAVIError

from ...federated import experiment as experiments
from ...federated import files
from ...federated.config import Experiment, Stage
from ...federated.pace import Pace
from ...train import prepare_torch
from ..progress import DOOR, Progress, now, read_door
from ..settings import ServerSettings, read
from .driver import FlareDriver, ReturnedError, StoppedError
from .job import AGAIN, FAILED

ARM = "federated"


class FedKDTAVIController(Controller):
    """Runs one experiment; a job that is submitted again goes on from its last checkpoint.

    Args:
        experiment: as in :class:`~fedkdtavi_training.federated.config.Experiment`; of its ``sites`` the names alone
            are used, and of ``out`` the last part, under the server's own folder (none: that folder itself).
        finetune: train the heads alone.
    """

    def __init__(self, experiment: dict[str, Any], finetune: bool = False) -> None:
        super().__init__()
        self.experiment = experiment  # a job is written from attributes of the same names
        self.finetune = finetune
        self._plan: Experiment | None = None
        self._server = self._out = Path()
        self._began = ""

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Read what the job asks for and where this server writes; a job that makes no sense ends here."""
        try:
            local = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_site_config_dir()
            plan = Experiment.model_validate(self.experiment)
            self._server = read(ServerSettings, local, "server").out
            self._out = self._server / plan.out.name
            for left in (AGAIN, FAILED):
                (self._out / left).unlink(missing_ok=True)
            self._plan, self._began = plan, now()
        except (FedKDTAVIError, ValueError, OSError) as error:
            self.system_panic(f"The job cannot run here: {error}", fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """The rounds."""
        if self._plan is None:
            return
        prepare_torch()
        progress = Progress(self._server)
        names = [site.name for site in self._plan.sites]
        driver = FlareDriver(self, names, abort_signal, progress.site_seen, self._returned)

        def say(text: str) -> None:
            self.log_info(fl_ctx, text)

        def watch(stage: Stage, number: int, rows: list[dict[str, Any]], frozen: dict[str, str]) -> None:
            progress.stage(stage.name, stage.training.rounds)
            progress.round(stage.name, number, rows, frozen)
            cleanup_memory()  # the allocator keeps what many sites' answers took, and would take more each round

        try:
            experiments.federate(
                self._plan, ARM, driver, self._out / ARM, pace=Pace(say), say=say, finetune=self.finetune, watch=watch
            )
        except ReturnedError as error:
            self.log_info(fl_ctx, str(error))
            self._leave(AGAIN, json.dumps({"site": error.site}), fl_ctx)
        except StoppedError as error:
            self.log_warning(fl_ctx, str(error))
        except FedKDTAVIError as error:
            self._leave(FAILED, f"{error}\n", fl_ctx)
            self.system_panic(str(error), fl_ctx)

    def _leave(self, name: str, text: str, fl_ctx: FLContext) -> None:
        """Say beside the results how the run ended."""
        try:
            files.write_bytes(self._out / name, text.encode())
        except FedKDTAVIError as error:  # a full disk: the log has it
            self.log_error(fl_ctx, str(error))

    def _returned(self, site: str) -> bool:
        """Has it registered since this job began? Then what runs there is not part of it."""
        return read_door(self._server / DOOR)["registered"].get(site, "") > self._began

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is held beyond a round."""

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer that came after its round: not counted."""
        self.log_warning(fl_ctx, f"{client.name} answered after its round; the answer is not counted")
